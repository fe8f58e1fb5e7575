//! Intents: rows of the write-ahead log. Written before bytes change, closed in the transaction that makes the
//! change visible; one that stays open is finished or undone by recovery (design §3, "Crash-safe order").

use jiff::Timestamp;

use crate::JsonObject;
use crate::id::{FileId, IntentId};

/// What is being done (S3-seed enum `WALOperationType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntentKind {
    /// Promotion of a verified staging object to its final key.
    FileCreate,
    /// New metadata in a new sidecar revision.
    FileUpdate,
    /// Removal of object, derivatives and sidecars.
    FileDelete,
    /// A file that moves to another place: into an archive, or back.
    FileMove,
    /// Rows written anew from what stands in the store; about no single file.
    CacheRebuild,
    /// Another mode of a store; about no single file.
    ModeChange,
    /// A new version of a record, in a document before its row; about no single file.
    RecordUpdate,
    /// Deletion of a record with what hangs on it; about no single file.
    RecordDelete,
    /// Deletion of everything of an owner; about no single file.
    OwnerDelete,
}

impl IntentKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::FileCreate,
        Self::FileUpdate,
        Self::FileDelete,
        Self::FileMove,
        Self::CacheRebuild,
        Self::ModeChange,
        Self::RecordUpdate,
        Self::RecordDelete,
        Self::OwnerDelete,
    ];

    /// The name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FileCreate => "file_create",
            Self::FileUpdate => "file_update",
            Self::FileDelete => "file_delete",
            Self::FileMove => "file_move",
            Self::CacheRebuild => "cache_rebuild",
            Self::ModeChange => "mode_change",
            Self::RecordUpdate => "record_update",
            Self::RecordDelete => "record_delete",
            Self::OwnerDelete => "owner_delete",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// How far it is (S3-seed enum `WALStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntentStatus {
    /// Under way, or left behind by a crash.
    Pending,
    /// Done.
    Committed,
    /// Undone by recovery.
    RolledBack,
    /// Neither could be done; the error says why and recovery tries again.
    Failed,
}

impl IntentStatus {
    /// Every status.
    pub const ALL: &'static [Self] = &[Self::Pending, Self::Committed, Self::RolledBack, Self::Failed];

    /// The name in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Committed => "COMMITTED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Failed => "FAILED",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.as_str() == text)
    }
}

/// One entry of the write-ahead log.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// Its id.
    pub id: IntentId,
    /// What is being done.
    pub kind: IntentKind,
    /// How far it is.
    pub status: IntentStatus,
    /// The file it is done to; `None` where it is about no single one.
    pub file_id: Option<FileId>,
    /// The epoch under which the work was claimed; a later epoch fences this one.
    pub epoch: u32,
    /// Where from, where to, and what else recovery needs.
    pub data: JsonObject,
    /// Who does it: a subject, or a worker.
    pub actor: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Until when its author is believed to be alive; recovery waits for this.
    pub lease_until: Timestamp,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
}
