//! `POST /api/v1/attachments/confirm`.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::FileId;
use cloakroom_service::uploads::ConfirmUpload;
use http::HeaderMap;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::wire::{Attachment, Id, attachment};
use crate::api::wire::checksum;
use crate::auth::Caller;
use crate::dialects::settling::settled;
use crate::extract::Json;
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// What was sent. Other fields are passed over.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct ConfirmRequest {
    /// The attachment.
    attachment_id: Option<Uuid>,
    /// Another name of the same.
    id: Option<Uuid>,
    /// Another name of the same.
    file_id: Option<Uuid>,
    /// The message that it hangs on.
    message_id: Option<Id>,
    /// The SHA-256 that the bytes must have, if it was not declared before.
    #[schema(min_length = 64, max_length = 64, pattern = "^[0-9a-fA-F]{64}$")]
    checksum_sha256: Option<String>,
    /// Fields to add to the metadata, replacing those of the same name.
    #[schema(value_type = Option<Object>, additional_properties = true)]
    metadata: Option<JsonObject>,
}

impl ConfirmRequest {
    fn file_id(&self) -> Result<FileId> {
        let named: Vec<Uuid> = [self.attachment_id, self.id, self.file_id]
            .into_iter()
            .flatten()
            .collect();
        let refused = |message: &str| {
            Err(Problem::new(ErrorCode::InvalidRequest, message).with("field", "attachment_id"))
        };
        match named.as_slice() {
            [] => refused("Field `attachment_id` is missing: the id that `presigned` answered with."),
            [first, others @ ..] if others.iter().all(|other| other == first) => Ok(FileId(*first)),
            _ => refused("Fields `attachment_id`, `id` and `file_id` name different attachments."),
        }
    }
}

/// Confirm an attachment.
///
/// Says that the form was sent. The answer comes when the bytes are verified, with their address, or after ten seconds with
/// how far that is; at once with `Prefer: respond-async`. Confirming again gives the same answer.
#[utoipa::path(
    post,
    path = "/api/v1/attachments/confirm",
    operation_id = "attachments_confirm",
    tag = "dialect: attachments",
    request_body = ConfirmRequest,
    params(("Prefer" = Option<String>, Header, description = "`respond-async` answers at once (RFC 7240).")),
    responses(
        (status = OK, description = "The attachment.", body = Attachment),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>,
    ),
)]
pub(super) async fn confirm(
    State(state): State<HttpState>,
    caller: Caller,
    headers: HeaderMap,
    Json(request): Json<ConfirmRequest>,
) -> Result<axum::Json<Attachment>> {
    let id = request.file_id()?;
    let confirm = ConfirmUpload {
        record: request.message_id.as_ref().map(Id::message).transpose()?,
        checksum_sha256: request.checksum_sha256.as_deref().map(checksum).transpose()?,
        metadata: request.metadata,
        ..ConfirmUpload::default()
    };
    // What is no attachment is not confirmed either.
    attachment(&state, &caller, id).await?;
    let confirmed = state.app.confirm_upload(caller.principal(), id, confirm).await?;
    let file = settled(&state, &caller, confirmed.file, &headers).await?;
    Ok(axum::Json(Attachment::of(&state, &caller, file).await?))
}
