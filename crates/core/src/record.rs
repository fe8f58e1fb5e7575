//! Records: the things of the application that files hang on (`message/123`, `complaint/42`).

use std::fmt;

use jiff::Timestamp;

use crate::JsonObject;
use crate::error::{ErrorCode, Refusal};

/// Longest record type, in bytes.
pub const RECORD_TYPE_BYTES_MAX: usize = 64;
/// Longest record id, in bytes.
pub const RECORD_ID_BYTES_MAX: usize = 200;

/// Names a record: a type of the application and an id within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    kind: String,
    id: String,
}

impl RecordKey {
    /// Checks and builds a key. The type is `[a-z][a-z0-9_-]*`; the id any text without control characters or `/`.
    pub fn new(kind: &str, id: &str) -> Result<Self, Refusal> {
        let kind_ok = !kind.is_empty()
            && kind.len() <= RECORD_TYPE_BYTES_MAX
            && kind.starts_with(|c: char| c.is_ascii_lowercase())
            && kind
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'));
        if !kind_ok {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("A record type is 1 to {RECORD_TYPE_BYTES_MAX} lower-case letters, digits, '_' or '-', beginning with a letter."),
            )
            .with("field", "record.type"));
        }
        let id_ok = !id.is_empty()
            && id.len() <= RECORD_ID_BYTES_MAX
            && !id.chars().any(|c| c.is_control() || c == '/')
            && id != "."
            && id != "..";
        if !id_ok {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!(
                    "A record id is 1 to {RECORD_ID_BYTES_MAX} bytes without '/' and control characters."
                ),
            )
            .with("field", "record.id"));
        }
        Ok(Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
        })
    }

    /// Reads `type/id`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let (kind, id) = text.split_once('/').ok_or_else(|| {
            Refusal::new(
                ErrorCode::InvalidRequest,
                "A record is written as type/id, for example message/123.",
            )
            .with("field", "record")
        })?;
        Self::new(kind, id)
    }

    /// The type, `message` in `message/123`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The id, `123` in `message/123`.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// A thing of the application, with an owner. Deleting it takes its files along.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Type and id.
    pub key: RecordKey,
    /// Who owns it: the first to link a file, or whom a service token named.
    pub owner: String,
    /// The record it belongs to, when it does.
    pub parent: Option<RecordKey>,
    /// The application's own content.
    pub payload: JsonObject,
    /// The application's notes about it (`doc_id` and the like).
    pub meta: JsonObject,
    /// Grows by one with each change; writes compare it.
    pub version: u64,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Record {
    /// A record that is made by linking a file to it.
    pub fn linked(key: RecordKey, owner: String, at: Timestamp) -> Self {
        Self {
            key,
            owner,
            parent: None,
            payload: JsonObject::new(),
            meta: JsonObject::new(),
            version: 1,
            created_at: at,
            updated_at: at,
        }
    }

    /// Whether linking alone may have made it: it has nothing but a key and an owner.
    pub fn is_link_alone(&self) -> bool {
        self.version == 1 && self.parent.is_none() && self.payload.is_empty() && self.meta.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        assert_eq!(
            RecordKey::parse("message/123")
                .map(|k| k.to_string())
                .ok()
                .as_deref(),
            Some("message/123")
        );
        assert_eq!(
            RecordKey::parse("complaint/жалоба 1")
                .map(|k| k.id().to_owned())
                .ok()
                .as_deref(),
            Some("жалоба 1")
        );
        for bad in [
            "",
            "message",
            "/1",
            "message/",
            "Message/1",
            "m\0/1",
            "m/a/b",
            "m/\n",
            "m/..",
            "1m/1",
        ] {
            assert!(RecordKey::parse(bad).is_err(), "{bad:?}");
        }
        assert!(RecordKey::new("m", &"x".repeat(RECORD_ID_BYTES_MAX + 1)).is_err());
    }
}
