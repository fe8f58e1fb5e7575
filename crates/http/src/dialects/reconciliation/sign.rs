//! `POST /files/sign_upload`: a form, as the document's browser flow wants it, or a PUT, as its task 7 does.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::collection::OBJECT_BYTES_MAX;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::media::MediaType;
use cloakroom_core::upload::UploadMethod;
use cloakroom_service::uploads::{SignUpload, SignedUpload, Ticket};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::COLLECTION;
use super::wire::reconciliation;
use crate::api::uploads::sign::Pairs;
use crate::api::wire::content_type;
use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::extract::Json;
use crate::extract::header::IdempotencyKey;
use crate::extract::json::Whole;
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::rate_limits::Signing;
use crate::state::HttpState;

/// Which side of the reconciliation a table is.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
enum FileType {
    Source,
    Comparison,
}

impl TryFrom<String> for FileType {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        match text.as_str() {
            "source" => Ok(Self::Source),
            "comparison" => Ok(Self::Comparison),
            _ => Err("a table is `source` or `comparison`"),
        }
    }
}

/// How the bytes will come.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(try_from = "String", rename_all = "UPPERCASE")]
#[schema(as = ReconciliationMethod)]
enum Method {
    Put,
    Post,
}

impl TryFrom<String> for Method {
    type Error = &'static str;

    fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
        match text.to_ascii_uppercase().as_str() {
            "PUT" => Ok(Self::Put),
            "POST" => Ok(Self::Post),
            _ => Err("the method is `PUT` or `POST`"),
        }
    }
}

/// What is to be uploaded. Other fields are passed over.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ReconciliationSignRequest)]
pub(super) struct SignRequest {
    /// The reconciliation that it belongs to; it can be named when confirming, or later, as well.
    #[schema(
        value_type = Option<String>,
        pattern = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
    )]
    reconciliation_id: Option<Uuid>,
    /// Which side of the reconciliation it is: `source` or `comparison`.
    #[schema(value_type = String, pattern = "^(source|comparison)$", example = "source")]
    file_type: FileType,
    /// Ends in `.csv` or `.xlsx`.
    #[schema(min_length = 1, max_length = 255, example = "transactions.csv")]
    filename: String,
    /// By default what the name says. Of a `.csv`, Excel's type is taken as `text/csv`.
    #[schema(max_length = 127, example = "text/csv")]
    content_type: Option<String>,
    /// The size, when it is known; then exactly so many bytes must be sent.
    #[schema(value_type = Option<u64>, maximum = 5_497_558_138_880_u64)]
    file_size_bytes: Option<Whole>,
    /// By default a PUT where type and size are given, else a form.
    method: Option<Method>,
}

/// What browsers on Windows with Excel call a CSV.
const EXCEL: &str = "application/vnd.ms-excel";

impl SignRequest {
    /// The type, if there is one. What is signed is what counts, and the client is told of it.
    fn content_type(&self) -> Result<Option<MediaType>> {
        let said = self.content_type.as_deref().map(content_type).transpose()?;
        let extension = self.filename.rsplit_once('.').map(|(_, extension)| extension);
        Ok(match said {
            Some(said)
                if said.as_str() == EXCEL && extension.is_some_and(|it| it.eq_ignore_ascii_case("csv")) =>
            {
                MediaType::from_extension("csv")
            }
            said => said,
        })
    }

    /// Task 7 of the document names type and size and expects a PUT; its browser flow names neither and expects a form.
    fn method(&self) -> Option<UploadMethod> {
        match self.method {
            Some(Method::Put) => Some(UploadMethod::Put),
            Some(Method::Post) => Some(UploadMethod::Post),
            None if self.content_type.is_some() && self.file_size_bytes.is_some() => Some(UploadMethod::Put),
            // The collection's own, which is a form wherever the store enforces them.
            None => None,
        }
    }
}

/// What to send where.
#[derive(Serialize, ToSchema)]
#[schema(as = ReconciliationUpload)]
pub(super) struct SignedBody {
    /// The file, which has no bytes yet.
    file_id: Uuid,
    /// Where to send the bytes.
    #[schema(format = "uri")]
    upload_url: String,
    /// `PUT`, or `POST` with the form.
    #[schema(example = "POST")]
    method: &'static str,
    /// Headers of a PUT, to be sent as they are. A browser sets the length itself.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    headers: Pairs,
    /// Fields of the form, the key first, to be sent in this order, with the file last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    form_fields: Option<Pairs>,
    /// Where in the bucket the bytes go.
    object_name: String,
    /// The bucket.
    bucket_name: String,
    /// Until when they may be sent.
    expires_at: Timestamp,
}

impl SignedBody {
    fn of(signed: SignedUpload) -> Result<Self> {
        let (upload_url, method, headers, form_fields, expires_at) = match signed.ticket {
            Ticket::Put(request) => (request.url, "PUT", request.headers, None, request.expires_at),
            Ticket::Post(mut form) => {
                // The others stay in their order.
                form.fields.sort_by_key(|(name, _)| name != "key");
                (form.url, "POST", Vec::new(), Some(form.fields), form.expires_at)
            }
            Ticket::Multipart { .. } | Ticket::Stream => {
                return Err(Problem::new(
                    ErrorCode::MethodNotOffered,
                    "The store takes neither PUT nor forms; sign the upload at /api/v1/uploads.",
                ));
            }
        };
        Ok(Self {
            file_id: signed.file.id.0,
            upload_url,
            method,
            headers: Pairs(headers),
            form_fields: form_fields.map(Pairs),
            object_name: signed.upload.staging_key,
            bucket_name: signed.file.bucket,
            expires_at,
        })
    }
}

/// Sign the upload of a table.
///
/// Where type and size are given, or `method` is `PUT`, the answer is a URL to PUT to with the headers; else it is a form to
/// POST. The bytes go straight to the object store. Confirm when they are there.
#[utoipa::path(
    post,
    path = "/files/sign_upload",
    operation_id = "reconciliation_sign_upload",
    tag = "dialect: reconciliation",
    request_body = SignRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes repeating the request safe: the same key and body give the same upload.", min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = OK, description = "Signed.", body = SignedBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<413>, Refused::<429>,
    ),
)]
pub(super) async fn sign_upload(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    IdempotencyKey(idempotency_key): IdempotencyKey,
    Json(request): Json<SignRequest>,
) -> Result<axum::Json<SignedBody>> {
    state.admit_signing(&caller, address, Signing::Uploads(1)).await?;
    let size_bytes = request.file_size_bytes.map(|Whole(size)| size);
    if size_bytes.is_some_and(|size| size > OBJECT_BYTES_MAX) {
        let message = format!("No file has more than {OBJECT_BYTES_MAX} bytes.");
        return Err(Problem::new(ErrorCode::FileTooLarge, message).with("field", "file_size_bytes"));
    }
    let file_type = match request.file_type {
        FileType::Source => "source",
        FileType::Comparison => "comparison",
    };
    let sign = SignUpload {
        collection: COLLECTION.to_owned(),
        method: request.method(),
        content_type: request.content_type()?,
        size_bytes,
        record: request.reconciliation_id.map(reconciliation).transpose()?,
        metadata: JsonObject::from_iter([("file_type".to_owned(), file_type.into())]),
        owner: caller.owner(None)?,
        filename: request.filename,
        idempotency_key,
        ..SignUpload::default()
    };
    let signed = state.app.sign_upload(caller.principal(), sign).await;
    // The document's clients expect 422 for a table that is none.
    let signed = signed.map_err(|error| {
        Problem::from(error)
            .with_status_for(ErrorCode::ContentTypeNotAllowed, StatusCode::UNPROCESSABLE_ENTITY)
    })?;
    Ok(axum::Json(SignedBody::of(signed)?))
}
