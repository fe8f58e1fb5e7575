//! The embedded database: SQLite with one writer thread that groups commits and a few reader threads.
//!
//! Every method of the port is one operation on one of these threads: a plain function over a session.

mod administration;
mod archive;
mod failure;
mod files;
mod intents;
mod jobs;
mod leases;
mod list;
mod open;
mod outbox;
#[cfg(test)]
mod plan;
mod readers;
mod records;
mod row;
mod search;
mod session;
mod statements;
mod tokens;
mod writer;

use std::fs::File as LockFile;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::JsonObject;
use cloakroom_core::derivative::{Derivative, NewVariant, VariantAdded};
use cloakroom_core::event::Event;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::{FileId, IntentId, JobId, ServiceTokenId};
use cloakroom_core::intent::{Intent, IntentStatus};
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome, JobProgress, JobState, NewJob};
use cloakroom_core::ports::metadata::{
    Claim, ClaimedEvent, Delivery, EventLease, FileQuery, Inserted, MetadataStore, NewFile, Page, Result,
    ServiceToken, Statistics, Usage,
};
use cloakroom_core::ports::signals::Signals;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::transition::Transition;
use cloakroom_core::upload::Upload;
use jiff::Timestamp;
use rusqlite::params;

use self::failure::Outcome;
use self::readers::Readers;
use self::row::micros;
use self::session::Session;
use self::writer::Writer;
use crate::prefix::TablePrefix;
use crate::queue;
use crate::row::Columns as _;

pub use self::open::OpenError;
pub use crate::migration::MigrationMismatch;

/// How to open a database.
#[derive(Clone)]
pub struct SqliteOptions {
    /// The database file; it and its directory are created when they do not exist.
    pub path: PathBuf,
    /// Begins the name of every table.
    pub table_prefix: TablePrefix,
    /// Reader threads, at least one.
    pub readers: usize,
    /// Whether a commit waits for the disk. Without it a power failure (not a crash of the process) may take the
    /// last commits along.
    pub synchronous_full: bool,
    /// Whether events wait in the outbox for their delivery. Without a consumer they would wait for ever.
    pub outbox: bool,
    /// Whom to tell what changed, after the commit.
    pub signals: Option<Arc<dyn Signals>>,
}

impl SqliteOptions {
    /// Durable commits, four readers, the default prefix, no outbox, no signals.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            table_prefix: TablePrefix::default(),
            readers: 4,
            synchronous_full: true,
            outbox: false,
            signals: None,
        }
    }
}

/// The metadata store in an SQLite file. Dropping it ends its threads after what was accepted is committed.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    /// Last, so that the lock outlives the connections.
    _lock: LockFile,
}

impl SqliteStore {
    /// Opens a database, creates and migrates it as needed.
    ///
    /// # Errors
    /// [`OpenError`] with the path and the reason: in use by another process, not a database or damaged, of a
    /// newer program, changed migrations, or not accessible.
    pub fn open(options: SqliteOptions) -> std::result::Result<Self, OpenError> {
        let opened = open::open(&options)?;
        let threads = |source| OpenError::Io {
            path: options.path.clone(),
            source,
        };
        let readers = Readers::start(opened.readers).map_err(threads)?;
        let writer = Writer::start(opened.writer, options.signals.clone()).map_err(threads)?;
        Ok(Self {
            writer,
            readers,
            _lock: opened.lock,
        })
    }

    /// The migrations that a database lacks, as `0001_initial`; all of them where there is no file. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] as for [`Self::open`].
    pub fn pending_migrations(options: &SqliteOptions) -> std::result::Result<Vec<String>, OpenError> {
        open::pending(options)
    }

    /// Ends the threads after everything that waits and copies the log into the database, so that one file is
    /// left. Blocks until that is done.
    ///
    /// # Errors
    /// `MetadataError` when the log could not be copied; nothing is lost, the next opening does it.
    pub fn close(mut self) -> Result<()> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<()> {
        self.readers.stop();
        let Some(session) = self.writer.stop() else {
            return Ok(());
        };
        session
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(|error| failure::describe(&error))
    }

    async fn write<T, W>(&self, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: Fn(&Session) -> Outcome<T> + Send + 'static,
    {
        self.writer.write(name, work).await
    }

    async fn read<T, R>(&self, name: &'static str, read: R) -> Result<T>
    where
        T: Send + 'static,
        R: FnOnce(&Session) -> Outcome<T> + Send + 'static,
    {
        self.readers.read(name, read).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::warn!(error = %error, "metadata_checkpoint_failed");
        }
    }
}

/// A page of rows of which one more than the limit was read.
fn page<T>(mut items: Vec<T>, limit: u32) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    Page { items, more }
}

#[async_trait]
impl MetadataStore for SqliteStore {
    async fn insert(&self, new: NewFile) -> Result<Inserted> {
        self.write("insert", move |session| files::insert(session, &new))
            .await
    }

    async fn apply(&self, transition: Transition) -> Result<()> {
        self.write("apply", move |session| files::apply(session, &transition))
            .await
    }

    async fn forget(
        &self,
        file: &File,
        event: Event,
        lease: Option<JobLease>,
        follow_up: Option<NewJob>,
    ) -> Result<()> {
        let file = file.clone();
        self.write("forget", move |session| {
            files::forget(session, &file, &event, lease, follow_up.as_ref())
        })
        .await
    }

    async fn file(&self, id: FileId) -> Result<Option<File>> {
        self.read("file", move |session| files::file(session, id)).await
    }

    async fn upload(&self, id: FileId) -> Result<Option<Upload>> {
        self.read("upload", move |session| files::upload(session, id))
            .await
    }

    async fn update_upload(&self, upload: &Upload, file_version: u64) -> Result<()> {
        let upload = upload.clone();
        self.write("update_upload", move |session| {
            files::update_upload(session, &upload, file_version)
        })
        .await
    }

    async fn derivatives(&self, id: FileId) -> Result<Vec<Derivative>> {
        self.read("derivatives", move |session| files::derivatives(session, id))
            .await
    }

    async fn add_variant(&self, new: &NewVariant) -> Result<VariantAdded> {
        let new = new.clone();
        self.write("add_variant", move |session| files::add_variant(session, &new))
            .await
    }

    async fn files(&self, query: &FileQuery) -> Result<Page<File>> {
        let query = query.clone();
        self.read("files", move |session| list::files(session, &query))
            .await
    }

    async fn expired_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<FileId>> {
        self.read("expired_uploads", move |session| {
            files::overdue(session, &session.sql.expired_uploads, micros(before), limit)
        })
        .await
    }

    async fn purgeable_files(&self, before: Timestamp, limit: u32) -> Result<Vec<FileId>> {
        self.read("purgeable_files", move |session| {
            files::overdue(session, &session.sql.purgeable_files, micros(before), limit)
        })
        .await
    }

    async fn timeline(&self, id: FileId, after_version: Option<u64>, limit: u32) -> Result<Page<Event>> {
        self.read("timeline", move |session| {
            let after = after_version.map(row::integer).transpose()?.unwrap_or(-1);
            let parameters = params![id.0.as_bytes(), after, i64::from(limit) + 1];
            Ok(page(
                session.all(&session.sql.timeline, parameters, row::event)?,
                limit,
            ))
        })
        .await
    }

    async fn usage(&self, owner: &str) -> Result<Usage> {
        let owner = owner.to_owned();
        self.read("usage", move |session| files::usage(session, &owner))
            .await
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        let key = key.clone();
        self.read("record", move |session| records::record(session, &key))
            .await
    }

    async fn records(&self, keys: &[RecordKey]) -> Result<Vec<Record>> {
        let keys = keys.to_vec();
        self.read("records", move |session| records::some(session, &keys))
            .await
    }

    async fn child_records(&self, key: &RecordKey) -> Result<Vec<Record>> {
        let key = key.clone();
        self.read("child_records", move |session| records::children(session, &key))
            .await
    }

    async fn put_record(&self, record: &Record, expected_version: Option<u64>) -> Result<()> {
        let record = record.clone();
        self.write("put_record", move |session| {
            records::put(session, &record, expected_version)
        })
        .await
    }

    async fn delete_record(&self, key: &RecordKey, version: u64) -> Result<()> {
        let key = key.clone();
        self.write("delete_record", move |session| {
            records::delete(session, &key, version)
        })
        .await
    }

    async fn begin_intent(&self, intent: &Intent) -> Result<()> {
        let intent = intent.clone();
        self.write("begin_intent", move |session| intents::begin(session, &intent))
            .await
    }

    async fn end_intent(
        &self,
        id: IntentId,
        status: IntentStatus,
        error: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        let error = error.map(str::to_owned);
        self.write("end_intent", move |session| {
            intents::end(session, id, status, error.as_deref(), now)
        })
        .await
    }

    async fn stale_intents(&self, before: Timestamp, limit: u32) -> Result<Vec<Intent>> {
        self.read("stale_intents", move |session| {
            intents::stale(session, before, limit)
        })
        .await
    }

    async fn trim_intents(&self, completed_before: Timestamp, limit: u32) -> Result<u64> {
        self.write("trim_intents", move |session| {
            intents::trim(session, completed_before, limit)
        })
        .await
    }

    async fn enqueue(&self, job: &NewJob) -> Result<bool> {
        let job = job.clone();
        self.write("enqueue", move |session| jobs::insert(session, &job, None))
            .await
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Job>> {
        let wanted = jobs::Wanted::from(claim);
        self.write("claim", move |session| jobs::claim(session, &wanted))
            .await
    }

    async fn extend(&self, leases: &[JobLease], until: Timestamp) -> Result<Vec<JobLease>> {
        let leases = leases.to_vec();
        self.write("extend", move |session| jobs::extend(session, &leases, until))
            .await
    }

    async fn report_progress(
        &self,
        reports: &[(JobLease, JobProgress)],
        until: Timestamp,
    ) -> Result<Vec<JobLease>> {
        let reports = reports.to_vec();
        self.write("report_progress", move |session| {
            jobs::report(session, &reports, until)
        })
        .await
    }

    async fn finish(&self, lease: JobLease, outcome: &JobOutcome, _now: Timestamp) -> Result<()> {
        let outcome = outcome.clone();
        self.write("finish", move |session| jobs::finish(session, lease, &outcome))
            .await
    }

    async fn next_job_at(&self, without: &[JobKind]) -> Result<Option<Timestamp>> {
        let without = without.to_vec();
        self.read("next_job_at", move |session| jobs::next_at(session, &without))
            .await
    }

    async fn live_job(&self, file_id: FileId, kind: JobKind) -> Result<Option<Job>> {
        self.read("live_job", move |session| jobs::live(session, file_id, kind))
            .await
    }

    async fn jobs(&self, state: Option<JobState>, after: Option<JobId>, limit: u32) -> Result<Page<Job>> {
        self.read("jobs", move |session| jobs::list(session, state, after, limit))
            .await
    }

    async fn retry_job(&self, id: JobId, now: Timestamp) -> Result<bool> {
        self.write("retry_job", move |session| jobs::retry(session, id, now))
            .await
    }

    async fn discard_job(&self, id: JobId) -> Result<bool> {
        self.write("discard_job", move |session| jobs::discard(session, id))
            .await
    }

    async fn claim_events(&self, claim: &Claim<'_>) -> Result<Vec<ClaimedEvent>> {
        let (worker, now, until, limit) = (
            claim.worker.0.clone(),
            claim.now,
            jobs::lease_end(claim),
            claim.limit,
        );
        self.write("claim_events", move |session| {
            outbox::claim(session, &worker, now, until, limit)
        })
        .await
    }

    async fn settle_event(&self, lease: EventLease, delivery: &Delivery) -> Result<()> {
        let delivery = delivery.clone();
        self.write("settle_event", move |session| {
            outbox::settle(session, lease, &delivery)
        })
        .await
    }

    async fn put_service_token(&self, token: &ServiceToken) -> Result<()> {
        let token = token.clone();
        self.write("put_service_token", move |session| {
            tokens::put_token(session, &token)
        })
        .await
    }

    async fn service_token(&self, secret_sha256: &[u8; 32]) -> Result<Option<ServiceToken>> {
        let secret_sha256 = *secret_sha256;
        self.read("service_token", move |session| {
            tokens::token(session, &secret_sha256)
        })
        .await
    }

    async fn service_tokens(&self) -> Result<Vec<ServiceToken>> {
        self.read("service_tokens", tokens::tokens).await
    }

    async fn revoke_service_token(&self, id: ServiceTokenId, now: Timestamp) -> Result<bool> {
        self.write("revoke_service_token", move |session| {
            tokens::revoke_token(session, id, now)
        })
        .await
    }

    async fn put_setting(&self, name: &str, value: &JsonObject) -> Result<()> {
        let (name, value) = (name.to_owned(), value.clone());
        self.write("put_setting", move |session| {
            tokens::put_setting(session, &name, &value)
        })
        .await
    }

    async fn setting(&self, name: &str) -> Result<Option<JsonObject>> {
        let name = name.to_owned();
        self.read("setting", move |session| tokens::setting(session, &name))
            .await
    }

    async fn statistics(&self) -> Result<Statistics> {
        self.read("statistics", statistics).await
    }

    async fn ping(&self) -> Result<()> {
        self.read("ping", |session| session.exists("SELECT 1", []))
            .await?;
        self.write("ping", |session| {
            session.execute(&session.sql.touch, []).map(|_| ())
        })
        .await
    }
}

/// Counts, with a zero for every state that no row has: a gauge that is not set any more keeps its last value.
fn statistics(session: &Session) -> Outcome<Statistics> {
    let mut files = session.all(&session.sql.count_settled_files, [], count(FileState::parse))?;
    files.extend(session.all(&session.sql.count_open_files, [], count(FileState::parse))?);
    let jobs = jobs::count(session)?;
    let stored = session.first(&session.sql.stored_bytes, [], |row| row.size(0))?;
    let counted = |found: &[(FileState, u64)], state: FileState| {
        found
            .iter()
            .filter(|(name, _)| *name == state)
            .map(|(_, count)| count)
            .sum()
    };
    Ok(Statistics {
        files: FileState::ALL
            .iter()
            .map(|state| (*state, counted(&files, *state)))
            .collect(),
        jobs: queue::by_state(&jobs),
        queue: queue::by_kind(&jobs),
        stored_bytes: stored.unwrap_or_default(),
    })
}

fn count<T>(parse: fn(&str) -> Option<T>) -> impl FnMut(&rusqlite::Row<'_>) -> Outcome<(T, u64)> {
    move |row| Ok((row.named(0, parse)?, row.size(1)?))
}
