//! The bits of a scan, without the zero bytes that are stuffed behind each 0xFF.

use super::huffman::{Coded, LOOK, Sequential, Skip, Table};

/// The scan cannot be decoded further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Corrupt {
    /// No code of the table begins with these bits.
    Code,
    /// The data end, or a marker comes, before the picture is complete.
    Early,
    /// A value lies outside of its block.
    Value,
}

/// Reads bits from the highest to the lowest.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The next byte that is not in `ready`. Never beyond a marker.
    at: usize,
    /// The next bits, at the top. Below `count` of them follow bits that the next refill brings again.
    ready: u64,
    count: u32,
    /// How many zero bits were made up behind the end.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub fn new(data: &'a [u8], at: usize) -> Self {
        Self {
            data,
            at,
            ready: 0,
            count: 0,
            made_up: 0,
        }
    }

    /// The next marker is not before this.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Fails if bits were read that the file does not have.
    pub fn check(&self) -> Result<(), Corrupt> {
        if self.made_up > self.count {
            Err(Corrupt::Early)
        } else {
            Ok(())
        }
    }

    /// Makes at least 56 bits ready.
    #[inline]
    pub fn refill(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        if let Some(bytes) = self.data.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            let next = u64::from_be_bytes(*bytes);
            // No byte is 0xFF: no byte of the complement is 0.
            if (!next).wrapping_sub(ONES) & next & (ONES << 7) == 0 {
                self.ready |= next >> self.count;
                let taken = (63 - self.count) >> 3;
                self.at += taken as usize;
                self.count += taken * 8;
                return;
            }
        }
        self.refill_by_bytes();
    }

    #[cold]
    #[inline(never)]
    fn refill_by_bytes(&mut self) {
        while self.count <= 56 {
            let byte = match self.data.get(self.at) {
                Some(0xFF) if self.data.get(self.at + 1) == Some(&0) => {
                    self.at += 2;
                    0xFF
                }
                Some(0xFF) | None => {
                    self.made_up = self.made_up.saturating_add(8);
                    0
                }
                Some(&byte) => {
                    self.at += 1;
                    byte
                }
            };
            self.ready |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Refills when fewer than 32 bits are ready: enough for a code and the value behind it.
    #[inline]
    pub fn ensure(&mut self) {
        if self.count < 32 {
            self.refill();
        }
    }

    #[inline]
    fn consume(&mut self, count: u32) {
        self.ready <<= count;
        self.count -= count;
    }

    /// The next `count` bits, 0 to 16 of them. The caller has called `ensure`.
    #[inline]
    pub fn take(&mut self, count: u32) -> u32 {
        let value = (self.ready >> 1 >> (63 - count)) as u32;
        self.consume(count);
        value
    }

    /// One bit, whether or not some are ready.
    #[inline]
    pub fn bit(&mut self) -> u32 {
        self.ensure();
        self.take(1)
    }

    /// Passes over any number of bits.
    #[inline]
    pub fn pass(&mut self, mut count: u32) {
        while count > 16 {
            self.ensure();
            self.consume(16);
            count -= 16;
        }
        self.ensure();
        self.consume(count);
    }

    /// The next code's symbol. The caller has called `ensure`.
    #[inline]
    pub fn symbol(&mut self, table: &Table) -> Result<u8, Corrupt> {
        let entry = table.look[(self.ready >> (64 - LOOK)) as usize];
        if entry != 0 {
            self.consume(u32::from(entry >> 8));
            return Ok(entry as u8);
        }
        let (symbol, length) = table.long_code((self.ready >> 48) as u32).ok_or(Corrupt::Code)?;
        self.consume(length);
        Ok(symbol)
    }

    /// The next code with its value, passed over if it is known. The caller has called `refill`.
    #[inline]
    pub fn coded(&mut self, tables: &Sequential) -> Coded {
        let coded = tables.values[(self.ready >> (64 - LOOK)) as usize];
        self.consume(coded.bits());
        coded
    }

    /// The signed value of `size` bits (T.81 F.2.2.1). The caller has called `ensure`.
    #[inline]
    pub fn signed(&mut self, size: u32) -> i32 {
        let value = self.take(size) as i32;
        // Below half of the range the value is negative.
        let negative = ((value << 1 >> size) - 1) >> 31;
        value + (negative & (1 - (1 << size)))
    }

    /// Passes over the rest of a block from coefficient `index` on.
    #[inline]
    pub fn skip_block(&mut self, table: &Table, skip: &Skip, mut index: u32) -> Result<(), Corrupt> {
        while index < 64 {
            self.refill();
            // At most 27 bits, so that two fit into one refill.
            let entry = skip.entry(self.ready);
            let after = index + entry.coefficients();
            if entry.known() && after <= 64 {
                self.consume(entry.bits());
                if entry.ends_block() {
                    return Ok(());
                }
                index = after;
                if index == 64 {
                    return Ok(());
                }
            }
            let entry = skip.entry(self.ready);
            let after = index + entry.coefficients();
            if entry.known() && after <= 64 {
                self.consume(entry.bits());
                if entry.ends_block() {
                    return Ok(());
                }
                index = after;
                continue;
            }
            self.ensure();
            let symbol = self.symbol(table)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && run != 15 {
                return Ok(());
            }
            index += run + 1;
            self.consume(size);
        }
        if index > 64 { Err(Corrupt::Value) } else { Ok(()) }
    }

    /// At a restart marker: drops what is left of the interval and goes behind the marker with this number.
    pub fn restart(&mut self, number: u8) -> Result<(), Corrupt> {
        self.check()?;
        let rest = self.data.get(self.at..).ok_or(Corrupt::Early)?;
        let marker = super::markers::next_marker(rest).ok_or(Corrupt::Early)?;
        if rest[marker + 1] != 0xD0 + number {
            return Err(Corrupt::Early);
        }
        *self = Self::new(self.data, self.at + marker + 2);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_stuffing_and_stops_at_markers() {
        let data = [
            0xFF, 0, 0x12, 0x34, 0xFF, 0, 0xFF, 0, 0x56, 0xFF, 0xD9, 0x99, 0x99, 0x99, 0x99, 0x99,
        ];
        let mut bits = Bits::new(&data, 0);
        let mut read = Vec::new();
        for _ in 0..6 {
            bits.ensure();
            read.push(bits.take(8));
            assert_eq!(bits.check(), Ok(()));
        }
        assert_eq!(read, [0xFF, 0x12, 0x34, 0xFF, 0xFF, 0x56]);
        assert_eq!(bits.position(), 9);
        assert_eq!(bits.bit(), 0);
        assert_eq!(bits.check(), Err(Corrupt::Early));
    }

    #[test]
    fn extends_signs() {
        let value = |bits: u8, size| {
            let data = [bits, 0, 0, 0, 0, 0, 0, 0];
            let mut bits = Bits::new(&data, 0);
            bits.ensure();
            bits.signed(size)
        };
        assert_eq!(value(0, 0), 0);
        assert_eq!((value(0x00, 1), value(0x80, 1)), (-1, 1));
        assert_eq!(
            (value(0x00, 3), value(0x60, 3), value(0x80, 3), value(0xE0, 3)),
            (-7, -4, 4, 7)
        );
    }
}
