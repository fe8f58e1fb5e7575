//! Records: the things of the application that files hang on.

use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::record::{Record, RecordKey};
use tokio_postgres::types::ToSql;

use super::connection::Connection;
use super::failure::{Failure, Outcome};
use super::row::{self, references};
use super::values::{Text, integer};
use crate::row::Columns as _;

/// Makes the record unless there is one, and holds on to it; [`MetadataError::RecordTaken`] when it is somebody else's.
pub(super) async fn link(connection: &Connection, record: &Record) -> Outcome<()> {
    let sql = connection.sql();
    let values = row::record_values(record)?;
    connection
        .execute(&sql.insert_record, &references(&values))
        .await?;
    // A statement of its own sees what another transaction has inserted meanwhile.
    check_owner(connection, record).await?.ok_or(Failure::Overtaken)
}

/// Whose the record is: `Some` when it is there and this owner's, `None` when there is none.
pub(super) async fn check_owner(connection: &Connection, record: &Record) -> Outcome<Option<()>> {
    let key: [&(dyn ToSql + Sync); 2] = [&record.key.kind(), &Text(record.key.id())];
    let Some(found) = connection.first(&connection.sql().record_owner, &key).await? else {
        return Ok(None);
    };
    if found.text(0)? == record.owner {
        Ok(Some(()))
    } else {
        Err(MetadataError::RecordTaken.into())
    }
}

pub(super) async fn record(connection: Connection, key: &RecordKey) -> Outcome<Option<Record>> {
    let found = connection
        .first(&connection.sql().record, &[&key.kind(), &Text(key.id())])
        .await?;
    found.as_ref().map(row::record).transpose()
}

pub(super) async fn some(connection: Connection, keys: &[RecordKey]) -> Outcome<Vec<Record>> {
    let kinds: Vec<&str> = keys.iter().map(RecordKey::kind).collect();
    let ids: Vec<Text<'_>> = keys.iter().map(|key| Text(key.id())).collect();
    let found = connection
        .query(&connection.sql().records, &[&kinds, &ids])
        .await?;
    row::all(&found, row::record)
}

pub(super) async fn children(connection: Connection, key: &RecordKey) -> Outcome<Vec<Record>> {
    let found = connection
        .query(&connection.sql().child_records, &[&key.kind(), &Text(key.id())])
        .await?;
    row::all(&found, row::record)
}

pub(super) async fn put(
    connection: Connection,
    record: &Record,
    expected_version: Option<u64>,
) -> Outcome<()> {
    let sql = connection.sql();
    let mut values = row::record_values(record)?;
    let done = match expected_version {
        None => {
            connection
                .execute(&sql.insert_record, &references(&values))
                .await?
        }
        Some(version) => {
            values.push(Box::new(integer(version)?));
            connection
                .execute(&sql.update_record, &references(&values))
                .await?
        }
    };
    if done > 0 {
        Ok(())
    } else {
        Err(MetadataError::Conflict.into())
    }
}

pub(super) async fn delete(connection: Connection, key: &RecordKey, version: u64) -> Outcome<()> {
    let sql = connection.sql();
    let version = integer(version)?;
    let name: [&(dyn ToSql + Sync); 2] = [&key.kind(), &Text(key.id())];
    // Whoever is linking a file holds on to the record until the link can be seen.
    if !connection.exists(&sql.lock_record, &name).await?
        || connection.exists(&sql.linked_file, &name).await?
        || connection
            .execute(&sql.delete_record, &[name[0], name[1], &version])
            .await?
            == 0
    {
        return Err(MetadataError::Conflict.into());
    }
    Ok(())
}
