//! The administration of an instance: every method is one operation on one connection, but for the count of usage, which
//! reads first and repairs owner by owner, and for the end of old reports, which go in portions.

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
use uuid::Uuid;

use super::connection::Connection;
use super::failure::Outcome;
use super::pool::Attempt;
use super::pool::Unknown::{RunAgain, Tell};
use super::row;
use super::values::{Text, Time};
use super::{PostgresStore, intents, page};
use crate::row::Columns as _;
use crate::trimming::Trimmed;

fn until(now: Timestamp, lease: SignedDuration) -> Timestamp {
    now.checked_add(lease).unwrap_or(Timestamp::MAX)
}

fn uuids(ids: &[FileId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

async fn purged_files(connection: Connection, ids: &[FileId]) -> Outcome<Vec<FileId>> {
    let found = connection
        .query(&connection.sql().purged_files, &[&uuids(ids)])
        .await?;
    row::all(&found, |row| Ok(FileId(row.id(0)?)))
}

async fn all_files(connection: Connection, after: Option<FileId>, limit: u32) -> Outcome<Page<File>> {
    let after = after.map_or(Uuid::nil(), |id| id.0);
    let found = connection
        .query(&connection.sql().all_files, &[&after, &(i64::from(limit) + 1)])
        .await?;
    Ok(page(row::all(&found, row::file)?, limit))
}

async fn files_by_id(connection: Connection, ids: &[FileId]) -> Outcome<Vec<File>> {
    let found = connection
        .query(&connection.sql().files_by_id, &[&uuids(ids)])
        .await?;
    row::all(&found, row::file)
}

async fn all_records(connection: Connection, after: Option<&RecordKey>, limit: u32) -> Outcome<Page<Record>> {
    let (kind, id) = after.map_or(("", ""), |key| (key.kind(), key.id()));
    let found = connection
        .query(
            &connection.sql().all_records,
            &[&Text(kind), &Text(id), &(i64::from(limit) + 1)],
        )
        .await?;
    Ok(page(row::all(&found, row::record)?, limit))
}

/// Which files, as [`AdministrationStore::retained_files`] is asked.
struct Retained<'a> {
    collection: &'a str,
    created_before: Timestamp,
    unlinked: bool,
    after: Option<(Timestamp, FileId)>,
    limit: u32,
}

async fn retained_files(connection: Connection, wanted: &Retained<'_>) -> Outcome<Page<File>> {
    let sql = connection.sql();
    let statement = if wanted.unlinked {
        &sql.retained_unlinked_files
    } else {
        &sql.retained_files
    };
    let (from, id) = wanted
        .after
        .map_or((Timestamp::MIN, Uuid::nil()), |(time, id)| (time, id.0));
    let found = connection
        .query(
            statement,
            &[
                &Text(wanted.collection),
                &Time(wanted.created_before),
                &Time(from),
                &id,
                &(i64::from(wanted.limit) + 1),
            ],
        )
        .await?;
    Ok(page(row::all(&found, row::file)?, wanted.limit))
}

#[async_trait]
impl AdministrationStore for PostgresStore {
    async fn adopt(&self, adoption: &Adoption) -> Result<bool> {
        self.pool
            .decide("adopt", RunAgain, Attempt::default(), |c, attempt| {
                adoption::adopt(c, adoption, attempt)
            })
            .await
    }

    async fn purged_files(&self, ids: &[FileId]) -> Result<Vec<FileId>> {
        self.pool.read("purged_files", |c| purged_files(c, ids)).await
    }

    async fn all_files(&self, after: Option<FileId>, limit: u32) -> Result<Page<File>> {
        self.pool.read("all_files", |c| all_files(c, after, limit)).await
    }

    async fn files_by_id(&self, ids: &[FileId]) -> Result<Vec<File>> {
        self.pool.read("files_by_id", |c| files_by_id(c, ids)).await
    }

    async fn all_records(&self, after: Option<&RecordKey>, limit: u32) -> Result<Page<Record>> {
        self.pool
            .read("all_records", |c| all_records(c, after, limit))
            .await
    }

    async fn totals(&self) -> Result<Totals> {
        self.pool.read("totals", usage::totals).await
    }

    async fn check_usage(&self, repair: bool) -> Result<Vec<UsageCheck>> {
        usage::check(&self.pool, repair).await
    }

    async fn put_operation(&self, operation: &Operation) -> Result<bool> {
        self.pool
            .write("put_operation", RunAgain, |c, attempt| {
                operations::put(c, operation, attempt)
            })
            .await
    }

    async fn operation(&self, id: OperationId) -> Result<Option<Operation>> {
        self.pool
            .read("operation", async |c| operations::one(&c, id).await)
            .await
    }

    async fn operations(&self, before: Option<OperationId>, limit: u32) -> Result<Page<Operation>> {
        self.pool
            .read("operations", |c| operations::list(c, before, limit))
            .await
    }

    async fn last_done_operation(&self, kind: OperationKind) -> Result<Option<Operation>> {
        self.pool
            .read("last_done_operation", |c| operations::last_done(c, kind))
            .await
    }

    async fn claim_operation(
        &self,
        worker: &WorkerId,
        now: Timestamp,
        lease: SignedDuration,
    ) -> Result<Option<Operation>> {
        self.pool
            .write("claim_operation", Tell, |c, _| {
                operations::claim(c, None, worker, now, until(now, lease))
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
        self.pool
            .write("claim_operation", Tell, |c, _| {
                operations::claim(c, Some(id), worker, now, until(now, lease))
            })
            .await
    }

    async fn save_operation(&self, operation: &Operation, findings: &[Finding]) -> Result<()> {
        self.pool
            .write("save_operation", RunAgain, |c, attempt| {
                operations::save(c, operation, findings, attempt)
            })
            .await
    }

    async fn cancel_operation(&self, id: OperationId, now: Timestamp) -> Result<bool> {
        self.pool
            .write("cancel_operation", Tell, |c, _| operations::cancel(c, id, now))
            .await
    }

    async fn findings(&self, id: OperationId, skip: u64, limit: u32) -> Result<Page<Finding>> {
        self.pool
            .read("findings", |c| operations::findings(c, id, skip, limit))
            .await
    }

    async fn trim_operations(&self, finished_before: Timestamp, limit: u32) -> Result<u64> {
        let mut removed = 0;
        while removed < u64::from(limit) {
            // Run again, it would only count wrongly.
            let trimmed = self
                .pool
                .write("trim_operations", Tell, |c, _| {
                    operations::trim(c, finished_before)
                })
                .await?;
            match trimmed {
                Trimmed::Nothing => break,
                Trimmed::Findings => {}
                Trimmed::Operation => removed += 1,
            }
        }
        Ok(removed)
    }

    async fn put_garbage(&self, garbage: &[Garbage]) -> Result<u64> {
        // It would only count wrongly.
        self.pool
            .write("put_garbage", Tell, |c, _| garbage::put(c, garbage))
            .await
    }

    async fn garbage(
        &self,
        state: Option<GarbageState>,
        after: Option<(&ObjectPath, &str)>,
        limit: u32,
    ) -> Result<Page<Garbage>> {
        self.pool
            .read("garbage", |c| garbage::list(c, state, after, limit))
            .await
    }

    async fn purgeable_garbage(&self, before: Timestamp, limit: u32) -> Result<Vec<Garbage>> {
        self.pool
            .read("purgeable_garbage", |c| garbage::purgeable(c, before, limit))
            .await
    }

    async fn mark_garbage(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        state: GarbageState,
        purge_at: Timestamp,
    ) -> Result<bool> {
        self.pool
            .write("mark_garbage", RunAgain, |c, _| {
                garbage::mark(c, path, upload_id, state, purge_at)
            })
            .await
    }

    async fn forget_garbage(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        self.pool
            .write("forget_garbage", RunAgain, |c, _| {
                garbage::forget(c, path, upload_id)
            })
            .await
    }

    async fn stores(&self) -> Result<Vec<StoreState>> {
        self.pool.read("stores", stores::stores).await
    }

    async fn put_store(
        &self,
        store: &StoreState,
        expected_epoch: Option<u64>,
        audit: &AuditEntry,
    ) -> Result<()> {
        self.pool
            .write("put_store", RunAgain, |c, attempt| {
                stores::put_store(c, store, expected_epoch, audit, attempt)
            })
            .await
    }

    async fn under_way(&self, buckets: &[String]) -> Result<UnderWay> {
        self.pool
            .read("under_way", |c| stores::under_way(c, buckets))
            .await
    }

    async fn put_audit(&self, entry: &AuditEntry) -> Result<()> {
        self.pool
            .write("put_audit", RunAgain, |c, _| stores::put_audit(c, entry))
            .await
    }

    async fn audit(&self, before: Option<AuditId>, limit: u32) -> Result<Page<AuditEntry>> {
        self.pool.read("audit", |c| stores::audit(c, before, limit)).await
    }

    async fn intents(&self, query: &IntentQuery) -> Result<Page<Intent>> {
        self.pool.read("intents", |c| intents::list(c, query)).await
    }

    async fn retained_files(
        &self,
        collection: &str,
        created_before: Timestamp,
        unlinked: bool,
        after: Option<(Timestamp, FileId)>,
        limit: u32,
    ) -> Result<Page<File>> {
        let wanted = Retained {
            collection,
            created_before,
            unlinked,
            after,
            limit,
        };
        self.pool
            .read("retained_files", |c| retained_files(c, &wanted))
            .await
    }
}
