//! The search index: words and metadata of files that are not open.

use cloakroom_core::JsonObject;
use cloakroom_core::file::File;
use cloakroom_core::search::words;
use rusqlite::params;
use sha2::{Digest, Sha256};

use super::failure::Outcome;
use super::row::micros;
use super::session::Session;
use crate::scalar::index_entries;

/// A word that stands for an owner: a digest, as an owner may be any text.
pub(super) fn owner_word(owner: &str) -> String {
    Sha256::digest(owner.as_bytes())
        .iter()
        .take(16)
        .fold(String::new(), |word, byte| format!("{word}{byte:02x}"))
}

/// Enters the words of a file.
pub(super) fn enter_words(session: &Session, seq: i64, file: &File) -> Outcome<()> {
    let text = words(&file.search_source()).join(" ");
    session.execute(
        &session.sql.insert_search,
        params![seq, owner_word(&file.owner), text],
    )?;
    Ok(())
}

/// Removes the words of a file.
pub(super) fn remove_words(session: &Session, seq: i64) -> Outcome<()> {
    session.execute(&session.sql.delete_search, [seq])?;
    Ok(())
}

/// Enters the metadata of a file.
pub(super) fn enter_metadata(session: &Session, seq: i64, file: &File) -> Outcome<()> {
    let (created_at, id) = (micros(file.created_at), file.id.0.as_bytes());
    for (name, value) in index_entries(&file.metadata) {
        session.execute(
            &session.sql.insert_metadata,
            params![name, value, created_at, id, seq],
        )?;
    }
    Ok(())
}

/// Removes the metadata that a file had.
pub(super) fn remove_metadata(
    session: &Session,
    file: &File,
    created_at: i64,
    metadata: &JsonObject,
) -> Outcome<()> {
    for (name, value) in index_entries(metadata) {
        session.execute(
            &session.sql.delete_metadata,
            params![name, value, created_at, file.id.0.as_bytes()],
        )?;
    }
    Ok(())
}
