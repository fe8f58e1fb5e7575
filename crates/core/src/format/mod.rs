//! Formats that outlive the program: the only place in the core where serde is allowed.

pub mod confirm_note_v1;
pub mod mode_v1;
pub mod record_v1;
pub mod sidecar_v1;
pub mod tombstone_v1;

use std::fmt;

use crate::checksum::Sha256Digest;
use crate::error::{ErrorCode, Refusal};
use crate::media::MediaType;
use crate::record::RecordKey;

/// The refusal of a document of ours that cannot be used.
fn invalid(reason: impl fmt::Display) -> Refusal {
    Refusal::new(
        ErrorCode::InvalidAttributeFile,
        format!("The attribute file cannot be used: {reason}."),
    )
}

/// A word of a fixed list.
fn named<T>(field: &str, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Refusal> {
    parse(text).ok_or_else(|| invalid(format!("{field} {text:?} is not known here")))
}

/// No database keeps NUL in text, and no document of ours holds any.
fn no_nul(value: &serde_json::Value) -> Result<(), Refusal> {
    let fine = match value {
        serde_json::Value::String(text) => !text.contains('\0'),
        serde_json::Value::Array(items) => {
            items.iter().try_for_each(no_nul)?;
            true
        }
        serde_json::Value::Object(fields) => {
            fields.values().try_for_each(no_nul)?;
            !fields.keys().any(|name| name.contains('\0'))
        }
        _ => true,
    };
    if fine {
        Ok(())
    } else {
        Err(invalid("there is a NUL character in it"))
    }
}

fn digest(text: &str) -> Result<Sha256Digest, Refusal> {
    text.parse()
        .map_err(|_| invalid("a SHA-256 is not 64 hexadecimal digits"))
}

fn media_type(text: &str) -> Result<MediaType, Refusal> {
    MediaType::parse(text).map_err(|_| invalid(format!("{text:?} is no media type")))
}

fn record_key(text: &str) -> Result<RecordKey, Refusal> {
    RecordKey::parse(text).map_err(|refusal| invalid(refusal.message))
}
