//! Rows as this engine has them: reading columns for [`crate::row`], and nouns to values.

use cloakroom_core::JsonObject;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::event::Event;
use cloakroom_core::file::File;
use cloakroom_core::intent::Intent;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::search::words;
use cloakroom_core::upload::Upload;
use jiff::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::failure::{Failure, Outcome};
use super::values::{Json, JsonText, Text, TextBuf, Time, integer, json_object, json_text};
use crate::hold;
use crate::row::{self as rows, Columns};
pub(super) use crate::row::{
    audit_entry, derivative, event, finding, garbage, intent, job, operation, record, store_state, upload,
    usage, usage_check,
};

/// A parameter of a statement.
pub(super) type Value<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// Parameters as the driver takes them.
pub(super) fn references<'a>(values: &'a [Value<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    values
        .iter()
        .map(|value| -> &(dyn ToSql + Sync) { &**value })
        .collect()
}

impl Columns for Row {
    type Failure = Failure;

    fn place(&self, column: usize) -> String {
        let columns = self.columns();
        let name = columns
            .get(column)
            .map_or_else(|| column.to_string(), |column| column.name().to_owned());
        match self.try_get::<_, Uuid>(0) {
            Ok(id) => format!("{name} of {id}"),
            Err(_) => name,
        }
    }

    fn optional_text(&self, column: usize) -> Outcome<Option<String>> {
        Ok(self.try_get::<_, Option<TextBuf>>(column)?.map(|text| text.0))
    }

    fn optional_name(&self, column: usize) -> Outcome<Option<&str>> {
        Ok(self.try_get(column)?)
    }

    fn optional_integer(&self, column: usize) -> Outcome<Option<i64>> {
        Ok(self.try_get(column)?)
    }

    fn optional_id(&self, column: usize) -> Outcome<Option<Uuid>> {
        Ok(self.try_get(column)?)
    }

    fn optional_time(&self, column: usize) -> Outcome<Option<Timestamp>> {
        Ok(self.try_get::<_, Option<Time>>(column)?.map(|time| time.0))
    }

    fn optional_object(&self, column: usize) -> Outcome<Option<JsonObject>> {
        let Some(text) = self.try_get::<_, Option<JsonText<'_>>>(column)? else {
            return Ok(None);
        };
        json_object(text.0)
            .map(Some)
            .ok_or_else(|| self.inconsistent(column, "no JSON object"))
    }

    fn digest(&self, column: usize) -> Outcome<Option<Sha256Digest>> {
        let bytes = self.try_get::<_, Option<&[u8]>>(column)?;
        let digest = bytes.map(<[u8; 32]>::try_from).transpose();
        let digest = digest.map_err(|_| self.inconsistent(column, "no SHA-256"))?;
        Ok(digest.map(Sha256Digest))
    }
}

/// The number of a column.
fn number(row: &Row, name: &str) -> Outcome<usize> {
    let mut columns = row.columns().iter();
    columns
        .position(|column| column.name() == name)
        .ok_or_else(|| MetadataError::Internal(format!("column {name} was not asked for")).into())
}

/// Reads the columns of `file_columns!`, and by their names those of `later_file_columns!`.
pub(super) fn file(row: &Row) -> Outcome<File> {
    rows::file(row, number(row, "legal_hold")?, number(row, "unarchived_at")?)
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

/// Every row, read.
pub(super) fn all<T>(rows: &[Row], read: impl Fn(&Row) -> Outcome<T>) -> Outcome<Vec<T>> {
    rows.iter().map(read).collect()
}
