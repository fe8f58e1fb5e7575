//! Reading objects.
//!
//! What is in memory already is read at once, on the async thread, with calls that give up rather than wait for a
//! disk (`RESOLVE_CACHED`, `RWF_NOWAIT`); everything else goes to a blocking thread in large pieces. The file is
//! opened once, so an overwrite or a delete meanwhile changes nothing for the reader.

use std::io::IoSliceMut;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cloakroom_core::ports::objects::{
    BodyError, ByteStream, GetOptions, ObjectError, ObjectInfo, ObjectPath, ObjectRead, Result,
};
use futures_core::Stream;
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

use super::attributes::Record;
use super::buffers::{BUFFER_BYTES, BufferPool, PooledBuffer};
use super::names::{Opened, Place};
use super::{Shared, failure, on_blocking_thread};
use crate::conditions;

/// Objects, or ranges, of up to so many bytes are read in one piece before the answer begins.
const WHOLE_BYTES_MAX: u64 = 64 * 1024;

/// So far ahead the kernel is asked to read while a piece is on its way.
const READ_AHEAD_BYTES: u64 = 4 * 1024 * 1024;

/// Metadata only.
pub(super) async fn head(
    shared: &Arc<Shared>,
    path: &ObjectPath,
    options: &GetOptions,
) -> Result<ObjectInfo> {
    let Opened { record, .. } = open(shared, Place::new(path)?).await?;
    let selected = selected(&record, options);
    let info = record.into_info();
    conditions::check_read(&options.conditions, &info)?;
    selected.map(|_| info)
}

/// Metadata and bytes.
pub(super) async fn get(shared: &Arc<Shared>, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead> {
    let Opened { file, record } = open(shared, Place::new(path)?).await?;
    let selected = selected(&record, options);
    let info = record.into_info();
    // A condition is answered before a range (RFC 9110 §13.2.2).
    conditions::check_read(&options.conditions, &info)?;
    let selected = selected?;
    let (start, end) = selected.unwrap_or((0, info.size_bytes));
    let range = selected
        .filter(|_| info.size_bytes > 0)
        .map(|(start, end)| start..=end.saturating_sub(1));
    let body: ByteStream = if end - start <= WHOLE_BYTES_MAX {
        Box::pin(Whole(Some(read_whole(file, start, end).await?)))
    } else {
        Box::pin(Pieces {
            file: Arc::new(file),
            at: start,
            end,
            pool: Arc::clone(&shared.buffers),
            running: None,
        })
    };
    Ok(ObjectRead { info, range, body })
}

/// The offsets asked for: first, and the one after the last.
fn selected(record: &Record, options: &GetOptions) -> Result<Option<(u64, u64)>> {
    let size_bytes = record.size_bytes;
    let outside = ObjectError::InvalidRange { size_bytes };
    match (options.part_number, options.range) {
        (Some(_), Some(_)) => Err(ObjectError::InvalidArgument(
            "a range and a part number exclude each other".to_owned(),
        )),
        (Some(number), None) => record.part_range(number)?.ok_or(outside).map(Some),
        (None, Some(range)) => {
            let range = range.resolve(size_bytes).ok_or(outside)?;
            Ok(Some((*range.start(), range.end() + 1)))
        }
        (None, None) => Ok(None),
    }
}

async fn open(shared: &Arc<Shared>, place: Place) -> Result<Opened> {
    if let Some(file) = open_cached(shared, &place.path) {
        return Opened::new(file, &place.key);
    }
    let shared = Arc::clone(shared);
    on_blocking_thread(move || shared.open(&place)).await
}

/// Opens a file if that needs no disk; whatever stands in the way is left for a blocking thread to find.
fn open_cached(shared: &Shared, path: &str) -> Option<OwnedFd> {
    rustix::fs::openat2(
        &shared.root,
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::CACHED,
    )
    .ok()
}

async fn read_whole(file: OwnedFd, start: u64, end: u64) -> Result<Bytes> {
    let mut bytes = vec![0; (end - start) as usize];
    let cached = read_cached(&file, &mut bytes, start);
    if cached < bytes.len() {
        bytes = on_blocking_thread(move || {
            read_exactly(&file, &mut bytes[cached..], start + cached as u64)
                .map_err(|error| failure::object(error, "read the object"))?;
            Ok(bytes)
        })
        .await?;
    }
    Ok(bytes.into())
}

/// Reads what is in memory, from the offset on; says how much that was.
fn read_cached(file: &OwnedFd, bytes: &mut [u8], offset: u64) -> usize {
    if bytes.is_empty() {
        return 0;
    }
    rustix::io::preadv2(
        file,
        &mut [IoSliceMut::new(bytes)],
        offset,
        ReadWriteFlags::NOWAIT,
    )
    .unwrap_or(0)
}

/// Fills `bytes`; the file ending before is an error.
pub(super) fn read_exactly(file: &OwnedFd, mut bytes: &mut [u8], mut offset: u64) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *bytes, offset))?;
        if count == 0 {
            return Err(Errno::IO);
        }
        bytes = &mut bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

struct Whole(Option<Bytes>);

impl Stream for Whole {
    type Item = std::result::Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().filter(|bytes| !bytes.is_empty()).map(Ok))
    }
}

/// A large object, piece by piece.
struct Pieces {
    file: Arc<OwnedFd>,
    at: u64,
    end: u64,
    pool: Arc<BufferPool>,
    running: Option<JoinHandle<rustix::io::Result<PooledBuffer>>>,
}

impl Stream for Pieces {
    type Item = std::result::Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let buffer = if let Some(running) = &mut self.running {
            let joined = ready!(Pin::new(running).poll(context));
            self.running = None;
            match joined {
                Ok(Ok(buffer)) => buffer,
                Ok(Err(error)) => return self.fail(failure::body(error)),
                Err(_) => return self.fail(failure::body(Errno::CANCELED)),
            }
        } else {
            let count = (self.end - self.at).min(BUFFER_BYTES as u64) as usize;
            if count == 0 {
                return Poll::Ready(None);
            }
            let mut buffer = self.pool.take();
            let cached = read_cached(&self.file, &mut buffer.space()[..count], self.at);
            if cached == 0 {
                self.running = Some(self.read_from_disk(buffer, count));
                return self.poll_next(context);
            }
            buffer.set_len(cached);
            buffer
        };
        self.at += buffer.as_ref().len() as u64;
        Poll::Ready(Some(Ok(Bytes::from_owner(buffer))))
    }
}

impl Pieces {
    fn read_from_disk(
        &self,
        mut buffer: PooledBuffer,
        count: usize,
    ) -> JoinHandle<rustix::io::Result<PooledBuffer>> {
        let (file, at) = (Arc::clone(&self.file), self.at);
        tokio::task::spawn_blocking(move || {
            // Advice only: reading works without.
            let _ = rustix::fs::fadvise(
                &*file,
                at,
                std::num::NonZeroU64::new(READ_AHEAD_BYTES),
                Advice::WillNeed,
            );
            read_exactly(&file, &mut buffer.space()[..count], at)?;
            buffer.set_len(count);
            Ok(buffer)
        })
    }

    fn fail(&mut self, error: BodyError) -> Poll<Option<std::result::Result<Bytes, BodyError>>> {
        self.at = self.end;
        Poll::Ready(Some(Err(error)))
    }
}
