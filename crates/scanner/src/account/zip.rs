//! zip (APPNOTE.TXT 6.3.10), read from its first entry on.
//!
//! Readers find entries by the directory at the end, so it must name exactly what was counted: entries that stand one after
//! the other, whole, from the first byte up to the directory, and nothing after its end. Anything else is not counted.

use std::collections::HashMap;

use super::inflate::{Inflate, Progress};
use super::{Beyond, Content, Gather, Used, u16_at, u32_at, u64_at};

const LOCAL: u32 = 0x0403_4B50;
const DESCRIPTOR: u32 = 0x0807_4B50;
const CENTRAL: u32 = 0x0201_4B50;
const SIGNATURE: u32 = 0x0505_4B50;
const END: u32 = 0x0605_4B50;
const END_64: u32 = 0x0606_4B50;
const LOCATOR_64: u32 = 0x0706_4B50;
/// In place of a number that stands in the extra field.
const MARK: u32 = u32::MAX;
/// The extra field with sizes of 8 bytes.
const EXTRA_64: u16 = 1;
/// Longest end record of zip64, in bytes.
const END_64_BYTES_MAX: u64 = 64 * 1024;

/// Encrypted, strongly encrypted, or with masked headers.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
const SIZES_FOLLOW: u16 = 1 << 3;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

#[derive(Debug)]
pub(super) struct Zip {
    depth: u32,
    /// How many bytes were taken in.
    place: u64,
    gather: Gather,
    stage: Stage,
    /// What stands where, of all entries that no line of the directory has named yet.
    entries: HashMap<u64, Counted>,
    /// Where the directory begins.
    directory: Option<u64>,
}

/// An entry as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    method: u16,
    packed_bytes: u64,
    bytes: u64,
}

#[derive(Debug)]
enum Stage {
    /// A signature is next.
    Next,
    Local,
    /// With its name and extra field: this many bytes.
    LocalRest(usize),
    Data(Box<Data>),
    /// Sizes, after the data that they are of.
    Descriptor(u64, Counted),
    Central,
    CentralRest(usize),
    SignatureSize,
    /// Bytes to pass over.
    Skip(u64),
    End64,
    End64Rest(usize),
    End,
    /// This many bytes.
    Comment(usize),
    Over,
}

/// An entry under way.
#[derive(Debug)]
struct Data {
    at: u64,
    content: Content,
    packed: Packed,
    /// What its header says, unless the sizes follow.
    said: Option<Counted>,
}

#[derive(Debug)]
enum Packed {
    /// As it is, with its size and what is left of it.
    Stored(u64, u64),
    Deflated(Inflate),
}

fn irregular(what: &str) -> Beyond {
    Beyond::new(format!("a zip file {what}"))
}

impl Zip {
    pub(super) fn new(depth: u32) -> Self {
        Self {
            depth,
            place: 0,
            gather: Gather::default(),
            stage: Stage::Next,
            entries: HashMap::new(),
            directory: None,
        }
    }

    pub(super) fn push(&mut self, mut input: &[u8], used: &mut Used) -> Result<(), Beyond> {
        while !input.is_empty() {
            let before = input.len();
            match &mut self.stage {
                Stage::Data(_) => {
                    let ended = self.unpack(&mut input, used)?;
                    self.place += (before - input.len()) as u64;
                    if let Some((data, counted)) = ended {
                        self.end_data(*data, counted, used)?;
                    }
                }
                Stage::Skip(left) => {
                    let taken = (input.len() as u64).min(*left);
                    *left -= taken;
                    input = &input[taken as usize..];
                    self.place += taken;
                    if matches!(self.stage, Stage::Skip(0)) {
                        self.stage = Stage::Next;
                    }
                }
                Stage::Over => return Err(irregular("has bytes after its end")),
                stage => {
                    let whole = self.gather.fill(&mut input, stage.length());
                    self.place += (before - input.len()) as u64;
                    if whole {
                        self.read(used)?;
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(&self) -> Result<(), Beyond> {
        match self.stage {
            Stage::Over => Ok(()),
            _ => Err(irregular("is cut off")),
        }
    }

    /// A structure is whole.
    fn read(&mut self, used: &mut Used) -> Result<(), Beyond> {
        let bytes = &self.gather.0;
        self.stage = match self.stage {
            Stage::Next => self.next()?,
            Stage::Local => {
                let rest = usize::from(u16_at(bytes, 26)) + usize::from(u16_at(bytes, 28));
                Stage::LocalRest(30 + rest)
            }
            Stage::LocalRest(_) => self.begin(used)?,
            Stage::Central => {
                let lengths = [28, 30, 32].map(|at| usize::from(u16_at(bytes, at)));
                Stage::CentralRest(46 + lengths.iter().sum::<usize>())
            }
            Stage::CentralRest(_) => {
                let line = self.gather.take();
                self.name_entry(&line)?;
                Stage::Next
            }
            Stage::SignatureSize => Stage::Skip(u64::from(u16_at(&self.gather.take(), 4))),
            Stage::End64 => match u64_at(bytes, 4) {
                size @ 44..END_64_BYTES_MAX => Stage::End64Rest(12 + size as usize),
                _ => return Err(irregular("has an irregular end")),
            },
            Stage::End64Rest(_) => {
                let record = self.gather.take();
                self.admit_directory(u64_at(&record, 48))?;
                Stage::Next
            }
            Stage::End => {
                let record = self.gather.take();
                match u32_at(&record, 16) {
                    MARK => {}
                    offset => self.admit_directory(offset.into())?,
                }
                match usize::from(u16_at(&record, 20)) {
                    0 => Stage::Over,
                    length => Stage::Comment(length),
                }
            }
            Stage::Comment(_) => {
                // Readers look for the end from behind.
                if memchr::memmem::find(&self.gather.take(), &END.to_le_bytes()).is_some() {
                    return Err(irregular("has two ends"));
                }
                Stage::Over
            }
            Stage::Descriptor(at, counted) => {
                let length = descriptor_length(bytes, counted)
                    .ok_or_else(|| irregular("says other sizes than its entries have"))?;
                self.gather.0.drain(..length);
                self.entries.insert(at, counted);
                Stage::Next
            }
            Stage::Data(_) | Stage::Skip(_) | Stage::Over => return Ok(()),
        };
        Ok(())
    }

    /// The signature stays where it is gathered, as the beginning of what it begins.
    fn next(&mut self) -> Result<Stage, Beyond> {
        let signature = u32_at(&self.gather.0, 0);
        if signature != LOCAL && self.directory.is_none() {
            self.directory = Some(self.place - self.gather.0.len() as u64);
        }
        let gathered = self.gather.0.len();
        Ok(match signature {
            LOCAL if self.directory.is_none() => Stage::Local,
            CENTRAL => Stage::Central,
            END => Stage::End,
            // Behind sizes that follow, more than its signature would have been taken.
            SIGNATURE if gathered == 4 => Stage::SignatureSize,
            END_64 if gathered == 4 => Stage::End64,
            LOCATOR_64 if gathered == 4 => {
                self.gather.take();
                Stage::Skip(16)
            }
            _ => return Err(irregular("has gaps")),
        })
    }

    fn admit_directory(&self, said: u64) -> Result<(), Beyond> {
        if self.directory == Some(said) {
            Ok(())
        } else {
            Err(irregular("has its directory at another place than it says"))
        }
    }

    /// A local header is whole.
    fn begin(&mut self, used: &mut Used) -> Result<Stage, Beyond> {
        let header = self.gather.take();
        let at = self.place - header.len() as u64;
        let (flags, method) = (u16_at(&header, 6), u16_at(&header, 8));
        if flags & ENCRYPTED != 0 {
            return Err(irregular("has an encrypted entry"));
        }
        let name = usize::from(u16_at(&header, 26));
        let extra = extra_64(header.get(30 + name..).unwrap_or_default());
        let mut wide = extra.unwrap_or_default().chunks_exact(8);
        let bytes = wide_or(u32_at(&header, 22), &mut wide);
        let packed_bytes = wide_or(u32_at(&header, 18), &mut wide);
        let said = Counted {
            method,
            packed_bytes,
            bytes,
        };
        let follows = flags & SIZES_FOLLOW != 0;
        let packed = match method {
            STORED if follows => return Err(irregular("has a stored entry of unknown size")),
            STORED if bytes != packed_bytes => return Err(irregular("has a stored entry of two sizes")),
            STORED => Packed::Stored(bytes, bytes),
            DEFLATED => Packed::Deflated(Inflate::new(false)),
            other => {
                return Err(irregular(&format!(
                    "has an entry with compression method {other}"
                )));
            }
        };
        let data = Data {
            at,
            content: used.begin(self.depth)?,
            packed,
            said: (!follows).then_some(said),
        };
        Ok(Stage::Data(Box::new(data)))
    }

    /// Unpacks what there is; the entry, when it ends here.
    fn unpack(&mut self, input: &mut &[u8], used: &mut Used) -> Result<Option<(Box<Data>, Counted)>, Beyond> {
        let Stage::Data(data) = &mut self.stage else {
            return Ok(None);
        };
        let counted = match &mut data.packed {
            Packed::Stored(size, left) => {
                let taken = (input.len() as u64).min(*left) as usize;
                let (bytes, rest) = input.split_at(taken);
                *input = rest;
                *left -= taken as u64;
                let left = *left;
                let size = *size;
                data.content.push(bytes, used)?;
                if left > 0 {
                    return Ok(None);
                }
                Counted {
                    method: STORED,
                    packed_bytes: size,
                    bytes: size,
                }
            }
            Packed::Deflated(inflate) => match inflate.push(input, &mut data.content, used)? {
                Progress::More => return Ok(None),
                Progress::Broken => return Err(irregular("has a broken entry")),
                Progress::Ended => {
                    let (packed_bytes, bytes) = inflate.sizes();
                    Counted {
                        method: DEFLATED,
                        packed_bytes,
                        bytes,
                    }
                }
            },
        };
        match std::mem::replace(&mut self.stage, Stage::Next) {
            Stage::Data(data) => Ok(Some((data, counted))),
            _ => Ok(None),
        }
    }

    fn end_data(&mut self, mut data: Data, counted: Counted, used: &mut Used) -> Result<(), Beyond> {
        data.content.finish(used)?;
        match data.said {
            None => self.stage = Stage::Descriptor(data.at, counted),
            Some(said) if said == counted => drop(self.entries.insert(data.at, counted)),
            Some(_) => return Err(irregular("says other sizes than its entries have")),
        }
        Ok(())
    }

    /// A line of the directory is whole.
    fn name_entry(&mut self, line: &[u8]) -> Result<(), Beyond> {
        let name = usize::from(u16_at(line, 28));
        let extra = extra_64(line.get(46 + name..).unwrap_or_default());
        let mut wide = extra.unwrap_or_default().chunks_exact(8);
        let bytes = wide_or(u32_at(line, 24), &mut wide);
        let packed_bytes = wide_or(u32_at(line, 20), &mut wide);
        let at = wide_or(u32_at(line, 42), &mut wide);
        let said = Counted {
            method: u16_at(line, 10),
            packed_bytes,
            bytes,
        };
        if self.entries.remove(&at) != Some(said) {
            return Err(irregular("names other entries in its directory than it has"));
        }
        Ok(())
    }
}

impl Stage {
    /// How many bytes a structure has.
    const fn length(&self) -> usize {
        match self {
            Self::Next => 4,
            Self::Local => 30,
            Self::Central => 46,
            Self::SignatureSize => 6,
            Self::End64 => 12,
            Self::End => 22,
            // Its longest form. More than that follows in every archive.
            Self::Descriptor(..) => 24,
            Self::LocalRest(length)
            | Self::CentralRest(length)
            | Self::End64Rest(length)
            | Self::Comment(length) => *length,
            Self::Data(_) | Self::Skip(_) | Self::Over => 0,
        }
    }
}

/// The extra field of zip64, among those of an entry.
fn extra_64(mut fields: &[u8]) -> Option<&[u8]> {
    while fields.len() >= 4 {
        let (id, length) = (u16_at(fields, 0), usize::from(u16_at(fields, 2)));
        let body = fields.get(4..4 + length)?;
        if id == EXTRA_64 {
            return Some(body);
        }
        fields = &fields[4 + length..];
    }
    None
}

/// A number, or the next one of the extra field where that is meant.
fn wide_or(narrow: u32, wide: &mut std::slice::ChunksExact<'_, u8>) -> u64 {
    if narrow != MARK {
        return narrow.into();
    }
    wide.next().map_or(MARK.into(), |bytes| u64_at(bytes, 0))
}

/// The length of the sizes that follow an entry: with a signature or without, in 4 bytes each or 8 (APPNOTE 4.3.9).
fn descriptor_length(bytes: &[u8], counted: Counted) -> Option<usize> {
    let begin = if u32_at(bytes, 0) == DESCRIPTOR { 4 } else { 0 };
    for begin in [begin, 0] {
        let sizes = begin + 4;
        let narrow = (
            u64::from(u32_at(bytes, sizes)),
            u64::from(u32_at(bytes, sizes + 4)),
        );
        if narrow == (counted.packed_bytes, counted.bytes) {
            return Some(sizes + 8);
        }
        let wide = (u64_at(bytes, sizes), u64_at(bytes, sizes + 8));
        if sizes + 16 <= bytes.len() && wide == (counted.packed_bytes, counted.bytes) {
            return Some(sizes + 16);
        }
    }
    None
}
