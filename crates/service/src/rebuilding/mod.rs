//! Rebuild: rows out of what stands in the stores (I6), from nothing or into a database that is in use.
//!
//! It goes through three listings: documents of records, then final objects with their sidecars, then confirm notes. Each
//! adoption is one transaction that compares what it replaces, so nothing is locked, readers see every file before or after,
//! and whoever changes a file at the same time wins or tries again. What is as new as its sidecar is told by the listing
//! alone: the epoch in the sidecar's name is that of the row.
//!
//! Done again it changes nothing. Killed at any point it goes on from the last place that was saved.

pub(crate) mod families;
mod files;
mod notes;
mod outcome;
mod place;
mod records;

use std::collections::BTreeSet;

use cloakroom_core::JsonObject;
use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::operation::Finding;
use cloakroom_core::ports::objects::{ListOptions, ObjectError, ObjectList};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};

use self::outcome::Outcome;
use self::place::{Left, Phase, Place};
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

/// The actor of what a rebuild does.
const REBUILD: &str = "rebuild";
/// Documents read at the same time.
const READS_MAX: usize = 16;
/// Keys in a page of a listing.
const PAGE_KEYS: u32 = 1_000;
/// Pending entries of the log that are looked through for what is under way.
const PENDING_MAX: u32 = 10_000;
/// How long an entry of the log may stand open: no rebuild takes longer without ending.
const INTENT_LEASE: SignedDuration = SignedDuration::from_hours(24 * 7);
/// The setting that says when the last one ended (S3-seed `last_cache_rebuild`).
pub const LAST_CACHE_REBUILD: &str = "last_cache_rebuild";

impl App {
    /// Brings rows back from what stands in the stores, from where the run was left.
    pub(crate) async fn run_rebuild(&self, run: &mut Run<'_>) -> Result<()> {
        let intent = self.begin_rebuild(run).await?;
        let left_at = run.place().and_then(Place::parse);
        let buckets = self.rebuilt_buckets();
        for phase in Phase::ALL {
            for bucket in &buckets {
                let Left::After(after) = Place::within(left_at.as_ref(), phase, bucket) else {
                    continue;
                };
                match phase {
                    Phase::Records => self.rebuild_records(run, bucket, after).await?,
                    Phase::Files => self.rebuild_files(run, bucket, after).await?,
                    Phase::Notes => self.rebuild_notes(run, bucket, after).await?,
                }
            }
        }
        for check in self.administration.check_usage(true).await? {
            run.find(Finding {
                kind: "usage_differs".to_owned(),
                bucket: None,
                key: None,
                file_id: None,
                detail: format!(
                    "{} bytes of {} files were counted for one owner, {} of {} are there",
                    check.counted.stored_bytes,
                    check.counted.files,
                    check.found.stored_bytes,
                    check.found.files
                ),
                action: "repaired".to_owned(),
            });
        }
        let now = self.now();
        let mut last = JsonObject::new();
        last.insert("at".to_owned(), now.to_string().into());
        last.insert("operation_id".to_owned(), run.operation().id.to_string().into());
        for name in ["adopted", "updated", "unchanged"] {
            last.insert(name.to_owned(), run.counted(name).into());
        }
        self.metadata.put_setting(LAST_CACHE_REBUILD, &last).await?;
        self.metadata
            .end_intent(intent, IntentStatus::Committed, None, now)
            .await?;
        Ok(())
    }

    /// The buckets of all collections, those that their files may have moved to, and the home bucket.
    fn rebuilt_buckets(&self) -> BTreeSet<String> {
        let mut buckets: BTreeSet<String> = BTreeSet::new();
        for collection in self.collections.values() {
            buckets.insert(collection.bucket.clone());
            buckets.extend(collection.retention.archive_bucket.clone());
        }
        buckets.insert(self.policy.home_bucket.clone());
        buckets.retain(|bucket| !bucket.is_empty());
        buckets
    }

    /// The log says that a rebuild is under way. The entries of runs that died are closed: this one does what they left.
    async fn begin_rebuild(&self, run: &Run<'_>) -> Result<IntentId> {
        let now = self.now();
        for left in self.metadata.stale_intents(Timestamp::MAX, PENDING_MAX).await? {
            if left.kind == IntentKind::CacheRebuild {
                self.metadata
                    .end_intent(left.id, IntentStatus::RolledBack, Some("taken over"), now)
                    .await?;
            }
        }
        let id = IntentId(self.random.uuid_v7(now));
        let operation_id = run.operation().id.to_string();
        self.metadata
            .begin_intent(&Intent {
                id,
                kind: IntentKind::CacheRebuild,
                status: IntentStatus::Pending,
                file_id: None,
                epoch: 0,
                data: JsonObject::from_iter([("operation_id".to_owned(), operation_id.into())]),
                actor: run.operation().actor.clone(),
                started_at: now,
                lease_until: now.checked_add(INTENT_LEASE).unwrap_or(now),
                completed_at: None,
                error: None,
            })
            .await?;
        Ok(id)
    }

    /// A page of a listing; `None` when there is no such bucket.
    async fn rebuild_page(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<String>,
    ) -> Result<Option<ObjectList>> {
        let options = ListOptions {
            prefix: prefix.to_owned(),
            after,
            limit: PAGE_KEYS,
            ..ListOptions::default()
        };
        match self.objects.list(bucket, &options).await {
            Ok(page) => Ok(Some(page)),
            Err(ObjectError::NoSuchBucket(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Does a few at a time, and says what came of them in their order.
async fn side_by_side(work: Vec<BoxFuture<'_, Result<Outcome>>>, run: &mut Run<'_>) -> Result<()> {
    let mut outcomes = futures_util::stream::iter(work).buffered(READS_MAX);
    while let Some(outcome) = outcomes.next().await {
        outcome?.report(run);
    }
    Ok(())
}
