//! Records: the things of the application that files hang on.

use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::record::{Record, RecordKey};
use rusqlite::params;

use super::failure::Outcome;
use super::row::{self, integer, json_text, micros};
use super::session::Session;
use crate::row::Columns as _;

/// Whether the record has yet to be made; [`MetadataError::RecordTaken`] when it is somebody else's.
pub(super) fn is_new(session: &Session, record: &Record) -> Outcome<bool> {
    let parameters = [record.key.kind(), record.key.id()];
    match session.first(&session.sql.record_owner, parameters, |row| row.text(0))? {
        None => Ok(true),
        Some(owner) if owner == record.owner => Ok(false),
        Some(_) => Err(MetadataError::RecordTaken.into()),
    }
}

/// Inserts a record; `false` when there is one.
pub(super) fn insert(session: &Session, record: &Record) -> Outcome<bool> {
    let inserted = session.execute(
        &session.sql.insert_record,
        params![
            record.key.kind(),
            record.key.id(),
            record.owner,
            record.parent.as_ref().map(RecordKey::kind),
            record.parent.as_ref().map(RecordKey::id),
            json_text(&record.payload)?,
            json_text(&record.meta)?,
            integer(record.version)?,
            micros(record.created_at),
            micros(record.updated_at),
        ],
    )?;
    Ok(inserted > 0)
}

pub(super) fn record(session: &Session, key: &RecordKey) -> Outcome<Option<Record>> {
    session.first(&session.sql.record, [key.kind(), key.id()], row::record)
}

/// One statement, run for each: nothing travels in between.
pub(super) fn some(session: &Session, keys: &[RecordKey]) -> Outcome<Vec<Record>> {
    let found = keys.iter().filter_map(|key| record(session, key).transpose());
    found.collect()
}

pub(super) fn children(session: &Session, key: &RecordKey) -> Outcome<Vec<Record>> {
    session.all(&session.sql.child_records, [key.kind(), key.id()], row::record)
}

pub(super) fn put(session: &Session, record: &Record, expected_version: Option<u64>) -> Outcome<()> {
    let done = match expected_version {
        None => insert(session, record)?,
        Some(version) => {
            let updated = session.execute(
                &session.sql.update_record,
                params![
                    record.key.kind(),
                    record.key.id(),
                    record.owner,
                    record.parent.as_ref().map(RecordKey::kind),
                    record.parent.as_ref().map(RecordKey::id),
                    json_text(&record.payload)?,
                    json_text(&record.meta)?,
                    integer(record.version)?,
                    micros(record.created_at),
                    micros(record.updated_at),
                    integer(version)?,
                ],
            )?;
            updated > 0
        }
    };
    if done {
        Ok(())
    } else {
        Err(MetadataError::Conflict.into())
    }
}

pub(super) fn delete(session: &Session, key: &RecordKey, version: u64) -> Outcome<()> {
    if session.exists(&session.sql.linked_file, [key.kind(), key.id()])?
        || session.execute(
            &session.sql.delete_record,
            params![key.kind(), key.id(), integer(version)?],
        )? == 0
    {
        return Err(MetadataError::Conflict.into());
    }
    Ok(())
}
