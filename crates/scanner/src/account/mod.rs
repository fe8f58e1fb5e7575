//! The account of a file: whether everything in it is within the limits up to which the scanner looks.
//!
//! The file is unpacked as it goes by, as deep as it goes, and counted: sizes that a header declares may lie. What is
//! unpacked here: zip (with the office formats, jar, epub), gzip, tar, and the compressed streams of PDF. Archives of
//! other kinds cannot be counted, so nobody knows whether the scanner saw all of them. Memory is bounded by the depth.

mod gzip;
mod inflate;
mod kinds;
mod pdf;
mod tar;
mod zip;

use std::fmt;

use self::gzip::Gzip;
use self::kinds::Kind;
use self::pdf::Pdf;
use self::tar::Tar;
use self::zip::Zip;

/// Up to where the scanner looks: clamd's settings of the same meaning (clamd.conf(5)), or stricter ones. The defaults are
/// those of Debian's package, which are stricter than clamd's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `StreamMaxLength`: the largest file, in bytes.
    pub stream_bytes_max: u64,
    /// `MaxFileSize`: the largest member of an archive, in bytes.
    pub file_bytes_max: u64,
    /// `MaxScanSize`: an archive and everything in it, in bytes.
    pub total_bytes_max: u64,
    /// `MaxRecursion`: how deep archives in archives go.
    pub recursion_max: u32,
    /// `MaxFiles`: members in all.
    pub files_max: u32,
}

const MIB: u64 = 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            stream_bytes_max: 25 * MIB,
            file_bytes_max: 25 * MIB,
            total_bytes_max: 100 * MIB,
            recursion_max: 16,
            files_max: 10_000,
        }
    }
}

impl Limits {
    /// Whether the scanner takes a file of this size at all: as a stream, and as a file.
    pub fn admit(&self, size_bytes: u64) -> Result<(), Beyond> {
        let max = self
            .stream_bytes_max
            .min(self.file_bytes_max)
            .min(self.total_bytes_max);
        if size_bytes > max {
            return Err(Beyond::new(format!(
                "it has {size_bytes} bytes and the scanner takes {max}"
            )));
        }
        Ok(())
    }
}

/// The scanner need not have seen all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beyond(String);

impl Beyond {
    /// For this reason, a clause.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The clause.
    pub fn into_reason(self) -> String {
        self.0
    }
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Counting in one pass.
#[derive(Debug)]
pub struct Account {
    used: Used,
    file: Content,
}

impl Account {
    /// Of a file that begins now.
    pub fn new(limits: Limits) -> Self {
        Self {
            used: Used {
                limits,
                bytes: 0,
                files: 0,
            },
            file: Content::new(0),
        }
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Beyond> {
        self.file.push(bytes, &mut self.used)
    }

    /// Nothing follows.
    pub fn finish(mut self) -> Result<(), Beyond> {
        self.file.finish(&mut self.used)
    }
}

/// What was used of the limits, at all depths together.
#[derive(Debug)]
struct Used {
    limits: Limits,
    bytes: u64,
    files: u32,
}

impl Used {
    /// A member begins at this depth (of the file itself: 0).
    fn begin(&mut self, depth: u32) -> Result<Content, Beyond> {
        self.files += 1;
        if self.files >= self.limits.files_max {
            return Err(Beyond::new(format!(
                "it holds more than {} files",
                self.limits.files_max
            )));
        }
        Ok(Content::new(depth + 1))
    }

    /// A container at this depth. clamd counts layers of its own between ours, so only half of its depth is relied on.
    fn descend(&self, depth: u32) -> Result<(), Beyond> {
        if depth >= self.limits.recursion_max / 2 {
            return Err(Beyond::new("archives in it are nested too deep"));
        }
        Ok(())
    }
}

/// Bytes of the beginning that a kind is told by; `%PDF` may stand in the first 1,024.
const HEAD_BYTES: usize = 1024;

/// A file, or a member of an archive at some depth.
#[derive(Debug)]
struct Content {
    depth: u32,
    size_bytes: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Too little was seen to tell what it is.
    Head(Vec<u8>),
    Plain(kinds::Later),
    Zip(Box<Zip>),
    Gzip(Box<Gzip>),
    Tar(Box<Tar>),
    Pdf(Box<Pdf>),
}

impl Content {
    fn new(depth: u32) -> Self {
        Self {
            depth,
            size_bytes: 0,
            state: State::Head(Vec::new()),
        }
    }

    fn push(&mut self, bytes: &[u8], used: &mut Used) -> Result<(), Beyond> {
        self.size_bytes += bytes.len() as u64;
        used.bytes += bytes.len() as u64;
        let limits = &used.limits;
        if self.depth > 0 && self.size_bytes > limits.file_bytes_max {
            return Err(Beyond::new(format!(
                "it holds a file of more than {} bytes",
                limits.file_bytes_max
            )));
        }
        // What the scanner makes of texts before it looks at them counts for it too.
        if used.bytes > limits.total_bytes_max - limits.total_bytes_max / 16 {
            return Err(Beyond::new(format!(
                "all that is in it is more than {} bytes",
                limits.total_bytes_max
            )));
        }
        if let State::Head(head) = &mut self.state {
            head.extend_from_slice(bytes);
            if head.len() < HEAD_BYTES {
                return Ok(());
            }
            return self.open(used);
        }
        self.pass(bytes, used)
    }

    fn finish(&mut self, used: &mut Used) -> Result<(), Beyond> {
        if let State::Head(_) = self.state {
            self.open(used)?;
        }
        match &mut self.state {
            State::Head(_) | State::Plain(_) => Ok(()),
            State::Zip(zip) => zip.finish(),
            State::Gzip(gzip) => gzip.finish(used),
            State::Tar(tar) => tar.finish(),
            State::Pdf(pdf) => pdf.finish(used),
        }
    }

    /// Decides what it is.
    fn open(&mut self, used: &mut Used) -> Result<(), Beyond> {
        let State::Head(head) = &mut self.state else {
            return Ok(());
        };
        let head = std::mem::take(head);
        let kind = kinds::of(&head);
        if kind != Kind::Plain {
            used.descend(self.depth)?;
        }
        self.state = match kind {
            Kind::Plain => State::Plain(kinds::Later::default()),
            Kind::Zip => State::Zip(Box::new(Zip::new(self.depth))),
            Kind::Gzip => State::Gzip(Box::new(Gzip::new(self.depth, used)?)),
            Kind::Tar => State::Tar(Box::new(Tar::new(self.depth))),
            Kind::Pdf => State::Pdf(Box::new(Pdf::new(self.depth))),
            Kind::Other(name) => {
                return Err(Beyond::new(format!(
                    "what is in a file of the kind {name} is not counted"
                )));
            }
        };
        self.pass(&head, used)
    }

    fn pass(&mut self, bytes: &[u8], used: &mut Used) -> Result<(), Beyond> {
        match &mut self.state {
            // `open` has left it.
            State::Head(_) => Ok(()),
            State::Plain(later) => later.push(bytes),
            State::Zip(zip) => zip.push(bytes, used),
            State::Gzip(gzip) => gzip.push(bytes, used),
            State::Tar(tar) => tar.push(bytes, used),
            State::Pdf(pdf) => pdf.push(bytes, used),
        }
    }
}

/// Collects a structure of known length out of pieces.
#[derive(Debug, Default)]
struct Gather(Vec<u8>);

impl Gather {
    /// Takes from `input` until there are `length` bytes; whether there are.
    fn fill(&mut self, input: &mut &[u8], length: usize) -> bool {
        let wanted = length.saturating_sub(self.0.len()).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        self.0.extend_from_slice(taken);
        *input = rest;
        self.0.len() >= length
    }

    /// The bytes; the next structure begins empty.
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// A little-endian number of 2 bytes; 0 beyond the end.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..at + 2)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u16::from_le_bytes)
}

/// A little-endian number of 4 bytes; 0 beyond the end.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

/// A little-endian number of 8 bytes; 0 beyond the end.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}
