//! `POST /api/v1/complaints/{id}/photos/presign`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::JsonObject;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::upload::UploadMethod;
use cloakroom_service::uploads::{SignUpload, SignedUpload, Ticket};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::COLLECTION;
use super::complaint::{Complaint, ComplaintParameters};
use super::wire::storage_provider;
use crate::api::uploads::sign::{Pairs, idempotency_key, signed_status};
use crate::api::wire::{checksum, content_type};
use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::extract::header::IdempotencyKey;
use crate::extract::json::Whole;
use crate::extract::{Json, Path};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::rate_limits::Signing;
use crate::state::HttpState;

/// A photo that is to come.
#[derive(Deserialize, ToSchema)]
#[schema(as = PhotoPresignRequest)]
pub(super) struct PresignRequest {
    /// Its name; by default `photo` and what the type suggests.
    #[serde(alias = "file_name", alias = "original_filename")]
    #[schema(min_length = 1, max_length = 255, example = "pothole.jpg")]
    filename: Option<String>,
    /// Its type, which the upload must carry; by default what the name suggests.
    #[serde(alias = "mime_type")]
    #[schema(max_length = 127, example = "image/jpeg")]
    content_type: Option<String>,
    /// Its size in bytes, when it is known; then exactly so many must be sent.
    #[serde(alias = "size_bytes", alias = "file_size", alias = "size")]
    #[schema(value_type = Option<u64>)]
    content_length: Option<Whole>,
    /// Its SHA-256 in hexadecimal, when it is known; then other bytes are refused.
    #[serde(alias = "sha256", alias = "checksum")]
    #[schema(min_length = 64, max_length = 64)]
    checksum_sha256: Option<String>,
    /// Text for people; searched.
    #[serde(alias = "description")]
    #[schema(max_length = 2000)]
    caption: Option<String>,
    /// The application's own fields.
    #[schema(value_type = Option<Object>, additional_properties = true)]
    metadata: Option<JsonObject>,
    /// For whom, where the caller may say so.
    #[schema(min_length = 1, max_length = 200)]
    owner: Option<String>,
    /// Makes repeating the request safe, as the header `Idempotency-Key` does.
    #[schema(min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

impl PresignRequest {
    fn into_service(self, complaint: &Complaint, caller: &Caller, key: Option<String>) -> Result<SignUpload> {
        let content_type = self.content_type.as_deref().map(content_type).transpose()?;
        let filename = match (self.filename, &content_type) {
            (Some(name), _) => name,
            (None, Some(kind)) => {
                // `image/jpeg` alone has a name that is not its subtype.
                let subtype = kind.as_str().rsplit('/').next().unwrap_or_default();
                format!("photo.{}", if subtype == "jpeg" { "jpg" } else { subtype })
            }
            (None, None) => {
                return Err(Problem::new(
                    ErrorCode::InvalidRequest,
                    "Say what comes: `content_type`, or a `filename` that tells it.",
                )
                .with("field", "content_type"));
            }
        };
        Ok(SignUpload {
            collection: COLLECTION.to_owned(),
            filename,
            content_type,
            size_bytes: self.content_length.map(|Whole(size)| size),
            checksum_sha256: self.checksum_sha256.as_deref().map(checksum).transpose()?,
            record: Some(complaint.0.clone()),
            description: self.caption,
            metadata: self.metadata.unwrap_or_default(),
            method: Some(UploadMethod::Put),
            owner: caller.owner(self.owner)?,
            idempotency_key: idempotency_key(self.idempotency_key, key)?,
        })
    }
}

/// Where to send the photo.
#[derive(Serialize, ToSchema)]
#[schema(as = PhotoPresign)]
pub(super) struct PresignBody {
    /// The photo, which has no bytes yet.
    photo_id: Uuid,
    /// What it is of.
    complaint_id: String,
    /// Where to PUT it, with exactly `headers`.
    #[schema(format = "uri")]
    upload_url: String,
    /// `PUT`.
    method: &'static str,
    /// Headers that must be sent as they are; they are signed.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    headers: Pairs,
    /// Until when it may be sent.
    expires_at: Timestamp,
    /// How many seconds that is from now.
    expires_in: i64,
    /// The key that the photo will have once it is verified. It is uploaded to another one, which the URL names.
    #[schema(example = "complaints/42/originals/0191abcd-0000-7000-8000-000000000007.jpg")]
    s3_key: String,
    /// The bucket.
    bucket: String,
    /// `s3`, or `local` where the bytes are kept in files of our own.
    storage_provider: &'static str,
}

impl PresignBody {
    fn of(signed: SignedUpload, complaint: &Complaint, state: &HttpState) -> Result<Self> {
        let Ticket::Put(request) = signed.ticket else {
            // An idempotency key that another upload of the same owner was begun with.
            return Err(Refusal::new(
                ErrorCode::IdempotencyKeyReused,
                "This Idempotency-Key came with another request before; use a new key for a new photo.",
            )
            .into());
        };
        let left = request.expires_at.duration_since(state.app.now());
        Ok(Self {
            photo_id: signed.file.id.0,
            complaint_id: complaint.id().to_owned(),
            upload_url: request.url,
            method: "PUT",
            headers: Pairs::new(request.headers),
            expires_at: request.expires_at,
            expires_in: left.as_secs().max(0),
            storage_provider: storage_provider(&signed.file, state),
            s3_key: signed.file.key,
            bucket: signed.file.bucket,
        })
    }
}

/// Sign the upload of a photo.
///
/// The bytes go to the store with one PUT; then confirm. The same `Idempotency-Key` gives the same photo.
#[utoipa::path(
    post,
    path = "/api/v1/complaints/{id}/photos/presign",
    operation_id = "photos_presign",
    tag = "dialect: photos",
    params(
        ComplaintParameters,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes repeating the request safe.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("x-cloakroom-owner" = Option<String>, Header, description = "As `owner`.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    request_body = PresignRequest,
    responses(
        (status = CREATED, description = "Signed.", body = PresignBody),
        (status = OK, description = "An earlier request with this Idempotency-Key had signed it.", body = PresignBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<429>,
    ),
)]
pub(super) async fn presign_photo(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    Path(complaint): Path<Complaint>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<PresignRequest>,
) -> Result<Response> {
    state.admit_signing(&caller, address, Signing::Uploads(1)).await?;
    let request = request.into_service(&complaint, &caller, key)?;
    let signed = state.app.sign_upload(caller.principal(), request).await?;
    let status = signed_status(&signed);
    let body = PresignBody::of(signed, &complaint, &state)?;
    Ok((status, axum::Json(body)).into_response())
}
