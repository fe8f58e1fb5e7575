//! Intents: the write-ahead log.

use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::ports::administration::IntentQuery;
use cloakroom_core::ports::metadata::{MetadataError, Page};
use jiff::Timestamp;
use rusqlite::params;
use uuid::Uuid;

use super::failure::Outcome;
use super::page;
use super::row::{self, json_text, micros};
use super::session::Session;

pub(super) fn begin(session: &Session, intent: &Intent) -> Outcome<()> {
    insert(session, &session.sql.insert_intent, intent).map(|_| ())
}

/// Inserts an intent by one of the two statements for that; returns how many rows were written.
pub(super) fn insert(session: &Session, sql: &str, intent: &Intent) -> Outcome<usize> {
    session.execute(
        sql,
        params![
            intent.id.0.as_bytes(),
            intent.kind.as_str(),
            intent.status.as_str(),
            intent.file_id.as_ref().map(|id| id.0.as_bytes()),
            intent.epoch,
            json_text(&intent.data)?,
            intent.actor,
            micros(intent.started_at),
            micros(intent.lease_until),
            intent.completed_at.map(micros),
            intent.error,
        ],
    )
}

pub(super) fn end(
    session: &Session,
    id: IntentId,
    status: IntentStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Outcome<()> {
    let ended = session.execute(
        &session.sql.end_intent,
        params![id.0.as_bytes(), status.as_str(), error, micros(now)],
    )?;
    if ended == 0 {
        Err(MetadataError::Conflict.into())
    } else {
        Ok(())
    }
}

pub(super) fn stale(session: &Session, before: Timestamp, limit: u32) -> Outcome<Vec<Intent>> {
    session.all(
        &session.sql.stale_intents,
        params![micros(before), limit],
        row::intent,
    )
}

pub(super) fn list(session: &Session, query: &IntentQuery) -> Outcome<Page<Intent>> {
    let before = query.before.map_or(Uuid::max(), |id| id.0);
    let parameters = params![
        before.as_bytes(),
        query.status.map(IntentStatus::as_str),
        query.kind.map(IntentKind::as_str),
        query.file_id.as_ref().map(|id| id.0.as_bytes()),
        i64::from(query.limit) + 1,
    ];
    Ok(page(
        session.all(&session.sql.intents, parameters, row::intent)?,
        query.limit,
    ))
}

pub(super) fn trim(session: &Session, completed_before: Timestamp, limit: u32) -> Outcome<u64> {
    Ok(session.execute(
        &session.sql.trim_intents,
        params![micros(completed_before), limit],
    )? as u64)
}
