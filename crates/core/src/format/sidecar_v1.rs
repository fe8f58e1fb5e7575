//! The attr sidecar, version 1: the truth beside a final object from which its metadata can be rebuilt (I6).

mod fitting;
mod reading;
mod small;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::fitting::SIDECAR_ROOM_BYTES;
use crate::JsonObject;
use crate::derivative::{Derivative, DerivativeOutcome};
use crate::error::{ErrorCode, Refusal};
use crate::file::{File, FileState};
use crate::key::derivative_suffix;
use crate::record::Record;
use crate::upload::Upload;

/// A sidecar larger than this is refused, so that one block write makes it durable (S3-seed: 4 KiB).
pub const SIDECAR_BYTES_MAX: usize = 4096;

/// `<key>.<epoch>.attr.json`. Field names are a promise; new ones are optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SidecarV1 {
    /// Always 1.
    pub format: u32,
    /// The file.
    pub file_id: uuid::Uuid,
    /// The revision: equals the epoch in the sidecar's own name.
    pub epoch: u32,
    /// The version of the row that this revision belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// State at the time: `ready`, `quarantined`, `archived`, `trashed`.
    pub state: String,
    /// `sub` of the owner.
    pub owner: String,
    /// A short name of the creator.
    pub created_by_username: String,
    /// A full name of the creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by_full_name: Option<String>,
    /// The collection.
    pub collection: String,
    /// The bucket of the object, where that is not the sidecar's own: the file has just moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// The key of the object, where that is not in the sidecar's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `type/id` of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// `sub` of the record's owner, for a record that was made by linking and has no document of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_owner: Option<String>,
    /// When that record was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_created_at: Option<Timestamp>,
    /// The client's file name.
    pub filename: String,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The type that counts.
    pub content_type: String,
    /// The type that was declared.
    pub declared_content_type: String,
    /// The size that was declared, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_size_bytes: Option<u64>,
    /// The SHA-256 that was declared, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_sha256: Option<String>,
    /// Size of the object in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the object, hexadecimal.
    pub sha256: String,
    /// The `ETag` of the upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The upload that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<SidecarUploadV1>,
    /// The application's own fields.
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    pub metadata: JsonObject,
    /// What processors found.
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    pub facts: JsonObject,
    /// Derivatives, made and failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derivatives: Vec<SidecarDerivativeV1>,
    /// Why it is quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SidecarErrorV1>,
    /// When the upload was signed.
    pub created_at: Timestamp,
    /// When the complete object was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded_at: Option<Timestamp>,
    /// When it was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// When it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<Timestamp>,
    /// When it was last taken out of the archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unarchived_at: Option<Timestamp>,
    /// When this revision was written.
    pub updated_at: Timestamp,
    /// Set while it is in the trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trash: Option<SidecarTrashV1>,
    /// Set while it is on legal hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<SidecarHoldV1>,
    /// What did not fit: `long_facts` (lists among them), `facts`, `derivative_details`, `derivatives`, `texts`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<String>,
}

/// A derivative in a sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SidecarDerivativeV1 {
    /// Its name.
    pub name: String,
    /// What its key has after that of the file; absent when it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// Its type, when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Its size in bytes, when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Pixels, for images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels, for images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was made or failed; when the file was verified, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

/// The upload that brought a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SidecarUploadV1 {
    /// `put`, `post`, `multipart`, `stream`.
    pub method: String,
    /// When its signatures ended.
    pub expires_at: Timestamp,
    /// Size of its parts in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_size_bytes: Option<u64>,
    /// Digest of the signing request, hexadecimal, where an idempotency key came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_sha256: Option<String>,
}

/// A file in the trash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SidecarTrashV1 {
    /// The state it returns to.
    pub from: String,
    /// When it was deleted.
    pub at: Timestamp,
    /// When it is removed for good.
    pub purge_at: Timestamp,
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SidecarHoldV1 {
    /// Who ordered it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// Why a file is quarantined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SidecarErrorV1 {
    /// A stable name.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl SidecarV1 {
    /// The sidecar of a verified file; `None` for one that was never verified.
    pub fn of(file: &File, derivatives: &[Derivative]) -> Option<Self> {
        let verified = file.verified.as_ref()?;
        Some(Self {
            format: 1,
            file_id: file.id.0,
            epoch: file.epoch,
            version: Some(file.version),
            state: file.state.as_str().to_owned(),
            owner: file.owner.clone(),
            created_by_username: file.created_by_username.clone(),
            created_by_full_name: file.created_by_full_name.clone(),
            collection: file.collection.clone(),
            bucket: None,
            key: None,
            record: file.record.as_ref().map(ToString::to_string),
            record_owner: None,
            record_created_at: None,
            filename: file.filename.clone(),
            description: file.description.clone(),
            content_type: verified.content_type.to_string(),
            declared_content_type: file.declared.content_type.to_string(),
            declared_size_bytes: file.declared.size_bytes,
            declared_sha256: file.declared.sha256.map(|digest| digest.to_string()),
            size_bytes: verified.size_bytes,
            sha256: verified.sha256.to_string(),
            etag: file.staged.as_ref().map(|staged| staged.etag.clone()),
            upload: None,
            metadata: file.metadata.clone(),
            facts: file.facts.clone(),
            // A variant is made again by whoever asks for it.
            derivatives: derivatives
                .iter()
                .filter(|derivative| !derivative.is_variant())
                .map(|derivative| SidecarDerivativeV1::of(derivative, &file.key))
                .collect(),
            error: file.error.as_ref().map(|error| SidecarErrorV1 {
                code: error.code.clone(),
                message: error.message.clone(),
            }),
            created_at: file.created_at,
            uploaded_at: file.uploaded_at,
            confirmed_at: file.confirmed_at,
            processed_at: file.processed_at,
            unarchived_at: file.unarchived_at,
            updated_at: file.updated_at,
            trash: file.trash.map(|trash| SidecarTrashV1 {
                from: trash.from.as_str().to_owned(),
                at: trash.at,
                purge_at: trash.purge_at,
            }),
            hold: file.hold.as_ref().map(|hold| SidecarHoldV1 {
                by: hold.by.clone(),
                at: hold.at,
                reason: hold.reason.clone(),
            }),
            omitted: Vec::new(),
        })
    }

    /// Says by what upload the file came.
    #[must_use]
    pub fn with_upload(mut self, upload: &Upload) -> Self {
        self.upload = Some(SidecarUploadV1 {
            method: upload.method.as_str().to_owned(),
            expires_at: upload.expires_at,
            part_size_bytes: upload.part_size_bytes,
            request_sha256: upload.request_digest.map(|digest| digest.to_string()),
        });
        self
    }

    /// Says whose the file's record is, if it was made by linking: any other has a document of its own.
    #[must_use]
    pub fn with_record(mut self, record: &Record) -> Self {
        if record.is_link_alone() {
            self.record_owner = Some(record.owner.clone());
            self.record_created_at = Some(record.created_at);
        }
        self
    }

    /// The bytes to store, or `metadata_too_large` when they do not fit.
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        // Serialising a struct of strings and numbers to memory cannot fail.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes.len() > SIDECAR_BYTES_MAX {
            return Err(too_large(bytes.len(), SIDECAR_BYTES_MAX));
        }
        Ok(bytes)
    }
}

impl SidecarDerivativeV1 {
    fn of(derivative: &Derivative, file_key: &str) -> Self {
        let absent = Self {
            name: derivative.name.clone(),
            suffix: None,
            content_type: None,
            size_bytes: None,
            width: None,
            height: None,
            error: None,
            created_at: Some(derivative.created_at),
        };
        match &derivative.outcome {
            DerivativeOutcome::Made {
                key,
                content_type,
                size_bytes,
                width,
                height,
            } => Self {
                suffix: Some(suffix_of(file_key, key)),
                content_type: Some(content_type.to_string()),
                size_bytes: Some(*size_bytes),
                width: *width,
                height: *height,
                ..absent
            },
            DerivativeOutcome::Failed { error } => Self {
                error: Some(error.clone()),
                ..absent
            },
        }
    }
}

/// How a suffix begins that is not one of the file's own key, but of what its derivatives' keys begin with.
const ELSEWHERE: &str = "~";

/// Where a derivative stands, as short as it can be said (`key::derivative_key`).
fn suffix_of(file_key: &str, key: &str) -> String {
    if let Some(suffix) = key.strip_prefix(file_key) {
        return suffix.to_owned();
    }
    derivative_suffix(file_key, key).map_or_else(|| key.to_owned(), |suffix| format!("{ELSEWHERE}{suffix}"))
}

/// States that a sidecar may say: those of verified files.
pub(crate) const SIDECAR_STATES: &[FileState] = &[
    FileState::Ready,
    FileState::Quarantined,
    FileState::Archived,
    FileState::Trashed,
];

fn too_large(bytes: usize, bytes_max: usize) -> Refusal {
    Refusal::new(
        ErrorCode::MetadataTooLarge,
        format!(
            "Name, description and metadata need {bytes} bytes beside the file and may need {bytes_max}."
        ),
    )
    .with("sidecar_bytes", bytes)
    .with("sidecar_bytes_max", bytes_max)
}
