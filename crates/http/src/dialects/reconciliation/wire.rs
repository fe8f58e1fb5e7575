//! What the document says of a file, and how its words become ours.

use cloakroom_core::JsonObject;
use cloakroom_core::error::Refusal;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::record::RecordKey;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{COLLECTION, RECONCILIATION};
use crate::auth::Caller;
use crate::problem::Result;
use crate::state::HttpState;

/// The record of a reconciliation. Whoever links to it first owns it, unless the application made it before.
pub(super) fn reconciliation(id: Uuid) -> std::result::Result<RecordKey, Refusal> {
    RecordKey::new(RECONCILIATION, &id.as_hyphenated().to_string())
}

/// The caller's file. One of another collection is none of this dialect, and none at all to whoever asks here.
pub(super) async fn file_of(state: &HttpState, caller: &Caller, id: FileId) -> Result<File> {
    let file = state.app.file(caller.principal(), id).await?;
    if file.collection == COLLECTION {
        Ok(file)
    } else {
        Err(Refusal::file_not_found(&id).into())
    }
}

/// Where a file stands.
#[derive(Serialize, ToSchema)]
#[schema(as = ReconciliationStatus)]
pub(super) struct StatusBody {
    /// The file.
    file_id: Uuid,
    /// The same id.
    file_ingestion_id: Uuid,
    /// `pending`, `uploading`, `uploaded`, `confirmed`, `processing`, `ready` or `failed`.
    #[schema(example = "ready")]
    status: &'static str,
    /// `queued`, `processing`, `completed` or `failed`; `null` before it was confirmed.
    processing_status: Option<&'static str>,
    /// The name that the client gave.
    #[schema(example = "transactions.csv")]
    filename: String,
    /// The size in bytes: measured, seen or declared.
    file_size_bytes: Option<u64>,
    /// Rows without the header, as they were counted here.
    row_count: Option<u64>,
    /// Names of the columns, as they were read here.
    columns: Option<Vec<String>>,
    /// Where the client said something else than was found: `{field, declared, found}`.
    #[schema(value_type = Vec<Object>)]
    mismatches: Vec<Value>,
    /// `source` or `comparison`.
    file_type: Option<String>,
    /// The reconciliation that it belongs to.
    reconciliation_id: Option<String>,
    /// When the bytes were first seen complete.
    uploaded_at: Option<Timestamp>,
    /// When processing ended.
    processed_at: Option<Timestamp>,
    /// Why it failed.
    error_message: Option<String>,
    /// The same.
    error: Option<String>,
}

impl StatusBody {
    pub(super) fn of(file: &File) -> Self {
        let fact = |name: &str| file.facts.get(name);
        let columns = fact("columns").and_then(Value::as_array).map(|columns| {
            let names = columns.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        });
        let error = error_message(file);
        Self {
            file_id: file.id.0,
            file_ingestion_id: file.id.0,
            status: status(file.state),
            processing_status: processing_status(file.state),
            filename: file.filename.clone(),
            file_size_bytes: file.size_bytes(),
            row_count: fact("row_count").and_then(Value::as_u64),
            columns,
            mismatches: fact("mismatches")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            file_type: file
                .metadata
                .get("file_type")
                .and_then(Value::as_str)
                .map(str::to_owned),
            reconciliation_id: file
                .record
                .as_ref()
                .filter(|record| record.kind() == RECONCILIATION)
                .map(|record| record.id().to_owned()),
            uploaded_at: file.uploaded_at,
            processed_at: file.processed_at,
            error_message: error.clone(),
            error,
        }
    }
}

/// What the document's answer has beside the native one. `file_id` and `error` are there already, the latter as an object.
pub(crate) fn status_beside(file: &File) -> JsonObject {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(StatusBody::of(file)) else {
        return JsonObject::new();
    };
    fields.retain(|name, _| name != "file_id" && name != "error");
    fields
}

/// The document has seven states.
fn status(state: FileState) -> &'static str {
    match state {
        FileState::Pending => "pending",
        FileState::Uploading => "uploading",
        FileState::Uploaded => "uploaded",
        FileState::Confirmed => "confirmed",
        FileState::Processing => "processing",
        FileState::Ready | FileState::Archived => "ready",
        FileState::Failed
        | FileState::Quarantined
        | FileState::Reaping
        | FileState::Expired
        | FileState::Trashed
        | FileState::Purging => "failed",
    }
}

/// How far the work on a confirmed file is.
pub(super) fn processing_status(state: FileState) -> Option<&'static str> {
    match state {
        FileState::Pending | FileState::Uploading | FileState::Uploaded => None,
        FileState::Confirmed => Some("queued"),
        FileState::Processing => Some("processing"),
        FileState::Ready | FileState::Archived => Some("completed"),
        _ => Some("failed"),
    }
}

/// Why a file is `failed` to the document.
fn error_message(file: &File) -> Option<String> {
    let own = match file.state {
        FileState::Reaping | FileState::Expired => "Nobody confirmed the upload in time; sign a new one.",
        FileState::Trashed | FileState::Purging => "The file was deleted.",
        FileState::Failed | FileState::Quarantined => {
            let told = file.error.as_ref().map(|error| error.message.clone());
            return Some(told.unwrap_or_else(|| "The file could not be processed.".to_owned()));
        }
        _ => return None,
    };
    Some(own.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_word_of_the_document() {
        let words = [
            "pending",
            "uploading",
            "uploaded",
            "confirmed",
            "processing",
            "ready",
            "failed",
        ];
        for state in FileState::ALL {
            assert!(words.contains(&status(*state)), "{state:?}");
            let ended = matches!(status(*state), "ready" | "failed");
            let told = matches!(processing_status(*state), Some("completed" | "failed"));
            assert_eq!(ended, told, "{state:?}");
        }
    }
}
