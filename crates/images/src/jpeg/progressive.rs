//! Progressive scans (T.81 annex G).
//!
//! Of each block only the coefficients are kept that the scale needs. Refining scans must know of all others whether
//! they are zero, so that one bit is kept for each of these.

use super::{
    bits::{Bits, Corrupt},
    huffman::{Sequential, Table},
    planes::Target,
    transform::{self, Scale, UNNEEDED},
};

/// The coefficients of a component.
pub(super) struct Store {
    /// Those that are needed, `per_block` for each block.
    values: Vec<i16>,
    per_block: usize,
    /// For each block, which coefficients are not zero, in zigzag order.
    present: Vec<u64>,
    slots: [u8; 64],
    /// Zigzag positions that are needed.
    needed: u64,
}

/// The positions from `index` on.
const fn from(index: u32) -> u64 {
    if index > 63 { 0 } else { u64::MAX << index }
}

/// A band of coefficients, and the bit that a scan brings.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub first: u32,
    pub last: u32,
    pub low: u32,
}

impl Store {
    pub fn new(blocks: usize, scale: Scale) -> Self {
        let slots = scale.slots();
        let per_block = (scale.samples() * scale.samples()) as usize;
        let needed = (0..64)
            .filter(|&k| slots[k] != UNNEEDED)
            .fold(0, |needed, k| needed | 1 << k);
        Self {
            values: vec![0; blocks * per_block],
            per_block,
            present: vec![0; blocks],
            slots,
            needed,
        }
    }

    /// Bytes for this number of blocks.
    pub fn bytes(blocks: u64, scale: Scale) -> u64 {
        blocks * u64::from(scale.samples() * scale.samples() * 2 + 8)
    }

    /// Whether any of these coefficients is needed.
    pub fn needs(&self, first: u32, last: u32) -> bool {
        self.needed & from(first) & !from(last + 1) != 0
    }

    /// The first scan of the DC coefficient.
    #[inline]
    pub fn first_dc(
        &mut self,
        bits: &mut Bits<'_>,
        table: &Table,
        prediction: &mut i32,
        block: usize,
        low: u32,
    ) -> Result<(), Corrupt> {
        bits.ensure();
        let size = bits.symbol(table)?;
        *prediction = i32::from(prediction.wrapping_add(bits.signed(size.into())) as i16);
        self.values[block * self.per_block] = (*prediction << low) as i16;
        Ok(())
    }

    /// One more bit of the DC coefficient.
    #[inline]
    pub fn refine_dc(&mut self, bits: &mut Bits<'_>, block: usize, low: u32) {
        self.values[block * self.per_block] |= (bits.bit() << low) as i16;
    }

    /// The first scan of a band. `run` counts the blocks that are known to be zero in it.
    #[inline]
    pub fn first_ac(
        &mut self,
        bits: &mut Bits<'_>,
        (table, tables): (&Table, &Sequential),
        band: Band,
        run: &mut u32,
        block: usize,
    ) -> Result<(), Corrupt> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let values = &mut self.values[block * self.per_block..(block + 1) * self.per_block];
        let mut index = band.first;
        let mut present = 0;
        while index <= band.last {
            bits.refill();
            let coded = bits.coded(tables);
            if coded.known() {
                index += coded.run();
                if index > 63 {
                    if coded.ends_block() {
                        break;
                    }
                    return Err(Corrupt::Value);
                }
                present |= 1 << index;
                if let Some(kept) = values.get_mut(usize::from(self.slots[index as usize])) {
                    *kept = (coded.value() << band.low) as i16;
                }
                index += 1;
                continue;
            }
            let symbol = bits.symbol(table)?;
            let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 {
                if zeros < 15 {
                    *run = (1 << zeros) - 1 + bits.take(zeros);
                    break;
                }
                index += 16;
                continue;
            }
            index += zeros;
            let value = bits.signed(size);
            if index > 63 {
                return Err(Corrupt::Value);
            }
            present |= 1 << index;
            if let Some(kept) = values.get_mut(usize::from(self.slots[index as usize])) {
                *kept = (value << band.low) as i16;
            }
            index += 1;
        }
        self.present[block] |= present;
        Ok(())
    }

    /// One more bit of a band's coefficients, among them some that were zero until now.
    #[inline]
    pub fn refine_ac(
        &mut self,
        bits: &mut Bits<'_>,
        table: &Table,
        band: Band,
        run: &mut u32,
        block: usize,
    ) -> Result<(), Corrupt> {
        let within = from(band.first) & !from(band.last + 1);
        let mut index = band.first;
        if *run == 0 {
            while index <= band.last {
                bits.ensure();
                let symbol = bits.symbol(table)?;
                let (zeros, size) = (u32::from(symbol >> 4), symbol & 15);
                let value = match size {
                    0 if zeros < 15 => {
                        *run = (1 << zeros) + bits.take(zeros);
                        break;
                    }
                    0 => 0,
                    1 => (bits.take(1) as i16 * 2 - 1) << band.low,
                    _ => return Err(Corrupt::Code),
                };
                let mut free = !self.present[block] & within & from(index);
                for _ in 0..zeros {
                    free &= free.wrapping_sub(1);
                }
                let stop = if free == 0 {
                    band.last + 1
                } else {
                    free.trailing_zeros()
                };
                self.correct(
                    bits,
                    self.present[block] & within & from(index) & !from(stop),
                    band.low,
                    block,
                );
                if value != 0 {
                    if stop > band.last {
                        return Err(Corrupt::Value);
                    }
                    self.present[block] |= 1 << stop;
                    let slot = usize::from(self.slots[stop as usize]);
                    if slot < self.per_block {
                        self.values[block * self.per_block + slot] = value;
                    }
                }
                index = stop + 1;
            }
        }
        if *run > 0 {
            self.correct(bits, self.present[block] & within & from(index), band.low, block);
            *run -= 1;
        }
        Ok(())
    }

    /// Reads one bit for each of these coefficients, in order.
    #[inline]
    fn correct(&mut self, bits: &mut Bits<'_>, mut set: u64, low: u32, block: usize) {
        let mut needed = set & self.needed;
        while needed != 0 {
            let index = set.trailing_zeros();
            set &= set - 1;
            let bit = (bits.bit() << low) as i16;
            if needed >> index & 1 == 1 {
                needed &= needed - 1;
                let value =
                    &mut self.values[block * self.per_block + usize::from(self.slots[index as usize])];
                *value = if *value < 0 {
                    value.wrapping_sub(bit)
                } else {
                    value.wrapping_add(bit)
                };
            }
        }
        if set != 0 {
            bits.pass(set.count_ones());
        }
    }

    /// Transforms all blocks into the plane.
    pub fn finish(&self, target: &mut Target) {
        let samples = target.scale.samples() as usize;
        let stride = target.stride;
        // By slot rather than by zigzag position.
        let mut position = vec![0; self.per_block];
        for (index, &slot) in self.slots.iter().enumerate() {
            if let Some(entry) = position.get_mut(usize::from(slot)) {
                *entry = index;
            }
        }
        let across = target.blocks.0 as usize;
        for (block, values) in self.values.chunks_exact(self.per_block).enumerate() {
            let place = block / across * samples * stride + block % across * samples;
            let integer = |slot: usize| target.factors.integer(position[slot], values[slot].into());
            let float = |slot: usize| target.factors.float(position[slot], values[slot].into());
            let out = &mut target.samples[place..];
            match target.scale {
                Scale::Eighth => out[0] = transform::eighth(integer(0)),
                Scale::Quarter => transform::quarter(std::array::from_fn(integer), out, stride),
                Scale::Half => transform::half(&std::array::from_fn(float), out, stride),
                Scale::Full if self.present[block] == 0 => transform::flat(float(0), out, stride),
                Scale::Full => transform::full(&std::array::from_fn(float), out, stride),
            }
        }
    }
}
