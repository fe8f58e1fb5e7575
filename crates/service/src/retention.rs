//! Retention: what goes by itself, and when, collection by collection.
//!
//! Unconfirmed uploads are claimed by the sweep of uploads, which asks here how long each collection keeps them. Ready files
//! go to the trash, or to the archive, when they are old enough; age counts from when they were created, or were last taken
//! out of the archive. What is on legal hold stays, and what stands in a store that is closed waits.

use std::collections::HashSet;

use cloakroom_core::collection::Collection;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::job::{JobKind, JobState};
use cloakroom_core::ports::metadata::{Cursor, FileQuery};
use cloakroom_core::storage::StorageAction;
use jiff::{SignedDuration, Timestamp};

use crate::app::App;
use crate::error::Result;

/// The actor of what retention does.
pub const RETENTION: &str = "retention";
/// Rows read in one step.
const PAGE: u32 = 500;
/// Moves to the archive that wait at the same time: they take long, and the next sweep asks for more.
const MOVES_MAX: u64 = 1_000;

impl App {
    /// How long after its URL's expiry an unconfirmed upload of a collection may still be confirmed.
    pub(crate) fn grace_of(&self, collection: &Collection) -> SignedDuration {
        let usual = u64::try_from(self.policy.upload_grace.as_secs()).unwrap_or_default();
        seconds(collection.retention.unconfirmed(usual))
    }

    /// The same, by name; a collection that is no longer configured has what is usual.
    pub(crate) fn grace_in(&self, collection: &str) -> SignedDuration {
        self.collections
            .get(collection)
            .map_or(self.policy.upload_grace, |collection| self.grace_of(collection))
    }

    /// Lets go, and has archived, what is old enough. Returns how many files that was.
    pub async fn sweep_retention(&self) -> Result<u64> {
        let mut found = 0;
        for collection in self.collections.values() {
            let retention = &collection.retention;
            // In a closed store all of them would wait: they are not even looked at.
            let open = |bucket: &str| self.admit(StorageAction::Delete, bucket).is_ok();
            if let Some(age) = retention.expire_seconds {
                if open(&collection.bucket) {
                    found += self.expire_ready(collection, age, false).await?;
                }
                if retention.archive_bucket.as_deref().is_some_and(open) {
                    found += self.expire_archived(collection, age).await?;
                }
            }
            if let Some(age) = retention.unlinked_seconds
                && open(&collection.bucket)
            {
                found += self.expire_ready(collection, age, true).await?;
            }
            if let (Some(age), Some(archive)) = (retention.archive_seconds, &retention.archive_bucket)
                && self.admit_archiving(&collection.bucket, archive).is_ok()
            {
                found += self.archive_ready(collection, age).await?;
            }
        }
        Ok(found)
    }

    async fn expire_ready(&self, collection: &Collection, age: u64, unlinked: bool) -> Result<u64> {
        let mut found = 0;
        let mut after = None;
        loop {
            let page = self
                .administration
                .retained_files(&collection.name, self.before(age), unlinked, after, PAGE)
                .await?;
            for file in &page.items {
                found += u64::from(self.expire(file).await?);
                after = Some(retained_at(file));
            }
            if !page.more {
                return Ok(found);
            }
        }
    }

    /// Files that were archived before they expired.
    async fn expire_archived(&self, collection: &Collection, age: u64) -> Result<u64> {
        let mut found = 0;
        let mut query = FileQuery {
            collections: Some(vec![collection.name.clone()]),
            states: vec![FileState::Archived],
            created_before: Some(self.before(age)),
            limit: PAGE,
            ..FileQuery::default()
        };
        loop {
            let page = self.metadata.files(&query).await?;
            for file in page.items.iter().filter(|file| file.hold.is_none()) {
                found += u64::from(self.expire(file).await?);
            }
            let Some(last) = page.items.last().filter(|_| page.more) else {
                return Ok(found);
            };
            query.after = Some(Cursor {
                created_at: last.created_at,
                id: last.id,
            });
        }
    }

    /// Whether the file went to the trash.
    async fn expire(&self, file: &File) -> Result<bool> {
        if self.admit(StorageAction::Delete, &file.bucket).is_err() {
            return Ok(false);
        }
        match Box::pin(self.trash(file, RETENTION)).await {
            Ok(()) => Ok(true),
            // Changed, or put on hold, at this moment: the next sweep looks again.
            Err(error)
                if matches!(
                    error.code(),
                    ErrorCode::Conflict | ErrorCode::LegalHold | ErrorCode::InvalidState
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn archive_ready(&self, collection: &Collection, age: u64) -> Result<u64> {
        let given_up = self.moves_given_up().await?;
        let (mut found, mut waiting) = (0, 0);
        let mut after = None;
        loop {
            let page = self
                .administration
                .retained_files(&collection.name, self.before(age), false, after, PAGE)
                .await?;
            for file in &page.items {
                after = Some(retained_at(file));
                // What could not be moved is an administrator's to look at, and not tried for ever.
                if given_up.contains(&file.id) {
                    continue;
                }
                waiting += 1;
                found += u64::from(self.archive_in_time(file).await?);
            }
            if !page.more || waiting >= MOVES_MAX {
                return Ok(found);
            }
        }
    }

    /// Files whose move to the archive is in the dead-letter list.
    async fn moves_given_up(&self) -> Result<HashSet<FileId>> {
        let mut files = HashSet::new();
        let mut after = None;
        loop {
            let page = self.metadata.jobs(Some(JobState::Dead), after, 1_000).await?;
            after = page.items.last().map(|job| job.id).or(after);
            let moves = page.items.iter().filter(|job| job.kind == JobKind::ArchiveFile);
            files.extend(moves.map(|job| job.file_id));
            if !page.more {
                return Ok(files);
            }
        }
    }

    fn before(&self, age_seconds: u64) -> Timestamp {
        self.now()
            .checked_sub(seconds(age_seconds))
            .unwrap_or(Timestamp::MIN)
    }
}

/// Where a file stands in the order of retention.
fn retained_at(file: &File) -> (Timestamp, FileId) {
    (file.unarchived_at.unwrap_or(file.created_at), file.id)
}

/// So many seconds; what does not fit is for ever.
pub(crate) fn seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}
