//! What every [`MetadataArchive`] must do.
//!
//! An adapter's tests name an async function that makes an empty store, **with its outbox on**, and what must live as
//! long as the store; it is called twice in a case, so stores must not see each other:
//!
//! ```ignore
//! async fn fresh() -> (Arc<dyn ArchivedStore>, TempDir) { .. }
//! cloakroom_testkit::archive_suite!(fresh);
//! ```
//!
//! Each case becomes one `#[tokio::test]`. [`transfer`] and [`snapshot`] also serve tests that move from one engine to
//! another.

mod contents;
mod snapshot;

use std::sync::Arc;

use cloakroom_core::id::WorkerId;
use cloakroom_core::job::{Job, JobState};
use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::archive::{ArchivedRow, MetadataArchive, Section};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{Claim, MetadataError, MetadataStore, Usage};
use cloakroom_core::transition::Fence;
use serde_json::json;

pub use self::contents::{Contents, fill};
pub use self::snapshot::{Snapshot, snapshot};
use crate::fixtures::{object, sample_record};
use crate::metadata_store_suite::stage::{LEASE, Stage};

/// A metadata store that can be read and written whole.
pub trait ArchivedStore: MetadataStore + AdministrationStore + MetadataArchive {}

impl<T: MetadataStore + AdministrationStore + MetadataArchive> ArchivedStore for T {}

/// The store under test.
pub type Store = Arc<dyn ArchivedStore>;

/// Makes a test of each case of the suite; see [the module](mod@crate::archive_suite).
#[macro_export]
macro_rules! archive_suite {
    ($fresh:path) => {
        $crate::archive_suite!(@cases $fresh;
            an_empty_store_exports_nothing,
            portions_are_complete_and_stable,
            a_restored_store_answers_alike,
            restoring_twice_changes_nothing,
            rows_that_stand_are_left_alone,
            portions_may_be_repeated_after_a_crash,
            a_portion_is_restored_whole_or_not_at_all,
            a_running_job_arrives_as_ready,
            restored_events_do_not_wait_for_delivery,
            restored_files_live_on,
        );
    };
    (@cases $fresh:path; $($case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (source, _source_guard) = $fresh().await;
                let (target, _target_guard) = $fresh().await;
                $crate::archive_suite::$case(source, target).await;
            }
        )+
    };
}

/// A section, read in portions of `limit`.
pub async fn export(store: &dyn MetadataArchive, section: Section, limit: u32) -> Vec<ArchivedRow> {
    let mut rows = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let portion = store
            .export(section, after.as_deref(), limit)
            .await
            .expect("export");
        assert!(
            portion.rows.len() <= limit as usize,
            "a portion keeps to its limit"
        );
        rows.extend(portion.rows);
        let Some(next) = portion.next else {
            return rows;
        };
        assert_ne!(
            after.as_ref(),
            Some(&next),
            "the export of {section:?} stands still"
        );
        after = Some(next);
    }
}

/// Every section, from one store into the other; returns how many rows were new.
pub async fn transfer(source: &dyn MetadataArchive, target: &dyn MetadataArchive, limit: u32) -> u64 {
    let mut new = 0;
    for section in Section::ALL {
        for portion in export(source, *section, limit).await.chunks(limit as usize) {
            new += target
                .restore(portion, crate::clock::MockClock::new().now())
                .await
                .expect("restore");
        }
    }
    new
}

async fn total(store: &dyn MetadataArchive) -> u64 {
    let mut rows = 0;
    for section in Section::ALL {
        rows += store.count(*section).await.expect("count");
    }
    rows
}

/// Nothing in, nothing out, and nothing to count.
pub async fn an_empty_store_exports_nothing(source: Store, target: Store) {
    for section in Section::ALL {
        assert_eq!(export(source.as_ref(), *section, 10).await, []);
        assert_eq!(source.count(*section).await.expect("count"), 0);
    }
    assert_eq!(target.restore(&[], contents::start()).await.expect("restore"), 0);
}

/// Every row once, the same rows in the same order however large the portions are.
pub async fn portions_are_complete_and_stable(source: Store, _target: Store) {
    let contents = fill(Arc::clone(&source)).await;
    for section in Section::ALL {
        let whole = export(source.as_ref(), *section, 1000).await;
        assert!(whole.len() > 1, "{section:?} has rows");
        for (n, row) in whole.iter().enumerate() {
            assert!(!whole[..n].contains(row), "{section:?} exports {row:?} twice");
        }
        assert_eq!(
            source.count(*section).await.expect("count"),
            whole.len() as u64,
            "{section:?}"
        );
        for limit in [1, 2, 3, 7, u32::try_from(whole.len()).expect("a few rows")] {
            let portions = export(source.as_ref(), *section, limit).await;
            assert_eq!(portions, whole, "{section:?} by {limit}");
        }
    }
    let read = snapshot(source.as_ref(), &contents).await;
    let files = export(source.as_ref(), Section::Files, 5).await;
    assert_eq!(files.len(), read.files.len());
    for row in files {
        let ArchivedRow::File(row) = row else {
            panic!("{row:?} is no file");
        };
        let known = (row.file.clone(), row.upload.clone(), row.derivatives.clone());
        assert!(read.files.contains(&known), "{known:?}");
    }
    let events = export(source.as_ref(), Section::Events, 5).await;
    let timelines: usize = read.timelines.iter().map(|(_, events)| events.len()).sum();
    assert_eq!(events.len(), timelines, "those of purged files too");
}

/// Every read of the port gives what it gave.
pub async fn a_restored_store_answers_alike(source: Store, target: Store) {
    let contents = fill(Arc::clone(&source)).await;
    let before = snapshot(source.as_ref(), &contents).await;
    assert_eq!(
        transfer(source.as_ref(), target.as_ref(), 4).await,
        total(source.as_ref()).await
    );
    let after = snapshot(target.as_ref(), &contents).await;
    snapshot::assert_equal(&before, &after);
    for section in Section::ALL {
        let (was, is) = (
            export(source.as_ref(), *section, 1000).await,
            export(target.as_ref(), *section, 1000).await,
        );
        assert_eq!(was.len(), is.len(), "{section:?}");
        assert!(was.iter().all(|row| is.contains(row)), "{section:?}: {is:#?}");
    }
    assert_eq!(
        snapshot(source.as_ref(), &contents).await,
        before,
        "reading changes nothing"
    );
}

/// The second time everything is there.
pub async fn restoring_twice_changes_nothing(source: Store, target: Store) {
    let contents = fill(Arc::clone(&source)).await;
    transfer(source.as_ref(), target.as_ref(), 10).await;
    let before = snapshot(target.as_ref(), &contents).await;
    for limit in [3, 1000] {
        assert_eq!(transfer(source.as_ref(), target.as_ref(), limit).await, 0);
    }
    snapshot::assert_equal(&before, &snapshot(target.as_ref(), &contents).await);
    assert_eq!(total(source.as_ref()).await, total(target.as_ref()).await);
}

/// A row that changed after it was restored does not fall back, nor do its derivatives and its words.
pub async fn rows_that_stand_are_left_alone(source: Store, target: Store) {
    let contents = fill(Arc::clone(&source)).await;
    transfer(source.as_ref(), target.as_ref(), 10).await;
    let before = snapshot(target.as_ref(), &contents).await;
    let mut rows = Vec::new();
    for section in Section::ALL {
        rows.extend(export(source.as_ref(), *section, 1000).await);
    }
    for row in &mut rows {
        match row {
            ArchivedRow::Record(record) => record.payload = object(json!({ "older": true })),
            ArchivedRow::File(row) => {
                row.file.filename = "older.bin".into();
                row.file.metadata = object(json!({ "older": true }));
                row.derivatives.clear();
                if let Some(upload) = &mut row.upload {
                    upload.reserved_bytes += 1;
                }
            }
            ArchivedRow::Event(event) => event.actor = "older".into(),
            ArchivedRow::Usage { usage, .. } => *usage = Usage::default(),
            ArchivedRow::Intent(intent) => intent.actor = "older".into(),
            ArchivedRow::Job(job) => {
                job.attempt += 1;
                job.failures += 1;
            }
            ArchivedRow::ServiceToken(token) => token.name = "older".into(),
            ArchivedRow::Setting { value, .. } => *value = object(json!({ "older": true })),
            ArchivedRow::KeptGarbage(garbage) => garbage.etag = "older".into(),
            ArchivedRow::Store(store) => store.epoch += 1,
            ArchivedRow::Audit(entry) => entry.actor = "older".into(),
        }
    }
    let new = target.restore(&rows, contents::start()).await.expect("restore");
    assert_eq!(new, 0);
    snapshot::assert_equal(&before, &snapshot(target.as_ref(), &contents).await);
}

/// The mover died after some portions, and did not note the last one: it begins that one again, in other sizes.
pub async fn portions_may_be_repeated_after_a_crash(source: Store, target: Store) {
    let contents = fill(Arc::clone(&source)).await;
    for section in Section::ALL {
        let first = source.export(*section, None, 2).await.expect("export");
        target
            .restore(&first.rows, contents::start())
            .await
            .expect("restore");
        let next = source
            .export(*section, first.next.as_deref(), 1)
            .await
            .expect("export");
        target
            .restore(&next.rows, contents::start())
            .await
            .expect("restore");
        // An own process knows nothing but the place where the first portion ended.
        let mut after = first.next;
        while let Some(place) = after {
            let portion = source.export(*section, Some(&place), 3).await.expect("export");
            target
                .restore(&portion.rows, contents::start())
                .await
                .expect("restore");
            after = portion.next;
        }
    }
    snapshot::assert_equal(
        &snapshot(source.as_ref(), &contents).await,
        &snapshot(target.as_ref(), &contents).await,
    );
    assert_eq!(transfer(source.as_ref(), target.as_ref(), 10).await, 0);
}

/// A row that cannot be kept takes its whole portion along, and the store works on.
pub async fn a_portion_is_restored_whole_or_not_at_all(_source: Store, target: Store) {
    let good = sample_record("message/1", "ann", contents::start());
    let rows = [
        ArchivedRow::Record(good.clone()),
        ArchivedRow::Usage {
            owner: "ann".to_owned(),
            usage: Usage {
                // More than a column holds.
                stored_bytes: u64::MAX,
                ..Usage::default()
            },
        },
    ];
    assert!(target.restore(&rows, contents::start()).await.is_err());
    assert_eq!(target.record(&good.key).await.expect("record"), None);
    assert_eq!(total(target.as_ref()).await, 0);
    assert_eq!(
        target
            .restore(&rows[..1], contents::start())
            .await
            .expect("restore"),
        1
    );
    assert_eq!(target.record(&good.key).await.expect("record"), Some(good));
}

/// Its worker does not exist any more: the job waits, its attempt is counted, and what that worker might still say
/// is not heard.
pub async fn a_running_job_arrives_as_ready(source: Store, target: Store) {
    let stage = Stage::new(Arc::clone(&source) as Arc<dyn MetadataStore>);
    let (file, running) = stage.claimed().await;
    assert_eq!(
        (running.state, running.attempt, running.lease_epoch),
        (JobState::Running, 1, 1)
    );
    transfer(source.as_ref(), target.as_ref(), 10).await;

    let arrived = target.jobs(None, None, 10).await.expect("jobs").items;
    let expected = Job {
        state: JobState::Ready,
        lease_owner: None,
        lease_until: None,
        turn_at: None,
        progress: None,
        ..running.clone()
    };
    assert_eq!(arrived, [expected]);
    let mut transition = file.process(&stage.occasion()).expect("confirmed");
    transition.fence = Some(Fence::Hold(running.lease()));
    let answer = target.apply(transition).await;
    assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");

    let worker = WorkerId("worker-2".to_owned());
    let claim = Claim {
        worker: &worker,
        now: stage.now(),
        lease: LEASE,
        limit: 10,
        at_most: &[],
    };
    let claimed = target.claim(&claim).await.expect("claim");
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].id, claimed[0].lease_epoch), (running.id, 2));
    assert_eq!(claimed[0].attempt, 2);

    // Moved again, it does not come back beside the one that lives.
    assert_eq!(transfer(source.as_ref(), target.as_ref(), 10).await, 0);
    assert_eq!(target.jobs(None, None, 10).await.expect("jobs").items, claimed);
}

/// What happened before the move was told before the move, or never was to be: consumers hear what happens from now on.
pub async fn restored_events_do_not_wait_for_delivery(source: Store, target: Store) {
    fill(Arc::clone(&source)).await;
    transfer(source.as_ref(), target.as_ref(), 10).await;
    let stage = Stage::new(Arc::clone(&target) as Arc<dyn MetadataStore>);
    let new = stage.new_file();
    let event = new.event.clone();
    stage.insert(new).await;
    let worker = WorkerId("w".to_owned());
    let claim = Claim {
        worker: &worker,
        now: jiff::Timestamp::MAX,
        lease: LEASE,
        limit: 100,
        at_most: &[],
    };
    let waiting = target.claim_events(&claim).await.expect("claim_events");
    let waiting: Vec<_> = waiting.into_iter().map(|one| one.event).collect();
    assert_eq!(waiting, [event]);
}

/// Rows, indexes and counters are those of a store in which all this happened: it goes on from there.
pub async fn restored_files_live_on(source: Store, target: Store) {
    let from = Stage::new(Arc::clone(&source) as Arc<dyn MetadataStore>);
    let (pending, upload) = from.sign().await;
    let ready = from.ready(from.new_file()).await;
    transfer(source.as_ref(), target.as_ref(), 2).await;

    for store in [source, target] {
        let stage = Stage::new(store as Arc<dyn MetadataStore>);
        stage.pass(60);
        let confirmed = stage.confirm(&pending, &upload).await;
        let mut renamed = ready.clone();
        renamed.filename = "minutes of the meeting.pdf".into();
        renamed.version += 1;
        let event = stage
            .occasion()
            .event(&renamed, cloakroom_core::event::EventKind::Updated);
        let transition = cloakroom_core::transition::Transition::new(ready.version, renamed.clone(), event);
        stage.apply(transition).await;
        let words = |words: &[&str]| cloakroom_core::ports::metadata::FileQuery {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Default::default()
        };
        assert_eq!(stage.find(words(&["minutes", "meet"])).await, [renamed.id]);
        assert_eq!(stage.find(words(&["report"])).await, [confirmed.id]);
        let usage = stage.store.usage(&ready.owner).await.expect("usage");
        assert_eq!((usage.files, usage.reserved_bytes), (2, 0));
        let jobs = stage.store.jobs(None, None, 10).await.expect("jobs").items;
        assert_eq!(jobs.len(), 2, "one waited, the confirm made one");
    }
}
