//! An instance that a source feeds: real SQLite, real files, a store that can be taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::collection::Collection;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::objects::{ObjectAttributes, ObjectPath, ObjectStore, PutBody, PutOptions};
use cloakroom_core::ports::signer::{SignedRequest, Signer};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_objects::credentials::StaticCredentials;
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::s3::{S3Options, S3Store};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_service::App;
use cloakroom_service::app::Policy;
use cloakroom_service::stores::StoreRegistry;
use cloakroom_service::uploads::{SignUpload, Ticket};
use cloakroom_service::variants::Variants;
use cloakroom_signing::{Addressing, Credentials, Endpoint, Region};
use cloakroom_testkit::outages::OutageObjects;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::urls::NoUrls;
use cloakroom_worker::signals::LocalSignals;
use jiff::Timestamp;
use serde_json::json;
use tempfile::TempDir;

use crate::aws::Account;
use crate::{eventually, unique};

pub const CONTENT: &[u8] = b"what the client sends";

pub struct Instance {
    _directory: TempDir,
    pub app: Arc<App>,
    pub objects: Arc<OutageObjects>,
    pub bucket: String,
}

/// An upload of which nobody has told yet.
pub struct Sent {
    pub id: FileId,
    pub key: String,
    /// What the client may do.
    pub request: SignedRequest,
}

impl Instance {
    /// Over files.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let local = LocalStore::open(&LocalOptions::new(directory.path().join("objects"))).expect("a store");
        Self::over(directory, Arc::new(local), Arc::new(NoUrls)).await
    }

    /// Over a real S3, with URLs that a client can use.
    pub async fn on_s3(account: &Account) -> Self {
        let endpoint = Endpoint::parse(&account.endpoint, Addressing::Path).expect("an endpoint");
        let region = Region::new(&*account.region).expect("a region");
        let credentials = Credentials::new(&*account.access_key, &*account.secret_key);
        let options = S3Options::new(
            endpoint.clone(),
            region.clone(),
            Arc::new(StaticCredentials(credentials.clone())),
            Arc::new(WallClock),
            Arc::new(SeededRandom::new(5)),
        );
        let store = S3Store::new(options).expect("a store");
        let signer = cloakroom_signing::Signer::new(credentials, region);
        let directory = tempfile::tempdir().expect("a temporary directory");
        Self::over(
            directory,
            Arc::new(store),
            Arc::new(UrlSigner::new(signer, endpoint)),
        )
        .await
    }

    async fn over(directory: TempDir, store: Arc<dyn ObjectStore>, signer: Arc<dyn Signer>) -> Self {
        let bucket = unique("events");
        store.create_bucket(&bucket).await.expect("a bucket");
        let objects = OutageObjects::new(store);
        let signals = Arc::new(LocalSignals::new());
        let metadata = SqliteStore::open(SqliteOptions {
            synchronous_full: false,
            signals: Some(Arc::clone(&signals) as _),
            ..SqliteOptions::new(directory.path().join("metadata.db"))
        })
        .expect("a database");
        let metadata = Arc::new(metadata);
        let auto = Collection {
            auto_confirm: true,
            ..Collection::new("auto", &bucket)
        };
        let app = App {
            metadata: Arc::clone(&metadata) as _,
            administration: metadata,
            objects: Arc::clone(&objects) as _,
            stores: Arc::new(StoreRegistry::single([bucket.as_str()])),
            signer,
            clock: Arc::new(WallClock),
            random: Arc::new(SeededRandom::new(3)),
            signals,
            collections: BTreeMap::from([("auto".to_owned(), Arc::new(auto))]),
            scanner: None,
            alerts: Arc::new(cloakroom_core::ports::alerts::NoAlerts),
            processors: BTreeMap::new(),
            variants: Variants::default(),
            policy: Policy {
                home_bucket: bucket.clone(),
                ..Policy::default()
            },
        };
        Self {
            _directory: directory,
            app: Arc::new(app),
            objects,
            bucket,
        }
    }

    /// Signs an upload.
    pub async fn sign(&self) -> Sent {
        let request = SignUpload {
            collection: "auto".to_owned(),
            filename: "Отчёт (1).bin".to_owned(),
            size_bytes: Some(CONTENT.len() as u64),
            ..SignUpload::default()
        };
        let ann = Principal {
            subject: "ann".to_owned(),
            role: Role::User,
            credential: Credential::AccessToken,
            username: "ann".to_owned(),
            full_name: None,
        };
        let signed = self.app.sign_upload(&ann, request).await.expect("signed");
        let Ticket::Put(request) = signed.ticket else {
            panic!("a PUT was asked for");
        };
        Sent {
            id: signed.file.id,
            key: signed.upload.staging_key,
            request,
        }
    }

    /// Signs an upload and puts its bytes where the client would.
    pub async fn send(&self) -> Sent {
        let sent = self.sign().await;
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/octet-stream".to_owned()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        let path = ObjectPath::new(&self.bucket, &sent.key);
        let body = PutBody::from_bytes(CONTENT.to_vec());
        self.app.objects.put(&path, options, body).await.expect("stored");
        sent
    }

    /// What a store says of it.
    pub fn event(&self, sent: &Sent) -> String {
        let record = json!({
            "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": self.bucket}, "object": {"key": sent.key}},
        });
        json!({ "Records": [record] }).to_string()
    }

    pub async fn file(&self, id: FileId) -> File {
        let file = self.app.metadata.file(id).await.expect("the database answers");
        file.expect("the file is there")
    }

    pub async fn confirmed(&self, sent: &Sent) {
        eventually("confirmed", async || {
            self.file(sent.id).await.state == FileState::Confirmed
        })
        .await;
    }
}

/// Requests to real servers carry the real time.
pub struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).expect("within range")
    }
}
