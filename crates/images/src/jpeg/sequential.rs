//! Baseline and extended sequential scans: blocks go straight into the planes.

use super::{
    bits::{Bits, Corrupt},
    huffman::{Sequential, Table},
    planes::Target,
    transform::{self, Scale},
};

/// A component in a scan.
pub(super) struct Part<'t> {
    pub dc: &'t Table,
    pub ac: &'t Table,
    pub tables: &'t Sequential,
    pub prediction: i32,
}

/// Hands on the coefficients from 1 to at least `last` (if they are not zero), and passes over the rest of the block.
#[inline]
fn coefficients(
    bits: &mut Bits<'_>,
    part: &Part<'_>,
    last: u32,
    mut keep: impl FnMut(usize, i32),
) -> Result<(), Corrupt> {
    let mut index = 1;
    while index <= last {
        bits.refill();
        let coded = bits.coded(part.tables);
        if coded.known() {
            index += coded.run();
            if index > 63 {
                return if coded.ends_block() {
                    Ok(())
                } else {
                    Err(Corrupt::Value)
                };
            }
            keep(index as usize, coded.value());
            index += 1;
            continue;
        }
        let symbol = bits.symbol(part.ac)?;
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        if size == 0 {
            if run < 15 {
                return Ok(());
            }
            index += 16;
            continue;
        }
        index += run;
        let value = bits.signed(size);
        if index > 63 {
            return Err(Corrupt::Value);
        }
        keep(index as usize, value);
        index += 1;
    }
    bits.skip_block(part.ac, &part.tables.skip, index)
}

/// Decodes one block into its place in the plane.
#[inline]
pub(super) fn block(
    bits: &mut Bits<'_>,
    part: &mut Part<'_>,
    target: &mut Target,
    place: usize,
) -> Result<(), Corrupt> {
    bits.refill();
    let size = bits.symbol(part.dc)?;
    part.prediction = i32::from(part.prediction.wrapping_add(bits.signed(size.into())) as i16);
    let (dc, stride) = (part.prediction, target.stride);
    let out = &mut target.samples[place..];
    match target.scale {
        Scale::Eighth => {
            bits.skip_block(part.ac, &part.tables.skip, 1)?;
            out[0] = transform::eighth(target.factors.integer(0, dc));
        }
        Scale::Quarter => {
            let mut values = [0; 4];
            values[0] = target.factors.integer(0, dc);
            coefficients(bits, part, 4, |index, value| {
                let slot = usize::from(target.slots[index]);
                if slot < 4 {
                    values[slot] = target.factors.integer(index, value);
                }
            })?;
            transform::quarter(values, out, stride);
        }
        Scale::Half => {
            let mut values = [0.0; 16];
            values[0] = target.factors.float(0, dc);
            coefficients(bits, part, 24, |index, value| {
                let slot = usize::from(target.slots[index]);
                if slot < 16 {
                    values[slot] = target.factors.float(index, value);
                }
            })?;
            transform::half(&values, out, stride);
        }
        Scale::Full => {
            let mut values = [0.0; 64];
            let mut flat = true;
            values[0] = target.factors.float(0, dc);
            coefficients(bits, part, 63, |index, value| {
                flat = false;
                values[usize::from(target.slots[index] & 63)] = target.factors.float(index, value);
            })?;
            if flat {
                transform::flat(values[0], out, stride);
            } else {
                transform::full(&values, out, stride);
            }
        }
    }
    Ok(())
}
