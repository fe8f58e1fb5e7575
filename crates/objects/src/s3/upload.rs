//! Bodies on their way to the store: checked to the end before the store may believe them, and watched for standing
//! still.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cloakroom_core::ports::objects::{BodyError, ByteStream, Checksums, PutBody};
use futures_util::StreamExt as _;
use http_body::Frame;

/// When something last moved, and why the body broke off.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<Moves>>);

#[derive(Debug)]
struct Moves {
    last: Instant,
    /// The store has taken everything that there is so far; we wait for our own client.
    waits_for_us: bool,
    failure: Option<BodyError>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Moves {
            last: Instant::now(),
            waits_for_us: false,
            failure: None,
        })))
    }

    /// For how long the store has not moved although it could.
    pub(super) fn idle(&self) -> Duration {
        self.with(|moves| {
            if moves.waits_for_us {
                Duration::ZERO
            } else {
                moves.last.elapsed()
            }
        })
    }

    /// Why our body ended early.
    pub(super) fn failure(&self) -> Option<BodyError> {
        self.with(|moves| moves.failure.clone())
    }

    /// The store has taken something, or answered.
    pub(super) fn moved(&self, waits_for_us: bool) {
        self.with(|moves| {
            moves.last = Instant::now();
            moves.waits_for_us = waits_for_us;
        });
    }

    fn with<T>(&self, look: impl FnOnce(&mut Moves) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A body that can be given back as long as nothing was taken from it.
#[derive(Clone)]
pub(crate) struct SharedStream(Arc<Mutex<Source>>);

struct Source {
    stream: ByteStream,
    begun: bool,
}

impl SharedStream {
    pub(crate) fn new(stream: ByteStream) -> Self {
        Self(Arc::new(Mutex::new(Source { stream, begun: false })))
    }

    /// Whether something was taken.
    pub(crate) fn is_begun(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).begun
    }
}

/// A body whose progress is known.
pub(super) struct Tracked {
    source: SharedStream,
    progress: Progress,
}

impl Tracked {
    pub(super) fn new(source: SharedStream, progress: Progress) -> Self {
        Self { source, progress }
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = {
            let mut source = self.source.0.lock().unwrap_or_else(PoisonError::into_inner);
            source.begun = true;
            source.stream.poll_next_unpin(context)
        };
        self.progress.moved(polled.is_pending());
        if let Poll::Ready(Some(Err(error))) = &polled {
            self.progress.with(|moves| moves.failure = Some(error.clone()));
        }
        polled.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// Cuts a body into bodies of known length, which are sent one after the other.
pub(super) struct Segments(Arc<Mutex<Rest>>);

struct Rest {
    stream: ByteStream,
    /// What came with the piece before.
    held: Bytes,
}

impl Segments {
    pub(super) fn new(stream: ByteStream) -> Self {
        let held = Bytes::new();
        Self(Arc::new(Mutex::new(Rest { stream, held })))
    }

    /// The next so many bytes. What follows must not be asked for before these have been taken.
    pub(super) fn next(&self, size_bytes: u64) -> ByteStream {
        let (rest, mut left) = (Arc::clone(&self.0), size_bytes);
        Box::pin(futures_util::stream::poll_fn(move |context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
            while rest.held.is_empty() {
                match std::task::ready!(rest.stream.poll_next_unpin(context)) {
                    None => return Poll::Ready(Some(Err(shorter()))),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(piece)) => rest.held = piece,
                }
            }
            let count = usize::try_from(left).map_or(rest.held.len(), |left| left.min(rest.held.len()));
            left -= count as u64;
            Poll::Ready(Some(Ok(rest.held.split_to(count))))
        }))
    }

    /// Makes sure that nothing is left.
    pub(super) async fn end(self) -> Result<(), BodyError> {
        futures_util::future::poll_fn(|context| {
            let mut rest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if !rest.held.is_empty() {
                    return Poll::Ready(Err(longer()));
                }
                match std::task::ready!(rest.stream.poll_next_unpin(context)) {
                    None => return Poll::Ready(Ok(())),
                    Some(piece) => rest.held = piece?,
                }
            }
        })
        .await
    }
}

/// A body that was announced with this size. The last byte is held back until the whole has been checked: a request
/// that breaks off before it leaves the store as it was.
pub(super) fn checked(body: PutBody, size_bytes: u64) -> ByteStream {
    let PutBody { stream, finish, .. } = body;
    let state = Checked {
        stream,
        finish: Some(finish),
        left: size_bytes,
        held: None,
    };
    Box::pin(futures_util::stream::unfold(Some(state), |state| async {
        let mut state = state?;
        match state.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    }))
}

struct Checked {
    stream: ByteStream,
    finish: Option<Box<dyn FnOnce() -> Result<Checksums, BodyError> + Send>>,
    left: u64,
    held: Option<Bytes>,
}

impl Checked {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let Some(piece) = self.stream.next().await else {
                let Some(finish) = self.finish.take() else {
                    return Ok(None);
                };
                if self.left > 0 {
                    return Err(shorter());
                }
                finish()?;
                return Ok(self.held.take());
            };
            let piece = piece?;
            if piece.is_empty() {
                continue;
            }
            self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(longer)?;
            if let Some(ready) = self.held.replace(piece) {
                return Ok(Some(ready));
            }
        }
    }
}

/// The beginning of a body: all of it if it is short.
pub(super) enum Beginning {
    /// All of it, checked to the end, with what its sender said of it.
    Whole(Bytes, Checksums),
    /// So much of it, and more to come.
    More(Bytes, PutBody),
}

/// Reads up to `limit` bytes, or to the end.
pub(super) async fn begin(mut body: PutBody, limit: usize) -> Result<Beginning, BodyError> {
    let (bytes, ended) = fill(&mut body.stream, BytesMut::new(), limit).await?;
    if !ended {
        return Ok(Beginning::More(bytes, body));
    }
    match body.size_bytes {
        Some(size) if size > bytes.len() as u64 => return Err(shorter()),
        Some(size) if size < bytes.len() as u64 => return Err(longer()),
        _ => {}
    }
    let checksums = (body.finish)()?;
    Ok(Beginning::Whole(bytes, checksums))
}

/// Appends pieces until there are `limit` bytes or more, or there are no more pieces.
pub(super) async fn fill(
    stream: &mut ByteStream,
    begun: BytesMut,
    limit: usize,
) -> Result<(Bytes, bool), BodyError> {
    let mut bytes = begun;
    while bytes.len() < limit {
        match stream.next().await {
            Some(piece) => bytes.extend_from_slice(&piece?),
            None => return Ok((bytes.freeze(), true)),
        }
    }
    Ok((bytes.freeze(), false))
}

fn shorter() -> BodyError {
    incomplete("the body ended before its announced length")
}

fn longer() -> BodyError {
    incomplete("the body is longer than announced")
}

fn incomplete(message: &str) -> BodyError {
    BodyError {
        code: "IncompleteBody",
        message: message.to_owned(),
    }
}
