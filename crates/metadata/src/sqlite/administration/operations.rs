//! Operations and their reports.

use cloakroom_core::id::OperationId;
use cloakroom_core::operation::{Finding, Operation, OperationKind};
use cloakroom_core::ports::metadata::{MetadataError, Page};
use jiff::Timestamp;
use rusqlite::params;
use uuid::Uuid;

use super::super::failure::Outcome;
use super::super::page;
use super::super::row::{self, integer, json_text, micros};
use super::super::session::Session;
use crate::row::Columns as _;
use crate::trimming::{FINDINGS_AT_ONCE, Trimmed};

pub(super) fn put(session: &Session, operation: &Operation) -> Outcome<bool> {
    let inserted = session.execute(
        &session.sql.insert_operation,
        params![
            operation.id.0.as_bytes(),
            operation.kind.as_str(),
            operation.state.as_str(),
            json_text(&operation.options)?,
            integer(operation.done)?,
            operation.total.map(integer).transpose()?,
            operation.place,
            json_text(&operation.counts)?,
            operation.error,
            operation.actor,
            micros(operation.created_at),
            micros(operation.updated_at),
            operation.finished_at.map(micros),
            operation.lease_epoch,
            operation.lease_owner.as_ref().map(|owner| &owner.0),
            operation.lease_until.map(micros),
        ],
    )?;
    Ok(inserted > 0)
}

pub(super) fn one(session: &Session, id: OperationId) -> Outcome<Option<Operation>> {
    session.first(&session.sql.operation, [id.0.as_bytes()], row::operation)
}

pub(super) fn list(session: &Session, before: Option<OperationId>, limit: u32) -> Outcome<Page<Operation>> {
    let before = before.map_or(Uuid::max(), |id| id.0);
    let parameters = params![before.as_bytes(), i64::from(limit) + 1];
    Ok(page(
        session.all(&session.sql.operations, parameters, row::operation)?,
        limit,
    ))
}

pub(super) fn last_done(session: &Session, kind: OperationKind) -> Outcome<Option<Operation>> {
    session.first(&session.sql.last_done_operation, [kind.as_str()], row::operation)
}

/// Claims the operation of this id, or the oldest one that may be claimed.
pub(super) fn claim(
    session: &Session,
    id: Option<OperationId>,
    worker: &str,
    now: Timestamp,
    until: Timestamp,
) -> Outcome<Option<Operation>> {
    let (now, until) = (micros(now), micros(until));
    match id {
        None => session.first(
            &session.sql.claim_operation,
            params![worker, now, until],
            row::operation,
        ),
        Some(id) => session.first(
            &session.sql.claim_operation_by_id,
            params![worker, now, until, id.0.as_bytes()],
            row::operation,
        ),
    }
}

pub(super) fn save(session: &Session, operation: &Operation, findings: &[Finding]) -> Outcome<()> {
    let id = operation.id.0.as_bytes();
    let saved = session.execute(
        &session.sql.save_operation,
        params![
            id,
            operation.lease_epoch,
            operation.state.as_str(),
            integer(operation.done)?,
            operation.total.map(integer).transpose()?,
            operation.place,
            json_text(&operation.counts)?,
            operation.error,
            micros(operation.updated_at),
            operation.finished_at.map(micros),
            operation.lease_owner.as_ref().map(|owner| &owner.0),
            operation.lease_until.map(micros),
        ],
    )?;
    if saved == 0 {
        return Err(MetadataError::Fenced.into());
    }
    if findings.is_empty() {
        return Ok(());
    }
    let first: i64 = session
        .first(&session.sql.next_finding, [id], |row| Ok(row.get(0)?))?
        .unwrap_or_default();
    for (line, finding) in (first..).zip(findings) {
        session.execute(
            &session.sql.insert_finding,
            params![
                id,
                line,
                finding.kind,
                finding.bucket,
                finding.key,
                finding.file_id.as_ref().map(|id| id.0.as_bytes()),
                finding.detail,
                finding.action,
            ],
        )?;
    }
    Ok(())
}

pub(super) fn cancel(session: &Session, id: OperationId, now: Timestamp) -> Outcome<bool> {
    let cancelled = session.execute(
        &session.sql.cancel_operation,
        params![id.0.as_bytes(), micros(now)],
    )?;
    Ok(cancelled > 0)
}

pub(super) fn findings(session: &Session, id: OperationId, skip: u64, limit: u32) -> Outcome<Page<Finding>> {
    let parameters = params![id.0.as_bytes(), integer(skip)?, i64::from(limit) + 1];
    let found = session.all(&session.sql.findings, parameters, row::finding)?;
    Ok(page(found, limit))
}

/// Removes a portion of the oldest report, with its operation when nothing of it is left.
pub(super) fn trim(session: &Session, finished_before: Timestamp) -> Outcome<Trimmed> {
    let oldest = session.first(&session.sql.trimmed_operation, [micros(finished_before)], |row| {
        row.id(0)
    })?;
    let Some(id) = oldest else {
        return Ok(Trimmed::Nothing);
    };
    let removed = session.execute(
        &session.sql.trim_findings,
        params![id.as_bytes(), FINDINGS_AT_ONCE],
    )?;
    if removed == FINDINGS_AT_ONCE as usize {
        return Ok(Trimmed::Findings);
    }
    session.execute(&session.sql.delete_operation, [id.as_bytes()])?;
    Ok(Trimmed::Operation)
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::tests::database;
    use super::*;

    #[test]
    fn a_report_is_removed_in_portions_and_its_operation_last() {
        let (_directory, session) = database();
        session
            .connection
            .execute_batch(
                "INSERT INTO cloakroom_operations (id, kind, state, options, done, counts, actor, created_at,
                     updated_at, finished_at, lease_epoch)
                 VALUES (x'000102030405060708090a0b0c0d0e0f', 'verify', 'done', '{}', 0, '{}', 'ada', 0, 0, 0, 1);
                 INSERT INTO cloakroom_findings (operation_id, line, kind, detail, action)
                 WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 10000)
                 SELECT id, n, 'k', 'd', 'a' FROM cloakroom_operations, n",
            )
            .unwrap();
        let lines = || {
            let sql = "SELECT count(*), coalesce(max(line), -1) FROM cloakroom_findings";
            session
                .first(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
                .unwrap()
                .unwrap()
        };
        let mut steps = Vec::new();
        let far = Timestamp::MAX;
        loop {
            let step = trim(&session, far).unwrap();
            steps.push((step, lines()));
            if step == Trimmed::Nothing {
                break;
            }
        }
        let wanted = [
            (Trimmed::Findings, (5_001, 5_000)),
            (Trimmed::Findings, (1, 0)),
            (Trimmed::Operation, (0, -1)),
            (Trimmed::Nothing, (0, -1)),
        ];
        assert_eq!(steps, wanted);
    }
}
