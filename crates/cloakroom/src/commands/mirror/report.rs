//! What a mirror did, for people and for machines.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cloakroom_core::ports::objects::ListedObject;
use serde_json::json;

use crate::client::error::printable;
use crate::client::output::human_size;

/// Objects that are named to people.
const SHOWN_MAX: usize = 20;

/// An object that could not be copied.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Damage {
    bucket: String,
    key: String,
    reason: String,
}

/// What happened.
#[derive(Clone, Debug)]
pub(super) struct Report {
    directory: PathBuf,
    restored: bool,
    /// Objects that are in both places now.
    pub(super) objects: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    copied: u64,
    copied_bytes: u64,
    /// Objects that were removed from the mirror.
    pub(super) pruned: u64,
    damaged: Vec<Damage>,
}

impl Report {
    pub(super) fn new(directory: &Path, restored: bool) -> Self {
        Self {
            directory: directory.to_owned(),
            restored,
            objects: 0,
            bytes: 0,
            copied: 0,
            copied_bytes: 0,
            pruned: 0,
            damaged: Vec::new(),
        }
    }

    pub(super) fn count(&mut self, object: &ListedObject, copied: bool) {
        self.objects += 1;
        self.bytes += object.size_bytes;
        if copied {
            self.copied += 1;
            self.copied_bytes += object.size_bytes;
        }
    }

    pub(super) fn damaged(&mut self, bucket: &str, key: &str, reason: String) {
        self.damaged.push(Damage {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            reason,
        });
    }

    pub(super) fn is_damaged(&self, bucket: &str, key: &str) -> bool {
        self.damaged
            .iter()
            .any(|one| one.bucket == bucket && one.key == key)
    }

    pub(super) const fn is_clean(&self) -> bool {
        self.damaged.is_empty()
    }

    /// One JSON object on one line.
    pub(super) fn json(&self) -> String {
        let damaged: Vec<_> = self
            .damaged
            .iter()
            .map(|one| json!({ "bucket": one.bucket, "key": one.key, "reason": one.reason }))
            .collect();
        let report = json!({
            "directory": self.directory,
            "restored": self.restored,
            "objects": self.objects,
            "bytes": self.bytes,
            "copied": self.copied,
            "copied_bytes": self.copied_bytes,
            "pruned": self.pruned,
            "damaged": damaged,
        });
        format!("{report}\n")
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for one in self.damaged.iter().take(SHOWN_MAX) {
            let name = printable(&format!("{}/{}", one.bucket, one.key));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "damaged: {name}: {}", printable(&one.reason));
        }
        if self.damaged.len() > SHOWN_MAX {
            let more = self.damaged.len() - SHOWN_MAX;
            let _ = writeln!(text, "damaged: {more} more (--json names all)");
        }
        let _ = writeln!(
            text,
            "{} objects, {}; copied and verified {} ({}), there before {}, removed {}.",
            self.objects,
            human_size(self.bytes),
            self.copied,
            human_size(self.copied_bytes),
            self.objects - self.copied,
            self.pruned,
        );
        let directory = self.directory.display();
        let _ = match (self.is_clean(), self.restored) {
            (false, _) => writeln!(
                text,
                "Everything else is there. Look at the disk of what is damaged."
            ),
            (true, true) => writeln!(text, "Next: cloakroom rebuild"),
            (true, false) => writeln!(
                text,
                "To go back: cloakroom mirror {directory} --restore, then cloakroom rebuild"
            ),
        };
        text
    }
}
