//! `/admin/files`: what administrators do about files that the scanner holds back. They are listed with
//! `GET /files?state=quarantined`.

use axum::extract::State;
use cloakroom_core::id::FileId;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::wire::FileBody;
use crate::auth::Administrator;
use crate::extract::{Json, Path};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Why a file is let go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseQuarantinedRequest {
    /// A sentence for the audit log.
    #[schema(
        min_length = 1,
        max_length = 300,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$",
        example = "A false alarm; see ticket 118."
    )]
    reason: String,
}

/// Release a quarantined file.
///
/// Whatever the scanner says, it becomes `ready` as soon as its collection's processors have run. The audit log keeps who
/// ordered that, and why. Asked again it changes nothing.
#[utoipa::path(
    post,
    path = "/admin/files/{file_id}/release",
    operation_id = "release_quarantined_file",
    tag = "admin",
    params(("file_id" = Uuid, Path, description = "The file.")),
    request_body = ReleaseQuarantinedRequest,
    responses(
        (status = ACCEPTED, description = "The file as it is now; a worker does the rest.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn release_quarantined_file(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(id): Path<FileId>,
    Json(request): Json<ReleaseQuarantinedRequest>,
) -> Result<(StatusCode, axum::Json<FileBody>)> {
    let file = state
        .app
        .release_quarantined(&principal, id, &request.reason)
        .await?;
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(FileBody::seen_by(&principal, file, &state)),
    ))
}

/// Have a file scanned again.
///
/// A `ready` file in which something is found is quarantined; a quarantined one that is found clean becomes `ready`. To have
/// all files of a collection scanned again, start the operation `rescan`.
#[utoipa::path(
    post,
    path = "/admin/files/{file_id}/rescan",
    operation_id = "rescan_file",
    tag = "admin",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses(
        (status = ACCEPTED, description = "The file as it is now; a worker does the rest.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn rescan_file(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(id): Path<FileId>,
) -> Result<(StatusCode, axum::Json<FileBody>)> {
    let file = state.app.rescan_file_for(&principal, id).await?;
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(FileBody::seen_by(&principal, file, &state)),
    ))
}

/// Delete a quarantined file for good.
///
/// It does not wait in the trash: its bytes go at once.
#[utoipa::path(
    delete,
    path = "/admin/files/{file_id}",
    operation_id = "delete_quarantined_file",
    tag = "admin",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses(
        (status = NO_CONTENT, description = "A worker removes the bytes."),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn delete_quarantined_file(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(id): Path<FileId>,
) -> Result<StatusCode> {
    state.app.purge_quarantined(&principal, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
