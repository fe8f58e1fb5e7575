//! Moving a whole database into another one: rows read in portions and written as they are, whatever engine keeps them.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::JsonObject;
use crate::audit::AuditEntry;
use crate::derivative::Derivative;
use crate::event::Event;
use crate::file::File;
use crate::garbage::Garbage;
use crate::intent::Intent;
use crate::job::Job;
use crate::ports::metadata::{Result, ServiceToken, Usage};
use crate::record::Record;
use crate::storage::StoreState;
use crate::upload::Upload;

/// A kind of rows, in the order in which they must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// Records.
    Records,
    /// Files with their uploads and derivatives, and what makes them found.
    Files,
    /// Events, those of purged files too.
    Events,
    /// Usage by owner.
    Usage,
    /// Intents of the write-ahead log.
    Intents,
    /// Jobs, whatever their state.
    Jobs,
    /// Service tokens.
    ServiceTokens,
    /// Settings of the instance.
    Settings,
    /// Objects that an administrator wants kept, though nothing refers to them. What waits in the trash is found again.
    KeptGarbage,
    /// Modes of stores.
    Stores,
    /// The audit log.
    Audit,
}

impl Section {
    /// Every section, in order.
    pub const ALL: &'static [Self] = &[
        Self::Records,
        Self::Files,
        Self::Events,
        Self::Usage,
        Self::Intents,
        Self::Jobs,
        Self::ServiceTokens,
        Self::Settings,
        Self::KeptGarbage,
        Self::Stores,
        Self::Audit,
    ];

    /// Its name in progress and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Files => "files",
            Self::Events => "events",
            Self::Usage => "usage",
            Self::Intents => "intents",
            Self::Jobs => "jobs",
            Self::ServiceTokens => "service_tokens",
            Self::Settings => "settings",
            Self::KeptGarbage => "kept_garbage",
            Self::Stores => "stores",
            Self::Audit => "audit",
        }
    }
}

/// One row, with what belongs to it.
#[derive(Clone, Debug, PartialEq)]
pub enum ArchivedRow {
    /// A record.
    Record(Record),
    /// A file. Boxed, for it is by far the largest.
    File(Box<ArchivedFile>),
    /// An event.
    Event(Event),
    /// What an owner uses.
    Usage {
        /// The owner.
        owner: String,
        /// What it uses.
        usage: Usage,
    },
    /// An intent.
    Intent(Intent),
    /// A job. One that was running is written as ready: its worker does not exist any more.
    Job(Job),
    /// A service token.
    ServiceToken(ServiceToken),
    /// A setting.
    Setting {
        /// Its name.
        name: String,
        /// Its value.
        value: JsonObject,
    },
    /// An object that is kept.
    KeptGarbage(Garbage),
    /// A store and its mode.
    Store(StoreState),
    /// An entry of the audit log.
    Audit(AuditEntry),
}

/// A file's rows.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchivedFile {
    /// The row.
    pub file: File,
    /// Its upload, if it has one.
    pub upload: Option<Upload>,
    /// Its derivatives.
    pub derivatives: Vec<Derivative>,
}

/// Some rows of a section, in a stable order.
#[derive(Clone, Debug, PartialEq)]
pub struct Portion {
    /// The rows.
    pub rows: Vec<ArchivedRow>,
    /// Where the next portion begins; `None` at the end.
    pub next: Option<String>,
}

/// Reads and writes whole databases.
#[async_trait]
pub trait MetadataArchive: Send + Sync {
    /// A portion of a section: rows after a place, at most so many. The database should be at rest.
    async fn export(&self, section: Section, after: Option<&str>, limit: u32) -> Result<Portion>;

    /// Writes rows as they are, all or none. A row that is there already, equal or not, is left as it is; returns how
    /// many were new.
    async fn restore(&self, rows: &[ArchivedRow], now: Timestamp) -> Result<u64>;

    /// Rows in a section.
    async fn count(&self, section: Section) -> Result<u64>;
}
