//! Operations: one of a kind at a time, claimed with a lease, fenced.

use std::sync::Arc;

use cloakroom_core::JsonObject;
use cloakroom_core::id::{OperationId, WorkerId};
use cloakroom_core::operation::{Operation, OperationKind, OperationState};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::random::Random as _;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Store, stage};
use crate::fixtures::object;
use crate::metadata_store_suite::stage::{LEASE, Stage};

/// A new one, a second after the last.
pub(super) fn operation(stage: &Stage, kind: OperationKind) -> Operation {
    let now = stage.pass(1);
    Operation {
        id: OperationId(stage.random.uuid_v7(now)),
        kind,
        state: OperationState::Waiting,
        options: object(json!({ "fix": true, "text": "é\u{0}" })),
        done: 0,
        total: None,
        place: None,
        counts: JsonObject::new(),
        error: None,
        actor: "ada".to_owned(),
        created_at: now,
        updated_at: now,
        finished_at: None,
        lease_epoch: 0,
        lease_owner: None,
        lease_until: None,
    }
}

pub(super) async fn put(store: &Store, operation: &Operation) -> bool {
    store.put_operation(operation).await.expect("put_operation")
}

pub(super) async fn claim(store: &Store, worker: &str, now: Timestamp) -> Option<Operation> {
    let worker = WorkerId(worker.to_owned());
    store
        .claim_operation(&worker, now, LEASE)
        .await
        .expect("claim_operation")
}

/// A new one, claimed.
pub(super) async fn running(store: &Store, stage: &Stage, kind: OperationKind) -> Operation {
    assert!(put(store, &operation(stage, kind)).await);
    claim(store, "worker-1", stage.now()).await.expect("one waits")
}

async fn read(store: &Store, id: OperationId) -> Option<Operation> {
    store.operation(id).await.expect("operation")
}

/// As it ends.
pub(super) fn ended(operation: &Operation, now: Timestamp) -> Operation {
    Operation {
        state: OperationState::Done,
        updated_at: now,
        finished_at: Some(now),
        lease_owner: None,
        lease_until: None,
        ..operation.clone()
    }
}

/// When it is made, claimed and saved.
pub async fn an_operation_keeps_every_field(store: Store) {
    let stage = stage(&store);
    let made = operation(&stage, OperationKind::Verify);
    assert_eq!(read(&store, made.id).await, None);
    assert!(put(&store, &made).await);
    assert_eq!(read(&store, made.id).await, Some(made.clone()));
    assert!(!put(&store, &made).await, "it is there");

    let now = stage.pass(1);
    let claimed = claim(&store, "worker-1", now).await.expect("it waits");
    let wanted = Operation {
        state: OperationState::Running,
        lease_epoch: 1,
        lease_owner: Some(WorkerId("worker-1".to_owned())),
        lease_until: Some(now + LEASE),
        updated_at: now,
        ..made
    };
    assert_eq!(claimed, wanted);
    assert_eq!(read(&store, claimed.id).await, Some(wanted.clone()));

    let now = stage.pass(1);
    let saved = Operation {
        done: 5,
        total: Some(u64::from(u32::MAX) * 8),
        place: Some("files/é\u{0}".to_owned()),
        counts: object(json!({ "size_differs": 2 })),
        error: Some("\"é\"".to_owned()),
        updated_at: now,
        lease_until: Some(now + LEASE),
        ..wanted
    };
    store.save_operation(&saved, &[]).await.expect("save_operation");
    assert_eq!(read(&store, saved.id).await, Some(saved.clone()));
    let done = ended(&saved, stage.pass(1));
    store.save_operation(&done, &[]).await.expect("save_operation");
    assert_eq!(read(&store, done.id).await, Some(done));

    // A command that runs it in its own process makes it claimed.
    let own = Operation {
        state: OperationState::Running,
        lease_epoch: 1,
        lease_owner: Some(WorkerId("command".to_owned())),
        lease_until: Some(stage.now() + LEASE),
        ..operation(&stage, OperationKind::Purge)
    };
    assert!(put(&store, &own).await);
    assert_eq!(read(&store, own.id).await, Some(own.clone()));
    assert_eq!(claim(&store, "worker-1", stage.now()).await, None);
    store.save_operation(&own, &[]).await.expect("it is held");
}

/// Until it is over; other kinds are not in its way.
pub async fn one_of_a_kind_at_a_time(store: Store) {
    let stage = stage(&store);
    for kind in OperationKind::ALL {
        assert!(put(&store, &operation(&stage, *kind)).await, "{kind:?}");
        assert!(!put(&store, &operation(&stage, *kind)).await, "{kind:?}");
    }
    while let Some(claimed) = claim(&store, "w", stage.now()).await {
        assert!(!put(&store, &operation(&stage, claimed.kind)).await);
        let end = match claimed.kind {
            OperationKind::Rebuild => OperationState::Failed,
            _ => OperationState::Done,
        };
        let done = Operation {
            state: end,
            ..ended(&claimed, stage.now())
        };
        store.save_operation(&done, &[]).await.expect("save_operation");
        let next = operation(&stage, claimed.kind);
        assert!(put(&store, &next).await);
        let cancelled = store.cancel_operation(next.id, stage.now()).await;
        assert!(cancelled.expect("cancel_operation"));
    }
    let after = operation(&stage, OperationKind::Rebuild);
    assert!(put(&store, &after).await);
}

/// Many administrators ask at the same time.
pub async fn racing_operations_have_one_winner(store: Store) {
    let stage = stage(&store);
    for _ in 0..5 {
        let runs = (0..8).map(|_| {
            let (store, operation) = (Arc::clone(&store), operation(&stage, OperationKind::Orphans));
            tokio::spawn(async move { put(&store, &operation).await.then_some(operation.id) })
        });
        let kept: Vec<OperationId> = join_all(runs.collect::<Vec<_>>())
            .await
            .into_iter()
            .filter_map(|run| run.expect("no panic"))
            .collect();
        assert_eq!(kept.len(), 1);
        let cancelled = store.cancel_operation(kept[0], stage.now()).await;
        assert!(cancelled.expect("cancel_operation"));
    }
    let page = store.operations(None, 100).await.expect("operations");
    assert_eq!(page.items.len(), 5);
}

/// By the time at which they were asked for.
pub async fn the_oldest_is_claimed_first(store: Store) {
    let stage = stage(&store);
    let mut made = Vec::new();
    for kind in [
        OperationKind::Verify,
        OperationKind::Rebuild,
        OperationKind::Purge,
    ] {
        made.push(operation(&stage, kind));
    }
    for later in made.iter().rev() {
        assert!(put(&store, later).await);
    }
    let now = stage.now();
    for wanted in &made {
        let claimed = claim(&store, "w", now).await.expect("one waits");
        assert_eq!(claimed.id, wanted.id);
    }
    assert_eq!(claim(&store, "w", now).await, None);
}

/// Whichever it is, by the same rules.
pub async fn an_operation_is_claimed_by_its_id(store: Store) {
    let stage = stage(&store);
    let (first, second) = (
        operation(&stage, OperationKind::Verify),
        operation(&stage, OperationKind::Rebuild),
    );
    let by_id = async |id, name: &str, now| {
        let worker = WorkerId(name.to_owned());
        store
            .claim_operation_by_id(id, &worker, now, LEASE)
            .await
            .expect("claim_operation_by_id")
    };
    assert_eq!(by_id(first.id, "a", stage.now()).await, None);
    assert!(put(&store, &first).await && put(&store, &second).await);
    let claimed = by_id(second.id, "a", stage.now()).await.expect("it waits");
    assert_eq!((claimed.id, claimed.lease_epoch), (second.id, 1));
    assert_eq!(claimed.state, OperationState::Running);
    assert_eq!(by_id(second.id, "b", stage.now()).await, None, "it is held");
    let later = stage.now() + LEASE + SignedDuration::from_micros(1);
    let taken = by_id(second.id, "b", later).await.expect("its claim ended");
    assert_eq!(
        (taken.lease_epoch, taken.lease_owner),
        (2, Some(WorkerId("b".to_owned())))
    );
    assert!(store.cancel_operation(second.id, later).await.expect("cancel"));
    assert_eq!(by_id(second.id, "c", later + LEASE * 2).await, None, "it is over");
}

/// Many workers, one operation.
pub async fn claims_of_operations_are_exclusive(store: Store) {
    let stage = stage(&store);
    for kind in OperationKind::ALL {
        assert!(put(&store, &operation(&stage, *kind)).await);
        let now = stage.now();
        let runs = (0..8).map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { claim(&store, &format!("worker-{n}"), now).await })
        });
        let claimed: Vec<Operation> = join_all(runs.collect::<Vec<_>>())
            .await
            .into_iter()
            .filter_map(|run| run.expect("no panic"))
            .collect();
        assert_eq!(claimed.len(), 1, "{kind:?}");
        assert_eq!(claimed[0].kind, *kind);
    }
}

/// From its place; who held it can write nothing any more.
pub async fn a_lapsed_operation_is_taken_over_and_fenced(store: Store) {
    let stage = stage(&store);
    let first = running(&store, &stage, OperationKind::Rebuild).await;
    let now = stage.pass(5);
    let saved = Operation {
        done: 3,
        place: Some("here".to_owned()),
        lease_until: Some(now + LEASE),
        updated_at: now,
        ..first.clone()
    };
    store.save_operation(&saved, &[]).await.expect("save_operation");
    // The claim of the first save would have ended here.
    stage.clock.advance(LEASE);
    assert_eq!(claim(&store, "worker-2", stage.now()).await, None, "it is held");
    stage.clock.advance(SignedDuration::from_micros(1));
    let second = claim(&store, "worker-2", stage.now())
        .await
        .expect("its claim ended");
    assert_eq!(
        (
            second.id,
            second.lease_epoch,
            second.done,
            second.place.as_deref()
        ),
        (first.id, 2, 3, Some("here"))
    );
    for late in [saved.clone(), ended(&saved, stage.now())] {
        let answer = store.save_operation(&late, &[]).await;
        assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");
    }
    assert_eq!(read(&store, first.id).await, Some(second.clone()));
    let done = ended(&second, stage.now());
    store.save_operation(&done, &[]).await.expect("save_operation");
}

/// Whoever works on it hears of it at the next save.
pub async fn a_cancelled_operation_is_fenced(store: Store) {
    let stage = stage(&store);
    let claimed = running(&store, &stage, OperationKind::Verify).await;
    let now = stage.pass(1);
    let cancel = async |id| store.cancel_operation(id, now).await.expect("cancel_operation");
    assert!(cancel(claimed.id).await);
    let wanted = Operation {
        state: OperationState::Cancelled,
        updated_at: now,
        finished_at: Some(now),
        lease_owner: None,
        lease_until: None,
        ..claimed.clone()
    };
    assert_eq!(read(&store, claimed.id).await, Some(wanted.clone()));
    let answer = store.save_operation(&claimed, &[]).await;
    assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");
    assert_eq!(read(&store, claimed.id).await, Some(wanted));
    assert!(!cancel(claimed.id).await, "it is over");
    assert_eq!(claim(&store, "w", now + LEASE * 2).await, None);

    let waiting = operation(&stage, OperationKind::Verify);
    assert!(put(&store, &waiting).await);
    assert!(cancel(waiting.id).await);
    assert_eq!(claim(&store, "w", stage.now()).await, None);
    let unknown = operation(&stage, OperationKind::Purge);
    assert!(!cancel(unknown.id).await);
    let answer = store.save_operation(&unknown, &[]).await;
    assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");
}

/// Done and failed ones are neither saved nor cancelled nor claimed, though the epoch is right.
pub async fn what_is_over_stays_over(store: Store) {
    let stage = stage(&store);
    for state in [OperationState::Done, OperationState::Failed] {
        let claimed = running(&store, &stage, OperationKind::Purge).await;
        let done = Operation {
            state,
            error: (state == OperationState::Failed).then(|| "no luck".to_owned()),
            ..ended(&claimed, stage.pass(1))
        };
        store.save_operation(&done, &[]).await.expect("save_operation");
        for again in [&claimed, &done] {
            let answer = store.save_operation(again, &[]).await;
            assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");
        }
        let cancelled = store.cancel_operation(done.id, stage.now()).await;
        assert!(!cancelled.expect("cancel_operation"));
        assert_eq!(claim(&store, "w", stage.now() + LEASE * 2).await, None);
        assert_eq!(read(&store, done.id).await, Some(done));
    }
}

/// A worker that stops lets another one go on at once.
pub async fn an_operation_is_given_back(store: Store) {
    let stage = stage(&store);
    let claimed = running(&store, &stage, OperationKind::Orphans).await;
    let given_back = Operation {
        state: OperationState::Waiting,
        place: Some("here".to_owned()),
        lease_owner: None,
        lease_until: None,
        ..claimed.clone()
    };
    store
        .save_operation(&given_back, &[])
        .await
        .expect("save_operation");
    let answer = store.save_operation(&claimed, &[]).await;
    assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");
    assert!(!put(&store, &operation(&stage, OperationKind::Orphans)).await);
    let next = claim(&store, "worker-2", stage.now()).await.expect("it waits");
    assert_eq!(
        (next.id, next.lease_epoch, next.place.as_deref()),
        (claimed.id, 2, Some("here"))
    );
}

/// Page by page.
pub async fn operations_are_listed_newest_first(store: Store) {
    let stage = stage(&store);
    let mut made = Vec::new();
    for n in 0..7 {
        let kind = OperationKind::ALL[n % OperationKind::ALL.len()];
        let done = ended(&operation(&stage, kind), stage.now());
        assert!(put(&store, &done).await);
        made.insert(0, done);
    }
    for limit in [1, 3, 7, 100] {
        let (mut met, mut before) = (Vec::new(), None);
        loop {
            let page = store.operations(before, limit).await.expect("operations");
            assert!(page.items.len() <= limit as usize);
            before = page.items.last().map(|operation| operation.id);
            met.extend(page.items);
            if !page.more {
                break;
            }
        }
        assert_eq!(met, made, "by {limit}");
    }
}

/// Of its kind, of those that were done and not of those that ended otherwise.
pub async fn the_operation_that_was_done_last_is_known(store: Store) {
    let stage = stage(&store);
    let last = async |kind| {
        store
            .last_done_operation(kind)
            .await
            .expect("last_done_operation")
    };
    assert_eq!(last(OperationKind::Rebuild).await, None);
    let mut done = Vec::new();
    for state in [OperationState::Done, OperationState::Done, OperationState::Failed] {
        let mut operation = running(&store, &stage, OperationKind::Rebuild).await;
        operation.state = state;
        operation.finished_at = Some(stage.pass(1));
        (operation.lease_owner, operation.lease_until) = (None, None);
        store
            .save_operation(&operation, &[])
            .await
            .expect("save_operation");
        done.push(operation);
    }
    let found = last(OperationKind::Rebuild).await.expect("one");
    assert_eq!((found.id, found.finished_at), (done[1].id, done[1].finished_at));
    assert_eq!(last(OperationKind::Verify).await, None);
}
