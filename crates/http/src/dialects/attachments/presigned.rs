//! `POST /api/v1/attachments/presigned`.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::upload::UploadMethod;
use cloakroom_service::uploads::{SignUpload, Ticket};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::wire::Id;
use crate::api::uploads::sign::{Pairs, admit_size};
use crate::api::wire::{checksum, content_type};
use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::dialects::Dialect;
use crate::extract::Json;
use crate::extract::header::IdempotencyKey;
use crate::extract::json::Whole;
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::rate_limits::Signing;
use crate::state::HttpState;

/// What is to be attached. Other fields are passed over.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct PresignedRequest {
    /// The name that a download carries.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f/\\\\]*[^\\s.\\u0000-\\u001f\\u007f-\\u009f/\\\\][^\\u0000-\\u001f\\u007f-\\u009f/\\\\]*$",
        example = "test.jpg"
    )]
    filename: String,
    /// One of those that the collection takes; by default what the name suggests.
    #[schema(
        max_length = 127,
        pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+([ \\t]*;[ -~]*)?$",
        example = "image/jpeg"
    )]
    content_type: Option<String>,
    /// The size in bytes, when it is known; then exactly so many must be sent.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 5_497_558_138_880_u64)]
    size_bytes: Option<Whole>,
    /// SHA-256 in hexadecimal, when it is known; then other bytes are refused.
    #[schema(min_length = 64, max_length = 64, pattern = "^[0-9a-fA-F]{64}$")]
    checksum_sha256: Option<String>,
    /// The message that it hangs on, when that is known already.
    message_id: Option<Id>,
    /// The application's own fields.
    #[schema(value_type = Option<Object>, additional_properties = true)]
    metadata: Option<JsonObject>,
}

/// A form to be sent to the store.
#[derive(Serialize, ToSchema)]
pub(super) struct Presigned {
    /// The attachment, which has no bytes yet.
    id: Uuid,
    /// The same.
    attachment_id: Uuid,
    /// Where to send the form.
    #[schema(format = "uri")]
    url: String,
    /// Fields to send in this order, before the file, which is named `file`.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    fields: Pairs,
    /// `POST`.
    #[schema(example = "POST")]
    method: &'static str,
    /// Where the verified bytes are going to be in the bucket.
    storage_key: String,
    /// The largest file that the store takes with it, in bytes.
    max_size_bytes: u64,
    /// For how long it may be sent, in seconds, from when it was signed first.
    #[schema(example = 600)]
    expires_in: i64,
    /// Until when it may be sent.
    expires_at: Timestamp,
}

/// Sign an attachment.
///
/// The answer is a form with a POST policy: a browser sends it, with the file, straight to the object store, which answers
/// 200. Confirm when it is there.
#[utoipa::path(
    post,
    path = "/api/v1/attachments/presigned",
    operation_id = "attachments_presign",
    tag = "dialect: attachments",
    request_body = PresignedRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes repeating the request safe: the same key and body give the same attachment.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("x-cloakroom-owner" = Option<String>, Header, description = "For whom; service tokens and administrators only.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses(
        (status = OK, description = "Signed.", body = Presigned),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>, Refused::<429>,
    ),
)]
pub(super) async fn presign(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<PresignedRequest>,
) -> Result<axum::Json<Presigned>> {
    state.admit_signing(&caller, address, Signing::Uploads(1)).await?;
    let request = SignUpload {
        collection: Dialect::Attachments.collection().to_owned(),
        filename: request.filename,
        content_type: request.content_type.as_deref().map(content_type).transpose()?,
        size_bytes: admit_size(request.size_bytes)?,
        checksum_sha256: request.checksum_sha256.as_deref().map(checksum).transpose()?,
        record: request.message_id.as_ref().map(Id::message).transpose()?,
        metadata: request.metadata.unwrap_or_default(),
        method: Some(UploadMethod::Post),
        owner: caller.owner(None)?,
        idempotency_key: key,
        ..SignUpload::default()
    };
    let signed = state.app.sign_upload(caller.principal(), request).await?;
    let Ticket::Post(form) = signed.ticket else {
        return Err(Problem::internal("a form was signed as something else"));
    };
    let collection = state.app.collection(&signed.file.collection)?;
    Ok(axum::Json(Presigned {
        id: signed.file.id.0,
        attachment_id: signed.file.id.0,
        url: form.url,
        fields: Pairs(form.fields),
        method: "POST",
        storage_key: signed.file.key,
        max_size_bytes: signed
            .file
            .declared
            .size_bytes
            .unwrap_or(collection.size_bytes_max),
        expires_in: lifetime_seconds(form.expires_at.duration_since(signed.file.created_at)),
        expires_at: form.expires_at,
    }))
}

/// Rounded up: a form of ten minutes says 600, and so it does when the request is repeated.
fn lifetime_seconds(lifetime: SignedDuration) -> i64 {
    (lifetime.as_secs() + i64::from(lifetime.subsec_nanos() > 0)).max(0)
}
