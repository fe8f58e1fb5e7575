//! Transfers between stores that lie, break off and come back.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use cloakroom_core::ports::objects::{
    Bucket, Capabilities, CopyOptions, ListOptions, MultipartUpload, ObjectList, ObjectRead, Part,
    Result as Outcome,
};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use tempfile::TempDir;

use super::*;

/// A store that fails on purpose.
pub(in crate::commands) struct Saboteur {
    pub(in crate::commands) inner: LocalStore,
    /// So many writes find nobody.
    away: AtomicU32,
    /// Writes another first byte than it was given, and shows no checksum.
    garbles: bool,
    /// Reading breaks off after the first piece.
    pub(in crate::commands) breaks_off: bool,
    writes: AtomicU32,
    _directory: TempDir,
}

impl Saboteur {
    pub(in crate::commands) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let inner = LocalStore::open(&LocalOptions::new(directory.path().join("objects"))).expect("a store");
        inner.create_bucket("files").await.expect("a bucket");
        Self {
            inner,
            away: 0.into(),
            garbles: false,
            breaks_off: false,
            writes: 0.into(),
            _directory: directory,
        }
    }

    async fn holding(content: &[u8]) -> Self {
        let store = Self::new().await;
        store.fill(content).await;
        store
    }

    async fn fill(&self, content: &[u8]) {
        let body = PutBody::from_bytes(content.to_vec());
        self.inner.put(&path(), options(), body).await.expect("stored");
    }

    fn hidden(&self, mut info: ObjectInfo) -> ObjectInfo {
        if self.garbles {
            info.checksums = Checksums::default();
        }
        info
    }
}

#[async_trait]
impl ObjectStore for Saboteur {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn buckets(&self) -> Outcome<Vec<Bucket>> {
        self.inner.buckets().await
    }

    async fn bucket(&self, name: &str) -> Outcome<Bucket> {
        self.inner.bucket(name).await
    }

    async fn create_bucket(&self, name: &str) -> Outcome<()> {
        self.inner.create_bucket(name).await
    }

    async fn delete_bucket(&self, name: &str) -> Outcome<()> {
        self.inner.delete_bucket(name).await
    }

    async fn head(&self, path: &ObjectPath, options: &GetOptions) -> Outcome<ObjectInfo> {
        Ok(self.hidden(self.inner.head(path, options).await?))
    }

    async fn get(&self, path: &ObjectPath, options: &GetOptions) -> Outcome<ObjectRead> {
        let mut read = self.inner.get(path, options).await?;
        if self.breaks_off {
            let broken = Err(BodyError {
                code: "InternalError",
                message: "a bad sector".to_owned(),
            });
            read.body = Box::pin(read.body.take(1).chain(futures_util::stream::iter([broken])));
        }
        Ok(read)
    }

    async fn put(&self, path: &ObjectPath, options: PutOptions, body: PutBody) -> Outcome<ObjectInfo> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let away = self
            .away
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |away| away.checked_sub(1));
        if away.is_ok() {
            return Err(ObjectError::Unavailable("nobody is there".to_owned()));
        }
        if !self.garbles {
            return self.inner.put(path, options, body).await;
        }
        let mut first = true;
        let garbled = body.stream.map(move |piece| {
            piece.map(|bytes| {
                let mut bytes = bytes.to_vec();
                if std::mem::take(&mut first) {
                    bytes[0] ^= 1;
                }
                Bytes::from(bytes)
            })
        });
        let body = PutBody::from_stream(Box::pin(garbled), body.size_bytes);
        Ok(self.hidden(self.inner.put(path, options, body).await?))
    }

    async fn copy(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Outcome<ObjectInfo> {
        self.inner.copy(from, to, options).await
    }

    async fn promote(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Outcome<ObjectInfo> {
        self.inner.promote(from, generation, to, attributes).await
    }

    async fn delete(&self, path: &ObjectPath) -> Outcome<()> {
        self.inner.delete(path).await
    }

    async fn list(&self, bucket: &str, options: &ListOptions) -> Outcome<ObjectList> {
        self.inner.list(bucket, options).await
    }

    async fn begin_multipart(&self, path: &ObjectPath, options: MultipartOptions) -> Outcome<String> {
        self.inner.begin_multipart(path, options).await
    }

    async fn put_part(&self, path: &ObjectPath, id: &str, number: u32, body: PutBody) -> Outcome<Part> {
        let away = self
            .away
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |away| away.checked_sub(1));
        if away.is_ok() {
            // After some of it had passed.
            let mut stream = body.stream;
            stream.next().await;
            return Err(ObjectError::Unavailable("nobody is there".to_owned()));
        }
        self.inner.put_part(path, id, number, body).await
    }

    async fn multipart(&self, path: &ObjectPath, id: &str) -> Outcome<(MultipartUpload, Vec<Part>)> {
        self.inner.multipart(path, id).await
    }

    async fn multiparts(&self, bucket: &str, prefix: &str) -> Outcome<Vec<MultipartUpload>> {
        self.inner.multiparts(bucket, prefix).await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Outcome<ObjectInfo> {
        self.inner.complete_multipart(path, id, parts, conditions).await
    }

    async fn abort_multipart(&self, path: &ObjectPath, id: &str) -> Outcome<()> {
        self.inner.abort_multipart(path, id).await
    }

    async fn ping(&self) -> Outcome<()> {
        self.inner.ping().await
    }
}

fn path() -> ObjectPath {
    ObjectPath::new("files", "a/b.bin")
}

fn options() -> PutOptions {
    PutOptions {
        attributes: ObjectAttributes {
            content_type: Some("text/plain".to_owned()),
            cache_control: Some("no-cache".to_owned()),
            user_metadata: [("camera".to_owned(), "X".to_owned())].into(),
            ..ObjectAttributes::default()
        },
        ..PutOptions::default()
    }
}

async fn transfer(
    source: &Saboteur,
    target: &Saboteur,
    expected: Option<Expected>,
) -> Result<Transferred, TransferError> {
    let there = target.inner.head(&path(), &GetOptions::default()).await;
    Transfer {
        source,
        target,
        from: path(),
        to: path(),
        expected,
        there_bytes: there.ok().map(|info| info.size_bytes),
        display: &Display::new(true),
    }
    .run()
    .await
}

#[expect(clippy::unnecessary_wraps, reason = "what a transfer takes")]
fn expected(content: &[u8]) -> Option<Expected> {
    Some(Expected {
        sha256: Sha256Digest(Sha256::digest(content).into()),
        size_bytes: content.len() as u64,
    })
}

async fn stored(store: &Saboteur) -> Option<(Vec<u8>, ObjectAttributes)> {
    let mut read = store.inner.get(&path(), &GetOptions::default()).await.ok()?;
    let mut bytes = Vec::new();
    while let Some(piece) = read.body.next().await {
        bytes.extend_from_slice(&piece.expect("a piece"));
    }
    Some((bytes, read.info.attributes))
}

fn damage(outcome: Result<Transferred, TransferError>) -> String {
    match outcome {
        Err(TransferError::Damaged(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn bytes_and_headers_arrive_once() {
    let (source, target) = (Saboteur::holding(b"content").await, Saboteur::new().await);
    for expected in [expected(b"content"), None] {
        let first = transfer(&source, &target, expected).await.expect("moved");
        let wanted = Some((b"content".to_vec(), options().attributes));
        assert_eq!(stored(&target).await, wanted);
        let again = transfer(&source, &target, expected).await.expect("there");
        assert_eq!(again, Transferred::WasThere);
        assert!(first == Transferred::Sent || expected.is_none());
    }
    assert_eq!(target.writes.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_stands_there_and_is_something_else_is_replaced() {
    let (source, target) = (
        Saboteur::holding(b"content").await,
        Saboteur::holding(b"CONTENT").await,
    );
    let moved = transfer(&source, &target, expected(b"content"))
        .await
        .expect("moved");
    assert_eq!(moved, Transferred::Sent);
    assert_eq!(
        stored(&target).await.map(|(bytes, _)| bytes),
        Some(b"content".to_vec())
    );
}

#[tokio::test]
async fn a_store_that_is_away_is_asked_again() {
    let (source, target) = (Saboteur::holding(b"content").await, Saboteur::new().await);
    target.away.store(2, Ordering::SeqCst);
    transfer(&source, &target, expected(b"content"))
        .await
        .expect("moved");
    assert_eq!(target.writes.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_source_that_is_not_what_its_row_says_does_not_become_visible() {
    let (source, target) = (Saboteur::holding(b"kontent").await, Saboteur::new().await);
    let reason = damage(transfer(&source, &target, expected(b"content")).await);
    assert!(reason.contains("SHA-256"), "{reason}");
    let reason = damage(transfer(&source, &target, expected(b"more content")).await);
    assert!(reason.contains("7 bytes") && reason.contains("12"), "{reason}");
    assert_eq!(stored(&target).await, None);
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_damaged() {
    let mut source = Saboteur::holding(b"content").await;
    source.breaks_off = true;
    let target = Saboteur::new().await;
    for expected in [expected(b"content"), None] {
        let reason = damage(transfer(&source, &target, expected).await);
        assert!(reason.contains("a bad sector"), "{reason}");
    }
    assert_eq!(stored(&target).await, None);
    let reason = damage(transfer(&Saboteur::new().await, &target, None).await);
    assert!(reason.contains("no such object"), "{reason}");
}

/// A store may acknowledge what it did not keep: only what is read back counts.
#[tokio::test]
async fn a_target_that_garbles_is_found_out() {
    let source = Saboteur::holding(b"content").await;
    let mut target = Saboteur::new().await;
    target.garbles = true;
    let outcome = transfer(&source, &target, None).await;
    assert!(
        matches!(&outcome, Err(TransferError::Store(ObjectError::Internal(why))) if why.contains("other bytes")),
        "{outcome:?}"
    );
    let left = target.inner.head(&path(), &GetOptions::default()).await;
    assert!(matches!(left, Err(ObjectError::NotFound)), "{left:?}");
}

/// In parts: an outage in the middle, what an earlier run left behind, and a digest over everything.
#[tokio::test]
async fn large_objects_go_in_parts() {
    let content: Vec<u8> = (0..(MULTIPART_BYTES_MIN as usize + 4321))
        .map(|n| (n % 251) as u8)
        .collect();
    let (source, target) = (Saboteur::holding(&content).await, Saboteur::new().await);
    let left = target.begin_multipart(&path(), MultipartOptions::default()).await;
    left.expect("begun");
    target.away.store(1, Ordering::SeqCst);
    transfer(&source, &target, expected(&content))
        .await
        .expect("moved");
    let (bytes, attributes) = stored(&target).await.expect("there");
    assert!(bytes == content && attributes == options().attributes);
    assert_eq!(target.multiparts("files", "").await.expect("a list"), []);

    let mut rotten = content.clone();
    rotten[MULTIPART_BYTES_MIN as usize + 7] ^= 1;
    let (source, target) = (Saboteur::holding(&rotten).await, Saboteur::new().await);
    let reason = damage(transfer(&source, &target, expected(&content)).await);
    assert!(reason.contains("SHA-256"), "{reason}");
    assert_eq!(stored(&target).await, None);
    assert_eq!(target.multiparts("files", "").await.expect("a list"), []);
}

#[test]
fn the_largest_object_has_few_enough_parts() {
    for size in [MULTIPART_BYTES_MIN, 5 << 30, 5 << 40] {
        let part = part_bytes(size);
        assert!((5 << 20..=5 << 30).contains(&part) && part.is_multiple_of(1 << 20));
        assert!(size.div_ceil(part) <= 10_000, "{size}");
    }
    assert_eq!(part_bytes(MULTIPART_BYTES_MIN), 64 << 20);
}

#[test]
fn headers_are_kept_and_a_default_type_is_no_loss() {
    let attributes = |content_type: Option<&str>| ObjectAttributes {
        content_type: content_type.map(str::to_owned),
        ..ObjectAttributes::default()
    };
    assert!(are_kept(
        &attributes(None),
        &attributes(Some("binary/octet-stream"))
    ));
    assert!(are_kept(&attributes(Some("a/b")), &attributes(Some("a/b"))));
    assert!(!are_kept(&attributes(Some("a/b")), &attributes(None)));
    let with_metadata = ObjectAttributes {
        user_metadata: [("a".to_owned(), "b".to_owned())].into(),
        ..ObjectAttributes::default()
    };
    assert!(!are_kept(&with_metadata, &ObjectAttributes::default()));
}

#[test]
fn only_a_digest_of_the_whole_object_counts() {
    let sums = |text: String| Checksums([(ChecksumAlgorithm::Sha256, text)].into());
    let digest = Sha256Digest([7; 32]);
    assert_eq!(whole_sha256(&sums(BASE64.encode([7; 32]))), Some(digest));
    assert_eq!(whole_sha256(&sums(format!("{}-3", BASE64.encode([7; 32])))), None);
    assert_eq!(whole_sha256(&Checksums::default()), None);
}
