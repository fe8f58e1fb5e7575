//! Crashes and pauses on purpose: adapters that die, or stand still, before or after the n-th change they are asked to
//! make.
//!
//! A "crash" is a call that never returns. The test drops everything that waited for it, which is what a killed
//! process does, and goes on with fresh adapters over the same stores. A pause ends when the test says so: what a
//! process does that was taken for dead.

mod administration;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cloakroom_core::JsonObject;
use cloakroom_core::derivative::{Derivative, NewVariant, VariantAdded};
use cloakroom_core::event::Event;
use cloakroom_core::file::File;
use cloakroom_core::id::{FileId, IntentId, JobId, ServiceTokenId};
use cloakroom_core::intent::{Intent, IntentStatus};
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome, JobProgress, JobState, NewJob};
use cloakroom_core::ports::metadata::{
    Claim, ClaimedEvent, Delivery, EventLease, FileQuery, Inserted, MetadataError, MetadataStore, NewFile,
    Page, ServiceToken, Statistics, Usage,
};
use cloakroom_core::ports::objects::{
    Bucket, Capabilities, Circuit, CompletedPart, CopyOptions, GetOptions, ListOptions, MultipartOptions,
    MultipartUpload, ObjectAttributes, ObjectError, ObjectInfo, ObjectList, ObjectPath, ObjectRead,
    ObjectStore, Part, PutBody, PutOptions, WriteConditions,
};
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::transition::Transition;
use cloakroom_core::upload::Upload;
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

pub use self::administration::CrashingAdministration;

/// Where to die or to pause: each change counts twice, once before it is made and once after.
#[derive(Debug)]
pub struct CrashPlan {
    at: usize,
    reached: AtomicUsize,
    crashed: Notify,
    /// Whether a pause is over; a crash has none.
    resumed: Option<watch::Sender<bool>>,
}

impl CrashPlan {
    /// Dies at the point of this number, counted from 0.
    pub fn at(point: usize) -> Arc<Self> {
        Arc::new(Self {
            at: point,
            reached: AtomicUsize::new(0),
            crashed: Notify::new(),
            resumed: None,
        })
    }

    /// Stands still at the point of this number, and at every later one that is reached, until [`Self::resume`].
    pub fn pausing_at(point: usize) -> Arc<Self> {
        Arc::new(Self {
            at: point,
            reached: AtomicUsize::new(0),
            crashed: Notify::new(),
            resumed: Some(watch::Sender::new(false)),
        })
    }

    /// Ends the pause.
    pub fn resume(&self) {
        if let Some(resumed) = &self.resumed {
            resumed.send_replace(true);
        }
    }

    /// Never dies.
    pub fn never() -> Arc<Self> {
        Self::at(usize::MAX)
    }

    /// Returns when the point was reached.
    pub async fn crashed(&self) {
        self.crashed.notified().await;
    }

    /// How many points were passed or reached so far.
    pub fn points(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    async fn point(&self) {
        let point = self.reached.fetch_add(1, Ordering::SeqCst);
        if point == self.at {
            self.crashed.notify_one();
        }
        if point >= self.at {
            match &self.resumed {
                // The sender lives as long as the plan, so waiting cannot fail.
                Some(resumed) => drop(resumed.subscribe().wait_for(|over| *over).await),
                None => std::future::pending().await,
            }
        }
    }

    async fn before(&self) {
        self.point().await;
    }

    async fn after(&self) {
        self.point().await;
    }
}

/// A metadata store that dies as planned.
pub struct CrashingMetadata {
    /// The real one.
    pub inner: Arc<dyn MetadataStore>,
    /// Where to die.
    pub crash: Arc<CrashPlan>,
}

#[async_trait]
impl MetadataStore for CrashingMetadata {
    async fn insert(&self, new: NewFile) -> Result<Inserted, MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.insert(new).await;
        self.crash.after().await;
        outcome
    }

    async fn apply(&self, transition: Transition) -> Result<(), MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.apply(transition).await;
        self.crash.after().await;
        outcome
    }

    async fn forget(
        &self,
        file: &File,
        event: Event,
        lease: Option<JobLease>,
        follow_up: Option<NewJob>,
    ) -> Result<(), MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.forget(file, event, lease, follow_up).await;
        self.crash.after().await;
        outcome
    }

    async fn file(&self, id: FileId) -> Result<Option<File>, MetadataError> {
        self.inner.file(id).await
    }

    async fn upload(&self, id: FileId) -> Result<Option<Upload>, MetadataError> {
        self.inner.upload(id).await
    }

    async fn update_upload(&self, upload: &Upload, file_version: u64) -> Result<(), MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.update_upload(upload, file_version).await;
        self.crash.after().await;
        outcome
    }

    async fn derivatives(&self, id: FileId) -> Result<Vec<Derivative>, MetadataError> {
        self.inner.derivatives(id).await
    }

    async fn add_variant(&self, new: &NewVariant) -> Result<VariantAdded, MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.add_variant(new).await;
        self.crash.after().await;
        outcome
    }

    async fn files(&self, query: &FileQuery) -> Result<Page<File>, MetadataError> {
        self.inner.files(query).await
    }

    async fn expired_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<FileId>, MetadataError> {
        self.inner.expired_uploads(before, limit).await
    }

    async fn purgeable_files(&self, before: Timestamp, limit: u32) -> Result<Vec<FileId>, MetadataError> {
        self.inner.purgeable_files(before, limit).await
    }

    async fn timeline(
        &self,
        id: FileId,
        after_version: Option<u64>,
        limit: u32,
    ) -> Result<Page<Event>, MetadataError> {
        self.inner.timeline(id, after_version, limit).await
    }

    async fn usage(&self, owner: &str) -> Result<Usage, MetadataError> {
        self.inner.usage(owner).await
    }

    async fn record(&self, key: &RecordKey) -> Result<Option<Record>, MetadataError> {
        self.inner.record(key).await
    }

    async fn child_records(&self, key: &RecordKey) -> Result<Vec<Record>, MetadataError> {
        self.inner.child_records(key).await
    }

    async fn put_record(&self, record: &Record, expected_version: Option<u64>) -> Result<(), MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.put_record(record, expected_version).await;
        self.crash.after().await;
        outcome
    }

    async fn delete_record(&self, key: &RecordKey, version: u64) -> Result<(), MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.delete_record(key, version).await;
        self.crash.after().await;
        outcome
    }

    async fn begin_intent(&self, intent: &Intent) -> Result<(), MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.begin_intent(intent).await;
        self.crash.after().await;
        outcome
    }

    async fn end_intent(
        &self,
        id: IntentId,
        status: IntentStatus,
        error: Option<&str>,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.end_intent(id, status, error, now).await;
        self.crash.after().await;
        outcome
    }

    async fn stale_intents(&self, before: Timestamp, limit: u32) -> Result<Vec<Intent>, MetadataError> {
        self.inner.stale_intents(before, limit).await
    }

    async fn trim_intents(&self, completed_before: Timestamp, limit: u32) -> Result<u64, MetadataError> {
        self.inner.trim_intents(completed_before, limit).await
    }

    async fn enqueue(&self, job: &NewJob) -> Result<bool, MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.enqueue(job).await;
        self.crash.after().await;
        outcome
    }

    async fn claim(&self, claim: &Claim<'_>) -> Result<Vec<Job>, MetadataError> {
        self.inner.claim(claim).await
    }

    async fn extend(&self, leases: &[JobLease], until: Timestamp) -> Result<Vec<JobLease>, MetadataError> {
        self.inner.extend(leases, until).await
    }

    async fn report_progress(
        &self,
        reports: &[(JobLease, JobProgress)],
        until: Timestamp,
    ) -> Result<Vec<JobLease>, MetadataError> {
        self.inner.report_progress(reports, until).await
    }

    async fn finish(
        &self,
        lease: JobLease,
        outcome: &JobOutcome,
        now: Timestamp,
    ) -> Result<(), MetadataError> {
        self.crash.before().await;
        let outcome = self.inner.finish(lease, outcome, now).await;
        self.crash.after().await;
        outcome
    }

    async fn next_job_at(&self, without: &[JobKind]) -> Result<Option<Timestamp>, MetadataError> {
        self.inner.next_job_at(without).await
    }

    async fn live_job(&self, file_id: FileId, kind: JobKind) -> Result<Option<Job>, MetadataError> {
        self.inner.live_job(file_id, kind).await
    }

    async fn jobs(
        &self,
        state: Option<JobState>,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Page<Job>, MetadataError> {
        self.inner.jobs(state, after, limit).await
    }

    async fn retry_job(&self, id: JobId, now: Timestamp) -> Result<bool, MetadataError> {
        self.inner.retry_job(id, now).await
    }

    async fn discard_job(&self, id: JobId) -> Result<bool, MetadataError> {
        self.inner.discard_job(id).await
    }

    async fn claim_events(&self, claim: &Claim<'_>) -> Result<Vec<ClaimedEvent>, MetadataError> {
        self.inner.claim_events(claim).await
    }

    async fn settle_event(&self, lease: EventLease, delivery: &Delivery) -> Result<(), MetadataError> {
        self.crash.before().await;
        let settled = self.inner.settle_event(lease, delivery).await;
        self.crash.after().await;
        settled
    }

    async fn put_service_token(&self, token: &ServiceToken) -> Result<(), MetadataError> {
        self.inner.put_service_token(token).await
    }

    async fn service_token(&self, secret_sha256: &[u8; 32]) -> Result<Option<ServiceToken>, MetadataError> {
        self.inner.service_token(secret_sha256).await
    }

    async fn service_tokens(&self) -> Result<Vec<ServiceToken>, MetadataError> {
        self.inner.service_tokens().await
    }

    async fn revoke_service_token(&self, id: ServiceTokenId, now: Timestamp) -> Result<bool, MetadataError> {
        self.inner.revoke_service_token(id, now).await
    }

    async fn put_setting(&self, name: &str, value: &JsonObject) -> Result<(), MetadataError> {
        self.inner.put_setting(name, value).await
    }

    async fn setting(&self, name: &str) -> Result<Option<JsonObject>, MetadataError> {
        self.inner.setting(name).await
    }

    async fn statistics(&self) -> Result<Statistics, MetadataError> {
        self.inner.statistics().await
    }

    async fn ping(&self) -> Result<(), MetadataError> {
        self.inner.ping().await
    }
}

/// An object store that dies as planned.
pub struct CrashingObjects {
    /// The real one.
    pub inner: Arc<dyn ObjectStore>,
    /// Where to die.
    pub crash: Arc<CrashPlan>,
}

#[async_trait]
impl ObjectStore for CrashingObjects {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn circuit(&self) -> Circuit {
        self.inner.circuit()
    }

    async fn buckets(&self) -> Result<Vec<Bucket>, ObjectError> {
        self.inner.buckets().await
    }

    async fn bucket(&self, name: &str) -> Result<Bucket, ObjectError> {
        self.inner.bucket(name).await
    }

    async fn create_bucket(&self, name: &str) -> Result<(), ObjectError> {
        self.inner.create_bucket(name).await
    }

    async fn delete_bucket(&self, name: &str) -> Result<(), ObjectError> {
        self.inner.delete_bucket(name).await
    }

    async fn head(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectInfo, ObjectError> {
        self.inner.head(path, options).await
    }

    async fn get(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead, ObjectError> {
        self.inner.get(path, options).await
    }

    async fn put(
        &self,
        path: &ObjectPath,
        options: PutOptions,
        body: PutBody,
    ) -> Result<ObjectInfo, ObjectError> {
        self.crash.before().await;
        let outcome = self.inner.put(path, options, body).await;
        self.crash.after().await;
        outcome
    }

    async fn copy(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> Result<ObjectInfo, ObjectError> {
        self.crash.before().await;
        let outcome = self.inner.copy(from, to, options).await;
        self.crash.after().await;
        outcome
    }

    async fn promote(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Result<ObjectInfo, ObjectError> {
        self.crash.before().await;
        let outcome = self.inner.promote(from, generation, to, attributes).await;
        self.crash.after().await;
        outcome
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), ObjectError> {
        self.crash.before().await;
        let outcome = self.inner.delete(path).await;
        self.crash.after().await;
        outcome
    }

    async fn list(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList, ObjectError> {
        self.inner.list(bucket, options).await
    }

    async fn begin_multipart(
        &self,
        path: &ObjectPath,
        options: MultipartOptions,
    ) -> Result<String, ObjectError> {
        self.crash.before().await;
        let outcome = self.inner.begin_multipart(path, options).await;
        self.crash.after().await;
        outcome
    }

    async fn put_part(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        number: u32,
        body: PutBody,
    ) -> Result<Part, ObjectError> {
        self.crash.before().await;
        let outcome = self.inner.put_part(path, upload_id, number, body).await;
        self.crash.after().await;
        outcome
    }

    async fn multipart(
        &self,
        path: &ObjectPath,
        upload_id: &str,
    ) -> Result<(MultipartUpload, Vec<Part>), ObjectError> {
        self.inner.multipart(path, upload_id).await
    }

    async fn multiparts(&self, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>, ObjectError> {
        self.inner.multiparts(bucket, prefix).await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Result<ObjectInfo, ObjectError> {
        self.crash.before().await;
        let outcome = self
            .inner
            .complete_multipart(path, upload_id, parts, conditions)
            .await;
        self.crash.after().await;
        outcome
    }

    async fn abort_multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<(), ObjectError> {
        self.crash.before().await;
        let outcome = self.inner.abort_multipart(path, upload_id).await;
        self.crash.after().await;
        outcome
    }

    async fn ping(&self) -> Result<(), ObjectError> {
        self.inner.ping().await
    }
}
