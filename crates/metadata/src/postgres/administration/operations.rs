//! Operations and their reports.

use cloakroom_core::id::{OperationId, WorkerId};
use cloakroom_core::operation::{Finding, Operation, OperationKind};
use cloakroom_core::ports::metadata::{MetadataError, Page};
use jiff::Timestamp;
use uuid::Uuid;

use super::super::connection::Connection;
use super::super::failure::Outcome;
use super::super::page;
use super::super::pool::Attempt;
use super::super::row::{self, Value, references};
use super::super::values::{Json, Text, Time, integer, json_text};
use crate::row::Columns as _;
use crate::trimming::{FINDINGS_AT_ONCE, Trimmed};

pub(super) async fn put(connection: Connection, operation: &Operation, attempt: Attempt) -> Outcome<bool> {
    let sql = connection.sql();
    if attempt.may_stand && connection.exists(&sql.operation, &[&operation.id.0]).await? {
        return Ok(true);
    }
    let values: Vec<Value<'_>> = vec![
        Box::new(operation.id.0),
        Box::new(operation.kind.as_str()),
        Box::new(operation.state.as_str()),
        Box::new(Json(json_text(&operation.options)?)),
        Box::new(integer(operation.done)?),
        Box::new(operation.total.map(integer).transpose()?),
        Box::new(operation.place.as_deref().map(Text)),
        Box::new(Json(json_text(&operation.counts)?)),
        Box::new(operation.error.as_deref().map(Text)),
        Box::new(Text(&operation.actor)),
        Box::new(Time(operation.created_at)),
        Box::new(Time(operation.updated_at)),
        Box::new(operation.finished_at.map(Time)),
        Box::new(i64::from(operation.lease_epoch)),
        Box::new(operation.lease_owner.as_ref().map(|owner| Text(&owner.0))),
        Box::new(operation.lease_until.map(Time)),
    ];
    let inserted = connection
        .execute(&sql.insert_operation, &references(&values))
        .await?;
    Ok(inserted > 0)
}

pub(super) async fn one(connection: &Connection, id: OperationId) -> Outcome<Option<Operation>> {
    let found = connection.first(&connection.sql().operation, &[&id.0]).await?;
    found.as_ref().map(row::operation).transpose()
}

pub(super) async fn list(
    connection: Connection,
    before: Option<OperationId>,
    limit: u32,
) -> Outcome<Page<Operation>> {
    let before = before.map_or(Uuid::max(), |id| id.0);
    let found = connection
        .query(&connection.sql().operations, &[&before, &(i64::from(limit) + 1)])
        .await?;
    Ok(page(row::all(&found, row::operation)?, limit))
}

pub(super) async fn last_done(connection: Connection, kind: OperationKind) -> Outcome<Option<Operation>> {
    let found = connection
        .first(&connection.sql().last_done_operation, &[&kind.as_str()])
        .await?;
    found.as_ref().map(row::operation).transpose()
}

/// Claims the operation of this id, or the oldest one that may be claimed.
pub(super) async fn claim(
    connection: Connection,
    id: Option<OperationId>,
    worker: &WorkerId,
    now: Timestamp,
    until: Timestamp,
) -> Outcome<Option<Operation>> {
    let sql = connection.sql();
    let (worker, now, until) = (Text(&worker.0), Time(now), Time(until));
    let claimed = match id {
        None => {
            connection
                .first(&sql.claim_operation, &[&worker, &now, &until])
                .await?
        }
        Some(id) => {
            connection
                .first(&sql.claim_operation_by_id, &[&worker, &now, &until, &id.0])
                .await?
        }
    };
    claimed.as_ref().map(row::operation).transpose()
}

pub(super) async fn save(
    connection: Connection,
    operation: &Operation,
    findings: &[Finding],
    attempt: Attempt,
) -> Outcome<()> {
    let sql = connection.sql();
    if attempt.may_stand
        && one(&connection, operation.id)
            .await?
            .is_some_and(|standing| stands(&standing, operation))
    {
        return Ok(());
    }
    let values: Vec<Value<'_>> = vec![
        Box::new(operation.id.0),
        Box::new(i64::from(operation.lease_epoch)),
        Box::new(operation.state.as_str()),
        Box::new(integer(operation.done)?),
        Box::new(operation.total.map(integer).transpose()?),
        Box::new(operation.place.as_deref().map(Text)),
        Box::new(Json(json_text(&operation.counts)?)),
        Box::new(operation.error.as_deref().map(Text)),
        Box::new(Time(operation.updated_at)),
        Box::new(operation.finished_at.map(Time)),
        Box::new(operation.lease_owner.as_ref().map(|owner| Text(&owner.0))),
        Box::new(operation.lease_until.map(Time)),
    ];
    let saved = connection
        .execute(&sql.save_operation, &references(&values))
        .await?;
    if saved == 0 {
        return Err(MetadataError::Fenced.into());
    }
    add_findings(&connection, operation.id, findings).await
}

/// Whether this very state was written under this very claim.
fn stands(standing: &Operation, written: &Operation) -> bool {
    (
        standing.lease_epoch,
        standing.state,
        standing.done,
        &standing.place,
    ) == (written.lease_epoch, written.state, written.done, &written.place)
        && standing.updated_at.as_microsecond() == written.updated_at.as_microsecond()
}

async fn add_findings(connection: &Connection, id: OperationId, findings: &[Finding]) -> Outcome<()> {
    if findings.is_empty() {
        return Ok(());
    }
    let each = findings.iter();
    let kinds: Vec<_> = each.clone().map(|f| Text(&f.kind)).collect();
    let buckets: Vec<_> = each.clone().map(|f| f.bucket.as_deref().map(Text)).collect();
    let keys: Vec<_> = each.clone().map(|f| f.key.as_deref().map(Text)).collect();
    let files: Vec<_> = each.clone().map(|f| f.file_id.map(|id| id.0)).collect();
    let details: Vec<_> = each.clone().map(|f| Text(&f.detail)).collect();
    let actions: Vec<_> = each.map(|f| Text(&f.action)).collect();
    connection
        .execute(
            &connection.sql().insert_findings,
            &[&id.0, &kinds, &buckets, &keys, &files, &details, &actions],
        )
        .await?;
    Ok(())
}

pub(super) async fn cancel(connection: Connection, id: OperationId, now: Timestamp) -> Outcome<bool> {
    let cancelled = connection
        .execute(&connection.sql().cancel_operation, &[&id.0, &Time(now)])
        .await?;
    Ok(cancelled > 0)
}

pub(super) async fn findings(
    connection: Connection,
    id: OperationId,
    skip: u64,
    limit: u32,
) -> Outcome<Page<Finding>> {
    let found = connection
        .query(
            &connection.sql().findings,
            &[&id.0, &integer(skip)?, &(i64::from(limit) + 1)],
        )
        .await?;
    let findings = row::all(&found, row::finding)?;
    Ok(page(findings, limit))
}

/// Removes a portion of the oldest report, with its operation when nothing of it is left.
pub(super) async fn trim(connection: Connection, finished_before: Timestamp) -> Outcome<Trimmed> {
    let sql = connection.sql();
    let oldest = connection
        .first(&sql.trimmed_operation, &[&Time(finished_before)])
        .await?;
    let Some(oldest) = oldest else {
        return Ok(Trimmed::Nothing);
    };
    let id = oldest.id(0)?;
    let removed = connection
        .execute(&sql.trim_findings, &[&id, &i64::from(FINDINGS_AT_ONCE)])
        .await?;
    if removed == u64::from(FINDINGS_AT_ONCE) {
        return Ok(Trimmed::Findings);
    }
    connection.execute(&sql.delete_operation, &[&id]).await?;
    Ok(Trimmed::Operation)
}
