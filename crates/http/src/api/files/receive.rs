//! `POST /files`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::record::RecordKey;
use cloakroom_service::uploads::SignUpload;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::uploads::sign::json_field;
use crate::api::wire::{FileBody, checksum, content_type};
use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::extract::form::FileForm;
use crate::extract::header::IdempotencyKey;
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::rate_limits::Signing;
use crate::state::HttpState;

/// A form with a file. Forms know no `null`: a field is there or not. The text fields come first, in any order;
/// `file` is the last part.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes a form that is read piece by piece")]
pub struct ReceiveFileForm {
    /// The policy.
    #[schema(value_type = String, required = false, default = "files")]
    collection: Option<String>,
    /// By default the name of the file part.
    #[schema(
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f/\\\\]*[^\\s.\\u0000-\\u001f\\u007f-\\u009f/\\\\][^\\u0000-\\u001f\\u007f-\\u009f/\\\\]*$"
    )]
    filename: Option<String>,
    /// By default the type of the file part, then what the name suggests.
    #[schema(
        value_type = String,
        required = false,
        max_length = 127,
        pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+([ \\t]*;[ -~]*)?$"
    )]
    content_type: Option<String>,
    /// Text for people; searched.
    #[schema(value_type = String, required = false, max_length = 2000, pattern = "^[^\\u0000]*$")]
    description: Option<String>,
    /// The application's own fields, as a JSON object.
    #[schema(value_type = String, required = false)]
    metadata: Option<String>,
    /// What to link the file to: `type/id`.
    #[schema(
        value_type = String,
        required = false,
        pattern = "^[a-z][a-z0-9_-]{0,63}/[^\\u0000-\\u001f\\u007f-\\u009f/]{1,200}$",
        max_length = 265
    )]
    record: Option<String>,
    /// SHA-256 in hexadecimal; other bytes are refused.
    #[schema(value_type = String, required = false, min_length = 64, max_length = 64, pattern = "^[0-9a-fA-F]{64}$")]
    checksum_sha256: Option<String>,
    /// For whom; service tokens and administrators only.
    #[schema(
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    )]
    owner: Option<String>,
    /// The bytes.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Upload a file through the service.
///
/// For clients that cannot reach the object store; the bytes are streamed, and the file is confirmed in the same
/// request.
#[utoipa::path(
    post,
    path = "/files",
    operation_id = "receive_file",
    tag = "files",
    request_body(content = ReceiveFileForm, content_type = "multipart/form-data"),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes repeating the request safe.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("x-cloakroom-owner" = Option<String>, Header, description = "For whom; service tokens and administrators only.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses(
        (status = CREATED, description = "The confirmed file.", body = FileBody),
        (status = OK, description = "An earlier request with this Idempotency-Key had brought it.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>, Refused::<429>, Refused::<507>,
    ),
)]
pub async fn receive_file(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    mut form: FileForm,
) -> Result<Response> {
    state.admit_signing(&caller, address, Signing::Uploads(1)).await?;
    let request = request(&caller, idempotency_key, &mut form)?;
    let confirmed = state
        .app
        .receive_upload(caller.principal(), request, form.file)
        .await?;
    let status = if confirmed.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, axum::Json(FileBody::of(confirmed.file, &state))).into_response())
}

fn request(caller: &Caller, idempotency_key: Option<String>, form: &mut FileForm) -> Result<SignUpload> {
    let filename = form
        .take("filename")
        .or_else(|| form.file_name.take())
        .ok_or_else(|| {
            Problem::new(
                ErrorCode::InvalidRequest,
                "The form names no file: give `filename` or name the file part.",
            )
            .with("field", "filename")
        })?;
    let declared_type = form
        .take("content_type")
        .or_else(|| form.file_content_type.take());
    let request = SignUpload {
        collection: form.take("collection").unwrap_or_else(|| "files".to_owned()),
        filename,
        content_type: declared_type.as_deref().map(content_type).transpose()?,
        size_bytes: None,
        checksum_sha256: form
            .take("checksum_sha256")
            .as_deref()
            .map(checksum)
            .transpose()?,
        record: form.take("record").as_deref().map(RecordKey::parse).transpose()?,
        description: form.take("description"),
        metadata: form
            .take("metadata")
            .map(|text| json_field("metadata", &text))
            .transpose()?
            .unwrap_or_default(),
        method: None,
        owner: caller.owner(form.take("owner"))?,
        idempotency_key,
    };
    form.finish_fields()?;
    Ok(request)
}
