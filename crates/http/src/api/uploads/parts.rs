//! `GET` and `POST /uploads/{id}/parts`.

use axum::extract::State;
use cloakroom_core::id::FileId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sign::SignedPartBody;
use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::extract::json::Whole;
use crate::extract::{Json, Path};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::rate_limits::Signing;
use crate::state::HttpState;

/// What has arrived of a multipart upload.
#[derive(Serialize, ToSchema)]
#[schema(as = UploadedParts)]
pub struct UploadedPartsBody {
    /// The parts that are there, by number.
    parts: Vec<UploadedPart>,
    /// Size of every part but the last.
    part_size_bytes: u64,
    /// The store's id of the upload.
    upload_id: String,
}

/// A part that is there.
#[derive(Serialize, ToSchema)]
pub struct UploadedPart {
    /// 1 to 10,000.
    #[schema(minimum = 1, maximum = 10_000)]
    part_number: u32,
    /// Its size.
    size_bytes: u64,
    /// Its `ETag`, as complete wants it.
    etag: String,
}

/// Which parts to sign.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignPartsRequest {
    /// 1 to 1,000 numbers.
    #[schema(min_items = 1, max_items = 1000, value_type = Vec<PartNumber>)]
    part_numbers: Vec<Whole>,
}

/// 1 to 10,000.
#[derive(ToSchema)]
#[schema(minimum = 1, maximum = 10_000)]
#[expect(dead_code, reason = "only describes the items of an array")]
pub struct PartNumber(u32);

/// Signed parts.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedParts)]
pub struct SignedPartsBody {
    /// In the order of the request.
    parts: Vec<SignedPartBody>,
}

/// See what has arrived.
///
/// An interrupted client asks this and sends only the other parts.
#[utoipa::path(
    get,
    path = "/uploads/{file_id}/parts",
    operation_id = "get_upload_parts",
    tag = "uploads",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses(
        (status = OK, description = "The parts that are there.", body = UploadedPartsBody),
        Refused::<404>, Refused::<409>,
    ),
)]
pub async fn get_upload_parts(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
) -> Result<axum::Json<UploadedPartsBody>> {
    let uploaded = state.app.uploaded_parts(caller.principal(), id).await?;
    let parts = uploaded.parts.into_iter().map(|part| UploadedPart {
        part_number: part.number,
        size_bytes: part.size_bytes,
        etag: part.etag,
    });
    Ok(axum::Json(UploadedPartsBody {
        parts: parts.collect(),
        part_size_bytes: uploaded.part_size_bytes,
        upload_id: uploaded.multipart_id,
    }))
}

/// Sign more parts.
#[utoipa::path(
    post,
    path = "/uploads/{file_id}/parts",
    operation_id = "sign_upload_parts",
    tag = "uploads",
    params(("file_id" = Uuid, Path, description = "The file.")),
    request_body = SignPartsRequest,
    responses(
        (status = OK, description = "Where to PUT each.", body = SignedPartsBody),
        Refused::<404>, Refused::<409>,
    ),
)]
pub async fn sign_upload_parts(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    Path(id): Path<FileId>,
    Json(request): Json<SignPartsRequest>,
) -> Result<axum::Json<SignedPartsBody>> {
    state.admit_signing(&caller, address, Signing::Parts).await?;
    let numbers: Vec<u32> = request.part_numbers.into_iter().map(Whole::to_u32).collect();
    let parts = state.app.sign_parts(caller.principal(), id, &numbers).await?;
    Ok(axum::Json(SignedPartsBody {
        parts: parts.into_iter().map(SignedPartBody::from).collect(),
    }))
}
