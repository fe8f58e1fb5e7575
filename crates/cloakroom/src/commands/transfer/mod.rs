//! One object: streamed from one store into the other, and verified where it arrived.
//!
//! Nothing is held but the pieces under way. What was read is what must arrive: the digest is taken of the bytes that
//! pass through, and compared with the one in the row, and with what the target shows or gives back.

pub(in crate::commands) mod display;
pub(in crate::commands) mod listing;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::ports::objects::{
    BodyError, ByteRange, ByteStream, ChecksumAlgorithm, Checksums, CompletedPart, GetOptions,
    MultipartOptions, ObjectAttributes, ObjectError, ObjectInfo, ObjectPath, ObjectStore, PutBody,
    PutOptions, ReadConditions, WriteConditions,
};
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};

use self::display::Display;

/// Objects from this size on go in parts, in bytes.
const MULTIPART_BYTES_MIN: u64 = 64 << 20;
/// Parts that an object is cut into at most: below the 10,000 that S3 takes.
const PARTS_MAX: u64 = 9_000;
/// How often an unavailable store is asked.
const ATTEMPTS_MAX: u32 = 6;
/// The first wait between two attempts; each one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// What an object must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) struct Expected {
    /// The digest that its row holds.
    pub(in crate::commands) sha256: Sha256Digest,
    /// The size that its row holds.
    pub(in crate::commands) size_bytes: u64,
}

/// Why an object was not moved.
#[derive(Debug)]
pub(in crate::commands) enum TransferError {
    /// The fault is with the object: it is named, and the others go on.
    Damaged(String),
    /// The fault is with a store.
    Store(ObjectError),
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Transferred {
    /// It was sent.
    Sent,
    /// It was there already, and is what it should be.
    WasThere,
}

/// An object to be moved.
pub(in crate::commands) struct Transfer<'a> {
    pub(in crate::commands) source: &'a dyn ObjectStore,
    pub(in crate::commands) target: &'a dyn ObjectStore,
    pub(in crate::commands) from: ObjectPath,
    pub(in crate::commands) to: ObjectPath,
    /// What its row says, if it is a final object.
    pub(in crate::commands) expected: Option<Expected>,
    /// The size of what is at its place already.
    pub(in crate::commands) there_bytes: Option<u64>,
    pub(in crate::commands) display: &'a Display,
}

/// The bytes that have passed.
#[derive(Clone, Default)]
struct Passed {
    hash: Sha256,
    bytes: u64,
    /// The source could not be read to its end.
    unreadable: Option<String>,
}

impl Passed {
    fn digest(&self) -> Sha256Digest {
        Sha256Digest(self.hash.clone().finalize().into())
    }
}

type Meter = Arc<Mutex<Passed>>;

fn look(meter: &Meter) -> MutexGuard<'_, Passed> {
    // Nothing panics while it holds the lock.
    meter.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Transfer<'_> {
    /// Moves the object, unless it is there.
    pub(in crate::commands) async fn run(&self) -> Result<Transferred, TransferError> {
        let info = in_source(self.source.head(&self.from, &GetOptions::default()).await)?;
        if let Some(expected) = self.expected
            && expected.size_bytes != info.size_bytes
        {
            return Err(TransferError::Damaged(format!(
                "has {} bytes, its row says {}",
                info.size_bytes, expected.size_bytes
            )));
        }
        if self.there_bytes == Some(info.size_bytes) && self.is_there(&info).await? {
            self.display.advance(info.size_bytes);
            return Ok(Transferred::WasThere);
        }
        let (arrived, sha256) = if info.size_bytes < MULTIPART_BYTES_MIN {
            self.again_if_unavailable(|| self.send_whole(&info)).await?
        } else {
            self.send_in_parts(&info).await?
        };
        if self.in_target(&arrived).await? == sha256 {
            Ok(Transferred::Sent)
        } else {
            // Whoever looks at sizes alone later must not take it for the object.
            if let Err(error) = self.target.delete(&self.to).await {
                tracing::warn!(bucket = self.to.bucket, key = self.to.key, %error, "an object with other bytes stays behind");
            }
            Err(TransferError::Store(ObjectError::Internal(format!(
                "{}/{} arrived with other bytes than were sent",
                self.to.bucket, self.to.key
            ))))
        }
    }

    /// Whether what stands in the target is this object.
    async fn is_there(&self, info: &ObjectInfo) -> Result<bool, TransferError> {
        let there = match self.target.head(&self.to, &GetOptions::default()).await {
            Ok(there) => there,
            Err(ObjectError::NotFound) => return Ok(false),
            Err(error) => return Err(TransferError::Store(error)),
        };
        if !are_kept(&info.attributes, &there.attributes) {
            return Ok(false);
        }
        let wanted = match self.expected {
            Some(expected) => expected.sha256,
            None => self.measure_source(info).await?,
        };
        Ok(self.in_target(&there).await? == wanted)
    }

    async fn measure_source(&self, info: &ObjectInfo) -> Result<Sha256Digest, TransferError> {
        let meter = Meter::default();
        let mut body = self.read(info, None, &meter, false).await?;
        while let Some(piece) = body.next().await {
            if piece.is_err() {
                break;
            }
        }
        drop(body);
        self.check_source(info, &meter)
    }

    /// The digest of what is in the target: what the store says about the whole object, or what it gives back.
    async fn in_target(&self, info: &ObjectInfo) -> Result<Sha256Digest, TransferError> {
        if let Some(known) = whole_sha256(&info.checksums) {
            return Ok(known);
        }
        self.again_if_unavailable(|| async {
            let read = self.target.get(&self.to, &GetOptions::default()).await;
            let mut read = read.map_err(TransferError::Store)?;
            let mut hash = Sha256::new();
            while let Some(piece) = read.body.next().await {
                let piece = piece
                    .map_err(|error| TransferError::Store(ObjectError::Unavailable(error.to_string())))?;
                hash.update(&piece);
            }
            Ok(Sha256Digest(hash.finalize().into()))
        })
        .await
    }

    /// In one request. A body that is not what its row says never becomes visible.
    async fn send_whole(&self, info: &ObjectInfo) -> Result<(ObjectInfo, Sha256Digest), TransferError> {
        let meter = Meter::default();
        let stream = self.read(info, None, &meter, true).await?;
        let (measured, wanted) = (Arc::clone(&meter), self.expected);
        let body = PutBody {
            stream,
            size_bytes: Some(info.size_bytes),
            finish: Box::new(move || {
                let digest = look(&measured).digest();
                if wanted.is_some_and(|wanted| wanted.sha256 != digest) {
                    return Err(BodyError {
                        code: "BadDigest",
                        message: "the bytes are not those that the row names".to_owned(),
                    });
                }
                Ok(Checksums(
                    [(ChecksumAlgorithm::Sha256, BASE64.encode(digest.0))].into(),
                ))
            }),
            md5_etag: false,
        };
        let options = PutOptions {
            attributes: info.attributes.clone(),
            ..PutOptions::default()
        };
        let sent = self.target.put(&self.to, options, body).await;
        match sent {
            Ok(arrived) => {
                let sha256 = self.check_source(info, &meter)?;
                Ok((arrived, sha256))
            }
            Err(error) => {
                // Whose fault it was is known from what passed, not from how the target took it.
                let passed = look(&meter).clone();
                self.display.take_back(passed.bytes);
                if passed.bytes == info.size_bytes || passed.unreadable.is_some() {
                    self.check_source(info, &meter)?;
                }
                Err(TransferError::Store(error))
            }
        }
    }

    /// In parts, one after the other, so that one digest covers them all.
    async fn send_in_parts(&self, info: &ObjectInfo) -> Result<(ObjectInfo, Sha256Digest), TransferError> {
        let store = TransferError::Store;
        // What an interrupted run left behind would be paid for and never used.
        for left in self
            .target
            .multiparts(&self.to.bucket, &self.to.key)
            .await
            .map_err(store)?
        {
            if left.key == self.to.key {
                self.abort(&left.id).await;
            }
        }
        let options = MultipartOptions {
            attributes: info.attributes.clone(),
            ..MultipartOptions::default()
        };
        let id = self
            .target
            .begin_multipart(&self.to, options)
            .await
            .map_err(store)?;
        let meter = Meter::default();
        let sent = match self.send_parts(info, &id, &meter).await {
            Ok(parts) => match self.check_source(info, &meter) {
                Ok(sha256) => {
                    self.again_if_unavailable(|| async {
                        let conditions = WriteConditions::default();
                        let made = self
                            .target
                            .complete_multipart(&self.to, &id, &parts, conditions)
                            .await;
                        Ok((made.map_err(store)?, sha256))
                    })
                    .await
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if sent.is_err() {
            self.display.take_back(look(&meter).bytes);
            self.abort(&id).await;
        }
        sent
    }

    async fn send_parts(
        &self,
        info: &ObjectInfo,
        id: &str,
        meter: &Meter,
    ) -> Result<Vec<CompletedPart>, TransferError> {
        let part_bytes = part_bytes(info.size_bytes);
        let mut parts = Vec::new();
        let mut start = 0;
        while start < info.size_bytes {
            let end = info.size_bytes.min(start + part_bytes);
            let number = u32::try_from(parts.len() + 1)
                .map_err(|_| TransferError::Damaged("has more bytes than an object may have".to_owned()))?;
            let before = look(meter).clone();
            let part = self
                .again_if_unavailable(|| async {
                    let again = look(meter).bytes - before.bytes;
                    self.display.take_back(again);
                    *look(meter) = before.clone();
                    let range = ByteRange::FromTo(start, end - 1);
                    let body = self.read(info, Some(range), meter, true).await?;
                    let body = PutBody::from_stream(body, Some(end - start));
                    match self.target.put_part(&self.to, id, number, body).await {
                        Ok(part) => Ok(part),
                        Err(error) => match look(meter).unreadable.clone() {
                            Some(reason) => Err(TransferError::Damaged(reason)),
                            None => Err(TransferError::Store(error)),
                        },
                    }
                })
                .await?;
            parts.push(CompletedPart {
                number,
                etag: part.etag,
                ..CompletedPart::default()
            });
            start = end;
        }
        Ok(parts)
    }

    async fn abort(&self, id: &str) {
        if let Err(error) = self.target.abort_multipart(&self.to, id).await {
            tracing::warn!(bucket = self.to.bucket, key = self.to.key, %error, "an unfinished upload stays behind");
        }
    }

    /// The source's bytes, measured as they pass.
    async fn read(
        &self,
        info: &ObjectInfo,
        range: Option<ByteRange>,
        meter: &Meter,
        shown: bool,
    ) -> Result<ByteStream, TransferError> {
        let options = GetOptions {
            range,
            conditions: ReadConditions {
                if_generation: Some(info.generation.clone()),
                ..ReadConditions::default()
            },
            ..GetOptions::default()
        };
        let read = in_source(self.source.get(&self.from, &options).await)?;
        let (meter, display) = (Arc::clone(meter), shown.then(|| self.display.clone()));
        Ok(Box::pin(read.body.map(move |piece: Result<Bytes, BodyError>| {
            let mut passed = look(&meter);
            match &piece {
                Ok(bytes) => {
                    passed.hash.update(bytes);
                    passed.bytes += bytes.len() as u64;
                    if let Some(display) = &display {
                        display.advance(bytes.len() as u64);
                    }
                }
                Err(error) => passed.unreadable = Some(format!("cannot be read: {}", error.message)),
            }
            piece
        })))
    }

    /// What passed must be what the listing and the row say.
    fn check_source(&self, info: &ObjectInfo, meter: &Meter) -> Result<Sha256Digest, TransferError> {
        let passed = look(meter);
        if let Some(reason) = &passed.unreadable {
            return Err(TransferError::Damaged(reason.clone()));
        }
        if passed.bytes != info.size_bytes {
            return Err(TransferError::Damaged(format!(
                "gave {} of its {} bytes",
                passed.bytes, info.size_bytes
            )));
        }
        let digest = passed.digest();
        match self.expected {
            Some(expected) if expected.sha256 != digest => Err(TransferError::Damaged(format!(
                "has SHA-256 {digest}, its row says {}",
                expected.sha256
            ))),
            _ => Ok(digest),
        }
    }

    async fn again_if_unavailable<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, TransferError>
    where
        F: Future<Output = Result<T, TransferError>>,
    {
        let mut wait = FIRST_WAIT;
        for _ in 1..ATTEMPTS_MAX {
            match attempt().await {
                Err(TransferError::Store(ObjectError::Unavailable(reason))) => {
                    tracing::debug!(bucket = self.to.bucket, key = self.to.key, reason, "trying again");
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                other => return other,
            }
        }
        attempt().await
    }
}

/// An object that the source cannot give is damaged; whether the source itself is away is for whoever asks it next.
fn in_source<T>(outcome: Result<T, ObjectError>) -> Result<T, TransferError> {
    outcome.map_err(|error| TransferError::Damaged(format!("cannot be read: {error}")))
}

/// Whether every header that the source stores is there; a store may add its own type where none was given.
fn are_kept(source: &ObjectAttributes, target: &ObjectAttributes) -> bool {
    let kept = |source: &Option<String>, target: &Option<String>| source.is_none() || source == target;
    kept(&source.content_type, &target.content_type)
        && kept(&source.content_disposition, &target.content_disposition)
        && kept(&source.content_encoding, &target.content_encoding)
        && kept(&source.content_language, &target.content_language)
        && kept(&source.cache_control, &target.cache_control)
        && kept(&source.expires, &target.expires)
        && source.user_metadata == target.user_metadata
}

/// The SHA-256 of a whole object, if the store shows it: one of a multipart upload is a digest of digests.
fn whole_sha256(checksums: &Checksums) -> Option<Sha256Digest> {
    let text = checksums.0.get(&ChecksumAlgorithm::Sha256)?;
    let bytes = BASE64.decode(text).ok()?;
    Some(Sha256Digest(bytes.try_into().ok()?))
}

/// The size of every part but the last: whole MiB, and few enough of them.
fn part_bytes(size_bytes: u64) -> u64 {
    let least = size_bytes.div_ceil(PARTS_MAX);
    least.max(MULTIPART_BYTES_MIN).next_multiple_of(1 << 20)
}

#[cfg(test)]
pub(in crate::commands) mod tests;
