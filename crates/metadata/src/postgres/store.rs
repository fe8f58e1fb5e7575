//! The port's methods, each on a connection of the pool.

use async_trait::async_trait;
use cloakroom_core::JsonObject;
use cloakroom_core::derivative::{Derivative, NewVariant, VariantAdded};
use cloakroom_core::event::Event;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::{FileId, IntentId, JobId, ServiceTokenId};
use cloakroom_core::intent::{Intent, IntentStatus};
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome, JobProgress, JobState, NewJob};
use cloakroom_core::ports::metadata::{
    Claim, ClaimedEvent, Delivery, EventLease, FileQuery, Inserted, MetadataError, MetadataStore, NewFile,
    Page, Result, ServiceToken, Statistics, Usage,
};
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::transition::Transition;
use cloakroom_core::upload::Upload;
use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::Connection;
use super::failure::Outcome;
use super::pool::Unknown::{RunAgain, Tell};
use super::row;
use super::{PostgresStore, files, intents, jobs, list, outbox, page, records, tokens};
use crate::queue;
use crate::row::Columns as _;

#[async_trait]
impl MetadataStore for PostgresStore {
    async fn insert(&self, new: NewFile) -> Result<Inserted> {
        match &self.inserts {
            Some(inserts) => inserts.insert(&self.pool, new).await,
            None => Err(MetadataError::Unavailable(
                "the metadata store is closed".to_owned(),
            )),
        }
    }

    async fn apply(&self, transition: Transition) -> Result<()> {
        self.pool
            .write("apply", RunAgain, |c, attempt| {
                files::apply(c, &transition, attempt)
            })
            .await
    }

    async fn forget(
        &self,
        file: &File,
        event: Event,
        lease: Option<JobLease>,
        follow_up: Option<NewJob>,
    ) -> Result<()> {
        let work = |c, attempt| files::forget(c, file, &event, (lease, follow_up.as_ref()), attempt);
        self.pool.write("forget", RunAgain, work).await
    }

    async fn file(&self, id: FileId) -> Result<Option<File>> {
        self.pool.read("file", |c| files::file(c, id)).await
    }

    async fn upload(&self, id: FileId) -> Result<Option<Upload>> {
        self.pool.read("upload", |c| files::upload(c, id)).await
    }

    async fn update_upload(&self, upload: &Upload, file_version: u64) -> Result<()> {
        // The same upload once more is no other one.
        self.pool
            .write("update_upload", RunAgain, |c, _| {
                files::update_upload(c, upload, file_version)
            })
            .await
    }

    async fn derivatives(&self, id: FileId) -> Result<Vec<Derivative>> {
        self.pool.read("derivatives", |c| files::derivatives(c, id)).await
    }

    async fn add_variant(&self, new: &NewVariant) -> Result<VariantAdded> {
        self.pool
            .write("add_variant", RunAgain, |c, _| files::add_variant(c, new))
            .await
    }

    async fn files(&self, query: &FileQuery) -> Result<Page<File>> {
        self.pool.read("files", |c| list::files(c, query)).await
    }

    async fn expired_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<FileId>> {
        self.pool
            .read("expired_uploads", |c| async move {
                files::overdue(&c, &c.sql().expired_uploads, before, limit).await
            })
            .await
    }

    async fn purgeable_files(&self, before: Timestamp, limit: u32) -> Result<Vec<FileId>> {
        self.pool
            .read("purgeable_files", |c| async move {
                files::overdue(&c, &c.sql().purgeable_files, before, limit).await
            })
            .await
    }

    async fn timeline(&self, id: FileId, after_version: Option<u64>, limit: u32) -> Result<Page<Event>> {
        let events = self
            .pool
            .read("timeline", |c| files::timeline(c, id, after_version, limit))
            .await?;
        Ok(page(events, limit))
    }

    async fn usage(&self, owner: &str) -> Result<Usage> {
        self.pool
            .read("usage", |c| async move { files::usage(&c, owner).await })
            .await
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>> {
        self.pool.read("record", |c| records::record(c, key)).await
    }

    async fn records(&self, keys: &[RecordKey]) -> Result<Vec<Record>> {
        self.pool.read("records", |c| records::some(c, keys)).await
    }

    async fn child_records(&self, key: &RecordKey) -> Result<Vec<Record>> {
        self.pool
            .read("child_records", |c| records::children(c, key))
            .await
    }

    async fn put_record(&self, record: &Record, expected_version: Option<u64>) -> Result<()> {
        self.pool
            .write("put_record", Tell, |c, _| {
                records::put(c, record, expected_version)
            })
            .await
    }

    async fn delete_record(&self, key: &RecordKey, version: u64) -> Result<()> {
        self.pool
            .write("delete_record", Tell, |c, _| records::delete(c, key, version))
            .await
    }

    async fn begin_intent(&self, intent: &Intent) -> Result<()> {
        self.pool
            .write("begin_intent", Tell, |c, _| intents::begin(c, intent))
            .await
    }

    async fn end_intent(
        &self,
        id: IntentId,
        status: IntentStatus,
        error: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        self.pool
            .write("end_intent", Tell, |c, _| intents::end(c, id, status, error, now))
            .await
    }

    async fn stale_intents(&self, before: Timestamp, limit: u32) -> Result<Vec<Intent>> {
        self.pool
            .read("stale_intents", |c| intents::stale(c, before, limit))
            .await
    }

    async fn trim_intents(&self, completed_before: Timestamp, limit: u32) -> Result<u64> {
        self.pool
            .write("trim_intents", Tell, |c, _| {
                intents::trim(c, completed_before, limit)
            })
            .await
    }

    async fn enqueue(&self, job: &NewJob) -> Result<bool> {
        self.pool
            .write("enqueue", Tell, |c, _| async move {
                jobs::insert(&c, job, None).await
            })
            .await
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Job>> {
        self.pool.write("claim", Tell, |c, _| jobs::claim(c, claim)).await
    }

    async fn extend(&self, leases: &[JobLease], until: Timestamp) -> Result<Vec<JobLease>> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.pool
            .write("extend", RunAgain, |c, _| jobs::extend(c, leases, until))
            .await
    }

    async fn report_progress(
        &self,
        reports: &[(JobLease, JobProgress)],
        until: Timestamp,
    ) -> Result<Vec<JobLease>> {
        self.pool
            .write("report_progress", RunAgain, |c, _| {
                jobs::report(c, reports, until)
            })
            .await
    }

    async fn finish(&self, lease: JobLease, outcome: &JobOutcome, _now: Timestamp) -> Result<()> {
        self.pool
            .write("finish", Tell, |c, _| jobs::finish(c, lease, outcome))
            .await
    }

    async fn next_job_at(&self, without: &[JobKind]) -> Result<Option<Timestamp>> {
        self.pool.read("next_job_at", |c| jobs::next_at(c, without)).await
    }

    async fn live_job(&self, file_id: FileId, kind: JobKind) -> Result<Option<Job>> {
        self.pool.read("live_job", |c| jobs::live(c, file_id, kind)).await
    }

    async fn jobs(&self, state: Option<JobState>, after: Option<JobId>, limit: u32) -> Result<Page<Job>> {
        self.pool
            .read("jobs", |c| jobs::list(c, state, after, limit))
            .await
    }

    async fn retry_job(&self, id: JobId, now: Timestamp) -> Result<bool> {
        self.pool
            .write("retry_job", Tell, |c, _| jobs::retry(c, id, now))
            .await
    }

    async fn discard_job(&self, id: JobId) -> Result<bool> {
        self.pool
            .write("discard_job", Tell, |c, _| jobs::discard(c, id))
            .await
    }

    async fn claim_events(&self, claim: &Claim<'_>) -> Result<Vec<ClaimedEvent>> {
        if !self.pool.has_outbox() {
            return Ok(Vec::new());
        }
        self.pool
            .write("claim_events", Tell, |c, _| outbox::claim(c, claim))
            .await
    }

    async fn settle_event(&self, lease: EventLease, delivery: &Delivery) -> Result<()> {
        self.pool
            .write("settle_event", Tell, |c, _| outbox::settle(c, lease, delivery))
            .await
    }

    async fn put_service_token(&self, token: &ServiceToken) -> Result<()> {
        self.pool
            .write("put_service_token", Tell, |c, _| tokens::put_token(c, token))
            .await
    }

    async fn service_token(&self, secret_sha256: &[u8; 32]) -> Result<Option<ServiceToken>> {
        self.pool
            .read("service_token", |c| tokens::token(c, secret_sha256))
            .await
    }

    async fn service_tokens(&self) -> Result<Vec<ServiceToken>> {
        self.pool.read("service_tokens", tokens::tokens).await
    }

    async fn revoke_service_token(&self, id: ServiceTokenId, now: Timestamp) -> Result<bool> {
        self.pool
            .write("revoke_service_token", Tell, |c, _| {
                tokens::revoke_token(c, id, now)
            })
            .await
    }

    async fn put_setting(&self, name: &str, value: &JsonObject) -> Result<()> {
        self.pool
            .write("put_setting", RunAgain, |c, _| {
                tokens::put_setting(c, name, value)
            })
            .await
    }

    async fn setting(&self, name: &str) -> Result<Option<JsonObject>> {
        self.pool.read("setting", |c| tokens::setting(c, name)).await
    }

    async fn statistics(&self) -> Result<Statistics> {
        self.pool.read("statistics", statistics).await
    }

    async fn ping(&self) -> Result<()> {
        self.pool
            .write("ping", RunAgain, |c, _| async move {
                c.execute(&c.sql().touch, &[]).await.map(|_| ())
            })
            .await
    }
}

/// Counts, with a zero for every state that no row has: a gauge that is not set any more keeps its last value.
async fn statistics(connection: Connection) -> Outcome<Statistics> {
    let sql = connection.sql();
    let mut files = Vec::new();
    for statement in [&sql.count_settled_files, &sql.count_open_files] {
        files.extend(row::all(&connection.query(statement, &[]).await?, |row| {
            count(row, FileState::parse)
        })?);
    }
    let jobs = jobs::count(&connection).await?;
    let stored = connection.first(&sql.stored_bytes, &[]).await?;
    Ok(Statistics {
        files: FileState::ALL
            .iter()
            .map(|state| (*state, counted(&files, *state)))
            .collect(),
        jobs: queue::by_state(&jobs),
        queue: queue::by_kind(&jobs),
        stored_bytes: stored.map(|row| row.size(0)).transpose()?.unwrap_or_default(),
    })
}

fn counted<T: PartialEq>(found: &[(T, u64)], state: T) -> u64 {
    found
        .iter()
        .filter(|(name, _)| *name == state)
        .map(|(_, count)| count)
        .sum()
}

fn count<T>(row: &Row, parse: fn(&str) -> Option<T>) -> Outcome<(T, u64)> {
    Ok((row.named(0, parse)?, row.size(1)?))
}
