//! The stores of one schedule, which outlive every process, and the service over them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::collection::Collection;
use cloakroom_core::file::File;
use cloakroom_core::id::{FileId, WorkerId};
use cloakroom_core::operation::{OperationKind, OperationState};
use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_core::ports::objects::{
    GetOptions, ListOptions, ObjectAttributes, ObjectError, ObjectPath, ObjectStore, PutOptions,
};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_service::App;
use cloakroom_service::app::Policy;
use cloakroom_service::operations::Ended;
use cloakroom_service::stores::StoreRegistry;
use cloakroom_service::variants::Variants;
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::urls::NoUrls;
use cloakroom_worker::signals::LocalSignals;
use cloakroom_worker::{WorkerOptions, janitor, operations, runner};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::ports::{Copying, Database, GatedAdministration, GatedMetadata, GatedObjects};
use crate::reference::Known;
use crate::scheduler::{Gate, below, happens};

/// The only bucket.
pub const BUCKET: &str = "bucket";
/// Whose files these are.
pub const OWNER: &str = "ann";
/// How long a claim holds.
pub const JOB_LEASE_SECONDS: u64 = 15;

/// Where the stores of schedules stand: in memory where the machine has a place for that, as nothing here survives a
/// power failure on purpose.
pub fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    made.expect("a temporary directory")
}

fn database_options(path: &Path) -> SqliteOptions {
    SqliteOptions {
        // Schedules crash processes, not machines.
        synchronous_full: false,
        readers: 1,
        ..SqliteOptions::new(path)
    }
}

/// A migrated database without rows, copied for every schedule.
pub struct Template(TempDir);

impl Template {
    /// Makes one.
    pub fn new() -> Self {
        let made = directory();
        let store = SqliteStore::open(database_options(&made.path().join("empty.db"))).expect("a database");
        store.close().expect("closed");
        Self(made)
    }

    fn copy_to(&self, path: &Path) {
        std::fs::copy(self.0.path().join("empty.db"), path).expect("a copy");
    }
}

/// The stores, the clock, and what is known of what was done.
pub struct World {
    database: Arc<Database>,
    pub objects: Arc<dyn ObjectStore>,
    pub clock: Arc<MockClock>,
    random: Arc<SeededRandom>,
    signals: Arc<LocalSignals>,
    pub quota_bytes: Option<u64>,
    pub auto_confirm: bool,
    /// What clients know.
    pub known: RefCell<Vec<Known>>,
    /// What must not be.
    pub violations: RefCell<Vec<String>>,
    moment: Cell<u64>,
    /// Whether so much time has passed that the trash was emptied.
    pub trash_was_due: Cell<bool>,
    /// Whether the database was lost.
    pub lost: Cell<bool>,
    trash_seconds: u64,
    directory: TempDir,
}

impl World {
    /// Fresh stores.
    pub async fn new(seed: u64, template: &Template) -> Self {
        let directory = directory();
        let path = directory.path().join("test.db");
        template.copy_to(&path);
        let store = SqliteStore::open(database_options(&path)).expect("a database");
        let objects =
            LocalStore::open(&LocalOptions::new(directory.path().join("objects"))).expect("a store");
        objects.create_bucket(BUCKET).await.expect("a bucket");
        let random = SeededRandom::new(seed ^ 0x1d5);
        let quota_bytes = happens(&random, 250).then(|| 40 + below(&random, 120));
        let auto_confirm = happens(&random, 200);
        let short_trash = happens(&random, 300);
        let objects: Arc<dyn ObjectStore> = Arc::new(objects);
        let objects = if happens(&random, 400) {
            Arc::new(Copying(objects))
        } else {
            objects
        };
        Self {
            database: Arc::new(Database::new(store)),
            objects,
            clock: Arc::new(MockClock::new()),
            random: Arc::new(random),
            signals: Arc::new(LocalSignals::new()),
            quota_bytes,
            auto_confirm,
            known: RefCell::default(),
            violations: RefCell::default(),
            moment: Cell::new(0),
            trash_was_due: Cell::new(short_trash),
            lost: Cell::new(false),
            trash_seconds: if short_trash { 20 } else { 7 * 24 * 60 * 60 },
            directory,
        }
    }

    /// The database.
    pub fn metadata(&self) -> Arc<dyn MetadataStore> {
        self.database.now()
    }

    /// The database is lost: an empty one is in its place.
    pub fn lose_database(&self, template: &Template) {
        let path = self.directory.path().join("empty.db");
        template.copy_to(&path);
        self.database
            .replace(SqliteStore::open(database_options(&path)).expect("a database"));
        self.lost.set(true);
    }

    /// An administrator has the rows brought back from what stands in the store.
    pub async fn rebuild(&self) {
        let app = self.app(None);
        let admin = Principal {
            role: Role::Admin,
            ..ann()
        };
        let started = app
            .start_operation(&admin, OperationKind::Rebuild, JsonObject::new())
            .await;
        started.expect("nothing else runs");
        for ended in operations::run_due(&app, &worker("rebuild")).await {
            if !matches!(ended, Ended::Done) {
                self.violated(format!("a rebuild ended: {ended:?}"));
            }
        }
        let over = app
            .administration
            .operations(None, 1)
            .await
            .expect("operations")
            .items;
        for operation in over {
            if operation.state != OperationState::Done {
                self.violated(format!(
                    "a rebuild is {:?}: {:?}",
                    operation.state, operation.error
                ));
            }
        }
    }

    /// The order in which things happened.
    pub fn tick(&self) -> u64 {
        self.moment.set(self.moment.get() + 1);
        self.moment.get()
    }

    /// Notes what must not be.
    pub fn violated(&self, what: String) {
        self.violations.borrow_mut().push(what);
    }

    /// The service over these stores, as one process sees them.
    pub fn app(&self, gate: Option<&Arc<Gate>>) -> Arc<App> {
        let mut metadata: Arc<dyn MetadataStore> = self.database.now();
        let mut administration: Arc<dyn AdministrationStore> = self.database.now();
        let mut objects = Arc::clone(&self.objects);
        if let Some(gate) = gate {
            metadata = Arc::new(GatedMetadata {
                inner: Arc::clone(&self.database),
                gate: Arc::clone(gate),
            });
            administration = Arc::new(GatedAdministration {
                inner: Arc::clone(&self.database),
                gate: Arc::clone(gate),
            });
            objects = Arc::new(GatedObjects {
                inner: objects,
                gate: Arc::clone(gate),
            });
        }
        let files = Collection {
            auto_confirm: self.auto_confirm,
            trash_seconds: self.trash_seconds,
            ..Collection::new("files", BUCKET)
        };
        Arc::new(App {
            metadata,
            administration,
            objects,
            stores: Arc::new(StoreRegistry::single([BUCKET])),
            signer: Arc::new(NoUrls),
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.random) as _,
            signals: Arc::clone(&self.signals) as _,
            collections: BTreeMap::from([("files".to_owned(), Arc::new(files))]),
            scanner: None,
            alerts: Arc::new(cloakroom_core::ports::alerts::NoAlerts),
            processors: BTreeMap::new(),
            variants: Variants::default(),
            policy: Policy {
                quota_bytes: self.quota_bytes,
                home_bucket: BUCKET.to_owned(),
                ..Policy::default()
            },
        })
    }

    /// Lets a healthy process finish everything, short of what waits for a far deadline.
    pub async fn recover(&self) {
        let app = self.app(None);
        for _ in 0..12 {
            self.clock.advance(SignedDuration::from_secs(61));
            let mut found = 0;
            for sweep in janitor::SWEEPS {
                match (sweep.run)(&app).await {
                    Ok(count) => found += count,
                    Err(error) => self.violated(format!("sweep {} failed in recovery: {error}", sweep.name)),
                }
            }
            let jobs = runner::run_due(&app, &worker("recovery")).await;
            if found == 0 && jobs == 0 && self.is_quiet().await {
                return;
            }
        }
        self.violated("recovery does not come to rest".to_owned());
    }

    /// No intent is open and no job waits, but for tombstones.
    async fn is_quiet(&self) -> bool {
        let far = self.now_plus(SignedDuration::from_hours(10_000));
        let intents = self.metadata().stale_intents(far, 10).await.expect("intents");
        let next = self.metadata().next_job_at(&[]).await.expect("jobs");
        intents.is_empty() && next.is_none_or(|at| at > self.now_plus(SignedDuration::from_hours(1)))
    }

    /// A time from now on.
    pub fn now_plus(&self, by: SignedDuration) -> Timestamp {
        self.clock.now().checked_add(by).expect("a time")
    }

    /// The row.
    pub async fn row(&self, id: FileId) -> Option<File> {
        self.metadata().file(id).await.expect("the database answers")
    }

    /// The bytes at a key.
    pub async fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        let path = ObjectPath::new(BUCKET, key);
        let mut read = match self.objects.get(&path, &GetOptions::default()).await {
            Ok(read) => read,
            Err(ObjectError::NotFound) => return None,
            Err(error) => panic!("{key}: {error}"),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = read.body.next().await {
            bytes.extend_from_slice(&piece.expect("a piece"));
        }
        Some(bytes)
    }

    /// Every key in the bucket.
    pub async fn keys(&self) -> Vec<String> {
        let options = ListOptions {
            limit: 1_000,
            ..ListOptions::default()
        };
        let page = self.objects.list(BUCKET, &options).await.expect("a list");
        page.objects.into_iter().map(|object| object.key).collect()
    }
}

/// How a worker of this name works.
pub fn worker(name: &str) -> WorkerOptions {
    let mut options = WorkerOptions::new(WorkerId(name.to_owned()));
    options.lease = std::time::Duration::from_secs(JOB_LEASE_SECONDS);
    options
}

/// What a client sends with its bytes.
pub fn put_options() -> PutOptions {
    PutOptions {
        attributes: ObjectAttributes {
            content_type: Some("application/octet-stream".to_owned()),
            ..ObjectAttributes::default()
        },
        ..PutOptions::default()
    }
}

/// The owner of everything.
pub fn ann() -> Principal {
    Principal {
        subject: OWNER.to_owned(),
        role: Role::User,
        credential: Credential::AccessToken,
        username: OWNER.to_owned(),
        full_name: None,
    }
}
