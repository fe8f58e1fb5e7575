//! Intents: the write-ahead log.

use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::ports::administration::IntentQuery;
use cloakroom_core::ports::metadata::{MetadataError, Page};
use jiff::Timestamp;
use uuid::Uuid;

use super::connection::Connection;
use super::failure::Outcome;
use super::page;
use super::row::{self, references};
use super::values::{Text, Time};

pub(super) async fn begin(connection: Connection, intent: &Intent) -> Outcome<()> {
    let values = row::intent_values(intent)?;
    connection
        .execute(&connection.sql().insert_intent, &references(&values))
        .await?;
    Ok(())
}

pub(super) async fn end(
    connection: Connection,
    id: IntentId,
    status: IntentStatus,
    error: Option<&str>,
    now: Timestamp,
) -> Outcome<()> {
    let ended = connection
        .execute(
            &connection.sql().end_intent,
            &[&id.0, &status.as_str(), &error.map(Text), &Time(now)],
        )
        .await?;
    if ended == 0 {
        Err(MetadataError::Conflict.into())
    } else {
        Ok(())
    }
}

pub(super) async fn stale(connection: Connection, before: Timestamp, limit: u32) -> Outcome<Vec<Intent>> {
    let found = connection
        .query(
            &connection.sql().stale_intents,
            &[&Time(before), &i64::from(limit)],
        )
        .await?;
    row::all(&found, row::intent)
}

pub(super) async fn list(connection: Connection, query: &IntentQuery) -> Outcome<Page<Intent>> {
    let before = query.before.map_or(Uuid::max(), |id| id.0);
    let found = connection
        .query(
            &connection.sql().intents,
            &[
                &before,
                &query.status.map(IntentStatus::as_str),
                &query.kind.map(IntentKind::as_str),
                &query.file_id.map(|id| id.0),
                &(i64::from(query.limit) + 1),
            ],
        )
        .await?;
    Ok(page(row::all(&found, row::intent)?, query.limit))
}

pub(super) async fn trim(connection: Connection, completed_before: Timestamp, limit: u32) -> Outcome<u64> {
    connection
        .execute(
            &connection.sql().trim_intents,
            &[&Time(completed_before), &i64::from(limit)],
        )
        .await
}
