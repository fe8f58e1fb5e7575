//! The wire contract, as far as the command line needs it. Unknown fields of answers are ignored: a newer server may
//! say more.

use std::collections::BTreeMap;
use std::fmt;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use cloakroom_core::file::FileState;

/// Something that authorises whoever holds it: never in `Debug` output (I7).
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Confidential<T>(T);

impl<T> Confidential<T> {
    /// The thing itself; the caller answers for where it goes.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Confidential<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confidential(..)")
    }
}

/// A file, as the API shows it.
#[derive(Clone, Debug, Deserialize)]
pub struct FileAnswer {
    /// Its id.
    pub file_id: String,
    /// Where it stands.
    pub state: String,
    /// The name that it was given.
    pub filename: String,
    /// The verified type, or the declared one.
    pub content_type: String,
    /// Size in bytes, once it is known.
    pub size_bytes: Option<u64>,
    /// SHA-256, once it is known.
    pub checksum_sha256: Option<String>,
    /// The policy that it came in under.
    pub collection: String,
    /// Whose it is.
    pub owner: String,
    /// What it hangs on.
    pub record: Option<RecordRef>,
    /// Why it failed.
    pub error: Option<FileFailure>,
    /// When it was signed, RFC 3339.
    pub created_at: String,
    /// When it was confirmed, RFC 3339.
    pub confirmed_at: Option<String>,
}

/// Why a file failed or is quarantined.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FileFailure {
    /// A stable name.
    pub code: String,
    /// A sentence.
    pub message: String,
}

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RecordRef {
    /// The application's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id within it.
    pub id: String,
}

impl fmt::Display for RecordRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

/// A page of files. The files are kept as they came, so that `--json` loses nothing.
#[derive(Clone, Debug, Deserialize)]
pub struct FilesPage {
    /// The files.
    pub files: Vec<Value>,
    /// Leads to the next page.
    pub next_cursor: Option<String>,
}

/// Where a file stands, as `status` answers and its stream says.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StatusAnswer {
    /// Its id.
    pub file_id: String,
    /// Where it stands.
    pub state: String,
    /// Why it failed.
    pub error: Option<FileFailure>,
    /// When anything last changed, RFC 3339.
    pub updated_at: String,
    /// Grows with each change.
    pub version: u64,
}

/// Whether nothing more happens by itself to a file of this state. A state that this program does not know is not
/// settled: the server says when it is.
pub fn is_settled(state: &str) -> bool {
    FileState::parse(state).is_some_and(FileState::is_settled)
}

/// A request for an upload. What is not said is left out, so that the collection decides.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SignRequest {
    /// The policy.
    pub collection: String,
    /// The name.
    pub filename: String,
    /// The type; else the server goes by the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// SHA-256 in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum_sha256: Option<String>,
    /// What to link it to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordRef>,
    /// Text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The application's fields.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// `put`, `post` or `multipart`; else the collection's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

/// A signed upload.
#[derive(Clone, Debug, Deserialize)]
pub struct UploadAnswer {
    /// The file, and the upload.
    pub file_id: String,
    /// `put`, `post` or `multipart`.
    pub method: String,
    /// Where to send the bytes (put, post).
    pub upload_url: Option<Confidential<Url>>,
    /// Headers that must be sent (put).
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Fields of the form, before the file (post).
    pub form_fields: Option<Confidential<Map<String, Value>>>,
    /// Size of every part but the last (multipart).
    pub part_size_bytes: Option<u64>,
    /// The first parts (multipart).
    pub parts: Option<Vec<PartTicket>>,
    /// When the signatures end, RFC 3339.
    pub expires_at: String,
}

/// Where to send one part.
#[derive(Clone, Debug, Deserialize)]
pub struct PartTicket {
    /// From 1.
    pub part_number: u32,
    /// Where.
    pub upload_url: Confidential<Url>,
    /// Headers that must be sent.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// When the signature ends, RFC 3339; with the first answer, that of the upload.
    pub expires_at: Option<String>,
}

/// More part URLs.
#[derive(Clone, Debug, Deserialize)]
pub struct PartTickets {
    /// As asked for.
    pub parts: Vec<PartTicket>,
}

/// The parts that have arrived.
#[derive(Clone, Debug, Deserialize)]
pub struct ArrivedParts {
    /// In the order of their numbers.
    pub parts: Vec<ArrivedPart>,
    /// Size of every part but the last.
    pub part_size_bytes: u64,
}

/// A part that has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ArrivedPart {
    /// From 1.
    pub part_number: u32,
    /// Its size.
    pub size_bytes: u64,
    /// Names its bytes.
    pub etag: String,
}

/// A part, as `complete` is told.
#[derive(Clone, Debug, Serialize)]
pub struct CompletedPart {
    /// From 1.
    pub part_number: u32,
    /// Names its bytes.
    pub etag: String,
}

/// Where the bytes of a file can be read for a while.
#[derive(Clone, Debug, Deserialize)]
pub struct DownloadAnswer {
    /// The address.
    pub download_url: Confidential<Url>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_things_do_not_show_in_debug_output() {
        let answer: UploadAnswer = serde_json::from_value(serde_json::json!({
            "file_id": "f", "method": "post", "expires_at": "2026-01-01T00:00:00Z", "something_new": 1,
            "upload_url": "http://h/b?X-Amz-Signature=5ec2e7",
            "form_fields": {"key": "k", "x-amz-signature": "5ec2e7"},
            "parts": [{"part_number": 1, "upload_url": "http://h/b?X-Amz-Signature=5ec2e7"}],
        }))
        .expect("an answer");
        assert!(!format!("{answer:?}").contains("5ec2e7"));
        let fields = answer.form_fields.expect("fields");
        assert_eq!(fields.expose()["x-amz-signature"], "5ec2e7");
    }

    #[test]
    fn only_states_that_are_known_to_be_final_are_settled() {
        assert!(is_settled("ready") && is_settled("failed") && is_settled("quarantined"));
        assert!(!is_settled("processing") && !is_settled("reticulating"));
    }
}
