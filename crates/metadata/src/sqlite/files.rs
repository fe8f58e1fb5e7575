//! Files: the hot insert, and the one way in which they change.

use cloakroom_core::JsonObject;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome, NewVariant, VariantAdded};
use cloakroom_core::event::Event;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::intent::IntentStatus;
use cloakroom_core::job::{JobLease, NewJob};
use cloakroom_core::ports::metadata::{Inserted, MetadataError, NewFile, Usage};
use cloakroom_core::ports::signals::Topic;
use cloakroom_core::record::RecordKey;
use cloakroom_core::transition::{Fence, Transition, UsageDelta};
use cloakroom_core::upload::Upload;
use rusqlite::{Row, params};

use super::failure::{Failure, Outcome};
use super::row::{self, integer, json_text, micros};
use super::session::Session;
use super::{jobs, outbox, records, search};
use crate::row::Columns as _;

/// Inserts a signed upload. Looks first and writes then, so a refusal leaves nothing behind.
pub(super) fn insert(session: &Session, new: &NewFile) -> Outcome<Inserted> {
    let NewFile {
        file,
        upload,
        event,
        record,
        quota_bytes,
    } = new;
    if session.exists(&session.sql.file_exists, [file.id.0.as_bytes()])? {
        return existing(session, file.id);
    }
    let record_is_new = match record {
        Some(record) => records::is_new(session, record)?,
        None => false,
    };
    if let Some(quota) = quota_bytes {
        let usage = usage(session, &file.owner)?;
        let wanted = usage
            .reserved_bytes
            .saturating_add(usage.stored_bytes)
            .saturating_add(upload.reserved_bytes);
        if wanted > *quota {
            return Ok(Inserted::QuotaExceeded(usage));
        }
    }
    let open = file.state.is_open();
    // An id whose file was purged has its events still, and is not used again.
    insert_event(session, event).map_err(|failure| {
        if failure.is_constraint() {
            Failure::Answer(MetadataError::Conflict)
        } else {
            failure
        }
    })?;
    let mut statement = session.statement(&session.sql.insert_file)?;
    row::bind_file(&mut statement, file, &json_text(&file.metadata)?)?;
    statement.raw_bind_parameter(38, open)?;
    statement.raw_execute()?;
    let seq = session.connection.last_insert_rowid();
    let mut statement = session.statement(&session.sql.insert_upload)?;
    row::bind_upload(&mut statement, upload, open)?;
    statement.raw_execute()?;
    add_usage(session, &file.owner, integer(upload.reserved_bytes)?, 0, 0)?;
    if let (Some(record), true) = (record, record_is_new) {
        records::insert(session, record)?;
    }
    if !open {
        search::enter_words(session, seq, file)?;
        search::enter_metadata(session, seq, file)?;
    }
    Ok(Inserted::New)
}

fn existing(session: &Session, id: FileId) -> Outcome<Inserted> {
    match (file(session, id)?, upload(session, id)?) {
        (Some(file), Some(upload)) => Ok(Inserted::Existing(Box::new((file, upload)))),
        _ => Err(MetadataError::Inconsistent(format!("file {id} has no upload")).into()),
    }
}

/// What must be known of a row before it changes.
struct Before {
    seq: i64,
    version: u64,
    state: FileState,
    open: bool,
    owner: String,
    collection: String,
    created_at: i64,
    record: (Option<String>, Option<String>),
    filename: String,
    description: Option<String>,
    metadata: String,
}

impl Before {
    fn read(row: &Row<'_>) -> Outcome<Self> {
        Ok(Self {
            seq: row.get(0)?,
            version: row.size(1)?,
            state: row.named(2, FileState::parse)?,
            open: row.get(3)?,
            owner: row.text(4)?,
            collection: row.text(5)?,
            created_at: row.get(6)?,
            record: (row.get(7)?, row.get(8)?),
            filename: row.text(9)?,
            description: row.get(10)?,
            metadata: row.text(11)?,
        })
    }

    /// Whether the large indexes keep their entries.
    fn indexes_stay(&self, file: &File) -> bool {
        self.open == file.state.is_open()
            && self.owner == file.owner
            && self.collection == file.collection
            && self.created_at == micros(file.created_at)
            && (self.record.0.as_deref(), self.record.1.as_deref())
                == (
                    file.record.as_ref().map(RecordKey::kind),
                    file.record.as_ref().map(RecordKey::id),
                )
    }

    fn words_stay(&self, file: &File) -> bool {
        self.owner == file.owner && self.filename == file.filename && self.description == file.description
    }

    fn metadata(&self) -> Outcome<JsonObject> {
        serde_json::from_str(&self.metadata)
            .map_err(|_| MetadataError::Inconsistent("column metadata is no JSON object".to_owned()).into())
    }
}

/// The row, if it has this version yet.
fn before(session: &Session, id: FileId, version: u64) -> Outcome<Before> {
    match session.first(&session.sql.file_before, [id.0.as_bytes()], Before::read)? {
        Some(before) if before.version == version => Ok(before),
        _ => Err(MetadataError::Conflict.into()),
    }
}

/// Commits a transition. The checks come first, all of them, in the order in which their answers matter: a worker
/// that lost its claim is told so, rather than that the row changed.
pub(super) fn apply(session: &Session, transition: &Transition) -> Outcome<()> {
    let Transition {
        from_version,
        file,
        event,
        jobs,
        usage,
        upload,
        derivatives,
        record,
        intent,
        fence,
    } = transition;
    if let Some(fence) = fence {
        jobs::check_lease(session, fence.lease())?;
    }
    let before = before(session, file.id, *from_version)?;
    if let Some(intent) = intent
        && !session.exists(&session.sql.intent_is_open, [intent.0.as_bytes()])?
    {
        // Recovery took it for abandoned and may have undone it.
        return Err(MetadataError::Conflict.into());
    }
    let record_is_new = match record {
        Some(record) => records::is_new(session, record)?,
        None => false,
    };

    update_row(session, &before, file, upload.as_ref())?;
    insert_event(session, event)?;
    for derivative in derivatives {
        put_derivative(session, derivative)?;
    }
    if *usage != UsageDelta::default() {
        add_usage(
            session,
            &file.owner,
            usage.reserved_bytes,
            usage.stored_bytes,
            usage.files,
        )?;
    }
    if let (Some(record), true) = (record, record_is_new) {
        records::insert(session, record)?;
    }
    if let Some(intent) = intent {
        let none: Option<&str> = None;
        session.execute(
            &session.sql.end_intent,
            params![
                intent.0.as_bytes(),
                IntentStatus::Committed.as_str(),
                none,
                micros(event.at)
            ],
        )?;
    }
    // The finished job goes first, so that a next one of its kind is not taken for a double.
    if let Some(Fence::Complete(lease)) = fence {
        jobs::complete(session, *lease)?;
    }
    for job in jobs {
        jobs::insert(session, job, Some(&file.owner))?;
    }
    session.hint(Topic::File(file.id));
    Ok(())
}

fn update_row(session: &Session, before: &Before, file: &File, upload: Option<&Upload>) -> Outcome<()> {
    let open = file.state.is_open();
    let metadata = json_text(&file.metadata)?;
    if before.indexes_stay(file) {
        let mut statement = session.statement(&session.sql.update_file)?;
        row::bind_file(&mut statement, file, &metadata)?;
        statement.raw_execute()?;
    } else {
        let mut statement = session.statement(&session.sql.update_file_and_indexes)?;
        row::bind_file(&mut statement, file, &metadata)?;
        statement.raw_bind_parameter(38, open)?;
        statement.raw_execute()?;
    }
    if let Some(upload) = upload {
        let mut statement = session.statement(&session.sql.update_upload)?;
        row::bind_upload(&mut statement, upload, open)?;
        statement.raw_execute()?;
    } else if before.open != open {
        session.execute(&session.sql.set_upload_open, params![file.id.0.as_bytes(), open])?;
    }
    index(session, before, file, &metadata)
}

/// Brings the search index up to the new row, writing only what differs.
fn index(session: &Session, before: &Before, file: &File, metadata: &str) -> Outcome<()> {
    let (was_in, is_in) = (!before.open, !file.state.is_open());
    let words_stay = was_in && is_in && before.words_stay(file);
    if was_in && !words_stay {
        search::remove_words(session, before.seq)?;
    }
    if is_in && !words_stay {
        search::enter_words(session, before.seq, file)?;
    }
    let metadata_stays =
        was_in && is_in && before.metadata == metadata && before.created_at == micros(file.created_at);
    if was_in && !metadata_stays {
        search::remove_metadata(session, file, before.created_at, &before.metadata()?)?;
    }
    if is_in && !metadata_stays {
        search::enter_metadata(session, before.seq, file)?;
    }
    Ok(())
}

/// Removes a purged file's rows and keeps its events.
pub(super) fn forget(
    session: &Session,
    file: &File,
    event: &Event,
    lease: Option<JobLease>,
    follow_up: Option<&NewJob>,
) -> Outcome<()> {
    if let Some(lease) = lease {
        jobs::check_lease(session, lease)?;
    }
    let before = before(session, file.id, file.version)?;
    if before.state != FileState::Purging {
        return Err(MetadataError::Conflict.into());
    }
    insert_event(session, event)?;
    search::remove_words(session, before.seq)?;
    search::remove_metadata(session, file, before.created_at, &before.metadata()?)?;
    // Upload and derivatives go with it.
    session.execute(&session.sql.delete_file, [before.seq])?;
    jobs::remove_of_file(session, file.id)?;
    if let Some(job) = follow_up {
        jobs::insert(session, job, Some(&file.owner))?;
    }
    session.hint(Topic::File(file.id));
    Ok(())
}

pub(super) fn file(session: &Session, id: FileId) -> Outcome<Option<File>> {
    session.first(&session.sql.file, [id.0.as_bytes()], row::file)
}

pub(super) fn upload(session: &Session, id: FileId) -> Outcome<Option<Upload>> {
    session.first(&session.sql.upload, [id.0.as_bytes()], row::upload)
}

pub(super) fn update_upload(session: &Session, upload: &Upload, file_version: u64) -> Outcome<()> {
    let before = before(session, upload.file_id, file_version)?;
    let mut statement = session.statement(&session.sql.update_upload)?;
    row::bind_upload(&mut statement, upload, before.open)?;
    if statement.raw_execute()? == 0 {
        return Err(MetadataError::Inconsistent(format!("file {} has no upload", upload.file_id)).into());
    }
    Ok(())
}

pub(super) fn derivatives(session: &Session, id: FileId) -> Outcome<Vec<Derivative>> {
    session.all(&session.sql.derivatives, [id.0.as_bytes()], row::derivative)
}

/// Adds a variant in its place. There is one writer, so what is read here stays so.
pub(super) fn add_variant(session: &Session, new: &NewVariant) -> Outcome<VariantAdded> {
    let id = new.variant.file_id;
    let Some(file) = file(session, id)? else {
        return Ok(VariantAdded::FileChanged);
    };
    let added = new.admit(file.state, &file.key, derivatives(session, id)?);
    if let VariantAdded::Added(gave_way) = &added {
        for one in gave_way {
            session.execute(&session.sql.delete_derivative, params![id.0.as_bytes(), one.name])?;
        }
        put_derivative(session, &new.variant)?;
    }
    Ok(added)
}

pub(super) fn put_derivative(session: &Session, derivative: &Derivative) -> Outcome<()> {
    let (made, failed) = match &derivative.outcome {
        DerivativeOutcome::Made {
            key,
            content_type,
            size_bytes,
            width,
            height,
        } => (
            Some((key, content_type.as_str(), integer(*size_bytes)?, width, height)),
            None,
        ),
        DerivativeOutcome::Failed { error } => (None, Some(error)),
    };
    session.execute(
        &session.sql.put_derivative,
        params![
            derivative.file_id.0.as_bytes(),
            derivative.name,
            made.map(|m| m.0),
            made.map(|m| m.1),
            made.map(|m| m.2),
            made.and_then(|m| *m.3),
            made.and_then(|m| *m.4),
            failed,
            micros(derivative.created_at),
        ],
    )?;
    Ok(())
}

pub(super) fn insert_event(session: &Session, event: &Event) -> Outcome<()> {
    session.execute(
        &session.sql.insert_event,
        params![
            event.file_id.0.as_bytes(),
            integer(event.version)?,
            event.id.0.as_bytes(),
            event.kind.as_str(),
            event.state.as_str(),
            event.actor,
            json_text(&event.data)?,
            micros(event.at),
        ],
    )?;
    outbox::enter(session, event)
}

pub(super) fn usage(session: &Session, owner: &str) -> Outcome<Usage> {
    let found = session.first(&session.sql.usage, [owner], |row| {
        Ok(Usage {
            reserved_bytes: row.size(0)?,
            stored_bytes: row.size(1)?,
            files: row.size(2)?,
        })
    })?;
    Ok(found.unwrap_or_default())
}

pub(super) fn add_usage(
    session: &Session,
    owner: &str,
    reserved: i64,
    stored: i64,
    files: i64,
) -> Outcome<()> {
    session.execute(&session.sql.add_usage, params![owner, reserved, stored, files])?;
    Ok(())
}

/// Ids of files whose time was over, by one of the two statements for that.
pub(super) fn overdue(session: &Session, sql: &str, before: i64, limit: u32) -> Outcome<Vec<FileId>> {
    session.all(sql, params![before, limit], |row| Ok(FileId(row.id(0)?)))
}
