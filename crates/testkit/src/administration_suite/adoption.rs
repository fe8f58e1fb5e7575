//! Files that come back from what stands in the store: whole, once, and never those that were purged.

use std::sync::Arc;

use cloakroom_core::derivative::Derivative;
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileError, FileState, Hold, Trash};
use cloakroom_core::id::{FileId, WorkerId};
use cloakroom_core::job::JobKind;
use cloakroom_core::ports::administration::Adoption;
use cloakroom_core::ports::metadata::{Claim, FileQuery, Usage};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;

use super::{Store, stage};
use crate::fixtures::{
    SAMPLE_BYTES, SAMPLE_OWNER, object, record_key, sample_derivative, sample_file, sample_observed,
    sample_record, sample_upload, sample_verified,
};
use crate::metadata_store_suite::stage::{LEASE, Stage};
use crate::metadata_store_suite::transitions::TRASH;

/// A ready file as a rebuild finds it, in its seventh version.
pub(super) fn returning(stage: &Stage) -> Adoption {
    let file = sample_file(&stage.random, stage.now());
    let staged = sample_observed(&file).staged;
    let verified = sample_verified(&file);
    adoption(
        stage,
        File {
            state: FileState::Ready,
            version: 7,
            epoch: 3,
            staged: Some(staged),
            verified: Some(verified),
            uploaded_at: Some(stage.now()),
            confirmed_at: Some(stage.now()),
            processed_at: Some(stage.now()),
            ..file
        },
    )
}

/// The adoption of a file of which there is no row, with its upload.
fn adoption(stage: &Stage, file: File) -> Adoption {
    Adoption {
        upload: Some(sample_upload(&file)),
        derivatives: Vec::new(),
        record: None,
        event: stage.occasion().event(&file, EventKind::Adopted),
        jobs: Vec::new(),
        replaces: None,
        file,
    }
}

/// The same in the place of a row that was seen.
fn replacing(stage: &Stage, before: &File, change: impl FnOnce(&mut File)) -> Adoption {
    let mut file = before.clone();
    file.version += 1;
    change(&mut file);
    Adoption {
        upload: None,
        replaces: Some(before.version),
        ..adoption(stage, file)
    }
}

async fn adopt(store: &Store, adoption: &Adoption) -> bool {
    store.adopt(adoption).await.expect("adopt")
}

fn words(text: &str) -> FileQuery {
    FileQuery {
        words: vec![text.to_owned()],
        ..FileQuery::default()
    }
}

fn metadata(name: &str, value: &str) -> FileQuery {
    FileQuery {
        metadata: vec![(name.to_owned(), json!(value))],
        ..FileQuery::default()
    }
}

/// Row, upload, derivatives, record, event, job, usage, search and outbox.
pub async fn a_file_comes_back_whole(store: Store) {
    let stage = stage(&store);
    let mut wanted = returning(&stage);
    let id = wanted.file.id;
    wanted.file.record = Some(record_key("message/1"));
    wanted.file.hold = Some(Hold {
        by: "ada".to_owned(),
        at: stage.now(),
        reason: "Дело 7 \"é\"".to_owned(),
    });
    wanted.file.unarchived_at = Some(stage.now());
    wanted.file.facts = object(json!({ "pages": 7 }));
    wanted.derivatives = vec![
        sample_derivative(&wanted.file, "preview"),
        sample_derivative(&wanted.file, "thumb"),
    ];
    wanted.record = Some(sample_record("message/1", SAMPLE_OWNER, stage.now()));
    wanted.jobs = vec![stage.new_job(JobKind::DiscardStaging, id)];
    assert!(adopt(&store, &wanted).await);

    let trace = stage.trace(id, SAMPLE_OWNER).await;
    assert_eq!(trace.file.as_ref(), Some(&wanted.file));
    assert_eq!(trace.upload, wanted.upload);
    assert_eq!(trace.events, [wanted.event.clone()]);
    assert_eq!(trace.derivatives, wanted.derivatives);
    assert_eq!(
        trace.jobs.iter().map(|job| job.id).collect::<Vec<_>>(),
        [wanted.jobs[0].id]
    );
    assert_eq!(
        trace.usage,
        Usage {
            reserved_bytes: 0,
            stored_bytes: SAMPLE_BYTES,
            files: 1
        }
    );
    let record = store.record(&record_key("message/1")).await.expect("record");
    assert_eq!(record, wanted.record);
    for query in [words("quarterly"), metadata("project", "north")] {
        assert_eq!(stage.find(query).await, [id]);
    }
    let worker = WorkerId("w".to_owned());
    let claim = Claim {
        worker: &worker,
        now: stage.now(),
        lease: LEASE,
        limit: 10,
        at_most: &[],
    };
    let waiting = store.claim_events(&claim).await.expect("claim_events");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].event, wanted.event);
}

/// It changes, is deleted and purged like any other.
pub async fn an_adopted_file_lives_on(store: Store) {
    let stage = stage(&store);
    let wanted = returning(&stage);
    assert!(adopt(&store, &wanted).await);
    let file = stage.file(wanted.file.id).await;
    let trashed = file.trash(TRASH, &stage.occasion()).expect("ready");
    let trashed = stage.apply(trashed).await;
    let purging = stage
        .apply(trashed.purge(&stage.occasion()).expect("trashed"))
        .await;
    assert_eq!(store.usage(SAMPLE_OWNER).await.expect("usage"), Usage::default());
    let mut event = stage.occasion().event(&purging, EventKind::Purged);
    event.version += 1;
    store.forget(&purging, event, None, None).await.expect("forget");
    assert_eq!(store.file(file.id).await.expect("file"), None);
    assert_eq!(stage.find(words("quarterly")).await, []);
}

/// An upload that nobody confirmed reserves, is swept, and is not searched.
pub async fn an_adopted_upload_is_open_again(store: Store) {
    let stage = stage(&store);
    let wanted = adoption(&stage, sample_file(&stage.random, stage.now()));
    let id = wanted.file.id;
    assert!(adopt(&store, &wanted).await);
    let usage = store.usage(SAMPLE_OWNER).await.expect("usage");
    assert_eq!((usage.reserved_bytes, usage.files), (SAMPLE_BYTES, 0));
    assert_eq!(stage.find(words("quarterly")).await, []);
    let later = stage.now() + SignedDuration::from_hours(1);
    assert_eq!(store.expired_uploads(later, 10).await.expect("expired"), [id]);
    let upload = store.upload(id).await.expect("upload").expect("it came along");
    let file = stage.confirm(&wanted.file, &upload).await;
    assert_eq!(file.state, FileState::Confirmed);
    assert_eq!(store.check_usage(false).await.expect("check_usage"), []);
}

/// What was adopted over a row that is behind: all of it new, and only the difference counted.
pub async fn adoption_replaces_the_version_it_saw(store: Store) {
    let stage = stage(&store);
    let (file, upload) = stage.sign().await;
    let file = stage.confirm(&file, &upload).await;
    let mut processing = file.process(&stage.occasion()).expect("confirmed");
    processing.derivatives = vec![sample_derivative(&file, "old")];
    let processing = stage.apply(processing).await;
    let mut wanted = replacing(&stage, &processing, |file| {
        file.state = FileState::Ready;
        file.verified = Some(sample_verified(file));
        file.version = 20;
        "returned.pdf".clone_into(&mut file.filename);
    });
    wanted.derivatives = vec![sample_derivative(&wanted.file, "new")];
    assert!(adopt(&store, &wanted).await);
    let trace = stage.trace(file.id, SAMPLE_OWNER).await;
    assert_eq!(trace.file.as_ref(), Some(&wanted.file));
    assert_eq!(trace.upload, Some(upload), "none was given, so it stays");
    assert_eq!(trace.events.last(), Some(&wanted.event));
    assert_eq!(trace.events.len(), 4);
    assert_eq!(trace.derivatives, wanted.derivatives);
    assert_eq!((trace.usage.stored_bytes, trace.usage.files), (SAMPLE_BYTES, 1));
    assert_eq!(stage.find(words("returned")).await, [file.id]);
    assert_eq!(store.check_usage(false).await.expect("check_usage"), []);
}

/// Another version, none, or one where there should be none; or an event of that version.
pub async fn a_refused_adoption_leaves_no_trace(store: Store) {
    let stage = stage(&store);
    let file = stage.ready(stage.new_file()).await;
    let before = stage.trace(file.id, SAMPLE_OWNER).await;
    let good = replacing(&stage, &file, |file| {
        "somebody-else".clone_into(&mut file.owner);
        "strange.pdf".clone_into(&mut file.filename);
    });
    let mut bad = Vec::new();
    for replaces in [None, Some(file.version - 1), Some(file.version + 1)] {
        bad.push(Adoption {
            replaces,
            ..good.clone()
        });
    }
    // An event of this version is there.
    let mut old_event = good.clone();
    old_event.event.version = file.version;
    bad.push(old_event);
    for mut adoption in bad {
        adoption.derivatives = vec![sample_derivative(&adoption.file, "strange")];
        adoption.record = Some(sample_record("message/strange", "somebody-else", stage.now()));
        adoption.jobs = vec![stage.new_job(JobKind::DiscardStaging, file.id)];
        assert!(!adopt(&store, &adoption).await, "{adoption:?}");
    }
    let mut absent = returning(&stage);
    absent.replaces = Some(absent.file.version);
    assert!(!adopt(&store, &absent).await);
    assert_eq!(store.file(absent.file.id).await.expect("file"), None);

    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);
    let strange = store
        .record(&record_key("message/strange"))
        .await
        .expect("record");
    assert_eq!(strange, None);
    assert_eq!(
        store.usage("somebody-else").await.expect("usage"),
        Usage::default()
    );
    assert_eq!(stage.find(words("strange")).await, []);
}

/// Words and values of the row that was there find nothing any more.
pub async fn search_forgets_what_was_replaced(store: Store) {
    let stage = stage(&store);
    let file = stage.ready(stage.new_file()).await;
    let wanted = replacing(&stage, &file, |file| {
        "minutes.pdf".clone_into(&mut file.filename);
        file.description = None;
        file.metadata = object(json!({ "project": "south" }));
        file.created_at = stage.now() - SignedDuration::from_hours(3);
    });
    assert!(adopt(&store, &wanted).await);
    for query in [words("quarterly"), metadata("project", "north")] {
        assert_eq!(stage.find(query).await, []);
    }
    for query in [words("minutes"), metadata("project", "south")] {
        assert_eq!(stage.find(query).await, [file.id]);
    }
    // And back to an upload that is open.
    let open = replacing(&stage, &wanted.file, |file| {
        file.state = FileState::Pending;
        (file.staged, file.verified) = (None, None);
    });
    assert!(adopt(&store, &open).await);
    for query in [words("minutes"), metadata("project", "south")] {
        assert_eq!(stage.find(query).await, []);
    }
    assert_eq!(store.check_usage(false).await.expect("check_usage"), []);
}

/// Its events say so, for ever.
pub async fn a_purged_file_does_not_come_back(store: Store) {
    let stage = stage(&store);
    let file = stage.ready(stage.new_file()).await;
    let living = stage.ready(stage.new_file()).await;
    let trashed = stage
        .apply(file.trash(TRASH, &stage.occasion()).expect("ready"))
        .await;
    let purging = stage
        .apply(trashed.purge(&stage.occasion()).expect("trashed"))
        .await;
    let unknown = FileId(uuid::Uuid::now_v7());
    let ids = [living.id, file.id, unknown, file.id];
    assert_eq!(store.purged_files(&ids).await.expect("purged_files"), []);
    let mut event = stage.occasion().event(&purging, EventKind::Purged);
    event.version += 1;
    store.forget(&purging, event, None, None).await.expect("forget");
    assert_eq!(store.purged_files(&ids).await.expect("purged_files"), [file.id]);
    assert_eq!(store.purged_files(&[]).await.expect("purged_files"), []);

    let mut wanted = returning(&stage);
    wanted.file.id = file.id;
    wanted.file.version = 50;
    (wanted.event.file_id, wanted.event.version) = (file.id, 50);
    if let Some(upload) = &mut wanted.upload {
        upload.file_id = file.id;
    }
    for replaces in [None, Some(purging.version), Some(50)] {
        wanted.replaces = replaces;
        assert!(!adopt(&store, &wanted).await, "{replaces:?}");
    }
    assert_eq!(store.file(file.id).await.expect("file"), None);
    let usage = store.usage(SAMPLE_OWNER).await.expect("usage");
    assert_eq!(usage.files, 1, "the living one");
}

/// The row says whose it is.
pub async fn usage_goes_from_owner_to_owner(store: Store) {
    let stage = stage(&store);
    let file = stage.ready(stage.new_file()).await;
    let wanted = replacing(&stage, &file, |file| "heir".clone_into(&mut file.owner));
    assert!(adopt(&store, &wanted).await);
    assert_eq!(store.usage(SAMPLE_OWNER).await.expect("usage"), Usage::default());
    let usage = store.usage("heir").await.expect("usage");
    assert_eq!((usage.stored_bytes, usage.files), (SAMPLE_BYTES, 1));
    assert_eq!(store.check_usage(false).await.expect("check_usage"), []);
}

/// Whatever comes back in whatever state counts what its rows add up to, and so does what replaces it.
pub async fn every_state_counts_as_it_would_have(store: Store) {
    let stage = stage(&store);
    let states = FileState::ALL.iter().map(|state| (*state, None));
    let trashed = [FileState::Confirmed, FileState::Ready, FileState::Failed];
    let all: Vec<_> = states
        .chain(trashed.map(|from| (FileState::Trashed, Some(from))))
        .collect();
    let put = |file: &mut File, (state, from): (FileState, Option<FileState>)| {
        file.state = state;
        if matches!(state, FileState::Trashed | FileState::Purging) {
            file.trash = Some(Trash {
                from: from.unwrap_or(FileState::Ready),
                at: file.created_at,
                purge_at: file.created_at,
            });
        } else {
            file.trash = None;
        }
        file.error = (state == FileState::Failed).then(|| FileError {
            code: "checksum_mismatch".to_owned(),
            message: "The bytes differ.".to_owned(),
        });
    };
    for first in &all {
        for second in &all {
            stage.pass(1);
            let mut wanted = returning(&stage);
            put(&mut wanted.file, *first);
            wanted.event.state = wanted.file.state;
            assert!(adopt(&store, &wanted).await, "{first:?}");
            let next = replacing(&stage, &wanted.file, |file| put(file, *second));
            assert!(adopt(&store, &next).await, "{first:?} {second:?}");
        }
        assert_eq!(
            store.check_usage(false).await.expect("check_usage"),
            [],
            "{first:?}"
        );
    }
}

/// Whoever it belongs to by now.
pub async fn an_existing_record_stays_as_it_is(store: Store) {
    let stage = stage(&store);
    let standing = sample_record("message/1", "somebody-else", stage.now());
    store.put_record(&standing, None).await.expect("put_record");
    let mut wanted = returning(&stage);
    wanted.file.record = Some(record_key("message/1"));
    wanted.record = Some(sample_record("message/1", SAMPLE_OWNER, stage.now()));
    assert!(adopt(&store, &wanted).await);
    let record = store.record(&record_key("message/1")).await.expect("record");
    assert_eq!(record, Some(standing));
    assert_eq!(stage.file(wanted.file.id).await.record, wanted.file.record);
}

async fn race(store: &Store, adoptions: Vec<Adoption>) -> Vec<Adoption> {
    let runs = adoptions.into_iter().map(|adoption| {
        let store = Arc::clone(store);
        tokio::spawn(async move { adopt(&store, &adoption).await.then_some(adoption) })
    });
    let outcomes = join_all(runs).await;
    outcomes
        .into_iter()
        .filter_map(|outcome| outcome.expect("no panic"))
        .collect()
}

/// Two rebuilds find the same file at the same time.
pub async fn concurrent_adoptions_have_one_winner(store: Store) {
    let stage = stage(&store);
    for _ in 0..8 {
        let adoption = returning(&stage);
        let id = adoption.file.id;
        let rivals = (0..6_u32).map(|n| {
            let mut rival = adoption.clone();
            rival.file.description = Some(format!("number {n}"));
            rival.event = stage.occasion().event(&rival.file, EventKind::Adopted);
            rival.derivatives = vec![Derivative {
                name: format!("thumb-{n}"),
                ..sample_derivative(&rival.file, "thumb")
            }];
            rival
        });
        let winners = race(&store, rivals.collect()).await;
        assert_eq!(winners.len(), 1);
        assert_eq!(stage.file(id).await, winners[0].file);
        assert_eq!(stage.events(id).await, [winners[0].event.clone()]);
        let derivatives = store.derivatives(id).await.expect("derivatives");
        assert_eq!(derivatives, winners[0].derivatives);
    }
    let usage = store.usage(SAMPLE_OWNER).await.expect("usage");
    assert_eq!((usage.files, usage.stored_bytes), (8, 8 * SAMPLE_BYTES));
}

/// A rebuild and everybody else want the same row.
pub async fn concurrent_replacements_have_one_winner(store: Store) {
    let stage = stage(&store);
    for _ in 0..8 {
        let file = stage.ready(stage.new_file()).await;
        let rivals = (0..4).map(|n| {
            replacing(&stage, &file, |file| {
                file.description = Some(format!("number {n}"));
            })
        });
        let update = file.trash(TRASH, &stage.occasion()).expect("ready");
        let (adopted, applied) = tokio::join!(race(&store, rivals.collect()), store.apply(update.clone()));
        assert_eq!(adopted.len() + usize::from(applied.is_ok()), 1);
        let stands = stage.file(file.id).await;
        match adopted.first() {
            Some(adoption) => assert_eq!(stands, adoption.file),
            None => assert_eq!(stands, update.file),
        }
    }
    assert_eq!(store.check_usage(false).await.expect("check_usage"), []);
}
