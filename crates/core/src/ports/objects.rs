//! The object store: bytes at keys in buckets, with the semantics of S3.
//!
//! The embedded S3 endpoint serves any implementation, and the service uses the same port, so what a client sees
//! through the endpoint is what the service works with. Everything an adapter must promise is in the testkit's
//! `object_store_suite`; a case may branch only on a declared [`Capabilities`].

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use jiff::Timestamp;

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectPath {
    /// The bucket.
    pub bucket: String,
    /// The key: 1 to 1,024 bytes of UTF-8, any characters.
    pub key: String,
}

impl ObjectPath {
    /// A path.
    pub fn new(bucket: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            key: key.into(),
        }
    }
}

/// Why an object operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No such bucket.
    #[error("there is no bucket {0}")]
    NoSuchBucket(String),
    /// No such key.
    #[error("there is no such object")]
    NotFound,
    /// No such multipart upload, or it is for another key.
    #[error("there is no such multipart upload")]
    NoSuchUpload,
    /// The bucket is there already.
    #[error("the bucket exists")]
    BucketExists,
    /// The bucket still has objects.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// A condition (`If-Match` and its family, or a generation) does not hold.
    #[error("a precondition does not hold: {0}")]
    PreconditionFailed(&'static str),
    /// A conditional read found that the client's copy is current.
    #[error("not modified")]
    NotModified {
        /// The current object.
        info: Box<ObjectInfo>,
    },
    /// The range lies outside of the object.
    #[error("the range lies outside of the object's {size_bytes} bytes")]
    InvalidRange {
        /// The object's size.
        size_bytes: u64,
    },
    /// A part list names a part that is not there, or another `ETag`.
    #[error("a part is missing or has another ETag: {0}")]
    InvalidPart(String),
    /// A part list that does not ascend.
    #[error("parts must be listed in ascending order")]
    InvalidPartOrder,
    /// A part other than the last one below 5 MiB.
    #[error("part {number} has {size_bytes} bytes; all but the last need at least 5 MiB")]
    PartTooSmall {
        /// The part.
        number: u32,
        /// Its size.
        size_bytes: u64,
    },
    /// A bucket name, key or other argument that S3 does not allow.
    #[error("{0}")]
    InvalidArgument(String),
    /// The body did not arrive, or was not what its sender said (length, checksum, signature of a chunk).
    #[error("the body is not what was announced: {0}")]
    Body(#[from] BodyError),
    /// Disk or bucket full.
    #[error("no space left")]
    NoSpace,
    /// The store does not answer; trying again may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store does not let us: credentials that it does not know, or a permission that they lack. Trying again does not
    /// help before somebody changes that.
    #[error("the store denies it: {0}")]
    Denied(String),
    /// What this adapter cannot do.
    #[error("not supported by this store: {0}")]
    Unsupported(&'static str),
    /// A defect, or a damaged store.
    #[error("{0}")]
    Internal(String),
}

/// Result of an object operation.
pub type Result<T> = std::result::Result<T, ObjectError>;

/// Why a body ended early or is refused at its end. Carries the S3 error code for the protocol in front.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct BodyError {
    /// `BadDigest`, `IncompleteBody`, `EntityTooLarge`, `SignatureDoesNotMatch`...
    pub code: &'static str,
    /// What was wrong, without secrets.
    pub message: String,
}

/// Algorithms of S3's `x-amz-checksum-*` family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ChecksumAlgorithm {
    /// Every algorithm.
    pub const ALL: &'static [Self] = &[
        Self::Crc32,
        Self::Crc32c,
        Self::Crc64Nvme,
        Self::Sha1,
        Self::Sha256,
    ];

    /// The name in headers and XML: `CRC64NVME`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }
}

/// Checksums of an object or a part, as S3 shows them: base64 of the digest, with `-<parts>` for composites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksums(pub BTreeMap<ChecksumAlgorithm, String>);

/// Headers that are stored with an object and come back with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectAttributes {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding` (without `aws-chunked`).
    pub content_encoding: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `Expires`.
    pub expires: Option<String>,
    /// `x-amz-meta-*`, names in lower case without the prefix; at most 2 KiB in all.
    pub user_metadata: BTreeMap<String, String>,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectInfo {
    /// Size in bytes.
    pub size_bytes: u64,
    /// `ETag` without quotes.
    pub etag: String,
    /// The store's own name for these very bytes: every write makes a new one, equal bytes or not. What is
    /// pinned here cannot be exchanged unnoticed, which an `ETag` that is a weak digest does not promise (I2).
    pub generation: String,
    /// When it was written.
    pub modified_at: Timestamp,
    /// Stored headers.
    pub attributes: ObjectAttributes,
    /// Checksums that are known.
    pub checksums: Checksums,
    /// Number of parts, for an object made by multipart upload.
    pub parts: Option<u32>,
}

/// Bytes on their way, in pieces of any size.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::result::Result<Bytes, BodyError>> + Send>>;

/// A body being written. After the last piece the store calls `finish`; only when that says yes does anything
/// become visible, with the checksums that it returns.
pub struct PutBody {
    /// The pieces.
    pub stream: ByteStream,
    /// The length, if announced. The store refuses a body that is longer or shorter.
    pub size_bytes: Option<u64>,
    /// Checks what the sender announced about the whole body (checksum header or trailer) and returns what it
    /// established.
    pub finish: Box<dyn FnOnce() -> std::result::Result<Checksums, BodyError> + Send>,
    /// The sender gave `Content-MD5`, so the `ETag` must be the MD5.
    pub md5_etag: bool,
}

impl PutBody {
    /// A body in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            size_bytes: Some(bytes.len() as u64),
            stream: Box::pin(Once(Some(bytes))),
            finish: Box::new(|| Ok(Checksums::default())),
            md5_etag: false,
        }
    }

    /// A body that comes in pieces, about which nothing more is announced.
    pub fn from_stream(stream: ByteStream, size_bytes: Option<u64>) -> Self {
        Self {
            stream,
            size_bytes,
            finish: Box::new(|| Ok(Checksums::default())),
            md5_etag: false,
        }
    }
}

struct Once(Option<Bytes>);

impl Stream for Once {
    type Item = std::result::Result<Bytes, BodyError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().map(Ok))
    }
}

/// Conditions of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// `If-Match`: the current object must have this `ETag`; `*` is any.
    pub if_match: Option<String>,
    /// `If-None-Match: *`: there must be no object.
    pub if_absent: bool,
    /// The current object must be exactly this one.
    pub if_generation: Option<String>,
}

/// Conditions of a read (RFC 9110 §13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadConditions {
    /// `If-Match`: one of these `ETag`s, or `*`.
    pub if_match: Option<String>,
    /// `If-None-Match`: none of these `ETag`s.
    pub if_none_match: Option<String>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<Timestamp>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<Timestamp>,
    /// Must be exactly this object.
    pub if_generation: Option<String>,
}

/// Which bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first to the last offset, both included; what lies beyond the end is left out.
    FromTo(u64, u64),
    /// From this offset on.
    From(u64),
    /// So many bytes from the end.
    Last(u64),
}

impl ByteRange {
    /// The offsets that this means for an object of that size; `None` when it lies outside.
    pub fn resolve(self, size_bytes: u64) -> Option<RangeInclusive<u64>> {
        let last = size_bytes.checked_sub(1)?;
        let (start, end) = match self {
            Self::FromTo(start, end) => (start, end.min(last)),
            Self::From(start) => (start, last),
            Self::Last(0) => return None,
            Self::Last(count) => (size_bytes.saturating_sub(count), last),
        };
        (start <= end && start <= last).then_some(start..=end)
    }
}

/// How to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// Which bytes; all when `None`.
    pub range: Option<ByteRange>,
    /// One part of an object made by multipart upload, from 1.
    pub part_number: Option<u32>,
    /// Conditions.
    pub conditions: ReadConditions,
}

/// An object being read.
pub struct ObjectRead {
    /// What is known of it.
    pub info: ObjectInfo,
    /// The offsets that follow, when not the whole object.
    pub range: Option<RangeInclusive<u64>>,
    /// The bytes.
    pub body: ByteStream,
}

/// How to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Stored headers.
    pub attributes: ObjectAttributes,
    /// Conditions.
    pub conditions: WriteConditions,
}

/// How to copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// New stored headers; `None` takes the source's along.
    pub attributes: Option<ObjectAttributes>,
    /// Conditions on the source.
    pub source_conditions: ReadConditions,
    /// Conditions on the target.
    pub conditions: WriteConditions,
}

/// Which keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Keys that begin so.
    pub prefix: String,
    /// Fold keys that share what comes before this, after the prefix; empty folds nothing.
    pub delimiter: String,
    /// Keys after this one, in byte order. May be a common prefix of the page before.
    pub after: Option<String>,
    /// At most so many keys and common prefixes together, 0 to 1,000.
    pub limit: u32,
}

/// A key in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedObject {
    /// The key.
    pub key: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// `ETag` without quotes.
    pub etag: String,
    /// When it was written.
    pub modified_at: Timestamp,
}

/// A page of keys, in byte order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectList {
    /// Keys.
    pub objects: Vec<ListedObject>,
    /// Folded keys.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins ([`ListOptions::after`]); `None` at the end.
    pub next: Option<String>,
}

/// A bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A part of a multipart upload, as uploaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Size in bytes.
    pub size_bytes: u64,
    /// `ETag` without quotes.
    pub etag: String,
    /// Checksums that are known.
    pub checksums: Checksums,
    /// When it was written.
    pub modified_at: Timestamp,
}

/// A part as the client lists it to complete the upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompletedPart {
    /// 1 to 10,000.
    pub number: u32,
    /// `ETag`, quotes allowed.
    pub etag: String,
    /// Checksums that the client gives for the part; each must be the part's own.
    pub checksums: Checksums,
}

/// How to begin a multipart upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MultipartOptions {
    /// Stored headers of the object to be.
    pub attributes: ObjectAttributes,
    /// The checksum that parts carry, if the client chose one.
    pub checksum: Option<ChecksumAlgorithm>,
    /// `true`: one checksum over the whole object (`FULL_OBJECT`); `false`: a checksum of checksums.
    pub full_object_checksum: bool,
}

/// A multipart upload under way.
#[derive(Clone, Debug, PartialEq)]
pub struct MultipartUpload {
    /// The key that it will write.
    pub key: String,
    /// Its id.
    pub id: String,
    /// When it was begun.
    pub initiated_at: Timestamp,
    /// How it was begun.
    pub options: MultipartOptions,
}

/// What a store can do, beyond what all can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Conditional writes are refused when their condition does not hold.
    pub conditional_put: bool,
    /// Enforces POST policies.
    pub post_policy: bool,
    /// Checks and returns `x-amz-checksum-*`.
    pub checksums: bool,
    /// Computes checksums that the sender does not give: CRC-64/NVME of an object, and of a part what its upload was begun
    /// with. Else it refuses such parts, and shows what it was given.
    pub computed_checksums: bool,
    /// Every write has a generation of its own; else it is the `ETag`.
    pub generations: bool,
    /// Multipart parts may differ in size.
    pub uneven_parts: bool,
    /// A copy is refused when a condition on its source does not hold.
    pub conditional_copy: bool,
    /// A copy is refused when a condition on its target does not hold.
    pub conditional_copy_target: bool,
    /// The completion of a multipart upload is refused when its condition does not hold.
    pub conditional_completion: bool,
    /// An object's parts can be read by number.
    pub part_reads: bool,
    /// Parts that are not listed when a multipart upload is completed are left out; else the completion is refused.
    pub unlisted_parts: bool,
    /// Keeps a checksum of each algorithm for an object, not only of one.
    pub several_checksums: bool,
    /// A delete and a conditional write at the same time happen one after the other.
    pub ordered_deletes: bool,
    /// A multipart upload remembers how it was begun, and its completion even after the key was written again.
    pub upload_memory: bool,
    /// A multipart upload that is completed takes no further part; else a late part can make the object unreadable, though
    /// never another one.
    pub closed_uploads: bool,
    /// Keeps 2 KiB of user metadata in one value; else the store refuses long values.
    pub long_user_metadata: bool,
    /// A part below 5 MiB that is not the last is refused; else it is taken.
    pub small_parts_refused: bool,
    /// The only part of an upload may be empty.
    pub empty_parts: bool,
    /// A key may begin with a slash; else such keys are refused, since the store would take the slash off.
    pub leading_slashes: bool,
}

/// Whether calls to a store are let through (design §7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Circuit {
    /// They are.
    #[default]
    Closed,
    /// They are refused at once, because too many failed.
    Open,
    /// A few are, to see whether it answers again.
    HalfOpen,
}

impl Circuit {
    /// The name in health and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// Bytes at keys in buckets.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// What this store can do.
    fn capabilities(&self) -> Capabilities;

    /// What the store that holds this bucket can do. Another answer than [`Self::capabilities`] only where several stores
    /// stand behind this one.
    fn capabilities_of(&self, bucket: &str) -> Capabilities {
        let _ = bucket;
        self.capabilities()
    }

    /// Whether calls are let through. A store without a network in between always lets them.
    fn circuit(&self) -> Circuit {
        Circuit::Closed
    }

    /// Every bucket, by name.
    async fn buckets(&self) -> Result<Vec<Bucket>>;

    /// One bucket, or [`ObjectError::NoSuchBucket`].
    async fn bucket(&self, name: &str) -> Result<Bucket>;

    /// Makes a bucket, or [`ObjectError::BucketExists`].
    async fn create_bucket(&self, name: &str) -> Result<()>;

    /// Removes an empty bucket.
    async fn delete_bucket(&self, name: &str) -> Result<()>;

    /// What is known of an object.
    async fn head(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectInfo>;

    /// Reads an object.
    async fn get(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead>;

    /// Writes an object: durable and whole when it returns, unchanged when it fails.
    async fn put(&self, path: &ObjectPath, options: PutOptions, body: PutBody) -> Result<ObjectInfo>;

    /// Copies an object, within the store.
    async fn copy(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<ObjectInfo>;

    /// Moves a verified staging object to its final key, if it is still exactly this one. Afterwards `from` may
    /// or may not be there. Done twice, it is done once: `from` gone and `to` there is success for the caller to
    /// check with [`Self::head`]. A rename where the store can, else a conditional copy.
    async fn promote(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Result<ObjectInfo>;

    /// Removes an object; removing what is not there is fine.
    async fn delete(&self, path: &ObjectPath) -> Result<()>;

    /// A page of keys.
    async fn list(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList>;

    /// Begins a multipart upload; returns its id.
    async fn begin_multipart(&self, path: &ObjectPath, options: MultipartOptions) -> Result<String>;

    /// Writes a part, replacing one of the same number.
    async fn put_part(&self, path: &ObjectPath, upload_id: &str, number: u32, body: PutBody) -> Result<Part>;

    /// One multipart upload and its parts, by number.
    async fn multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<(MultipartUpload, Vec<Part>)>;

    /// Multipart uploads under way whose key begins so, by key, then id.
    async fn multiparts(&self, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>>;

    /// Makes the object out of its parts. Done again after a lost answer, it gives the same answer.
    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Result<ObjectInfo>;

    /// Gives a multipart upload up and removes its parts.
    async fn abort_multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<()>;

    /// Whether the store answers and takes writes.
    async fn ping(&self) -> Result<()>;
}

#[cfg(test)]
mod tests;
