//! OpenDocument spreadsheets (ISO/IEC 26300, part 1, section 9).

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use super::Limits;
use super::archive::Archive;
use super::sheet::{Budget, MOST_COLUMNS, Rows, Value};
use super::xml::{Tag, Token, Tokens, decode};
use crate::{Error, REPORTED_COLUMNS, Workbook};

const MEDIA_TYPE: &[u8] = b"application/vnd.oasis.opendocument.spreadsheet";

/// The most rows of a sheet, those of LibreOffice's largest.
const MOST_ROWS: u64 = 16_777_216;

/// Bytes that are kept of one text.
const TEXT_BYTES: usize = 1_024;

/// Whether the archive says that it is a spreadsheet.
pub(super) fn is_spreadsheet(archive: &mut Archive<impl Read + Seek>) -> Result<bool, Error> {
    if archive.find("mimetype").is_none() {
        return Ok(false);
    }
    let mut part = archive.open_part("mimetype")?;
    let mut head = [0; 64];
    let read = part.read(&mut head)?;
    Ok(head[..read].starts_with(MEDIA_TYPE))
}

pub(super) fn inspect(input: impl Read + Seek, limits: &Limits) -> Result<Workbook, Error> {
    let mut archive = Archive::open(input, limits)?;
    refuse_encrypted(&mut archive, limits)?;
    let part = archive.open_part("content.xml")?;
    let tokens = Tokens::new(part, "content.xml", limits.xml_token_bytes)?;
    let reader = Reader {
        limits,
        budget: Budget::new(),
        workbook: Workbook { sheets: Vec::new() },
        tables: 0,
        spreadsheet: false,
        name: String::new(),
        rows: Rows::default(),
        row_times: 1,
        column: 0,
        cell: None,
    };
    reader.read(tokens)
}

/// The manifest lists what is encrypted.
fn refuse_encrypted(archive: &mut Archive<impl Read + Seek>, limits: &Limits) -> Result<(), Error> {
    const MANIFEST: &str = "META-INF/manifest.xml";
    if archive.find("encrypted-package").is_some() {
        return Err(Error::Encrypted);
    }
    if archive.find(MANIFEST).is_none() {
        return Ok(());
    }
    let part = archive.open_part(MANIFEST)?;
    let mut tokens = Tokens::new(part, MANIFEST, limits.xml_token_bytes)?;
    loop {
        match tokens.next()? {
            Token::Open(tag) if tag.name == b"encryption-data" => return Err(Error::Encrypted),
            Token::End => return Ok(()),
            _ => {}
        }
    }
}

/// The cell that is being read.
struct Cell {
    times: u64,
    /// It has a value, whatever its text.
    valued: bool,
    text: Vec<u8>,
    /// Tags open inside of the cell.
    depth: u32,
    /// Inside of a paragraph of the cell itself, not of a note or a drawing.
    in_text: bool,
}

struct Reader<'a> {
    limits: &'a Limits,
    budget: Budget,
    workbook: Workbook,
    /// Tables that are open: one may lie in a cell of another, and does not count.
    tables: u32,
    spreadsheet: bool,
    name: String,
    rows: Rows,
    row_times: u64,
    column: u64,
    cell: Option<Cell>,
}

impl Reader<'_> {
    fn read(mut self, mut tokens: Tokens<'_, impl Read + Seek>) -> Result<Workbook, Error> {
        loop {
            match tokens.next()? {
                Token::Open(tag) => self.open(&tag)?,
                Token::Close(name) => self.close(name)?,
                Token::Text(text) => {
                    if let Some(cell) = &mut self.cell
                        && cell.in_text
                        && cell.text.len() < TEXT_BYTES
                    {
                        cell.text
                            .extend_from_slice(&text[..text.len().min(TEXT_BYTES - cell.text.len())]);
                    }
                }
                Token::End if self.spreadsheet => return Ok(self.workbook),
                Token::End => return Err(tokens.fault("the document is no spreadsheet")),
            }
        }
    }

    fn open(&mut self, tag: &Tag<'_>) -> Result<(), Error> {
        if let Some(cell) = &mut self.cell {
            self.tables += u32::from(tag.name == b"table" && !tag.empty);
            if !tag.empty {
                cell.depth += 1;
                cell.in_text |= cell.depth == 1 && tag.name == b"p";
            }
            return Ok(());
        }
        match tag.name {
            b"spreadsheet" => self.spreadsheet = true,
            b"table" if self.spreadsheet && !tag.empty => {
                self.tables += 1;
                if self.workbook.sheets.len() == self.limits.sheets {
                    return Err(Error::Limit {
                        limit: "the number of sheets",
                        value: self.limits.sheets as u64,
                    });
                }
                self.name = tag.attribute("name").unwrap_or_default();
            }
            b"table-row" if self.tables == 1 => {
                self.row_times = tag.number("number-rows-repeated").unwrap_or(1);
                self.column = 0;
            }
            b"table-cell" | b"covered-table-cell" if self.tables == 1 => {
                let cell = Cell {
                    times: tag.number("number-columns-repeated").unwrap_or(1),
                    valued: tag.raw("value-type").is_some_and(|kind| kind != b"void"),
                    text: Vec::new(),
                    depth: 0,
                    in_text: false,
                };
                if tag.empty {
                    self.end_cell(cell)?;
                } else {
                    self.cell = Some(cell);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &[u8]) -> Result<(), Error> {
        if let Some(cell) = &mut self.cell {
            if cell.depth > 0 {
                cell.depth -= 1;
                cell.in_text &= cell.depth > 0;
                self.tables -= u32::from(name == b"table" && self.tables > 1);
                return Ok(());
            }
            if let Some(cell) = self.cell.take() {
                return self.end_cell(cell);
            }
        }
        match name {
            b"table-row" if self.tables == 1 => self.rows.end_row(self.row_times, MOST_ROWS)?,
            b"table" if self.tables > 0 => {
                self.tables -= 1;
                if self.tables == 0 {
                    let rows = std::mem::take(&mut self.rows);
                    let name = std::mem::take(&mut self.name);
                    self.workbook
                        .sheets
                        .push(rows.finish(name, false, &BTreeMap::new()));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end_cell(&mut self, cell: Cell) -> Result<(), Error> {
        let next = self.column.saturating_add(cell.times);
        if cell.valued || !cell.text.is_empty() {
            if next > MOST_COLUMNS {
                return Err(Error::malformed(
                    "a cell lies beyond the last column a sheet can have",
                ));
            }
            self.rows.fill();
            if self.rows.keeps() {
                let text = decode(&cell.text);
                let shown = next.min(self.column.max(REPORTED_COLUMNS as u64));
                for column in (self.column..shown).chain([next - 1]) {
                    self.rows
                        .put(column, Value::Text(text.clone()), &mut self.budget)?;
                }
            }
        }
        self.column = next;
        Ok(())
    }
}
