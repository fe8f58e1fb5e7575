//! Delimiter and header, from the beginning of the text.

use crate::header::{self, MAX_SAMPLE_ROWS};
use crate::{COLUMN_NAME_CHARS, REPORTED_COLUMNS};

/// The delimiters that are looked for; of two that fit equally well, the earlier one.
const CANDIDATES: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How much of the text decides.
const SAMPLE_BYTES: usize = 64 << 10;

/// Bytes that are kept of one field: a name's characters, of four bytes each, and blanks around it.
const FIELD_BYTES: usize = 4 * COLUMN_NAME_CHARS + 64;

/// One row of the sample.
#[derive(Debug, Default)]
struct Record {
    /// The first fields, unquoted, each cut at [`FIELD_BYTES`].
    fields: Vec<Vec<u8>>,
    /// How many fields the row has.
    count: u64,
}

/// Rows of a text, by the same rules as the counter's.
struct Records<'a> {
    text: &'a [u8],
    delimiter: u8,
    /// Whether the text ends here; else its last row is not whole.
    complete: bool,
    keep_fields: usize,
}

impl Records<'_> {
    /// The next row that is not blank; none at the end. A first row that is cut off is given as far as it goes.
    fn next(&mut self, first: bool) -> Option<Record> {
        loop {
            if self.text.is_empty() {
                return None;
            }
            let (record, whole) = self.read();
            let blank = record.count == 1 && record.fields.first().is_none_or(|field| is_blank(field));
            if !whole && !self.complete && !first {
                return None;
            }
            if !blank {
                return Some(record);
            }
        }
    }

    /// Reads one row; whether its end was seen.
    fn read(&mut self) -> (Record, bool) {
        let mut record = Record {
            fields: vec![Vec::new()],
            count: 1,
        };
        let (mut quoted, mut at_start, mut after_quote) = (false, true, false);
        let mut place = 0;
        while let Some(&byte) = self.text.get(place) {
            place += 1;
            if byte == b'"' && (quoted || at_start || after_quote) {
                if after_quote {
                    record.push(byte);
                }
                after_quote = quoted;
                quoted = !quoted;
                at_start = false;
            } else if quoted {
                record.push(byte);
            } else if byte == self.delimiter {
                record.count += 1;
                if record.fields.len() < self.keep_fields {
                    record.fields.push(Vec::new());
                }
                (at_start, after_quote) = (true, false);
            } else if matches!(byte, b'\r' | b'\n') {
                place += usize::from(byte == b'\r' && self.text.get(place) == Some(&b'\n'));
                self.text = &self.text[place..];
                return (record, true);
            } else {
                record.push(byte);
                (at_start, after_quote) = (false, false);
            }
        }
        self.text = &[];
        (record, false)
    }
}

impl Record {
    fn push(&mut self, byte: u8) {
        if self.count == self.fields.len() as u64
            && let Some(field) = self.fields.last_mut()
            && field.len() < FIELD_BYTES
        {
            field.push(byte);
        }
    }
}

fn is_blank(field: &[u8]) -> bool {
    field
        .iter()
        .all(|byte| byte.is_ascii_whitespace() || matches!(byte, 0x0B | 0x1A))
}

/// The line `sep=;` that Excel writes and reads: the delimiter, and the bytes up to the text itself.
pub(super) fn separator_line(text: &[u8]) -> Option<(u8, usize)> {
    let rest = text
        .strip_prefix(b"sep=")
        .or_else(|| text.strip_prefix(b"\"sep="))?;
    let (&delimiter, rest) = rest.split_first()?;
    let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
    let rest = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n"))?;
    CANDIDATES
        .contains(&delimiter)
        .then(|| (delimiter, text.len() - rest.len()))
}

/// The delimiter with which most rows have as many fields as the first one; of equal ones, that of most fields.
/// A comma where no candidate splits the first row.
pub(super) fn delimiter(text: &[u8], complete: bool) -> u8 {
    let complete = complete && text.len() <= SAMPLE_BYTES;
    let text = &text[..text.len().min(SAMPLE_BYTES)];
    let mut best = (0, 0, b',');
    for candidate in CANDIDATES {
        let mut records = Records {
            text,
            delimiter: candidate,
            complete,
            keep_fields: 1,
        };
        let Some(first) = records.next(true).map(|record| record.count) else {
            continue;
        };
        if first < 2 {
            continue;
        }
        let (mut rows, mut alike) = (1_u64, 1_u64);
        while rows < MAX_SAMPLE_ROWS as u64
            && let Some(record) = records.next(false)
        {
            rows += 1;
            alike += u64::from(record.count == first);
        }
        let score = (alike * 1_000 / rows, first, candidate);
        if (score.0, score.1) > (best.0, best.1) {
            best = score;
        }
    }
    best.2
}

/// The first row of a text.
pub(super) struct Header {
    /// Whether it names the columns.
    pub(super) found: bool,
    /// The names, if it does.
    pub(super) columns: Vec<String>,
}

/// Reads the first row's names, and whether they are names. `declared` overrules the guess.
pub(super) fn header(
    text: &[u8],
    complete: bool,
    delimiter: u8,
    decode: impl Fn(&[u8]) -> String,
    declared: Option<bool>,
) -> Header {
    let mut records = Records {
        text,
        delimiter,
        complete,
        keep_fields: REPORTED_COLUMNS,
    };
    let row = |record: Record| {
        record
            .fields
            .iter()
            .map(|field| decode(field))
            .collect::<Vec<_>>()
    };
    let Some(first) = records.next(true).map(row) else {
        return Header {
            found: false,
            columns: Vec::new(),
        };
    };
    let found = declared.unwrap_or_else(|| {
        let mut body = Vec::new();
        let mut bytes = SAMPLE_BYTES;
        while body.len() < MAX_SAMPLE_ROWS
            && bytes > 0
            && let Some(record) = records.next(false)
        {
            bytes = bytes.saturating_sub(record.fields.iter().map(|field| field.len() + 24).sum());
            body.push(row(record));
        }
        header::names_columns(&first, &body)
    });
    let columns = if found {
        first.iter().map(|name| header::clean_name(name)).collect()
    } else {
        Vec::new()
    };
    Header { found, columns }
}
