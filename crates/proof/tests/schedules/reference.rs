//! What clients were told: the reference that the stores are held against.

use cloakroom_core::id::FileId;
use jiff::Timestamp;

/// Something that a client asked for.
#[derive(Clone, Debug)]
pub struct Deed {
    /// When it was asked.
    pub start: u64,
    /// When it was answered with yes; `None` when nobody knows what became of it.
    pub end: Option<u64>,
    /// What it makes true.
    pub value: String,
}

/// What is known of a file.
#[derive(Clone, Debug)]
pub struct Known {
    pub id: FileId,
    /// Whether the signature was given out.
    pub signed: bool,
    /// Where its client writes, once known.
    pub staging_key: Option<String>,
    pub key: Option<String>,
    /// When its URL ends.
    pub expires_at: Option<Timestamp>,
    /// Bodies that were sent, or may have been.
    pub sent: Vec<Deed>,
    pub confirms: Vec<Deed>,
    /// New names.
    pub patches: Vec<Deed>,
    /// `trashed` and `present`.
    pub presence: Vec<Deed>,
}

impl Known {
    /// A file that a client asks a signature for.
    pub fn new(id: FileId) -> Self {
        Self {
            id,
            signed: false,
            staging_key: None,
            key: None,
            expires_at: None,
            sent: Vec::new(),
            confirms: Vec::new(),
            patches: Vec::new(),
            presence: Vec::new(),
        }
    }

    /// Whether a client was told that it is confirmed.
    pub fn is_acknowledged(&self) -> bool {
        self.confirms.iter().any(|deed| deed.end.is_some())
    }

    /// Whether somebody asked to delete it.
    pub fn may_be_deleted(&self) -> bool {
        self.presence.iter().any(|deed| deed.value == TRASHED)
    }

    /// Whether other bytes were sent, or may still have been, after it was first confirmed. With `auto_confirm` nobody
    /// knows when that was.
    pub fn may_be_exchanged(&self, auto_confirm: bool) -> bool {
        if auto_confirm {
            return self.sent.len() > 1;
        }
        let Some(first) = self.confirms.iter().map(|deed| deed.start).min() else {
            return true;
        };
        self.sent
            .iter()
            .any(|deed| deed.end.is_none_or(|end| end > first) || deed.start > first)
    }
}

/// The value of a deletion.
pub const TRASHED: &str = "trashed";
/// The value of a restoration, and of a file that was never deleted.
pub const PRESENT: &str = "present";

/// Whether `found` can be the value of a register that was `initial` before these deeds: a value counts if nobody was
/// told of another one that was asked for after it had been answered. What was never answered may take effect at any time.
pub fn explains(deeds: &[Deed], initial: &str, found: &str) -> bool {
    let overwritten_after = |end: u64| {
        deeds
            .iter()
            .any(|later| later.end.is_some() && later.start > end && later.value != found)
    };
    if found == initial && !overwritten_after(0) {
        return true;
    }
    deeds
        .iter()
        .filter(|deed| deed.value == found)
        .any(|deed| deed.end.is_none_or(|end| !overwritten_after(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(start: u64, end: Option<u64>, value: &str) -> Deed {
        Deed {
            start,
            end,
            value: value.to_owned(),
        }
    }

    #[test]
    fn a_register_tells_what_it_may_be() {
        let deeds = [
            deed(1, Some(2), "a"),
            deed(3, Some(6), "b"),
            deed(4, Some(5), "c"),
        ];
        assert!(!explains(&deeds, "first", "first") && !explains(&deeds, "first", "a"));
        assert!(explains(&deeds, "first", "b") && explains(&deeds, "first", "c"));
        let unknown = [deed(1, None, "a"), deed(3, Some(4), "b")];
        assert!(explains(&unknown, "first", "a") && explains(&unknown, "first", "b"));
        assert!(!explains(&unknown, "first", "first") && !explains(&unknown, "first", "z"));
        assert!(explains(&[], "first", "first"));
    }
}
