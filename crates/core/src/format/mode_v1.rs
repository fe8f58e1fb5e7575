//! `_cloakroom/mode.json`, version 1: the mode of a store beside its data, one in each of its buckets, so that a lost
//! database does not open what was closed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::storage::{StorageMode, StoreState};

/// Where it stands in a bucket.
pub const MODE_KEY: &str = "_cloakroom/mode.json";
/// A larger one is not ours.
pub const MODE_BYTES_MAX: usize = 4096;

/// The document. Field names are a promise; new ones are optional.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeV1 {
    /// Always 1.
    pub format: u32,
    /// The store that the bucket belongs to.
    pub store: String,
    /// Its mode: `edit`, `rw`, `ro`, `ar`.
    pub mode: String,
    /// Grows with each change; of several buckets the one with the greatest tells the store's mode.
    pub epoch: u64,
    /// When the mode was last changed.
    pub changed_at: Timestamp,
    /// By whom.
    pub changed_by: String,
    /// While `rw` closes: until when uploads that were signed before are still taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining_until: Option<Timestamp>,
}

impl ModeV1 {
    /// The document of a store.
    pub fn of(state: &StoreState) -> Self {
        Self {
            format: 1,
            store: state.name.clone(),
            mode: state.mode.as_str().to_owned(),
            epoch: state.epoch,
            changed_at: state.changed_at,
            changed_by: state.changed_by.clone(),
            draining_until: state.draining_until,
        }
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        // Serialising a struct of strings and numbers to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a document as the state of the store that it names; the reason says what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<StoreState, String> {
        if bytes.len() > MODE_BYTES_MAX {
            return Err(format!("{} bytes are more than {MODE_BYTES_MAX}", bytes.len()));
        }
        let document: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if document.format != 1 {
            return Err(format!("format {} is not known here", document.format));
        }
        let mode = StorageMode::parse(&document.mode)
            .ok_or_else(|| format!("mode {:?} is not known here", document.mode))?;
        Ok(StoreState {
            name: document.store,
            mode,
            epoch: document.epoch,
            draining_until: document.draining_until,
            changed_at: document.changed_at,
            changed_by: document.changed_by,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"format":1,"store":"archive","mode":"ar","epoch":3,"changed_at":"2026-11-21T07:30:00Z","changed_by":"ada"}"#;

    #[test]
    fn the_document_is_as_it_was() {
        let state = ModeV1::decode(GOLDEN.as_bytes()).expect("readable");
        assert_eq!(
            (state.name.as_str(), state.mode, state.epoch, state.draining_until),
            ("archive", StorageMode::Ar, 3, None)
        );
        assert_eq!(ModeV1::of(&state).encode(), GOLDEN.as_bytes());
        let draining = StoreState {
            mode: StorageMode::Rw,
            draining_until: Some(state.changed_at),
            ..state
        };
        assert_eq!(ModeV1::decode(&ModeV1::of(&draining).encode()), Ok(draining));
    }

    #[test]
    fn what_is_not_one_is_refused_with_the_reason() {
        let table = [
            (String::new(), "EOF"),
            (GOLDEN.replace("\"ar\"", "\"wo\""), "mode \"wo\""),
            (GOLDEN.replace("\"format\":1", "\"format\":2"), "format 2"),
            (GOLDEN.replace("\"epoch\":3", "\"epoch\":-3"), "-3"),
            (format!("{GOLDEN}{}", " ".repeat(MODE_BYTES_MAX)), "more than"),
        ];
        for (text, reason) in table {
            let error = ModeV1::decode(text.as_bytes()).expect_err("refused");
            assert!(error.contains(reason), "{error}");
        }
        // A field that a later version adds changes nothing.
        let newer = GOLDEN.replace("\"format\":1", "\"format\":1,\"colour\":\"red\"");
        assert!(ModeV1::decode(newer.as_bytes()).is_ok());
    }
}
