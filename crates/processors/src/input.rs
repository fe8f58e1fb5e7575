//! How a child gets its input: as a descriptor that it can read and nothing else.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use rustix::fs::{MemfdFlags, SealFlags};

/// Bytes on their way.
pub type InputStream<'a> = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send + 'a>>;

/// Inputs of at most this size are kept in memory while they are read; larger ones in a file that has no name.
pub const SPOOLED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a child reads.
pub enum Input<'a> {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(Bytes),
    /// What a stream holds, whole: the child can go back and forth in it.
    Whole {
        /// The bytes.
        stream: InputStream<'a>,
        /// How many there are.
        size_bytes: u64,
    },
    /// What a stream holds, as it comes: the child reads it once from front to back, and nothing is kept.
    Streamed {
        /// The bytes.
        stream: InputStream<'a>,
        /// How many there are.
        size_bytes: u64,
    },
}

/// A place for an input, to be read through another descriptor.
fn place(size_bytes: u64, directory: &Path) -> io::Result<(File, bool)> {
    if size_bytes <= SPOOLED_BYTES_MAX {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        match rustix::fs::memfd_create("cloakroom-input", flags) {
            Ok(memory) => return Ok((File::from(memory), true)),
            // Forbidden by whoever runs us, perhaps; a file does as well.
            Err(error) => tracing::debug!(%error, "no memory file"),
        }
    }
    Ok((tempfile::tempfile_in(directory)?, false))
}

/// Writes a stream whole to where a child can read it.
pub(crate) async fn keep(stream: InputStream<'_>, size_bytes: u64, directory: &Path) -> io::Result<File> {
    let (file, in_memory) = place(size_bytes, directory)?;
    let mut file = if in_memory {
        let mut file = file;
        let mut pieces = Counted::new(stream, size_bytes);
        while let Some(piece) = pieces.next().await? {
            file.write_all(&piece)?;
        }
        file
    } else {
        copy(stream, size_bytes, file).await?
    };
    file.rewind()?;
    if in_memory {
        // The child's descriptor is this very one, open for writing as well.
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        return Ok(file);
    }
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    File::open(path)
}

/// Writes a stream to a file, without holding up other work of the runtime.
///
/// # Errors
/// The stream's own, those of the disk, and a stream that holds another number of bytes.
pub async fn spool(stream: InputStream<'_>, size_bytes: u64, file: File) -> io::Result<()> {
    copy(stream, size_bytes, file).await.map(drop)
}

async fn copy(stream: InputStream<'_>, size_bytes: u64, file: File) -> io::Result<File> {
    use tokio::io::AsyncWriteExt as _;
    let mut file = tokio::fs::File::from_std(file);
    let mut pieces = Counted::new(stream, size_bytes);
    while let Some(piece) = pieces.next().await? {
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    Ok(file.into_std().await)
}

/// A stream whose pieces are counted.
pub(crate) struct Counted<'a> {
    stream: InputStream<'a>,
    size_bytes: u64,
    passed: u64,
}

impl<'a> Counted<'a> {
    pub(crate) fn new(stream: InputStream<'a>, size_bytes: u64) -> Self {
        Self {
            stream,
            size_bytes,
            passed: 0,
        }
    }

    /// The next piece; an error also where the stream ends with another number of bytes than it should.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match self.stream.next().await {
            Some(piece) => {
                let piece = piece?;
                self.passed += piece.len() as u64;
                Ok(Some(piece))
            }
            None if self.passed == self.size_bytes => Ok(None),
            None => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} bytes came instead of {}", self.passed, self.size_bytes),
            )),
        }
    }
}
