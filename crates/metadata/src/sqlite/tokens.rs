//! Service tokens, and the small values that the instance keeps.

use cloakroom_core::JsonObject;
use cloakroom_core::access::Role;
use cloakroom_core::id::ServiceTokenId;
use cloakroom_core::ports::metadata::{MetadataError, ServiceToken};
use jiff::Timestamp;
use rusqlite::{Row, params};

use super::failure::Outcome;
use super::row::{Columns, inconsistent, json_text, micros};
use super::session::Session;

/// Reads the columns of `token_columns!`.
pub(super) fn read_token(row: &Row<'_>) -> Outcome<ServiceToken> {
    let c = Columns(row);
    let collections = match c.get::<Option<String>>(3)? {
        None => None,
        Some(text) => {
            Some(serde_json::from_str(&text).map_err(|_| inconsistent(row, 3, "no JSON array of names"))?)
        }
    };
    Ok(ServiceToken {
        id: ServiceTokenId(c.id(0)?),
        name: c.text(1)?,
        role: c.named(2, Role::parse)?,
        collections,
        secret_sha256: c.get(4)?,
        created_at: c.time(5)?,
        expires_at: c.optional_time(6)?,
        revoked_at: c.optional_time(7)?,
    })
}

pub(super) fn put_token(session: &Session, token: &ServiceToken) -> Outcome<()> {
    match insert_token(session, token)? {
        0 => Err(MetadataError::Conflict.into()),
        _ => Ok(()),
    }
}

/// Inserts a token; returns how many rows were written.
pub(super) fn insert_token(session: &Session, token: &ServiceToken) -> Outcome<usize> {
    let collections = token
        .collections
        .as_ref()
        .map(|names| serde_json::Value::from(names.clone()).to_string());
    session.execute(
        &session.sql.insert_token,
        params![
            token.id.0.as_bytes(),
            token.name,
            token.role.as_str(),
            collections,
            token.secret_sha256,
            micros(token.created_at),
            token.expires_at.map(micros),
            token.revoked_at.map(micros),
        ],
    )
}

pub(super) fn token(session: &Session, secret_sha256: &[u8; 32]) -> Outcome<Option<ServiceToken>> {
    session.first(&session.sql.token, [secret_sha256], read_token)
}

pub(super) fn tokens(session: &Session) -> Outcome<Vec<ServiceToken>> {
    session.all(&session.sql.tokens, [], read_token)
}

pub(super) fn revoke_token(session: &Session, id: ServiceTokenId, now: Timestamp) -> Outcome<bool> {
    Ok(session.execute(&session.sql.revoke_token, params![id.0.as_bytes(), micros(now)])? > 0)
}

pub(super) fn put_setting(session: &Session, name: &str, value: &JsonObject) -> Outcome<()> {
    session.execute(&session.sql.put_setting, params![name, json_text(value)?])?;
    Ok(())
}

pub(super) fn setting(session: &Session, name: &str) -> Outcome<Option<JsonObject>> {
    session.first(&session.sql.setting, [name], |row| Columns(row).object(0))
}
