//! The modes of stores, what is under way in them, and the audit log.

use cloakroom_core::audit::AuditEntry;
use cloakroom_core::id::AuditId;
use cloakroom_core::ports::administration::UnderWay;
use cloakroom_core::ports::metadata::{MetadataError, Page};
use cloakroom_core::storage::{StorageMode, StoreState};
use rusqlite::{Row, params};
use uuid::Uuid;

use super::super::failure::Outcome;
use super::super::page;
use super::super::row::{Columns, integer, json_text, micros};
use super::super::session::Session;

/// Reads the columns of `store_columns!`.
pub(in super::super) fn read_store(row: &Row<'_>) -> Outcome<StoreState> {
    let c = Columns(row);
    Ok(StoreState {
        name: c.text(0)?,
        mode: c.named(1, StorageMode::parse)?,
        epoch: c.size(2)?,
        draining_until: c.optional_time(3)?,
        changed_at: c.time(4)?,
        changed_by: c.text(5)?,
    })
}

/// Reads the columns of `audit_columns!`.
pub(in super::super) fn read_audit(row: &Row<'_>) -> Outcome<AuditEntry> {
    let c = Columns(row);
    Ok(AuditEntry {
        id: AuditId(c.id(0)?),
        at: c.time(1)?,
        actor: c.text(2)?,
        action: c.text(3)?,
        subject: c.text(4)?,
        data: c.object(5)?,
    })
}

pub(super) fn stores(session: &Session) -> Outcome<Vec<StoreState>> {
    session.all(&session.sql.stores, [], read_store)
}

/// Inserts a store unless it is known; returns how many rows were written.
pub(in super::super) fn insert_store(session: &Session, store: &StoreState) -> Outcome<usize> {
    session.execute(
        &session.sql.insert_store,
        params![
            store.name,
            store.mode.as_str(),
            integer(store.epoch)?,
            store.draining_until.map(micros),
            micros(store.changed_at),
            store.changed_by,
        ],
    )
}

pub(super) fn put_store(
    session: &Session,
    store: &StoreState,
    expected_epoch: Option<u64>,
    audit: &AuditEntry,
) -> Outcome<()> {
    let written = match expected_epoch {
        None => insert_store(session, store)?,
        Some(epoch) => session.execute(
            &session.sql.update_store,
            params![
                store.name,
                store.mode.as_str(),
                integer(store.epoch)?,
                store.draining_until.map(micros),
                micros(store.changed_at),
                store.changed_by,
                integer(epoch)?,
            ],
        )?,
    };
    if written == 0 {
        return Err(MetadataError::Conflict.into());
    }
    put_audit(session, audit)?;
    Ok(())
}

/// Inserts an entry unless it is there; returns how many rows were written.
pub(in super::super) fn put_audit(session: &Session, entry: &AuditEntry) -> Outcome<usize> {
    session.execute(
        &session.sql.insert_audit,
        params![
            entry.id.0.as_bytes(),
            micros(entry.at),
            entry.actor,
            entry.action,
            entry.subject,
            json_text(&entry.data)?,
        ],
    )
}

pub(super) fn audit(session: &Session, before: Option<AuditId>, limit: u32) -> Outcome<Page<AuditEntry>> {
    let before = before.map_or(Uuid::max(), |id| id.0);
    let parameters = params![before.as_bytes(), i64::from(limit) + 1];
    Ok(page(
        session.all(&session.sql.audit, parameters, read_audit)?,
        limit,
    ))
}

pub(super) fn under_way(session: &Session, buckets: &[String]) -> Outcome<UnderWay> {
    let mut under_way = UnderWay::default();
    for bucket in buckets {
        let until = session.first(&session.sql.open_until, [bucket], |row| Columns(row).time(0))?;
        under_way.open_until = under_way.open_until.max(until);
        under_way.unverified += session
            .first(&session.sql.unverified_files, [bucket], |row| {
                Columns(row).size(0)
            })?
            .unwrap_or_default();
    }
    Ok(under_way)
}
