//! What the administration of an instance keeps in the database: operations and their reports, garbage, the modes of stores,
//! the audit log, rows that come back from sidecars.
//!
//! Everything an adapter must promise is in the testkit's `administration_suite`.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::audit::AuditEntry;
use crate::derivative::Derivative;
use crate::event::Event;
use crate::file::File;
use crate::garbage::{Garbage, GarbageState};
use crate::id::{AuditId, FileId, IntentId, OperationId, WorkerId};
use crate::intent::{Intent, IntentKind, IntentStatus};
use crate::job::NewJob;
use crate::operation::{Finding, Operation, OperationKind};
use crate::ports::metadata::{Page, Result, Usage};
use crate::ports::objects::ObjectPath;
use crate::record::Record;
use crate::storage::StoreState;
use crate::upload::Upload;

/// A file that comes back from what stands in the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Adoption {
    /// The row as it is to be.
    pub file: File,
    /// Its upload, for a file that is not verified yet.
    pub upload: Option<Upload>,
    /// Its derivatives, all of them.
    pub derivatives: Vec<Derivative>,
    /// Its record, created if it does not exist; an existing one stays as it is, whoever owns it.
    pub record: Option<Record>,
    /// The event that says so. Its version is the file's.
    pub event: Event,
    /// Work that this makes necessary.
    pub jobs: Vec<NewJob>,
    /// The version that the row must have; `None`: there must be none, and never have been one that was purged.
    pub replaces: Option<u64>,
}

/// Totals of an instance (S3-seed `total_files`, `total_size_bytes`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Confirmed files, the trash included.
    pub files: u64,
    /// Their bytes.
    pub stored_bytes: u64,
}

/// What one owner's rows add up to, beside what is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageCheck {
    /// The owner.
    pub owner: String,
    /// What the counters say.
    pub counted: Usage,
    /// What the rows add up to.
    pub found: Usage,
}

/// What is under way in some buckets: what the closing of their store waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// When the last of the tickets ends that were given out and not used: uploads of files that are `pending`, `uploading`
    /// or `uploaded`. `None` when there is none.
    pub open_until: Option<Timestamp>,
    /// Files that are `confirmed` or `processing`.
    pub unverified: u64,
}

/// Which entries of the write-ahead log. All given conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntentQuery {
    /// With this status.
    pub status: Option<IntentStatus>,
    /// Of this kind.
    pub kind: Option<IntentKind>,
    /// About this file.
    pub file_id: Option<FileId>,
    /// Before this entry.
    pub before: Option<IntentId>,
    /// At most so many.
    pub limit: u32,
}

/// Administration in the database.
#[async_trait]
pub trait AdministrationStore: Send + Sync {
    /// Takes a file back. `false`, with nothing changed, when the row is not as [`Adoption::replaces`] says, or the file was
    /// purged. Usage counts what the new row adds to the old one. Row, upload, derivatives, record, event, jobs and usage
    /// in one transaction; the search index too.
    async fn adopt(&self, adoption: &Adoption) -> Result<bool>;

    /// Ids of purged files among these: their events say so, and they must not come back.
    async fn purged_files(&self, ids: &[FileId]) -> Result<Vec<FileId>>;

    /// Files by id, in the order of their ids, after an id: every row there is, in whatever state.
    async fn all_files(&self, after: Option<FileId>, limit: u32) -> Result<Page<File>>;

    /// Files by their ids; those that do not exist are left out.
    async fn files_by_id(&self, ids: &[FileId]) -> Result<Vec<File>>;

    /// Records by key, after one: every record there is.
    async fn all_records(&self, after: Option<&crate::record::RecordKey>, limit: u32)
    -> Result<Page<Record>>;

    /// Totals, from the counters.
    async fn totals(&self) -> Result<Totals>;

    /// Owners whose counters are not what their rows add up to. `repair` sets them right, in the transaction that found it.
    async fn check_usage(&self, repair: bool) -> Result<Vec<UsageCheck>>;

    /// Keeps a new operation. `false` when one of its kind waits or runs already: there is one at a time.
    async fn put_operation(&self, operation: &Operation) -> Result<bool>;

    /// One operation.
    async fn operation(&self, id: OperationId) -> Result<Option<Operation>>;

    /// Operations, newest first, before an id.
    async fn operations(&self, before: Option<OperationId>, limit: u32) -> Result<Page<Operation>>;

    /// The operation of a kind that was done last, as far back as operations are kept.
    async fn last_done_operation(&self, kind: OperationKind) -> Result<Option<Operation>>;

    /// Claims the oldest operation that waits or whose claim ended; it is `Running` then, with a new lease epoch.
    async fn claim_operation(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<Option<Operation>>;

    /// Claims this operation, as [`Self::claim_operation`] does; `None` when it is over, or another claim still holds.
    async fn claim_operation_by_id(
        &self,
        id: OperationId,
        worker: &WorkerId,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<Option<Operation>>;

    /// Writes how far a claimed operation is, adds lines to its report, and holds on to the claim until its `lease_until`:
    /// all together. `Fenced` when the claim (`lease_epoch`) is no longer held or it was cancelled.
    async fn save_operation(&self, operation: &Operation, findings: &[Finding]) -> Result<()>;

    /// Cancels an operation that is not over. `false` when there is none such.
    async fn cancel_operation(&self, id: OperationId, now: Timestamp) -> Result<bool>;

    /// Lines of a report in order, after so many.
    async fn findings(&self, id: OperationId, skip: u64, limit: u32) -> Result<Page<Finding>>;

    /// Removes operations that were over before this, with their reports; returns how many operations. A report goes in
    /// portions, from its end, and its operation after the last of them: a call that is cut short leaves the rest to the
    /// next one.
    async fn trim_operations(&self, finished_before: Timestamp, limit: u32) -> Result<u64>;

    /// Keeps found garbage. What is known already stays as it is; returns how many were new.
    async fn put_garbage(&self, garbage: &[Garbage]) -> Result<u64>;

    /// Garbage by path, after one (its path and upload id); of one state, or of any.
    async fn garbage(
        &self,
        state: Option<GarbageState>,
        after: Option<(&ObjectPath, &str)>,
        limit: u32,
    ) -> Result<Page<Garbage>>;

    /// Trashed garbage whose deadline was over at `before`, oldest first.
    async fn purgeable_garbage(&self, before: Timestamp, limit: u32) -> Result<Vec<Garbage>>;

    /// Has garbage kept, or trashed again with this deadline. `false` when it is not known.
    async fn mark_garbage(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        state: GarbageState,
        purge_at: Timestamp,
    ) -> Result<bool>;

    /// Forgets garbage that is gone or is none any more.
    async fn forget_garbage(&self, path: &ObjectPath, upload_id: &str) -> Result<()>;

    /// Every store that the database knows of, by name.
    async fn stores(&self) -> Result<Vec<StoreState>>;

    /// Inserts (`expected_epoch` `None`) or replaces the state of a store, together with its entry in the audit log;
    /// [`Conflict`](crate::ports::metadata::MetadataError::Conflict) when it is not as expected.
    async fn put_store(
        &self,
        store: &StoreState,
        expected_epoch: Option<u64>,
        audit: &AuditEntry,
    ) -> Result<()>;

    /// What is under way in these buckets.
    async fn under_way(&self, buckets: &[String]) -> Result<UnderWay>;

    /// Adds to the audit log.
    async fn put_audit(&self, entry: &AuditEntry) -> Result<()>;

    /// The audit log, newest first, before an id.
    async fn audit(&self, before: Option<AuditId>, limit: u32) -> Result<Page<AuditEntry>>;

    /// The write-ahead log, newest first; closed entries as far back as they are kept.
    async fn intents(&self, query: &IntentQuery) -> Result<Page<Intent>>;

    /// Ready files of a collection that were created (or last taken out of the archive) before this and are on no legal
    /// hold, oldest first, after a file: what retention acts on. With `unlinked`, those without a record alone.
    async fn retained_files(
        &self,
        collection: &str,
        created_before: Timestamp,
        unlinked: bool,
        after: Option<(Timestamp, FileId)>,
        limit: u32,
    ) -> Result<Page<File>>;
}
