//! `POST /files/confirm`: the bytes are there, and what the client knows of them.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::FileId;
use cloakroom_service::uploads::ConfirmUpload;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::wire::{file_of, processing_status, reconciliation};
use crate::api::wire::checksum;
use crate::auth::Caller;
use crate::extract::Json;
use crate::extract::json::{Whole, optional_object};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Names of columns are kept as the client's claim while they are no longer than this together; of more only their number.
const COLUMNS_BYTES_MAX: usize = 1_024;

/// What was uploaded. Other fields are passed over.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ReconciliationConfirmRequest)]
pub(super) struct ConfirmRequest {
    /// The file.
    file_id: Uuid,
    /// Where the upload went; it must be what it was signed for.
    object_name: Option<String>,
    /// As `object_name`.
    bucket_name: Option<String>,
    /// The reconciliation that it belongs to.
    #[schema(
        value_type = Option<String>,
        pattern = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
    )]
    reconciliation_id: Option<Uuid>,
    /// What the client knows of the file.
    #[serde(default, deserialize_with = "optional_object")]
    metadata: Option<Claims>,
}

/// What the client knows of the file. Everything is checked, by now or when the file is processed; what is found counts.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = ReconciliationClaims)]
struct Claims {
    /// Names of the columns.
    columns: Option<Vec<String>>,
    /// Rows, without the header.
    #[schema(value_type = Option<u64>)]
    row_count: Option<Whole>,
    /// The SHA-256 of the bytes in hexadecimal; other bytes are refused.
    #[schema(example = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    file_hash: Option<String>,
    /// The size in bytes; another one is refused.
    #[schema(value_type = Option<u64>)]
    size: Option<Whole>,
    /// The rest, `original_filename` and `type` in the document's flow, is kept.
    #[serde(flatten)]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    rest: JsonObject,
}

impl Claims {
    /// What is kept of it. What has the name of a fact is compared with what the worker finds.
    fn metadata(&mut self) -> JsonObject {
        let mut metadata = std::mem::take(&mut self.rest);
        // Which side it is was said when it was signed.
        metadata.remove("file_type");
        if let Some(columns) = self.columns.take() {
            let bytes: usize = columns.iter().map(|name| name.len() + 3).sum();
            if bytes <= COLUMNS_BYTES_MAX {
                metadata.insert("columns".to_owned(), columns.into());
            } else {
                metadata.insert("column_count".to_owned(), columns.len().into());
            }
        }
        if let Some(Whole(rows)) = self.row_count {
            metadata.insert("row_count".to_owned(), rows.into());
        }
        // An unknown type of a browser's file is an empty text, which says nothing.
        metadata.retain(|_, value| *value != Value::Null && *value != Value::String(String::new()));
        metadata
    }
}

/// A confirmed file.
#[derive(Serialize, ToSchema)]
#[schema(as = ReconciliationConfirmed)]
pub(super) struct ConfirmedBody {
    /// `confirmed`.
    #[schema(example = "confirmed")]
    status: &'static str,
    /// What the processing is asked about by: the file itself.
    file_ingestion_id: Uuid,
    /// The file.
    file_id: Uuid,
    /// `queued`, and when it is confirmed again what has become of it since: `processing`, `completed`, `failed`.
    #[schema(example = "queued")]
    processing_status: Option<&'static str>,
}

/// Confirm the upload of a table.
///
/// The bytes are looked for and compared with what was said of them; then the table is read in the background. Confirming
/// again gives the same answer, and links the file to a reconciliation if it hangs on none yet.
#[utoipa::path(
    post,
    path = "/files/confirm",
    operation_id = "reconciliation_confirm",
    tag = "dialect: reconciliation",
    request_body = ConfirmRequest,
    responses(
        (status = OK, description = "Confirmed; it is processed in the background.", body = ConfirmedBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>, Refused::<413>,
    ),
)]
pub(super) async fn confirm_upload(
    State(state): State<HttpState>,
    caller: Caller,
    Json(request): Json<ConfirmRequest>,
) -> Result<axum::Json<ConfirmedBody>> {
    let file = file_of(&state, &caller, FileId(request.file_id)).await?;
    let mut claims = request.metadata.unwrap_or_default();
    let confirm = ConfirmUpload {
        record: request.reconciliation_id.map(reconciliation).transpose()?,
        checksum_sha256: claims
            .file_hash
            .take()
            .map(|text| file_hash(&text))
            .transpose()?
            .flatten(),
        size_bytes: claims.size.take().map(|Whole(size)| size),
        metadata: Some(claims.metadata()).filter(|metadata| !metadata.is_empty()),
        object_name: request.object_name,
        bucket_name: request.bucket_name,
    };
    let confirmed = state
        .app
        .confirm_upload(caller.principal(), file.id, confirm)
        .await?;
    Ok(axum::Json(ConfirmedBody {
        status: "confirmed",
        file_ingestion_id: confirmed.file.id.0,
        file_id: confirmed.file.id.0,
        processing_status: processing_status(confirmed.file.state),
    }))
}

/// The hash, with `sha256:` before it or without; an empty text says nothing.
fn file_hash(text: &str) -> Result<Option<cloakroom_core::checksum::Sha256Digest>> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    if digits.is_empty() {
        return Ok(None);
    }
    let digest = checksum(digits).map_err(|_| {
        Problem::new(
            ErrorCode::InvalidRequest,
            "Field `metadata.file_hash`: a SHA-256 is 64 hexadecimal digits.",
        )
        .with("field", "metadata.file_hash")
    })?;
    Ok(Some(digest))
}
