//! Files: the one way in which they change. How they come is in [`super::inserts`].

use cloakroom_core::derivative::Derivative;
use cloakroom_core::event::Event;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::intent::IntentStatus;
use cloakroom_core::job::{JobLease, NewJob};
use cloakroom_core::ports::metadata::{MetadataError, Usage};
use cloakroom_core::ports::signals::Topic;
use cloakroom_core::transition::{Fence, Transition, UsageDelta};
use cloakroom_core::upload::Upload;
use futures_util::future::{join, join3};
use jiff::Timestamp;
use tokio_postgres::Row;

use super::connection::{Connection, together};
use super::failure::Outcome;
use super::pool::Attempt;
use super::row::{self, Columns, references};
use super::statements::Prepared;
use super::values::{Text, Time, integer};
use super::{jobs, outbox, records};

/// What must be known of a row before it changes.
struct Before {
    version: u64,
    state: FileState,
}

fn before(row: &Row) -> Outcome<Before> {
    let c = Columns(row);
    Ok(Before {
        version: c.size(0)?,
        state: c.named(1, FileState::parse)?,
    })
}

/// Commits a transition. The checks come first, all of them, in the order in which their answers matter: a worker
/// that lost its claim is told so, rather than that the row changed. What is checked is locked as well.
pub(super) async fn apply(connection: Connection, transition: &Transition, attempt: Attempt) -> Outcome<()> {
    let Transition {
        from_version,
        file,
        event,
        jobs: new_jobs,
        usage,
        upload,
        derivatives,
        record,
        intent,
        fence,
    } = transition;
    let sql = connection.sql();
    connection
        .prepare(&[&sql.lock_file, &sql.lease_holds, &sql.intent_is_open])
        .await?;
    let key: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&file.id.0];
    // The order of locks is the same everywhere: file, job, intent, record, usage.
    let (found, lease_holds, intent_is_open) = join3(
        connection.first(&sql.lock_file, &key),
        async {
            match fence {
                Some(fence) => jobs::lease_holds(&connection, fence.lease()).await,
                None => Ok(true),
            }
        },
        async {
            match intent {
                Some(intent) => connection.exists(&sql.intent_is_open, &[&intent.0]).await,
                None => Ok(true),
            }
        },
    )
    .await;
    let (found, checks) = (found?, together([lease_holds, intent_is_open])?);
    if attempt.may_stand && stands(&connection, event).await? {
        connection.hint(Topic::Jobs);
        connection.hint(Topic::File(file.id));
        return Ok(());
    }
    if !checks[0] {
        return Err(MetadataError::Fenced.into());
    }
    let version = found.as_ref().map(before).transpose()?.map(|row| row.version);
    // An intent that is closed: recovery took it for abandoned and may have undone it.
    if version != Some(*from_version) || !checks[1] {
        return Err(MetadataError::Conflict.into());
    }
    if let Some(record) = record {
        records::link(&connection, record).await?;
    }
    write_rows(&connection, file, upload.as_ref(), event, derivatives).await?;
    if *usage != UsageDelta::default() {
        let parameters = (usage.reserved_bytes, usage.stored_bytes, usage.files);
        add_usage(&connection, &file.owner, parameters).await?;
    }
    if let Some(intent) = intent {
        let (status, none) = (IntentStatus::Committed.as_str(), None::<&str>);
        connection
            .execute(&sql.end_intent, &[&intent.0, &status, &none, &Time(event.at)])
            .await?;
    }
    // The finished job goes first, so that a next one of its kind is not taken for a double.
    if let Some(Fence::Complete(lease)) = fence {
        jobs::complete(&connection, *lease).await?;
    }
    for job in new_jobs {
        jobs::insert(&connection, job).await?;
    }
    connection.hint(Topic::File(file.id));
    Ok(())
}

/// Whether this very event was committed before.
async fn stands(connection: &Connection, event: &Event) -> Outcome<bool> {
    let version = integer(event.version)?;
    let found = connection
        .first(&connection.sql().event_id, &[&event.file_id.0, &version])
        .await?;
    match found {
        Some(row) => Ok(Columns(&row).id(0)? == event.id.0),
        None => Ok(false),
    }
}

/// The row, its upload, its event and its derivatives, sent together.
async fn write_rows(
    connection: &Connection,
    file: &File,
    upload: Option<&Upload>,
    event: &Event,
    derivatives: &[Derivative],
) -> Outcome<()> {
    let sql = connection.sql();
    let mut needed = vec![&sql.update_file, &sql.insert_event];
    if upload.is_some() {
        needed.push(&sql.update_upload);
    }
    connection.prepare(&needed).await?;
    let (file_values, event_values) = (row::file_values(file)?, row::event_values(event)?);
    let (file_parameters, event_parameters) = (references(&file_values), references(&event_values));
    let (row, event_row) = join(
        connection.execute(&sql.update_file, &file_parameters),
        connection.execute(&sql.insert_event, &event_parameters),
    )
    .await;
    together([row, event_row])?;
    outbox::put(connection, &[event]).await?;
    if let Some(upload) = upload {
        put_upload(connection, upload).await?;
    }
    for derivative in derivatives {
        put_derivative(connection, derivative).await?;
    }
    Ok(())
}

async fn put_upload(connection: &Connection, upload: &Upload) -> Outcome<u64> {
    let mut values: Vec<row::Value<'_>> = vec![Box::new(upload.file_id.0)];
    values.extend(row::upload_values(upload)?);
    connection
        .execute(&connection.sql().update_upload, &references(&values))
        .await
}

pub(super) async fn put_derivative(connection: &Connection, derivative: &Derivative) -> Outcome<()> {
    let values = row::derivative_values(derivative)?;
    connection
        .execute(&connection.sql().put_derivative, &references(&values))
        .await?;
    Ok(())
}

/// Removes a purged file's rows and keeps its events.
pub(super) async fn forget(
    connection: Connection,
    file: &File,
    event: &Event,
    (lease, follow_up): (Option<JobLease>, Option<&NewJob>),
    attempt: Attempt,
) -> Outcome<()> {
    let sql = connection.sql();
    let found = connection.first(&sql.lock_file, &[&file.id.0]).await?;
    if attempt.may_stand && stands(&connection, event).await? {
        connection.hint(Topic::File(file.id));
        return Ok(());
    }
    if let Some(lease) = lease
        && !jobs::lease_holds(&connection, lease).await?
    {
        return Err(MetadataError::Fenced.into());
    }
    match found.as_ref().map(before).transpose()? {
        Some(row) if row.version == file.version && row.state == FileState::Purging => {}
        _ => return Err(MetadataError::Conflict.into()),
    }
    let values = row::event_values(event)?;
    connection
        .execute(&sql.insert_event, &references(&values))
        .await?;
    outbox::put(&connection, &[event]).await?;
    // Derivatives go with it.
    connection.execute(&sql.delete_file, &[&file.id.0]).await?;
    jobs::remove_of_file(&connection, file.id).await?;
    if let Some(job) = follow_up {
        jobs::insert(&connection, job).await?;
    }
    connection.hint(Topic::File(file.id));
    Ok(())
}

pub(super) async fn file(connection: Connection, id: FileId) -> Outcome<Option<File>> {
    let found = connection.first(&connection.sql().file, &[&id.0]).await?;
    found.as_ref().map(row::file).transpose()
}

pub(super) async fn upload(connection: Connection, id: FileId) -> Outcome<Option<Upload>> {
    let found = connection.first(&connection.sql().upload, &[&id.0]).await?;
    found.map(|row| row::upload(&row, 0)).transpose()
}

pub(super) async fn update_upload(connection: Connection, upload: &Upload, file_version: u64) -> Outcome<()> {
    let found = connection
        .first(&connection.sql().lock_file, &[&upload.file_id.0])
        .await?;
    match found.as_ref().map(before).transpose()? {
        Some(row) if row.version == file_version => {}
        _ => return Err(MetadataError::Conflict.into()),
    }
    if put_upload(&connection, upload).await? == 0 {
        return Err(MetadataError::Inconsistent(format!("file {} has no upload", upload.file_id)).into());
    }
    Ok(())
}

pub(super) async fn derivatives(connection: Connection, id: FileId) -> Outcome<Vec<Derivative>> {
    let found = connection.query(&connection.sql().derivatives, &[&id.0]).await?;
    row::all(&found, row::derivative)
}

pub(super) async fn timeline(
    connection: Connection,
    id: FileId,
    after_version: Option<u64>,
    limit: u32,
) -> Outcome<Vec<Event>> {
    let after = after_version.map(integer).transpose()?.unwrap_or(-1);
    let found = connection
        .query(
            &connection.sql().timeline,
            &[&id.0, &after, &(i64::from(limit) + 1)],
        )
        .await?;
    row::all(&found, row::event)
}

pub(super) async fn usage(connection: &Connection, owner: &str) -> Outcome<Usage> {
    let found = connection.first(&connection.sql().usage, &[&Text(owner)]).await?;
    Ok(found
        .map(|row| row::usage(&row, 0))
        .transpose()?
        .unwrap_or_default())
}

async fn add_usage(
    connection: &Connection,
    owner: &str,
    (reserved, stored, files): (i64, i64, i64),
) -> Outcome<()> {
    connection
        .execute(
            &connection.sql().add_usage,
            &[&Text(owner), &reserved, &stored, &files],
        )
        .await?;
    Ok(())
}

/// Ids of files whose time was over, by one of the two statements for that.
pub(super) async fn overdue(
    connection: &Connection,
    statement: &Prepared,
    before: Timestamp,
    limit: u32,
) -> Outcome<Vec<FileId>> {
    let found = connection
        .query(statement, &[&Time(before), &i64::from(limit)])
        .await?;
    row::all(&found, |row| Ok(FileId(Columns(row).id(0)?)))
}
