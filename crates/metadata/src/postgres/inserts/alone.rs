//! The careful way: one insert by itself.

use cloakroom_core::ports::metadata::{Inserted, MetadataError, NewFile};

use super::super::connection::Connection;
use super::super::failure::{Failure, Outcome};
use super::super::pool::{Attempt, Verdict};
use super::super::row::{self, references};
use super::super::values::{Text, integer};
use super::super::{files, outbox, records};
use crate::row::Columns as _;

/// Inserts one upload by itself, and finds out what stands in its way.
pub(super) async fn insert(
    connection: Connection,
    new: &NewFile,
    attempt: Attempt,
) -> Outcome<Verdict<Inserted>> {
    let NewFile {
        file,
        upload,
        event,
        record,
        quota_bytes,
    } = new;
    let sql = connection.sql();
    if let Some(row) = connection.first(&sql.file_and_upload, &[&file.id.0]).await? {
        let version = integer(event.version)?;
        if attempt.may_stand
            && let Some(found) = connection.first(&sql.event_id, &[&file.id.0, &version]).await?
            && found.id(0)? == event.id.0
        {
            return Ok(Verdict::Rollback(Inserted::New));
        }
        if row.try_get::<_, Option<&str>>(36)?.is_none() {
            return Err(MetadataError::Inconsistent(format!("file {} has no upload", file.id)).into());
        }
        let rows = (row::file(&row)?, row::upload(&row, 35)?);
        return Ok(Verdict::Rollback(Inserted::Existing(Box::new(rows))));
    }
    if let Some(record) = record {
        records::check_owner(&connection, record).await?;
    }
    if let Some(quota) = quota_bytes {
        let usage = files::usage(&connection, &file.owner).await?;
        let wanted = usage
            .reserved_bytes
            .saturating_add(usage.stored_bytes)
            .saturating_add(upload.reserved_bytes);
        if wanted > *quota {
            return Ok(Verdict::Rollback(Inserted::QuotaExceeded(usage)));
        }
    }
    let mut values = row::file_values(file)?;
    values.extend(row::upload_values(upload)?);
    if !connection.exists(&sql.insert_file, &references(&values)).await? {
        // Somebody else inserted it since the look.
        return Err(Failure::Overtaken);
    }
    // An id whose file was purged has its events still, and is not used again.
    let values = row::event_values(event)?;
    connection
        .execute(&sql.insert_event, &references(&values))
        .await
        .map_err(|failure| {
            if failure.is_unique_violation() {
                Failure::Answer(MetadataError::Conflict)
            } else {
                failure
            }
        })?;
    outbox::put(&connection, &[event]).await?;
    if let Some(record) = record {
        records::link(&connection, record).await?;
    }
    let (owners, bytes) = ([Text(&file.owner)], [integer(upload.reserved_bytes)?]);
    let reserved = connection
        .first(&sql.reserve, &[&&owners[..], &&bytes[..]])
        .await?;
    let mut usage = reserved
        .map(|row| row::usage(&row, 1))
        .transpose()?
        .unwrap_or_default();
    if quota_bytes.is_some_and(|quota| usage.reserved_bytes.saturating_add(usage.stored_bytes) > quota) {
        usage.reserved_bytes = usage.reserved_bytes.saturating_sub(upload.reserved_bytes);
        return Ok(Verdict::Rollback(Inserted::QuotaExceeded(usage)));
    }
    Ok(Verdict::Commit(Inserted::New))
}
