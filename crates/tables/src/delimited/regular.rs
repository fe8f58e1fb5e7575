//! The quick way through a table whose rows are all alike: no branch depends on the text.
//!
//! In a regular table every k-th of the delimiters and line ends is a line end. So the line ends among them, pressed
//! together (`pext`), must be the same as a pattern that is known beforehand: one comparison for all rows of a block.

#![expect(
    clippy::inline_always,
    reason = "vector code is only quick inside of the function that has its CPU features"
)]

use fearless_simd::Simd;

use super::scan::{BLOCK, Carry, Counter, Masks, Piece, Reader, Structure, split};

/// Blocks that are taken in before the comparison counts.
pub(super) const BATCH: usize = 256;

/// The most fields of a row that is looked for here; longer rows are few enough for the other way.
const MAX_FIELDS: usize = 256;

/// Which of the next 64 delimiters and line ends are line ends, by the delimiters that the row has already.
#[derive(Debug)]
pub(super) struct Pattern {
    fields: usize,
    ends: [u64; MAX_FIELDS],
    /// The delimiters that the row has, after up to 64 more delimiters and line ends.
    after: [u8; MAX_FIELDS + BLOCK + 1],
}

impl Pattern {
    /// For rows with so many delimiters; none if they are too long.
    pub(super) fn new(delimiters: u64) -> Option<Self> {
        let fields = usize::try_from(delimiters).ok()?.checked_add(1)?;
        if fields > MAX_FIELDS {
            return None;
        }
        let mut pattern = Self {
            fields,
            ends: [0; MAX_FIELDS],
            after: [0; MAX_FIELDS + BLOCK + 1],
        };
        for before in 0..fields {
            pattern.ends[before] = (0..BLOCK)
                .filter(|next| (before + next + 1) % fields == 0)
                .fold(0, |ends, next| ends | 1 << next);
        }
        for (count, after) in pattern.after.iter_mut().enumerate() {
            *after = u8::try_from(count % fields).ok()?;
        }
        Some(pattern)
    }
}

/// What a batch adds to the counter.
struct Sums {
    carry: Carry,
    /// Delimiters of the row that is open.
    before: usize,
    rows: u32,
    lines: u32,
    by_cr: u32,
    by_crlf: u32,
    /// Not zero: something needs a closer look.
    irregular: u64,
    /// Bits of all CRs.
    cr: u64,
    /// The last line end, as blocks from the batch's beginning, and the ends in that block.
    last_end: (usize, u64),
}

/// Counts a batch. False, and nothing is changed, when anything in it needs a closer look: a row of another length, a
/// blank line, or a quote where no field begins.
#[inline(always)]
pub(super) fn take_batch<S: Simd>(
    reader: &mut Reader<S>,
    counter: &mut Counter,
    piece: &mut Piece<'_>,
    batch: &[[u8; BLOCK]],
    at: usize,
) -> bool {
    let Some(pattern) = counter.pattern.as_deref() else {
        return false;
    };
    let Ok(before) = usize::try_from(counter.delimiters - counter.row_base) else {
        return false;
    };
    if before >= pattern.fields {
        return false;
    }
    let mut with_cr = counter.with_cr || counter.carry.after_cr != 0;
    let mut sums = if with_cr {
        sum::<S, true>(reader, pattern, counter.carry, before, batch)
    } else {
        sum::<S, false>(reader, pattern, counter.carry, before, batch)
    };
    if !with_cr && sums.cr != 0 {
        with_cr = true;
        sums = sum::<S, true>(reader, pattern, counter.carry, before, batch);
    }
    counter.with_cr = with_cr && sums.cr != 0;
    if sums.irregular != 0 {
        return false;
    }
    counter.carry = sums.carry;
    counter.row_base = 0;
    counter.delimiters = sums.before as u64;
    counter.rows += u64::from(sums.rows);
    counter.row_ends += u64::from(sums.rows);
    counter.lines += u64::from(sums.lines);
    counter.row_ends_by_cr += u64::from(sums.by_cr);
    counter.row_ends_by_crlf += u64::from(sums.by_crlf);
    let (block, ends) = sums.last_end;
    if ends != 0 {
        piece.row_start = Some(at + (block + 1) * BLOCK - ends.leading_zeros() as usize);
    }
    true
}

#[inline(always)]
fn sum<S: Simd, const WITH_CR: bool>(
    reader: &mut Reader<S>,
    pattern: &Pattern,
    carry: Carry,
    before: usize,
    batch: &[[u8; BLOCK]],
) -> Sums {
    let simd = reader.simd;
    let mut sums = Sums {
        carry,
        before,
        rows: 0,
        lines: 0,
        by_cr: 0,
        by_crlf: 0,
        irregular: 0,
        cr: 0,
        last_end: (0, 0),
    };
    for (number, block) in batch.iter().enumerate() {
        let masks = reader.masks(block);
        let carry = sums.carry;
        sums.cr |= masks.cr;
        let (second_ends, line_ends) = if WITH_CR {
            let second_ends = masks.lf & ((masks.cr << 1) | carry.after_cr);
            (second_ends, (masks.lf | masks.cr) & !second_ends)
        } else {
            (0, masks.lf)
        };
        let (found, quoted, misplaced) = split(masks, carry, second_ends, line_ends);
        let Structure {
            delimiters,
            ends,
            second_ends,
        } = found;
        let ending = ends | second_ends;
        let blank = ends & ((ending << 1) | carry.after_end);
        let events = delimiters | ends;
        let count = events.count_ones() as usize;
        // The pattern's bits beyond the block's events are shifted out; twice, as 64 would be too far at once.
        let expected = pattern.ends.get(sums.before).copied().unwrap_or(0);
        let differing = extract(simd, ends, events) ^ expected;
        let beyond = if count == 0 {
            0
        } else {
            differing << (BLOCK - count)
        };
        sums.irregular |= misplaced | blank | beyond;
        sums.before = pattern
            .after
            .get(sums.before + count)
            .map_or(0, |after| usize::from(*after));
        sums.rows += ends.count_ones();
        sums.lines += line_ends.count_ones();
        if WITH_CR {
            sums.by_cr += (ends & masks.cr).count_ones();
            sums.by_crlf += second_ends.count_ones();
        }
        sums.last_end = if ending == 0 {
            sums.last_end
        } else {
            (number, ending)
        };
        sums.carry = after_block(
            masks,
            &Structure {
                delimiters,
                ends,
                second_ends,
            },
            quoted,
        );
    }
    sums
}

#[inline(always)]
fn after_block(masks: Masks, found: &Structure, quoted: u64) -> Carry {
    let ending = found.ends | found.second_ends;
    Carry {
        quoted: 0_u64.wrapping_sub(quoted >> 63),
        field_start: (found.delimiters | ending) >> 63,
        after_quote: masks.quote >> 63,
        after_cr: masks.cr >> 63,
        after_end: ending >> 63,
    }
}

#[cfg(target_arch = "x86_64")]
fearless_simd::kernel!(
    #[inline(always)]
    fn extract_avx2(token: Avx2, bits: u64, places: u64) -> u64 {
        std::arch::x86_64::_pext_u64(bits, places)
    }
);

/// The bits at the places, pressed together.
#[inline(always)]
fn extract<S: Simd>(simd: S, bits: u64, places: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = simd.level().as_avx2() {
        return extract_avx2(token, bits, places);
    }
    let _ = simd;
    let (mut left, mut answer, mut next) = (places, 0, 0);
    while left != 0 {
        answer |= ((bits >> left.trailing_zeros()) & 1) << next;
        next += 1;
        left &= left - 1;
    }
    answer
}
