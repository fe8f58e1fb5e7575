//! Bodies on their way to the disk.
//!
//! The async side gathers pieces into pooled buffers; a blocking thread writes and digests them. Two buffers at most
//! are in use, so one fills while the other is written. A body that fits into the first buffer makes one hop to a
//! blocking thread for everything: file, attributes, fsync, name.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use cloakroom_core::ports::objects::{
    BodyError, ByteStream, ChecksumAlgorithm, Checksums, ObjectInfo, ObjectPath, PutBody, PutOptions, Result,
};
use rustix::fd::OwnedFd;
use rustix::fs::Stat;
use tokio::task::JoinHandle;

use super::attributes::{OBJECT_XATTR, Record, check_attributes};
use super::buffers::PooledBuffer;
use super::digests::{Digested, Digests, etag_of, show_crc};
use super::names::Place;
use super::temp::TempFile;
use super::{Shared, failure, on_blocking_thread};

/// Bodies of up to so many bytes get their MD5 as `ETag`, asked for or not: it costs less than the file's fsync.
const MD5_BODY_BYTES_MAX: u64 = 16 * 1024;

/// A single piece of up to so many bytes is kept as it came.
const KEPT_PIECE_BYTES_MAX: usize = 64 * 1024;

/// A body that has arrived and been accepted by its sender's checks; most of it may be on disk.
pub(super) struct Received {
    writer: Option<Writer>,
    tail: Tail,
    size_bytes: u64,
    checksums: Checksums,
    digests: Wanted,
}

/// Which digests a body needs.
#[derive(Clone, Copy)]
struct Wanted {
    md5: bool,
    extra: Option<ChecksumAlgorithm>,
}

/// A file with all of its bytes, not yet durable.
pub(super) struct Finished {
    pub(super) temp: TempFile,
    pub(super) stat: Stat,
    pub(super) etag: String,
    pub(super) checksums: Checksums,
    pub(super) crc64nvme: u64,
}

/// Bytes that are not written yet.
enum Tail {
    Piece(Bytes),
    Buffer(PooledBuffer),
}

impl AsRef<[u8]> for Tail {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Piece(piece) => piece,
            Self::Buffer(buffer) => buffer.as_ref(),
        }
    }
}

/// Takes a body in, for an object in `bucket`. `extra` is computed beside what every body gets.
pub(super) async fn receive(
    shared: &Arc<Shared>,
    bucket: &str,
    body: PutBody,
    extra: Option<ChecksumAlgorithm>,
) -> Result<Received> {
    let PutBody {
        mut stream,
        size_bytes: announced,
        finish,
        md5_etag,
    } = body;
    let digests = Wanted { md5: md5_etag, extra };
    let mut tail = Tail::Piece(Bytes::new());
    let mut pipeline = Pipeline {
        shared,
        bucket,
        digests,
        idle: None,
        running: None,
    };
    let mut size_bytes = 0_u64;
    while let Some(piece) = next_piece(&mut stream).await {
        let mut piece = piece?;
        size_bytes += piece.len() as u64;
        if announced.is_some_and(|announced| size_bytes > announced) {
            return Err(incomplete("longer").into());
        }
        while !piece.is_empty() {
            tail = match tail {
                Tail::Piece(kept) if kept.is_empty() && piece.len() <= KEPT_PIECE_BYTES_MAX => {
                    Tail::Piece(std::mem::take(&mut piece))
                }
                Tail::Piece(kept) => {
                    let mut buffer = shared.buffers.take();
                    buffer.fill(&kept);
                    Tail::Buffer(buffer)
                }
                Tail::Buffer(buffer) if buffer.is_full() => {
                    pipeline.write(buffer).await?;
                    Tail::Buffer(shared.buffers.take())
                }
                Tail::Buffer(mut buffer) => {
                    piece.advance(buffer.fill(&piece));
                    Tail::Buffer(buffer)
                }
            };
        }
    }
    if announced.is_some_and(|announced| size_bytes < announced) {
        return Err(incomplete("shorter").into());
    }
    let checksums = finish()?;
    let writer = pipeline.settle().await?;
    Ok(Received {
        writer,
        tail,
        size_bytes,
        checksums,
        digests,
    })
}

async fn next_piece(stream: &mut ByteStream) -> Option<std::result::Result<Bytes, BodyError>> {
    poll_fn(|context| stream.as_mut().poll_next(context)).await
}

fn incomplete(than: &str) -> BodyError {
    BodyError {
        code: "IncompleteBody",
        message: format!("the body is {than} than announced"),
    }
}

/// Hands full buffers to blocking threads, one at a time.
struct Pipeline<'a> {
    shared: &'a Arc<Shared>,
    bucket: &'a str,
    digests: Wanted,
    idle: Option<Writer>,
    running: Option<JoinHandle<Result<Writer>>>,
}

impl Pipeline<'_> {
    async fn write(&mut self, buffer: PooledBuffer) -> Result<()> {
        let writer = self.settle().await?;
        let (shared, bucket) = (Arc::clone(self.shared), self.bucket.to_owned());
        let digests = self.digests;
        self.running = Some(tokio::task::spawn_blocking(move || {
            let mut writer = if let Some(writer) = writer {
                writer
            } else {
                // Nobody should have to send all of a large body to learn this.
                shared.check_bucket(&bucket)?;
                Writer::begin(&shared, digests)?
            };
            writer.append(buffer.as_ref())?;
            Ok(writer)
        }));
        Ok(())
    }

    async fn settle(&mut self) -> Result<Option<Writer>> {
        if let Some(running) = self.running.take() {
            self.idle = Some(running.await.map_err(|error| failure::task(&error))??);
        }
        Ok(self.idle.take())
    }
}

/// A file that grows.
struct Writer {
    temp: TempFile,
    digests: Digests,
    written: u64,
}

impl Writer {
    fn begin(shared: &Shared, wanted: Wanted) -> Result<Self> {
        let temp = shared.create_temp()?;
        Ok(Self {
            temp,
            digests: Digests::new(wanted.md5, wanted.extra),
            written: 0,
        })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.digests.update(bytes);
        self.temp
            .write_all(bytes, self.written)
            .map_err(|error| failure::object(error, "write the object"))?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}

impl Received {
    /// Writes what is left. Blocks.
    pub(super) fn finish(self, shared: &Shared) -> Result<Finished> {
        let mut wanted = self.digests;
        let mut writer = if let Some(writer) = self.writer {
            writer
        } else {
            wanted.md5 |= self.size_bytes <= MD5_BODY_BYTES_MAX;
            Writer::begin(shared, wanted)?
        };
        writer.append(self.tail.as_ref())?;
        let Writer { temp, digests, .. } = writer;
        let digested = digests.finish();
        let stat = rustix::fs::fstat(&temp).map_err(|error| failure::object(error, "look at the object"))?;
        let checksums = all_checksums(self.checksums, &digested);
        Ok(Finished {
            temp,
            stat,
            etag: etag_of(&digested),
            checksums,
            crc64nvme: digested.crc64nvme,
        })
    }
}

/// What the sender's checks established and what was asked for; if that is nothing, the CRC that comes for free.
fn all_checksums(mut checksums: Checksums, digested: &Digested) -> Checksums {
    if let Some((algorithm, value)) = &digested.extra {
        checksums.0.entry(*algorithm).or_insert_with(|| value.clone());
    }
    if checksums.0.is_empty() {
        let crc = show_crc(ChecksumAlgorithm::Crc64Nvme, digested.crc64nvme);
        checksums.0.insert(ChecksumAlgorithm::Crc64Nvme, crc);
    }
    checksums
}

impl Shared {
    /// A file that nobody sees yet.
    pub(super) fn create_temp(&self) -> Result<TempFile> {
        TempFile::create(&self.root, self.temp_kind)
            .map_err(|error| failure::object(error, "make a temporary file"))
    }

    /// Copies all bytes of a file to the end of another, sharing them where the file system can. `offset` is the size
    /// of `to` so far.
    pub(super) fn append_file(
        &self,
        from: &OwnedFd,
        size_bytes: u64,
        to: &mut TempFile,
        offset: u64,
    ) -> Result<()> {
        let fail = |error| failure::object(error, "copy the object");
        if offset == 0 && rustix::fs::ioctl_ficlone(&*to, from).is_ok() {
            return Ok(());
        }
        let (mut read_at, mut write_at) = (0, offset);
        while read_at < size_bytes {
            let count = usize::try_from((size_bytes - read_at).min(1 << 30)).unwrap_or(1 << 30);
            match rustix::fs::copy_file_range(from, Some(&mut read_at), &*to, Some(&mut write_at), count) {
                Ok(0) => return Err(fail(rustix::io::Errno::IO)),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) if read_at == 0 && is_unsupported(error) => {
                    return self.append_by_buffer(from, size_bytes, to, offset).map_err(fail);
                }
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(())
    }

    fn append_by_buffer(
        &self,
        from: &OwnedFd,
        size_bytes: u64,
        to: &mut TempFile,
        offset: u64,
    ) -> rustix::io::Result<()> {
        let mut buffer = self.buffers.take();
        let mut at = 0;
        while at < size_bytes {
            let count = rustix::io::retry_on_intr(|| rustix::io::pread(from, &mut *buffer.space(), at))?;
            if count == 0 {
                return Err(rustix::io::Errno::IO);
            }
            buffer.set_len(count);
            to.write_all(buffer.as_ref(), offset + at)?;
            at += count as u64;
        }
        Ok(())
    }
}

fn is_unsupported(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(
        error,
        Errno::NOSYS | Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM
    )
}

/// A name for the bytes of one write.
pub(super) fn fresh_generation() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Writes an object.
pub(super) async fn put(
    shared: &Arc<Shared>,
    path: &ObjectPath,
    options: PutOptions,
    body: PutBody,
) -> Result<ObjectInfo> {
    let place = Place::new(path)?;
    check_attributes(&options.attributes)?;
    let received = receive(shared, &place.bucket, body, None).await?;
    let shared = Arc::clone(shared);
    on_blocking_thread(move || {
        shared.check_bucket(&place.bucket)?;
        let Finished {
            temp,
            stat,
            etag,
            checksums,
            ..
        } = received.finish(&shared)?;
        let record =
            Record::new(&stat, etag, fresh_generation(), &checksums).with_attributes(options.attributes);
        record.write(&temp, OBJECT_XATTR)?;
        rustix::fs::fsync(&temp).map_err(|error| failure::object(error, "sync the object"))?;
        shared.publish(&place, temp, &options.conditions)?;
        Ok(record.into_info())
    })
    .await
}

/// Copies an object. Blocks.
pub(super) fn copy(
    shared: &Shared,
    from: &Place,
    to: &Place,
    options: cloakroom_core::ports::objects::CopyOptions,
) -> Result<ObjectInfo> {
    options.attributes.as_ref().map_or(Ok(()), check_attributes)?;
    shared.check_bucket(&to.bucket)?;
    let source = shared.open(from)?;
    crate::conditions::check_read(&options.source_conditions, &source.record.clone().into_info())?;
    let mut temp = shared.create_temp()?;
    shared.append_file(&source.file, source.record.size_bytes, &mut temp, 0)?;
    let stat = rustix::fs::fstat(&temp).map_err(|error| failure::object(error, "look at the object"))?;
    let mut record = source.record.in_file(&stat);
    record.generation = fresh_generation();
    if let Some(attributes) = options.attributes {
        record = record.with_attributes(attributes);
    }
    record.write(&temp, OBJECT_XATTR)?;
    rustix::fs::fsync(&temp).map_err(|error| failure::object(error, "sync the object"))?;
    shared.publish(to, temp, &options.conditions)?;
    Ok(record.into_info())
}
