//! Office Open XML workbooks (ECMA-376, part 1, section 18).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Seek};

use super::Limits;
use super::archive::Archive;
use super::sheet::{Budget, Rows, Value};
use super::xml::{Tag, Token, Tokens, decode};
use crate::{Error, Workbook};

/// The most rows of a sheet.
const MOST_ROWS: u64 = 1_048_576;

/// Bytes that are kept of one text.
const TEXT_BYTES: usize = 1_024;

/// A sheet as the workbook lists it.
struct Listed {
    name: String,
    part: String,
    hidden: bool,
}

pub(super) fn inspect(input: impl Read + Seek, limits: &Limits) -> Result<Workbook, Error> {
    let mut archive = Archive::open(input, limits)?;
    if archive.find("EncryptedPackage").is_some() {
        return Err(Error::Encrypted);
    }
    let workbook = workbook_part(&mut archive)?;
    if is_binary(&workbook) {
        return Err(Error::Unsupported("a binary workbook (xlsb)".to_owned()));
    }
    let relations = read_relations(&mut archive, &workbook)?;
    let listed = read_sheet_list(&mut archive, &workbook, &relations, limits)?;
    let mut budget = Budget::new();
    let mut sheets = Vec::with_capacity(listed.len());
    for sheet in listed {
        let (rows, dimension) = read_sheet(&mut archive, &sheet.part, limits, &mut budget)?;
        sheets.push((sheet, rows, dimension));
    }
    let wanted: BTreeMap<u32, String> = sheets
        .iter()
        .flat_map(|(_, rows, _)| rows.shared())
        .map(|number| (number, String::new()))
        .collect();
    let table = relations
        .values()
        .find(|relation| relation.kind == "sharedStrings");
    let strings = match table {
        _ if wanted.is_empty() => BTreeMap::new(),
        Some(table) => read_strings(&mut archive, &table.part, limits, wanted)?,
        None => {
            return Err(Error::malformed(
                "a cell names a string, and the workbook has no strings",
            ));
        }
    };
    let sheets = sheets
        .into_iter()
        .map(|(listed, rows, dimension)| {
            let mut sheet = rows.finish(listed.name, listed.hidden, &strings);
            sheet.dimension = dimension;
            sheet
        })
        .collect();
    Ok(Workbook { sheets })
}

/// The part that lists the sheets; an error if the archive is no workbook.
pub(super) fn workbook_part(archive: &mut Archive<impl Read + Seek>) -> Result<String, Error> {
    let part = if archive.find("_rels/.rels").is_some() {
        let relations = read_relations(archive, "")?;
        let document = relations
            .into_values()
            .find(|relation| relation.kind == "officeDocument");
        document.map(|relation| relation.part)
    } else {
        archive
            .find("xl/workbook.xml")
            .map(|_| "xl/workbook.xml".to_owned())
    };
    let part = part.ok_or_else(|| Error::malformed("the archive holds no workbook"))?;
    if is_binary(&part) {
        return Ok(part);
    }
    let mut tokens = tokens(archive, &part, Limits::default().xml_token_bytes)?;
    loop {
        match tokens.next()? {
            Token::Open(tag) if tag.name == b"workbook" => return Ok(part),
            Token::Open(_) | Token::End => {
                return Err(Error::malformed(
                    "the archive holds another document than a workbook",
                ));
            }
            Token::Close(_) | Token::Text(_) => {}
        }
    }
}

/// Parts of binary workbooks end so, and are not XML.
fn is_binary(part: &str) -> bool {
    part.to_ascii_lowercase().as_bytes().ends_with(b".bin")
}

fn tokens<'a, R: Read + Seek>(
    archive: &'a mut Archive<R>,
    part: &str,
    longest: usize,
) -> Result<Tokens<'a, R>, Error> {
    let opened = archive.open_part(part)?;
    Tokens::new(opened, part, longest)
}

/// A relation of a part to another one.
struct Relation {
    /// The last step of its type.
    kind: String,
    part: String,
}

/// The relations of a part, by their ids. None beyond what 10,000 parts can have.
fn read_relations(
    archive: &mut Archive<impl Read + Seek>,
    of: &str,
) -> Result<HashMap<String, Relation>, Error> {
    const MOST: usize = 20_000;
    let (folder, file) = of.rsplit_once('/').unwrap_or(("", of));
    let name = if folder.is_empty() {
        format!("_rels/{file}.rels")
    } else {
        format!("{folder}/_rels/{file}.rels")
    };
    let mut tokens = tokens(archive, &name, Limits::default().xml_token_bytes)?;
    let mut relations = HashMap::new();
    loop {
        match tokens.next()? {
            Token::Open(tag) if tag.name == b"Relationship" => {
                let external = tag.raw("TargetMode") == Some(b"External");
                let (Some(id), Some(kind), Some(target)) = (
                    tag.attribute("Id"),
                    tag.attribute("Type"),
                    tag.attribute("Target"),
                ) else {
                    continue;
                };
                let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
                if !external && relations.len() < MOST {
                    relations.insert(
                        id,
                        Relation {
                            kind,
                            part: resolve(folder, &target),
                        },
                    );
                }
            }
            Token::End => return Ok(relations),
            _ => {}
        }
    }
}

/// The name of a part from a target, which counts from the folder unless it begins with a slash.
fn resolve(folder: &str, target: &str) -> String {
    let mut steps: Vec<&str> = if target.starts_with('/') {
        Vec::new()
    } else {
        folder.split('/').collect()
    };
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => drop(steps.pop()),
            _ => steps.push(step),
        }
    }
    steps.retain(|step| !step.is_empty());
    steps.join("/")
}

fn read_sheet_list(
    archive: &mut Archive<impl Read + Seek>,
    workbook: &str,
    relations: &HashMap<String, Relation>,
    limits: &Limits,
) -> Result<Vec<Listed>, Error> {
    let mut tokens = tokens(archive, workbook, limits.xml_token_bytes)?;
    let mut listed = Vec::new();
    let mut parts = HashSet::new();
    loop {
        let tag = match tokens.next()? {
            Token::Open(tag) if tag.name == b"sheet" => tag,
            Token::End => return Ok(listed),
            _ => continue,
        };
        let (name, id) = (
            tag.attribute("name").unwrap_or_default(),
            tag.attribute("id").unwrap_or_default(),
        );
        let hidden = matches!(tag.raw("state"), Some(b"hidden" | b"veryHidden"));
        let Some(relation) = relations.get(&id) else {
            return Err(Error::malformed(format!("{workbook}: a sheet has no part")));
        };
        if relation.kind != "worksheet" {
            continue;
        }
        if !parts.insert(relation.part.to_ascii_lowercase()) {
            return Err(Error::malformed(format!(
                "{workbook}: two sheets are the same part"
            )));
        }
        if listed.len() == limits.sheets {
            return Err(Error::Limit {
                limit: "the number of sheets",
                value: limits.sheets as u64,
            });
        }
        listed.push(Listed {
            name,
            part: relation.part.clone(),
            hidden,
        });
    }
}

/// The cell that is being read.
#[derive(Default)]
struct Cell {
    column: u64,
    kind: Vec<u8>,
    text: Vec<u8>,
    /// Inside of `v`, or of a `t` that is not the pronunciation.
    in_value: bool,
    in_pronunciation: bool,
}

impl Cell {
    fn open(&mut self, tag: &Tag<'_>, next_column: u64) {
        self.column = tag.raw("r").and_then(column_of).unwrap_or(next_column);
        self.kind.clear();
        self.kind.extend_from_slice(tag.raw("t").unwrap_or_default());
        self.text.clear();
        self.in_value = false;
        self.in_pronunciation = false;
    }

    fn value(&self) -> Option<Value> {
        if self.text.is_empty() {
            return None;
        }
        match &*self.kind {
            b"s" => std::str::from_utf8(&self.text)
                .ok()?
                .trim()
                .parse()
                .ok()
                .map(Value::Shared),
            b"b" => Some(Value::Text("true".to_owned())),
            _ => Some(Value::Text(decode(&self.text))),
        }
    }
}

/// The column, from 0, of a reference such as `AB12`.
fn column_of(reference: &[u8]) -> Option<u64> {
    let letters = reference.iter().take_while(|byte| byte.is_ascii_alphabetic());
    let mut column = 0_u64;
    for letter in letters {
        column = column.checked_mul(26)? + u64::from(letter.to_ascii_uppercase() - b'A') + 1;
    }
    column.checked_sub(1)
}

/// Counts the rows of a sheet; also gives the dimension it claims.
fn read_sheet(
    archive: &mut Archive<impl Read + Seek>,
    part: &str,
    limits: &Limits,
    budget: &mut Budget,
) -> Result<(Rows, Option<String>), Error> {
    let mut tokens = tokens(archive, part, limits.xml_token_bytes)?;
    let (mut rows, mut dimension, mut cell) = (Rows::default(), None, Cell::default());
    let (mut in_data, mut next_column, mut row_depth) = (false, 0, 0);
    let row_end = memchr::memmem::Finder::new(b"</row>");
    loop {
        if in_data && rows.is_filled() && !rows.keeps() {
            cell.in_value = false;
            tokens.skip_to(&row_end, row_depth);
        }
        let depth = tokens.depth();
        match tokens.next()? {
            Token::End => return Ok((rows, dimension)),
            Token::Open(tag) if in_data => match tag.name {
                b"row" => (next_column, row_depth) = (0, depth + u32::from(!tag.empty)),
                b"c" if rows.keeps() => {
                    cell.open(&tag, next_column);
                    next_column = cell.column + 1;
                }
                b"v" => cell.in_value = !tag.empty,
                b"t" => cell.in_value = !tag.empty && !cell.in_pronunciation,
                b"rPh" => cell.in_pronunciation = !tag.empty,
                b"f" => rows.fill(),
                _ => {}
            },
            Token::Open(tag) => match tag.name {
                b"sheetData" => in_data = !tag.empty,
                b"dimension" => dimension = tag.attribute("ref").filter(|claim| claim.len() <= 30),
                _ => {}
            },
            Token::Text(text) if cell.in_value => {
                rows.fill();
                if rows.keeps() && cell.text.len() < TEXT_BYTES {
                    let length = text.len().min(TEXT_BYTES - cell.text.len());
                    cell.text.extend_from_slice(&text[..length]);
                }
            }
            Token::Text(_) => {}
            Token::Close(name) => match name {
                b"v" | b"t" => cell.in_value = false,
                b"rPh" => cell.in_pronunciation = false,
                b"c" if in_data && rows.keeps() => {
                    if let Some(value) = cell.value() {
                        rows.put(cell.column, value, budget)?;
                    }
                }
                b"row" if in_data => rows.end_row(1, MOST_ROWS)?,
                b"sheetData" => in_data = false,
                _ => {}
            },
        }
    }
}

/// Finds the text of the wanted numbers in the table of strings.
fn read_strings(
    archive: &mut Archive<impl Read + Seek>,
    part: &str,
    limits: &Limits,
    mut wanted: BTreeMap<u32, String>,
) -> Result<BTreeMap<u32, String>, Error> {
    let last = wanted.last_key_value().map_or(0, |(number, _)| *number);
    let mut tokens = tokens(archive, part, limits.xml_token_bytes)?;
    let (mut number, mut text, mut in_text, mut in_pronunciation) = (0_u32, Vec::new(), false, false);
    loop {
        match tokens.next()? {
            Token::Open(tag) => match tag.name {
                b"t" => in_text = !tag.empty && !in_pronunciation,
                b"rPh" => in_pronunciation = !tag.empty,
                b"si" if tag.empty => number = number.saturating_add(1),
                _ => {}
            },
            Token::Text(piece) if in_text && text.len() < TEXT_BYTES && wanted.contains_key(&number) => {
                text.extend_from_slice(&piece[..piece.len().min(TEXT_BYTES - text.len())]);
            }
            Token::Close(b"t") => in_text = false,
            Token::Close(b"rPh") => in_pronunciation = false,
            Token::Close(b"si") => {
                if let Some(string) = wanted.get_mut(&number) {
                    *string = decode(&text);
                }
                text.clear();
                if number == last {
                    return Ok(wanted);
                }
                number += 1;
            }
            Token::Close(_) | Token::Text(_) => {}
            Token::End => return Err(tokens.fault("a cell names a string that is not there")),
        }
    }
}
