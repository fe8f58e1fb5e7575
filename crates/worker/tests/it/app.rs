//! An instance without the protocols in front: real stores, a clock and randomness of the test's.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::collection::Collection;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::{FileId, OperationId, WorkerId};
use cloakroom_core::job::JobState;
use cloakroom_core::operation::{Finding, Operation, OperationKind};
use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::alerts::{Alerts, NoAlerts};
use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_core::ports::objects::{
    GetOptions, ListOptions, ObjectAttributes, ObjectPath, ObjectStore, PutBody, PutOptions,
};
use cloakroom_core::ports::processor::Processor;
use cloakroom_core::ports::renderer::Renderer;
use cloakroom_core::ports::scanner::Scanner;
use cloakroom_core::ports::signals::Signals;
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_objects::credentials::StaticCredentials;
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::s3::{S3Options, S3Store};
use cloakroom_service::App;
use cloakroom_service::app::Policy;
use cloakroom_service::stores::StoreRegistry;
use cloakroom_service::uploads::{ConfirmUpload, SignUpload, SignedUpload};
use cloakroom_service::variants::{SigningKey, VariantOptions, Variants};
use cloakroom_signing::{Addressing, Credentials, Endpoint};
use cloakroom_testkit::clock::{MockClock, WallClock};
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers;
use cloakroom_testkit::urls::NoUrls;
use cloakroom_worker::signals::LocalSignals;
use cloakroom_worker::{WorkerOptions, janitor, operations, runner};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::PAIR;

/// A kind of database and a kind of store; each test program is for one pair.
pub struct Pair {
    pub database: Database,
    pub store: Store,
}

#[expect(dead_code, reason = "each test program has one of them")]
pub enum Database {
    Sqlite,
    Postgres,
}

#[expect(dead_code, reason = "each test program has one of them")]
pub enum Store {
    Local,
    Ceph,
}

type Metadata = (
    Arc<dyn MetadataStore>,
    Arc<dyn AdministrationStore>,
    Arc<dyn Leases>,
);

fn sqlite(directory: &TempDir, signals: Arc<dyn Signals>) -> Metadata {
    let store = SqliteStore::open(SqliteOptions {
        signals: Some(signals),
        // The tests crash processes, not machines.
        synchronous_full: false,
        readers: 1,
        outbox: true,
        ..SqliteOptions::new(directory.path().join("test.db"))
    });
    let store = Arc::new(store.expect("a database"));
    (Arc::clone(&store) as _, Arc::clone(&store) as _, store)
}

async fn postgres(signals: Arc<dyn Signals>) -> Metadata {
    let store = PostgresStore::connect(PostgresOptions {
        table_prefix: servers::unique_table_prefix().parse().expect("a prefix"),
        pool_size: 2,
        pool_overflow: 2,
        outbox: true,
        signals: Some(signals),
        // A busy machine is no outage.
        connect_timeout: Duration::from_mins(1),
        statement_timeout: Duration::from_mins(1),
        ..PostgresOptions::new(servers::postgres_url())
    });
    let store = Arc::new(store.await.expect("a database"));
    (Arc::clone(&store) as _, Arc::clone(&store) as _, store)
}

fn local(directory: &TempDir) -> (Arc<dyn ObjectStore>, String) {
    let store = LocalStore::open(&LocalOptions::new(directory.path().join("objects")));
    (Arc::new(store.expect("a store")), "bucket".to_owned())
}

fn ceph() -> (Arc<dyn ObjectStore>, String) {
    let server = servers::s3();
    let credentials = Credentials::new(server.access_key, server.secret_key);
    let store = S3Store::new(S3Options::new(
        Endpoint::parse(&server.endpoint, Addressing::Path).expect("an address"),
        server.region.parse().expect("a region"),
        Arc::new(StaticCredentials(credentials)),
        // The clock of a test may stand in another year than the server's.
        Arc::new(WallClock),
        Arc::new(SeededRandom::new(7)),
    ));
    (Arc::new(store.expect("a store")), servers::unique_bucket())
}

/// The stores, which outlive every process that works on them.
pub struct Stores {
    directory: Arc<TempDir>,
    /// Of databases that came later.
    _later: Option<TempDir>,
    pub metadata: Arc<dyn MetadataStore>,
    pub administration: Arc<dyn AdministrationStore>,
    #[allow(dead_code, reason = "elections are tested in one of the programs")]
    pub leases: Arc<dyn Leases>,
    pub objects: Arc<dyn ObjectStore>,
    pub bucket: String,
    /// Collections of the test's own, beside those that every test has.
    pub collections: Vec<Collection>,
    /// What looks at bytes while they are measured.
    pub scanner: Option<Arc<dyn Scanner>>,
    /// Where alerts go.
    pub alerts: Arc<dyn Alerts>,
    /// What makes pictures while somebody waits.
    pub renderer: Option<Arc<dyn Renderer>>,
    pub clock: Arc<MockClock>,
    pub random: Arc<SeededRandom>,
    signals: Arc<LocalSignals>,
}

impl Stores {
    /// Fresh ones, of the pair that this test program is for.
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let signals = Arc::new(LocalSignals::new());
        let (metadata, administration, leases) = match PAIR.database {
            Database::Sqlite => sqlite(&directory, Arc::clone(&signals) as _),
            Database::Postgres => postgres(Arc::clone(&signals) as _).await,
        };
        let (objects, bucket) = match PAIR.store {
            Store::Local => local(&directory),
            Store::Ceph => ceph(),
        };
        objects.create_bucket(&bucket).await.expect("a bucket");
        Self {
            directory: Arc::new(directory),
            _later: None,
            leases,
            metadata,
            administration,
            objects,
            bucket,
            collections: vec![],
            scanner: None,
            alerts: Arc::new(NoAlerts),
            renderer: None,
            clock: Arc::new(MockClock::new()),
            random: Arc::new(SeededRandom::new(11)),
            signals,
        }
    }

    /// The same objects, and a database that knows nothing.
    pub async fn with_fresh_database(&self) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (metadata, administration, leases) = match PAIR.database {
            Database::Sqlite => sqlite(&directory, Arc::clone(&self.signals) as _),
            Database::Postgres => postgres(Arc::clone(&self.signals) as _).await,
        };
        Self {
            directory: Arc::clone(&self.directory),
            _later: Some(directory),
            metadata,
            administration,
            leases,
            objects: Arc::clone(&self.objects),
            bucket: self.bucket.clone(),
            collections: self.collections.clone(),
            scanner: self.scanner.clone(),
            alerts: Arc::clone(&self.alerts),
            renderer: self.renderer.clone(),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            signals: Arc::clone(&self.signals),
        }
    }

    /// A process over these stores.
    pub fn start(&self) -> Process {
        self.start_with(
            Arc::clone(&self.metadata),
            Arc::clone(&self.administration),
            Arc::clone(&self.objects),
            vec![],
        )
    }

    /// A process that sees the stores through others, with these processors.
    pub fn start_with(
        &self,
        metadata: Arc<dyn MetadataStore>,
        administration: Arc<dyn AdministrationStore>,
        objects: Arc<dyn ObjectStore>,
        processors: Vec<Arc<dyn Processor>>,
    ) -> Process {
        let names: Vec<String> = processors
            .iter()
            .map(|processor| processor.name().to_owned())
            .collect();
        let files = Collection {
            processors: names.clone(),
            ..Collection::new("files", &self.bucket)
        };
        let strict = Collection {
            name: "strict".to_owned(),
            required_processors: names,
            ..files.clone()
        };
        let auto = Collection {
            auto_confirm: true,
            ..Collection::new("auto", &self.bucket)
        };
        let collections = [files, strict, auto]
            .into_iter()
            .chain(self.collections.iter().cloned())
            .map(|c| (c.name.clone(), Arc::new(c)));
        let app = App {
            metadata,
            administration,
            objects,
            stores: Arc::new(StoreRegistry::single([self.bucket.as_str()])),
            signer: Arc::new(NoUrls),
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.random) as _,
            signals: Arc::clone(&self.signals) as _,
            collections: collections.collect(),
            scanner: self.scanner.clone(),
            alerts: Arc::clone(&self.alerts),
            processors: processors
                .into_iter()
                .map(|processor| (processor.name().to_owned(), processor))
                .collect(),
            variants: Variants::new(VariantOptions {
                renderer: self.renderer.clone(),
                key: Some(SigningKey::derived_from(b"the secret of the instance")),
                ..VariantOptions::default()
            }),
            policy: Policy {
                home_bucket: self.bucket.clone(),
                ..Policy::default()
            },
        };
        Process {
            app: Arc::new(app),
            bucket: self.bucket.clone(),
            clock: Arc::clone(&self.clock),
        }
    }

    /// What a client does that has a URL.
    pub async fn send_to(&self, key: &str, content: &[u8]) {
        send_to(&*self.objects, &ObjectPath::new(&self.bucket, key), content).await;
    }

    /// Every key in the bucket.
    pub async fn keys(&self) -> Vec<String> {
        let options = ListOptions {
            limit: 1_000,
            ..ListOptions::default()
        };
        let page = self.objects.list(&self.bucket, &options).await.expect("a list");
        page.objects.into_iter().map(|object| object.key).collect()
    }

    pub async fn file(&self, id: FileId) -> File {
        self.metadata
            .file(id)
            .await
            .expect("the database answers")
            .expect("the file is there")
    }

    pub async fn bytes(&self, key: &str) -> Vec<u8> {
        let path = ObjectPath::new(&self.bucket, key);
        let mut read = self
            .objects
            .get(&path, &GetOptions::default())
            .await
            .expect("the object is there");
        let mut bytes = Vec::new();
        while let Some(piece) = read.body.next().await {
            bytes.extend_from_slice(&piece.expect("a piece"));
        }
        bytes
    }

    /// Everything that must hold of a file whatever happened: its events tell its whole history, one by one.
    pub async fn assert_history(&self, id: FileId) {
        let file = self.file(id).await;
        let events = self
            .metadata
            .timeline(id, None, 1_000)
            .await
            .expect("a timeline")
            .items;
        let versions: Vec<u64> = events.iter().map(|event| event.version).collect();
        assert_eq!(
            versions,
            (1..=file.version).collect::<Vec<_>>(),
            "one event per version (I4)"
        );
        assert_eq!(events.last().map(|event| event.state), Some(file.state));
    }

    /// No intent is open and no job waits.
    pub async fn assert_quiet(&self) {
        let far = self.clock.now_plus(SignedDuration::from_hours(1_000));
        let intents = self.metadata.stale_intents(far, 100).await.expect("intents");
        assert!(intents.is_empty(), "open intents: {intents:?}");
        let jobs = self.metadata.jobs(None, None, 100).await.expect("jobs").items;
        let waiting: Vec<_> = jobs.iter().filter(|job| job.state != JobState::Dead).collect();
        assert!(waiting.is_empty(), "waiting jobs: {waiting:?}");
    }
}

/// Reads ahead without moving the hands.
pub trait Later {
    fn now_plus(&self, by: SignedDuration) -> Timestamp;
}

impl Later for MockClock {
    fn now_plus(&self, by: SignedDuration) -> Timestamp {
        use cloakroom_core::ports::clock::Clock;
        self.now().checked_add(by).expect("a time")
    }
}

/// What came of an operation.
pub struct Report {
    pub operation: Operation,
    pub findings: Vec<Finding>,
}

impl Report {
    /// Kind, key and action of every line, sorted.
    pub fn lines(&self) -> Vec<(&str, &str, &str)> {
        let mut lines: Vec<_> = self
            .findings
            .iter()
            .map(|line| {
                let key = line.key.as_deref().unwrap_or_default();
                (line.kind.as_str(), key, line.action.as_str())
            })
            .collect();
        lines.sort_unstable();
        lines
    }
}

/// One process: the use cases and a worker.
#[derive(Clone)]
pub struct Process {
    pub app: Arc<App>,
    bucket: String,
    clock: Arc<MockClock>,
}

impl Process {
    pub async fn sign(&self, content: &[u8]) -> SignedUpload {
        self.sign_in("files", content).await
    }

    pub async fn sign_in(&self, collection: &str, content: &[u8]) -> SignedUpload {
        let request = SignUpload {
            collection: collection.to_owned(),
            filename: "a.bin".to_owned(),
            size_bytes: Some(content.len() as u64),
            ..SignUpload::default()
        };
        self.app.sign_upload(&ann(), request).await.expect("signed")
    }

    /// What a client does with its URL.
    pub async fn send(&self, signed: &SignedUpload, content: &[u8]) {
        let path = ObjectPath::new(&self.bucket, &signed.upload.staging_key);
        send_to(&*self.app.objects, &path, content).await;
    }

    pub async fn confirm(&self, id: FileId) -> File {
        self.app
            .confirm_upload(&ann(), id, ConfirmUpload::default())
            .await
            .expect("confirmed")
            .file
    }

    /// Sign, send, confirm.
    pub async fn upload(&self, content: &[u8]) -> FileId {
        let signed = self.sign(content).await;
        self.send(&signed, content).await;
        self.confirm(signed.file.id).await.id
    }

    /// Runs what is due.
    pub async fn work(&self) {
        let mut options = WorkerOptions::new(WorkerId("test".to_owned()));
        options.lease = Duration::from_secs(15);
        runner::run_due(&self.app, &options).await;
    }

    /// An operation, from its beginning to its end.
    pub async fn operate(&self, kind: OperationKind, options: serde_json::Value) -> Report {
        let asked = self
            .app
            .start_operation(&person("ada", Role::Admin), kind, object(options))
            .await
            .expect("begun");
        self.run_operations().await;
        self.report(asked.id).await
    }

    /// Runs the operations that wait.
    pub async fn run_operations(&self) {
        let options = WorkerOptions::new(WorkerId("test".to_owned()));
        operations::run_due(&self.app, &options).await;
    }

    /// What came of an operation.
    pub async fn report(&self, id: OperationId) -> Report {
        let administration = &self.app.administration;
        let operation = administration.operation(id).await.expect("an answer");
        let findings = administration.findings(id, 0, 1_000).await.expect("findings");
        Report {
            operation: operation.expect("an operation"),
            findings: findings.items,
        }
    }

    /// Every sweep, then what it made due, until the leases of dead processes are over and nothing is left to do.
    pub async fn recover(&self) {
        for _ in 0..4 {
            self.clock.advance(SignedDuration::from_secs(61));
            for sweep in janitor::SWEEPS {
                (sweep.run)(&self.app).await.expect("the sweep");
            }
            self.work().await;
        }
    }
}

async fn send_to(objects: &dyn ObjectStore, path: &ObjectPath, content: &[u8]) {
    let attributes = ObjectAttributes {
        content_type: Some("application/octet-stream".to_owned()),
        ..ObjectAttributes::default()
    };
    let options = PutOptions {
        attributes,
        ..PutOptions::default()
    };
    let body = PutBody::from_bytes(content.to_vec());
    objects.put(path, options, body).await.expect("stored");
}

pub fn ann() -> Principal {
    person("ann", Role::User)
}

pub fn person(name: &str, role: Role) -> Principal {
    Principal {
        subject: name.to_owned(),
        role,
        credential: Credential::AccessToken,
        username: name.to_owned(),
        full_name: None,
    }
}

pub fn settled(state: FileState) -> bool {
    matches!(state, FileState::Ready | FileState::Failed)
}

pub fn object(value: serde_json::Value) -> JsonObject {
    value.as_object().expect("an object").clone()
}
