//! Garbage: objects that nothing refers to.

use cloakroom_core::garbage::{Garbage, GarbageState};
use cloakroom_core::ports::metadata::Page;
use cloakroom_core::ports::objects::ObjectPath;
use jiff::Timestamp;
use rusqlite::params;

use super::super::failure::Outcome;
use super::super::page;
use super::super::row::{self, integer, micros};
use super::super::session::Session;

/// Inserts garbage unless it is known; returns how many rows were written.
pub(in super::super) fn insert(session: &Session, garbage: &Garbage) -> Outcome<usize> {
    session.execute(
        &session.sql.insert_garbage,
        params![
            garbage.path.bucket,
            garbage.path.key,
            garbage.upload_id,
            garbage.reason.as_str(),
            garbage.state.as_str(),
            garbage.etag,
            integer(garbage.size_bytes)?,
            garbage.file_id.as_ref().map(|id| id.0.as_bytes()),
            micros(garbage.found_at),
            micros(garbage.purge_at),
        ],
    )
}

pub(super) fn put(session: &Session, garbage: &[Garbage]) -> Outcome<u64> {
    let mut new = 0;
    for one in garbage {
        new += insert(session, one)? as u64;
    }
    Ok(new)
}

pub(super) fn list(
    session: &Session,
    state: Option<GarbageState>,
    after: Option<&(ObjectPath, String)>,
    limit: u32,
) -> Outcome<Page<Garbage>> {
    let (bucket, key, upload_id) = after.map_or(("", "", ""), |(path, upload_id)| {
        (path.bucket.as_str(), path.key.as_str(), upload_id.as_str())
    });
    let rows = i64::from(limit) + 1;
    let found = match state {
        None => session.all(
            &session.sql.garbage,
            params![bucket, key, upload_id, rows],
            row::garbage,
        )?,
        Some(state) => session.all(
            &session.sql.garbage_in_state,
            params![bucket, key, upload_id, rows, state.as_str()],
            row::garbage,
        )?,
    };
    Ok(page(found, limit))
}

pub(super) fn purgeable(session: &Session, before: Timestamp, limit: u32) -> Outcome<Vec<Garbage>> {
    session.all(
        &session.sql.purgeable_garbage,
        params![micros(before), limit],
        row::garbage,
    )
}

pub(super) fn mark(
    session: &Session,
    path: &ObjectPath,
    upload_id: &str,
    state: GarbageState,
    purge_at: Timestamp,
) -> Outcome<bool> {
    let marked = session.execute(
        &session.sql.mark_garbage,
        params![path.bucket, path.key, upload_id, state.as_str(), micros(purge_at)],
    )?;
    Ok(marked > 0)
}

pub(super) fn forget(session: &Session, path: &ObjectPath, upload_id: &str) -> Outcome<()> {
    session.execute(
        &session.sql.forget_garbage,
        params![path.bucket, path.key, upload_id],
    )?;
    Ok(())
}
