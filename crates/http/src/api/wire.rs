//! JSON shapes that several endpoints share, and how text becomes the core's nouns.

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Principal, Role};
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileError, FileState, Hold};
use cloakroom_core::media::MediaType;
use cloakroom_core::record::{Record, RecordKey};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use uuid::Uuid;

use crate::dialects::beside;
use crate::state::HttpState;

/// What is encoded in a segment of a path: all but unreserved characters (RFC 3986 §2.3).
pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// Longest content type on the wire, in bytes.
const CONTENT_TYPE_BYTES_MAX: usize = 127;

/// Names a record.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordRef {
    /// The application's type.
    #[serde(rename = "type")]
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = "^[a-z][a-z0-9_-]*$",
        example = "message"
    )]
    pub kind: String,
    /// The id within that type.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f/]+$",
        example = "123"
    )]
    pub id: String,
}

impl From<&RecordKey> for RecordRef {
    fn from(key: &RecordKey) -> Self {
        Self {
            kind: key.kind().to_owned(),
            id: key.id().to_owned(),
        }
    }
}

impl TryFrom<RecordRef> for RecordKey {
    type Error = Refusal;

    fn try_from(reference: RecordRef) -> Result<Self, Refusal> {
        Self::new(&reference.kind, &reference.id)
    }
}

/// A file.
#[derive(Serialize, ToSchema)]
#[schema(as = File)]
pub struct FileBody {
    /// Its id, for ever.
    file_id: Uuid,
    /// Where it stands.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// The name that a download carries.
    #[schema(example = "holiday.jpg")]
    filename: String,
    /// Text for people; searched.
    description: Option<String>,
    /// The type that counts: what the bytes show, before that what was declared.
    #[schema(example = "image/jpeg")]
    content_type: String,
    /// What the client said.
    declared_content_type: String,
    /// The size that counts, in bytes: measured, seen or declared.
    size_bytes: Option<u64>,
    /// SHA-256 of the bytes, hexadecimal: measured, before that declared.
    checksum_sha256: Option<String>,
    /// The policy it came in under.
    collection: String,
    /// Whose it is.
    owner: String,
    /// What it hangs on.
    record: Option<RecordRef>,
    /// The application's own fields.
    #[schema(value_type = Object, additional_properties = true)]
    metadata: JsonObject,
    /// What processors found.
    #[schema(value_type = Object, additional_properties = true)]
    facts: JsonObject,
    /// Why it failed or is quarantined.
    error: Option<FileErrorBody>,
    /// Grows with each change; the `ETag`.
    version: u64,
    /// When the upload was signed.
    created_at: Timestamp,
    /// When anything last changed.
    updated_at: Timestamp,
    /// When the bytes were first seen complete.
    uploaded_at: Option<Timestamp>,
    /// When it was confirmed.
    confirmed_at: Option<Timestamp>,
    /// When verification ended.
    processed_at: Option<Timestamp>,
    /// When it was deleted.
    trashed_at: Option<Timestamp>,
    /// When it will be gone for good.
    purge_at: Option<Timestamp>,
    /// The legal hold that keeps it; shown to operators and administrators, in answers about a single file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = HoldBody, required = false)]
    hold: Option<HoldBody>,
    /// What was made from it; in the answer about a single file.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<DerivativeBody>, required = false)]
    derivatives: Option<Vec<DerivativeBody>>,
    /// Fields of a dialect that is spoken, beside these.
    #[serde(flatten)]
    #[schema(ignore)]
    beside: JsonObject,
}

/// A legal hold.
#[derive(Serialize, ToSchema)]
#[schema(as = Hold)]
pub struct HoldBody {
    /// Who ordered it.
    by: String,
    /// When.
    at: Timestamp,
    /// Why.
    #[schema(example = "Case 2026/118.")]
    reason: String,
}

impl From<Hold> for HoldBody {
    fn from(hold: Hold) -> Self {
        Self {
            by: hold.by,
            at: hold.at,
            reason: hold.reason,
        }
    }
}

/// Why a file failed.
#[derive(Serialize, ToSchema)]
#[schema(as = FileError)]
pub struct FileErrorBody {
    /// A stable name.
    #[schema(example = "checksum_mismatch")]
    code: String,
    /// A sentence for people.
    message: String,
}

/// A file made from a file.
#[derive(Serialize, ToSchema)]
#[schema(as = Derivative)]
pub struct DerivativeBody {
    /// Its name: `thumbnail-256`.
    name: String,
    /// Its type, when it was made.
    content_type: Option<String>,
    /// Its size in bytes, when it was made.
    size_bytes: Option<u64>,
    /// Pixels, for images.
    width: Option<u32>,
    /// Pixels, for images.
    height: Option<u32>,
    /// Where its bytes are found, with a token as for the file, when it was made.
    #[schema(format = "uri-reference")]
    url: Option<String>,
    /// Why it could not be made.
    error: Option<String>,
    /// When it was made or failed.
    created_at: Timestamp,
}

impl From<FileError> for FileErrorBody {
    fn from(error: FileError) -> Self {
        Self {
            code: error.code,
            message: error.message,
        }
    }
}

impl From<File> for FileBody {
    fn from(file: File) -> Self {
        let (content_type, size_bytes) = (file.content_type().to_string(), file.size_bytes());
        let sha256 = file
            .verified
            .map(|verified| verified.sha256)
            .or(file.declared.sha256);
        Self {
            file_id: file.id.0,
            state: file.state.as_str(),
            filename: file.filename,
            description: file.description,
            content_type,
            declared_content_type: file.declared.content_type.to_string(),
            size_bytes,
            checksum_sha256: sha256.map(|digest| digest.to_string()),
            collection: file.collection,
            owner: file.owner,
            record: file.record.as_ref().map(RecordRef::from),
            metadata: file.metadata,
            facts: file.facts,
            error: file.error.map(FileErrorBody::from),
            version: file.version,
            created_at: file.created_at,
            updated_at: file.updated_at,
            uploaded_at: file.uploaded_at,
            confirmed_at: file.confirmed_at,
            processed_at: file.processed_at,
            trashed_at: file.trash.map(|trash| trash.at),
            purge_at: file.trash.map(|trash| trash.purge_at),
            hold: None,
            derivatives: None,
            beside: JsonObject::new(),
        }
    }
}

impl FileBody {
    /// A file, with what the dialects that are spoken add to it.
    pub fn of(file: File, state: &HttpState) -> Self {
        let beside = beside(&state.settings.dialects, &file);
        Self {
            beside,
            ..Self::from(file)
        }
    }

    /// A single file as this caller may see it: holds are for operators and administrators.
    pub fn seen_by(principal: &Principal, file: File, state: &HttpState) -> Self {
        let hold = file.hold.clone().filter(|_| principal.role >= Role::Operator);
        Self {
            hold: hold.map(HoldBody::from),
            ..Self::of(file, state)
        }
    }

    /// Adds what was made from it.
    #[must_use]
    pub fn with_derivatives(self, derivatives: Vec<Derivative>, state: &HttpState) -> Self {
        let derivatives = derivatives.into_iter().map(|one| {
            let (id, name) = (one.file_id, utf8_percent_encode(&one.name, SEGMENT));
            let url = state.url_of(&format!("/api/v1/files/{id}/derivatives/{name}"));
            let body = DerivativeBody::from(one);
            DerivativeBody {
                url: body.content_type.is_some().then_some(url),
                ..body
            }
        });
        let derivatives = derivatives.collect();
        Self {
            derivatives: Some(derivatives),
            ..self
        }
    }
}

impl From<Derivative> for DerivativeBody {
    fn from(derivative: Derivative) -> Self {
        let mut body = Self {
            name: derivative.name,
            content_type: None,
            size_bytes: None,
            width: None,
            height: None,
            url: None,
            error: None,
            created_at: derivative.created_at,
        };
        match derivative.outcome {
            DerivativeOutcome::Made {
                content_type,
                size_bytes,
                width,
                height,
                ..
            } => {
                body.content_type = Some(content_type.to_string());
                body.size_bytes = Some(size_bytes);
                body.width = width;
                body.height = height;
            }
            DerivativeOutcome::Failed { error } => body.error = Some(error),
        }
        body
    }
}

/// A record.
#[derive(Serialize, ToSchema)]
#[schema(as = Record)]
pub struct RecordBody {
    /// The application's type.
    #[serde(rename = "type")]
    kind: String,
    /// The id within that type.
    id: String,
    /// Whose it is.
    owner: String,
    /// The record that it belongs to.
    parent: Option<RecordRef>,
    /// The application's own content.
    #[schema(value_type = Object, additional_properties = true)]
    payload: JsonObject,
    /// The application's notes about it.
    #[schema(value_type = Object, additional_properties = true)]
    meta: JsonObject,
    /// Grows with each change.
    version: u64,
    /// When it was first seen.
    created_at: Timestamp,
    /// When it was last changed.
    updated_at: Timestamp,
}

impl From<Record> for RecordBody {
    fn from(record: Record) -> Self {
        Self {
            kind: record.key.kind().to_owned(),
            id: record.key.id().to_owned(),
            owner: record.owner,
            parent: record.parent.as_ref().map(RecordRef::from),
            payload: record.payload,
            meta: record.meta,
            version: record.version,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// Reads a content type: `type/subtype`, parameters are dropped.
pub fn content_type(text: &str) -> Result<MediaType, Refusal> {
    if text.len() > CONTENT_TYPE_BYTES_MAX
        || text.starts_with([' ', '\t'])
        || text.chars().any(char::is_control)
    {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "A content type is written as type/subtype, for example image/jpeg.",
        )
        .with("field", "content_type"));
    }
    MediaType::parse(text)
}

/// Reads a checksum.
pub fn checksum(text: &str) -> Result<Sha256Digest, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new(
            ErrorCode::InvalidRequest,
            "A SHA-256 checksum is 64 hexadecimal digits.",
        )
        .with("field", "checksum_sha256")
    })
}

/// The names of the states.
pub fn state_schema() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Where the file stands."))
        .enum_values(Some(FileState::ALL.iter().map(|state| state.as_str())))
        .build()
}
