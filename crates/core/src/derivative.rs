//! Derivatives: files made from a file (thumbnail, preview, poster).

use jiff::Timestamp;

use crate::id::FileId;
use crate::media::MediaType;

/// One derivative, made or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Derivative {
    /// The file it was made from.
    pub file_id: FileId,
    /// Its name within the file: `thumbnail-256`, `preview`.
    pub name: String,
    /// What came of it.
    pub outcome: DerivativeOutcome,
    /// When it was made or failed.
    pub created_at: Timestamp,
}

/// What came of making a derivative. A failure is reported on the file and does not fail it, unless the
/// collection requires the derivative (design §3).
#[derive(Clone, Debug, PartialEq)]
pub enum DerivativeOutcome {
    /// Bytes stand at `key`, in the bucket of the file.
    Made {
        /// An epoch-unique key, so a worker that lost its lease cannot overwrite the winner's.
        key: String,
        /// The type of the derivative's bytes.
        content_type: MediaType,
        /// Size in bytes.
        size_bytes: u64,
        /// Pixels, for images.
        width: Option<u32>,
        /// Pixels, for images.
        height: Option<u32>,
    },
    /// Could not be made, with the reason for people.
    Failed {
        /// Why.
        error: String,
    },
}
