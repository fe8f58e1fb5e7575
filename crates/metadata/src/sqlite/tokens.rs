//! Service tokens, and the small values that the instance keeps.

use cloakroom_core::JsonObject;
use cloakroom_core::access::Role;
use cloakroom_core::id::ServiceTokenId;
use cloakroom_core::ports::metadata::{MetadataError, ServiceToken};
use jiff::Timestamp;
use rusqlite::{Row, params};

use super::failure::Outcome;
use super::row::{json_text, micros};
use super::session::Session;
use crate::row::Columns as _;

/// Reads the columns of `token_columns!`.
pub(super) fn read_token(row: &Row<'_>) -> Outcome<ServiceToken> {
    let collections = match row.get::<_, Option<String>>(3)? {
        None => None,
        Some(text) => {
            Some(serde_json::from_str(&text).map_err(|_| row.inconsistent(3, "no JSON array of names"))?)
        }
    };
    Ok(ServiceToken {
        id: ServiceTokenId(row.id(0)?),
        name: row.text(1)?,
        role: row.named(2, Role::parse)?,
        collections,
        secret_sha256: row.get(4)?,
        created_at: row.time(5)?,
        expires_at: row.optional_time(6)?,
        revoked_at: row.optional_time(7)?,
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
    session.first(&session.sql.setting, [name], |row| row.object(0))
}
