//! The sweeps: idempotent, without input, run now and then. Each claims rows and leaves the bytes to jobs.

use cloakroom_core::collection::Collection;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::key::{STAGING_PREFIX, staging_file_id};
use cloakroom_core::ports::metadata::{Cursor, FileQuery, MetadataError};
use cloakroom_core::ports::objects::{ListOptions, ObjectError, ObjectList, ObjectPath};
use cloakroom_core::storage::StorageAction;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

use crate::app::App;
use crate::error::Result;
use crate::purging::SWEEPER;

/// Rows handled in one step of a sweep.
const ROUND_MAX: u32 = 200;
/// Trashed files of closed stores that one sweep looks beyond.
const WAITING_MAX: u32 = 100_000;

impl App {
    /// Uploads that nobody confirmed in time: collections with `auto_confirm` get a last chance, the others are
    /// claimed and reaped. Each collection has its own time. Returns how many were.
    pub async fn sweep_expired_uploads(&self) -> Result<u32> {
        let mut swept = 0;
        let graces = || self.collections.values().map(|one| self.grace_of(one));
        let longest = graces().max().unwrap_or_default().max(self.policy.upload_grace);
        // Where times differ, those whose time is not over would stand before those whose is: each is asked for by itself.
        if graces().any(|grace| grace != longest) {
            for collection in self.collections.values() {
                swept += self.sweep_expired_of(collection).await?;
            }
        }
        let before = self.now().checked_sub(longest).unwrap_or(self.now());
        loop {
            let ids = self.metadata.expired_uploads(before, ROUND_MAX).await?;
            let mut progress = false;
            for id in &ids {
                let Some(file) = self.metadata.file(*id).await? else {
                    continue;
                };
                let (done, claimed) = self.give_up_upload(&file).await?;
                progress |= done;
                swept += u32::from(claimed);
            }
            if ids.len() < ROUND_MAX as usize || !progress {
                return Ok(swept);
            }
        }
    }

    /// Those of one collection. The age of the row decides what is looked at, and its upload's expiry, which may have been
    /// renewed, what is swept.
    async fn sweep_expired_of(&self, collection: &Collection) -> Result<u32> {
        let now = self.now();
        let over = |at: Timestamp| now.duration_since(at) >= self.grace_of(collection);
        let age = SignedDuration::from_secs(i64::from(collection.upload_expires_seconds));
        let created_before = now
            .checked_sub(self.grace_of(collection))
            .and_then(|at| at.checked_sub(age))
            .and_then(|at| at.checked_add(SignedDuration::from_micros(1)))
            .unwrap_or(Timestamp::MIN);
        let mut query = FileQuery {
            collections: Some(vec![collection.name.clone()]),
            states: vec![FileState::Pending, FileState::Uploading, FileState::Uploaded],
            created_before: Some(created_before),
            limit: ROUND_MAX,
            ..FileQuery::default()
        };
        let mut swept = 0;
        loop {
            let page = self.metadata.files(&query).await?;
            for file in &page.items {
                let upload = self.metadata.upload(file.id).await?;
                if upload.is_some_and(|upload| over(upload.expires_at)) {
                    swept += u32::from(self.give_up_upload(file).await?.1);
                }
            }
            let Some(last) = page.items.last().filter(|_| page.more) else {
                return Ok(swept);
            };
            query.after = Some(Cursor {
                created_at: last.created_at,
                id: last.id,
            });
        }
    }

    /// Whether an upload whose time is over went on, confirmed or claimed; and whether it was claimed.
    async fn give_up_upload(&self, file: &File) -> Result<(bool, bool)> {
        let auto_confirm = self.collection(&file.collection).is_ok_and(|c| c.auto_confirm);
        if auto_confirm && self.confirm_unattended(file, SWEEPER).await? {
            return Ok((true, false));
        }
        let claimed = self.claim_expired(file).await?;
        Ok((claimed, claimed))
    }

    pub(crate) async fn claim_expired(&self, file: &File) -> Result<bool> {
        let Some(upload) = self.metadata.upload(file.id).await? else {
            return Ok(false);
        };
        let Ok(transition) = file.reap(&upload, "expired", &self.occasion(SWEEPER)) else {
            return Ok(false);
        };
        match self.metadata.apply(transition).await {
            Ok(()) => Ok(true),
            // Confirmed at the last moment: theirs.
            Err(MetadataError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Uploads that arrived without anybody saying so: in collections with `auto_confirm` a complete staging object is
    /// enough, so what the client never confirmed and no bucket event told of (design §3) is found here, by listing,
    /// and confirmed. Nothing is listed while no such upload is open. Returns how many were confirmed.
    pub async fn sweep_arrived_uploads(&self) -> Result<u32> {
        let collections = self.collections.values().filter(|c| c.auto_confirm);
        let mut names_by_bucket: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for collection in collections {
            let names = names_by_bucket.entry(&collection.bucket).or_default();
            names.push(collection.name.clone());
        }
        let mut confirmed = 0;
        for (bucket, names) in names_by_bucket {
            let open = FileQuery {
                collections: Some(names),
                states: vec![FileState::Pending, FileState::Uploading, FileState::Uploaded],
                limit: 1,
                ..FileQuery::default()
            };
            if self.metadata.files(&open).await?.items.is_empty() {
                continue;
            }
            let mut options = staging_list();
            while let Some(page) = self.list_staging(bucket, &options).await? {
                for object in page.objects {
                    if self.confirm_arrived(bucket, &object.key).await? {
                        confirmed += 1;
                    }
                }
                let Some(next) = page.next else { break };
                options.after = Some(next);
            }
        }
        Ok(confirmed)
    }

    async fn confirm_arrived(&self, bucket: &str, key: &str) -> Result<bool> {
        let Some(id) = staging_file_id(key) else {
            return Ok(false);
        };
        let Some(file) = self.metadata.file(id).await? else {
            return Ok(false);
        };
        let auto_confirm = self.collection(&file.collection).is_ok_and(|c| c.auto_confirm);
        if !auto_confirm || !file.state.is_open() || file.bucket != bucket {
            return Ok(false);
        }
        self.confirm_unattended(&file, SWEEPER).await
    }

    /// A page of what is in staging; `None` when there is no such bucket (yet).
    async fn list_staging(&self, bucket: &str, options: &ListOptions) -> Result<Option<ObjectList>> {
        match self.objects.list(bucket, options).await {
            Ok(page) => Ok(Some(page)),
            Err(ObjectError::NoSuchBucket(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Files whose time in the trash is over are claimed for the purge, where the mode of their store allows that they are
    /// deleted; the others wait. Returns how many.
    pub async fn sweep_trash(&self) -> Result<u32> {
        let mut swept = 0;
        // Grows when all that was found waits, so that a closed store does not hold up the others.
        let mut limit = ROUND_MAX;
        loop {
            let ids = self.metadata.purgeable_files(self.now(), limit).await?;
            let before = swept;
            for id in &ids {
                let Some(file) = self.metadata.file(*id).await? else {
                    continue;
                };
                if self.admit(StorageAction::Delete, &file.bucket).is_err() {
                    continue;
                }
                let Ok(transition) = file.purge(&self.occasion(SWEEPER)) else {
                    continue;
                };
                match self.metadata.apply(transition).await {
                    Ok(()) => swept += 1,
                    Err(MetadataError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if ids.len() < limit as usize || limit > WAITING_MAX {
                return Ok(swept);
            }
            if swept == before {
                limit *= 4;
            }
        }
    }

    /// Staging objects whose file no longer needs them: a URL used again after confirm, a copy that a crash left
    /// behind. Only keys that we spelled ourselves are touched. Returns how many were removed.
    pub async fn sweep_staging(&self) -> Result<u32> {
        let buckets: BTreeSet<&str> = self.collections.values().map(|c| c.bucket.as_str()).collect();
        let mut swept = 0;
        for bucket in buckets {
            let mut options = staging_list();
            while let Some(page) = self.list_staging(bucket, &options).await? {
                for object in page.objects {
                    if self.staging_object_is_over(&object.key).await? {
                        self.objects.delete(&ObjectPath::new(bucket, object.key)).await?;
                        swept += 1;
                    }
                }
                let Some(next) = page.next else { break };
                options.after = Some(next);
            }
        }
        Ok(swept)
    }

    async fn staging_object_is_over(&self, key: &str) -> Result<bool> {
        let Some(id) = staging_file_id(key) else {
            return Ok(false);
        };
        let Some(file) = self.metadata.file(id).await? else {
            // No row: foreign, or its row was lost. The orphan scan reports it; a sweep does not decide.
            return Ok(false);
        };
        Ok(match file.state_below_trash() {
            FileState::Ready | FileState::Expired | FileState::Archived | FileState::Quarantined => true,
            FileState::Failed => !file.is_kept_for_retry() && file.hold.is_none(),
            _ => false,
        })
    }

    /// Forgets closed entries of the write-ahead log that are older than configured.
    pub async fn trim_log(&self) -> Result<u64> {
        let before = self
            .now()
            .checked_sub(self.policy.intent_retention)
            .unwrap_or(self.now());
        Ok(self.metadata.trim_intents(before, 10_000).await?)
    }
}

/// The first page of everything in staging.
fn staging_list() -> ListOptions {
    ListOptions {
        prefix: STAGING_PREFIX.to_owned(),
        limit: 1_000,
        ..ListOptions::default()
    }
}
