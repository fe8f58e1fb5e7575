//! Service tokens, and the small values that the instance keeps.

use cloakroom_core::JsonObject;
use cloakroom_core::access::Role;
use cloakroom_core::id::ServiceTokenId;
use cloakroom_core::ports::metadata::{MetadataError, ServiceToken};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::Connection;
use super::failure::Outcome;
use super::row::{self, Value, references};
use super::values::{Json, JsonText, Text, Time, json_text};
use crate::row::Columns as _;

pub(super) fn read_token(row: &Row) -> Outcome<ServiceToken> {
    let collections = match row.try_get::<_, Option<JsonText<'_>>>(3)? {
        None => None,
        Some(text) => {
            Some(serde_json::from_str(text.0).map_err(|_| row.inconsistent(3, "no JSON array of names"))?)
        }
    };
    Ok(ServiceToken {
        id: ServiceTokenId(row.id(0)?),
        name: row.text(1)?,
        role: row.named(2, Role::parse)?,
        collections,
        secret_sha256: row.present(4, row.digest(4)?)?.0,
        created_at: row.time(5)?,
        expires_at: row.optional_time(6)?,
        revoked_at: row.optional_time(7)?,
    })
}

/// The values of a token.
pub(super) fn token_values(token: &ServiceToken) -> Vec<Value<'_>> {
    // `json` keeps an escaped NUL as it is.
    let collections = token
        .collections
        .as_ref()
        .map(|names| Json(serde_json::Value::from(names.clone()).to_string()));
    vec![
        Box::new(token.id.0),
        Box::new(Text(&token.name)),
        Box::new(token.role.as_str()),
        Box::new(collections),
        Box::new(&token.secret_sha256[..]),
        Box::new(Time(token.created_at)),
        Box::new(token.expires_at.map(Time)),
        Box::new(token.revoked_at.map(Time)),
    ]
}

pub(super) async fn put_token(connection: Connection, token: &ServiceToken) -> Outcome<()> {
    let values = token_values(token);
    let inserted = connection
        .execute(&connection.sql().insert_token, &references(&values))
        .await?;
    if inserted == 0 {
        Err(MetadataError::Conflict.into())
    } else {
        Ok(())
    }
}

pub(super) async fn token(connection: Connection, secret_sha256: &[u8; 32]) -> Outcome<Option<ServiceToken>> {
    let found = connection
        .first(&connection.sql().token, &[&&secret_sha256[..]])
        .await?;
    found.as_ref().map(read_token).transpose()
}

pub(super) async fn tokens(connection: Connection) -> Outcome<Vec<ServiceToken>> {
    let found = connection.query(&connection.sql().tokens, &[]).await?;
    row::all(&found, read_token)
}

pub(super) async fn revoke_token(
    connection: Connection,
    id: ServiceTokenId,
    now: Timestamp,
) -> Outcome<bool> {
    let revoked = connection
        .execute(&connection.sql().revoke_token, &[&id.0, &Time(now)])
        .await?;
    Ok(revoked > 0)
}

pub(super) async fn put_setting(connection: Connection, name: &str, value: &JsonObject) -> Outcome<()> {
    let value = Json(json_text(value)?);
    connection
        .execute(&connection.sql().put_setting, &[&Text(name), &value])
        .await?;
    Ok(())
}

pub(super) async fn setting(connection: Connection, name: &str) -> Outcome<Option<JsonObject>> {
    let found = connection
        .first(&connection.sql().setting, &[&Text(name)])
        .await?;
    found.map(|row| row.object(0)).transpose()
}
