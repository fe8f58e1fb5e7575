//! Zip archives, read from their central directory (APPNOTE.TXT of PKWARE, sections 4.3 and 4.4).
//!
//! Written for hostile files: every offset is checked against the file, entries must not share bytes, sizes must be
//! true, checksums are verified, and a part is inflated only as fast as it is read.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

use flate2::{Decompress, FlushDecompress, Status};

use super::{Limits, read_up_to};
use crate::Error;

const END_BYTES: usize = 22;
const LONGEST_COMMENT: usize = 65_535;
const LOCAL_BYTES: u64 = 30;
const DIRECTORY_ENTRY_BYTES: usize = 46;

/// The most bytes of a central directory: 10,000 entries with long names.
const LONGEST_DIRECTORY: u64 = 16 << 20;

/// An archive whose directory was read and found sound.
pub(super) struct Archive<R> {
    input: R,
    entries: HashMap<String, Entry>,
    ratio: u64,
    /// Bytes that may still be inflated.
    allowance: u64,
    inflated_limit: u64,
}

/// One part of an archive.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    name: String,
    stored: bool,
    crc: u32,
    compressed: u64,
    size: u64,
    /// Where the local header begins.
    offset: u64,
}

/// Where the central directory is.
struct Directory {
    entries: u64,
    offset: u64,
    size: u64,
    /// Where the directory must have ended.
    end: u64,
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the central directory.
    pub(super) fn open(mut input: R, limits: &Limits) -> Result<Self, Error> {
        let length = input.seek(SeekFrom::End(0))?;
        let directory = find_directory(&mut input, length)?;
        if directory.entries > limits.entries {
            return Err(Error::Limit {
                limit: "the number of entries of the archive",
                value: limits.entries,
            });
        }
        if directory.size > LONGEST_DIRECTORY {
            return Err(Error::Limit {
                limit: "the archive's directory, in bytes,",
                value: LONGEST_DIRECTORY,
            });
        }
        if directory
            .offset
            .checked_add(directory.size)
            .is_none_or(|end| end > directory.end)
        {
            return Err(Error::malformed(
                "the archive's directory lies outside of the file",
            ));
        }
        input.seek(SeekFrom::Start(directory.offset))?;
        let mut bytes = vec![0; directory.size as usize];
        input.read_exact(&mut bytes)?;
        let entries = read_entries(&bytes, &directory)?;
        refuse_overlaps(&entries, directory.offset)?;
        let mut by_name = HashMap::with_capacity(entries.len());
        for entry in entries {
            if by_name.insert(entry.name.to_ascii_lowercase(), entry).is_some() {
                return Err(Error::malformed("two entries of the archive have the same name"));
            }
        }
        Ok(Self {
            input,
            entries: by_name,
            ratio: limits.ratio,
            allowance: limits.inflated_bytes,
            inflated_limit: limits.inflated_bytes,
        })
    }

    /// The entry of that name, in any case of letters, as Office does.
    pub(super) fn find(&self, name: &str) -> Option<Entry> {
        self.entries
            .get(&name.trim_start_matches('/').to_ascii_lowercase())
            .cloned()
    }

    /// Opens a part. The name is for the error.
    pub(super) fn open_part(&mut self, name: &str) -> Result<Part<'_, R>, Error> {
        let entry = self
            .find(name)
            .ok_or_else(|| Error::malformed(format!("the archive has no part {name:?}")))?;
        self.input.seek(SeekFrom::Start(entry.offset))?;
        let mut local = [0; LOCAL_BYTES as usize];
        self.input.read_exact(&mut local)?;
        if local[..4] != *b"PK\x03\x04" {
            return Err(Error::malformed(format!(
                "{}: no entry begins where the directory says",
                entry.name
            )));
        }
        let skip = i64::from(u16_at(&local, 26)) + i64::from(u16_at(&local, 28));
        self.input.seek(SeekFrom::Current(skip))?;
        Ok(Part {
            left: entry.compressed,
            inflate: (!entry.stored).then(|| Decompress::new(false)),
            entry,
            archive: self,
            buffer: vec![0; 64 << 10],
            start: 0,
            end: 0,
            made: 0,
            crc: crc32fast::Hasher::new(),
            done: false,
        })
    }
}

/// A part that is being read.
pub(super) struct Part<'a, R> {
    archive: &'a mut Archive<R>,
    entry: Entry,
    /// Compressed bytes that were not read from the input yet.
    left: u64,
    inflate: Option<Decompress>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes that were given out.
    made: u64,
    crc: crc32fast::Hasher,
    done: bool,
}

impl<R: Read + Seek> Part<'_, R> {
    /// Fills `out` from its beginning, some of it at least; 0 at the part's end, which is verified.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let mut made = 0;
        while made == 0 && !self.done && !out.is_empty() {
            if self.start == self.end && self.left > 0 {
                let wish = self.left.min(self.buffer.len() as u64) as usize;
                let read = read_up_to(&mut self.archive.input, &mut self.buffer[..wish])?;
                if read < wish {
                    return Err(self.fault("the file ends in the middle of it"));
                }
                (self.start, self.end) = (0, read);
                self.left -= read as u64;
            }
            made = self.step(out)?;
        }
        self.made += made as u64;
        self.crc.update(&out[..made]);
        self.check_limits(made as u64)?;
        if self.done && made == 0 {
            self.check_end()?;
        }
        Ok(made)
    }

    /// Moves bytes from the buffer to `out`.
    fn step(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        let Some(inflate) = &mut self.inflate else {
            let count = (self.end - self.start).min(out.len());
            out[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
            self.done = count == 0;
            return Ok(count);
        };
        let (read_before, made_before) = (inflate.total_in(), inflate.total_out());
        let status = inflate
            .decompress(&self.buffer[self.start..self.end], out, FlushDecompress::None)
            .map_err(|_| Error::malformed(format!("{}: the compressed data is damaged", self.entry.name)))?;
        let read = (inflate.total_in() - read_before) as usize;
        let made = (inflate.total_out() - made_before) as usize;
        self.start += read;
        self.done = status == Status::StreamEnd;
        if read == 0 && made == 0 && !self.done {
            return Err(self.fault("the compressed data ends too early"));
        }
        Ok(made)
    }

    fn check_limits(&mut self, made: u64) -> Result<(), Error> {
        let archive = &mut *self.archive;
        archive.allowance = archive.allowance.checked_sub(made).ok_or(Error::Limit {
            limit: "the size of the inflated workbook, in bytes,",
            value: archive.inflated_limit,
        })?;
        if self.made > self.entry.size {
            return Err(self.fault("it is larger than the directory says"));
        }
        let read = self.entry.compressed - self.left - (self.end - self.start) as u64;
        let too_much = self.made > Limits::RATIO_FROM && self.made / read.max(1) > archive.ratio;
        if too_much {
            return Err(Error::Limit {
                limit: "the ratio of inflated to compressed bytes",
                value: archive.ratio,
            });
        }
        Ok(())
    }

    fn check_end(&self) -> Result<(), Error> {
        if self.made != self.entry.size || self.left > 0 || self.start != self.end {
            return Err(self.fault("its size is not what the directory says"));
        }
        if self.crc.clone().finalize() != self.entry.crc {
            return Err(self.fault("its checksum is wrong"));
        }
        Ok(())
    }

    fn fault(&self, what: &str) -> Error {
        Error::malformed(format!("{}: {what}", self.entry.name))
    }
}

/// Finds the end record, and that of zip64 before it.
fn find_directory(input: &mut (impl Read + Seek), length: u64) -> Result<Directory, Error> {
    let tail_bytes = length.min((END_BYTES + LONGEST_COMMENT) as u64);
    let tail_start = length - tail_bytes;
    input.seek(SeekFrom::Start(tail_start))?;
    let mut tail = vec![0; tail_bytes as usize];
    input.read_exact(&mut tail)?;
    let end = memchr::memmem::rfind_iter(&tail, b"PK\x05\x06")
        .find(|&at| {
            tail.len() >= at + END_BYTES && at + END_BYTES + usize::from(u16_at(&tail, at + 20)) <= tail.len()
        })
        .ok_or_else(|| Error::malformed("the archive has no directory: it is no zip archive, or cut off"))?;
    let record = &tail[end..];
    if u16_at(record, 4) != u16_at(record, 6) {
        return Err(Error::Unsupported("an archive in several files".to_owned()));
    }
    let mut directory = Directory {
        entries: u64::from(u16_at(record, 10)),
        size: u64::from(u32_at(record, 12)),
        offset: u64::from(u32_at(record, 16)),
        end: tail_start + end as u64,
    };
    let full =
        directory.entries == 0xFFFF || directory.size == 0xFFFF_FFFF || directory.offset == 0xFFFF_FFFF;
    if full && end >= 20 && tail[end - 20..end - 16] == *b"PK\x06\x07" {
        let place = u64_at(&tail, end - 12);
        if place.checked_add(56).is_none_or(|past| past > directory.end) {
            return Err(Error::malformed(
                "the archive's zip64 record lies outside of the file",
            ));
        }
        input.seek(SeekFrom::Start(place))?;
        let mut record = [0; 56];
        input.read_exact(&mut record)?;
        if record[..4] != *b"PK\x06\x06" {
            return Err(Error::malformed(
                "the archive's zip64 record is not where it should be",
            ));
        }
        directory = Directory {
            entries: u64_at(&record, 32),
            size: u64_at(&record, 40),
            offset: u64_at(&record, 48),
            end: place,
        };
    }
    Ok(directory)
}

fn read_entries(bytes: &[u8], directory: &Directory) -> Result<Vec<Entry>, Error> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    for _ in 0..directory.entries {
        if rest.len() < DIRECTORY_ENTRY_BYTES || rest[..4] != *b"PK\x01\x02" {
            return Err(Error::malformed(
                "the archive's directory has fewer entries than it says",
            ));
        }
        let (name, extra) = (usize::from(u16_at(rest, 28)), usize::from(u16_at(rest, 30)));
        let total = DIRECTORY_ENTRY_BYTES + name + extra + usize::from(u16_at(rest, 32));
        if rest.len() < total {
            return Err(Error::malformed("the archive's directory is cut off"));
        }
        let (name, extra) = rest[DIRECTORY_ENTRY_BYTES..total].split_at(name);
        let extra = &extra[..usize::from(u16_at(rest, 30))];
        let name = String::from_utf8_lossy(name).replace('\\', "/");
        if u16_at(rest, 8) & 1 != 0 {
            return Err(Error::Encrypted);
        }
        let method = u16_at(rest, 10);
        if name.contains('\0') || name.split('/').any(|step| step == "..") {
            return Err(Error::malformed("an entry's name leads out of the archive"));
        }
        let mut entry = Entry {
            stored: method == 0,
            crc: u32_at(rest, 16),
            compressed: u64::from(u32_at(rest, 20)),
            size: u64::from(u32_at(rest, 24)),
            offset: u64::from(u32_at(rest, 42)),
            name,
        };
        if !matches!(method, 0 | 8) {
            return Err(Error::Unsupported(format!(
                "the compression {method} of {}",
                entry.name
            )));
        }
        read_zip64(extra, &mut entry)?;
        if entry.stored && entry.compressed != entry.size {
            return Err(Error::malformed(format!(
                "{}: its sizes contradict each other",
                entry.name
            )));
        }
        entries.push(entry);
        rest = &rest[total..];
    }
    Ok(entries)
}

/// The sizes that do not fit into 32 bits, from the extra field 1, in this order and only those.
fn read_zip64(mut extra: &[u8], entry: &mut Entry) -> Result<(), Error> {
    while extra.len() >= 4 {
        let (kind, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let Some(mut field) = extra.get(4..4 + length) else {
            break;
        };
        if kind == 1 {
            for value in [&mut entry.size, &mut entry.compressed, &mut entry.offset] {
                if *value == 0xFFFF_FFFF {
                    if field.len() < 8 {
                        return Err(Error::malformed(format!(
                            "{}: its zip64 sizes are cut off",
                            entry.name
                        )));
                    }
                    *value = u64_at(field, 0);
                    field = &field[8..];
                }
            }
        }
        extra = &extra[4 + length..];
    }
    Ok(())
}

/// Entries that share bytes are how a small archive is made to inflate to any size.
fn refuse_overlaps(entries: &[Entry], directory: u64) -> Result<(), Error> {
    let mut places: Vec<(u64, u64)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let least = LOCAL_BYTES + entry.name.len().min(1) as u64;
        let end = entry
            .offset
            .checked_add(least)
            .and_then(|data| data.checked_add(entry.compressed));
        match end {
            Some(end) if end <= directory => places.push((entry.offset, end)),
            _ => {
                return Err(Error::malformed(format!(
                    "{}: it lies outside of the archive",
                    entry.name
                )));
            }
        }
    }
    places.sort_unstable();
    if places.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        return Err(Error::malformed("entries of the archive overlap"));
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
