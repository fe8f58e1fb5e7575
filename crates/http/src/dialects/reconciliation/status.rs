//! `GET /files/{file_id}/status`, by the id of the file, which is that of its ingestion as well.

use axum::extract::State;
use cloakroom_core::id::FileId;

use super::wire::{StatusBody, file_of};
use crate::auth::Caller;
use crate::extract::Path;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// See how far a table is.
///
/// Ask every other second until it is `ready` or `failed`; or follow it at `GET /api/v1/files/{file_id}/status` as a stream.
#[utoipa::path(
    get,
    path = "/files/{file_id}/status",
    operation_id = "reconciliation_status",
    tag = "dialect: reconciliation",
    params(("file_id" = Uuid, Path, description = "The file, or its ingestion.")),
    responses((status = OK, description = "Where it stands.", body = StatusBody), Refused::<404>),
)]
pub(super) async fn get_status(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<axum::Json<StatusBody>> {
    let file = file_of(&state, &caller, id).await?;
    Ok(axum::Json(StatusBody::of(&file)))
}
