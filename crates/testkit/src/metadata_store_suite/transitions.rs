//! Transitions: compare-and-set, whole or not at all, one event each (I4).

use cloakroom_core::derivative::DerivativeOutcome;
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{FileError, FilePatch, FileState};
use cloakroom_core::job::JobKind;
use cloakroom_core::ports::metadata::{MetadataError, Usage};
use cloakroom_core::transition::{Fence, UsageDelta};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;

use super::stage::{Stage, Store};
use crate::fixtures::{
    SAMPLE_BYTES, SAMPLE_OWNER, media_type, object, record_key, sample_derivative, sample_record,
    sample_verified,
};

/// Seven days, as in the trash.
pub(crate) const TRASH: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The row is as the transition says, in every state of a life.
pub async fn apply_keeps_every_field(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    stage.pass(1);
    let file = stage
        .apply(file.uploading(&stage.occasion()).expect("a pending file"))
        .await;
    assert_eq!(stage.file(file.id).await, file);
    let file = stage
        .apply(file.uploaded(&stage.occasion()).expect("an open file"))
        .await;
    assert_eq!(stage.file(file.id).await, file);
    stage.pass(1);
    let file = stage.confirm(&file, &upload).await;
    assert_eq!(stage.file(file.id).await, file);
    stage.pass(1);
    let file = stage.process(&file).await;
    assert_eq!((stage.file(file.id).await.epoch, file.epoch), (1, 1));
    let mut verified = sample_verified(&file);
    verified.content_type = media_type("application/zip");
    let facts = object(json!({ "pages": 3 }));
    let ready = file
        .ready(verified, facts, Vec::new(), &stage.occasion())
        .expect("a processed file");
    let file = stage.apply(ready).await;
    assert_eq!(stage.file(file.id).await, file);

    // Fields that no rule changes are the row's all the same.
    let mut moved = file
        .update(FilePatch::default(), &stage.occasion())
        .expect("a ready file");
    moved.file.owner = "user-2".into();
    moved.file.collection = "photos".into();
    moved.file.record = Some(record_key("complaint/1"));
    moved.file.error = Some(FileError {
        code: "x".to_owned(),
        message: "y".to_owned(),
    });
    let file = stage.apply(moved).await;
    assert_eq!(stage.file(file.id).await, file);
    let file = stage
        .apply(file.trash(TRASH, &stage.occasion()).expect("a ready file"))
        .await;
    assert_eq!(stage.file(file.id).await, file);
}

/// A whole life: as many events as versions, each with the state it made.
pub async fn every_transition_has_exactly_one_event(store: Store) {
    let stage = Stage::new(store);
    let file = stage.ready(stage.new_file()).await;
    let file = stage
        .apply(file.trash(TRASH, &stage.occasion()).expect("ready"))
        .await;
    let file = stage
        .apply(file.restore(&stage.occasion()).expect("trashed"))
        .await;
    let events = stage.events(file.id).await;
    let versions: Vec<u64> = events.iter().map(|event| event.version).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    let expected = [
        EventKind::Signed,
        EventKind::Confirmed,
        EventKind::Processing,
        EventKind::Ready,
        EventKind::Trashed,
        EventKind::Restored,
    ];
    assert_eq!(kinds, expected);
    assert_eq!(events.last().map(|event| event.state), Some(FileState::Ready));
    assert_eq!(file.version, 6);
    let mut ids: Vec<_> = events.iter().map(|event| event.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

/// The loser of a race changes nothing.
pub async fn apply_refuses_a_version_that_is_gone(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let (first, second) = (
        stage.confirmation(&file, &upload),
        stage.confirmation(&file, &upload),
    );
    stage.apply(first).await;
    let before = stage.trace(file.id, SAMPLE_OWNER).await;
    assert!(matches!(
        stage.store.apply(second).await,
        Err(MetadataError::Conflict)
    ));
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);

    // A version of the future is none either.
    let mut ahead = stage
        .file(file.id)
        .await
        .process(&stage.occasion())
        .expect("confirmed");
    ahead.from_version += 1;
    assert!(matches!(
        stage.store.apply(ahead).await,
        Err(MetadataError::Conflict)
    ));
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);
}

/// Nothing is made by a transition of nothing.
pub async fn apply_refuses_an_absent_file(store: Store) {
    let stage = Stage::new(store);
    let new = stage.new_file();
    let before = stage.trace(new.file.id, SAMPLE_OWNER).await;
    let transition = stage.confirmation(&new.file, &new.upload);
    assert!(matches!(
        stage.store.apply(transition).await,
        Err(MetadataError::Conflict)
    ));
    assert_eq!(stage.trace(new.file.id, SAMPLE_OWNER).await, before);
}

/// The client's confirm, a bucket event and the sweeper at once: one transition, one event, one job.
pub async fn racing_transitions_have_one_winner(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let confirms = (0..20).map(|_| stage.store.apply(stage.confirmation(&file, &upload)));
    let answers = join_all(confirms).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(()) | Err(MetadataError::Conflict)))
    );
    let trace = stage.trace(file.id, SAMPLE_OWNER).await;
    assert_eq!((trace.events.len(), trace.jobs.len()), (2, 1));
    assert_eq!(
        trace.usage,
        Usage {
            reserved_bytes: 0,
            stored_bytes: SAMPLE_BYTES,
            files: 1
        }
    );
}

/// Row, event, jobs, usage, derivatives, record, upload: refused together, whatever the reason.
pub async fn a_refused_transition_leaves_no_trace(store: Store) {
    let stage = Stage::new(store);
    let (file, job) = stage.claimed().await;
    stage
        .store
        .put_record(&sample_record("message/9", "a stranger", stage.now()), None)
        .await
        .expect("put");
    let full = || {
        let mut transition = stage.readiness(&{
            let mut processing = file.clone();
            processing.state = FileState::Processing;
            processing
        });
        transition.usage = UsageDelta {
            reserved_bytes: 5,
            stored_bytes: 6,
            files: 7,
        };
        transition.derivatives = vec![sample_derivative(&file, "thumbnail")];
        transition.record = Some(sample_record("message/1", SAMPLE_OWNER, stage.now()));
        transition.enqueue(JobKind::DiscardStaging, stage.now(), &stage.occasion());
        transition
    };
    let before = stage.trace(file.id, SAMPLE_OWNER).await;

    let mut conflict = full();
    conflict.from_version -= 1;
    assert!(matches!(
        stage.store.apply(conflict).await,
        Err(MetadataError::Conflict)
    ));
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);

    let mut fenced = full();
    let mut lease = job.lease();
    lease.epoch += 1;
    fenced.fence = Some(Fence::Complete(lease));
    assert!(matches!(
        stage.store.apply(fenced).await,
        Err(MetadataError::Fenced)
    ));
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);

    let mut taken = full();
    taken.record = Some(sample_record("message/9", SAMPLE_OWNER, stage.now()));
    taken.fence = Some(Fence::Complete(job.lease()));
    assert!(matches!(
        stage.store.apply(taken).await,
        Err(MetadataError::RecordTaken)
    ));
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);

    // An event of a version that has one: two events for one change must be impossible.
    let mut doubled = full();
    doubled.event.version = file.version;
    assert!(stage.store.apply(doubled).await.is_err());
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);

    assert_eq!(
        stage
            .store
            .record(&record_key("message/1"))
            .await
            .expect("record"),
        None
    );
    stage
        .store
        .apply(full())
        .await
        .expect("the same is fine when nothing speaks against it");
}

/// I11: reserved at signing, settled at confirm, released at failure, expiry and purge.
pub async fn usage_follows_the_file(store: Store) {
    let stage = Stage::new(store);
    let usage = async || stage.store.usage(SAMPLE_OWNER).await.expect("usage");
    assert_eq!(usage().await, Usage::default());
    let (file, upload) = stage.sign().await;
    assert_eq!(
        usage().await,
        Usage {
            reserved_bytes: SAMPLE_BYTES,
            stored_bytes: 0,
            files: 0
        }
    );
    let file = stage.confirm(&file, &upload).await;
    let settled = Usage {
        reserved_bytes: 0,
        stored_bytes: SAMPLE_BYTES,
        files: 1,
    };
    assert_eq!(usage().await, settled);
    let file = stage.process(&file).await;
    let file = stage.apply(stage.readiness(&file)).await;
    let file = stage
        .apply(file.trash(TRASH, &stage.occasion()).expect("ready"))
        .await;
    assert_eq!(usage().await, settled);
    stage.apply(file.purge(&stage.occasion()).expect("trashed")).await;
    assert_eq!(usage().await, Usage::default());

    let (file, upload) = stage.sign().await;
    let file = stage
        .apply(file.reap(&upload, "expired", &stage.occasion()).expect("open"))
        .await;
    assert_eq!(usage().await, Usage::default());
    stage
        .apply(file.reaped(&stage.occasion()).expect("reaping"))
        .await;
    assert_eq!(usage().await, Usage::default());
    assert_eq!(
        stage.store.usage("nobody").await.expect("usage"),
        Usage::default()
    );
}

/// A count that was off already must not become an impossible one.
pub async fn usage_never_falls_below_zero(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let mut transition = stage.confirmation(&file, &upload);
    transition.usage = UsageDelta {
        reserved_bytes: i64::MIN / 2,
        stored_bytes: -1,
        files: -1,
    };
    let file = stage.apply(transition).await;
    assert_eq!(
        stage.store.usage(SAMPLE_OWNER).await.expect("usage"),
        Usage::default()
    );
    let mut transition = file.process(&stage.occasion()).expect("confirmed");
    transition.file.owner = "nobody yet".into();
    transition.usage = UsageDelta {
        reserved_bytes: -1,
        stored_bytes: 2,
        files: -3,
    };
    stage.apply(transition).await;
    let usage = stage.store.usage("nobody yet").await.expect("usage");
    assert_eq!(
        usage,
        Usage {
            reserved_bytes: 0,
            stored_bytes: 2,
            files: 0
        }
    );
}

/// Derivatives come by name; a second attempt replaces the first, a failure included.
pub async fn derivatives_replace_those_of_the_same_name(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let file = stage.confirm(&file, &upload).await;
    let file = stage.process(&file).await;
    let mut failed = sample_derivative(&file, "preview");
    failed.outcome = DerivativeOutcome::Failed {
        error: "out of time".to_owned(),
    };
    let mut transition = stage.readiness(&file);
    transition.derivatives = vec![sample_derivative(&file, "thumbnail"), failed.clone()];
    let file = stage.apply(transition).await;
    let found = stage.store.derivatives(file.id).await.expect("derivatives");
    assert_eq!(
        found,
        [failed, {
            let mut thumbnail = sample_derivative(&file, "thumbnail");
            thumbnail.created_at = found[1].created_at;
            thumbnail
        }]
    );

    let mut made = sample_derivative(&file, "preview");
    made.outcome = DerivativeOutcome::Made {
        key: "k".to_owned(),
        content_type: media_type("image/jpeg"),
        size_bytes: 0,
        width: None,
        height: Some(1),
    };
    let mut transition = file
        .update(FilePatch::default(), &stage.occasion())
        .expect("ready");
    transition.derivatives = vec![made.clone()];
    stage.apply(transition).await;
    let found = stage.store.derivatives(file.id).await.expect("derivatives");
    assert_eq!((found.len(), &found[0]), (2, &made));
    assert_eq!(
        stage
            .store
            .derivatives(stage.new_file().file.id)
            .await
            .expect("derivatives"),
        []
    );
}

/// Oldest first, in pages, only the file's own.
pub async fn the_timeline_is_ordered_and_paged(store: Store) {
    let stage = Stage::new(store);
    let file = stage.ready(stage.new_file()).await;
    stage.ready(stage.new_file()).await;
    let whole = stage.events(file.id).await;
    assert_eq!(whole.len(), 4);
    let first = stage.store.timeline(file.id, None, 3).await.expect("timeline");
    assert_eq!((first.items.as_slice(), first.more), (&whole[..3], true));
    let rest = stage
        .store
        .timeline(file.id, Some(first.items[2].version), 3)
        .await
        .expect("timeline");
    assert_eq!((rest.items.as_slice(), rest.more), (&whole[3..], false));
    let none = stage
        .store
        .timeline(file.id, Some(u64::from(u32::MAX)), 3)
        .await
        .expect("timeline");
    assert_eq!((none.items.len(), none.more), (0, false));
    let exact = stage.store.timeline(file.id, None, 4).await.expect("timeline");
    assert_eq!((exact.items.len(), exact.more), (4, false));
}
