//! The metadata store: rows, events, jobs and the write-ahead log, in one database.
//!
//! One method changes files ([`MetadataStore::apply`]); it commits row, event, jobs and log entries together or
//! not at all. Everything an adapter must promise is in the testkit's `metadata_store_suite`.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

use crate::JsonObject;
use crate::access::Role;
use crate::derivative::{Derivative, NewVariant, VariantAdded};
use crate::event::Event;
use crate::file::{File, FileState};
use crate::id::{EventId, FileId, IntentId, JobId, ServiceTokenId, WorkerId};
use crate::intent::{Intent, IntentStatus};
use crate::job::{Job, JobKind, JobLease, JobOutcome, JobProgress, JobState, NewJob};
use crate::record::{Record, RecordKey};
use crate::transition::Transition;
use crate::upload::Upload;

/// Why a metadata operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Somebody else changed the row first; read again and decide again.
    #[error("the row was changed by somebody else")]
    Conflict,
    /// The worker's claim ended or went to another one; its work must be thrown away.
    #[error("the claim on the job is no longer held")]
    Fenced,
    /// The record that was to be linked belongs to another owner.
    #[error("the record belongs to another owner")]
    RecordTaken,
    /// The database does not answer, is full or is locked; trying again may help.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A row that cannot be what we wrote, with where it stands.
    #[error("inconsistent row: {0}")]
    Inconsistent(String),
    /// A defect of ours: a statement that the database refuses.
    #[error("database error: {0}")]
    Internal(String),
}

/// Result of a metadata operation.
pub type Result<T> = std::result::Result<T, MetadataError>;

/// A file and its upload, to be inserted with the event that says so.
#[derive(Clone, Debug, PartialEq)]
pub struct NewFile {
    /// The row.
    pub file: File,
    /// Its upload.
    pub upload: Upload,
    /// `file.signed`.
    pub event: Event,
    /// The record it hangs on, created if it does not exist; see [`Transition::record`].
    pub record: Option<Record>,
    /// Bytes that the owner may store and reserve in all; `None` is no limit.
    pub quota_bytes: Option<u64>,
}

/// What became of an insert.
#[derive(Clone, Debug, PartialEq)]
pub enum Inserted {
    /// The rows are there, and durable.
    New,
    /// The id was there before (a repeated idempotency key): the rows that stand, nothing was changed.
    Existing(Box<(File, Upload)>),
    /// The quota does not allow it; nothing was changed.
    QuotaExceeded(Usage),
}

/// What an owner uses (I11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes reserved for signed uploads.
    pub reserved_bytes: u64,
    /// Bytes of confirmed files, the trash included.
    pub stored_bytes: u64,
    /// Confirmed files, the trash included.
    pub files: u64,
}

/// A place in a list, newest first: after the row with this time and id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Creation time of the last row seen.
    pub created_at: Timestamp,
    /// Id of the last row seen.
    pub id: FileId,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Whether there are more.
    pub more: bool,
}

/// Which files. All given conditions must hold; lists are newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileQuery {
    /// Of this owner.
    pub owner: Option<String>,
    /// In one of these collections.
    pub collections: Option<Vec<String>>,
    /// In one of these states; empty is any.
    pub states: Vec<FileState>,
    /// Linked to this record.
    pub record: Option<RecordKey>,
    /// Of this media type: `image/png` or `image/*`.
    pub content_type: Option<String>,
    /// Words of [`crate::search::words`]; all must occur in name or description, the last one as a beginning.
    pub words: Vec<String>,
    /// Top-level metadata fields with these scalar values.
    pub metadata: Vec<(String, serde_json::Value)>,
    /// Created at or after.
    pub created_from: Option<Timestamp>,
    /// Created before.
    pub created_before: Option<Timestamp>,
    /// After this row.
    pub after: Option<Cursor>,
    /// At most so many rows, 1 to 1,000.
    pub limit: u32,
}

/// Which jobs to claim, and for how long.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// Who claims.
    pub worker: &'a WorkerId,
    /// The time.
    pub now: Timestamp,
    /// How long the claim holds unless extended.
    pub lease: SignedDuration,
    /// At most so many.
    pub limit: u32,
    /// Of these kinds only so many, zero included. Events have no kinds.
    pub at_most: &'a [(JobKind, u32)],
}

impl Claim<'_> {
    /// How many of a kind.
    pub fn room(&self, kind: JobKind) -> u32 {
        let bound = self.at_most.iter().find(|(bounded, _)| *bounded == kind);
        bound.map_or(self.limit, |(_, most)| self.limit.min(*most))
    }
}

/// The jobs of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// The kind.
    pub kind: JobKind,
    /// Waiting, for their turn or their time.
    pub ready: u64,
    /// Claimed.
    pub running: u64,
    /// In the dead-letter list.
    pub dead: u64,
    /// The earliest time of one that waits; in the past, if it waits for its turn.
    pub oldest_run_at: Option<Timestamp>,
}

impl QueueDepth {
    /// No jobs of this kind.
    pub const fn none(kind: JobKind) -> Self {
        Self {
            kind,
            ready: 0,
            running: 0,
            dead: 0,
            oldest_run_at: None,
        }
    }
}

/// An event that waits for its delivery, claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedEvent {
    /// The event; its id is the same at every delivery.
    pub event: Event,
    /// Deliveries begun so far, this one included.
    pub attempt: u32,
    /// The claim.
    pub lease: EventLease,
}

/// Proof of a claim on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLease {
    /// The event.
    pub event_id: EventId,
    /// The claim's fencing token.
    pub epoch: u32,
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The consumer has it; it leaves the outbox and stays in the timeline.
    Delivered,
    /// Not now.
    Retry {
        /// Not before.
        run_at: Timestamp,
        /// Why.
        error: String,
    },
    /// Refused for good, or tried as often as allowed; it leaves the outbox.
    GivenUp,
}

/// A service token as it is kept: never the secret, only its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceToken {
    /// Its id.
    pub id: ServiceTokenId,
    /// The application's name; the `subject` of what it creates for itself.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The collections that it is scoped to; `None` is all.
    pub collections: Option<Vec<String>>,
    /// SHA-256 of the secret.
    pub secret_sha256: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// How many files and jobs there are, for metrics and health.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Files by state.
    pub files: Vec<(FileState, u64)>,
    /// Jobs by state.
    pub jobs: Vec<(JobState, u64)>,
    /// Jobs by kind, every kind.
    pub queue: Vec<QueueDepth>,
    /// Bytes of confirmed files.
    pub stored_bytes: u64,
}

/// Rows, events, jobs and log in one database.
#[async_trait]
pub trait MetadataStore: Send + Sync {
    /// Inserts a signed upload. Durable when it returns. The hot path: adapters group concurrent calls into one
    /// commit.
    async fn insert(&self, new: NewFile) -> Result<Inserted>;

    /// Commits a transition: see [`Transition`]. Durable when it returns.
    async fn apply(&self, transition: Transition) -> Result<()>;

    /// Removes a purged file's rows (file, upload, derivatives, job leftovers), keeps its events and adds the
    /// last one. The row must have this version and be `purging`; completes the claim.
    async fn forget(
        &self,
        file: &File,
        event: Event,
        lease: Option<JobLease>,
        follow_up: Option<NewJob>,
    ) -> Result<()>;

    /// One file.
    async fn file(&self, id: FileId) -> Result<Option<File>>;

    /// One file's upload.
    async fn upload(&self, id: FileId) -> Result<Option<Upload>>;

    /// Changes an upload alone (its multipart id), if its file still has this version.
    async fn update_upload(&self, upload: &Upload, file_version: u64) -> Result<()>;

    /// A file's derivatives, by name.
    async fn derivatives(&self, id: FileId) -> Result<Vec<Derivative>>;

    /// Adds a variant to a ready file as [`NewVariant::admit`] says, and removes the rows that give way to it. The file's
    /// row is held meanwhile, and not changed: a variant is no change of its file.
    async fn add_variant(&self, new: &NewVariant) -> Result<VariantAdded>;

    /// A page of files.
    async fn files(&self, query: &FileQuery) -> Result<Page<File>>;

    /// Open uploads whose time was over at `before`: the sweeper's list, oldest first.
    async fn expired_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<FileId>>;

    /// Trashed files whose time was over at `before`, oldest first.
    async fn purgeable_files(&self, before: Timestamp, limit: u32) -> Result<Vec<FileId>>;

    /// A file's events, oldest first, after a version.
    async fn timeline(&self, id: FileId, after_version: Option<u64>, limit: u32) -> Result<Page<Event>>;

    /// What an owner uses.
    async fn usage(&self, owner: &str) -> Result<Usage>;

    /// One record.
    async fn record(&self, key: &RecordKey) -> Result<Option<Record>>;

    /// Those of these records that there are, in any order.
    async fn records(&self, keys: &[RecordKey]) -> Result<Vec<Record>> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.extend(self.record(key).await?);
        }
        Ok(found)
    }

    /// The records whose parent this is, by key.
    async fn child_records(&self, key: &RecordKey) -> Result<Vec<Record>>;

    /// Inserts (`expected_version` `None`) or replaces a record; [`MetadataError::Conflict`] when the row is not
    /// as expected.
    async fn put_record(&self, record: &Record, expected_version: Option<u64>) -> Result<()>;

    /// Removes a record. [`MetadataError::Conflict`] when it changed or files outside of the trash are still
    /// linked to it.
    async fn delete_record(&self, key: &RecordKey, version: u64) -> Result<()>;

    /// Writes an intent. Durable when it returns.
    async fn begin_intent(&self, intent: &Intent) -> Result<()>;

    /// Ends an intent outside of a transition: rolled back, or failed with a reason.
    async fn end_intent(
        &self,
        id: IntentId,
        status: IntentStatus,
        error: Option<&str>,
        now: Timestamp,
    ) -> Result<()>;

    /// Pending intents whose author is taken for dead since `before`, oldest first.
    async fn stale_intents(&self, before: Timestamp, limit: u32) -> Result<Vec<Intent>>;

    /// Removes closed intents older than this; returns how many.
    async fn trim_intents(&self, completed_before: Timestamp, limit: u32) -> Result<u64>;

    /// Enqueues a job by itself. `false` when one of its kind waits or runs for that file already.
    async fn enqueue(&self, job: &NewJob) -> Result<bool>;

    /// Claims ready jobs, and running ones whose lease ended. Each claim counts an attempt and raises the lease epoch.
    ///
    /// Within a kind owners take turns, one job each in every round (start-time fair queueing); who comes new to a queue
    /// joins its next round, so nobody overtakes for ever. Between kinds the time of the first in line counts, each point of
    /// priority as [`crate::job::PRIORITY_STEP`] earlier.
    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Job>>;

    /// Holds on to claimed jobs for longer; returns the leases that still hold.
    async fn extend(&self, leases: &[JobLease], until: Timestamp) -> Result<Vec<JobLease>>;

    /// The same for jobs whose progress changed, which is kept beside the lease; whoever follows the file is woken.
    async fn report_progress(
        &self,
        reports: &[(JobLease, JobProgress)],
        until: Timestamp,
    ) -> Result<Vec<JobLease>>;

    /// Ends an attempt; [`JobOutcome::Retry`] alone counts a failure. [`MetadataError::Fenced`] when the claim is no
    /// longer held.
    async fn finish(&self, lease: JobLease, outcome: &JobOutcome, now: Timestamp) -> Result<()>;

    /// When the next job becomes ready, if any waits that is not of one of these kinds.
    async fn next_job_at(&self, without: &[JobKind]) -> Result<Option<Timestamp>>;

    /// The job of a kind that waits or runs for a file.
    async fn live_job(&self, file_id: FileId, kind: JobKind) -> Result<Option<Job>>;

    /// Jobs in a state, oldest first, after an id.
    async fn jobs(&self, state: Option<JobState>, after: Option<JobId>, limit: u32) -> Result<Page<Job>>;

    /// Puts a dead job back in the queue, with its attempts and failures counted anew. `false` when there is no such dead job.
    async fn retry_job(&self, id: JobId, now: Timestamp) -> Result<bool>;

    /// Removes a dead job. `false` when there is no such dead job.
    async fn discard_job(&self, id: JobId) -> Result<bool>;

    /// Claims events that wait in the outbox, those that wait longest first, and those whose claim ended. Rows are
    /// claimed one by one and never by their place in a sequence: an event whose transaction commits late would be
    /// passed over. Empty when the store was opened without an outbox.
    async fn claim_events(&self, claim: &Claim<'_>) -> Result<Vec<ClaimedEvent>>;

    /// Ends a delivery. [`MetadataError::Fenced`] when the claim is no longer held.
    async fn settle_event(&self, lease: EventLease, delivery: &Delivery) -> Result<()>;

    /// Keeps a new service token.
    async fn put_service_token(&self, token: &ServiceToken) -> Result<()>;

    /// The token with this secret's SHA-256, revoked and expired ones included.
    async fn service_token(&self, secret_sha256: &[u8; 32]) -> Result<Option<ServiceToken>>;

    /// Every token, newest first.
    async fn service_tokens(&self) -> Result<Vec<ServiceToken>>;

    /// Revokes a token. `false` when there is none, or it was revoked before.
    async fn revoke_service_token(&self, id: ServiceTokenId, now: Timestamp) -> Result<bool>;

    /// Keeps a small value of the instance under a name.
    async fn put_setting(&self, name: &str, value: &JsonObject) -> Result<()>;

    /// A value kept with [`Self::put_setting`].
    async fn setting(&self, name: &str) -> Result<Option<JsonObject>>;

    /// Counts for metrics.
    async fn statistics(&self) -> Result<Statistics>;

    /// Whether the database answers and takes writes.
    async fn ping(&self) -> Result<()>;
}
