//! The ports as an actor sees them: each call passes the actor's gate.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use cloakroom_core::JsonObject;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::derivative::{Derivative, NewVariant, VariantAdded};
use cloakroom_core::event::Event;
use cloakroom_core::file::File;
use cloakroom_core::garbage::{Garbage, GarbageState};
use cloakroom_core::id::{AuditId, FileId, IntentId, JobId, OperationId, ServiceTokenId, WorkerId};
use cloakroom_core::intent::{Intent, IntentStatus};
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome, JobProgress, JobState, NewJob};
use cloakroom_core::operation::{Finding, Operation, OperationKind};
use cloakroom_core::ports::administration::{
    AdministrationStore, Adoption, IntentQuery, Totals, UnderWay, UsageCheck,
};
use cloakroom_core::ports::metadata::{
    Claim, ClaimedEvent, Delivery, EventLease, FileQuery, Inserted, MetadataError, MetadataStore, NewFile,
    Page, ServiceToken, Statistics, Usage,
};
use cloakroom_core::ports::objects::{
    Bucket, Capabilities, CompletedPart, CopyOptions, GetOptions, ListOptions, MultipartOptions,
    MultipartUpload, ObjectAttributes, ObjectError, ObjectInfo, ObjectList, ObjectPath, ObjectRead,
    ObjectStore, Part, PutBody, PutOptions, ReadConditions, WriteConditions,
};
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::StoreState;
use cloakroom_core::transition::Transition;
use cloakroom_core::upload::Upload;
use cloakroom_metadata::sqlite::SqliteStore;
use jiff::{SignedDuration, Timestamp};

use crate::scheduler::{Gate, Grant, Point};

type Answer<T> = Result<T, MetadataError>;
type ObjectAnswer<T> = Result<T, ObjectError>;

/// The database of all processes, which may be lost: then there is an empty one in its place.
pub struct Database(RwLock<Arc<SqliteStore>>);

impl Database {
    /// This one, to begin with.
    pub fn new(store: SqliteStore) -> Self {
        Self(RwLock::new(Arc::new(store)))
    }

    /// The one that is there now.
    pub fn now(&self) -> Arc<SqliteStore> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another one in its place.
    pub fn replace(&self, store: SqliteStore) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(store);
    }
}

/// The database behind a gate.
pub struct GatedMetadata {
    /// The real one.
    pub inner: Arc<Database>,
    /// The actor's gate.
    pub gate: Arc<Gate>,
}

/// What administration keeps in the database, behind a gate.
pub struct GatedAdministration {
    /// The real one.
    pub inner: Arc<Database>,
    /// The actor's gate.
    pub gate: Arc<Gate>,
}

/// The store behind a gate.
pub struct GatedObjects {
    /// The real one.
    pub inner: Arc<dyn ObjectStore>,
    /// The actor's gate.
    pub gate: Arc<Gate>,
}

impl GatedMetadata {
    fn now(&self) -> Arc<SqliteStore> {
        self.inner.now()
    }
}

impl GatedAdministration {
    fn now(&self) -> Arc<SqliteStore> {
        self.inner.now()
    }
}

impl GatedObjects {
    fn now(&self) -> &dyn ObjectStore {
        &*self.inner
    }
}

/// The local store, promoting as a store without rename does: by a conditional copy that leaves the source behind.
pub struct Copying(pub Arc<dyn ObjectStore>);

fn lost<T>() -> Answer<T> {
    Err(MetadataError::Unavailable("a fault of the schedule".to_owned()))
}

fn lost_object<T>() -> ObjectAnswer<T> {
    Err(ObjectError::Unavailable("a fault of the schedule".to_owned()))
}

/// A port whose calls pass the gate before they are made; those that change something after it too.
macro_rules! gated {
    ($port:ident for $gated:ident, $answer:ident, $lost:ident, {$($extra:tt)*}
        reads { $(fn $read:ident($($read_name:ident: $read_type:ty),*) -> $read_out:ty;)* }
        writes { $(fn $write:ident($($write_name:ident: $write_type:ty),*) -> $write_out:ty;)* }
    ) => {
        #[async_trait]
        impl $port for $gated {
            $($extra)*
            $(async fn $read(&self, $($read_name: $read_type),*) -> $answer<$read_out> {
                match self.gate.pass(Point::Before(stringify!($read).to_owned())).await {
                    Grant::Fail => $lost(),
                    Grant::Go => self.now().$read($($read_name),*).await,
                }
            })*
            $(async fn $write(&self, $($write_name: $write_type),*) -> $answer<$write_out> {
                let told = told!($write $($write_name)*);
                if self.gate.pass(Point::Before(told.clone())).await == Grant::Fail {
                    return $lost();
                }
                let outcome = self.now().$write($($write_name),*).await;
                match self.gate.pass(Point::After(told)).await {
                    // What failed anyway keeps its own reason.
                    Grant::Fail if outcome.is_ok() => $lost(),
                    _ => outcome,
                }
            })*
        }
    };
}

/// A line of the trace: what is written where.
macro_rules! told {
    (apply $transition:ident) => {
        format!(
            "apply {:?} v{} e{}",
            $transition.event.kind, $transition.file.version, $transition.file.epoch
        )
    };
    (put $path:ident $($rest:ident)*) => {
        format!("put {}", $path.key)
    };
    (delete $path:ident) => {
        format!("delete {}", $path.key)
    };
    (promote $from:ident $generation:ident $to:ident $attributes:ident) => {
        format!("promote {}", $to.key)
    };
    ($name:ident $($rest:ident)*) => {
        stringify!($name).to_owned()
    };
}

gated! { MetadataStore for GatedMetadata, Answer, lost, {}
    reads {
        fn file(id: FileId) -> Option<File>;
        fn upload(id: FileId) -> Option<Upload>;
        fn derivatives(id: FileId) -> Vec<Derivative>;
        fn files(query: &FileQuery) -> Page<File>;
        fn expired_uploads(before: Timestamp, limit: u32) -> Vec<FileId>;
        fn purgeable_files(before: Timestamp, limit: u32) -> Vec<FileId>;
        fn timeline(id: FileId, after_version: Option<u64>, limit: u32) -> Page<Event>;
        fn usage(owner: &str) -> Usage;
        fn record(key: &RecordKey) -> Option<Record>;
        fn child_records(key: &RecordKey) -> Vec<Record>;
        fn stale_intents(before: Timestamp, limit: u32) -> Vec<Intent>;
        fn next_job_at(without: &[JobKind]) -> Option<Timestamp>;
        fn live_job(file_id: FileId, kind: JobKind) -> Option<Job>;
        fn jobs(state: Option<JobState>, after: Option<JobId>, limit: u32) -> Page<Job>;
        fn service_token(secret_sha256: &[u8; 32]) -> Option<ServiceToken>;
        fn service_tokens() -> Vec<ServiceToken>;
        fn setting(name: &str) -> Option<JsonObject>;
        fn statistics() -> Statistics;
        fn ping() -> ();
    }
    writes {
        fn insert(new: NewFile) -> Inserted;
        fn apply(transition: Transition) -> ();
        fn forget(file: &File, event: Event, lease: Option<JobLease>, follow_up: Option<NewJob>) -> ();
        fn update_upload(upload: &Upload, file_version: u64) -> ();
        fn add_variant(new: &NewVariant) -> VariantAdded;
        fn put_record(record: &Record, expected_version: Option<u64>) -> ();
        fn delete_record(key: &RecordKey, version: u64) -> ();
        fn begin_intent(intent: &Intent) -> ();
        fn end_intent(id: IntentId, status: IntentStatus, error: Option<&str>, now: Timestamp) -> ();
        fn trim_intents(completed_before: Timestamp, limit: u32) -> u64;
        fn enqueue(job: &NewJob) -> bool;
        fn claim(claim: &Claim<'_>) -> Vec<Job>;
        fn extend(leases: &[JobLease], until: Timestamp) -> Vec<JobLease>;
        fn report_progress(reports: &[(JobLease, JobProgress)], until: Timestamp) -> Vec<JobLease>;
        fn finish(lease: JobLease, outcome: &JobOutcome, now: Timestamp) -> ();
        fn retry_job(id: JobId, now: Timestamp) -> bool;
        fn discard_job(id: JobId) -> bool;
        fn claim_events(claim: &Claim<'_>) -> Vec<ClaimedEvent>;
        fn settle_event(lease: EventLease, delivery: &Delivery) -> ();
        fn put_service_token(token: &ServiceToken) -> ();
        fn revoke_service_token(id: ServiceTokenId, now: Timestamp) -> bool;
        fn put_setting(name: &str, value: &JsonObject) -> ();
    }
}

gated! { AdministrationStore for GatedAdministration, Answer, lost, {}
    reads {
        fn purged_files(ids: &[FileId]) -> Vec<FileId>;
        fn all_files(after: Option<FileId>, limit: u32) -> Page<File>;
        fn files_by_id(ids: &[FileId]) -> Vec<File>;
        fn all_records(after: Option<&RecordKey>, limit: u32) -> Page<Record>;
        fn totals() -> Totals;
        fn operation(id: OperationId) -> Option<Operation>;
        fn operations(before: Option<OperationId>, limit: u32) -> Page<Operation>;
        fn last_done_operation(kind: OperationKind) -> Option<Operation>;
        fn findings(id: OperationId, skip: u64, limit: u32) -> Page<Finding>;
        fn garbage(state: Option<GarbageState>, after: Option<(&ObjectPath, &str)>, limit: u32) -> Page<Garbage>;
        fn purgeable_garbage(before: Timestamp, limit: u32) -> Vec<Garbage>;
        fn stores() -> Vec<StoreState>;
        fn under_way(buckets: &[String]) -> UnderWay;
        fn audit(before: Option<AuditId>, limit: u32) -> Page<AuditEntry>;
        fn intents(query: &IntentQuery) -> Page<Intent>;
        fn retained_files(
            collection: &str, created_before: Timestamp, unlinked: bool, after: Option<(Timestamp, FileId)>, limit: u32
        ) -> Page<File>;
    }
    writes {
        fn adopt(adoption: &Adoption) -> bool;
        fn check_usage(repair: bool) -> Vec<UsageCheck>;
        fn put_operation(operation: &Operation) -> bool;
        fn claim_operation(worker: &WorkerId, now: Timestamp, lease: SignedDuration) -> Option<Operation>;
        fn claim_operation_by_id(
            id: OperationId, worker: &WorkerId, now: Timestamp, lease: SignedDuration
        ) -> Option<Operation>;
        fn save_operation(operation: &Operation, findings: &[Finding]) -> ();
        fn cancel_operation(id: OperationId, now: Timestamp) -> bool;
        fn trim_operations(finished_before: Timestamp, limit: u32) -> u64;
        fn put_garbage(garbage: &[Garbage]) -> u64;
        fn mark_garbage(path: &ObjectPath, upload_id: &str, state: GarbageState, purge_at: Timestamp) -> bool;
        fn forget_garbage(path: &ObjectPath, upload_id: &str) -> ();
        fn put_store(store: &StoreState, expected_epoch: Option<u64>, audit: &AuditEntry) -> ();
        fn put_audit(entry: &AuditEntry) -> ();
    }
}

gated! { ObjectStore for GatedObjects, ObjectAnswer, lost_object, {
        fn capabilities(&self) -> Capabilities {
            self.inner.capabilities()
        }
    }
    reads {
        fn buckets() -> Vec<Bucket>;
        fn bucket(name: &str) -> Bucket;
        fn head(path: &ObjectPath, options: &GetOptions) -> ObjectInfo;
        fn get(path: &ObjectPath, options: &GetOptions) -> ObjectRead;
        fn list(bucket: &str, options: &ListOptions) -> ObjectList;
        fn multipart(path: &ObjectPath, upload_id: &str) -> (MultipartUpload, Vec<Part>);
        fn multiparts(bucket: &str, prefix: &str) -> Vec<MultipartUpload>;
        fn ping() -> ();
    }
    writes {
        fn create_bucket(name: &str) -> ();
        fn delete_bucket(name: &str) -> ();
        fn put(path: &ObjectPath, options: PutOptions, body: PutBody) -> ObjectInfo;
        fn copy(from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> ObjectInfo;
        fn promote(from: &ObjectPath, generation: &str, to: &ObjectPath, attributes: ObjectAttributes) -> ObjectInfo;
        fn delete(path: &ObjectPath) -> ();
        fn begin_multipart(path: &ObjectPath, options: MultipartOptions) -> String;
        fn put_part(path: &ObjectPath, upload_id: &str, number: u32, body: PutBody) -> Part;
        fn complete_multipart(
            path: &ObjectPath, upload_id: &str, parts: &[CompletedPart], conditions: WriteConditions
        ) -> ObjectInfo;
        fn abort_multipart(path: &ObjectPath, upload_id: &str) -> ();
    }
}

/// Calls that go through as they are.
macro_rules! through {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl ObjectStore for Copying {
            fn capabilities(&self) -> Capabilities {
                self.0.capabilities()
            }

            async fn promote(
                &self,
                from: &ObjectPath,
                generation: &str,
                to: &ObjectPath,
                attributes: ObjectAttributes,
            ) -> ObjectAnswer<ObjectInfo> {
                let options = CopyOptions {
                    attributes: Some(attributes),
                    source_conditions: ReadConditions {
                        if_generation: Some(generation.to_owned()),
                        ..ReadConditions::default()
                    },
                    ..CopyOptions::default()
                };
                self.0.copy(from, to, options).await
            }

            $(async fn $name(&self, $($arg: $type),*) -> ObjectAnswer<$out> {
                self.0.$name($($arg),*).await
            })*
        }
    };
}

through! {
    buckets() -> Vec<Bucket>;
    bucket(name: &str) -> Bucket;
    create_bucket(name: &str) -> ();
    delete_bucket(name: &str) -> ();
    head(path: &ObjectPath, options: &GetOptions) -> ObjectInfo;
    get(path: &ObjectPath, options: &GetOptions) -> ObjectRead;
    put(path: &ObjectPath, options: PutOptions, body: PutBody) -> ObjectInfo;
    copy(from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> ObjectInfo;
    delete(path: &ObjectPath) -> ();
    list(bucket: &str, options: &ListOptions) -> ObjectList;
    begin_multipart(path: &ObjectPath, options: MultipartOptions) -> String;
    put_part(path: &ObjectPath, upload_id: &str, number: u32, body: PutBody) -> Part;
    multipart(path: &ObjectPath, upload_id: &str) -> (MultipartUpload, Vec<Part>);
    multiparts(bucket: &str, prefix: &str) -> Vec<MultipartUpload>;
    complete_multipart(
        path: &ObjectPath, upload_id: &str, parts: &[CompletedPart], conditions: WriteConditions
    ) -> ObjectInfo;
    abort_multipart(path: &ObjectPath, upload_id: &str) -> ();
    ping() -> ();
}
