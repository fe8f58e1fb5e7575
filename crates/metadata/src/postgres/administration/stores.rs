//! The modes of stores, what is under way in them, and the audit log.

use cloakroom_core::audit::AuditEntry;
use cloakroom_core::id::AuditId;
use cloakroom_core::ports::administration::UnderWay;
use cloakroom_core::ports::metadata::{MetadataError, Page};
use cloakroom_core::storage::StoreState;
use uuid::Uuid;

use super::super::connection::Connection;
use super::super::failure::Outcome;
use super::super::page;
use super::super::pool::Attempt;
use super::super::row::{self, Value, references};
use super::super::values::{Json, Text, Time, integer, json_text};
use crate::row::Columns as _;

/// The values of a store.
pub(in super::super) fn store_values(store: &StoreState) -> Outcome<Vec<Value<'_>>> {
    Ok(vec![
        Box::new(Text(&store.name)),
        Box::new(store.mode.as_str()),
        Box::new(integer(store.epoch)?),
        Box::new(store.draining_until.map(Time)),
        Box::new(Time(store.changed_at)),
        Box::new(Text(&store.changed_by)),
    ])
}

/// The values of an entry.
pub(in super::super) fn audit_values(entry: &AuditEntry) -> Outcome<Vec<Value<'_>>> {
    Ok(vec![
        Box::new(entry.id.0),
        Box::new(Time(entry.at)),
        Box::new(Text(&entry.actor)),
        Box::new(Text(&entry.action)),
        Box::new(Text(&entry.subject)),
        Box::new(Json(json_text(&entry.data)?)),
    ])
}

pub(super) async fn stores(connection: Connection) -> Outcome<Vec<StoreState>> {
    let found = connection.query(&connection.sql().stores, &[]).await?;
    row::all(&found, row::store_state)
}

pub(super) async fn put_store(
    connection: Connection,
    store: &StoreState,
    expected_epoch: Option<u64>,
    audit: &AuditEntry,
    attempt: Attempt,
) -> Outcome<()> {
    let sql = connection.sql();
    // The entry is written with the store, and by nobody else.
    if attempt.may_stand && connection.exists(&sql.audit_exists, &[&audit.id.0]).await? {
        return Ok(());
    }
    let mut values = store_values(store)?;
    let written = match expected_epoch {
        None => {
            connection
                .execute(&sql.insert_store, &references(&values))
                .await?
        }
        Some(epoch) => {
            values.push(Box::new(integer(epoch)?));
            connection
                .execute(&sql.update_store, &references(&values))
                .await?
        }
    };
    if written == 0 {
        return Err(MetadataError::Conflict.into());
    }
    put_audit(connection.clone(), audit).await
}

pub(super) async fn put_audit(connection: Connection, entry: &AuditEntry) -> Outcome<()> {
    let values = audit_values(entry)?;
    connection
        .execute(&connection.sql().insert_audit, &references(&values))
        .await?;
    Ok(())
}

pub(super) async fn audit(
    connection: Connection,
    before: Option<AuditId>,
    limit: u32,
) -> Outcome<Page<AuditEntry>> {
    let before = before.map_or(Uuid::max(), |id| id.0);
    let found = connection
        .query(&connection.sql().audit, &[&before, &(i64::from(limit) + 1)])
        .await?;
    Ok(page(row::all(&found, row::audit_entry)?, limit))
}

pub(super) async fn under_way(connection: Connection, buckets: &[String]) -> Outcome<UnderWay> {
    let buckets: Vec<Text<'_>> = buckets.iter().map(|bucket| Text(bucket)).collect();
    let found = connection.first(&connection.sql().under_way, &[&buckets]).await?;
    let Some(row) = found else {
        return Ok(UnderWay::default());
    };
    Ok(UnderWay {
        open_until: row.optional_time(0)?,
        unverified: row.size(1)?,
    })
}
