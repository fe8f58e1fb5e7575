//! `PATCH` and `DELETE /files/{id}`, `POST /files/{id}/restore`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::JsonObject;
use cloakroom_core::file::FilePatch;
use cloakroom_core::id::FileId;
use http::{StatusCode, header};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::get::etag;
use crate::api::wire::{FileBody, RecordRef};
use crate::auth::Caller;
use crate::extract::header::IfMatch;
use crate::extract::json::{nullable, nullable_object};
use crate::extract::{Json, Path};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// What to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent and `null` mean different things")]
pub struct UpdateFileRequest {
    /// A new name.
    #[serde(default, deserialize_with = "present")]
    #[schema(
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f/\\\\]*[^\\s.\\u0000-\\u001f\\u007f-\\u009f/\\\\][^\\u0000-\\u001f\\u007f-\\u009f/\\\\]*$"
    )]
    filename: Option<String>,
    /// A new text; `null` removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 2000, pattern = "^[^\\u0000]*$")]
    description: Option<Option<String>>,
    /// New metadata, whole.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Object, required = false, additional_properties = true)]
    metadata: Option<JsonObject>,
    /// A new record; `null` unlinks.
    #[serde(default, deserialize_with = "nullable_object")]
    #[schema(value_type = Option<RecordRef>)]
    record: Option<Option<RecordRef>>,
}

/// A field that may be absent but not `null`.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Change a file.
///
/// Name, description, metadata or record; never the bytes.
#[utoipa::path(
    patch,
    path = "/files/{file_id}",
    operation_id = "update_file",
    tag = "files",
    params(
        ("file_id" = Uuid, Path, description = "The file."),
        ("If-Match" = Option<String>, Header, description = "Only if this is still the version.", pattern = "^(\\*|\"[0-9]+\")$"),
    ),
    request_body = UpdateFileRequest,
    responses(
        (status = OK, description = "The changed file.", body = FileBody, headers(("ETag" = String, description = "The version, in quotes."))),
        Refused::<404>, Refused::<409>, Refused::<412>,
    ),
)]
pub async fn update_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    IfMatch(version): IfMatch,
    Json(request): Json<UpdateFileRequest>,
) -> Result<Response> {
    let patch = FilePatch {
        filename: request.filename,
        description: request.description,
        metadata: request.metadata,
        record: request
            .record
            .map(|record| record.map(TryInto::try_into).transpose())
            .transpose()?,
    };
    let file = state
        .app
        .update_file(caller.principal(), id, patch, version)
        .await?;
    Ok((
        [(header::ETAG, etag(file.version))],
        axum::Json(FileBody::of(file, &state)),
    )
        .into_response())
}

/// Delete a file.
///
/// It goes to the trash and can be restored until `purge_at`. An open upload is given up. Deleting again changes
/// nothing.
#[utoipa::path(
    delete,
    path = "/files/{file_id}",
    operation_id = "delete_file",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses((status = NO_CONTENT, description = "Deleted."), Refused::<404>, Refused::<409>),
)]
pub async fn delete_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<StatusCode> {
    state.app.delete_file(caller.principal(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restore a deleted file.
#[utoipa::path(
    post,
    path = "/files/{file_id}/restore",
    operation_id = "restore_file",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses((status = OK, description = "The file, as it was.", body = FileBody), Refused::<404>, Refused::<409>),
)]
pub async fn restore_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<axum::Json<FileBody>> {
    let file = state.app.restore_file(caller.principal(), id).await?;
    Ok(axum::Json(FileBody::of(file, &state)))
}
