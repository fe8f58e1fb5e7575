//! The document of a record, version 1: what a rebuild needs to bring back a record with its parent, payload and meta, and
//! that it was deleted (I6).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{invalid, no_nul, record_key};
use crate::JsonObject;
use crate::error::Refusal;
use crate::record::Record;

/// A document larger than this is not ours: payload and meta have at most 64 KiB together.
pub const RECORD_DOCUMENT_BYTES_MAX: usize = 96 * 1024;

/// `_cloakroom/records/<type>/<id>/<version>-<uuid>.json`. The highest version counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordV1 {
    /// Always 1.
    pub format: u32,
    /// `type/id`.
    pub record: String,
    /// The version, as in its own name.
    pub version: u64,
    /// The record was deleted with this version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// `sub` of the owner.
    pub owner: String,
    /// `type/id` of the record that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The application's own content.
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    pub payload: JsonObject,
    /// The application's notes about it.
    #[serde(default, skip_serializing_if = "JsonObject::is_empty")]
    pub meta: JsonObject,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When this version was made.
    pub updated_at: Timestamp,
}

impl RecordV1 {
    /// The document of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            format: 1,
            record: record.key.to_string(),
            version: record.version,
            deleted: false,
            owner: record.owner.clone(),
            parent: record.parent.as_ref().map(ToString::to_string),
            payload: record.payload.clone(),
            meta: record.meta.clone(),
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }

    /// The document that says that this version of the record deletes it. What it held is not kept.
    pub fn tombstone(record: &Record) -> Self {
        Self {
            deleted: true,
            parent: None,
            payload: JsonObject::new(),
            meta: JsonObject::new(),
            ..Self::of(record)
        }
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        // Serialising a struct of strings and numbers to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a document.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > RECORD_DOCUMENT_BYTES_MAX {
            return Err(invalid(format!(
                "{} bytes are more than {RECORD_DOCUMENT_BYTES_MAX}",
                bytes.len()
            )));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(invalid)?;
        if document.format != 1 {
            return Err(invalid(format!("format {} is not known here", document.format)));
        }
        document.record()?;
        Ok(document)
    }

    /// The record as it was with this version.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn record(&self) -> Result<Record, Refusal> {
        if self.owner.is_empty() {
            return Err(invalid("owner is empty"));
        }
        if self.version == 0 {
            return Err(invalid("there is no version 0"));
        }
        no_nul(&serde_json::to_value(self).map_err(invalid)?)?;
        Ok(Record {
            key: record_key(&self.record)?,
            owner: self.owner.clone(),
            parent: self.parent.as_deref().map(record_key).transpose()?,
            payload: self.payload.clone(),
            meta: self.meta.clone(),
            version: self.version,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}
