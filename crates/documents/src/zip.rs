//! The directory of a zip archive, and the content of single small entries (APPNOTE 6.3.10).
//!
//! Written by hand because so little is needed: no writing, no encryption, two methods, and limits from the start.

use std::io::{Read, Seek, SeekFrom};

use flate2::read::DeflateDecoder;
use memchr::memmem;

use crate::Error;

const DIRECTORY_BYTES: u64 = 4 << 20;
const ENTRIES: usize = 10_000;
/// Content types and manifests are a few kilobytes.
const CONTENT_BYTES: u64 = 2 << 20;
const END_SIZE: u64 = 22;
const COMMENT: u64 = u16::MAX as u64;

pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    method: u16,
    compressed: u64,
    header: u64,
}

pub(crate) struct Directory {
    entries: Vec<Entry>,
}

fn malformed(message: &'static str, offset: u64) -> Error {
    Error::Malformed { message, offset }
}

fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Up to `size` bytes at `offset`.
fn read_at(reader: &mut (impl Read + Seek), offset: u64, size: u64) -> Result<Vec<u8>, Error> {
    reader.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    reader.take(size).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Directory {
    /// Reads the central directory. Archives of more than 4 GiB (Zip64) are no office documents.
    pub(crate) fn read(reader: &mut (impl Read + Seek)) -> Result<Self, Error> {
        let length = reader.seek(SeekFrom::End(0))?;
        let from = length.saturating_sub(END_SIZE + COMMENT);
        let tail = read_at(reader, from, END_SIZE + COMMENT)?;
        let end = memmem::rfind(&tail, b"PK\x05\x06")
            .ok_or_else(|| malformed("the archive has no directory: it is cut off or damaged", length))?;
        let record = &tail[end..];
        let (Some(size), Some(offset)) = (le32(record, 12), le32(record, 16)) else {
            return Err(malformed("the archive's directory is cut off", length));
        };
        let (size, offset) = (u64::from(size), u64::from(offset));
        let place = from + end as u64;
        if size > DIRECTORY_BYTES {
            return Err(Error::LimitExceeded {
                limit: "bytes of an archive's directory",
                value: DIRECTORY_BYTES,
            });
        }
        if offset.saturating_add(size) > place {
            return Err(malformed("the archive's directory lies outside of it", place));
        }
        let bytes = read_at(reader, offset, size)?;
        let mut entries = Vec::new();
        let mut at = 0;
        while let Some(entry) = bytes.get(at..).filter(|rest| rest.starts_with(b"PK\x01\x02")) {
            if entries.len() == ENTRIES {
                return Err(Error::LimitExceeded {
                    limit: "entries of an archive",
                    value: ENTRIES as u64,
                });
            }
            let (parsed, size) = parse_entry(entry)
                .ok_or_else(|| malformed("an entry of the archive is cut off", offset + at as u64))?;
            entries.push(parsed);
            at += size;
        }
        Ok(Self { entries })
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entry of that name. Names that occur twice are how one archive shows two faces; the first counts.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }
}

impl Entry {
    /// The content of the entry.
    pub(crate) fn content(&self, reader: &mut (impl Read + Seek)) -> Result<Vec<u8>, Error> {
        let head = read_at(reader, self.header, 30)?;
        let (Some(name), Some(extra), true) =
            (le16(&head, 26), le16(&head, 28), head.starts_with(b"PK\x03\x04"))
        else {
            return Err(malformed("an entry of the archive has no header", self.header));
        };
        let start = self.header + 30 + u64::from(name) + u64::from(extra);
        reader.seek(SeekFrom::Start(start))?;
        let compressed = reader.take(self.compressed);
        let mut bytes = Vec::new();
        match self.method {
            0 => compressed.take(CONTENT_BYTES + 1).read_to_end(&mut bytes)?,
            8 => DeflateDecoder::new(compressed)
                .take(CONTENT_BYTES + 1)
                .read_to_end(&mut bytes)
                .map_err(|_| malformed("an entry of the archive is damaged", start))?,
            _ => {
                return Err(Error::Unsupported {
                    what: "the compression of this archive",
                });
            }
        };
        if bytes.len() as u64 > CONTENT_BYTES {
            return Err(Error::LimitExceeded {
                limit: "bytes of an archive's entry",
                value: CONTENT_BYTES,
            });
        }
        Ok(bytes)
    }
}

/// An entry of the central directory (APPNOTE 4.3.12) and its size there.
fn parse_entry(bytes: &[u8]) -> Option<(Entry, usize)> {
    let name_length = usize::from(le16(bytes, 28)?);
    let size = 46 + name_length + usize::from(le16(bytes, 30)?) + usize::from(le16(bytes, 32)?);
    let entry = Entry {
        name: bytes.get(46..46 + name_length)?.to_vec(),
        method: le16(bytes, 10)?,
        compressed: le32(bytes, 20)?.into(),
        header: le32(bytes, 42)?.into(),
    };
    Some((entry, size))
}
