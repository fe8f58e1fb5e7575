//! The tombstone, version 1: stands beside a final object before anything of it is removed, so that no rebuild brings the
//! file back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::invalid;
use crate::error::Refusal;

/// `<key>.tomb.attr.json`. Terminal: it beats every sidecar, whatever its epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstoneV1 {
    /// Always 1.
    pub format: u32,
    /// The file.
    pub file_id: uuid::Uuid,
    /// When its removal began.
    pub purged_at: Timestamp,
}

impl TombstoneV1 {
    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        // Serialising a struct of strings and numbers to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a tombstone.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let tombstone: Self = serde_json::from_slice(bytes).map_err(invalid)?;
        if tombstone.format != 1 {
            return Err(invalid(format!("format {} is not known here", tombstone.format)));
        }
        Ok(tombstone)
    }
}
