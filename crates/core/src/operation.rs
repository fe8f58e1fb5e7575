//! Operations: long work that an administrator asked for, with progress, a report and a place from which it goes on after a
//! crash.

use jiff::Timestamp;

use crate::JsonObject;
use crate::id::{FileId, OperationId, WorkerId};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Rows out of sidecars.
    Rebuild,
    /// Rows, sidecars and objects compared, both ways.
    Verify,
    /// Garbage looked for, both ways.
    Orphans,
    /// What is in the trash and over its deadline removed now.
    Purge,
    /// Everything of one owner deleted.
    DeleteOwner,
    /// Every file of a collection looked at by the scanner again.
    Rescan,
}

impl OperationKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::Rebuild,
        Self::Verify,
        Self::Orphans,
        Self::Purge,
        Self::DeleteOwner,
        Self::Rescan,
    ];

    /// The name on the wire and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Verify => "verify",
            Self::Orphans => "orphans",
            Self::Purge => "purge",
            Self::DeleteOwner => "delete_owner",
            Self::Rescan => "rescan",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationState {
    /// Not begun.
    Waiting,
    /// Under way, or left behind by a worker that died: it is taken over when its claim ends.
    Running,
    /// Over, with its report.
    Done,
    /// Over, with an error.
    Failed,
    /// Ended by an administrator.
    Cancelled,
}

impl OperationState {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::Waiting,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The name on the wire and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }

    /// Whether nothing more happens.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// Long work that somebody asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its id; ids sort by time.
    pub id: OperationId,
    /// What is done.
    pub kind: OperationKind,
    /// How far it is.
    pub state: OperationState,
    /// How it is to be done: `{"fix": true}`.
    pub options: JsonObject,
    /// Things looked at so far.
    pub done: u64,
    /// Things to look at, as far as that is known.
    pub total: Option<u64>,
    /// Where it goes on; its meaning is the kind's own. `None` at the beginning.
    pub place: Option<String>,
    /// What was found, by name: `{"size_differs": 2}`.
    pub counts: JsonObject,
    /// Why it failed.
    pub error: Option<String>,
    /// Who asked for it.
    pub actor: String,
    /// When.
    pub created_at: Timestamp,
    /// When it last said how far it is.
    pub updated_at: Timestamp,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// The fencing token: grows with every claim.
    pub lease_epoch: u32,
    /// Who holds it.
    pub lease_owner: Option<WorkerId>,
    /// Until when.
    pub lease_until: Option<Timestamp>,
}

/// One line of an operation's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found: `size_differs`, `sidecar_missing`. The names are listed where they are found.
    pub kind: String,
    /// The bucket, if it is about an object.
    pub bucket: Option<String>,
    /// The key, if it is about an object.
    pub key: Option<String>,
    /// The file, if it is about one.
    pub file_id: Option<FileId>,
    /// What is wrong, for people.
    pub detail: String,
    /// What was done: `reported`, `repaired`, `trashed`, `adopted`.
    pub action: String,
}
