//! Several stores behind one port: each bucket belongs to one of them.
//!
//! What concerns one bucket goes to its store, and a bucket that nobody names to the default one. What concerns two buckets of
//! different stores is done by hand: the bytes are read from the one and written to the other in one pass, their number and
//! every checksum that the source tells compared before the target may become visible. A copy may be refused on a condition as
//! within one store; it is not atomic with a change of its source, so the read is pinned to what was looked at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloakroom_core::ports::objects::{
    BodyError, Bucket, Capabilities, ChecksumAlgorithm, Checksums, Circuit, CompletedPart, CopyOptions,
    GetOptions, ListOptions, MultipartOptions, MultipartUpload, ObjectAttributes, ObjectError, ObjectInfo,
    ObjectList, ObjectPath, ObjectRead, ObjectStore, Part, PutBody, PutOptions, ReadConditions, Result,
    WriteConditions,
};
use cloakroom_core::ports::signer::{
    CannotSign, DownloadPresentation, SignedForm, SignedRequest, Signer, UploadConstraints,
};
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// A store and what signs for it.
#[derive(Clone)]
pub struct StoreMember {
    /// Bytes.
    pub objects: Arc<dyn ObjectStore>,
    /// URLs and forms for its clients; `None` where nothing is signed.
    pub signer: Option<Arc<dyn Signer>>,
}

/// Dispatches by bucket. See the module.
pub struct StoreRouter {
    members: BTreeMap<String, StoreMember>,
    default: String,
    by_bucket: BTreeMap<String, String>,
}

/// Why no router can be made of some stores.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RoutingError {
    /// The store of all other buckets is not among them.
    #[error("there is no store {0}")]
    NoDefault(String),
    /// A bucket can be in one store alone.
    #[error("the bucket {bucket} is in the stores {one} and {other}")]
    BucketInTwoStores {
        /// The bucket.
        bucket: String,
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
}

impl StoreRouter {
    /// A router over named stores, each with its buckets; `default` has all others.
    ///
    /// # Errors
    /// [`RoutingError`].
    pub fn new(
        default: &str,
        stores: impl IntoIterator<Item = (String, StoreMember, Vec<String>)>,
    ) -> std::result::Result<Self, RoutingError> {
        let mut router = Self {
            members: BTreeMap::new(),
            default: default.to_owned(),
            by_bucket: BTreeMap::new(),
        };
        for (name, member, buckets) in stores {
            for bucket in buckets {
                if let Some(other) = router.by_bucket.insert(bucket.clone(), name.clone())
                    && other != name
                {
                    return Err(RoutingError::BucketInTwoStores {
                        bucket,
                        one: other,
                        other: name,
                    });
                }
            }
            router.members.insert(name, member);
        }
        if !router.members.contains_key(default) {
            return Err(RoutingError::NoDefault(default.to_owned()));
        }
        Ok(router)
    }

    fn name_of(&self, bucket: &str) -> &str {
        self.by_bucket.get(bucket).unwrap_or(&self.default)
    }

    fn member(&self, bucket: &str) -> &StoreMember {
        // `new` refuses a default that is no member, and takes the names of buckets from members.
        &self.members[self.name_of(bucket)]
    }

    fn objects(&self, bucket: &str) -> &dyn ObjectStore {
        &*self.member(bucket).objects
    }

    fn signer(&self, bucket: &str) -> std::result::Result<&dyn Signer, CannotSign> {
        self.member(bucket)
            .signer
            .as_deref()
            .ok_or_else(|| CannotSign(format!("the store {} has no signer", self.name_of(bucket))))
    }

    fn are_together(&self, from: &ObjectPath, to: &ObjectPath) -> bool {
        self.name_of(&from.bucket) == self.name_of(&to.bucket)
    }

    /// Reads from one store and writes to another.
    async fn carry(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        source_conditions: ReadConditions,
        attributes: Option<ObjectAttributes>,
        conditions: WriteConditions,
    ) -> Result<ObjectInfo> {
        let options = GetOptions {
            conditions: source_conditions,
            ..GetOptions::default()
        };
        let read = self.objects(&from.bucket).get(from, &options).await?;
        let options = PutOptions {
            attributes: attributes.unwrap_or_else(|| read.info.attributes.clone()),
            conditions,
        };
        let target = self.objects(&to.bucket);
        let (body, measured) = checked(read);
        let written = target.put(to, options, body).await?;
        let Some(sha256) = measured.sha256() else {
            return Err(ObjectError::Internal(
                "a body was stored and not read to its end".to_owned(),
            ));
        };
        // A store that checked it says so; what another one made of the bytes is seen by reading them.
        if written.checksums.0.get(&ChecksumAlgorithm::Sha256) != Some(&sha256)
            && sha256_of(target, to, &written).await? != sha256
        {
            return Err(ObjectError::Internal(format!(
                "the store {} made other bytes of what it was sent",
                self.name_of(&to.bucket)
            )));
        }
        Ok(written)
    }
}

/// What went through a body so far.
#[derive(Clone, Default)]
struct Measured(Arc<Mutex<Measure>>);

#[derive(Default)]
struct Measure {
    bytes: u64,
    hash: Sha256,
    sha256: Option<String>,
}

impl Measured {
    fn with<T>(&self, work: impl FnOnce(&mut Measure) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The digest, after the end.
    fn sha256(&self) -> Option<String> {
        self.with(|measure| measure.sha256.clone())
    }
}

/// The body of a read as one to be written, which is refused at its end when it is not what the source says of it. The target
/// is told its SHA-256, and refuses other bytes if it looks at checksums.
fn checked(read: ObjectRead) -> (PutBody, Measured) {
    let ObjectRead { info, body, .. } = read;
    let measured = Measured::default();
    let (passing, ending) = (measured.clone(), measured.clone());
    let stream = body.map(move |piece| {
        let piece = piece?;
        passing.with(|measure| {
            measure.bytes += piece.len() as u64;
            measure.hash.update(&piece);
        });
        Ok(piece)
    });
    let size_bytes = info.size_bytes;
    let finish = move || {
        let (bytes, sha256) = ending.with(|measure| {
            let sha256 = BASE64.encode(std::mem::take(&mut measure.hash).finalize());
            measure.sha256 = Some(sha256.clone());
            (measure.bytes, sha256)
        });
        if bytes != size_bytes {
            return Err(BodyError {
                code: "IncompleteBody",
                message: format!("{bytes} of the {size_bytes} bytes of the source came"),
            });
        }
        // A composite (`...-3`) is no digest of the bytes.
        let told = info.checksums.0.get(&ChecksumAlgorithm::Sha256);
        if told.is_some_and(|told| !told.contains('-') && *told != sha256) {
            return Err(BodyError {
                code: "BadDigest",
                message: "the source sent other bytes than its checksum says".to_owned(),
            });
        }
        Ok(Checksums(BTreeMap::from([(ChecksumAlgorithm::Sha256, sha256)])))
    };
    let body = PutBody {
        stream: Box::pin(stream),
        size_bytes: Some(size_bytes),
        finish: Box::new(finish),
        md5_etag: false,
    };
    (body, measured)
}

/// The SHA-256 of exactly this object, in Base64.
async fn sha256_of(store: &dyn ObjectStore, path: &ObjectPath, info: &ObjectInfo) -> Result<String> {
    let options = GetOptions {
        conditions: ReadConditions {
            if_generation: Some(info.generation.clone()),
            ..ReadConditions::default()
        },
        ..GetOptions::default()
    };
    let mut read = store.get(path, &options).await?;
    let mut hash = Sha256::new();
    while let Some(piece) = read.body.next().await {
        hash.update(&piece?);
    }
    Ok(BASE64.encode(hash.finalize()))
}

/// What both can do. Every field stands here by name, so that a new one is thought about.
const fn both(one: Capabilities, other: Capabilities) -> Capabilities {
    Capabilities {
        conditional_put: one.conditional_put && other.conditional_put,
        post_policy: one.post_policy && other.post_policy,
        checksums: one.checksums && other.checksums,
        computed_checksums: one.computed_checksums && other.computed_checksums,
        generations: one.generations && other.generations,
        uneven_parts: one.uneven_parts && other.uneven_parts,
        conditional_copy: one.conditional_copy && other.conditional_copy,
        conditional_copy_target: one.conditional_copy_target && other.conditional_copy_target,
        conditional_completion: one.conditional_completion && other.conditional_completion,
        part_reads: one.part_reads && other.part_reads,
        unlisted_parts: one.unlisted_parts && other.unlisted_parts,
        several_checksums: one.several_checksums && other.several_checksums,
        ordered_deletes: one.ordered_deletes && other.ordered_deletes,
        upload_memory: one.upload_memory && other.upload_memory,
        closed_uploads: one.closed_uploads && other.closed_uploads,
        long_user_metadata: one.long_user_metadata && other.long_user_metadata,
        small_parts_refused: one.small_parts_refused && other.small_parts_refused,
        empty_parts: one.empty_parts && other.empty_parts,
        leading_slashes: one.leading_slashes && other.leading_slashes,
    }
}

const fn rank(circuit: Circuit) -> u8 {
    match circuit {
        Circuit::Closed => 0,
        Circuit::HalfOpen => 1,
        Circuit::Open => 2,
    }
}

#[async_trait]
impl ObjectStore for StoreRouter {
    /// What all of them can do: the safe answer to a question about no bucket. [`ObjectStore::capabilities_of`] asks about one.
    fn capabilities(&self) -> Capabilities {
        let first = self.members[&self.default].objects.capabilities();
        let others = self.members.values();
        others.fold(first, |weakest, member| {
            both(weakest, member.objects.capabilities())
        })
    }

    fn capabilities_of(&self, bucket: &str) -> Capabilities {
        self.objects(bucket).capabilities_of(bucket)
    }

    /// The worst of all.
    fn circuit(&self) -> Circuit {
        let circuits = self.members.values().map(|member| member.objects.circuit());
        circuits.max_by_key(|circuit| rank(*circuit)).unwrap_or_default()
    }

    /// Those that each store has and that are routed to it.
    async fn buckets(&self) -> Result<Vec<Bucket>> {
        let lists = try_join_all(self.members.iter().map(async |(name, member)| {
            let mut buckets = member.objects.buckets().await?;
            buckets.retain(|bucket| self.name_of(&bucket.name) == name);
            Ok::<_, ObjectError>(buckets)
        }));
        let mut all: Vec<Bucket> = lists.await?.into_iter().flatten().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    async fn bucket(&self, name: &str) -> Result<Bucket> {
        self.objects(name).bucket(name).await
    }

    async fn create_bucket(&self, name: &str) -> Result<()> {
        self.objects(name).create_bucket(name).await
    }

    async fn delete_bucket(&self, name: &str) -> Result<()> {
        self.objects(name).delete_bucket(name).await
    }

    async fn head(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectInfo> {
        self.objects(&path.bucket).head(path, options).await
    }

    async fn get(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead> {
        self.objects(&path.bucket).get(path, options).await
    }

    async fn put(&self, path: &ObjectPath, options: PutOptions, body: PutBody) -> Result<ObjectInfo> {
        self.objects(&path.bucket).put(path, options, body).await
    }

    async fn copy(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<ObjectInfo> {
        if self.are_together(from, to) {
            return self.objects(&from.bucket).copy(from, to, options).await;
        }
        let CopyOptions {
            attributes,
            source_conditions,
            conditions,
        } = options;
        self.carry(from, to, source_conditions, attributes, conditions)
            .await
    }

    /// Between two stores the exact object is read and written; the source stays, as the port allows.
    async fn promote(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Result<ObjectInfo> {
        if self.are_together(from, to) {
            let store = self.objects(&from.bucket);
            return store.promote(from, generation, to, attributes).await;
        }
        let pinned = ReadConditions {
            if_generation: Some(generation.to_owned()),
            ..ReadConditions::default()
        };
        self.carry(from, to, pinned, Some(attributes), WriteConditions::default())
            .await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.objects(&path.bucket).delete(path).await
    }

    async fn list(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList> {
        self.objects(bucket).list(bucket, options).await
    }

    async fn begin_multipart(&self, path: &ObjectPath, options: MultipartOptions) -> Result<String> {
        self.objects(&path.bucket).begin_multipart(path, options).await
    }

    async fn put_part(&self, path: &ObjectPath, upload_id: &str, number: u32, body: PutBody) -> Result<Part> {
        let store = self.objects(&path.bucket);
        store.put_part(path, upload_id, number, body).await
    }

    async fn multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<(MultipartUpload, Vec<Part>)> {
        self.objects(&path.bucket).multipart(path, upload_id).await
    }

    async fn multiparts(&self, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>> {
        self.objects(bucket).multiparts(bucket, prefix).await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Result<ObjectInfo> {
        let store = self.objects(&path.bucket);
        store.complete_multipart(path, upload_id, parts, conditions).await
    }

    async fn abort_multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        self.objects(&path.bucket).abort_multipart(path, upload_id).await
    }

    /// All of them; the error names the one that fails.
    async fn ping(&self) -> Result<()> {
        let asked = self.members.iter().map(async |(name, member)| {
            let answer = member.objects.ping().await;
            answer.map_err(|error| ObjectError::Unavailable(format!("store {name}: {error}")))
        });
        try_join_all(asked).await.map(drop)
    }
}

impl Signer for StoreRouter {
    fn put(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> std::result::Result<SignedRequest, CannotSign> {
        self.signer(&path.bucket)?
            .put(path, constraints, expires_in_seconds, now)
    }

    fn post(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> std::result::Result<SignedForm, CannotSign> {
        self.signer(&path.bucket)?
            .post(path, constraints, expires_in_seconds, now)
    }

    fn part(
        &self,
        path: &ObjectPath,
        multipart_id: &str,
        part_number: u32,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> std::result::Result<SignedRequest, CannotSign> {
        self.signer(&path.bucket)?
            .part(path, multipart_id, part_number, expires_in_seconds, now)
    }

    fn get(
        &self,
        path: &ObjectPath,
        presentation: &DownloadPresentation,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> std::result::Result<SignedRequest, CannotSign> {
        self.signer(&path.bucket)?
            .get(path, presentation, expires_in_seconds, now)
    }
}
