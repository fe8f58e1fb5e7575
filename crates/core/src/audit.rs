//! The audit log: who changed what of the instance itself. What happens to files stands in their timelines.

use jiff::Timestamp;

use crate::JsonObject;
use crate::id::AuditId;

/// One entry. `data` never holds a URL, a token or a key (I7).
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// Its id; ids sort by time.
    pub id: AuditId,
    /// When.
    pub at: Timestamp,
    /// Who: a subject, a service token's name, `configuration`, `command`.
    pub actor: String,
    /// What: `store.mode_changed`, `operation.started`, `file.held`. A noun and a verb.
    pub action: String,
    /// To what: a store's name, an operation's or a file's id.
    pub subject: String,
    /// What else is worth knowing.
    pub data: JsonObject,
}
