//! Intents: the write-ahead log.

use cloakroom_core::id::{FileId, IntentId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::ports::metadata::MetadataError;
use jiff::Timestamp;
use rusqlite::params;

use super::failure::Outcome;
use super::row::{Columns, json_text, micros};
use super::session::Session;

pub(super) fn begin(session: &Session, intent: &Intent) -> Outcome<()> {
    session.execute(
        &session.sql.insert_intent,
        params![
            intent.id.0.as_bytes(),
            intent.kind.as_str(),
            intent.status.as_str(),
            intent.file_id.0.as_bytes(),
            intent.epoch,
            json_text(&intent.data)?,
            intent.actor,
            micros(intent.started_at),
            micros(intent.lease_until),
            intent.completed_at.map(micros),
            intent.error,
        ],
    )?;
    Ok(())
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
        |row| {
            let c = Columns(row);
            Ok(Intent {
                id: IntentId(c.id(0)?),
                kind: c.named(1, IntentKind::parse)?,
                status: c.named(2, IntentStatus::parse)?,
                file_id: FileId(c.id(3)?),
                epoch: c.get(4)?,
                data: c.object(5)?,
                actor: c.text(6)?,
                started_at: c.time(7)?,
                lease_until: c.time(8)?,
                completed_at: c.optional_time(9)?,
                error: c.get(10)?,
            })
        },
    )
}

pub(super) fn trim(session: &Session, completed_before: Timestamp, limit: u32) -> Outcome<u64> {
    Ok(session.execute(
        &session.sql.trim_intents,
        params![micros(completed_before), limit],
    )? as u64)
}
