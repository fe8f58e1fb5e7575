//! Files that come back from what stands in the store.

use cloakroom_core::file::File;
use cloakroom_core::ports::administration::Adoption;
use cloakroom_core::ports::signals::Topic;
use rusqlite::params;

use super::super::failure::Outcome;
use super::super::row::{self, integer, json_text};
use super::super::session::Session;
use super::super::{files, jobs, records, search};
use crate::counting::{changes, counted};

/// Takes a file back. Looks first and writes then, so a refusal leaves nothing behind.
pub(super) fn adopt(session: &Session, adoption: &Adoption) -> Outcome<bool> {
    let file = &adoption.file;
    let id = file.id.0.as_bytes();
    let before = files::file(session, file.id)?;
    if before.as_ref().map(|before| before.version) != adoption.replaces
        || session.exists(&session.sql.purged, [id])?
        || session.exists(
            &session.sql.event_exists,
            params![id, integer(adoption.event.version)?],
        )?
    {
        return Ok(false);
    }
    let old_upload = files::upload(session, file.id)?;
    let upload = adoption.upload.as_ref().or(old_upload.as_ref());
    let old = before
        .as_ref()
        .map(|before| (before.owner.as_str(), counted(before, old_upload.as_ref())));
    for (owner, usage) in changes((&file.owner, counted(file, upload)), old) {
        files::add_usage(
            session,
            owner,
            usage.reserved_bytes,
            usage.stored_bytes,
            usage.files,
        )?;
    }

    let seq = match &before {
        Some(before) => replace(session, before, file)?,
        None => insert(session, file)?,
    };
    if let Some(upload) = upload {
        let statement = if old_upload.is_some() {
            &session.sql.update_upload
        } else {
            &session.sql.insert_upload
        };
        let mut statement = session.statement(statement)?;
        row::bind_upload(&mut statement, upload, file.state.is_open())?;
        statement.raw_execute()?;
    }
    if !file.state.is_open() {
        search::enter_words(session, seq, file)?;
        search::enter_metadata(session, seq, file)?;
    }
    session.execute(&session.sql.delete_derivatives, [id])?;
    for derivative in &adoption.derivatives {
        files::put_derivative(session, derivative)?;
    }
    if let Some(record) = &adoption.record {
        records::insert(session, record)?;
    }
    files::insert_event(session, &adoption.event)?;
    for job in &adoption.jobs {
        jobs::insert(session, job, Some(&file.owner))?;
    }
    session.hint(Topic::File(file.id));
    Ok(true)
}

fn insert(session: &Session, file: &File) -> Outcome<i64> {
    let mut statement = session.statement(&session.sql.insert_file)?;
    row::bind_file(&mut statement, file, &json_text(&file.metadata)?)?;
    statement.raw_bind_parameter(38, file.state.is_open())?;
    statement.raw_execute()?;
    Ok(session.connection.last_insert_rowid())
}

/// Writes the new row and takes the old one out of the search index.
fn replace(session: &Session, before: &File, file: &File) -> Outcome<i64> {
    let seq = session
        .first(&session.sql.file_seq, [file.id.0.as_bytes()], |row| {
            Ok(row.get(0)?)
        })?
        .unwrap_or_default();
    if !before.state.is_open() {
        search::remove_words(session, seq)?;
        search::remove_metadata(session, before, row::micros(before.created_at), &before.metadata)?;
    }
    let mut statement = session.statement(&session.sql.update_file_and_indexes)?;
    row::bind_file(&mut statement, file, &json_text(&file.metadata)?)?;
    statement.raw_bind_parameter(38, file.state.is_open())?;
    statement.raw_execute()?;
    Ok(seq)
}
