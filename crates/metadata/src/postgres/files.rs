//! Files: the one way in which they change. How they come is in [`super::inserts`].

use cloakroom_core::derivative::{Derivative, NewVariant, VariantAdded};
use cloakroom_core::event::Event;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::intent::IntentStatus;
use cloakroom_core::job::{JobLease, NewJob};
use cloakroom_core::ports::metadata::{MetadataError, Usage};
use cloakroom_core::ports::signals::Topic;
use cloakroom_core::transition::{Fence, Transition, UsageDelta};
use cloakroom_core::upload::Upload;
use futures_util::future::join3;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connection::{Connection, Write, together};
use super::failure::Outcome;
use super::pool::Attempt;
use super::row;
use super::statements::Prepared;
use super::values::{Text, Time, integer};
use super::{jobs, outbox, records};
use crate::row::Columns as _;

/// What must be known of a row before it changes.
struct Before {
    version: u64,
    state: FileState,
}

fn before(row: &Row) -> Outcome<Before> {
    Ok(Before {
        version: row.size(0)?,
        state: row.named(1, FileState::parse)?,
    })
}

/// Commits a transition. The checks come first, all of them, in the order in which their answers matter: a worker
/// that lost its claim is told so, rather than that the row changed. What is checked is locked as well.
pub(super) async fn apply(connection: Connection, transition: &Transition, attempt: Attempt) -> Outcome<()> {
    if check(&connection, transition, attempt).await? == Standing::Committed {
        connection.hint(Topic::Jobs);
        connection.hint(Topic::File(transition.file.id));
        return Ok(());
    }
    if let Some(record) = &transition.record {
        records::link(&connection, record).await?;
    }
    let changed = connection.execute_all(&writes(&connection, transition)?).await?;
    // Jobs come last.
    let enqueued = changed.iter().rev().take(transition.jobs.len());
    if enqueued.into_iter().any(|rows| *rows > 0) {
        connection.hint(Topic::Jobs);
    }
    connection.hint(Topic::File(transition.file.id));
    Ok(())
}

/// Where a transition stands.
#[derive(PartialEq, Eq)]
enum Standing {
    /// Nothing speaks against it.
    Allowed,
    /// An earlier attempt was committed.
    Committed,
}

/// Locks what the transition stands on, and answers when it may not be.
async fn check(connection: &Connection, transition: &Transition, attempt: Attempt) -> Outcome<Standing> {
    let sql = connection.sql();
    connection
        .prepare(&[&sql.lock_file, &sql.lease_holds, &sql.intent_is_open])
        .await?;
    let key: [&(dyn ToSql + Sync); 1] = [&transition.file.id.0];
    // The order of locks is the same everywhere: file, job, intent, record, usage.
    let (found, lease_holds, intent_is_open) = join3(
        connection.first(&sql.lock_file, &key),
        async {
            match transition.fence {
                Some(fence) => jobs::lease_holds(connection, fence.lease()).await,
                None => Ok(true),
            }
        },
        async {
            match transition.intent {
                Some(intent) => connection.exists(&sql.intent_is_open, &[&intent.0]).await,
                None => Ok(true),
            }
        },
    )
    .await;
    let (found, checks) = (found?, together([lease_holds, intent_is_open])?);
    if attempt.may_stand && stands(connection, &transition.event).await? {
        return Ok(Standing::Committed);
    }
    if !checks[0] {
        return Err(MetadataError::Fenced.into());
    }
    let version = found.as_ref().map(before).transpose()?.map(|row| row.version);
    // An intent that is closed: recovery took it for abandoned and may have undone it.
    if version != Some(transition.from_version) || !checks[1] {
        return Err(MetadataError::Conflict.into());
    }
    Ok(Standing::Allowed)
}

/// Everything that a transition changes, jobs last.
fn writes<'a>(connection: &'a Connection, transition: &'a Transition) -> Outcome<Vec<Write<'a>>> {
    let sql = connection.sql();
    let (file, event, usage) = (&transition.file, &transition.event, &transition.usage);
    let mut writes = vec![
        Write {
            statement: &sql.update_file,
            values: row::changed_file_values(file)?,
        },
        event_write(connection, event)?,
    ];
    writes.extend(outbox::write(connection, &[event])?);
    if let Some(upload) = &transition.upload {
        writes.push(upload_write(connection, upload)?);
    }
    for derivative in &transition.derivatives {
        writes.push(derivative_write(connection, derivative)?);
    }
    if *usage != UsageDelta::default() {
        writes.push(Write {
            statement: &sql.add_usage,
            values: vec![
                Box::new(Text(&file.owner)),
                Box::new(usage.reserved_bytes),
                Box::new(usage.stored_bytes),
                Box::new(usage.files),
            ],
        });
    }
    if let Some(intent) = transition.intent {
        writes.push(Write {
            statement: &sql.end_intent,
            values: vec![
                Box::new(intent.0),
                Box::new(IntentStatus::Committed.as_str()),
                Box::new(None::<&str>),
                Box::new(Time(event.at)),
            ],
        });
    }
    // The finished job goes first, so that a next one of its kind is not taken for a double. It is there: its row is
    // locked since the look.
    if let Some(Fence::Complete(lease)) = transition.fence {
        writes.push(Write {
            statement: &sql.complete_job,
            values: vec![Box::new(lease.job_id.0), Box::new(i64::from(lease.epoch))],
        });
    }
    let owner = Some(file.owner.as_str());
    writes.extend(
        transition
            .jobs
            .iter()
            .map(|job| jobs::write(connection, job, owner)),
    );
    Ok(writes)
}

pub(super) fn event_write<'a>(connection: &'a Connection, event: &'a Event) -> Outcome<Write<'a>> {
    Ok(Write {
        statement: &connection.sql().insert_event,
        values: row::event_values(event)?,
    })
}

fn upload_write<'a>(connection: &'a Connection, upload: &'a Upload) -> Outcome<Write<'a>> {
    let mut values: Vec<row::Value<'_>> = vec![Box::new(upload.file_id.0)];
    values.extend(row::upload_values(upload)?);
    Ok(Write {
        statement: &connection.sql().update_upload,
        values,
    })
}

/// What puts a derivative in the place of one of the same name.
pub(super) fn derivative_write<'a>(
    connection: &'a Connection,
    derivative: &'a Derivative,
) -> Outcome<Write<'a>> {
    Ok(Write {
        statement: &connection.sql().put_derivative,
        values: row::derivative_values(derivative)?,
    })
}

/// Whether this very event was committed before.
pub(super) async fn stands(connection: &Connection, event: &Event) -> Outcome<bool> {
    let version = integer(event.version)?;
    let found = connection
        .first(&connection.sql().event_id, &[&event.file_id.0, &version])
        .await?;
    match found {
        Some(row) => Ok(row.id(0)? == event.id.0),
        None => Ok(false),
    }
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
    let mut writes = vec![event_write(&connection, event)?];
    writes.extend(outbox::write(&connection, &[event])?);
    connection.execute_all(&writes).await?;
    // Derivatives go with it.
    connection.execute(&sql.delete_file, &[&file.id.0]).await?;
    jobs::remove_of_file(&connection, file.id).await?;
    if let Some(job) = follow_up {
        jobs::insert(&connection, job, Some(&file.owner)).await?;
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
    let write = upload_write(&connection, upload)?;
    if connection.execute_all(&[write]).await? == [0] {
        return Err(MetadataError::Inconsistent(format!("file {} has no upload", upload.file_id)).into());
    }
    Ok(())
}

/// Adds a variant in its place, while the row of its file is held. Whoever is run again after an answer that was lost finds
/// its own variant there.
pub(super) async fn add_variant(connection: Connection, new: &NewVariant) -> Outcome<VariantAdded> {
    let (sql, id) = (connection.sql(), new.variant.file_id);
    let Some(place) = connection.first(&sql.lock_file_place, &[&id.0]).await? else {
        return Ok(VariantAdded::FileChanged);
    };
    let (state, key) = (place.named(0, FileState::parse)?, place.text(1)?);
    let found = connection.query(&sql.derivatives, &[&id.0]).await?;
    let added = new.admit(state, &key, row::all(&found, row::derivative)?);
    if let VariantAdded::Added(gave_way) = &added {
        for one in gave_way {
            connection
                .execute(&sql.delete_derivative, &[&id.0, &one.name])
                .await?;
        }
        connection
            .execute_all(&[derivative_write(&connection, &new.variant)?])
            .await?;
    }
    Ok(added)
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
    row::all(&found, |row| Ok(FileId(row.id(0)?)))
}
