//! `POST /uploads/{id}/confirm`.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::id::FileId;
use cloakroom_service::uploads::ConfirmUpload;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::wire::{FileBody, RecordRef, checksum};
use crate::auth::Caller;
use crate::extract::json::optional_object;
use crate::extract::{OptionalJson, Path};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// What to add when confirming.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmUploadRequest {
    /// Link the file to this record.
    #[serde(default, deserialize_with = "optional_object")]
    record: Option<RecordRef>,
    /// Fields to add to the metadata, replacing those of the same name.
    #[schema(value_type = Option<Object>, additional_properties = true)]
    metadata: Option<JsonObject>,
    /// The SHA-256 that the bytes must have, if it was not declared before.
    #[schema(min_length = 64, max_length = 64, pattern = "^[0-9a-fA-F]{64}$")]
    checksum_sha256: Option<String>,
}

/// Confirm an upload.
///
/// Says that the bytes are there. They are checked against what was declared, and from then on the file will become
/// `ready`, `failed` or `quarantined` by itself. Confirming again gives the same answer.
#[utoipa::path(
    post,
    path = "/uploads/{file_id}/confirm",
    operation_id = "confirm_upload",
    tag = "uploads",
    params(("file_id" = Uuid, Path, description = "The file.")),
    request_body = Option<ConfirmUploadRequest>,
    responses(
        (status = OK, description = "The confirmed file.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>,
    ),
)]
pub async fn confirm_upload(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    OptionalJson(request): OptionalJson<ConfirmUploadRequest>,
) -> Result<axum::Json<FileBody>> {
    let request = ConfirmUpload {
        record: request.record.map(TryInto::try_into).transpose()?,
        metadata: request.metadata,
        checksum_sha256: request.checksum_sha256.as_deref().map(checksum).transpose()?,
        ..ConfirmUpload::default()
    };
    let confirmed = state.app.confirm_upload(caller.principal(), id, request).await?;
    Ok(axum::Json(confirmed.file.into()))
}
