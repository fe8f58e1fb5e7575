//! Garbage: objects that nothing refers to any more. It is found, kept for a while, looked at again, and only then removed.

mod verdict;

use jiff::Timestamp;

pub use self::verdict::{Evidence, KeyKind, Relation, TOMBSTONE_FOR, Verdict, YOUNG, judge, relation};

use crate::id::FileId;
pub use crate::key::ids_in as file_ids;
use crate::ports::objects::ObjectPath;

/// Why an object is garbage. Only what we spelled ourselves can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GarbageReason {
    /// In staging, past its deadline, and no row knows of it.
    Staging,
    /// A multipart upload that was never completed and that nobody needs: in staging, or of a copy that died.
    Multipart,
    /// A sidecar that a newer one replaces.
    SupersededSidecar,
    /// A derivative that its file does not name.
    UnlistedDerivative,
    /// A final object whose row says that its file is over.
    LeftObject,
    /// A tombstone of a file that is forgotten, older than any late writer.
    Tombstone,
}

impl GarbageReason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::Staging,
        Self::Multipart,
        Self::SupersededSidecar,
        Self::UnlistedDerivative,
        Self::LeftObject,
        Self::Tombstone,
    ];

    /// The name on the wire and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Multipart => "multipart",
            Self::SupersededSidecar => "superseded_sidecar",
            Self::UnlistedDerivative => "unlisted_derivative",
            Self::LeftObject => "left_object",
            Self::Tombstone => "tombstone",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }
}

/// What is to become of a piece of garbage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GarbageState {
    /// It goes at its deadline, if it still is garbage then.
    Trashed,
    /// An administrator wants it kept; scans pass it over.
    Kept,
}

impl GarbageState {
    /// Every state.
    pub const ALL: &'static [Self] = &[Self::Trashed, Self::Kept];

    /// The name on the wire and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trashed => "trashed",
            Self::Kept => "kept",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }
}

/// An object that nothing refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Garbage {
    /// Where it is; the primary key together with `upload_id`.
    pub path: ObjectPath,
    /// The multipart upload, for [`GarbageReason::Multipart`]; else empty.
    pub upload_id: String,
    /// Why it is garbage.
    pub reason: GarbageReason,
    /// What is to become of it.
    pub state: GarbageState,
    /// Its `ETag` when it was found: what was written since is something else.
    pub etag: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The file whose id its key names.
    pub file_id: Option<FileId>,
    /// When it was found.
    pub found_at: Timestamp,
    /// When it is removed.
    pub purge_at: Timestamp,
}
