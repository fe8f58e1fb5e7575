//! Every row there is, page by page, and what retention and the closing of a store ask for.

use cloakroom_core::file::{File, FileState, Hold};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::administration::{Totals, UnderWay};
use jiff::{SignedDuration, Timestamp};

use super::adoption::returning;
use super::{Store, stage};
use crate::fixtures::{SAMPLE_BYTES, SAMPLE_UPLOAD_TIME, record_key, sample_record};
use crate::metadata_store_suite::stage::Stage;
use crate::metadata_store_suite::transitions::TRASH;

/// A ready file, adopted with whatever `change` does.
async fn adopted(store: &Store, stage: &Stage, change: impl FnOnce(&mut File)) -> File {
    stage.pass(1);
    let mut wanted = returning(stage);
    change(&mut wanted.file);
    wanted.event.state = wanted.file.state;
    assert!(store.adopt(&wanted).await.expect("adopt"));
    wanted.file
}

/// In the order of their ids, whatever their state.
pub async fn every_file_is_met_once(store: Store) {
    let stage = stage(&store);
    let page = store.all_files(None, 10).await.expect("all_files");
    assert_eq!((page.items, page.more), (vec![], false));
    let mut files = Vec::new();
    for n in 0..4 {
        files.push(stage.sign().await.0);
        files.push(stage.ready(stage.new_file()).await);
        let ready = stage.ready(stage.new_file()).await;
        files.push(
            stage
                .apply(ready.trash(TRASH, &stage.occasion()).expect("ready"))
                .await,
        );
        // Ids that were derived from a key do not sort by time.
        let id = FileId::from_idempotency_key("ann", &format!("key {n}"));
        let mut new = stage.new_file_with(|file| file.id = id);
        (new.upload.file_id, new.event.file_id) = (id, id);
        files.push(stage.insert(new).await.0);
    }
    files.sort_by_key(|file| file.id);
    for limit in [1, 3, 16, 100] {
        let (mut met, mut after) = (Vec::new(), None);
        loop {
            let page = store.all_files(after, limit).await.expect("all_files");
            assert!(page.items.len() <= limit as usize);
            after = page.items.last().map(|file| file.id);
            met.extend(page.items);
            if !page.more {
                break;
            }
        }
        assert_eq!(met, files, "by {limit}");
    }
}

/// Those that there are, each once.
pub async fn files_are_read_by_their_ids(store: Store) {
    let stage = stage(&store);
    let (one, _) = stage.sign().await;
    let other = stage.ready(stage.new_file()).await;
    let (_, _) = stage.sign().await;
    let unknown = FileId(uuid::Uuid::now_v7());
    let ids = [other.id, unknown, one.id, other.id];
    let mut found = store.files_by_id(&ids).await.expect("files_by_id");
    found.sort_by_key(|file| file.id);
    let mut wanted = vec![one, other];
    wanted.sort_by_key(|file| file.id);
    assert_eq!(found, wanted);
    assert_eq!(store.files_by_id(&[]).await.expect("files_by_id"), []);
}

/// In the order of the bytes of their keys.
pub async fn every_record_is_met_once(store: Store) {
    let stage = stage(&store);
    let page = store.all_records(None, 10).await.expect("all_records");
    assert_eq!((page.items, page.more), (vec![], false));
    let mut records = Vec::new();
    for key in [
        "message/2",
        "message/10",
        "complaint/Ω",
        "message/ж",
        "message/A",
        "a/z",
    ] {
        let record = sample_record(key, "ann", stage.now());
        store.put_record(&record, None).await.expect("put_record");
        records.push(record);
    }
    records.sort_by(|a, b| (a.key.kind(), a.key.id()).cmp(&(b.key.kind(), b.key.id())));
    for limit in [1, 4, 6, 100] {
        let (mut met, mut after) = (Vec::new(), None);
        loop {
            let page = store
                .all_records(after.as_ref(), limit)
                .await
                .expect("all_records");
            after = page.items.last().map(|record| record.key.clone());
            met.extend(page.items);
            if !page.more {
                break;
            }
        }
        assert_eq!(met, records, "by {limit}");
    }
}

/// Of all owners, the trash included, open uploads not.
pub async fn totals_are_those_of_the_counters(store: Store) {
    let stage = stage(&store);
    assert_eq!(store.totals().await.expect("totals"), Totals::default());
    for owner in ["ann", "bob"] {
        let new = stage.new_file_with(|file| owner.clone_into(&mut file.owner));
        let ready = stage.ready(new).await;
        stage
            .apply(ready.trash(TRASH, &stage.occasion()).expect("ready"))
            .await;
    }
    stage.ready(stage.new_file()).await;
    stage.sign().await;
    let totals = Totals {
        files: 3,
        stored_bytes: 3 * SAMPLE_BYTES,
    };
    assert_eq!(store.totals().await.expect("totals"), totals);
}

async fn retained(store: &Store, before: Timestamp, unlinked: bool, limit: u32) -> Vec<FileId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .retained_files("documents", before, unlinked, after, limit)
            .await
            .expect("retained_files");
        assert!(page.items.len() <= limit as usize);
        after = page
            .items
            .last()
            .map(|file| (file.unarchived_at.unwrap_or(file.created_at), file.id));
        found.extend(page.items.iter().map(|file| file.id));
        if !page.more {
            return found;
        }
    }
}

/// Of the collection, before the time, in order, page by page.
pub async fn retention_sees_ready_files_oldest_first(store: Store) {
    let stage = stage(&store);
    let start = stage.now();
    let mut wanted = Vec::new();
    for n in 0..10_i64 {
        // Three of one instant each.
        let created_at = start - SignedDuration::from_secs(n / 3);
        let file = adopted(&store, &stage, |file| file.created_at = created_at).await;
        wanted.push((created_at, file.id));
    }
    for state in FileState::ALL.iter().filter(|state| **state != FileState::Ready) {
        adopted(&store, &stage, |file| {
            file.state = *state;
            file.created_at = start - SignedDuration::from_hours(1);
            file.trash = (*state == FileState::Trashed).then_some(cloakroom_core::file::Trash {
                from: FileState::Ready,
                at: start,
                purge_at: start,
            });
        })
        .await;
    }
    adopted(&store, &stage, |file| {
        "photos".clone_into(&mut file.collection);
        file.created_at = start - SignedDuration::from_hours(1);
    })
    .await;
    wanted.sort_unstable();
    let all: Vec<FileId> = wanted.iter().map(|(_, id)| *id).collect();
    let late = start + SignedDuration::from_secs(1);
    for limit in [1, 2, 3, 4, 100] {
        assert_eq!(retained(&store, late, false, limit).await, all, "by {limit}");
        assert_eq!(retained(&store, late, true, limit).await, all, "by {limit}");
    }
    // Those of the last instant are not older than it.
    let older: Vec<FileId> = wanted
        .iter()
        .filter(|(at, _)| *at < start)
        .map(|(_, id)| *id)
        .collect();
    assert_eq!(retained(&store, start, false, 100).await, older);
    let ancient = start - SignedDuration::from_hours(2);
    assert_eq!(retained(&store, ancient, false, 100).await, []);
}

/// A hold keeps a file for as long as it stands, and a record keeps it from what is for unlinked files.
pub async fn retention_passes_over_holds_and_links(store: Store) {
    let stage = stage(&store);
    let free = adopted(&store, &stage, |_| {}).await;
    let held = adopted(&store, &stage, |file| {
        file.hold = Some(Hold {
            by: "ada".to_owned(),
            at: file.created_at,
            reason: "case 7".to_owned(),
        });
    })
    .await;
    let linked = adopted(&store, &stage, |file| {
        file.record = Some(record_key("message/1"));
    })
    .await;
    let later = stage.pass(10);
    assert_eq!(retained(&store, later, false, 10).await, [free.id, linked.id]);
    assert_eq!(retained(&store, later, true, 10).await, [free.id]);
    let mut released = held.clone();
    released.version += 1;
    released.hold = None;
    let event = stage
        .occasion()
        .event(&released, cloakroom_core::event::EventKind::Updated);
    let transition = cloakroom_core::transition::Transition::new(held.version, released, event);
    store.apply(transition).await.expect("apply");
    assert_eq!(retained(&store, later, true, 10).await, [free.id, held.id]);
}

/// A file that came back from the archive is as young as its return.
pub async fn retention_counts_from_the_archive(store: Store) {
    let stage = stage(&store);
    let start = stage.now();
    let returned = adopted(&store, &stage, |file| {
        file.unarchived_at = Some(start + SignedDuration::from_hours(1));
    })
    .await;
    let young = adopted(&store, &stage, |file| {
        file.created_at = start + SignedDuration::from_mins(30);
    })
    .await;
    let time = |minutes| start + SignedDuration::from_mins(minutes);
    assert_eq!(retained(&store, time(30), false, 10).await, []);
    assert_eq!(retained(&store, time(60), false, 10).await, [young.id]);
    for limit in [1, 10] {
        let found = retained(&store, time(61), false, limit).await;
        assert_eq!(found, [young.id, returned.id]);
    }
}

/// Open tickets and what is not verified yet, of some buckets alone.
pub async fn what_is_under_way_is_known_by_bucket(store: Store) {
    let stage = stage(&store);
    let buckets = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let all = buckets(&["files", "photos"]);
    assert_eq!(
        store.under_way(&all).await.expect("under_way"),
        UnderWay::default()
    );
    let (first, first_upload) = stage.sign().await;
    stage.pass(60);
    let (_, _) = stage.sign().await;
    stage.pass(60);
    let elsewhere = stage.new_file_with(|file| "photos".clone_into(&mut file.bucket));
    let (photo, photo_upload) = stage.insert(elsewhere).await;
    let until = |file: &File| Some(file.created_at + SAMPLE_UPLOAD_TIME);
    let of = async |names: &[&str]| store.under_way(&buckets(names)).await.expect("under_way");
    assert_eq!(of(&["photos", "files"]).await.open_until, until(&photo));
    assert_eq!(
        of(&["files"]).await.open_until,
        Some(first.created_at + SAMPLE_UPLOAD_TIME + SignedDuration::from_secs(60))
    );
    assert_eq!(of(&["other"]).await, UnderWay::default());
    assert_eq!(of(&[]).await, UnderWay::default());

    let confirmed = stage.confirm(&photo, &photo_upload).await;
    let expected = UnderWay {
        open_until: None,
        unverified: 1,
    };
    assert_eq!(of(&["photos"]).await, expected);
    let processing = stage.process(&confirmed).await;
    assert_eq!(of(&["photos"]).await, expected);
    stage.apply(stage.readiness(&processing)).await;
    assert_eq!(of(&["photos"]).await, UnderWay::default());
    let reaping = first
        .reap(&first_upload, "upload_expired", &stage.occasion())
        .expect("open");
    stage.apply(reaping).await;
    assert_eq!(of(&["files"]).await.unverified, 0);
}
