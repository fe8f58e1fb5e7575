//! The confirm note, version 1: stands beside a staging object whose upload was confirmed, until it is processed. With it a
//! rebuild brings back what was acknowledged and not verified yet (I3, I6).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{digest, invalid, media_type, named, no_nul, record_key};
use crate::JsonObject;
use crate::error::Refusal;
use crate::file::{Declared, File, FileState, Hold, Staged, Trash};
use crate::id::FileId;
use crate::record::Record;
use crate::upload::{Upload, UploadMethod};

/// A note larger than this is not ours: what it says of the file fits into a sidecar of 4 KiB.
pub const CONFIRM_NOTE_BYTES_MAX: usize = 16 * 1024;

/// `staging/<deadline>/<file id>/.confirmed.json`: the row and the upload of a file that is confirmed and not verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfirmNoteV1 {
    /// Always 1.
    pub format: u32,
    /// The file.
    pub file_id: uuid::Uuid,
    /// The row's version.
    pub version: u64,
    /// The row's epoch.
    pub epoch: u32,
    /// `sub` of the owner.
    pub owner: String,
    /// A short name of the creator.
    pub created_by_username: String,
    /// A full name of the creator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by_full_name: Option<String>,
    /// The collection.
    pub collection: String,
    /// Where the final object will stand.
    pub key: String,
    /// `type/id` of the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// `sub` of the owner of a record that is made with this confirm.
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
    /// The application's own fields.
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    pub metadata: JsonObject,
    /// The type that was declared.
    pub declared_content_type: String,
    /// The size that was declared, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_size_bytes: Option<u64>,
    /// The SHA-256 that was declared, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_sha256: Option<String>,
    /// Size of the staging object in bytes.
    pub size_bytes: u64,
    /// Its `ETag`.
    pub etag: String,
    /// The store's own name for these very bytes.
    pub generation: String,
    /// How the bytes came.
    pub method: String,
    /// Where they came to.
    pub staging_key: String,
    /// When the signatures end.
    pub expires_at: Timestamp,
    /// The store's multipart id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multipart_id: Option<String>,
    /// Size of its parts in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_size_bytes: Option<u64>,
    /// Digest of the signing request, hexadecimal, where an idempotency key came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_sha256: Option<String>,
    /// Bytes that had been reserved in the owner's quota.
    pub reserved_bytes: u64,
    /// When the upload was signed.
    pub created_at: Timestamp,
    /// When the complete object was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploaded_at: Option<Timestamp>,
    /// When it was confirmed.
    pub confirmed_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
    /// Set while it is in the trash: when it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trashed_at: Option<Timestamp>,
    /// Set while it is in the trash: when it is removed for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<Timestamp>,
    /// Set while it is on legal hold: who ordered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_at: Option<Timestamp>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_reason: Option<String>,
}

impl ConfirmNoteV1 {
    /// The note of a file that is confirmed and not verified, in the trash or not; `None` for any other.
    pub fn of(file: &File, upload: &Upload) -> Option<Self> {
        let state = file.trash.map_or(file.state, |trash| trash.from);
        if !matches!(state, FileState::Confirmed | FileState::Processing) {
            return None;
        }
        let staged = file.staged.as_ref()?;
        Some(Self {
            format: 1,
            file_id: file.id.0,
            version: file.version,
            epoch: file.epoch,
            owner: file.owner.clone(),
            created_by_username: file.created_by_username.clone(),
            created_by_full_name: file.created_by_full_name.clone(),
            collection: file.collection.clone(),
            key: file.key.clone(),
            record: file.record.as_ref().map(ToString::to_string),
            record_owner: None,
            record_created_at: None,
            filename: file.filename.clone(),
            description: file.description.clone(),
            metadata: file.metadata.clone(),
            declared_content_type: file.declared.content_type.to_string(),
            declared_size_bytes: file.declared.size_bytes,
            declared_sha256: file.declared.sha256.map(|digest| digest.to_string()),
            size_bytes: staged.size_bytes,
            etag: staged.etag.clone(),
            generation: staged.generation.clone(),
            method: upload.method.as_str().to_owned(),
            staging_key: upload.staging_key.clone(),
            expires_at: upload.expires_at,
            multipart_id: upload.multipart_id.clone(),
            part_size_bytes: upload.part_size_bytes,
            request_sha256: upload.request_digest.map(|digest| digest.to_string()),
            reserved_bytes: upload.reserved_bytes,
            created_at: file.created_at,
            uploaded_at: file.uploaded_at,
            confirmed_at: file.confirmed_at?,
            updated_at: file.updated_at,
            trashed_at: file.trash.map(|trash| trash.at),
            purge_at: file.trash.map(|trash| trash.purge_at),
            held_by: file.hold.as_ref().map(|hold| hold.by.clone()),
            held_at: file.hold.as_ref().map(|hold| hold.at),
            hold_reason: file.hold.as_ref().map(|hold| hold.reason.clone()),
        })
    }

    /// Says whose the file's record is, if it is made with this change or was made by linking.
    #[must_use]
    pub fn with_record(mut self, record: &Record) -> Self {
        if record.is_link_alone() {
            self.record_owner = Some(record.owner.clone());
            self.record_created_at = Some(record.created_at);
        }
        self
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        // Serialising a struct of strings and numbers to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a note.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > CONFIRM_NOTE_BYTES_MAX {
            return Err(invalid(format!(
                "{} bytes are more than {CONFIRM_NOTE_BYTES_MAX}",
                bytes.len()
            )));
        }
        let note: Self = serde_json::from_slice(bytes).map_err(invalid)?;
        if note.format != 1 {
            return Err(invalid(format!("format {} is not known here", note.format)));
        }
        note.file("bucket")?;
        note.upload()?;
        note.linked_record()?;
        Ok(note)
    }

    /// The row, `confirmed` again, or in the trash: whatever was being processed starts over.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn file(&self, bucket: &str) -> Result<File, Refusal> {
        for (name, text) in [
            ("owner", &self.owner),
            ("collection", &self.collection),
            ("filename", &self.filename),
            ("key", &self.key),
            ("staging_key", &self.staging_key),
        ] {
            if text.is_empty() {
                return Err(invalid(format!("{name} is empty")));
            }
        }
        no_nul(&serde_json::to_value(self).map_err(invalid)?)?;
        let trash = match (self.trashed_at, self.purge_at) {
            (Some(at), Some(purge_at)) => Some(Trash {
                from: FileState::Confirmed,
                at,
                purge_at,
            }),
            _ => None,
        };
        let hold = match (&self.held_by, self.held_at, &self.hold_reason) {
            (Some(by), Some(at), Some(reason)) => Some(Hold {
                by: by.clone(),
                at,
                reason: reason.clone(),
            }),
            _ => None,
        };
        Ok(File {
            id: FileId(self.file_id),
            owner: self.owner.clone(),
            created_by_username: self.created_by_username.clone(),
            created_by_full_name: self.created_by_full_name.clone(),
            collection: self.collection.clone(),
            bucket: bucket.to_owned(),
            state: if trash.is_some() {
                FileState::Trashed
            } else {
                FileState::Confirmed
            },
            version: self.version.max(1),
            epoch: self.epoch,
            record: self.record.as_deref().map(record_key).transpose()?,
            filename: self.filename.clone(),
            description: self.description.clone(),
            metadata: self.metadata.clone(),
            declared: Declared {
                content_type: media_type(&self.declared_content_type)?,
                size_bytes: self.declared_size_bytes,
                sha256: self.declared_sha256.as_deref().map(digest).transpose()?,
            },
            staged: Some(Staged {
                size_bytes: self.size_bytes,
                etag: self.etag.clone(),
                generation: self.generation.clone(),
            }),
            verified: None,
            key: self.key.clone(),
            facts: JsonObject::new(),
            error: None,
            created_at: self.created_at,
            updated_at: self.updated_at,
            uploaded_at: self.uploaded_at,
            confirmed_at: Some(self.confirmed_at),
            processed_at: None,
            trash,
            hold,
            unarchived_at: None,
        })
    }

    /// The upload.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn upload(&self) -> Result<Upload, Refusal> {
        Ok(Upload {
            file_id: FileId(self.file_id),
            method: named("method", &self.method, UploadMethod::parse)?,
            staging_key: self.staging_key.clone(),
            expires_at: self.expires_at,
            multipart_id: self.multipart_id.clone(),
            part_size_bytes: self.part_size_bytes,
            request_digest: self.request_sha256.as_deref().map(digest).transpose()?,
            reserved_bytes: self.reserved_bytes,
        })
    }

    /// The record that the file hangs on, if it was made by linking.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn linked_record(&self) -> Result<Option<Record>, Refusal> {
        let (Some(key), Some(owner)) = (&self.record, &self.record_owner) else {
            return Ok(None);
        };
        let created_at = self.record_created_at.unwrap_or(self.created_at);
        Ok(Some(Record::linked(record_key(key)?, owner.clone(), created_at)))
    }
}
