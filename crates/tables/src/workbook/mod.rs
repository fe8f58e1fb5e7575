//! Workbooks: sheets, their rows and columns, without the cells.

mod archive;
mod ods;
mod sheet;
mod xls;
mod xlsx;
mod xml;

use std::io::{Read, Seek, SeekFrom};

use crate::{Error, Workbook};

/// The formats of workbooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Office Open XML (`.xlsx`, `.xlsm`, `.xltx`): ECMA-376.
    Xlsx,
    /// OpenDocument (`.ods`): ISO/IEC 26300.
    Ods,
    /// Excel 97 to 2003 (`.xls`): BIFF8 in a compound file, [MS-XLS].
    Xls,
}

/// What a workbook may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Entries of the zip archive.
    pub entries: u64,
    /// Bytes of all parts that are read, inflated.
    pub inflated_bytes: u64,
    /// How many times larger a part may be than its compressed bytes; not asked below [`Limits::RATIO_FROM`].
    pub ratio: u64,
    /// Bytes of one XML tag.
    pub xml_token_bytes: usize,
    /// Sheets.
    pub sheets: usize,
}

impl Limits {
    /// Inflated bytes from which the ratio is a sign of a bomb and not of a short repetitive part.
    pub const RATIO_FROM: u64 = 4 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 10_000,
            inflated_bytes: 4 << 30,
            ratio: 200,
            xml_token_bytes: 1 << 20,
            sheets: 1_000,
        }
    }
}

/// Reads a workbook and gives the facts of its sheets. The parts are streamed; memory is bounded by the limits on
/// tags, sheets and names, not by the file.
///
/// # Errors
/// [`Error::Malformed`], [`Error::Limit`], [`Error::Encrypted`], [`Error::Unsupported`] for binary workbooks of Excel
/// 2007 (`.xlsb`) and of Excel 95, [`Error::Io`].
pub fn inspect_workbook(mut input: impl Read + Seek, kind: Kind, limits: &Limits) -> Result<Workbook, Error> {
    let compound = is_compound(&mut input)?;
    match kind {
        Kind::Xls => xls::inspect(input, limits),
        // Encryption puts the whole package into a compound file.
        Kind::Xlsx | Kind::Ods if compound => {
            xls::refuse_encrypted(input)?;
            Err(Error::malformed("the file is a compound file, not a zip archive"))
        }
        Kind::Xlsx => xlsx::inspect(input, limits),
        Kind::Ods => ods::inspect(input, limits),
    }
}

/// Finds a workbook's format by its content; none if it is no workbook. The input is left at its beginning.
///
/// # Errors
/// As [`inspect_workbook`]: an archive may be malformed, or beyond the limits, before its kind is known.
pub fn recognise(mut input: impl Read + Seek, limits: &Limits) -> Result<Option<Kind>, Error> {
    let mut head = [0; 4];
    input.seek(SeekFrom::Start(0))?;
    let read = read_up_to(&mut input, &mut head)?;
    let kind = if is_compound(&mut input)? {
        xls::recognise(&mut input)?
    } else if read == 4 && head == *b"PK\x03\x04" {
        let mut archive = archive::Archive::open(&mut input, limits)?;
        if archive.find("xl/workbook.bin").is_some() {
            return Err(Error::Unsupported("a binary workbook (xlsb)".to_owned()));
        }
        if xlsx::workbook_part(&mut archive).is_ok() {
            Some(Kind::Xlsx)
        } else {
            ods::is_spreadsheet(&mut archive)?.then_some(Kind::Ods)
        }
    } else {
        None
    };
    input.seek(SeekFrom::Start(0))?;
    Ok(kind)
}

fn is_compound(input: &mut (impl Read + Seek)) -> Result<bool, Error> {
    let mut head = [0; 8];
    input.seek(SeekFrom::Start(0))?;
    let read = read_up_to(input, &mut head)?;
    input.seek(SeekFrom::Start(0))?;
    Ok(read == 8 && head == [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1])
}

/// Reads until the buffer is full or the input ends.
fn read_up_to(input: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
