//! The administration of an instance: every method is one operation on one of the threads, but for the count of usage,
//! which reads first and repairs owner by owner, and for the end of old reports, which go in portions.

mod adoption;
pub(super) mod garbage;
mod operations;
pub(super) mod stores;
mod usage;

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
use rusqlite::params;
use uuid::Uuid;

use super::failure::Outcome;
use super::row::{self, micros};
use super::session::Session;
use super::{SqliteStore, files, intents, page};
use crate::trimming::Trimmed;

fn until(now: Timestamp, lease: SignedDuration) -> Timestamp {
    now.checked_add(lease).unwrap_or(Timestamp::MAX)
}

/// Ids in their order, each once.
fn sorted(ids: &[FileId]) -> Vec<FileId> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn files_by_id(session: &Session, ids: &[FileId]) -> Outcome<Vec<File>> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(files::file(session, *id)?);
    }
    Ok(found)
}

fn purged_files(session: &Session, ids: &[FileId]) -> Outcome<Vec<FileId>> {
    let mut purged = Vec::new();
    for id in ids {
        if session.exists(&session.sql.purged, [id.0.as_bytes()])? {
            purged.push(*id);
        }
    }
    Ok(purged)
}

#[async_trait]
impl AdministrationStore for SqliteStore {
    async fn adopt(&self, adoption: &Adoption) -> Result<bool> {
        let adoption = adoption.clone();
        self.write("adopt", move |session| adoption::adopt(session, &adoption))
            .await
    }

    async fn purged_files(&self, ids: &[FileId]) -> Result<Vec<FileId>> {
        let ids = sorted(ids);
        self.read("purged_files", move |session| purged_files(session, &ids))
            .await
    }

    async fn all_files(&self, after: Option<FileId>, limit: u32) -> Result<Page<File>> {
        let after = after.map_or(Uuid::nil(), |id| id.0);
        self.read("all_files", move |session| {
            let parameters = params![after.as_bytes(), i64::from(limit) + 1];
            let found = session.all(&session.sql.all_files, parameters, row::file)?;
            Ok(page(found, limit))
        })
        .await
    }

    async fn files_by_id(&self, ids: &[FileId]) -> Result<Vec<File>> {
        let ids = sorted(ids);
        self.read("files_by_id", move |session| files_by_id(session, &ids))
            .await
    }

    async fn all_records(&self, after: Option<&RecordKey>, limit: u32) -> Result<Page<Record>> {
        let (kind, id) = after.map_or_else(Default::default, |key| {
            (key.kind().to_owned(), key.id().to_owned())
        });
        self.read("all_records", move |session| {
            let parameters = params![kind, id, i64::from(limit) + 1];
            let found = session.all(&session.sql.all_records, parameters, row::record)?;
            Ok(page(found, limit))
        })
        .await
    }

    async fn totals(&self) -> Result<Totals> {
        self.read("totals", usage::totals).await
    }

    async fn check_usage(&self, repair: bool) -> Result<Vec<UsageCheck>> {
        usage::check(self, repair).await
    }

    async fn put_operation(&self, operation: &Operation) -> Result<bool> {
        let operation = operation.clone();
        self.write("put_operation", move |session| {
            operations::put(session, &operation)
        })
        .await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>> {
        self.read("operation", move |session| operations::one(session, id))
            .await
    }

    async fn operations(&self, before: Option<OperationId>, limit: u32) -> Result<Page<Operation>> {
        self.read("operations", move |session| {
            operations::list(session, before, limit)
        })
        .await
    }

    async fn last_done_operation(&self, kind: OperationKind) -> Result<Option<Operation>> {
        self.read("last_done_operation", move |session| {
            operations::last_done(session, kind)
        })
        .await
    }

    async fn claim_operation(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<Option<Operation>> {
        let (worker, until) = (worker.0.clone(), until(now, lease));
        self.write("claim_operation", move |session| {
            operations::claim(session, None, &worker, now, until)
        })
        .await
    }

    async fn claim_operation_by_id(
        &self,
        id: OperationId,
        worker: &WorkerId,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<Option<Operation>> {
        let (worker, until) = (worker.0.clone(), until(now, lease));
        self.write("claim_operation", move |session| {
            operations::claim(session, Some(id), &worker, now, until)
        })
        .await
    }

    async fn save_operation(&self, operation: &Operation, findings: &[Finding]) -> Result<()> {
        let (operation, findings) = (operation.clone(), findings.to_vec());
        self.write("save_operation", move |session| {
            operations::save(session, &operation, &findings)
        })
        .await
    }

    async fn cancel_operation(&self, id: OperationId, now: Timestamp) -> Result<bool> {
        self.write("cancel_operation", move |session| {
            operations::cancel(session, id, now)
        })
        .await
    }

    async fn findings(&self, id: OperationId, skip: u64, limit: u32) -> Result<Page<Finding>> {
        self.read("findings", move |session| {
            operations::findings(session, id, skip, limit)
        })
        .await
    }

    async fn trim_operations(&self, finished_before: Timestamp, limit: u32) -> Result<u64> {
        let mut removed = 0;
        while removed < u64::from(limit) {
            let step = move |session: &Session| operations::trim(session, finished_before);
            match self.write("trim_operations", step).await? {
                Trimmed::Nothing => break,
                Trimmed::Findings => {}
                Trimmed::Operation => removed += 1,
            }
        }
        Ok(removed)
    }

    async fn put_garbage(&self, garbage: &[Garbage]) -> Result<u64> {
        let found = garbage.to_vec();
        self.write("put_garbage", move |session| garbage::put(session, &found))
            .await
    }

    async fn garbage(
        &self,
        state: Option<GarbageState>,
        after: Option<(&ObjectPath, &str)>,
        limit: u32,
    ) -> Result<Page<Garbage>> {
        let after = after.map(|(path, upload_id)| (path.clone(), upload_id.to_owned()));
        self.read("garbage", move |session| {
            garbage::list(session, state, after.as_ref(), limit)
        })
        .await
    }

    async fn purgeable_garbage(&self, before: Timestamp, limit: u32) -> Result<Vec<Garbage>> {
        self.read("purgeable_garbage", move |session| {
            garbage::purgeable(session, before, limit)
        })
        .await
    }

    async fn mark_garbage(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        state: GarbageState,
        purge_at: Timestamp,
    ) -> Result<bool> {
        let (path, upload_id) = (path.clone(), upload_id.to_owned());
        self.write("mark_garbage", move |session| {
            garbage::mark(session, &path, &upload_id, state, purge_at)
        })
        .await
    }

    async fn forget_garbage(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        let (path, upload_id) = (path.clone(), upload_id.to_owned());
        self.write("forget_garbage", move |session| {
            garbage::forget(session, &path, &upload_id)
        })
        .await
    }

    async fn stores(&self) -> Result<Vec<StoreState>> {
        self.read("stores", stores::stores).await
    }

    async fn put_store(
        &self,
        store: &StoreState,
        expected_epoch: Option<u64>,
        audit: &AuditEntry,
    ) -> Result<()> {
        let (store, audit) = (store.clone(), audit.clone());
        self.write("put_store", move |session| {
            stores::put_store(session, &store, expected_epoch, &audit)
        })
        .await
    }

    async fn under_way(&self, buckets: &[String]) -> Result<UnderWay> {
        let buckets = buckets.to_vec();
        self.read("under_way", move |session| stores::under_way(session, &buckets))
            .await
    }

    async fn put_audit(&self, entry: &AuditEntry) -> Result<()> {
        let entry = entry.clone();
        self.write("put_audit", move |session| {
            stores::put_audit(session, &entry).map(|_| ())
        })
        .await
    }

    async fn audit(&self, before: Option<AuditId>, limit: u32) -> Result<Page<AuditEntry>> {
        self.read("audit", move |session| stores::audit(session, before, limit))
            .await
    }

    async fn intents(&self, query: &IntentQuery) -> Result<Page<Intent>> {
        let query = query.clone();
        self.read("intents", move |session| intents::list(session, &query))
            .await
    }

    async fn retained_files(
        &self,
        collection: &str,
        created_before: Timestamp,
        unlinked: bool,
        after: Option<(Timestamp, FileId)>,
        limit: u32,
    ) -> Result<Page<File>> {
        let collection = collection.to_owned();
        let (from, id) = after.map_or((i64::MIN, Uuid::nil()), |(time, id)| (micros(time), id.0));
        self.read("retained_files", move |session| {
            let sql = if unlinked {
                &session.sql.retained_unlinked_files
            } else {
                &session.sql.retained_files
            };
            let parameters = params![
                collection,
                micros(created_before),
                from,
                id.as_bytes(),
                i64::from(limit) + 1
            ];
            Ok(page(session.all(sql, parameters, row::file)?, limit))
        })
        .await
    }
}
