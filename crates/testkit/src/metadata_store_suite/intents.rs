//! Intents: what a crash leaves behind is found, and closed once.

use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::ports::metadata::MetadataError;
use jiff::SignedDuration;

use super::stage::{Stage, Store};
use crate::fixtures::{SAMPLE_OWNER, sample_intent};

async fn begun(stage: &Stage) -> Intent {
    let intent = sample_intent(&stage.new_file().file, &stage.random, stage.now());
    stage.store.begin_intent(&intent).await.expect("begin");
    intent
}

/// Pending ones whose lease is over, as they were written.
pub async fn stale_intents_are_found_oldest_first(store: Store) {
    let stage = Stage::new(store);
    let mut intents = Vec::new();
    for kind in IntentKind::ALL {
        let mut intent = sample_intent(&stage.new_file().file, &stage.random, stage.now());
        intent.kind = *kind;
        intent.epoch = 7;
        stage.store.begin_intent(&intent).await.expect("begin");
        intents.push(intent);
        stage.pass(1);
    }
    let stale = async |at, limit| stage.store.stale_intents(at, limit).await.expect("stale intents");
    let moment = SignedDuration::from_micros(1);
    assert_eq!(stale(intents[0].lease_until - moment, 10).await, []);
    assert_eq!(stale(intents[0].lease_until, 10).await, intents[..1]);
    let late = stage.now() + SignedDuration::from_hours(1);
    assert_eq!(stale(late, 10).await, intents);
    assert_eq!(stale(late, 2).await, intents[..2]);
    for (intent, status) in intents
        .iter()
        .zip([IntentStatus::RolledBack, IntentStatus::Committed])
    {
        stage
            .store
            .end_intent(intent.id, status, None, stage.now())
            .await
            .expect("end");
    }
    assert_eq!(stale(late, 10).await, intents[2..]);
}

/// The commit that makes the change visible closes the log entry.
pub async fn a_transition_completes_its_intent(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let intent = sample_intent(&file, &stage.random, stage.now());
    stage.store.begin_intent(&intent).await.expect("begin");
    let late = stage.now() + SignedDuration::from_hours(1);
    let mut refused = stage.confirmation(&file, &upload);
    refused.from_version += 1;
    refused.intent = Some(intent.id);
    assert!(matches!(
        stage.store.apply(refused).await,
        Err(MetadataError::Conflict)
    ));
    assert_eq!(
        stage.store.stale_intents(late, 10).await.expect("stale"),
        std::slice::from_ref(&intent),
        "refused with the rest"
    );
    let mut transition = stage.confirmation(&file, &upload);
    transition.intent = Some(intent.id);
    stage.apply(transition).await;
    assert_eq!(stage.store.stale_intents(late, 10).await.expect("stale"), []);
    let answer = stage
        .store
        .end_intent(intent.id, IntentStatus::RolledBack, None, late)
        .await;
    assert!(
        matches!(answer, Err(MetadataError::Conflict)),
        "what is visible is not undone: {answer:?}"
    );
}

/// Recovery took the author for dead and undid the bytes: its late commit must not make them visible.
pub async fn an_undone_intent_cannot_be_completed(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let intent = sample_intent(&file, &stage.random, stage.now());
    stage.store.begin_intent(&intent).await.expect("begin");
    stage
        .store
        .end_intent(intent.id, IntentStatus::RolledBack, None, stage.now())
        .await
        .expect("end");
    let before = stage.trace(file.id, SAMPLE_OWNER).await;
    let mut transition = stage.confirmation(&file, &upload);
    transition.intent = Some(intent.id);
    assert!(matches!(
        stage.store.apply(transition).await,
        Err(MetadataError::Conflict)
    ));
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);
}

/// Rolled back once; one that recovery could neither finish nor undo may still be ended.
pub async fn an_intent_ends_once(store: Store) {
    let stage = Stage::new(store);
    let intent = begun(&stage).await;
    let end = async |status, error| {
        stage
            .store
            .end_intent(intent.id, status, error, stage.now())
            .await
    };
    end(IntentStatus::Failed, Some("the store is away"))
        .await
        .expect("failed");
    end(IntentStatus::RolledBack, None)
        .await
        .expect("and undone later");
    assert!(matches!(
        end(IntentStatus::RolledBack, None).await,
        Err(MetadataError::Conflict)
    ));
    assert!(matches!(
        end(IntentStatus::Failed, Some("x")).await,
        Err(MetadataError::Conflict)
    ));
    let unknown = sample_intent(&stage.new_file().file, &stage.random, stage.now());
    let answer = stage
        .store
        .end_intent(unknown.id, IntentStatus::RolledBack, None, stage.now())
        .await;
    assert!(matches!(answer, Err(MetadataError::Conflict)), "{answer:?}");
}

/// The log does not grow for ever, and never loses what is open.
pub async fn closed_intents_are_trimmed(store: Store) {
    let stage = Stage::new(store);
    for _ in 0..3 {
        let intent = begun(&stage).await;
        stage
            .store
            .end_intent(intent.id, IntentStatus::RolledBack, None, stage.now())
            .await
            .expect("end");
    }
    let open = begun(&stage).await;
    let trim = async |at, limit| stage.store.trim_intents(at, limit).await.expect("trim");
    assert_eq!(trim(stage.now(), 10).await, 0, "not older than that");
    let later = stage.pass(1);
    assert_eq!(trim(later, 2).await, 2);
    assert_eq!(trim(later, 10).await, 1);
    assert_eq!(trim(later, 10).await, 0);
    let late = stage.now() + SignedDuration::from_hours(1);
    assert_eq!(stage.store.stale_intents(late, 10).await.expect("stale"), [open]);
}
