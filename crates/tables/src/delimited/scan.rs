//! The counter of rows and fields: 64 bytes at a time.
//!
//! Every byte of a file passes here, so this is the speed of the whole crate. A block of 64 bytes becomes four bit
//! masks (quotes, delimiters, LF, CR); the running parity of the quotes tells what lies inside of them; what is left
//! of the line ends are the rows, and the delimiters between two of them are its fields. A quote inside of an
//! unquoted field would turn the parity over: such a block is read byte by byte (see [`Counter::exact`]).

#![expect(
    clippy::inline_always,
    reason = "vector code is only quick inside of the function that has its CPU features"
)]

use fearless_simd::{Level, Simd, dispatch, prelude::*, u8x64};

use super::regular::{self, Pattern};
use crate::{Error, LineEnding};

/// Bytes per step: the bits of a mask.
pub(super) const BLOCK: usize = 64;

/// Rows, fields and lines of the text so far. One for each file.
#[derive(Debug)]
pub(super) struct Counter {
    level: Level,
    delimiter: u8,
    strict: bool,
    pub(super) carry: Carry,
    /// Delimiters of the first row.
    expected: Option<u64>,
    /// What regular rows look like, once the first one was seen.
    pub(super) pattern: Option<Box<Pattern>>,
    /// The last batch had a CR.
    pub(super) with_cr: bool,
    pub(super) delimiters: u64,
    /// The value of `delimiters` when the row began.
    pub(super) row_base: u64,
    pub(super) rows: u64,
    ragged: u64,
    blank: u64,
    /// Line ends, also those inside of quotes.
    pub(super) lines: u64,
    pub(super) row_ends: u64,
    pub(super) row_ends_by_cr: u64,
    pub(super) row_ends_by_crlf: u64,
    /// Where the row that the last piece left open begins.
    open_row: OpenRow,
    /// The line of the quote that the last piece left open.
    quote_line: u64,
    /// Where in the piece a fault was found.
    pub(super) fault_at: usize,
}

/// What the byte before a block was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carry {
    /// All ones inside of quotes.
    pub(super) quoted: u64,
    pub(super) field_start: u64,
    pub(super) after_quote: u64,
    pub(super) after_cr: u64,
    /// The byte ended a row, or belongs to its end.
    pub(super) after_end: u64,
}

#[derive(Clone, Copy, Debug)]
struct OpenRow {
    line: u64,
    /// It consists of blanks so far.
    only_blanks: bool,
}

/// What one block holds; bit 0 is the first byte.
#[derive(Clone, Copy)]
pub(super) struct Masks {
    pub(super) quote: u64,
    pub(super) delimiter: u64,
    pub(super) lf: u64,
    pub(super) cr: u64,
}

/// What the masks mean: delimiters between fields, ends of rows, the LF of a CRLF.
pub(super) struct Structure {
    pub(super) delimiters: u64,
    pub(super) ends: u64,
    pub(super) second_ends: u64,
}

/// What a piece of text holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Bytes from 0x80 on.
    pub(super) beyond_ascii: bool,
    /// A NUL byte.
    pub(super) nul: bool,
}

/// A place between two pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    /// The line, from 1.
    pub(super) line: u64,
    after_cr: bool,
}

impl Position {
    /// The line behind some more text.
    pub(super) fn line_after(self, text: &[u8]) -> u64 {
        // The LF of a CRLF ends no line of its own.
        let counted = u64::from(self.after_cr && text.first() == Some(&b'\n'));
        self.line + count_lines(text) - counted
    }
}

/// The end of the text: what was counted.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) rows: u64,
    pub(super) ragged: u64,
    pub(super) blank: u64,
    pub(super) columns: u64,
    pub(super) line_ending: Option<LineEnding>,
}

impl Counter {
    /// `lines_before` are those cut off from the text's beginning.
    pub(super) fn new(delimiter: u8, strict: bool, lines_before: u64) -> Self {
        Self {
            level: Level::new(),
            delimiter,
            strict,
            carry: Carry {
                quoted: 0,
                field_start: 1,
                after_quote: 0,
                after_cr: 0,
                after_end: 1,
            },
            expected: None,
            pattern: None,
            with_cr: false,
            delimiters: 0,
            row_base: 0,
            rows: 0,
            ragged: 0,
            blank: 0,
            lines: lines_before,
            row_ends: 0,
            row_ends_by_cr: 0,
            row_ends_by_crlf: 0,
            open_row: OpenRow {
                line: lines_before + 1,
                only_blanks: true,
            },
            quote_line: 0,
            fault_at: 0,
        }
    }

    /// Where the next byte is.
    pub(super) fn position(&self) -> Position {
        Position {
            line: self.lines + 1,
            after_cr: self.carry.after_cr != 0,
        }
    }

    /// Counts the next piece of the text.
    pub(super) fn feed(&mut self, text: &[u8]) -> Result<Seen, Error> {
        if text.is_empty() {
            return Ok(Seen::default());
        }
        let mut piece = Piece {
            text,
            start: self.position(),
            row_start: None,
            after_quote: self.carry.after_quote != 0,
        };
        let level = self.level;
        let seen = dispatch!(level, simd => scan(simd, self, &mut piece))?;
        self.close_piece(&piece);
        Ok(seen)
    }

    /// Remembers, for the next piece, where its open row and its open quote began.
    fn close_piece(&mut self, piece: &Piece<'_>) {
        if let Some(start) = piece.row_start {
            // The open row is short beside the piece: counting from behind is quicker.
            let open = &piece.text[start..];
            let line = self.lines + 1 - count_lines(open);
            self.open_row = OpenRow {
                line,
                only_blanks: only_blanks(open),
            };
        } else {
            self.open_row.only_blanks &= only_blanks(piece.text);
        }
        // A quote at the very end may turn out to be the first of a doubled one.
        let field = match piece.text {
            text if self.carry.quoted != 0 => text,
            [text @ .., b'"'] if self.carry.after_quote != 0 => text,
            _ => return,
        };
        if let Some(open) = piece.opening_quote(field) {
            self.quote_line = self.lines + 1 - count_lines(&piece.text[open..]);
        }
    }

    /// The text has ended: counts the last row if no line end followed it.
    pub(super) fn finish(mut self) -> Result<Counts, Error> {
        if self.carry.quoted != 0 {
            return Err(Error::at_line(
                self.quote_line,
                "a quote is opened here and not closed until the end of the file",
            ));
        }
        if self.carry.after_end == 0 {
            let fields = self.delimiters - self.row_base;
            self.rows += 1;
            if self.expected != Some(fields) {
                let piece = Piece {
                    text: &[],
                    start: self.position(),
                    row_start: None,
                    after_quote: false,
                };
                self.odd_row(&piece, None, 0, fields)?;
            }
        }
        let line_ending = match (self.row_ends, self.row_ends_by_cr, self.row_ends_by_crlf) {
            (0, ..) => None,
            (_, 0, _) => Some(LineEnding::Lf),
            (all, by_cr, by_crlf) if by_cr == all && by_crlf == all => Some(LineEnding::CrLf),
            (all, by_cr, 0) if by_cr == all => Some(LineEnding::Cr),
            _ => Some(LineEnding::Mixed),
        };
        Ok(Counts {
            rows: self.rows,
            ragged: self.ragged,
            blank: self.blank,
            columns: self.expected.map_or(0, |delimiters| delimiters + 1),
            line_ending,
        })
    }

    /// Splits the block byte by byte: a quote opens only at the beginning of a field, and elsewhere in an unquoted
    /// field it is a character like others.
    #[cold]
    #[inline(never)]
    fn exact(&mut self, block: &[u8], masks: Masks) -> Structure {
        #[derive(PartialEq)]
        enum At {
            FieldStart,
            Unquoted,
            Quoted,
            AfterQuote,
        }
        let mut at = if self.carry.quoted != 0 {
            At::Quoted
        } else if self.carry.field_start != 0 {
            At::FieldStart
        } else if self.carry.after_quote != 0 {
            At::AfterQuote
        } else {
            At::Unquoted
        };
        let mut after_cr = self.carry.after_cr != 0;
        let mut found = Structure {
            delimiters: 0,
            ends: 0,
            second_ends: 0,
        };
        for place in 0..block.len() {
            let bit = 1 << place;
            let (lf, cr) = (masks.lf & bit != 0, masks.cr & bit != 0);
            at = match at {
                At::Quoted if masks.quote & bit != 0 => At::AfterQuote,
                At::Quoted => At::Quoted,
                At::FieldStart | At::AfterQuote if masks.quote & bit != 0 => At::Quoted,
                _ if masks.delimiter & bit != 0 => {
                    found.delimiters |= bit;
                    At::FieldStart
                }
                _ if lf && after_cr => {
                    found.second_ends |= bit;
                    At::FieldStart
                }
                _ if lf || cr => {
                    found.ends |= bit;
                    At::FieldStart
                }
                _ => At::Unquoted,
            };
            after_cr = cr;
        }
        self.carry.quoted = if at == At::Quoted { u64::MAX } else { 0 };
        self.carry.field_start = u64::from(at == At::FieldStart);
        self.carry.after_quote = u64::from(at == At::AfterQuote);
        found
    }

    /// Takes one block in. `length` is the number of its bytes, `at` its place in the piece.
    #[inline(always)]
    fn block(&mut self, piece: &mut Piece<'_>, at: usize, length: usize, masks: Masks) -> Result<(), Error> {
        let last = length - 1;
        let after_cr = (masks.cr << 1) | self.carry.after_cr;
        let second_ends = masks.lf & after_cr;
        let line_ends = (masks.lf | masks.cr) & !second_ends;
        let (mut found, quoted, misplaced) = split(masks, self.carry, second_ends, line_ends);
        if misplaced == 0 {
            self.carry.quoted = 0_u64.wrapping_sub(quoted >> 63);
            self.carry.field_start = ((found.delimiters | found.ends | found.second_ends) >> last) & 1;
            self.carry.after_quote = (masks.quote >> last) & 1;
        } else {
            found = self.exact(&piece.text[at..at + length], masks);
        }
        self.carry.after_cr = (masks.cr >> last) & 1;

        let ending = found.ends | found.second_ends;
        let blank = found.ends & ((ending << 1) | self.carry.after_end);
        self.carry.after_end = (ending >> last) & 1;
        let mut rows = found.ends & !blank;
        while rows != 0 {
            let end = rows.trailing_zeros();
            let before = (1_u64 << end) - 1;
            let delimiters = self.delimiters + u64::from((found.delimiters & before).count_ones());
            let fields = delimiters - self.row_base;
            self.row_base = delimiters;
            self.rows += 1;
            if self.expected != Some(fields) {
                let start = match ending & before {
                    0 => piece.row_start,
                    earlier => Some(at + BLOCK - earlier.leading_zeros() as usize),
                };
                self.odd_row(piece, start, at + end as usize, fields)?;
            }
            rows &= rows - 1;
        }
        self.delimiters += u64::from(found.delimiters.count_ones());
        self.lines += u64::from(line_ends.count_ones());
        self.row_ends += u64::from(found.ends.count_ones());
        if blank != 0 {
            self.blank += u64::from(blank.count_ones());
        }
        if masks.cr | found.second_ends != 0 {
            self.row_ends_by_cr += u64::from((found.ends & masks.cr).count_ones());
            self.row_ends_by_crlf += u64::from(found.second_ends.count_ones());
        }
        if ending != 0 {
            piece.row_start = Some(at + BLOCK - ending.leading_zeros() as usize);
        }
        Ok(())
    }

    /// A row that has not as many delimiters as expected: the first row, a line of blanks, or a fault. `start` and
    /// `end` are places in the piece; without a start it begins in an earlier one.
    #[cold]
    #[inline(never)]
    fn odd_row(
        &mut self,
        piece: &Piece<'_>,
        start: Option<usize>,
        end: usize,
        delimiters: u64,
    ) -> Result<(), Error> {
        let blanks = (start.is_some() || self.open_row.only_blanks)
            && only_blanks(&piece.text[start.unwrap_or(0)..end]);
        if delimiters == 0 && blanks {
            self.rows -= 1;
            self.blank += 1;
            return Ok(());
        }
        let Some(expected) = self.expected else {
            self.expected = Some(delimiters);
            self.pattern = Pattern::new(delimiters).map(Box::new);
            return Ok(());
        };
        if !self.strict {
            self.ragged += 1;
            return Ok(());
        }
        self.fault_at = end;
        let line = start.map_or(self.open_row.line, |start| piece.line_of(start));
        let (found, expected) = (delimiters + 1, expected + 1);
        let plural = if found == 1 { "" } else { "s" };
        Err(Error::at_line(
            line,
            format!("the row has {found} field{plural}, the first row has {expected}"),
        ))
    }
}

/// The text that is being counted.
pub(super) struct Piece<'a> {
    pub(super) text: &'a [u8],
    start: Position,
    /// Where the row that is being counted begins; none in an earlier piece.
    pub(super) row_start: Option<usize>,
    /// The piece before ended with a quote that closed its field, or is the first of a doubled one.
    pub(super) after_quote: bool,
}

impl Piece<'_> {
    /// The line of a place in the piece, from 1.
    fn line_of(&self, place: usize) -> u64 {
        self.start.line_after(&self.text[..place])
    }

    /// The quote that opened the field which `text`, a beginning of the piece, leaves open; none when an earlier
    /// piece holds it.
    fn opening_quote(&self, text: &[u8]) -> Option<usize> {
        let mut end = text.len();
        loop {
            let quote = memchr::memrchr(b'"', &text[..end])?;
            // Doubled quotes lie inside of the field.
            let doubled = if quote == 0 {
                self.after_quote
            } else {
                text[quote - 1] == b'"'
            };
            if !doubled {
                return Some(quote);
            }
            end = quote.saturating_sub(1);
        }
    }
}

/// Line ends in a text, as an editor counts them.
fn count_lines(text: &[u8]) -> u64 {
    let lf = memchr::memchr_iter(b'\n', text).count();
    let lone_cr = memchr::memchr_iter(b'\r', text)
        .filter(|cr| text.get(cr + 1) != Some(&b'\n'))
        .count();
    (lf + lone_cr) as u64
}

/// Whether a row holds nothing that is to be seen. 0x1A ended files under DOS.
fn only_blanks(row: &[u8]) -> bool {
    row.iter()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0B | 0x0C | 0x1A))
}

/// Splits a block by the parity of its quotes. Also gives what is inside of quotes, and the quotes that stand where no
/// field begins: with one of those the rest is wrong.
#[inline(always)]
pub(super) fn split(masks: Masks, carry: Carry, second_ends: u64, line_ends: u64) -> (Structure, u64, u64) {
    let quoted = prefix_xor(masks.quote) ^ carry.quoted;
    let delimiters = masks.delimiter & !quoted;
    let ends = line_ends & !quoted;
    let second_ends = second_ends & !quoted;
    let may_open =
        ((delimiters | ends | second_ends | masks.quote) << 1) | carry.field_start | carry.after_quote;
    (
        Structure {
            delimiters,
            ends,
            second_ends,
        },
        quoted,
        masks.quote & quoted & !may_open,
    )
}

/// Bit n of the answer is the parity of the bits 0 to n.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^ (bits << 32)
}

/// Reads masks from bytes, and remembers what kinds of bytes there were.
pub(super) struct Reader<S: Simd> {
    pub(super) simd: S,
    delimiter: u8x64<S>,
    smallest: u8x64<S>,
    union: u8x64<S>,
}

impl<S: Simd> Reader<S> {
    #[inline(always)]
    fn new(simd: S, delimiter: u8) -> Self {
        Self {
            simd,
            delimiter: u8x64::splat(simd, delimiter),
            smallest: u8x64::splat(simd, u8::MAX),
            union: u8x64::splat(simd, 0),
        }
    }

    #[inline(always)]
    pub(super) fn masks(&mut self, block: &[u8; BLOCK]) -> Masks {
        let simd = self.simd;
        let bytes = u8x64::from_slice(simd, block);
        self.smallest = self.smallest.min(bytes);
        self.union |= bytes;
        Masks {
            quote: bytes.simd_eq(u8x64::splat(simd, b'"')).to_bitmask(),
            delimiter: bytes.simd_eq(self.delimiter).to_bitmask(),
            lf: bytes.simd_eq(u8x64::splat(simd, b'\n')).to_bitmask(),
            cr: bytes.simd_eq(u8x64::splat(simd, b'\r')).to_bitmask(),
        }
    }

    #[inline(always)]
    fn seen(&self) -> Seen {
        Seen {
            beyond_ascii: !self.union.simd_lt(u8x64::splat(self.simd, 0x80)).all_true(),
            nul: self.smallest.simd_eq(u8x64::splat(self.simd, 0)).any_true(),
        }
    }
}

#[inline(always)]
fn scan<S: Simd>(simd: S, counter: &mut Counter, piece: &mut Piece<'_>) -> Result<Seen, Error> {
    simd.vectorize(
        #[inline(always)]
        || scan_vectorized(simd, counter, piece),
    )
}

/// Takes the piece in by batches: quickly where all is regular, else block by block.
#[inline(always)]
fn scan_vectorized<S: Simd>(simd: S, counter: &mut Counter, piece: &mut Piece<'_>) -> Result<Seen, Error> {
    let mut reader = Reader::new(simd, counter.delimiter);
    let (blocks, rest) = piece.text.as_chunks::<BLOCK>();
    let mut at = 0;
    for batch in blocks.chunks(regular::BATCH) {
        if !regular::take_batch(&mut reader, counter, piece, batch, at) {
            for (number, block) in batch.iter().enumerate() {
                counter.block(piece, at + number * BLOCK, BLOCK, reader.masks(block))?;
            }
        }
        at += batch.len() * BLOCK;
    }
    if !rest.is_empty() {
        // A space is no sign of any dialect: it fills the last block up.
        let mut last = [b' '; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        counter.block(piece, at, rest.len(), reader.masks(&last))?;
    }
    Ok(reader.seen())
}
