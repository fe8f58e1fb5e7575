//! `DELETE /uploads/{id}`.

use axum::extract::State;
use cloakroom_core::id::FileId;
use http::StatusCode;

use crate::auth::Caller;
use crate::extract::Path;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Give an upload up.
///
/// What has arrived is removed and the reserved space comes free. A confirmed file is deleted through `/files`.
#[utoipa::path(
    delete,
    path = "/uploads/{file_id}",
    operation_id = "abort_upload",
    tag = "uploads",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses((status = NO_CONTENT, description = "Given up."), Refused::<404>, Refused::<409>),
)]
pub async fn abort_upload(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<StatusCode> {
    state.app.abort_upload(caller.principal(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
