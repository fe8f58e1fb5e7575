//! Rows to nouns and back. What cannot have been written by us is [`MetadataError::Inconsistent`], with its place.

use cloakroom_core::JsonObject;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::event::{Event, EventKind};
use cloakroom_core::file::{Declared, File, FileError, FileState, Staged, Trash, Verified};
use cloakroom_core::id::{EventId, FileId, IntentId, JobId, WorkerId};
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::{Job, JobKind, JobProgress, JobState};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::upload::{Upload, UploadMethod};
use jiff::Timestamp;
use rusqlite::types::FromSql;
use rusqlite::{Row, Statement};
use uuid::Uuid;

use super::failure::{Failure, Outcome};
use crate::hold;

/// A value that no row of ours holds.
pub(super) fn inconsistent(row: &Row<'_>, column: usize, what: &str) -> Failure {
    let name = row
        .as_ref()
        .column_name(column)
        .map_or_else(|_| column.to_string(), str::to_owned);
    let id = row
        .get_ref(0)
        .ok()
        .and_then(|value| value.as_blob().ok())
        .and_then(|bytes| Uuid::from_slice(bytes).ok());
    let place = id.map_or_else(String::new, |id| format!(" of {id}"));
    MetadataError::Inconsistent(format!("column {name}{place} is {what}")).into()
}

/// A count or size as the engine keeps it.
pub(super) fn integer(value: u64) -> Outcome<i64> {
    i64::try_from(value)
        .map_err(|_| MetadataError::Internal(format!("{value} is more than a column holds")).into())
}

/// A time as the engine keeps it: microseconds since 1970.
pub(super) fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

/// A JSON object as text.
pub(super) fn json_text(object: &JsonObject) -> Outcome<String> {
    if object.is_empty() {
        return Ok("{}".to_owned());
    }
    serde_json::to_string(object).map_err(|error| MetadataError::Internal(error.to_string()).into())
}

/// Reads columns by number, with checks.
pub(super) struct Columns<'a, 'row>(pub(super) &'a Row<'row>);

impl Columns<'_, '_> {
    pub(super) fn get<T: FromSql>(&self, column: usize) -> Outcome<T> {
        Ok(self.0.get(column)?)
    }

    pub(super) fn text(&self, column: usize) -> Outcome<String> {
        self.get(column)
    }

    pub(super) fn id(&self, column: usize) -> Outcome<Uuid> {
        let bytes: [u8; 16] = self.get(column)?;
        Ok(Uuid::from_bytes(bytes))
    }

    pub(super) fn optional_id(&self, column: usize) -> Outcome<Option<Uuid>> {
        Ok(self.get::<Option<[u8; 16]>>(column)?.map(Uuid::from_bytes))
    }

    pub(super) fn time(&self, column: usize) -> Outcome<Timestamp> {
        self.optional_time(column)?
            .ok_or_else(|| inconsistent(self.0, column, "empty"))
    }

    pub(super) fn optional_time(&self, column: usize) -> Outcome<Option<Timestamp>> {
        let Some(micros) = self.get::<Option<i64>>(column)? else {
            return Ok(None);
        };
        match Timestamp::from_microsecond(micros) {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(inconsistent(self.0, column, "no time")),
        }
    }

    pub(super) fn size(&self, column: usize) -> Outcome<u64> {
        self.optional_size(column)?
            .ok_or_else(|| inconsistent(self.0, column, "empty"))
    }

    pub(super) fn optional_size(&self, column: usize) -> Outcome<Option<u64>> {
        let Some(value) = self.get::<Option<i64>>(column)? else {
            return Ok(None);
        };
        u64::try_from(value)
            .map(Some)
            .map_err(|_| inconsistent(self.0, column, "negative"))
    }

    pub(super) fn object(&self, column: usize) -> Outcome<JsonObject> {
        self.optional_object(column)?
            .ok_or_else(|| inconsistent(self.0, column, "empty"))
    }

    pub(super) fn optional_object(&self, column: usize) -> Outcome<Option<JsonObject>> {
        let value = self.0.get_ref(column)?;
        let Some(text) = value
            .as_str_or_null()
            .map_err(|_| inconsistent(self.0, column, "no text"))?
        else {
            return Ok(None);
        };
        if text == "{}" {
            return Ok(Some(JsonObject::new()));
        }
        serde_json::from_str(text)
            .map(Some)
            .map_err(|_| inconsistent(self.0, column, "no JSON object"))
    }

    /// A stable name of an enumeration.
    pub(super) fn named<T>(&self, column: usize, parse: impl Fn(&str) -> Option<T>) -> Outcome<T> {
        self.optional_named(column, parse)?
            .ok_or_else(|| inconsistent(self.0, column, "empty"))
    }

    pub(super) fn optional_named<T>(
        &self,
        column: usize,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Outcome<Option<T>> {
        let value = self.0.get_ref(column)?;
        let Some(text) = value
            .as_str_or_null()
            .map_err(|_| inconsistent(self.0, column, "no text"))?
        else {
            return Ok(None);
        };
        parse(text)
            .map(Some)
            .ok_or_else(|| inconsistent(self.0, column, &format!("{text:?}")))
    }

    fn media_type(&self, column: usize) -> Outcome<MediaType> {
        self.named(column, |text| MediaType::parse(text).ok())
    }

    fn digest(&self, column: usize) -> Outcome<Option<Sha256Digest>> {
        Ok(self.get::<Option<[u8; 32]>>(column)?.map(Sha256Digest))
    }

    fn record_key(&self, kind: usize) -> Outcome<Option<RecordKey>> {
        let (Some(name), Some(id)) = (
            self.get::<Option<String>>(kind)?,
            self.get::<Option<String>>(kind + 1)?,
        ) else {
            return Ok(None);
        };
        RecordKey::new(&name, &id)
            .map(Some)
            .map_err(|_| inconsistent(self.0, kind, "no record key"))
    }
}

/// Reads the columns of `file_columns!`.
pub(super) fn file(row: &Row<'_>) -> Outcome<File> {
    let c = Columns(row);
    let staged = match c.optional_size(17)? {
        None => None,
        Some(size_bytes) => Some(Staged {
            size_bytes,
            etag: c.text(18)?,
            generation: c.text(19)?,
        }),
    };
    let verified = match c.digest(20)? {
        None => None,
        Some(sha256) => Some(Verified {
            sha256,
            size_bytes: c.size(21)?,
            content_type: c.media_type(22)?,
        }),
    };
    let error = match c.get::<Option<String>>(25)? {
        None => None,
        Some(code) => Some(FileError {
            code,
            message: c.text(26)?,
        }),
    };
    let trash = match c.optional_named(32, FileState::parse)? {
        None => None,
        Some(from) => Some(Trash {
            from,
            at: c.time(33)?,
            purge_at: c.time(34)?,
        }),
    };
    let hold = match c.optional_object(35)? {
        None => None,
        Some(object) => Some(hold::read(&object).ok_or_else(|| inconsistent(row, 35, "no legal hold"))?),
    };
    Ok(File {
        id: FileId(c.id(0)?),
        owner: c.text(1)?,
        created_by_username: c.text(2)?,
        created_by_full_name: c.get(3)?,
        collection: c.text(4)?,
        bucket: c.text(5)?,
        state: c.named(6, FileState::parse)?,
        version: c.size(7)?,
        epoch: c.get(8)?,
        record: c.record_key(9)?,
        filename: c.text(11)?,
        description: c.get(12)?,
        metadata: c.object(13)?,
        declared: Declared {
            content_type: c.media_type(14)?,
            size_bytes: c.optional_size(15)?,
            sha256: c.digest(16)?,
        },
        staged,
        verified,
        key: c.text(23)?,
        facts: c.object(24)?,
        error,
        created_at: c.time(27)?,
        updated_at: c.time(28)?,
        uploaded_at: c.optional_time(29)?,
        confirmed_at: c.optional_time(30)?,
        processed_at: c.optional_time(31)?,
        trash,
        hold,
        unarchived_at: c.optional_time(36)?,
    })
}

/// Binds a file to the numbers of `file_columns!`, from 1. `metadata` is its metadata as text.
pub(super) fn bind_file(statement: &mut Statement<'_>, file: &File, metadata: &str) -> Outcome<()> {
    let staged = file.staged.as_ref();
    let verified = file.verified.as_ref();
    statement.raw_bind_parameter(1, file.id.0.as_bytes())?;
    statement.raw_bind_parameter(2, &file.owner)?;
    statement.raw_bind_parameter(3, &file.created_by_username)?;
    statement.raw_bind_parameter(4, &file.created_by_full_name)?;
    statement.raw_bind_parameter(5, &file.collection)?;
    statement.raw_bind_parameter(6, &file.bucket)?;
    statement.raw_bind_parameter(7, file.state.as_str())?;
    statement.raw_bind_parameter(8, integer(file.version)?)?;
    statement.raw_bind_parameter(9, file.epoch)?;
    statement.raw_bind_parameter(10, file.record.as_ref().map(RecordKey::kind))?;
    statement.raw_bind_parameter(11, file.record.as_ref().map(RecordKey::id))?;
    statement.raw_bind_parameter(12, &file.filename)?;
    statement.raw_bind_parameter(13, &file.description)?;
    statement.raw_bind_parameter(14, metadata)?;
    statement.raw_bind_parameter(15, file.declared.content_type.as_str())?;
    statement.raw_bind_parameter(16, file.declared.size_bytes.map(integer).transpose()?)?;
    statement.raw_bind_parameter(17, file.declared.sha256.map(|digest| digest.0))?;
    statement.raw_bind_parameter(18, staged.map(|s| integer(s.size_bytes)).transpose()?)?;
    statement.raw_bind_parameter(19, staged.map(|s| s.etag.as_str()))?;
    statement.raw_bind_parameter(20, staged.map(|s| s.generation.as_str()))?;
    statement.raw_bind_parameter(21, verified.map(|v| v.sha256.0))?;
    statement.raw_bind_parameter(22, verified.map(|v| integer(v.size_bytes)).transpose()?)?;
    statement.raw_bind_parameter(23, verified.map(|v| v.content_type.as_str()))?;
    statement.raw_bind_parameter(24, &file.key)?;
    statement.raw_bind_parameter(25, json_text(&file.facts)?)?;
    statement.raw_bind_parameter(26, file.error.as_ref().map(|e| e.code.as_str()))?;
    statement.raw_bind_parameter(27, file.error.as_ref().map(|e| e.message.as_str()))?;
    statement.raw_bind_parameter(28, micros(file.created_at))?;
    statement.raw_bind_parameter(29, micros(file.updated_at))?;
    statement.raw_bind_parameter(30, file.uploaded_at.map(micros))?;
    statement.raw_bind_parameter(31, file.confirmed_at.map(micros))?;
    statement.raw_bind_parameter(32, file.processed_at.map(micros))?;
    statement.raw_bind_parameter(33, file.trash.map(|t| t.from.as_str()))?;
    statement.raw_bind_parameter(34, file.trash.map(|t| micros(t.at)))?;
    statement.raw_bind_parameter(35, file.trash.map(|t| micros(t.purge_at)))?;
    let hold = file.hold.as_ref();
    statement.raw_bind_parameter(36, hold.map(|h| json_text(&hold::write(h))).transpose()?)?;
    statement.raw_bind_parameter(37, file.unarchived_at.map(micros))?;
    Ok(())
}

/// Reads an upload.
pub(super) fn upload(row: &Row<'_>) -> Outcome<Upload> {
    let c = Columns(row);
    Ok(Upload {
        file_id: FileId(c.id(0)?),
        method: c.named(1, UploadMethod::parse)?,
        staging_key: c.text(2)?,
        expires_at: c.time(3)?,
        multipart_id: c.get(4)?,
        part_size_bytes: c.optional_size(5)?,
        request_digest: c.digest(6)?,
        reserved_bytes: c.size(7)?,
    })
}

/// Binds an upload to the numbers 1 to 9.
pub(super) fn bind_upload(statement: &mut Statement<'_>, upload: &Upload, open: bool) -> Outcome<()> {
    statement.raw_bind_parameter(1, upload.file_id.0.as_bytes())?;
    statement.raw_bind_parameter(2, upload.method.as_str())?;
    statement.raw_bind_parameter(3, &upload.staging_key)?;
    statement.raw_bind_parameter(4, micros(upload.expires_at))?;
    statement.raw_bind_parameter(5, &upload.multipart_id)?;
    statement.raw_bind_parameter(6, upload.part_size_bytes.map(integer).transpose()?)?;
    statement.raw_bind_parameter(7, upload.request_digest.map(|digest| digest.0))?;
    statement.raw_bind_parameter(8, integer(upload.reserved_bytes)?)?;
    statement.raw_bind_parameter(9, open)?;
    Ok(())
}

/// Reads a derivative.
pub(super) fn derivative(row: &Row<'_>) -> Outcome<Derivative> {
    let c = Columns(row);
    let outcome = match c.get::<Option<String>>(7)? {
        Some(error) => DerivativeOutcome::Failed { error },
        None => DerivativeOutcome::Made {
            key: c.text(2)?,
            content_type: c.media_type(3)?,
            size_bytes: c.size(4)?,
            width: c.get(5)?,
            height: c.get(6)?,
        },
    };
    Ok(Derivative {
        file_id: FileId(c.id(0)?),
        name: c.text(1)?,
        outcome,
        created_at: c.time(8)?,
    })
}

/// Reads an event.
pub(super) fn event(row: &Row<'_>) -> Outcome<Event> {
    let c = Columns(row);
    Ok(Event {
        file_id: FileId(c.id(0)?),
        version: c.size(1)?,
        id: EventId(c.id(2)?),
        kind: c.named(3, EventKind::parse)?,
        state: c.named(4, FileState::parse)?,
        actor: c.text(5)?,
        data: c.object(6)?,
        at: c.time(7)?,
    })
}

/// Reads the columns of `job_columns!`.
pub(super) fn job(row: &Row<'_>) -> Outcome<Job> {
    let c = Columns(row);
    Ok(Job {
        id: JobId(c.id(0)?),
        kind: c.named(1, JobKind::parse)?,
        file_id: FileId(c.id(2)?),
        state: c.named(3, JobState::parse)?,
        run_at: c.time(4)?,
        attempt: c.get(5)?,
        lease_epoch: c.get(6)?,
        lease_owner: c.get::<Option<String>>(7)?.map(WorkerId),
        lease_until: c.optional_time(8)?,
        last_error: c.get(9)?,
        created_at: c.time(10)?,
        failures: c.get(11)?,
        owner: c.get(12)?,
        turn_at: c.optional_time(13)?,
        progress: c.optional_object(14)?.as_ref().and_then(JobProgress::from_json),
    })
}

/// Reads the columns of `intent_columns!`.
pub(super) fn intent(row: &Row<'_>) -> Outcome<Intent> {
    let c = Columns(row);
    Ok(Intent {
        id: IntentId(c.id(0)?),
        kind: c.named(1, IntentKind::parse)?,
        status: c.named(2, IntentStatus::parse)?,
        file_id: c.optional_id(3)?.map(FileId),
        epoch: c.get(4)?,
        data: c.object(5)?,
        actor: c.text(6)?,
        started_at: c.time(7)?,
        lease_until: c.time(8)?,
        completed_at: c.optional_time(9)?,
        error: c.get(10)?,
    })
}

/// Reads a record.
pub(super) fn record(row: &Row<'_>) -> Outcome<Record> {
    let c = Columns(row);
    Ok(Record {
        key: c.record_key(0)?.ok_or_else(|| inconsistent(row, 0, "empty"))?,
        owner: c.text(2)?,
        parent: c.record_key(3)?,
        payload: c.object(5)?,
        meta: c.object(6)?,
        version: c.size(7)?,
        created_at: c.time(8)?,
        updated_at: c.time(9)?,
    })
}
