//! Files that come back from what stands in the store.

use cloakroom_core::file::File;
use cloakroom_core::ports::administration::Adoption;
use cloakroom_core::ports::signals::Topic;
use cloakroom_core::upload::Upload;
use tokio_postgres::types::ToSql;

use super::super::connection::{Connection, Write};
use super::super::failure::Outcome;
use super::super::pool::{Attempt, Verdict};
use super::super::row::{self, Value, references};
use super::super::values::{Text, integer};
use super::super::{files, jobs, outbox};
use crate::counting::{changes, counted};
use crate::row::Columns as _;

/// Takes a file back. The row comes first, so that what is found out afterwards stays true until the end; locks are taken
/// in the order of every transaction: file, record, usage.
pub(super) async fn adopt(
    connection: Connection,
    adoption: &Adoption,
    attempt: Attempt,
) -> Outcome<Verdict<bool>> {
    let sql = connection.sql();
    let key: [&(dyn ToSql + Sync); 1] = [&adoption.file.id.0];
    let locked = connection.first(&sql.lock_file, &key).await?;
    if attempt.may_stand && files::stands(&connection, &adoption.event).await? {
        return Ok(Verdict::Rollback(true));
    }
    let version = locked.map(|row| row.size(0)).transpose()?;
    if version != adoption.replaces {
        return Ok(Verdict::Rollback(false));
    }
    let before = match version {
        Some(_) => standing(&connection, &key).await?,
        None => None,
    };
    if version.is_none() {
        let values = row::restored_file_values(&adoption.file, adoption.upload.as_ref())?;
        if !connection.exists(&sql.restore_file, &references(&values)).await? {
            // Somebody else inserted it since the look.
            return Ok(Verdict::Rollback(false));
        }
    }
    let event_version = integer(adoption.event.version)?;
    let ids = [adoption.file.id.0];
    if connection.exists(&sql.purged_files, &[&&ids[..]]).await?
        || connection
            .exists(&sql.event_id, &[key[0], &event_version])
            .await?
    {
        return Ok(Verdict::Rollback(false));
    }
    let changed = connection
        .execute_all(&writes(&connection, adoption, before.as_ref())?)
        .await?;
    // Jobs come last.
    let enqueued = changed.iter().rev().take(adoption.jobs.len());
    if enqueued.into_iter().any(|rows| *rows > 0) {
        connection.hint(Topic::Jobs);
    }
    connection.hint(Topic::File(adoption.file.id));
    Ok(Verdict::Commit(true))
}

type Standing = (File, Option<Upload>);

/// The row that is replaced, with its upload.
async fn standing(connection: &Connection, key: &[&(dyn ToSql + Sync)]) -> Outcome<Option<Standing>> {
    let sql = connection.sql();
    let Some(found) = connection.first(&sql.file, key).await? else {
        return Ok(None);
    };
    let upload = connection.first(&sql.upload, key).await?;
    let upload = upload.map(|row| row::upload(&row, 0)).transpose()?;
    Ok(Some((row::file(&found)?, upload)))
}

/// Everything that is written beside a new row, jobs last.
fn writes<'a>(
    connection: &'a Connection,
    adoption: &'a Adoption,
    before: Option<&'a Standing>,
) -> Outcome<Vec<Write<'a>>> {
    let sql = connection.sql();
    let file = &adoption.file;
    let mut writes = Vec::new();
    if before.is_some() {
        writes.push(Write {
            statement: &sql.update_file,
            values: row::changed_file_values(file)?,
        });
        if let Some(upload) = &adoption.upload {
            let mut values: Vec<Value<'_>> = vec![Box::new(file.id.0)];
            values.extend(row::upload_values(upload)?);
            writes.push(Write {
                statement: &sql.put_upload,
                values,
            });
        }
        writes.push(Write {
            statement: &sql.delete_derivatives,
            values: vec![Box::new(file.id.0)],
        });
    }
    for derivative in &adoption.derivatives {
        writes.push(files::derivative_write(connection, derivative)?);
    }
    writes.push(files::event_write(connection, &adoption.event)?);
    writes.extend(outbox::write(connection, &[&adoption.event])?);
    if let Some(record) = &adoption.record {
        writes.push(Write {
            statement: &sql.insert_record,
            values: row::record_values(record)?,
        });
    }
    let old_upload = before.and_then(|(_, upload)| upload.as_ref());
    let upload = adoption.upload.as_ref().or(old_upload);
    let old = before.map(|(before, _)| (before.owner.as_str(), counted(before, old_upload)));
    for (owner, usage) in changes((&file.owner, counted(file, upload)), old) {
        writes.push(Write {
            statement: &sql.add_usage,
            values: vec![
                Box::new(Text(owner)),
                Box::new(usage.reserved_bytes),
                Box::new(usage.stored_bytes),
                Box::new(usage.files),
            ],
        });
    }
    let owner = Some(file.owner.as_str());
    writes.extend(
        adoption
            .jobs
            .iter()
            .map(|job| jobs::write(connection, job, owner)),
    );
    Ok(writes)
}
