//! Events: facts that happened to a file, written in the transaction that made them true (I4).

use jiff::Timestamp;

use crate::JsonObject;
use crate::file::FileState;
use crate::id::{EventId, FileId};

/// What happened. The names are the `type` of webhooks and the steps of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An upload was signed; the file is `pending`.
    Signed,
    /// First bytes were seen.
    Uploading,
    /// A complete staging object was seen.
    Uploaded,
    /// The client's confirm, a bucket event or the sweeper found it complete.
    Confirmed,
    /// A worker has begun to verify it.
    Processing,
    /// Verified, promoted and readable.
    Ready,
    /// Refused by verification or a required processor.
    Failed,
    /// Its processing is tried again by an administrator.
    Reopened,
    /// Its processing waits for something that does not answer, such as the scanner.
    Delayed,
    /// Held back by the scanner.
    Quarantined,
    /// Out of quarantine: an administrator released it, or the scanner found it clean when it looked again.
    Cleared,
    /// Nobody confirmed in time, or the client aborted.
    Expired,
    /// The staging bytes of an expired upload are gone.
    Reaped,
    /// Moved to an archive.
    Archived,
    /// Brought back from an archive.
    Unarchived,
    /// Put on legal hold.
    Held,
    /// Its legal hold is over.
    Released,
    /// Deleted, and still restorable.
    Trashed,
    /// Taken back out of the trash.
    Restored,
    /// The time in the trash is over; bytes are being removed.
    Purging,
    /// Removed for good.
    Purged,
    /// Name, description, record or metadata changed.
    Updated,
    /// Its row was written anew from what stands in the store.
    Adopted,
}

impl EventKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Signed,
        Self::Uploading,
        Self::Uploaded,
        Self::Confirmed,
        Self::Processing,
        Self::Ready,
        Self::Failed,
        Self::Reopened,
        Self::Delayed,
        Self::Quarantined,
        Self::Cleared,
        Self::Expired,
        Self::Reaped,
        Self::Archived,
        Self::Unarchived,
        Self::Held,
        Self::Released,
        Self::Trashed,
        Self::Restored,
        Self::Purging,
        Self::Purged,
        Self::Updated,
        Self::Adopted,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signed => "file.signed",
            Self::Uploading => "file.uploading",
            Self::Uploaded => "file.uploaded",
            Self::Confirmed => "file.confirmed",
            Self::Processing => "file.processing",
            Self::Ready => "file.ready",
            Self::Failed => "file.failed",
            Self::Reopened => "file.reopened",
            Self::Delayed => "file.delayed",
            Self::Quarantined => "file.quarantined",
            Self::Cleared => "file.cleared",
            Self::Expired => "file.expired",
            Self::Reaped => "file.reaped",
            Self::Archived => "file.archived",
            Self::Unarchived => "file.unarchived",
            Self::Held => "file.held",
            Self::Released => "file.released",
            Self::Trashed => "file.trashed",
            Self::Restored => "file.restored",
            Self::Purging => "file.purging",
            Self::Purged => "file.purged",
            Self::Updated => "file.updated",
            Self::Adopted => "file.adopted",
        }
    }

    /// Reads a stable name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// One fact. `data` never holds a URL, a token or a key (I7).
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Stable across deliveries.
    pub id: EventId,
    /// The file it happened to.
    pub file_id: FileId,
    /// What happened.
    pub kind: EventKind,
    /// The state that the file has since.
    pub state: FileState,
    /// The file's version that this event made.
    pub version: u64,
    /// Who caused it: a subject, or `worker`, `sweeper`.
    pub actor: String,
    /// What else is worth knowing: an error code, changed fields.
    pub data: JsonObject,
    /// When.
    pub at: Timestamp,
}
