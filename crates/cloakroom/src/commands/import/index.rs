//! What the rows say about the objects: the SHA-256 of every final object, by its key.
//!
//! Objects are moved in the order of their keys, rows come in another, so all digests are held at once: 64 bytes for
//! a file, whatever the size of its bytes.

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::ports::archive::{ArchivedRow, MetadataArchive, Section};
use sha2::{Digest, Sha256};

use super::error::ImportError;
use super::place::SETTING;
use super::report::Damage;
use crate::commands::transfer::Expected;

/// Rows in a portion.
pub(super) const PORTION_ROWS: u32 = 200;
/// Missing objects that are named; beyond that nobody reads on.
const NAMED_MAX: usize = 100;

struct Entry {
    /// The first half of a digest of bucket and key.
    name: [u8; 16],
    sha256: Sha256Digest,
    size_bytes: u64,
    /// Whether a file is lost without it.
    required: bool,
    seen: bool,
}

/// Digests of final objects, and of the whole database.
pub(super) struct Index {
    entries: Vec<Entry>,
    fingerprint: String,
}

fn name(bucket: &str, key: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(bucket.as_bytes());
    // No name of a bucket holds it.
    hash.update(b"/");
    hash.update(key.as_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

/// Whether somebody may ask for the bytes of this file.
fn is_required(file: &File) -> bool {
    let state = file.trash.map_or(file.state, |trash| trash.from);
    file.state != FileState::Purging
        && file.verified.is_some()
        && matches!(
            state,
            FileState::Ready | FileState::Archived | FileState::Quarantined
        )
}

impl Index {
    /// Reads the database once.
    pub(super) async fn read(archive: &dyn MetadataArchive) -> Result<Self, ImportError> {
        let mut entries = Vec::new();
        let mut hash = Sha256::new();
        for section in Section::ALL {
            hash.update(archive.count(*section).await?.to_be_bytes());
            if *section == Section::Events {
                // Never changed, only added; their number says enough.
                continue;
            }
            let mut after: Option<String> = None;
            loop {
                let portion = archive.export(*section, after.as_deref(), PORTION_ROWS).await?;
                for row in &portion.rows {
                    if matches!(row, ArchivedRow::Setting { name, .. } if name == SETTING) {
                        continue;
                    }
                    hash.update(format!("{row:?}").as_bytes());
                    if let ArchivedRow::File(row) = row
                        && let Some(verified) = &row.file.verified
                    {
                        entries.push(Entry {
                            name: name(&row.file.bucket, &row.file.key),
                            sha256: verified.sha256,
                            size_bytes: verified.size_bytes,
                            required: is_required(&row.file),
                            seen: false,
                        });
                    }
                }
                match portion.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        entries.sort_unstable_by_key(|entry| entry.name);
        let digest: [u8; 32] = hash.finalize().into();
        Ok(Self {
            entries,
            fingerprint: Sha256Digest(digest).to_string(),
        })
    }

    /// Names the contents of the database.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    fn position(&self, bucket: &str, key: &str) -> Option<usize> {
        let name = name(bucket, key);
        self.entries.binary_search_by_key(&name, |entry| entry.name).ok()
    }

    /// What an object must be, if it is the final object of a file.
    pub(super) fn expected(&self, bucket: &str, key: &str) -> Option<Expected> {
        let entry = &self.entries[self.position(bucket, key)?];
        Some(Expected {
            sha256: entry.sha256,
            size_bytes: entry.size_bytes,
        })
    }

    /// Notes that an object is there.
    pub(super) fn saw(&mut self, bucket: &str, key: &str) {
        if let Some(position) = self.position(bucket, key) {
            self.entries[position].seen = true;
        }
    }

    /// Final objects that should be there and were not seen.
    pub(super) async fn missing(&self, archive: &dyn MetadataArchive) -> Result<Vec<Damage>, ImportError> {
        let mut missing = Vec::new();
        if self.entries.iter().all(|entry| entry.seen || !entry.required) {
            return Ok(missing);
        }
        let mut after: Option<String> = None;
        loop {
            let portion = archive
                .export(Section::Files, after.as_deref(), PORTION_ROWS)
                .await?;
            for row in &portion.rows {
                let ArchivedRow::File(row) = row else { continue };
                let lost = self
                    .position(&row.file.bucket, &row.file.key)
                    .is_some_and(|position| self.entries[position].required && !self.entries[position].seen);
                if lost && missing.len() < NAMED_MAX {
                    missing.push(Damage {
                        bucket: row.file.bucket.clone(),
                        key: row.file.key.clone(),
                        reason: format!("the object of file {} is not there", row.file.id),
                    });
                }
            }
            match portion.next {
                Some(next) if missing.len() < NAMED_MAX => after = Some(next),
                _ => return Ok(missing),
            }
        }
    }
}
