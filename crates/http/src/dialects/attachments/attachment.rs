//! `GET /api/v1/attachments/{id}`.

use axum::extract::State;
use cloakroom_core::id::FileId;

use super::wire::{Attachment, standing_attachment};
use crate::auth::Caller;
use crate::extract::Path;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Get an attachment.
///
/// With the address of its bytes, once it is ready.
#[utoipa::path(
    get,
    path = "/api/v1/attachments/{file_id}",
    operation_id = "attachments_get",
    tag = "dialect: attachments",
    params(("file_id" = Uuid, Path, description = "The attachment.")),
    responses((status = OK, description = "The attachment.", body = Attachment), Refused::<404>, Refused::<409>),
)]
pub(super) async fn get_attachment(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<axum::Json<Attachment>> {
    let file = standing_attachment(&state, &caller, id).await?;
    Ok(axum::Json(Attachment::of(&state, &caller, file).await?))
}
