//! What clients sent and what they were told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cloakroom_core::checksum::Sha256Digest;
use sha2::{Digest as _, Sha256};

/// SHA-256, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256Digest(Sha256::digest(bytes).into()).to_string()
}

/// What is known of one file. Each file is one client's, which does one thing with it at a time.
#[derive(Clone, Debug)]
pub struct Entry {
    /// SHA-256 of the bytes that were sent, hexadecimal.
    pub sha256: String,
    /// Whether its confirm was acknowledged.
    pub confirmed: bool,
    /// Whether it is deleted; `None` when an answer was lost.
    pub deleted: Option<bool>,
    /// Its name; `None` when an answer was lost.
    pub name: Option<String>,
    /// Whether what is deleted is gone soon.
    pub fleeting: bool,
    /// Whether an earlier round has seen it whole.
    pub seen: bool,
}

/// Every file of a run, by id.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<BTreeMap<String, Entry>>);

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every change is one insert or one field: nothing is half done when a holder panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A signed upload.
    pub fn insert(&self, id: &str, entry: Entry) {
        self.entries().insert(id.to_owned(), entry);
    }

    /// Changes what is known of a file.
    pub fn update(&self, id: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries().get_mut(id) {
            change(entry);
        }
    }

    /// What is known of a file.
    pub fn entry(&self, id: &str) -> Option<Entry> {
        self.entries().get(id).cloned()
    }

    /// Everything.
    pub fn all(&self) -> Vec<(String, Entry)> {
        let entries = self.entries();
        entries
            .iter()
            .map(|(id, entry)| (id.clone(), entry.clone()))
            .collect()
    }

    /// How many confirms were acknowledged.
    pub fn confirmed(&self) -> usize {
        self.entries().values().filter(|entry| entry.confirmed).count()
    }
}
