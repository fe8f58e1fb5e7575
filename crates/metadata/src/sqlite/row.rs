//! Rows as this engine has them: reading columns for [`crate::row`], and binding nouns to statements.

use cloakroom_core::JsonObject;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::Derivative;
use cloakroom_core::event::Event;
use cloakroom_core::file::File;
use cloakroom_core::garbage::Garbage;
use cloakroom_core::intent::Intent;
use cloakroom_core::job::Job;
use cloakroom_core::operation::{Finding, Operation};
use cloakroom_core::ports::administration::UsageCheck;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::StoreState;
use cloakroom_core::upload::Upload;
use jiff::Timestamp;
use rusqlite::{Row, Statement};
use uuid::Uuid;

use super::failure::{Failure, Outcome};
use crate::hold;
use crate::row::{self as rows, Columns};

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

impl Columns for Row<'_> {
    type Failure = Failure;

    fn place(&self, column: usize) -> String {
        let name = self.as_ref().column_name(column);
        let name = name.map_or_else(|_| column.to_string(), str::to_owned);
        match self.get(0).map(Uuid::from_bytes) {
            Ok(id) => format!("{name} of {id}"),
            Err(_) => name,
        }
    }

    fn optional_text(&self, column: usize) -> Outcome<Option<String>> {
        Ok(self.get(column)?)
    }

    fn optional_name(&self, column: usize) -> Outcome<Option<&str>> {
        self.get_ref(column)?
            .as_str_or_null()
            .map_err(|_| self.inconsistent(column, "no text"))
    }

    fn optional_integer(&self, column: usize) -> Outcome<Option<i64>> {
        Ok(self.get(column)?)
    }

    fn optional_id(&self, column: usize) -> Outcome<Option<Uuid>> {
        Ok(self.get::<_, Option<[u8; 16]>>(column)?.map(Uuid::from_bytes))
    }

    fn optional_time(&self, column: usize) -> Outcome<Option<Timestamp>> {
        let micros: Option<i64> = self.get(column)?;
        let time = micros.map(Timestamp::from_microsecond).transpose();
        time.map_err(|_| self.inconsistent(column, "no time"))
    }

    fn optional_object(&self, column: usize) -> Outcome<Option<JsonObject>> {
        match self.optional_name(column)? {
            None => Ok(None),
            Some("{}") => Ok(Some(JsonObject::new())),
            Some(text) => serde_json::from_str(text)
                .map(Some)
                .map_err(|_| self.inconsistent(column, "no JSON object")),
        }
    }

    fn digest(&self, column: usize) -> Outcome<Option<Sha256Digest>> {
        Ok(self.get::<_, Option<[u8; 32]>>(column)?.map(Sha256Digest))
    }
}

/// Reads the columns of `file_columns!`.
pub(super) fn file(row: &Row<'_>) -> Outcome<File> {
    rows::file(row, 35, 36)
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

/// Reads an upload.
pub(super) fn upload(row: &Row<'_>) -> Outcome<Upload> {
    rows::upload(row, 0)
}

/// Reads the nouns whose columns are the same in every engine. Functions, for no closure says that it takes rows of any
/// lifetime.
macro_rules! readers {
    ($($noun:ident: $type:ty),+ $(,)?) => {
        $(
            pub(super) fn $noun(row: &Row<'_>) -> Outcome<$type> {
                rows::$noun(row)
            }
        )+
    };
}

readers! {
    derivative: Derivative,
    event: Event,
    job: Job,
    intent: Intent,
    record: Record,
    garbage: Garbage,
    store_state: StoreState,
    audit_entry: AuditEntry,
    operation: Operation,
    finding: Finding,
    usage_check: UsageCheck,
}
