//! `POST /uploads`.

use std::str::FromStr;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::JsonObject;
use cloakroom_core::collection::OBJECT_BYTES_MAX;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::upload::UploadMethod;
use cloakroom_service::uploads::{SignUpload, SignedPart, SignedUpload, Ticket};
use http::StatusCode;
use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::wire::{RecordRef, checksum, content_type};
use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::extract::Json;
use crate::extract::header::IdempotencyKey;
use crate::extract::json::{Whole, optional_object};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::rate_limits::Signing;
use crate::state::HttpState;

/// The collection of requests that name none.
const DEFAULT_COLLECTION: &str = "files";

/// How the bytes will come.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// One PUT of the whole file.
    Put,
    /// A browser form.
    Post,
    /// S3 multipart upload: parts, then complete.
    Multipart,
}

/// A request for an upload.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUploadRequest {
    /// The policy.
    #[serde(default = "default_collection")]
    #[schema(min_length = 1, max_length = 100, default = "files")]
    pub collection: String,
    /// The name that a download carries: no control characters, `/` or `\`, and something besides dots and spaces.
    #[schema(
        min_length = 1,
        max_length = 255,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f/\\\\]*[^\\s.\\u0000-\\u001f\\u007f-\\u009f/\\\\][^\\u0000-\\u001f\\u007f-\\u009f/\\\\]*$",
        example = "holiday.jpg"
    )]
    pub filename: String,
    /// By default what the name suggests, else `application/octet-stream`.
    #[schema(
        max_length = 127,
        pattern = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+/[A-Za-z0-9!#$%&'*+.^_`|~-]+([ \\t]*;[ -~]*)?$",
        example = "image/jpeg"
    )]
    pub content_type: Option<String>,
    /// The size in bytes, when it is known; then exactly so many must be sent.
    #[schema(value_type = Option<u64>, maximum = 5_497_558_138_880_u64)]
    pub size_bytes: Option<Whole>,
    /// SHA-256 in hexadecimal, when it is known; then other bytes are refused.
    #[schema(min_length = 64, max_length = 64, pattern = "^[0-9a-fA-F]{64}$")]
    pub checksum_sha256: Option<String>,
    /// What to link the file to.
    #[serde(default, deserialize_with = "optional_object")]
    pub record: Option<RecordRef>,
    /// Text for people; searched.
    #[schema(max_length = 2000, pattern = "^[^\\u0000]*$")]
    pub description: Option<String>,
    /// The application's own fields; with name and description they must fit 3 KiB.
    #[schema(value_type = Option<Object>, additional_properties = true)]
    pub metadata: Option<JsonObject>,
    /// By default what the collection says.
    pub method: Option<Method>,
    /// For whom; service tokens and administrators only.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    )]
    pub owner: Option<String>,
    /// Makes repeating the request safe, as the header `Idempotency-Key` does.
    #[schema(min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    pub idempotency_key: Option<String>,
}

fn default_collection() -> String {
    DEFAULT_COLLECTION.to_owned()
}

impl SignUploadRequest {
    /// In the service's words.
    pub fn into_service(self, caller: &Caller, key_header: Option<String>) -> Result<SignUpload> {
        let size_bytes = admit_size(self.size_bytes)?;
        let idempotency_key = idempotency_key(self.idempotency_key, key_header)?;
        Ok(SignUpload {
            owner: caller.owner(self.owner)?,
            collection: self.collection,
            filename: self.filename,
            content_type: self.content_type.as_deref().map(content_type).transpose()?,
            size_bytes,
            checksum_sha256: self.checksum_sha256.as_deref().map(checksum).transpose()?,
            record: self.record.map(TryInto::try_into).transpose()?,
            description: self.description,
            metadata: self.metadata.unwrap_or_default(),
            method: self.method.map(|method| match method {
                Method::Put => UploadMethod::Put,
                Method::Post => UploadMethod::Post,
                Method::Multipart => UploadMethod::Multipart,
            }),
            idempotency_key,
        })
    }
}

/// A declared size that a file can have.
pub(crate) fn admit_size(size_bytes: Option<Whole>) -> Result<Option<u64>> {
    match size_bytes {
        Some(Whole(size)) if size > OBJECT_BYTES_MAX => {
            let message = format!("No file has more than {OBJECT_BYTES_MAX} bytes.");
            Err(Refusal::new(ErrorCode::InvalidRequest, message)
                .with("field", "size_bytes")
                .into())
        }
        size => Ok(size.map(|Whole(size)| size)),
    }
}

/// The key of the body, else of the header; two that disagree are refused.
pub(crate) fn idempotency_key(in_body: Option<String>, in_header: Option<String>) -> Result<Option<String>> {
    let refused = |message: &str| {
        Err(Problem::new(ErrorCode::InvalidRequest, message).with("field", "idempotency_key"))
    };
    match (in_body, in_header) {
        (Some(body), Some(header)) if body != header => {
            refused("The field `idempotency_key` and the header `Idempotency-Key` differ.")
        }
        (Some(body), _)
            if !(1..=255).contains(&body.len()) || !body.bytes().all(|b| b.is_ascii_graphic()) =>
        {
            refused("An idempotency key is 1 to 255 visible ASCII characters.")
        }
        (Some(body), _) => Ok(Some(body)),
        (None, header) => Ok(header),
    }
}

/// What to send where.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedUpload)]
pub struct SignedUploadBody {
    /// The file, which has no bytes yet.
    file_id: Uuid,
    /// How the bytes are to come.
    #[schema(schema_with = method_schema)]
    method: &'static str,
    /// Where to send them (`put`, `post`).
    #[schema(format = "uri")]
    upload_url: Option<String>,
    /// Headers that must be sent as they are (`put`).
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    headers: Pairs,
    /// Form fields that must be sent in this order, before the file (`post`).
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    form_fields: Option<Pairs>,
    /// The store's id of the upload (`multipart`).
    upload_id: Option<String>,
    /// Size of every part but the last (`multipart`).
    part_size_bytes: Option<u64>,
    /// The first parts, up to 100; ask for more (`multipart`).
    parts: Option<Vec<SignedPartBody>>,
    /// Where in the bucket the bytes go.
    object_name: String,
    /// The bucket.
    bucket_name: String,
    /// Until when they may be sent.
    expires_at: Timestamp,
}

/// One part to send.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedPart)]
pub struct SignedPartBody {
    /// 1 to 10,000.
    #[schema(minimum = 1, maximum = 10_000)]
    part_number: u32,
    /// Where to PUT it.
    #[schema(format = "uri")]
    upload_url: String,
    /// Headers that must be sent as they are.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    headers: Pairs,
    /// Until when it may be sent.
    expires_at: Timestamp,
}

/// A JSON object in the order in which it was made: form fields have one.
pub struct Pairs(pub(crate) Vec<(String, String)>);

impl Pairs {
    /// These, in this order.
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

fn method_schema() -> utoipa::openapi::schema::Object {
    utoipa::openapi::schema::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .description(Some("How the bytes are to come."))
        .enum_values(Some(UploadMethod::ALL.iter().map(|method| method.as_str())))
        .build()
}

impl From<SignedPart> for SignedPartBody {
    fn from(part: SignedPart) -> Self {
        Self {
            part_number: part.number,
            upload_url: part.request.url,
            headers: Pairs(part.request.headers),
            expires_at: part.request.expires_at,
        }
    }
}

impl From<SignedUpload> for SignedUploadBody {
    fn from(signed: SignedUpload) -> Self {
        let mut body = Self {
            file_id: signed.file.id.0,
            method: signed.upload.method.as_str(),
            upload_url: None,
            headers: Pairs(Vec::new()),
            form_fields: None,
            upload_id: None,
            part_size_bytes: None,
            parts: None,
            object_name: signed.upload.staging_key,
            bucket_name: signed.file.bucket,
            expires_at: signed.upload.expires_at,
        };
        match signed.ticket {
            Ticket::Put(request) => {
                body.upload_url = Some(request.url);
                body.headers = Pairs(request.headers);
                body.expires_at = request.expires_at;
            }
            Ticket::Post(form) => {
                body.upload_url = Some(form.url);
                body.form_fields = Some(Pairs(form.fields));
                body.expires_at = form.expires_at;
            }
            Ticket::Multipart {
                multipart_id,
                part_size_bytes,
                parts,
            } => {
                body.upload_id = Some(multipart_id);
                body.part_size_bytes = Some(part_size_bytes);
                body.parts = Some(parts.into_iter().map(SignedPartBody::from).collect());
            }
            Ticket::Stream => {}
        }
        body
    }
}

/// The status of a signed upload: new, or made by an earlier request with the same key.
pub fn signed_status(signed: &SignedUpload) -> StatusCode {
    if signed.repeated {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    }
}

/// Sign an upload.
///
/// The answer says what to send where; the bytes go straight to the object store. Confirm when they are there.
#[utoipa::path(
    post,
    path = "/uploads",
    operation_id = "sign_upload",
    tag = "uploads",
    request_body = SignUploadRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes repeating the request safe: the same key and body give the same upload.", min_length = 1, max_length = 255, pattern = "^[!-~]+$"),
        ("x-cloakroom-owner" = Option<String>, Header, description = "For whom; service tokens and administrators only.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses(
        (status = CREATED, description = "Signed.", body = SignedUploadBody),
        (status = OK, description = "An earlier request with this Idempotency-Key had signed it.", body = SignedUploadBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<429>,
    ),
)]
pub async fn sign_upload(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<SignUploadRequest>,
) -> Result<Response> {
    state.admit_signing(&caller, address, Signing::Uploads(1)).await?;
    let request = request.into_service(&caller, key)?;
    let signed = state.app.sign_upload(caller.principal(), request).await?;
    Ok((signed_status(&signed), axum::Json(SignedUploadBody::from(signed))).into_response())
}

/// Reads a JSON object out of a form field.
pub fn json_field(name: &str, text: &str) -> Result<JsonObject> {
    serde_json::Value::from_str(text)
        .ok()
        .and_then(|value| match value {
            serde_json::Value::Object(object) => Some(object),
            _ => None,
        })
        .ok_or_else(|| {
            Problem::new(
                ErrorCode::InvalidRequest,
                format!("The form's field `{name}` is not a JSON object."),
            )
            .with("field", name)
        })
}
