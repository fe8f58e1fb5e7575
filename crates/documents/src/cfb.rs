//! Compound files ([MS-CFB]): the older binary office formats, and what OOXML is wrapped into when it is encrypted.
//!
//! Only the directory's first level is read, and the first bytes of the main stream, where Word and Excel say that
//! they are encrypted.

use std::io::{Read, Seek, SeekFrom};

use crate::{Error, Office};

pub(crate) const MAGIC: [u8; 8] = [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];

/// Sectors of the directory that are read: 4,096 entries at least.
const DIRECTORY_SECTORS: usize = 1_024;
const ENTRY: usize = 128;
/// Streams below this size live in another stream, where their start is not looked up.
const MINI_STREAM: u64 = 4_096;

struct File<'a, R> {
    reader: &'a mut R,
    sector: u64,
    /// Where the sectors of the allocation table are, as far as the header says.
    tables: Vec<u32>,
}

/// An entry of the directory.
struct Entry {
    name: String,
    left: u32,
    right: u32,
    child: u32,
    start: u32,
    size: u64,
}

fn malformed(message: &'static str, offset: u64) -> Error {
    Error::Malformed { message, offset }
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(u32::MAX, u32::from_le_bytes)
}

impl<R: Read + Seek> File<'_, R> {
    fn offset(&self, sector: u32) -> u64 {
        (u64::from(sector) + 1) * self.sector
    }

    fn read(&mut self, offset: u64, size: usize) -> Result<Vec<u8>, Error> {
        self.reader.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        self.reader.take(size as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The sector after `sector` in its chain; nothing at the end.
    fn next(&mut self, sector: u32) -> Result<Option<u32>, Error> {
        let per_table = u32::try_from(self.sector / 4).unwrap_or(128);
        let Some(table) = self.tables.get((sector / per_table) as usize).copied() else {
            return Ok(None);
        };
        let at = self.offset(table) + u64::from(sector % per_table) * 4;
        let entry = self.read(at, 4)?;
        let next = le32(&entry, 0);
        Ok((next < 0xFFFF_FFFA).then_some(next))
    }

    fn directory(&mut self, first: u32) -> Result<Vec<Entry>, Error> {
        let size = usize::try_from(self.sector).unwrap_or(512);
        let mut entries = Vec::new();
        let mut sector = Some(first);
        // A chain that leads back into itself ends at the limit like any other.
        for _ in 0..DIRECTORY_SECTORS {
            let Some(current) = sector else { break };
            let bytes = self.read(self.offset(current), size)?;
            if bytes.len() < ENTRY {
                break;
            }
            entries.extend(bytes.chunks_exact(ENTRY).map(parse_entry));
            sector = self.next(current)?;
        }
        Ok(entries)
    }
}

fn parse_entry(bytes: &[u8]) -> Entry {
    let length = usize::from(u16::from_le_bytes([bytes[64], bytes[65]])).clamp(2, 64) - 2;
    let units = bytes[..length]
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let name = char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Entry {
        name,
        left: le32(bytes, 68),
        right: le32(bytes, 72),
        child: le32(bytes, 76),
        start: le32(bytes, 116),
        size: le32(bytes, 120).into(),
    }
}

/// The entries directly under the root: what is deeper belongs to embedded documents.
fn first_level(entries: &[Entry]) -> Vec<&Entry> {
    let mut level: Vec<&Entry> = Vec::new();
    let mut seen = vec![false; entries.len()];
    let mut waiting: Vec<u32> = entries.first().map(|root| root.child).into_iter().collect();
    while let Some(index) = waiting.pop() {
        let index = index as usize;
        let (Some(entry), Some(seen)) = (entries.get(index), seen.get_mut(index)) else {
            continue;
        };
        if !std::mem::replace(seen, true) {
            level.push(entry);
            waiting.extend([entry.left, entry.right]);
        }
    }
    level
}

/// Says which document a compound file is.
pub(crate) fn recognise<R: Read + Seek>(reader: &mut R) -> Result<Office, Error> {
    let mut file = File {
        reader,
        sector: 512,
        tables: Vec::new(),
    };
    let header = file.read(0, 512)?;
    let shift = header
        .get(30..32)
        .map_or(0, |shift| u16::from_le_bytes([shift[0], shift[1]]));
    if header.len() < 512 || !matches!(shift, 9 | 12) {
        return Err(malformed("the compound file's header is damaged", 30));
    }
    file.sector = 1 << shift;
    file.tables = (0..109).map(|index| le32(&header, 76 + index * 4)).collect();
    let entries = file.directory(le32(&header, 48))?;
    let level = first_level(&entries);
    if level.is_empty() {
        return Err(malformed(
            "the compound file has no directory",
            file.offset(le32(&header, 48)),
        ));
    }
    let find = |name: &str| level.iter().find(|entry| entry.name == name).copied();
    if find("EncryptedPackage").is_some() {
        return Ok(Office {
            media_type: "application/x-ole-storage",
            encrypted: true,
            macros: false,
        });
    }
    let macros = ["Macros", "_VBA_PROJECT_CUR", "_VBA_PROJECT"]
        .iter()
        .any(|name| find(name).is_some());
    if let Some(stream) = find("WordDocument") {
        // FibBase.fEncrypted ([MS-DOC] 2.5.2).
        let flags = main_stream(&mut file, stream)?
            .get(10..12)
            .map_or(0, |f| u16::from_le_bytes([f[0], f[1]]));
        return Ok(Office {
            media_type: "application/msword",
            encrypted: flags & 0x100 != 0,
            macros,
        });
    }
    if let Some(stream) = find("Workbook").or_else(|| find("Book")) {
        let encrypted = has_file_pass(&main_stream(&mut file, stream)?);
        return Ok(Office {
            media_type: "application/vnd.ms-excel",
            encrypted,
            macros,
        });
    }
    if find("PowerPoint Document").is_some() {
        let encrypted = find("EncryptedSummary").is_some();
        return Ok(Office {
            media_type: "application/vnd.ms-powerpoint",
            encrypted,
            macros,
        });
    }
    if find("__properties_version1.0").is_some() {
        return Ok(Office {
            media_type: "application/vnd.ms-outlook",
            encrypted: false,
            macros,
        });
    }
    if find("VisioDocument").is_some() {
        return Ok(Office {
            media_type: "application/vnd.visio",
            encrypted: false,
            macros,
        });
    }
    Err(Error::Unsupported {
        what: "this compound file",
    })
}

/// The first bytes of a stream.
fn main_stream<R: Read + Seek>(file: &mut File<'_, R>, entry: &Entry) -> Result<Vec<u8>, Error> {
    if entry.size < MINI_STREAM {
        return Ok(Vec::new());
    }
    file.read(file.offset(entry.start), 512)
}

/// Whether a `FilePass` record ([MS-XLS] 2.4.117) is among the first records of a workbook.
fn has_file_pass(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    for _ in 0..4 {
        let [kind_low, kind_high, size_low, size_high, ..] = *rest else {
            return false;
        };
        if [kind_low, kind_high] == [0x2F, 0] {
            return true;
        }
        let size = usize::from(u16::from_le_bytes([size_low, size_high]));
        rest = rest.get(4 + size..).unwrap_or_default();
    }
    false
}
