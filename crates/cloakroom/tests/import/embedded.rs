//! An embedded instance with files in every state, made by the use cases themselves over the files that a server has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::file::{FileError, FilePatch};
use cloakroom_core::id::{FileId, WorkerId};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::metadata::{Claim, MetadataStore};
use cloakroom_core::ports::objects::{
    ObjectAttributes, ObjectError, ObjectPath, ObjectStore, PutBody, PutOptions, WriteConditions,
};
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorOutput,
};
use cloakroom_core::ports::signals::Signals;
use cloakroom_core::record::RecordKey;
use cloakroom_core::upload::UploadMethod;
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_objects::local::layout::key_to_path;
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_service::App;
use cloakroom_service::app::Policy;
use cloakroom_service::records::PutRecord;
use cloakroom_service::stores::StoreRegistry;
use cloakroom_service::uploads::{ConfirmUpload, SignUpload, SignedUpload};
use cloakroom_service::variants::Variants;
use cloakroom_signing::{Addressing, Credentials, Endpoint};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::object;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_worker::signals::LocalSignals;
use cloakroom_worker::{WorkerOptions, runner};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sha2::Digest as _;

/// The size from which objects go in parts, and a bit.
const LARGE_BYTES: usize = (64 << 20) + 12_345;

/// What was put in.
#[derive(Debug, Default)]
pub struct Contents {
    /// Ready files of a few bytes, with derivatives.
    pub ready: Vec<FileId>,
    /// The object of a ready file: bucket and key.
    pub final_object: Option<(String, String)>,
    /// The object of a large one.
    pub large_object: Option<(String, String)>,
    /// Confirmed, and not processed yet: each must become ready wherever it is.
    pub confirmed: Vec<FileId>,
    /// Confirmed, and written again afterwards: must not become ready anywhere.
    pub exchanged: Option<FileId>,
    /// Sent in parts that were put together, and not confirmed.
    pub assembled: Option<FileId>,
    /// Sent in parts of which one has arrived.
    pub in_parts: Option<FileId>,
    /// The idempotency key of that.
    pub in_parts_key: &'static str,
    /// In the trash.
    pub trashed: Vec<FileId>,
}

/// A thumbnail of everything that is called a photo, except of those that are not.
struct Thumb;

#[async_trait]
impl Processor for Thumb {
    fn name(&self) -> &'static str {
        "thumb"
    }

    fn accepts(&self, _: &MediaType) -> bool {
        true
    }

    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        if input.file.filename.starts_with("odd") {
            return Err(ProcessorError::Rejected(FileError {
                code: "no_picture".to_owned(),
                message: "There is no picture in it.".to_owned(),
            }));
        }
        Ok(ProcessorOutput {
            facts: object(json!({ "width": 7, "text": "Ω" })),
            derivatives: vec![MadeDerivative {
                name: "thumbnail-256".to_owned(),
                extension: "webp".to_owned(),
                content_type: MediaType::parse("image/webp").expect("a type"),
                bytes: format!("thumbnail of {}", input.verified.sha256)
                    .into_bytes()
                    .into(),
                width: Some(256),
                height: Some(144),
            }],
            ..ProcessorOutput::default()
        })
    }
}

/// An instance while it is filled.
pub struct Embedded {
    pub app: Arc<App>,
    clock: Arc<MockClock>,
    next: std::sync::atomic::AtomicU64,
}

#[expect(
    clippy::disallowed_methods,
    reason = "a server with the real time goes on with these files"
)]
fn an_hour_ago() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(1)
}

fn collections() -> BTreeMap<String, Arc<Collection>> {
    let files = Collection {
        processors: vec!["thumb".to_owned()],
        verify_content_type: false,
        ..Collection::new("files", "cloakroom")
    };
    let documents = Collection {
        verify_content_type: true,
        ..Collection::new("documents", "documents")
    };
    [files, documents]
        .into_iter()
        .map(|collection| (collection.name.clone(), Arc::new(collection)))
        .collect()
}

pub fn ann() -> Principal {
    Principal {
        subject: "ann".to_owned(),
        role: Role::User,
        credential: Credential::AccessToken,
        username: "ann".to_owned(),
        full_name: Some("Ann Ω".to_owned()),
    }
}

impl Embedded {
    /// Opens a data directory as a server does.
    pub async fn open(data_dir: &Path) -> Self {
        std::fs::create_dir_all(data_dir).expect("a directory");
        let signals = Arc::new(LocalSignals::new());
        let metadata = SqliteStore::open(SqliteOptions {
            signals: Some(Arc::clone(&signals) as Arc<dyn Signals>),
            synchronous_full: false,
            ..SqliteOptions::new(data_dir.join("cloakroom.db"))
        })
        .expect("a database");
        let metadata = Arc::new(metadata);
        let objects = LocalStore::open(&LocalOptions::new(data_dir.join("objects"))).expect("a store");
        for bucket in ["cloakroom", "documents"] {
            match objects.create_bucket(bucket).await {
                Ok(()) | Err(ObjectError::BucketExists) => {}
                Err(error) => panic!("{bucket}: {error}"),
            }
        }
        let credentials = Credentials {
            access_key_id: "test".into(),
            secret_access_key: "test-test".to_owned().into(),
            session_token: None,
        };
        let endpoint = Endpoint::parse("http://127.0.0.1:1", Addressing::Path).expect("an endpoint");
        let region = "us-east-1".parse().expect("a region");
        let clock = Arc::new(MockClock::new());
        clock.set(an_hour_ago());
        let app = App {
            metadata: Arc::clone(&metadata) as Arc<dyn MetadataStore>,
            administration: metadata,
            objects: Arc::new(objects),
            stores: Arc::new(StoreRegistry::single(["bucket"])),
            signer: Arc::new(UrlSigner::new(
                cloakroom_signing::Signer::new(credentials, region),
                endpoint,
            )),
            clock: Arc::clone(&clock) as _,
            random: Arc::new(SeededRandom::new(5)),
            signals: signals as _,
            collections: collections(),
            scanner: None,
            alerts: Arc::new(cloakroom_core::ports::alerts::NoAlerts),
            processors: BTreeMap::from([("thumb".to_owned(), Arc::new(Thumb) as Arc<dyn Processor>)]),
            variants: Variants::default(),
            policy: Policy {
                home_bucket: "cloakroom".to_owned(),
                ..Policy::default()
            },
        };
        Self {
            app: Arc::new(app),
            clock,
            next: 0.into(),
        }
    }

    /// Some bytes that no other file has.
    pub fn content(&self) -> Vec<u8> {
        let n = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("content {n} ")
            .repeat(1 + usize::try_from(n % 50).expect("small"))
            .into_bytes()
    }

    pub async fn sign(
        &self,
        filename: &str,
        content: &[u8],
        change: impl FnOnce(&mut SignUpload),
    ) -> SignedUpload {
        // Lists are ordered by time.
        self.clock.advance(SignedDuration::from_millis(10));
        let mut request = SignUpload {
            collection: "files".to_owned(),
            filename: filename.to_owned(),
            size_bytes: Some(content.len() as u64),
            description: Some(format!("About {filename}")),
            metadata: object(json!({ "kind": "test", "n": content.len() })),
            ..SignUpload::default()
        };
        change(&mut request);
        self.app.sign_upload(&ann(), request).await.expect("signed")
    }

    pub async fn send(&self, signed: &SignedUpload, content: &[u8]) {
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some(signed.file.declared.content_type.to_string()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        let path = ObjectPath::new(&signed.file.bucket, &signed.upload.staging_key);
        let body = PutBody::from_bytes(content.to_vec());
        self.app.objects.put(&path, options, body).await.expect("stored");
    }

    pub async fn confirm(&self, id: FileId) {
        self.app
            .confirm_upload(&ann(), id, ConfirmUpload::default())
            .await
            .expect("confirmed");
    }

    pub async fn upload(&self, filename: &str, change: impl FnOnce(&mut SignUpload)) -> FileId {
        let content = self.content();
        let signed = self.sign(filename, &content, change).await;
        self.send(&signed, &content).await;
        self.confirm(signed.file.id).await;
        signed.file.id
    }

    pub async fn work(&self) {
        runner::run_due(&self.app, &WorkerOptions::new(WorkerId("worker".to_owned()))).await;
    }

    /// Ready files, with records, derivatives, patches and checksums.
    async fn add_ready(&self, contents: &mut Contents, count: usize) {
        for n in 0..3 {
            let key = RecordKey::new("message", &format!("{n} é")).expect("a key");
            let parent = (n > 0).then(|| Some(RecordKey::new("message", "0 é").expect("a key")));
            let put = PutRecord {
                parent,
                payload: Some(object(json!({ "text": "Здравствуйте", "n": n }))),
                ..PutRecord::default()
            };
            self.app.put_record(&ann(), &key, put).await.expect("a record");
        }
        for n in 0..count {
            let name = match n % 10 {
                3 => format!("odd {n}.bin"),
                4 => format!("Отчёт 'x' {n}.bin"),
                _ => format!("photo {n}.bin"),
            };
            let id = self
                .upload(&name, |request| {
                    request.record = (n % 4 == 1)
                        .then(|| RecordKey::new("message", &format!("{} é", n % 3)).expect("a key"));
                })
                .await;
            contents.ready.push(id);
        }
        self.work().await;
        for id in contents.ready.iter().step_by(9) {
            let patch = FilePatch {
                description: Some(Some("said again".to_owned())),
                ..FilePatch::default()
            };
            self.app
                .update_file(&ann(), *id, patch, None)
                .await
                .expect("patched");
        }
        let file = self.app.file(&ann(), contents.ready[2]).await.expect("there");
        contents.final_object = Some((file.bucket, file.key));
        for id in &contents.ready[4..8] {
            self.app.delete_file(&ann(), *id).await.expect("trashed");
            contents.trashed.push(*id);
        }
    }

    /// One that goes in parts.
    async fn add_large(&self, contents: &mut Contents) {
        let mut content = Vec::with_capacity(LARGE_BYTES);
        while content.len() < LARGE_BYTES {
            content.extend_from_slice(&sha2::Sha256::digest(content.len().to_be_bytes()));
        }
        content.truncate(LARGE_BYTES);
        let signed = self.sign("large.bin", &content, |_| {}).await;
        self.send(&signed, &content).await;
        self.confirm(signed.file.id).await;
        self.work().await;
        contents.large_object = Some((signed.file.bucket, signed.file.key));
        contents.ready.push(signed.file.id);
    }

    /// Failed by its bytes, expired, and one whose last attempt is in the dead-letter list.
    async fn add_ended(&self) {
        let picture = b"\x89PNG\r\n\x1a\n and no more".to_vec();
        for n in 0..3 {
            let signed = self
                .sign(&format!("no pdf {n}.pdf"), &picture, |request| {
                    request.collection = "documents".into();
                })
                .await;
            self.send(&signed, &picture).await;
            self.confirm(signed.file.id).await;
        }
        self.work().await;
        for n in 0..3 {
            let signed = self.sign(&format!("given up {n}.bin"), b"x", |_| {}).await;
            self.app
                .delete_file(&ann(), signed.file.id)
                .await
                .expect("aborted");
        }
        self.work().await;
    }

    /// Open ones: nothing sent, sent, in parts, and put together.
    async fn add_open(&self, contents: &mut Contents, count: usize) {
        for n in 0..count {
            let content = self.content();
            let signed = self.sign(&format!("pending {n}.bin"), &content, |_| {}).await;
            if n % 2 == 0 {
                self.send(&signed, &content).await;
            }
        }
        for (name, assembled) in [("assembled.bin", true), ("in parts.bin", false)] {
            let content = self.content();
            contents.in_parts_key = "in parts";
            let signed = self
                .sign(name, &content, |request| {
                    request.method = Some(UploadMethod::Multipart);
                    request.idempotency_key = (!assembled).then(|| contents.in_parts_key.to_owned());
                })
                .await;
            let path = ObjectPath::new(&signed.file.bucket, &signed.upload.staging_key);
            let id = signed.upload.multipart_id.clone().expect("an id");
            let body = PutBody::from_bytes(content);
            let part = self
                .app
                .objects
                .put_part(&path, &id, 1, body)
                .await
                .expect("a part");
            if assembled {
                let parts = [cloakroom_core::ports::objects::CompletedPart {
                    number: 1,
                    etag: part.etag,
                    ..Default::default()
                }];
                let made = self
                    .app
                    .objects
                    .complete_multipart(&path, &id, &parts, WriteConditions::default())
                    .await;
                made.expect("put together");
                contents.assembled = Some(signed.file.id);
            } else {
                contents.in_parts = Some(signed.file.id);
            }
        }
    }

    /// Confirmed ones that nobody has processed; a worker died over one of them.
    async fn add_confirmed(&self, contents: &mut Contents, count: usize) {
        for n in 0..count {
            let id = self
                .upload(&format!("waiting {n}.bin"), |request| {
                    request.record = Some(RecordKey::new("message", "1 é").expect("a key"));
                })
                .await;
            contents.confirmed.push(id);
        }
        let content = self.content();
        let declared = Sha256Digest(sha2::Sha256::digest(&content).into());
        let signed = self
            .sign("declared.bin", &content, |request| {
                request.checksum_sha256 = Some(declared);
            })
            .await;
        self.send(&signed, &content).await;
        self.confirm(signed.file.id).await;
        contents.confirmed.push(signed.file.id);

        let content = self.content();
        let signed = self.sign("exchanged.bin", &content, |_| {}).await;
        self.send(&signed, &content).await;
        self.confirm(signed.file.id).await;
        self.send(&signed, &vec![b'?'; content.len()]).await;
        contents.exchanged = Some(signed.file.id);

        let worker = WorkerId("dead".to_owned());
        let claim = Claim {
            worker: &worker,
            now: self.app.now(),
            lease: SignedDuration::from_mins(1),
            limit: 1,
            at_most: &[],
        };
        let claimed = self.app.metadata.claim(&claim).await.expect("claim");
        assert_eq!(claimed.len(), 1);
    }
}

/// Fills a data directory with files in every state, and lets go of it.
pub async fn fill(data_dir: &Path, ready: usize) -> Contents {
    let embedded = Embedded::open(data_dir).await;
    let mut contents = Contents::default();
    embedded.add_ready(&mut contents, ready).await;
    embedded.add_large(&mut contents).await;
    embedded.add_ended().await;
    embedded.add_open(&mut contents, 10).await;
    embedded.add_confirmed(&mut contents, 6).await;
    contents
}

/// Where an object's bytes lie.
pub fn object_path(data_dir: &Path, (bucket, key): &(String, String)) -> PathBuf {
    data_dir.join("objects").join(bucket).join(key_to_path(key))
}
