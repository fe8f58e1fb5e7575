//! The attr sidecar, version 1: the truth beside a final object from which its metadata can be rebuilt (I6).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::JsonObject;
use crate::derivative::DerivativeOutcome;
use crate::error::{ErrorCode, Refusal};
use crate::file::{File, FileState};

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
    /// State at the time: `ready`, `quarantined`.
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
    /// `type/id` of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The client's file name.
    pub filename: String,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The type that counts.
    pub content_type: String,
    /// The type that was declared.
    pub declared_content_type: String,
    /// Size of the object in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the object, hexadecimal.
    pub sha256: String,
    /// The application's own fields.
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    pub metadata: JsonObject,
    /// What processors found.
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    pub facts: JsonObject,
    /// Derivatives that were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derivatives: Vec<SidecarDerivativeV1>,
    /// When the upload was signed.
    pub created_at: Timestamp,
    /// When it was confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// When this revision was written.
    pub updated_at: Timestamp,
}

/// A derivative in a sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SidecarDerivativeV1 {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: String,
    /// Its type.
    pub content_type: String,
    /// Its size in bytes.
    pub size_bytes: u64,
}

impl SidecarV1 {
    /// The sidecar of a verified file; `None` for one that was never verified.
    pub fn of(file: &File, derivatives: &[crate::derivative::Derivative]) -> Option<Self> {
        let verified = file.verified.as_ref()?;
        Some(Self {
            format: 1,
            file_id: file.id.0,
            epoch: file.epoch,
            // Being in the trash is said by the row alone, and undone without a new revision.
            state: match file.trash.map_or(file.state, |trash| trash.from) {
                FileState::Processing => FileState::Ready,
                state => state,
            }
            .as_str()
            .to_owned(),
            owner: file.owner.clone(),
            created_by_username: file.created_by_username.clone(),
            created_by_full_name: file.created_by_full_name.clone(),
            collection: file.collection.clone(),
            record: file.record.as_ref().map(ToString::to_string),
            filename: file.filename.clone(),
            description: file.description.clone(),
            content_type: verified.content_type.to_string(),
            declared_content_type: file.declared.content_type.to_string(),
            size_bytes: verified.size_bytes,
            sha256: verified.sha256.to_string(),
            metadata: file.metadata.clone(),
            facts: file.facts.clone(),
            derivatives: derivatives
                .iter()
                .filter_map(|derivative| match &derivative.outcome {
                    DerivativeOutcome::Made {
                        key,
                        content_type,
                        size_bytes,
                        ..
                    } => Some(SidecarDerivativeV1 {
                        name: derivative.name.clone(),
                        key: key.clone(),
                        content_type: content_type.to_string(),
                        size_bytes: *size_bytes,
                    }),
                    DerivativeOutcome::Failed { .. } => None,
                })
                .collect(),
            created_at: file.created_at,
            confirmed_at: file.confirmed_at,
            updated_at: file.updated_at,
        })
    }

    /// The bytes to store, or `metadata_too_large` when they do not fit.
    pub fn encode(&self) -> Result<Vec<u8>, Refusal> {
        // Serialising a struct of strings and numbers to memory cannot fail.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        if bytes.len() > SIDECAR_BYTES_MAX {
            return Err(Refusal::new(
                ErrorCode::MetadataTooLarge,
                format!(
                    "Name, description and metadata need {} bytes beside the file and may need {SIDECAR_BYTES_MAX}.",
                    bytes.len()
                ),
            )
            .with("sidecar_bytes", bytes.len())
            .with("sidecar_bytes_max", SIDECAR_BYTES_MAX));
        }
        Ok(bytes)
    }

    /// Reads a sidecar; the reason says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > SIDECAR_BYTES_MAX {
            return Err(format!("{} bytes are more than {SIDECAR_BYTES_MAX}", bytes.len()));
        }
        let sidecar: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if sidecar.format != 1 {
            return Err(format!("format {} is not known here", sidecar.format));
        }
        if sidecar.sha256.parse::<crate::checksum::Sha256Digest>().is_err() {
            return Err("sha256 is not 64 hexadecimal digits".to_owned());
        }
        if FileState::parse(&sidecar.state).is_none() {
            return Err(format!("state {} is not known here", sidecar.state));
        }
        Ok(sidecar)
    }
}
