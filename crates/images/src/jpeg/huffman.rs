//! Huffman tables (T.81 annex C), with one that passes over several codes at once.

/// Codes up to this many bits are found by one look-up.
pub(super) const LOOK: u32 = 10;
const SKIP: u32 = 12;

/// A table as a DHT segment gives it.
#[derive(Clone)]
pub(super) struct Table {
    /// By the next `LOOK` bits: length and symbol of the code, or 0 where it is longer.
    pub look: Box<[u16; 1 << LOOK]>,
    /// For each length: the first code of greater length, left-aligned to 16 bits.
    limits: [u32; 17],
    /// For each length: what is added to a code to find its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
    sequential: Option<Box<Sequential>>,
}

/// What sequential scans look up beside single codes.
#[derive(Clone)]
pub(super) struct Sequential {
    /// By the next `LOOK` bits: code and value together.
    pub values: [Coded; 1 << LOOK],
    pub skip: Skip,
}

/// A code with the value behind it. Bits 0 to 7: their length, or 0 where the look-up does not see all of both. Bits 8
/// to 15: the zeros before it, with `END` for the end of the block. Bits 16 to 31: the value.
#[derive(Clone, Copy, Default)]
pub(super) struct Coded(u32);

impl Coded {
    /// More zeros than a block has.
    const END: u32 = 64;

    fn new(table: &Table, index: u32) -> Self {
        let entry = table.look[index as usize];
        let (length, symbol) = (u32::from(entry >> 8), u32::from(entry & 0xFF));
        let (run, size) = (symbol >> 4, symbol & 15);
        if entry == 0 || length + size > LOOK || (size == 0 && run > 0) {
            return Self(0);
        }
        if size == 0 {
            return Self(length | Self::END << 8);
        }
        let bits = (index >> (LOOK - length - size)) as i32 & ((1 << size) - 1);
        let value = if bits >> (size - 1) == 0 {
            bits + 1 - (1 << size)
        } else {
            bits
        };
        Self((length + size) | run << 8 | (value as u32) << 16)
    }

    #[inline]
    pub fn known(self) -> bool {
        self.0 != 0
    }

    #[inline]
    pub fn bits(self) -> u32 {
        self.0 & 0xFF
    }

    #[inline]
    pub fn run(self) -> u32 {
        self.0 >> 8 & 0xFF
    }

    #[inline]
    pub fn ends_block(self) -> bool {
        self.run() == Self::END
    }

    #[inline]
    pub fn value(self) -> i32 {
        self.0 as i32 >> 16
    }
}

impl Table {
    /// From the number of codes of each length 1 to 16, and their symbols. `None` if there are more codes than fit.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self {
            look: Box::new([0; 1 << LOOK]),
            limits: [0; 17],
            offsets: [0; 17],
            symbols: symbols.to_vec(),
            sequential: None,
        };
        let (mut code, mut index) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = usize::from(counts[length as usize - 1]);
            table.offsets[length as usize] = index as i32 - code as i32;
            for &symbol in symbols.get(index..index + count)? {
                if length <= LOOK {
                    let first = (code as usize) << (LOOK - length);
                    let entries = table.look.get_mut(first..first + (1 << (LOOK - length)))?;
                    entries.fill((length as u16) << 8 | u16::from(symbol));
                }
                code += 1;
            }
            if code > 1 << length {
                return None;
            }
            index += count;
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    /// Symbol and length of the code at the top of 16 bits.
    #[cold]
    pub fn long_code(&self, bits: u32) -> Option<(u8, u32)> {
        let length = (1..=16_u32).find(|&length| bits < self.limits[length as usize])?;
        let index = (bits >> (16 - length)) as i32 + self.offsets[length as usize];
        Some((*self.symbols.get(usize::try_from(index).ok()?)?, length))
    }

    /// The largest symbol.
    pub fn largest(&self) -> u8 {
        self.symbols.iter().copied().max().unwrap_or_default()
    }

    /// Makes the tables that `sequential` gives.
    pub fn prepare_sequential(&mut self) {
        if self.sequential.is_none() {
            let values = std::array::from_fn(|index| Coded::new(self, index as u32));
            self.sequential = Some(Box::new(Sequential {
                values,
                skip: Skip::new(self),
            }));
        }
    }

    pub fn sequential(&self) -> Option<&Sequential> {
        self.sequential.as_deref()
    }
}

/// By the next bits: how far all the codes in them lead. Their values are not looked at, only passed.
#[derive(Clone)]
pub(super) struct Skip([SkipEntry; 1 << SKIP]);

/// Bits 0 to 7: bits to pass, or 0 if that is not known. Bits 8 to 14: coefficients to pass, an end of block counted
/// as one, so that it is never taken behind the 64th. Bit 15: a block ends.
#[derive(Clone, Copy, Default)]
pub(super) struct SkipEntry(u16);

impl SkipEntry {
    #[inline]
    pub fn known(self) -> bool {
        self.0 != 0
    }

    #[inline]
    pub fn bits(self) -> u32 {
        u32::from(self.0 & 0xFF)
    }

    #[inline]
    pub fn coefficients(self) -> u32 {
        u32::from(self.0 >> 8 & 0x7F)
    }

    #[inline]
    pub fn ends_block(self) -> bool {
        self.0 >> 15 != 0
    }
}

impl Skip {
    fn new(table: &Table) -> Self {
        let mut skip = Self([SkipEntry::default(); 1 << SKIP]);
        for (index, entry) in skip.0.iter_mut().enumerate() {
            let (mut used, mut passed, mut ends) = (0_u32, 0_u32, false);
            // A code counts when all of it is inside of what is looked at; its value may lie outside.
            while used < SKIP && !ends {
                let rest = (index << used) & ((1 << SKIP) - 1);
                let found = table.look[rest >> (SKIP - LOOK)];
                let length = u32::from(found >> 8);
                if found == 0 || used + length > SKIP {
                    break;
                }
                let (run, size) = (u32::from(found as u8 >> 4), u32::from(found & 15));
                if passed + run + 1 > 64 {
                    break;
                }
                used += length + size;
                ends = size == 0 && run != 15;
                passed += if ends { 1 } else { run + 1 };
            }
            *entry = SkipEntry(used as u16 | (passed as u16) << 8 | u16::from(ends) << 15);
        }
        skip
    }

    #[inline]
    pub fn entry(&self, bits: u64) -> SkipEntry {
        self.0[(bits >> (64 - SKIP)) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_more_codes_than_fit() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_none());
        counts[0] = 2;
        assert!(Table::new(&counts, &[1, 2]).is_some());
        assert!(Table::new(&counts, &[1]).is_none());
    }

    #[test]
    fn finds_long_codes() {
        let counts = [1; 16];
        let symbols: Vec<u8> = (0..16).collect();
        let table = Table::new(&counts, &symbols).unwrap();
        assert_eq!(table.look[0], 1 << 8);
        assert_eq!(table.long_code(0b1111_1111_1110_0000), Some((11, 12)));
        assert_eq!(table.long_code(0xFFFF), None);
    }
}
