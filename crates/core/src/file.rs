//! The file: what it is, where it stands, and how it may change.

mod lifecycle;
mod state;

use jiff::Timestamp;

pub use self::lifecycle::{
    CLEARED_OF, FROM_BUCKET, FROM_KEY, FilePatch, ObservedObject, RELEASED, checksum_mismatch,
};
pub use self::state::FileState;
use crate::JsonObject;
use crate::checksum::Sha256Digest;
use crate::id::FileId;
use crate::media::MediaType;
use crate::record::RecordKey;

/// What the client said when it asked for a signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// The content type, which is signed.
    pub content_type: MediaType,
    /// The size in bytes.
    pub size_bytes: Option<u64>,
    /// The SHA-256 of the bytes.
    pub sha256: Option<Sha256Digest>,
}

/// What confirm saw in staging; verification and promotion hold on to exactly this object (I2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The size in bytes.
    pub size_bytes: u64,
    /// The store's `ETag`, for clients.
    pub etag: String,
    /// The store's own name for these very bytes: another write, even of equal bytes, has another one.
    pub generation: String,
}

/// What we measured while reading every byte.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// SHA-256 of the bytes.
    pub sha256: Sha256Digest,
    /// Size in bytes.
    pub size_bytes: u64,
    /// The type that the bytes show, or the declared one where bytes carry no signature.
    pub content_type: MediaType,
}

/// Why a file failed or is quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// A stable name: `content_type_mismatch`, `checksum_mismatch`, `processing_failed`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// A file in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trash {
    /// The state it returns to.
    pub from: FileState,
    /// When it was deleted.
    pub at: Timestamp,
    /// When it is removed for good.
    pub purge_at: Timestamp,
}

/// A legal hold: while it stands, neither retention nor anybody else removes the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who ordered it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// One stored file.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// UUIDv7, or UUIDv8 when derived from an idempotency key.
    pub id: FileId,
    /// `sub` of the owner.
    pub owner: String,
    /// A short name of whoever created it.
    pub created_by_username: String,
    /// A full name of whoever created it, when known.
    pub created_by_full_name: Option<String>,
    /// The policy it came in under.
    pub collection: String,
    /// The bucket of its staging and final objects.
    pub bucket: String,
    /// Where it stands.
    pub state: FileState,
    /// Grows by one with each change; writes compare it.
    pub version: u64,
    /// Grows with each claim of work on its bytes; names sidecars and derivatives, fences late workers.
    pub epoch: u32,
    /// What it hangs on.
    pub record: Option<RecordKey>,
    /// The name that the client gave, and that a download carries.
    pub filename: String,
    /// Text for people, searched.
    pub description: Option<String>,
    /// The application's own fields.
    pub metadata: JsonObject,
    /// What the client said.
    pub declared: Declared,
    /// What confirm saw.
    pub staged: Option<Staged>,
    /// What we measured.
    pub verified: Option<Verified>,
    /// Key of the final object, fixed when the upload is signed; nothing is there before `Ready`.
    pub key: String,
    /// What processors found: `row_count`, `width`.
    pub facts: JsonObject,
    /// Why it failed or is quarantined.
    pub error: Option<FileError>,
    /// When the upload was signed.
    pub created_at: Timestamp,
    /// When anything last changed.
    pub updated_at: Timestamp,
    /// When the complete object was first seen.
    pub uploaded_at: Option<Timestamp>,
    /// When it was confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// When it became `Ready` or `Failed`.
    pub processed_at: Option<Timestamp>,
    /// Set while it is in the trash.
    pub trash: Option<Trash>,
    /// Set while it is on legal hold.
    pub hold: Option<Hold>,
    /// When it was last taken out of the archive; retention counts from then on.
    pub unarchived_at: Option<Timestamp>,
}

/// The error code of a file whose processing failed through no fault of its own that we know of: its bytes are kept, so
/// that it can be tried again.
pub const PROCESSING_FAILED: &str = "processing_failed";

impl File {
    /// Where it stands; for what is in the trash, where it stood before.
    pub fn state_below_trash(&self) -> FileState {
        self.trash.map_or(self.state, |trash| trash.from)
    }

    /// Whether it failed and may be tried again, so that its bytes are kept.
    pub fn is_kept_for_retry(&self) -> bool {
        self.state_below_trash() == FileState::Failed
            && self
                .error
                .as_ref()
                .is_some_and(|error| error.code == PROCESSING_FAILED)
    }

    /// The size that counts: measured, else seen, else declared.
    pub fn size_bytes(&self) -> Option<u64> {
        self.verified
            .as_ref()
            .map(|v| v.size_bytes)
            .or(self.staged.as_ref().map(|s| s.size_bytes))
            .or(self.declared.size_bytes)
    }

    /// The type that counts: what the bytes show, else what was declared.
    pub fn content_type(&self) -> &MediaType {
        self.verified
            .as_ref()
            .map_or(&self.declared.content_type, |v| &v.content_type)
    }

    /// The `sub` of the owner and the bucket-independent text that search looks through.
    pub fn search_source(&self) -> String {
        let mut text = self.filename.clone();
        if let Some(description) = &self.description {
            text.push(' ');
            text.push_str(description);
        }
        text
    }

    /// Whether a sidecar stands beside the final object.
    pub fn has_sidecar(&self) -> bool {
        self.verified.is_some()
    }
}
