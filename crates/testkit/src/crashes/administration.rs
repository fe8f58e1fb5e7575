//! The administration of an instance, dying as planned.

use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::file::File;
use cloakroom_core::garbage::{Garbage, GarbageState};
use cloakroom_core::id::{AuditId, FileId, OperationId, WorkerId};
use cloakroom_core::intent::Intent;
use cloakroom_core::operation::{Finding, Operation, OperationKind};
use cloakroom_core::ports::administration::{
    AdministrationStore, Adoption, IntentQuery, Totals, UnderWay, UsageCheck,
};
use cloakroom_core::ports::metadata::{Page, Result};
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::StoreState;
use jiff::{SignedDuration, Timestamp};

use super::CrashPlan;

/// An administration store that dies as planned.
pub struct CrashingAdministration {
    /// The real one.
    pub inner: Arc<dyn AdministrationStore>,
    /// Where to die.
    pub crash: Arc<CrashPlan>,
}

#[async_trait]
impl AdministrationStore for CrashingAdministration {
    async fn adopt(&self, adoption: &Adoption) -> Result<bool> {
        self.crash.before().await;
        let outcome = self.inner.adopt(adoption).await;
        self.crash.after().await;
        outcome
    }

    async fn purged_files(&self, ids: &[FileId]) -> Result<Vec<FileId>> {
        self.inner.purged_files(ids).await
    }

    async fn all_files(&self, after: Option<FileId>, limit: u32) -> Result<Page<File>> {
        self.inner.all_files(after, limit).await
    }

    async fn files_by_id(&self, ids: &[FileId]) -> Result<Vec<File>> {
        self.inner.files_by_id(ids).await
    }

    async fn all_records(&self, after: Option<&RecordKey>, limit: u32) -> Result<Page<Record>> {
        self.inner.all_records(after, limit).await
    }

    async fn totals(&self) -> Result<Totals> {
        self.inner.totals().await
    }

    async fn check_usage(&self, repair: bool) -> Result<Vec<UsageCheck>> {
        self.crash.before().await;
        let outcome = self.inner.check_usage(repair).await;
        self.crash.after().await;
        outcome
    }

    async fn put_operation(&self, operation: &Operation) -> Result<bool> {
        self.crash.before().await;
        let outcome = self.inner.put_operation(operation).await;
        self.crash.after().await;
        outcome
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>> {
        self.inner.operation(id).await
    }

    async fn operations(&self, before: Option<OperationId>, limit: u32) -> Result<Page<Operation>> {
        self.inner.operations(before, limit).await
    }

    async fn last_done_operation(&self, kind: OperationKind) -> Result<Option<Operation>> {
        self.inner.last_done_operation(kind).await
    }

    async fn claim_operation(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<Option<Operation>> {
        self.crash.before().await;
        let outcome = self.inner.claim_operation(worker, now, lease).await;
        self.crash.after().await;
        outcome
    }

    async fn claim_operation_by_id(
        &self,
        id: OperationId,
        worker: &WorkerId,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<Option<Operation>> {
        self.crash.before().await;
        let outcome = self.inner.claim_operation_by_id(id, worker, now, lease).await;
        self.crash.after().await;
        outcome
    }

    async fn save_operation(&self, operation: &Operation, findings: &[Finding]) -> Result<()> {
        self.crash.before().await;
        let outcome = self.inner.save_operation(operation, findings).await;
        self.crash.after().await;
        outcome
    }

    async fn cancel_operation(&self, id: OperationId, now: Timestamp) -> Result<bool> {
        self.crash.before().await;
        let outcome = self.inner.cancel_operation(id, now).await;
        self.crash.after().await;
        outcome
    }

    async fn findings(&self, id: OperationId, skip: u64, limit: u32) -> Result<Page<Finding>> {
        self.inner.findings(id, skip, limit).await
    }

    async fn trim_operations(&self, finished_before: Timestamp, limit: u32) -> Result<u64> {
        self.crash.before().await;
        let outcome = self.inner.trim_operations(finished_before, limit).await;
        self.crash.after().await;
        outcome
    }

    async fn put_garbage(&self, garbage: &[Garbage]) -> Result<u64> {
        self.crash.before().await;
        let outcome = self.inner.put_garbage(garbage).await;
        self.crash.after().await;
        outcome
    }

    async fn garbage(
        &self,
        state: Option<GarbageState>,
        after: Option<(&ObjectPath, &str)>,
        limit: u32,
    ) -> Result<Page<Garbage>> {
        self.inner.garbage(state, after, limit).await
    }

    async fn purgeable_garbage(&self, before: Timestamp, limit: u32) -> Result<Vec<Garbage>> {
        self.inner.purgeable_garbage(before, limit).await
    }

    async fn mark_garbage(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        state: GarbageState,
        purge_at: Timestamp,
    ) -> Result<bool> {
        self.crash.before().await;
        let outcome = self.inner.mark_garbage(path, upload_id, state, purge_at).await;
        self.crash.after().await;
        outcome
    }

    async fn forget_garbage(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        self.crash.before().await;
        let outcome = self.inner.forget_garbage(path, upload_id).await;
        self.crash.after().await;
        outcome
    }

    async fn stores(&self) -> Result<Vec<StoreState>> {
        self.inner.stores().await
    }

    async fn put_store(
        &self,
        store: &StoreState,
        expected_epoch: Option<u64>,
        audit: &AuditEntry,
    ) -> Result<()> {
        self.crash.before().await;
        let outcome = self.inner.put_store(store, expected_epoch, audit).await;
        self.crash.after().await;
        outcome
    }

    async fn under_way(&self, buckets: &[String]) -> Result<UnderWay> {
        self.inner.under_way(buckets).await
    }

    async fn put_audit(&self, entry: &AuditEntry) -> Result<()> {
        self.crash.before().await;
        let outcome = self.inner.put_audit(entry).await;
        self.crash.after().await;
        outcome
    }

    async fn audit(&self, before: Option<AuditId>, limit: u32) -> Result<Page<AuditEntry>> {
        self.inner.audit(before, limit).await
    }

    async fn intents(&self, query: &IntentQuery) -> Result<Page<Intent>> {
        self.inner.intents(query).await
    }

    async fn retained_files(
        &self,
        collection: &str,
        created_before: Timestamp,
        unlinked: bool,
        after: Option<(Timestamp, FileId)>,
        limit: u32,
    ) -> Result<Page<File>> {
        self.inner
            .retained_files(collection, created_before, unlinked, after, limit)
            .await
    }
}
