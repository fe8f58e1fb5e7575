//! The modes of stores, what is under way in them, and the audit log.

use cloakroom_core::audit::AuditEntry;
use cloakroom_core::id::AuditId;
use cloakroom_core::ports::administration::UnderWay;
use cloakroom_core::ports::metadata::{MetadataError, Page};
use cloakroom_core::storage::StoreState;
use rusqlite::params;
use uuid::Uuid;

use super::super::failure::Outcome;
use super::super::page;
use super::super::row::{self, integer, json_text, micros};
use super::super::session::Session;
use crate::row::Columns as _;

pub(super) fn stores(session: &Session) -> Outcome<Vec<StoreState>> {
    session.all(&session.sql.stores, [], row::store_state)
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
        session.all(&session.sql.audit, parameters, row::audit_entry)?,
        limit,
    ))
}

pub(super) fn under_way(session: &Session, buckets: &[String]) -> Outcome<UnderWay> {
    let mut under_way = UnderWay::default();
    for bucket in buckets {
        let until = session.first(&session.sql.open_until, [bucket], |row| row.time(0))?;
        under_way.open_until = under_way.open_until.max(until);
        under_way.unverified += session
            .first(&session.sql.unverified_files, [bucket], |row| row.size(0))?
            .unwrap_or_default();
    }
    Ok(under_way)
}
