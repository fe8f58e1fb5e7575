//! Delimited text: CSV, TSV and their relatives, in one pass and a fixed memory.
//!
//! The rules are those of RFC 4180, and where it is silent those of the programs that write such files:
//!
//! - Delimiters are comma, semicolon, tab and vertical bar. Rows end with LF, CRLF or CR, mixed as they come.
//! - A quote at the beginning of a field opens it; delimiters and line ends inside belong to the field; a doubled
//!   quote stands for one. A quote elsewhere in an unquoted field is a character (`5" pipe`).
//! - Text behind a closing quote belongs to the field, and quotes in it are characters.
//! - A line without a byte is no row, nor is one of blanks only where there are several columns. The last row need
//!   not have a line end. A last 0x1A of DOS is no row either.
//! - A first line `sep=;` names the delimiter and is no row.
//! - Every row has as many fields as the first one; [`Options::strict`] decides whether others are a fault.
//! - Faults always: a quote that is not closed until the end, bytes that do not belong to the encoding, NUL.

mod dialect;
mod encoding;
mod regular;
mod scan;

use std::io::Read;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

use self::encoding::{Utf8Check, eight_bit, is_single_byte, undefined_bytes};
use self::scan::{Counter, Position, Seen};
use crate::{Error, REPORTED_COLUMNS, Table};

/// Bytes that are read at once; the beginning of the text, from which dialect and encoding are found, is as long.
const PIECE_BYTES: usize = 256 << 10;

/// How delimited text is to be read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The delimiter; none: found out. `text/tab-separated-values` declares a tab.
    pub delimiter: Option<u8>,
    /// The encoding by any of its names (the `charset` of the content type); none: found out. A byte order mark in
    /// the text overrules it.
    pub encoding: Option<String>,
    /// Whether the first row is a header (the `header` parameter of `text/csv`); none: judged.
    pub has_header: Option<bool>,
    /// Whether a row with another number of fields than the first is a fault; else it is counted.
    pub strict: bool,
    /// Bytes that are counted at once, 1 to 256 KiB. The answer never depends on it.
    pub piece_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delimiter: None,
            encoding: None,
            has_header: None,
            strict: true,
            piece_bytes: PIECE_BYTES,
        }
    }
}

/// Reads delimited text to its end and gives its facts. Less than 2 MiB of memory, whatever the size of the text.
///
/// # Errors
/// [`Error::Malformed`] with the line, [`Error::Unsupported`] for UTF-32 and unknown encodings, [`Error::Io`].
pub fn inspect_delimited(mut input: impl Read, options: &Options) -> Result<Table, Error> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut filled = fill(&mut input, &mut buffer)?;
    let mut complete = filled < buffer.len();
    refuse_binary(&buffer[..filled])?;
    let detected = encoding::detect(&buffer[..filled], complete, options.encoding.as_deref())?;
    let mark = detected.mark;
    let mut text = Text::new(detected.encoding);
    let mut start = text.start(&buffer[mark..filled], complete);
    if filled == mark {
        start.clear();
    }
    let mut pass = Pass::begin(&start, complete, &text, options);
    drop(start);
    let (mut at, piece_bytes) = (mark, options.piece_bytes.clamp(1, PIECE_BYTES));
    loop {
        for (number, piece) in buffer[at..filled].chunks(piece_bytes).enumerate() {
            let last = complete && (number + 1) * piece_bytes >= filled - at;
            let rest = &buffer[at + number * piece_bytes..filled];
            text.feed(
                piece,
                last,
                Rest {
                    bytes: rest,
                    complete,
                },
                &mut pass,
            )?;
        }
        if complete {
            break;
        }
        (at, filled) = (0, fill(&mut input, &mut buffer)?);
        complete = filled < buffer.len();
        if filled == 0 {
            text.feed(&[], true, Rest { bytes: &[], complete }, &mut pass)?;
        }
    }
    pass.finish(text.encoding, mark > 0)
}

/// Reads until the buffer is full or the input has ended.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Io(error)),
        }
    }
    Ok(filled)
}

/// Other formats under the name of a table: said plainly, rather than as a fault in a row.
fn refuse_binary(head: &[u8]) -> Result<(), Error> {
    let signatures: [(&[u8], &str); 8] = [
        (b"PK\x03\x04", "a zip archive or a workbook"),
        (
            &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1],
            "an old Office file",
        ),
        (b"%PDF-", "a PDF document"),
        (b"\x89PNG\r\n", "a PNG image"),
        (&[0xFF, 0xD8, 0xFF], "a JPEG image"),
        (&[0x1F, 0x8B, 8], "compressed by gzip"),
        (&[0x28, 0xB5, 0x2F, 0xFD], "compressed by zstd"),
        (b"PAR1", "a Parquet file"),
    ];
    match signatures
        .iter()
        .find(|(signature, _)| head.starts_with(signature))
    {
        Some((_, name)) => Err(Error::at_line(
            1,
            format!("the file is no delimited text but {name}"),
        )),
        None => Ok(()),
    }
}

/// The way from bytes to text in an ASCII-compatible form that can be counted.
struct Text {
    encoding: &'static Encoding,
    way: Way,
}

enum Way {
    /// Counted as it is, and validated. `ascii` while nothing else was seen.
    Utf8 { check: Utf8Check, ascii: bool },
    /// Counted as it is; some bytes are no characters.
    SingleByte { undefined: Box<[bool; 256]> },
    /// Decoded piece by piece.
    Decoded { decoder: Decoder, text: Vec<u8> },
}

impl Text {
    fn new(encoding: &'static Encoding) -> Self {
        let way = if encoding == UTF_8 {
            Way::Utf8 {
                check: Utf8Check::default(),
                ascii: true,
            }
        } else if is_single_byte(encoding) {
            Way::SingleByte {
                undefined: Box::new(undefined_bytes(encoding)),
            }
        } else {
            Way::Decoded {
                decoder: encoding.new_decoder_without_bom_handling(),
                text: vec![0; PIECE_BYTES],
            }
        };
        Self { encoding, way }
    }

    /// The beginning of the text in the form in which it will be counted.
    fn start(&self, head: &[u8], complete: bool) -> Vec<u8> {
        if !matches!(self.way, Way::Decoded { .. }) {
            return head.to_vec();
        }
        let mut text = vec![0; PIECE_BYTES];
        let mut decoder = self.encoding.new_decoder_without_bom_handling();
        let (_, _, written) = decoder.decode_to_utf8_without_replacement(head, &mut text, complete);
        text.truncate(written);
        text
    }

    /// A field's text.
    fn decode(&self, field: &[u8]) -> String {
        match self.way {
            Way::SingleByte { .. } => self.encoding.decode_without_bom_handling(field).0.into_owned(),
            Way::Utf8 { .. } | Way::Decoded { .. } => String::from_utf8_lossy(field).into_owned(),
        }
    }

    /// Validates and counts a piece of the file.
    fn feed(&mut self, piece: &[u8], last: bool, rest: Rest<'_>, pass: &mut Pass) -> Result<(), Error> {
        match &mut self.way {
            Way::Utf8 { check, ascii } => {
                let position = pass.counter.position();
                let counted = pass.count(piece);
                if !check.is_open()
                    && matches!(
                        counted,
                        Ok(Seen {
                            beyond_ascii: false,
                            ..
                        })
                    )
                {
                    return counted.map(drop);
                }
                let Err(place) = check.feed(piece, last) else {
                    *ascii = *ascii && piece[..piece.len().saturating_sub(check.open_bytes())].is_ascii();
                    return counted.map(drop);
                };
                let encoding = if *ascii {
                    eight_bit(rest.bytes, rest.complete)
                } else {
                    UTF_8
                };
                if encoding == UTF_8 {
                    let fault = not_of(self.encoding, position.line_after(&piece[..place.unwrap_or(0)]));
                    return Err(pass.first_of(counted, place, fault));
                }
                // All was ASCII until here: this is where the encoding shows.
                let switched = Self::new(encoding);
                if let Way::Decoded { .. } = switched.way {
                    let what = format!("the encoding {} after a long start in ASCII", encoding.name());
                    return Err(Error::Unsupported(what));
                }
                *self = switched;
                self.refuse_undefined(piece, position, counted, pass)
            }
            Way::SingleByte { .. } => {
                let position = pass.counter.position();
                let counted = pass.count(piece);
                if matches!(
                    counted,
                    Ok(Seen {
                        beyond_ascii: false,
                        ..
                    })
                ) {
                    return Ok(());
                }
                self.refuse_undefined(piece, position, counted, pass)
            }
            Way::Decoded { decoder, text } => {
                let mut bytes = piece;
                loop {
                    let (result, read, written) =
                        decoder.decode_to_utf8_without_replacement(bytes, text, last);
                    pass.count(&text[..written])?;
                    bytes = &bytes[read..];
                    match result {
                        DecoderResult::InputEmpty => return Ok(()),
                        DecoderResult::OutputFull => {}
                        DecoderResult::Malformed(..) => {
                            return Err(not_of(self.encoding, pass.counter.position().line));
                        }
                    }
                }
            }
        }
    }

    fn refuse_undefined(
        &self,
        piece: &[u8],
        position: Position,
        counted: Result<Seen, Error>,
        pass: &Pass,
    ) -> Result<(), Error> {
        let Way::SingleByte { undefined } = &self.way else {
            return counted.map(drop);
        };
        match piece.iter().position(|&byte| undefined[usize::from(byte)]) {
            Some(place) => {
                let fault = not_of(self.encoding, position.line_after(&piece[..place]));
                Err(pass.first_of(counted, Some(place), fault))
            }
            None => counted.map(drop),
        }
    }
}

/// What is left of the buffer, from the piece on.
#[derive(Clone, Copy)]
struct Rest<'a> {
    bytes: &'a [u8],
    /// The file ends with it.
    complete: bool,
}

fn not_of(encoding: &'static Encoding, line: u64) -> Error {
    Error::at_line(
        line,
        format!("a byte here is not part of a character in {}", encoding.name()),
    )
}

/// The one pass over the text.
struct Pass {
    counter: Counter,
    delimiter: u8,
    header: dialect::Header,
    /// Bytes at the beginning that are no row.
    skip: usize,
    /// Where in the piece counting found a fault.
    fault_at: usize,
}

impl Pass {
    fn begin(start: &[u8], complete: bool, text: &Text, options: &Options) -> Self {
        let separator = dialect::separator_line(start);
        let skip = separator.map_or(0, |(_, bytes)| bytes);
        let start = &start[skip..];
        let delimiter = options
            .delimiter
            .or(separator.map(|(delimiter, _)| delimiter))
            .unwrap_or_else(|| dialect::delimiter(start, complete));
        let header = dialect::header(
            start,
            complete,
            delimiter,
            |field| text.decode(field),
            options.has_header,
        );
        let counter = Counter::new(delimiter, options.strict, u64::from(skip > 0));
        Self {
            counter,
            delimiter,
            header,
            skip,
            fault_at: 0,
        }
    }

    fn count(&mut self, piece: &[u8]) -> Result<Seen, Error> {
        let skipped = self.skip.min(piece.len());
        self.skip -= skipped;
        let piece = &piece[skipped..];
        let position = self.counter.position();
        let counted = self.counter.feed(piece);
        self.fault_at = skipped + self.counter.fault_at;
        let suspect = counted.as_ref().map_or(true, |seen| seen.nul);
        if suspect && let Some(place) = memchr::memchr(0, piece) {
            let line = position.line_after(&piece[..place]);
            let fault = Error::at_line(
                line,
                "a NUL byte: the file is not text, or in an unknown encoding",
            );
            let place = skipped + place;
            if counted.is_ok() {
                self.fault_at = usize::MAX;
            }
            let first = self.first_of(counted, Some(place), fault);
            self.fault_at = self.fault_at.min(place);
            return Err(first);
        }
        counted
    }

    /// Of two faults in one piece, the one that is met first; the other one lies at `place`, or before the piece.
    fn first_of(&self, counted: Result<Seen, Error>, place: Option<usize>, other: Error) -> Error {
        match counted {
            Err(error) if place.is_some_and(|place| self.fault_at <= place) => error,
            _ => other,
        }
    }

    fn finish(self, encoding: &'static Encoding, byte_order_mark: bool) -> Result<Table, Error> {
        let counts = self.counter.finish()?;
        let has_header = self.header.found && counts.rows > 0;
        let mut columns = self.header.columns;
        columns.truncate(REPORTED_COLUMNS);
        Ok(Table {
            row_count: counts.rows - u64::from(has_header),
            columns: if has_header { columns } else { Vec::new() },
            column_count: counts.columns,
            delimiter: char::from(self.delimiter),
            encoding: name(encoding),
            byte_order_mark,
            has_header,
            line_ending: counts.line_ending,
            blank_lines: counts.blank,
            ragged_rows: counts.ragged,
        })
    }
}

/// The name in lower case. UTF-16 says its byte order.
fn name(encoding: &'static Encoding) -> String {
    encoding.name().to_ascii_lowercase()
}
