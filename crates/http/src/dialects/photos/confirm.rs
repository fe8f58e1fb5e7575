//! `POST /api/v1/complaints/{id}/photos/confirm`.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::id::FileId;
use cloakroom_service::uploads::ConfirmUpload;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::complaint::{Complaint, ComplaintParameters};
use super::wire::PhotoBody;
use crate::api::wire::checksum;
use crate::auth::Caller;
use crate::extract::json::Whole;
use crate::extract::{Json, Path};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// A photo that is there.
#[derive(Deserialize, ToSchema)]
#[schema(as = PhotoConfirmRequest)]
pub(super) struct ConfirmRequest {
    /// What presign answered.
    photo_id: Uuid,
    /// The SHA-256 that the bytes must have, if it was not declared before.
    #[serde(alias = "sha256", alias = "checksum")]
    #[schema(min_length = 64, max_length = 64)]
    checksum_sha256: Option<String>,
    /// The size that the bytes must have, if it was not declared before.
    #[serde(alias = "size_bytes", alias = "content_length", alias = "size")]
    #[schema(value_type = Option<u64>)]
    file_size: Option<Whole>,
    /// Pixels as the client takes them to be; what is measured counts, and a difference is told.
    #[schema(value_type = Option<u64>)]
    width: Option<Whole>,
    /// As `width`.
    #[schema(value_type = Option<u64>)]
    height: Option<Whole>,
    /// Fields to add to the metadata, replacing those of the same name.
    #[schema(value_type = Option<Object>, additional_properties = true)]
    metadata: Option<JsonObject>,
}

impl ConfirmRequest {
    fn into_service(self) -> Result<ConfirmUpload> {
        let claims = [("width", self.width), ("height", self.height)];
        let mut metadata = self.metadata;
        for (name, claim) in claims {
            if let Some(Whole(pixels)) = claim {
                metadata
                    .get_or_insert_default()
                    .insert(name.to_owned(), pixels.into());
            }
        }
        Ok(ConfirmUpload {
            metadata,
            checksum_sha256: self.checksum_sha256.as_deref().map(checksum).transpose()?,
            size_bytes: self.file_size.map(|Whole(size)| size),
            ..ConfirmUpload::default()
        })
    }
}

/// Confirm a photo.
///
/// Says that it is in the store. It is checked, and a worker verifies it, measures it and makes thumbnails. Confirming again
/// gives the same answer.
#[utoipa::path(
    post,
    path = "/api/v1/complaints/{id}/photos/confirm",
    operation_id = "photos_confirm",
    tag = "dialect: photos",
    params(ComplaintParameters),
    request_body = ConfirmRequest,
    responses(
        (status = OK, description = "The photo.", body = PhotoBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>,
    ),
)]
pub(super) async fn confirm_photo(
    State(state): State<HttpState>,
    caller: Caller,
    Path(complaint): Path<Complaint>,
    Json(request): Json<ConfirmRequest>,
) -> Result<axum::Json<PhotoBody>> {
    let (principal, id) = (caller.principal(), FileId(request.photo_id));
    complaint.admit(&state.app.file(principal, id).await?)?;
    state
        .app
        .confirm_upload(principal, id, request.into_service()?)
        .await?;
    let (file, derivatives) = state.app.file_with_derivatives(principal, id).await?;
    Ok(axum::Json(PhotoBody::of(file, derivatives, principal, &state)?))
}
