//! Any S3 service as the object store: requests signed by ourselves over pooled connections, with timeouts, retries and a
//! circuit breaker.
//!
//! A store that is not ours promises less than our own: an object is known by its `ETag`, which is a weak digest, so
//! [`Capabilities::generations`] is not declared and the service measures again what was copied. What else differs from
//! service to service is declared in [`Capabilities`]; `docs/providers.md` says what each can do.
//!
//! | file | what |
//! |---|---|
//! | `client` | one signed request: attempts, timeouts, circuit |
//! | `answer` | what comes back: bodies, errors |
//! | `write`, `upload` | writing, and bodies that are checked to the end before they count |
//! | `copy`, `multipart`, `list` | the rest of the port |

mod answer;
pub mod bootstrap;
mod buckets;
mod circuit;
pub(crate) mod client;
mod complete;
mod copy;
mod failure;
mod headers;
mod list;
mod multipart;
pub mod probe;
pub mod providers;
mod read;
mod request;
mod upload;
mod write;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_core::job::RetryPolicy;
use cloakroom_core::key::KEY_BYTES_MAX;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::objects::{
    Bucket, Capabilities, Circuit, CompletedPart, CopyOptions, GetOptions, ListOptions, MultipartOptions,
    MultipartUpload, ObjectAttributes, ObjectError, ObjectInfo, ObjectList, ObjectPath, ObjectRead,
    ObjectStore, Part, PutBody, PutOptions, Result, WriteConditions,
};
use cloakroom_core::ports::random::Random;
use cloakroom_signing::{Endpoint, Region};
use http::Method;
use serde::Deserialize;

use self::answer::Answer;
pub use self::circuit::CircuitPolicy;
use self::client::{CallError, Request};
pub use self::client::{ClientOptions, S3Client};
use crate::bucket_name::is_legal_name;
use crate::credentials::CredentialsSource;

/// The largest object that one request writes or copies (S3 user guide, "Amazon S3 multipart upload limits").
const REQUEST_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// A part of a larger object. It is sent as it comes, so it takes no memory.
const PUT_PART_BYTES: u64 = 64 * 1024 * 1024;
/// A part of a larger copy.
const COPY_PART_BYTES: u64 = 512 * 1024 * 1024;
/// The most parts of an object.
const PARTS_MAX: u64 = 10_000;

/// What an S3 of today is expected to do; `cloakroom doctor` finds out what is true.
pub const USUAL_CAPABILITIES: Capabilities = Capabilities {
    conditional_put: true,
    post_policy: true,
    checksums: false,
    computed_checksums: false,
    generations: false,
    uneven_parts: true,
    conditional_copy: true,
    conditional_copy_target: false,
    conditional_completion: false,
    part_reads: false,
    unlisted_parts: false,
    several_checksums: false,
    ordered_deletes: false,
    upload_memory: false,
    closed_uploads: true,
    long_user_metadata: true,
    small_parts_refused: true,
    empty_parts: true,
    leading_slashes: true,
};

/// How objects are encrypted by the store (S3 user guide, "Protecting data with encryption").
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// With a key of the store (SSE-S3).
    Aes256,
    /// With a key of its key management (SSE-KMS); the store's own when none is named.
    Kms {
        /// Id or ARN of the key.
        key_id: Option<String>,
    },
}

impl Encryption {
    /// The headers that ask for it.
    pub fn headers(&self) -> Vec<(String, String)> {
        let name = "x-amz-server-side-encryption".to_owned();
        match self {
            Self::Aes256 => vec![(name, "AES256".to_owned())],
            Self::Kms { key_id } => {
                let mut headers = vec![(name, "aws:kms".to_owned())];
                let key = "x-amz-server-side-encryption-aws-kms-key-id";
                headers.extend(key_id.iter().map(|id| (key.to_owned(), id.clone())));
                headers
            }
        }
    }
}

/// How to use an S3 service as the store.
#[derive(Clone)]
pub struct S3Options {
    /// The address of the service that we call; clients may reach it under another one.
    pub endpoint: Endpoint,
    /// The region that requests are signed for.
    pub region: Region,
    /// Who signs.
    pub credentials: Arc<dyn CredentialsSource>,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for an answer, all attempts together; a third of it for each one, and for each piece of a body.
    pub request_timeout: Duration,
    /// How failed requests are repeated.
    pub retry: RetryPolicy,
    /// When calls are refused without a try.
    pub circuit: CircuitPolicy,
    /// How objects are encrypted.
    pub encryption: Option<Encryption>,
    /// The storage class of what is written, such as `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// What the service can do.
    pub capabilities: Capabilities,
    /// Larger objects are written in parts.
    pub put_bytes_max: u64,
    /// The size of such a part, at least.
    pub put_part_bytes: u64,
    /// Larger objects are copied in parts.
    pub copy_bytes_max: u64,
    /// The size of such a part, at least.
    pub copy_part_bytes: u64,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Spreads the waits between attempts.
    pub random: Arc<dyn Random>,
}

impl S3Options {
    /// The defaults: 3 s to connect, 30 s for an answer, three attempts, no encryption asked for.
    pub fn new(
        endpoint: Endpoint,
        region: Region,
        credentials: Arc<dyn CredentialsSource>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            endpoint,
            region,
            credentials,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            circuit: CircuitPolicy::default(),
            encryption: None,
            storage_class: None,
            capabilities: USUAL_CAPABILITIES,
            put_bytes_max: REQUEST_BYTES_MAX,
            put_part_bytes: PUT_PART_BYTES,
            copy_bytes_max: REQUEST_BYTES_MAX,
            copy_part_bytes: COPY_PART_BYTES,
            clock,
            random,
        }
    }
}

/// The object store in an S3 service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct S3Store {
    shared: Arc<Shared>,
}

struct Shared {
    client: S3Client,
    encryption: Option<Encryption>,
    storage_class: Option<String>,
    capabilities: Capabilities,
    put_bytes_max: u64,
    put_part_bytes: u64,
    copy_bytes_max: u64,
    copy_part_bytes: u64,
    clock: Arc<dyn Clock>,
    /// Buckets that were there: `HEAD` of a key does not say whether the key or the bucket is missing.
    known_buckets: Mutex<HashSet<String>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl S3Store {
    /// A store in this service. Nothing is sent yet.
    ///
    /// # Errors
    /// The certificates of this machine cannot be read.
    pub fn new(options: S3Options) -> std::io::Result<Self> {
        let client = S3Client::new(ClientOptions {
            endpoint: options.endpoint,
            region: options.region,
            credentials: options.credentials,
            connect_timeout: options.connect_timeout,
            request_timeout: options.request_timeout,
            retry: options.retry,
            circuit: options.circuit,
            clock: Arc::clone(&options.clock),
            random: options.random,
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                encryption: options.encryption,
                storage_class: options.storage_class,
                capabilities: options.capabilities,
                put_bytes_max: options.put_bytes_max,
                put_part_bytes: options.put_part_bytes,
                copy_bytes_max: options.copy_bytes_max,
                copy_part_bytes: options.copy_part_bytes,
                clock: options.clock,
                known_buckets: Mutex::default(),
            }),
        })
    }

    /// What sends its requests.
    pub fn client(&self) -> &S3Client {
        &self.shared.client
    }

    async fn call(&self, request: Request<'_>) -> Result<Answer> {
        let bucket = request.bucket;
        self.shared
            .client
            .send(request)
            .await
            .map_err(|error| failure::describe(error, bucket))
    }

    async fn call_for_xml<T: for<'de> Deserialize<'de>>(&self, mut request: Request<'_>) -> Result<T> {
        let bucket = request.bucket;
        request.is_short = true;
        let answer = self.call(request).await?;
        answer
            .xml()
            .map_err(|error: CallError| failure::describe(error, bucket))
    }

    /// Headers of whatever makes an object.
    fn storage_headers(&self) -> Vec<(String, String)> {
        let mut headers = self
            .shared
            .encryption
            .as_ref()
            .map(Encryption::headers)
            .unwrap_or_default();
        let class = self.shared.storage_class.iter();
        headers.extend(class.map(|class| ("x-amz-storage-class".to_owned(), class.clone())));
        headers
    }

    /// Whether there is no such bucket. Asked once for each that is there.
    async fn bucket_is_missing(&self, bucket: &str) -> bool {
        if self.known_buckets().contains(bucket) {
            return false;
        }
        let request = Request::new("HeadBucket", Method::HEAD, bucket, "");
        match self.call(request).await {
            Ok(_) => {
                self.known_buckets().insert(bucket.to_owned());
                false
            }
            Err(error) => matches!(error, ObjectError::NotFound | ObjectError::NoSuchBucket(_)),
        }
    }

    fn known_buckets(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.shared
            .known_buckets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn remove(&self, path: &ObjectPath) -> Result<()> {
        self.check_path(path)?;
        match self
            .call(Request::new(
                "DeleteObject",
                Method::DELETE,
                &path.bucket,
                &path.key,
            ))
            .await
        {
            Ok(_) | Err(ObjectError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A name that no bucket can have is not sent: it would become a part of the host or path.
fn check_bucket(bucket: &str) -> Result<()> {
    if is_legal_name(bucket) {
        Ok(())
    } else {
        Err(ObjectError::NoSuchBucket(bucket.to_owned()))
    }
}

/// Parts of at least this size, as large as needed for an object of `size_bytes` to have no more than S3 allows.
fn part_bytes(least: u64, size_bytes: u64) -> u64 {
    least.max(size_bytes.div_ceil(PARTS_MAX)).max(1)
}

impl S3Store {
    fn check_path(&self, path: &ObjectPath) -> Result<()> {
        check_bucket(&path.bucket)?;
        if !(1..=KEY_BYTES_MAX).contains(&path.key.len()) {
            return Err(ObjectError::InvalidArgument(format!(
                "a key has 1 to {KEY_BYTES_MAX} bytes, this one has {}",
                path.key.len()
            )));
        }
        // It would be another object's key there.
        if path.key.starts_with('/') && !self.shared.capabilities.leading_slashes {
            return Err(ObjectError::InvalidArgument(
                "the object store takes slashes off the beginning of keys".to_owned(),
            ));
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities
    }

    fn circuit(&self) -> Circuit {
        self.shared.client.circuit()
    }

    async fn buckets(&self) -> Result<Vec<Bucket>> {
        self.all_buckets().await
    }

    async fn bucket(&self, name: &str) -> Result<Bucket> {
        self.one_bucket(name).await
    }

    async fn create_bucket(&self, name: &str) -> Result<()> {
        self.make_bucket(name).await
    }

    async fn delete_bucket(&self, name: &str) -> Result<()> {
        self.remove_bucket(name).await
    }

    async fn head(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectInfo> {
        self.look_with(path, options).await
    }

    async fn get(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead> {
        self.read(path, options).await
    }

    async fn put(&self, path: &ObjectPath, options: PutOptions, body: PutBody) -> Result<ObjectInfo> {
        self.write(path, options, body).await
    }

    async fn copy(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<ObjectInfo> {
        self.copy_object(from, to, options).await
    }

    async fn promote(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Result<ObjectInfo> {
        self.promote_object(from, generation, to, attributes).await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.remove(path).await
    }

    async fn list(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList> {
        self.list_objects(bucket, options).await
    }

    async fn begin_multipart(&self, path: &ObjectPath, options: MultipartOptions) -> Result<String> {
        self.begin_upload(path, &options).await
    }

    async fn put_part(&self, path: &ObjectPath, upload_id: &str, number: u32, body: PutBody) -> Result<Part> {
        self.write_part(path, upload_id, number, body).await
    }

    async fn multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<(MultipartUpload, Vec<Part>)> {
        self.describe_upload(path, upload_id).await
    }

    async fn multiparts(&self, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>> {
        self.uploads_of(bucket, prefix).await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Result<ObjectInfo> {
        self.complete_upload(path, upload_id, parts, conditions).await
    }

    async fn abort_multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        self.give_up(path, upload_id).await
    }

    async fn ping(&self) -> Result<()> {
        self.all_buckets().await.map(drop)
    }
}
