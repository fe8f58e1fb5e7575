//! Forgetting a purged file: its rows go, its history stays, and its id is not used again.

use cloakroom_core::event::EventKind;
use cloakroom_core::job::{JobKind, JobOutcome};
use cloakroom_core::ports::metadata::{FileQuery, Inserted, MetadataError, Usage};
use serde_json::json;

use super::stage::{Stage, Store};
use super::transitions::TRASH;
use crate::fixtures::{SAMPLE_OWNER, object, sample_derivative};

/// After the purge only the history is left, and the claim is completed.
pub async fn forget_removes_the_rows_and_keeps_the_events(store: Store) {
    let stage = Stage::new(store);
    let mut new = stage.new_file_with(|file| file.metadata = object(json!({ "case": "closed" })));
    new.file.filename = "forgettable.pdf".into();
    let (file, upload) = stage.insert(new).await;
    let file = stage.confirm(&file, &upload).await;
    let dead = stage.claim("worker-1", 1).await.remove(0);
    let outcome = JobOutcome::Dead {
        error: "no".to_owned(),
    };
    stage
        .store
        .finish(dead.lease(), &outcome, stage.now())
        .await
        .expect("finish");
    let file = stage.process(&file).await;
    let mut ready = stage.readiness(&file);
    ready.derivatives = vec![sample_derivative(&file, "thumbnail")];
    let file = stage.apply(ready).await;
    let file = stage
        .apply(file.trash(TRASH, &stage.occasion()).expect("ready"))
        .await;
    let file = stage.apply(file.purge(&stage.occasion()).expect("trashed")).await;
    let job = stage.claim("worker-1", 1).await.remove(0);
    assert_eq!(job.kind, JobKind::PurgeFile);

    let mut event = stage.occasion().event(&file, EventKind::Purged);
    event.version = file.version + 1;
    let follow_up = stage.new_job(JobKind::RemoveTombstone, file.id);
    stage
        .store
        .forget(&file, event.clone(), Some(job.lease()), Some(follow_up.clone()))
        .await
        .expect("forget");

    let trace = stage.trace(file.id, SAMPLE_OWNER).await;
    assert_eq!(
        (trace.file, trace.upload, trace.derivatives),
        (None, None, Vec::new())
    );
    assert_eq!(trace.events.len(), 7);
    assert_eq!(trace.events.last(), Some(&event));
    let jobs: Vec<_> = trace.jobs.iter().map(|job| job.id).collect();
    assert_eq!(jobs, [follow_up.id]);
    for query in [
        FileQuery::default(),
        FileQuery {
            words: vec!["forgettable".to_owned()],
            ..Default::default()
        },
        FileQuery {
            metadata: vec![("case".to_owned(), json!("closed"))],
            ..Default::default()
        },
    ] {
        assert_eq!(stage.find(query).await, []);
    }
}

/// Only the claimed row of that version, only under the claim.
pub async fn forget_wants_the_claimed_row(store: Store) {
    let stage = Stage::new(store);
    let file = stage.ready(stage.new_file()).await;
    let trashed = stage
        .apply(file.trash(TRASH, &stage.occasion()).expect("ready"))
        .await;
    let event = stage.occasion().event(&trashed, EventKind::Purged);
    let answer = stage.store.forget(&trashed, event, None, None).await;
    assert!(
        matches!(answer, Err(MetadataError::Conflict)),
        "not purging: {answer:?}"
    );

    let purging = stage
        .apply(trashed.purge(&stage.occasion()).expect("trashed"))
        .await;
    let before = stage.trace(file.id, SAMPLE_OWNER).await;
    let mut event = stage.occasion().event(&purging, EventKind::Purged);
    event.version += 1;
    let answer = stage.store.forget(&trashed, event.clone(), None, None).await;
    assert!(
        matches!(answer, Err(MetadataError::Conflict)),
        "an older version: {answer:?}"
    );
    let purge = stage
        .claim("worker-1", 10)
        .await
        .into_iter()
        .find(|job| job.kind == JobKind::PurgeFile);
    let mut lease = purge.expect("the purge waits").lease();
    lease.epoch += 1;
    let answer = stage
        .store
        .forget(&purging, event.clone(), Some(lease), None)
        .await;
    assert!(
        matches!(answer, Err(MetadataError::Fenced)),
        "a claim that is not held: {answer:?}"
    );
    assert_eq!(stage.events(file.id).await, before.events);
    stage
        .store
        .forget(&purging, event.clone(), None, None)
        .await
        .expect("forget");
    let answer = stage.store.forget(&purging, event, None, None).await;
    assert!(
        matches!(answer, Err(MetadataError::Conflict)),
        "a second time: {answer:?}"
    );
}

/// The tombstone of a purged file would swallow a new one of the same id.
pub async fn a_forgotten_id_is_not_used_again(store: Store) {
    let stage = Stage::new(store);
    let new = stage.new_file();
    let file = stage.ready(new.clone()).await;
    let file = stage
        .apply(file.trash(TRASH, &stage.occasion()).expect("ready"))
        .await;
    let file = stage.apply(file.purge(&stage.occasion()).expect("trashed")).await;
    let mut event = stage.occasion().event(&file, EventKind::Purged);
    event.version += 1;
    stage
        .store
        .forget(&file, event, None, None)
        .await
        .expect("forget");
    assert!(matches!(
        stage.store.insert(new).await,
        Err(MetadataError::Conflict)
    ));
    assert_eq!(
        stage.store.usage(SAMPLE_OWNER).await.expect("usage"),
        Usage::default()
    );
    assert_eq!(stage.store.file(file.id).await.expect("file"), None);
    assert_eq!(
        stage.store.insert(stage.new_file()).await.expect("insert"),
        Inserted::New
    );
}
