//! `POST /api/v1/files/upload`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{File, FileState};
use cloakroom_service::uploads::SignUpload;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;

use super::COLLECTION;
use crate::api::uploads::sign::json_field;
use crate::api::wire::{FileBody, checksum, content_type};
use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::dialects::settling::settled;
use crate::extract::form::FileForm;
use crate::extract::header::IdempotencyKey;
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::rate_limits::Signing;
use crate::state::HttpState;

/// Characters of the longest name that a file may have.
const FILENAME_CHARS_MAX: usize = 255;
/// What is longer behind the last dot is a part of the name.
const EXTENSION_CHARS_MAX: usize = 20;

/// A form with a file. Text fields come before it; those that are not named here are passed over.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "describes a form that is read piece by piece")]
pub struct ElementUploadForm {
    /// Text for people; searched.
    #[schema(value_type = String, required = false, max_length = 2000, pattern = "^[^\\u0000]*$")]
    description: Option<String>,
    /// The application's own fields, as a JSON object; `metadata_json` is the same.
    #[schema(value_type = String, required = false)]
    metadata: Option<String>,
    /// SHA-256 in hexadecimal; other bytes are refused.
    #[schema(value_type = String, required = false, min_length = 64, max_length = 64, pattern = "^[0-9a-fA-F]{64}$")]
    checksum: Option<String>,
    /// The bytes, with their name and type.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Upload a document through the service.
///
/// The bytes are streamed. The answer waits a few seconds for the verification, so that it usually has the checksum and the
/// file can be downloaded; `state` says whether that is so. What does not pass the verification is refused.
#[utoipa::path(
    post,
    path = "/api/v1/files/upload",
    operation_id = "element_upload",
    tag = "dialect: element",
    request_body(content = ElementUploadForm, content_type = "multipart/form-data"),
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes repeating the request safe.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: do not wait.", pattern = "^[!-~ ]+$"),
        ("x-cloakroom-owner" = Option<String>, Header, description = "For whom; service tokens and administrators only.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses(
        (status = CREATED, description = "The file.", body = FileBody),
        (status = OK, description = "An earlier request with this Idempotency-Key had brought it.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>, Refused::<429>, Refused::<507>,
    ),
)]
pub async fn element_upload(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    headers: HeaderMap,
    mut form: FileForm,
) -> Result<Response> {
    state.admit_signing(&caller, address, Signing::Uploads(1)).await?;
    let request = request(&caller, idempotency_key, &mut form)?;
    let principal = caller.principal();
    let confirmed = state.app.receive_upload(principal, request, form.file).await?;
    let status = if confirmed.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let file = settled(&state, &caller, confirmed.file, &headers).await?;
    if let Some(problem) = unfit(&file) {
        return Err(problem);
    }
    Ok((status, axum::Json(FileBody::of(file, &state))).into_response())
}

/// Why what was uploaded is not kept as a document, if so: whoever sent it is told with the answer, as they were by a service
/// that had read every byte before it answered.
fn unfit(file: &File) -> Option<Problem> {
    let (code, message) = match (file.state, &file.error) {
        (FileState::Failed, Some(error)) => {
            let known = ErrorCode::ALL.iter().find(|code| code.as_str() == error.code);
            (
                *known.unwrap_or(&ErrorCode::InvalidRequest),
                error.message.clone(),
            )
        }
        (FileState::Quarantined, _) => (
            ErrorCode::FileQuarantined,
            "The file is held back; an administrator decides on it.".to_owned(),
        ),
        _ => return None,
    };
    Some(Problem::new(code, message).with("file_id", file.id.to_string()))
}

fn request(caller: &Caller, idempotency_key: Option<String>, form: &mut FileForm) -> Result<SignUpload> {
    let named = form.take("original_filename").or_else(|| form.take("filename"));
    let filename = named.or_else(|| form.file_name.take()).ok_or_else(|| {
        Problem::new(ErrorCode::InvalidRequest, "The part `file` has no filename.").with("field", "file")
    })?;
    let declared_type = form
        .take("content_type")
        .or_else(|| form.file_content_type.take());
    let metadata = form.take("metadata").or_else(|| form.take("metadata_json"));
    let sha256 = form.take("checksum").or_else(|| form.take("checksum_sha256"));
    Ok(SignUpload {
        collection: COLLECTION.to_owned(),
        filename: fitted(filename),
        content_type: declared_type.as_deref().map(content_type).transpose()?,
        size_bytes: None,
        checksum_sha256: sha256.as_deref().map(checksum).transpose()?,
        record: None,
        description: form.take("description"),
        metadata: metadata
            .map(|text| json_field("metadata", &text))
            .transpose()?
            .unwrap_or_default(),
        method: None,
        owner: caller.owner(None)?,
        idempotency_key,
    })
}

/// A name that is too long is cut, as the document has it (S3-122); what the file is stays at its end.
fn fitted(name: String) -> String {
    if name.chars().count() <= FILENAME_CHARS_MAX {
        return name;
    }
    let extension = name
        .rfind('.')
        .map(|dot| &name[dot..])
        .filter(|extension| extension.chars().count() <= EXTENSION_CHARS_MAX)
        .unwrap_or_default();
    let stem = name.chars().take(FILENAME_CHARS_MAX - extension.chars().count());
    stem.chain(extension.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_and_keeps_its_extension() {
        for (name, expected) in [
            ("a.txt".to_owned(), "a.txt".to_owned()),
            (
                format!("{}.txt", "x".repeat(251)),
                format!("{}.txt", "x".repeat(251)),
            ),
            (
                format!("{}.txt", "ж".repeat(252)),
                format!("{}.txt", "ж".repeat(251)),
            ),
            ("x".repeat(256), "x".repeat(255)),
            (format!("a.{}", "x".repeat(300)), format!("a.{}", "x".repeat(253))),
        ] {
            assert_eq!(fitted(name), expected);
        }
    }
}
