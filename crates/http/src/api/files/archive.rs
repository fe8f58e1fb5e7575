//! `POST /files/{id}/archive` and `/unarchive`.

use axum::extract::State;
use cloakroom_core::id::FileId;
use http::StatusCode;

use crate::api::wire::FileBody;
use crate::auth::Caller;
use crate::extract::Path;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Archive a file.
///
/// A job moves its bytes to the archive of its collection; then its state is `archived` and it is no longer downloaded. For
/// operators and administrators. Asked again it changes nothing.
#[utoipa::path(
    post,
    path = "/files/{file_id}/archive",
    operation_id = "archive_file",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses(
        (status = ACCEPTED, description = "The file, before it moves.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn archive_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<(StatusCode, axum::Json<FileBody>)> {
    let principal = caller.principal();
    let file = state.app.archive_file(principal, id).await?;
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(FileBody::seen_by(principal, file, &state)),
    ))
}

/// Bring an archived file back.
///
/// A job moves its bytes back; then its state is `ready` and it is downloaded as before. For operators and administrators.
/// Asked again it changes nothing.
#[utoipa::path(
    post,
    path = "/files/{file_id}/unarchive",
    operation_id = "unarchive_file",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses(
        (status = ACCEPTED, description = "The file, before it moves.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn unarchive_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<(StatusCode, axum::Json<FileBody>)> {
    let principal = caller.principal();
    let file = state.app.unarchive_file(principal, id).await?;
    Ok((
        StatusCode::ACCEPTED,
        axum::Json(FileBody::seen_by(principal, file, &state)),
    ))
}
