//! Garbage: objects that nothing refers to.

use cloakroom_core::garbage::{Garbage, GarbageState};
use cloakroom_core::ports::metadata::Page;
use cloakroom_core::ports::objects::ObjectPath;
use jiff::Timestamp;

use super::super::connection::{Connection, Write};
use super::super::failure::Outcome;
use super::super::page;
use super::super::row::{self, references};
use super::super::values::{Text, Time, integer};

/// What inserts garbage, but for what is known.
pub(in super::super) fn write<'a>(connection: &'a Connection, garbage: &'a [Garbage]) -> Outcome<Write<'a>> {
    let each = garbage.iter();
    let sizes = each
        .clone()
        .map(|g| integer(g.size_bytes))
        .collect::<Outcome<Vec<i64>>>()?;
    Ok(Write {
        statement: &connection.sql().insert_garbage,
        values: vec![
            Box::new(each.clone().map(|g| Text(&g.path.bucket)).collect::<Vec<_>>()),
            Box::new(each.clone().map(|g| Text(&g.path.key)).collect::<Vec<_>>()),
            Box::new(each.clone().map(|g| Text(&g.upload_id)).collect::<Vec<_>>()),
            Box::new(each.clone().map(|g| g.reason.as_str()).collect::<Vec<_>>()),
            Box::new(each.clone().map(|g| g.state.as_str()).collect::<Vec<_>>()),
            Box::new(each.clone().map(|g| Text(&g.etag)).collect::<Vec<_>>()),
            Box::new(sizes),
            Box::new(each.clone().map(|g| g.file_id.map(|id| id.0)).collect::<Vec<_>>()),
            Box::new(each.clone().map(|g| Time(g.found_at)).collect::<Vec<_>>()),
            Box::new(each.map(|g| Time(g.purge_at)).collect::<Vec<_>>()),
        ],
    })
}

pub(super) async fn put(connection: Connection, garbage: &[Garbage]) -> Outcome<u64> {
    let write = write(&connection, garbage)?;
    connection
        .execute(write.statement, &references(&write.values))
        .await
}

pub(super) async fn list(
    connection: Connection,
    state: Option<GarbageState>,
    after: Option<(&ObjectPath, &str)>,
    limit: u32,
) -> Outcome<Page<Garbage>> {
    let sql = connection.sql();
    let (bucket, key, upload_id) = after.map_or(("", "", ""), |(path, upload_id)| {
        (path.bucket.as_str(), path.key.as_str(), upload_id)
    });
    let (bucket, key, upload_id) = (Text(bucket), Text(key), Text(upload_id));
    let rows = i64::from(limit) + 1;
    let found = match state {
        None => {
            connection
                .query(&sql.garbage, &[&bucket, &key, &upload_id, &rows])
                .await?
        }
        Some(state) => {
            connection
                .query(
                    &sql.garbage_in_state,
                    &[&bucket, &key, &upload_id, &rows, &state.as_str()],
                )
                .await?
        }
    };
    Ok(page(row::all(&found, row::garbage)?, limit))
}

pub(super) async fn purgeable(
    connection: Connection,
    before: Timestamp,
    limit: u32,
) -> Outcome<Vec<Garbage>> {
    let found = connection
        .query(
            &connection.sql().purgeable_garbage,
            &[&Time(before), &i64::from(limit)],
        )
        .await?;
    row::all(&found, row::garbage)
}

pub(super) async fn mark(
    connection: Connection,
    path: &ObjectPath,
    upload_id: &str,
    state: GarbageState,
    purge_at: Timestamp,
) -> Outcome<bool> {
    let marked = connection
        .execute(
            &connection.sql().mark_garbage,
            &[
                &Text(&path.bucket),
                &Text(&path.key),
                &Text(upload_id),
                &state.as_str(),
                &Time(purge_at),
            ],
        )
        .await?;
    Ok(marked > 0)
}

pub(super) async fn forget(connection: Connection, path: &ObjectPath, upload_id: &str) -> Outcome<()> {
    connection
        .execute(
            &connection.sql().forget_garbage,
            &[&Text(&path.bucket), &Text(&path.key), &Text(upload_id)],
        )
        .await?;
    Ok(())
}
