//! Workbooks of Excel 97 to 2003: records of BIFF8 ([MS-XLS], section 2.4) in a stream of a compound file ([MS-CFB]).

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Seek, SeekFrom};

use cfb::CompoundFile;

use super::sheet::{Budget, Rows, Value};
use super::{Kind, Limits};
use crate::{Error, Workbook};

/// The most rows of a sheet.
const MOST_ROWS: u64 = 65_536;

/// Characters that are kept of one text.
const TEXT_CHARS: usize = 256;

/// The types of the records that are looked at.
mod record {
    pub(super) const FORMULA: u16 = 0x0006;
    pub(super) const EOF: u16 = 0x000A;
    pub(super) const FILE_PASS: u16 = 0x002F;
    pub(super) const CONTINUE: u16 = 0x003C;
    pub(super) const BOUND_SHEET: u16 = 0x0085;
    pub(super) const MUL_RK: u16 = 0x00BD;
    pub(super) const RICH_STRING: u16 = 0x00D6;
    pub(super) const STRINGS: u16 = 0x00FC;
    pub(super) const LABEL_SHARED: u16 = 0x00FD;
    pub(super) const NUMBER: u16 = 0x0203;
    pub(super) const LABEL: u16 = 0x0204;
    pub(super) const BOOL_OR_ERROR: u16 = 0x0205;
    pub(super) const STRING: u16 = 0x0207;
    pub(super) const RK: u16 = 0x027E;
    pub(super) const BOF: u16 = 0x0809;
}

/// What a compound file is, by its streams; an error if it is an encrypted package.
pub(super) fn recognise(input: impl Read + Seek) -> Result<Option<Kind>, Error> {
    let file = open(input)?;
    if file.is_stream("/EncryptedPackage") {
        return Err(Error::Encrypted);
    }
    Ok((file.is_stream("/Workbook") || file.is_stream("/Book")).then_some(Kind::Xls))
}

/// An error if the compound file wraps an encrypted package.
pub(super) fn refuse_encrypted(input: impl Read + Seek) -> Result<(), Error> {
    recognise(input).map(drop)
}

fn open<R: Read + Seek>(input: R) -> Result<CompoundFile<R>, Error> {
    CompoundFile::open(input).map_err(|error| damaged(&error))
}

/// What the compound file's reader refuses is a fault of the file.
fn damaged(error: &std::io::Error) -> Error {
    Error::malformed(format!("the compound file is damaged: {error}"))
}

/// A sheet as the workbook lists it.
struct Listed {
    name: String,
    /// Where its records begin in the stream.
    offset: u64,
    hidden: bool,
    worksheet: bool,
}

pub(super) fn inspect(input: impl Read + Seek, limits: &Limits) -> Result<Workbook, Error> {
    let mut file = open(input)?;
    if file.is_stream("/EncryptedPackage") {
        return Err(Error::Encrypted);
    }
    if !file.is_stream("/Workbook") {
        return Err(if file.is_stream("/Book") {
            Error::Unsupported("a workbook of Excel 95 or earlier".to_owned())
        } else {
            Error::malformed("the compound file holds no workbook")
        });
    }
    let mut stream = file.open_stream("/Workbook").map_err(|error| damaged(&error))?;
    let mut records = Records::new(&mut stream);
    let listed = read_globals(&mut records, limits)?;
    let mut budget = Budget::new();
    let mut sheets: BTreeMap<u64, Rows> = BTreeMap::new();
    while let Some(start) = records.next_substream()? {
        let rows = read_sheet(&mut records, &mut budget)?;
        if listed
            .iter()
            .any(|sheet| sheet.offset == start && sheet.worksheet)
        {
            sheets.insert(start, rows);
        }
    }
    let mut strings: BTreeMap<u32, String> = sheets
        .values()
        .flat_map(Rows::shared)
        .map(|number| (number, String::new()))
        .collect();
    if !strings.is_empty() {
        stream.seek(SeekFrom::Start(0)).map_err(|error| damaged(&error))?;
        read_strings(&mut Records::new(&mut stream), &mut strings)?;
    }
    let mut workbook = Workbook { sheets: Vec::new() };
    for sheet in listed.into_iter().filter(|sheet| sheet.worksheet) {
        let rows = sheets
            .remove(&sheet.offset)
            .ok_or_else(|| Error::malformed("a sheet does not begin where the workbook says"))?;
        workbook
            .sheets
            .push(rows.finish(sheet.name, sheet.hidden, &strings));
    }
    Ok(workbook)
}

/// The records of the stream, one at a time.
struct Records<R: Read> {
    input: BufReader<R>,
    /// Where the record begins.
    start: u64,
    next: u64,
    kind: u16,
    data: Vec<u8>,
}

impl<R: Read> Records<R> {
    fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(64 << 10, input),
            start: 0,
            next: 0,
            kind: 0,
            data: Vec::new(),
        }
    }

    /// Reads the next record; false at the end of the stream.
    fn advance(&mut self) -> Result<bool, Error> {
        let mut head = [0; 4];
        let read = super::read_up_to(&mut self.input, &mut head).map_err(as_damaged)?;
        if read == 0 || head == [0; 4] {
            // Streams are filled up with zeros.
            return Ok(false);
        }
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        self.kind = u16::from_le_bytes([head[0], head[1]]);
        self.data.resize(length, 0);
        let filled = super::read_up_to(&mut self.input, &mut self.data).map_err(as_damaged)?;
        if read < 4 || filled < length {
            return Err(Error::malformed(format!(
                "the record at byte {} is cut off",
                self.next
            )));
        }
        self.start = self.next;
        self.next += 4 + length as u64;
        Ok(true)
    }

    /// Goes on to the first record of the next substream; where it begins.
    fn next_substream(&mut self) -> Result<Option<u64>, Error> {
        while self.advance()? {
            if self.kind == record::BOF {
                return Ok(Some(self.start));
            }
        }
        Ok(None)
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.data
            .get(at..)?
            .first_chunk()
            .map(|chunk| u16::from_le_bytes(*chunk))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.data
            .get(at..)?
            .first_chunk()
            .map(|chunk| u32::from_le_bytes(*chunk))
    }
}

fn as_damaged(error: Error) -> Error {
    match error {
        Error::Io(error) => damaged(&error),
        other => other,
    }
}

/// The list of sheets, from the first substream.
fn read_globals<R: Read>(records: &mut Records<R>, limits: &Limits) -> Result<Vec<Listed>, Error> {
    if !records.advance()? || records.kind != record::BOF {
        return Err(Error::malformed(
            "the workbook does not begin with its first record",
        ));
    }
    if records.u16(0) != Some(0x0600) {
        return Err(Error::Unsupported("a workbook of Excel 95 or earlier".to_owned()));
    }
    let mut listed = Vec::new();
    while records.advance()? {
        match records.kind {
            record::FILE_PASS => return Err(Error::Encrypted),
            record::EOF => return Ok(listed),
            record::BOUND_SHEET => {
                let cut = || Error::malformed("the list of sheets is cut off");
                let offset = u64::from(records.u32(0).ok_or_else(cut)?);
                let state = records.u16(4).ok_or_else(cut)?;
                let length = usize::from(*records.data.get(6).ok_or_else(cut)?);
                let text = records.data.get(7..).ok_or_else(cut)?;
                if listed.len() == limits.sheets {
                    return Err(Error::Limit {
                        limit: "the number of sheets",
                        value: limits.sheets as u64,
                    });
                }
                listed.push(Listed {
                    name: short_text(text, length),
                    offset,
                    hidden: state & 3 != 0,
                    worksheet: state >> 8 == 0,
                });
            }
            _ => {}
        }
    }
    Err(Error::malformed("the workbook ends too early"))
}

/// Text of so many characters, with its flag of one or two bytes before it, as far as it is there.
fn short_text(bytes: &[u8], chars: usize) -> String {
    let Some((&flags, text)) = bytes.split_first() else {
        return String::new();
    };
    characters(text, chars.min(TEXT_CHARS), flags & 1 != 0)
}

fn characters(text: &[u8], chars: usize, wide: bool) -> String {
    if wide {
        let (units, _) = text.as_chunks::<2>();
        let units: Vec<u16> = units
            .iter()
            .take(chars)
            .map(|unit| u16::from_le_bytes(*unit))
            .collect();
        String::from_utf16_lossy(&units)
    } else {
        text.iter().take(chars).map(|&byte| char::from(byte)).collect()
    }
}

/// The rows of a substream, up to its end. Charts inside of it are substreams of their own.
fn read_sheet<R: Read>(records: &mut Records<R>, budget: &mut Budget) -> Result<Rows, Error> {
    let mut rows = Rows::default();
    let mut seen = vec![0_u64; MOST_ROWS as usize / 64];
    let (mut depth, mut count, mut row) = (1, 0_u64, None);
    let mut formula = None;
    while records.advance()? {
        match records.kind {
            record::BOF => depth += 1,
            record::EOF if depth == 1 => {
                rows.end_row(1, MOST_ROWS)?;
                // Rows that come in pieces count once.
                return Ok(rows.with_count(count));
            }
            record::EOF => depth -= 1,
            record::STRING if depth == 1 => {
                if let Some(column) = formula.take() {
                    let length = usize::from(records.u16(0).unwrap_or(0));
                    let text = short_text(records.data.get(2..).unwrap_or_default(), length);
                    rows.put(column, Value::Text(text), budget)?;
                }
            }
            record::FORMULA
            | record::MUL_RK
            | record::RICH_STRING
            | record::LABEL_SHARED
            | record::NUMBER
            | record::LABEL
            | record::BOOL_OR_ERROR
            | record::RK
                if depth == 1 =>
            {
                let (Some(number), Some(column)) = (records.u16(0), records.u16(2)) else {
                    return Err(Error::malformed(format!(
                        "the cell at byte {} is cut off",
                        records.start
                    )));
                };
                if row.is_some_and(|row| row != number) {
                    rows.end_row(1, MOST_ROWS)?;
                }
                row = Some(number);
                let (word, bit) = (&mut seen[usize::from(number) / 64], 1 << (number % 64));
                count += u64::from(*word & bit == 0);
                *word |= bit;
                formula = (records.kind == record::FORMULA).then_some(u64::from(column));
                read_cell(records, u64::from(column), &mut rows, budget)?;
            }
            _ => {}
        }
    }
    Err(Error::malformed("a sheet ends too early"))
}

fn read_cell<R: Read>(
    records: &Records<R>,
    column: u64,
    rows: &mut Rows,
    budget: &mut Budget,
) -> Result<(), Error> {
    rows.fill();
    if !rows.keeps() {
        return Ok(());
    }
    let data = &records.data;
    let value = match records.kind {
        record::LABEL_SHARED => Value::Shared(records.u32(6).unwrap_or(u32::MAX)),
        record::LABEL | record::RICH_STRING => {
            let length = usize::from(records.u16(6).unwrap_or(0));
            Value::Text(short_text(data.get(8..).unwrap_or_default(), length))
        }
        record::NUMBER | record::FORMULA => {
            let bits = data
                .get(6..)
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |chunk| u64::from_le_bytes(*chunk));
            if records.kind == record::FORMULA && bits >> 48 == 0xFFFF {
                // No number: its text follows in a record of its own.
                return Ok(());
            }
            Value::Text(f64::from_bits(bits).to_string())
        }
        record::BOOL_OR_ERROR => Value::Text("true".to_owned()),
        record::MUL_RK => {
            let (cells, _) = data
                .get(4..data.len().saturating_sub(2))
                .unwrap_or_default()
                .as_chunks::<6>();
            for (next, cell) in (column..).zip(cells) {
                let number = rk(u32::from_le_bytes([cell[2], cell[3], cell[4], cell[5]]));
                rows.put(next, Value::Text(number), budget)?;
            }
            return Ok(());
        }
        _ => Value::Text(rk(records.u32(6).unwrap_or(0))),
    };
    rows.put(column, value, budget)
}

/// A number in 30 bits ([MS-XLS] 2.5.217).
fn rk(bits: u32) -> String {
    let number = if bits & 2 != 0 {
        f64::from(bits.cast_signed() >> 2)
    } else {
        f64::from_bits(u64::from(bits & !3) << 32)
    };
    (if bits & 1 != 0 { number / 100.0 } else { number }).to_string()
}

/// Finds the text of the wanted numbers in the table of strings, which goes on in further records.
fn read_strings<R: Read>(records: &mut Records<R>, wanted: &mut BTreeMap<u32, String>) -> Result<(), Error> {
    let Some((&last, _)) = wanted.last_key_value() else {
        return Ok(());
    };
    loop {
        if !records.advance()? || records.kind == record::EOF {
            return Err(missing());
        }
        if records.kind == record::STRINGS {
            break;
        }
    }
    let mut table = Table { records, at: 8 };
    for number in 0..=last {
        let text = table.string(wanted.contains_key(&number))?;
        if let Some(wanted) = wanted.get_mut(&number) {
            *wanted = text;
        }
    }
    Ok(())
}

fn missing() -> Error {
    Error::malformed("a cell names a string that is not there")
}

/// The table of strings.
struct Table<'a, R: Read> {
    records: &'a mut Records<R>,
    at: usize,
}

impl<R: Read> Table<'_, R> {
    /// Goes on in the next record where this one is used up.
    fn more(&mut self) -> Result<(), Error> {
        while self.at >= self.records.data.len() {
            if !self.records.advance()? || self.records.kind != record::CONTINUE {
                return Err(missing());
            }
            self.at = 0;
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Error> {
        self.more()?;
        let byte = self.records.data.get(self.at).copied().ok_or_else(missing)?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self, bytes: u32) -> Result<u64, Error> {
        (0..bytes).try_fold(0, |number, place| {
            Ok(number | u64::from(self.byte()?) << (8 * place))
        })
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Error> {
        while bytes > 0 {
            self.more()?;
            let here = bytes.min((self.records.data.len() - self.at) as u64);
            self.at += here as usize;
            bytes -= here;
        }
        Ok(())
    }

    /// Reads one string ([MS-XLS] 2.5.293), and its text if it is wanted.
    fn string(&mut self, wanted: bool) -> Result<String, Error> {
        let mut left = self.number(2)? as usize;
        let flags = self.byte()?;
        let mut wide = flags & 1 != 0;
        let runs = if flags & 8 != 0 { self.number(2)? } else { 0 };
        let extension = if flags & 4 != 0 { self.number(4)? } else { 0 };
        let mut text = String::new();
        while left > 0 {
            if self.at >= self.records.data.len() {
                // The text goes on with a flag of its own.
                self.more()?;
                wide = self.byte()? & 1 != 0;
                continue;
            }
            let width = 1 + usize::from(wide);
            let here = ((self.records.data.len() - self.at) / width).min(left);
            if here == 0 {
                return Err(missing());
            }
            if wanted && text.len() < TEXT_CHARS {
                text += &characters(&self.records.data[self.at..], here.min(TEXT_CHARS), wide);
            }
            self.at += here * width;
            left -= here;
        }
        self.skip(runs * 4 + extension)?;
        Ok(text)
    }
}
