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
use cloakroom_core::ports::metadata::{MetadataError, Usage};
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::search::words;
use cloakroom_core::upload::{Upload, UploadMethod};
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};
use uuid::Uuid;

use super::failure::{Failure, Outcome};
use super::values::{Json, JsonText, Text, TextBuf, Time, integer, json_object, json_text};
use crate::hold;

/// A parameter of a statement.
pub(super) type Value<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// Parameters as the driver takes them.
pub(super) fn references<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| -> &(dyn ToSql + Sync) { &**value })
        .collect()
}

/// A value that no row of ours holds.
pub(super) fn inconsistent(row: &Row, column: usize, what: &str) -> Failure {
    let name = row
        .columns()
        .get(column)
        .map_or_else(|| column.to_string(), |column| column.name().to_owned());
    let place = row
        .try_get::<_, Uuid>(0)
        .map_or_else(|_| String::new(), |id| format!(" of {id}"));
    MetadataError::Inconsistent(format!("column {name}{place} is {what}")).into()
}

/// Reads columns by number, with checks.
pub(super) struct Columns<'a>(pub(super) &'a Row);

impl<'a> Columns<'a> {
    pub(super) fn get<T: FromSql<'a>>(&self, column: usize) -> Outcome<T> {
        Ok(self.0.try_get(column)?)
    }

    pub(super) fn text(&self, column: usize) -> Outcome<String> {
        Ok(self.get::<TextBuf>(column)?.0)
    }

    pub(super) fn optional_text(&self, column: usize) -> Outcome<Option<String>> {
        Ok(self.get::<Option<TextBuf>>(column)?.map(|text| text.0))
    }

    pub(super) fn id(&self, column: usize) -> Outcome<Uuid> {
        self.get(column)
    }

    pub(super) fn time(&self, column: usize) -> Outcome<Timestamp> {
        Ok(self.get::<Time>(column)?.0)
    }

    pub(super) fn optional_time(&self, column: usize) -> Outcome<Option<Timestamp>> {
        Ok(self.get::<Option<Time>>(column)?.map(|time| time.0))
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

    pub(super) fn count(&self, column: usize) -> Outcome<u32> {
        self.optional_count(column)?
            .ok_or_else(|| inconsistent(self.0, column, "empty"))
    }

    pub(super) fn optional_count(&self, column: usize) -> Outcome<Option<u32>> {
        let Some(value) = self.get::<Option<i64>>(column)? else {
            return Ok(None);
        };
        u32::try_from(value)
            .map(Some)
            .map_err(|_| inconsistent(self.0, column, "no count"))
    }

    /// The number of a column.
    fn place(&self, name: &str) -> Outcome<usize> {
        let mut columns = self.0.columns().iter();
        columns
            .position(|column| column.name() == name)
            .ok_or_else(|| MetadataError::Internal(format!("column {name} was not asked for")).into())
    }

    pub(super) fn object(&self, column: usize) -> Outcome<JsonObject> {
        self.optional_object(column)?
            .ok_or_else(|| inconsistent(self.0, column, "empty"))
    }

    pub(super) fn optional_object(&self, column: usize) -> Outcome<Option<JsonObject>> {
        let Some(text) = self.get::<Option<JsonText<'_>>>(column)? else {
            return Ok(None);
        };
        json_object(text.0)
            .map(Some)
            .ok_or_else(|| inconsistent(self.0, column, "no JSON object"))
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
        let Some(text) = self.get::<Option<&str>>(column)? else {
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
        let Some(bytes) = self.get::<Option<&[u8]>>(column)? else {
            return Ok(None);
        };
        bytes
            .try_into()
            .map(|digest| Some(Sha256Digest(digest)))
            .map_err(|_| inconsistent(self.0, column, "no SHA-256"))
    }

    fn record_key(&self, kind: usize) -> Outcome<Option<RecordKey>> {
        let (Some(name), Some(id)) = (self.optional_text(kind)?, self.optional_text(kind + 1)?) else {
            return Ok(None);
        };
        RecordKey::new(&name, &id)
            .map(Some)
            .map_err(|_| inconsistent(self.0, kind, "no record key"))
    }
}

/// Reads the columns of `file_columns!`, and by their names those of `later_file_columns!`.
pub(super) fn file(row: &Row) -> Outcome<File> {
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
    let error = match c.optional_text(25)? {
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
    let place = c.place("legal_hold")?;
    let hold = match c.optional_object(place)? {
        None => None,
        Some(object) => Some(hold::read(&object).ok_or_else(|| inconsistent(row, place, "no legal hold"))?),
    };
    Ok(File {
        id: FileId(c.id(0)?),
        owner: c.text(1)?,
        created_by_username: c.text(2)?,
        created_by_full_name: c.optional_text(3)?,
        collection: c.text(4)?,
        bucket: c.text(5)?,
        state: c.named(6, FileState::parse)?,
        version: c.size(7)?,
        epoch: c.count(8)?,
        record: c.record_key(9)?,
        filename: c.text(11)?,
        description: c.optional_text(12)?,
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
        unarchived_at: c.optional_time(c.place("unarchived_at")?)?,
    })
}

/// The values of `$1` to `$37`: the columns of `file_columns!`, whether it is open, and the words that it is found by.
pub(super) fn file_values(file: &File) -> Outcome<Vec<Value<'_>>> {
    let staged = file.staged.as_ref();
    let verified = file.verified.as_ref();
    let open = file.state.is_open();
    let found_by = (!open).then(|| words(&file.search_source()));
    Ok(vec![
        Box::new(file.id.0),
        Box::new(Text(&file.owner)),
        Box::new(Text(&file.created_by_username)),
        Box::new(file.created_by_full_name.as_deref().map(Text)),
        Box::new(Text(&file.collection)),
        Box::new(Text(&file.bucket)),
        Box::new(file.state.as_str()),
        Box::new(integer(file.version)?),
        Box::new(i64::from(file.epoch)),
        Box::new(file.record.as_ref().map(RecordKey::kind)),
        Box::new(file.record.as_ref().map(|key| Text(key.id()))),
        Box::new(Text(&file.filename)),
        Box::new(file.description.as_deref().map(Text)),
        Box::new(Json(json_text(&file.metadata)?)),
        Box::new(file.declared.content_type.as_str()),
        Box::new(file.declared.size_bytes.map(integer).transpose()?),
        Box::new(file.declared.sha256.as_ref().map(|digest| &digest.0[..])),
        Box::new(staged.map(|s| integer(s.size_bytes)).transpose()?),
        Box::new(staged.map(|s| Text(&s.etag))),
        Box::new(staged.map(|s| Text(&s.generation))),
        Box::new(verified.map(|v| &v.sha256.0[..])),
        Box::new(verified.map(|v| integer(v.size_bytes)).transpose()?),
        Box::new(verified.map(|v| v.content_type.as_str())),
        Box::new(Text(&file.key)),
        Box::new(Json(json_text(&file.facts)?)),
        Box::new(file.error.as_ref().map(|e| Text(&e.code))),
        Box::new(file.error.as_ref().map(|e| Text(&e.message))),
        Box::new(Time(file.created_at)),
        Box::new(Time(file.updated_at)),
        Box::new(file.uploaded_at.map(Time)),
        Box::new(file.confirmed_at.map(Time)),
        Box::new(file.processed_at.map(Time)),
        Box::new(file.trash.map(|t| t.from.as_str())),
        Box::new(file.trash.map(|t| Time(t.at))),
        Box::new(file.trash.map(|t| Time(t.purge_at))),
        Box::new(open),
        Box::new(found_by),
    ])
}

/// The values of `$1` to `$39`: those of [`file_values`] and those that a new file never has.
pub(super) fn changed_file_values(file: &File) -> Outcome<Vec<Value<'_>>> {
    let mut values = file_values(file)?;
    let hold = file.hold.as_ref().map(|hold| json_text(&hold::write(hold)));
    values.push(Box::new(hold.transpose()?.map(Json)));
    values.push(Box::new(file.unarchived_at.map(Time)));
    Ok(values)
}

/// The values of `$1` to `$46`: a file's, and those of its upload.
pub(super) fn restored_file_values<'a>(
    file: &'a File,
    upload: Option<&'a Upload>,
) -> Outcome<Vec<Value<'a>>> {
    let mut values = changed_file_values(file)?;
    match upload {
        Some(upload) => values.extend(upload_values(upload)?),
        None => values.extend([
            Box::new(None::<&str>) as Value<'_>,
            Box::new(None::<&str>),
            Box::new(None::<Time>),
            Box::new(None::<&str>),
            Box::new(None::<i64>),
            Box::new(None::<&[u8]>),
            Box::new(None::<i64>),
        ]),
    }
    Ok(values)
}

/// Reads the columns of `upload_columns!`, beginning at `from`.
pub(super) fn upload(row: &Row, from: usize) -> Outcome<Upload> {
    let c = Columns(row);
    Ok(Upload {
        file_id: FileId(c.id(from)?),
        method: c.named(from + 1, UploadMethod::parse)?,
        staging_key: c.text(from + 2)?,
        expires_at: c.time(from + 3)?,
        multipart_id: c.optional_text(from + 4)?,
        part_size_bytes: c.optional_size(from + 5)?,
        request_digest: c.digest(from + 6)?,
        reserved_bytes: c.size(from + 7)?,
    })
}

/// The values of an upload's columns but its file.
pub(super) fn upload_values(upload: &Upload) -> Outcome<Vec<Value<'_>>> {
    Ok(vec![
        Box::new(upload.method.as_str()),
        Box::new(Text(&upload.staging_key)),
        Box::new(Time(upload.expires_at)),
        Box::new(upload.multipart_id.as_deref().map(Text)),
        Box::new(upload.part_size_bytes.map(integer).transpose()?),
        Box::new(upload.request_digest.as_ref().map(|digest| &digest.0[..])),
        Box::new(integer(upload.reserved_bytes)?),
    ])
}

/// Reads a derivative.
pub(super) fn derivative(row: &Row) -> Outcome<Derivative> {
    let c = Columns(row);
    let outcome = match c.optional_text(7)? {
        Some(error) => DerivativeOutcome::Failed { error },
        None => DerivativeOutcome::Made {
            key: c.text(2)?,
            content_type: c.media_type(3)?,
            size_bytes: c.size(4)?,
            width: c.optional_count(5)?,
            height: c.optional_count(6)?,
        },
    };
    Ok(Derivative {
        file_id: FileId(c.id(0)?),
        name: c.text(1)?,
        outcome,
        created_at: c.time(8)?,
    })
}

/// The values of a derivative.
pub(super) fn derivative_values(derivative: &Derivative) -> Outcome<Vec<Value<'_>>> {
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
        DerivativeOutcome::Failed { error } => (None, Some(Text(error))),
    };
    Ok(vec![
        Box::new(derivative.file_id.0),
        Box::new(Text(&derivative.name)),
        Box::new(made.map(|m| Text(m.0))),
        Box::new(made.map(|m| m.1)),
        Box::new(made.map(|m| m.2)),
        Box::new(made.and_then(|m| m.3.map(i64::from))),
        Box::new(made.and_then(|m| m.4.map(i64::from))),
        Box::new(failed),
        Box::new(Time(derivative.created_at)),
    ])
}

/// Reads the columns of `event_columns!`.
pub(super) fn event(row: &Row) -> Outcome<Event> {
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

/// The values of an event.
pub(super) fn event_values(event: &Event) -> Outcome<Vec<Value<'_>>> {
    Ok(vec![
        Box::new(event.file_id.0),
        Box::new(integer(event.version)?),
        Box::new(event.id.0),
        Box::new(event.kind.as_str()),
        Box::new(event.state.as_str()),
        Box::new(Text(&event.actor)),
        Box::new(Json(json_text(&event.data)?)),
        Box::new(Time(event.at)),
    ])
}

/// Reads the columns of `job_columns!`.
pub(super) fn job(row: &Row) -> Outcome<Job> {
    let c = Columns(row);
    Ok(Job {
        id: JobId(c.id(0)?),
        kind: c.named(1, JobKind::parse)?,
        file_id: FileId(c.id(2)?),
        state: c.named(3, JobState::parse)?,
        run_at: c.time(4)?,
        attempt: c.count(5)?,
        lease_epoch: c.count(6)?,
        lease_owner: c.optional_text(7)?.map(WorkerId),
        lease_until: c.optional_time(8)?,
        last_error: c.optional_text(9)?,
        created_at: c.time(10)?,
        failures: c.count(11)?,
        owner: c.optional_text(12)?,
        turn_at: c.optional_time(13)?,
        progress: c.optional_object(14)?.as_ref().and_then(JobProgress::from_json),
    })
}

/// Reads a record.
pub(super) fn record(row: &Row) -> Outcome<Record> {
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

/// The values of a record.
pub(super) fn record_values(record: &Record) -> Outcome<Vec<Value<'_>>> {
    Ok(vec![
        Box::new(record.key.kind()),
        Box::new(Text(record.key.id())),
        Box::new(Text(&record.owner)),
        Box::new(record.parent.as_ref().map(RecordKey::kind)),
        Box::new(record.parent.as_ref().map(|key| Text(key.id()))),
        Box::new(Json(json_text(&record.payload)?)),
        Box::new(Json(json_text(&record.meta)?)),
        Box::new(integer(record.version)?),
        Box::new(Time(record.created_at)),
        Box::new(Time(record.updated_at)),
    ])
}

/// Reads the columns of `intent_columns!`.
pub(super) fn intent(row: &Row) -> Outcome<Intent> {
    let c = Columns(row);
    Ok(Intent {
        id: IntentId(c.id(0)?),
        kind: c.named(1, IntentKind::parse)?,
        status: c.named(2, IntentStatus::parse)?,
        file_id: c.get::<Option<Uuid>>(3)?.map(FileId),
        epoch: c.count(4)?,
        data: c.object(5)?,
        actor: c.text(6)?,
        started_at: c.time(7)?,
        lease_until: c.time(8)?,
        completed_at: c.optional_time(9)?,
        error: c.optional_text(10)?,
    })
}

/// The values of an intent.
pub(super) fn intent_values(intent: &Intent) -> Outcome<Vec<Value<'_>>> {
    Ok(vec![
        Box::new(intent.id.0),
        Box::new(intent.kind.as_str()),
        Box::new(intent.status.as_str()),
        Box::new(intent.file_id.map(|id| id.0)),
        Box::new(i64::from(intent.epoch)),
        Box::new(Json(json_text(&intent.data)?)),
        Box::new(Text(&intent.actor)),
        Box::new(Time(intent.started_at)),
        Box::new(Time(intent.lease_until)),
        Box::new(intent.completed_at.map(Time)),
        Box::new(intent.error.as_deref().map(Text)),
    ])
}

/// Reads what an owner uses, beginning at `from`.
pub(super) fn usage(row: &Row, from: usize) -> Outcome<Usage> {
    let c = Columns(row);
    Ok(Usage {
        reserved_bytes: c.size(from)?,
        stored_bytes: c.size(from + 1)?,
        files: c.size(from + 2)?,
    })
}

/// Every row, read.
pub(super) fn all<T>(rows: &[Row], read: impl Fn(&Row) -> Outcome<T>) -> Outcome<Vec<T>> {
    rows.iter().map(read).collect()
}
