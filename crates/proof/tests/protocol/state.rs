//! What a state of the model holds: one file, its row, what stands in the store, and who is in the middle of what.

use std::collections::{BTreeMap, BTreeSet};

/// Where the row stands; the states of design §3 that the protocol tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    Pending,
    Confirmed,
    Processing,
    Ready,
    Trashed,
    Failed,
    Reaping,
    Expired,
    Purging,
}

/// The row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    pub stage: Stage,
    /// Of a row in the trash: whether it had been verified.
    pub verified: bool,
    pub version: u8,
    pub epoch: u8,
    /// Which of the bodies that the client sent; 0 is none.
    pub body: u8,
    /// Which name; the client's patch makes it 1.
    pub name: u8,
    /// Key of the derivative.
    pub derived: u8,
}

impl Row {
    /// A signed upload.
    pub const SIGNED: Self = Self {
        stage: Stage::Pending,
        verified: false,
        version: 1,
        epoch: 0,
        body: 0,
        name: 0,
        derived: 0,
    };

    /// What a sidecar or a confirm note tells of it.
    pub fn says(self) -> Says {
        Says {
            version: self.version,
            epoch: self.epoch,
            body: self.body,
            name: self.name,
            trashed: self.stage == Stage::Trashed,
            derived: self.derived,
        }
    }

    /// Confirmed and not verified, in the trash or not: it has a confirm note.
    pub fn is_noted(self) -> bool {
        matches!(self.stage, Stage::Confirmed | Stage::Processing)
            || self.stage == Stage::Trashed && !self.verified
    }

    /// Verified: it has a sidecar.
    pub fn has_sidecar(self) -> bool {
        self.stage == Stage::Ready || self.stage == Stage::Trashed && self.verified
    }
}

/// What a sidecar or a note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Says {
    pub version: u8,
    pub epoch: u8,
    pub body: u8,
    pub name: u8,
    pub trashed: bool,
    pub derived: u8,
}

/// The object store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Store {
    /// Body in staging; 0 is none.
    pub staging: u8,
    pub note: Option<Says>,
    /// Body at the final key; 0 is none.
    pub object: u8,
    /// Sidecars by their key.
    pub sidecars: BTreeMap<u8, Says>,
    pub tombstone: bool,
    /// Derivatives by their key: the epoch that made them.
    pub derived: BTreeMap<u8, u8>,
}

/// An intent of a change: its epoch, the version it began with, its number.
pub type Intent = (u8, u8, u8);

/// The database, which may be lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Database {
    pub row: Option<Row>,
    /// Fencing token of the last claim on the file's job.
    pub lease: u8,
    pub intents: BTreeSet<Intent>,
    /// The events of a purged file outlive its row.
    pub purged: bool,
    /// Whether a rebuild has run since the database was lost.
    pub complete: bool,
}

/// Who is in the middle of what, with what it has read, and at which step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task {
    pub kind: Kind,
    pub at: u8,
    /// The row as it was read.
    pub row: Row,
    /// The row as it is to be.
    pub after: Row,
    pub lease: u8,
    /// What a rebuild found.
    pub found: Option<Says>,
    /// An intent that is recovered.
    pub intent: Intent,
    /// The database in which it was begun.
    pub generation: u8,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Confirm,
    /// A patch, a deletion, a restoration.
    Patch,
    Delete,
    Restore,
    /// A row moves on to an epoch beyond an abandoned one.
    Supersede,
    Process,
    Reap,
    Purge,
    Recover,
    /// An object without a row.
    Sweep,
    Rebuild,
}

/// What was promised; nobody in the system knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Promised {
    pub confirmed: bool,
    pub deleted: bool,
    /// A deletion or restoration whose answer was lost: both ends are fine.
    pub unsure: bool,
    pub patched: bool,
    /// Its time in the trash was over, and its row was claimed.
    pub claimed: bool,
    pub purged: bool,
    pub restored: bool,
    /// The database was lost while the loser of a race had written over the winner's note and not yet set it right.
    pub window: bool,
}

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Used {
    pub bodies: u8,
    pub confirms: u8,
    pub patches: u8,
    pub deletes: u8,
    pub restores: u8,
    pub claims: u8,
    pub recoveries: u8,
    pub rebuilds: u8,
    pub sweeps: u8,
    pub purges: u8,
    pub crashes: u8,
    pub losses: u8,
}

/// Processes: two nodes of the API, two workers, one that sweeps.
pub const SLOTS: usize = 5;

/// One state of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub database: Database,
    pub store: Store,
    pub tasks: [Option<Task>; SLOTS],
    pub promised: Promised,
    pub used: Used,
}

impl State {
    /// Whether nobody is in the middle of anything and nothing waits.
    pub fn is_quiet(&self) -> bool {
        let waits = |row: Row| {
            matches!(
                row.stage,
                Stage::Confirmed | Stage::Processing | Stage::Reaping | Stage::Purging
            )
        };
        self.tasks.iter().all(Option::is_none)
            && self.database.complete
            && self.database.intents.is_empty()
            && !self.database.row.is_some_and(waits)
    }
}
