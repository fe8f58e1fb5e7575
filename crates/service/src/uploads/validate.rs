//! What a name, a description and metadata may be.

use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::File;
use cloakroom_core::format::sidecar_v1::SidecarV1;

/// Longest file name, in characters (S1: `VARCHAR(255)`).
const FILENAME_CHARS_MAX: usize = 255;
/// Longest description, in characters.
const DESCRIPTION_CHARS_MAX: usize = 2_000;

/// A file name is shown to people and sent in headers: 1 to 255 characters, none of them a control character or a
/// path separator.
pub(crate) fn validate_filename(filename: &str) -> Result<(), Refusal> {
    let chars = filename.chars().count();
    let refused =
        |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message).with("field", "filename"));
    if chars == 0 || chars > FILENAME_CHARS_MAX {
        return refused("A file name has 1 to 255 characters.");
    }
    if filename
        .chars()
        .any(|c| c.is_control() || matches!(c, '/' | '\\'))
    {
        return refused("A file name has no control characters, '/' or '\\'.");
    }
    // Makes `exe.jpg` out of `gpj.exe` to the eye.
    if filename
        .chars()
        .any(|c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    {
        return refused("A file name has no characters that change the direction of writing.");
    }
    if filename.chars().all(|c| c == '.' || c.is_whitespace()) {
        return refused("A file name has something besides dots and spaces in it.");
    }
    Ok(())
}

/// A description is text for people: at most 2,000 characters, without NUL, which no database keeps.
pub(crate) fn validate_description(description: &str) -> Result<(), Refusal> {
    if description.chars().count() > DESCRIPTION_CHARS_MAX || description.contains('\0') {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            "A description has at most 2,000 characters and no NUL.",
        )
        .with("field", "description"));
    }
    Ok(())
}

/// Whether the file's sidecar will hold its name, description, record and metadata (I6), whatever happens to the file.
pub(crate) fn admit_metadata(file: &File) -> Result<(), Refusal> {
    if contains_nul(&serde_json::Value::Object(file.metadata.clone())) {
        return Err(
            Refusal::new(ErrorCode::InvalidRequest, "Metadata has no NUL characters.")
                .with("field", "metadata"),
        );
    }
    SidecarV1::admit(file)
}

/// PostgreSQL keeps no NUL in text or JSON, so no database is asked to.
pub(crate) fn contains_nul(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::String(text) => text.contains('\0'),
        serde_json::Value::Array(items) => items.iter().any(contains_nul),
        serde_json::Value::Object(fields) => fields
            .iter()
            .any(|(name, v)| name.contains('\0') || contains_nul(v)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a.txt", "Отчёт за май.pdf", "a", &"я".repeat(255)] {
            assert!(validate_filename(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            " ",
            ".",
            "..",
            "a/b",
            "a\\b",
            "a\0b",
            "a\nb",
            &"x".repeat(256),
            "photo\u{202e}gpj.exe",
        ] {
            assert!(validate_filename(bad).is_err(), "{bad:?}");
        }
    }
}
