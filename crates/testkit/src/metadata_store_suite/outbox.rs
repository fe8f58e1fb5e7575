//! The outbox: every event waits for its delivery exactly once, under exclusive, fenced claims that end by themselves.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloakroom_core::event::EventKind;
use cloakroom_core::id::{EventId, WorkerId};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{
    Claim, ClaimedEvent, Delivery, EventLease, Inserted, MetadataError, MetadataStore,
};
use cloakroom_core::transition::Occasion;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use super::stage::{LEASE, Stage, Store};
use super::transitions::TRASH;
use crate::clock::MockClock;
use crate::fixtures::{sample_collection, sample_new_file, sample_observed};
use crate::random::SeededRandom;

async fn claim_from(
    store: &dyn MetadataStore,
    worker: &str,
    now: Timestamp,
    limit: u32,
) -> Vec<ClaimedEvent> {
    let worker = WorkerId(worker.to_owned());
    let claim = Claim {
        worker: &worker,
        now,
        lease: LEASE,
        limit,
        at_most: &[],
    };
    let claimed = store.claim_events(&claim).await.expect("claim_events");
    assert!(claimed.len() <= limit as usize, "a claim keeps to its limit");
    claimed
}

async fn claim(stage: &Stage, worker: &str, limit: u32) -> Vec<ClaimedEvent> {
    claim_from(stage.store.as_ref(), worker, stage.now(), limit).await
}

async fn settle(stage: &Stage, lease: EventLease, delivery: Delivery) {
    stage
        .store
        .settle_event(lease, &delivery)
        .await
        .expect("the claim is held");
}

async fn assert_fenced(stage: &Stage, lease: EventLease) {
    let retry = Delivery::Retry {
        run_at: stage.now(),
        error: "no luck".to_owned(),
    };
    for delivery in [Delivery::Delivered, retry, Delivery::GivenUp] {
        let answer = stage.store.settle_event(lease, &delivery).await;
        assert!(
            matches!(answer, Err(MetadataError::Fenced)),
            "{delivery:?}: {answer:?}"
        );
    }
}

fn event_ids(claimed: &[ClaimedEvent]) -> Vec<EventId> {
    claimed.iter().map(|one| one.event.id).collect()
}

/// Insert, every transition, and forget: what the timeline shows is what waits, field by field.
pub async fn every_event_waits_exactly_once(store: Store) {
    let stage = Stage::new(store);
    let file = stage.ready(stage.new_file()).await;
    stage.pass(1);
    let file = stage
        .apply(file.trash(TRASH, &stage.occasion()).expect("ready"))
        .await;
    let file = stage.apply(file.purge(&stage.occasion()).expect("trashed")).await;
    let mut event = stage.occasion().event(&file, EventKind::Purged);
    event.version = file.version + 1;
    stage
        .store
        .forget(&file, event, None, None)
        .await
        .expect("forget");
    let mut claimed = claim(&stage, "w", 100).await;
    claimed.sort_by_key(|one| one.event.version);
    for one in &claimed {
        assert_eq!((one.attempt, one.lease.epoch), (1, 1));
        assert_eq!(one.lease.event_id, one.event.id);
    }
    let waiting: Vec<_> = claimed.into_iter().map(|one| one.event).collect();
    assert_eq!(waiting, stage.events(file.id).await);
    assert_eq!(waiting.len(), 7);
    assert_eq!(claim(&stage, "w", 100).await, []);
}

/// A conflict, a lost claim, a repeated insert: nothing happened, so there is nothing to tell.
pub async fn a_change_that_was_refused_leaves_no_event_waiting(store: Store) {
    let stage = Stage::new(store);
    let new = stage.new_file();
    let (file, upload) = stage.insert(new.clone()).await;
    assert!(matches!(stage.store.insert(new).await, Ok(Inserted::Existing(_))));
    let mut refused = stage.new_file();
    refused.quota_bytes = Some(1);
    assert!(matches!(
        stage.store.insert(refused).await,
        Ok(Inserted::QuotaExceeded(_))
    ));
    let confirmation = stage.confirmation(&file, &upload);
    stage.apply(confirmation.clone()).await;
    let answer = stage.store.apply(confirmation).await;
    assert!(matches!(answer, Err(MetadataError::Conflict)), "{answer:?}");
    assert_eq!(claim(&stage, "w", 100).await.len(), 2);
}

/// Within a claim and from claim to claim.
pub async fn events_that_wait_longest_come_first(store: Store) {
    let stage = Stage::new(store);
    let mut wanted = Vec::new();
    for _ in 0..6 {
        let new = stage.new_file();
        wanted.push(new.event.id);
        stage.insert(new).await;
        stage.pass(1);
    }
    let mut found = event_ids(&claim(&stage, "w", 4).await);
    assert_eq!(found.len(), 4);
    found.extend(event_ids(&claim(&stage, "w", 4).await));
    assert_eq!(found, wanted);
    assert_eq!(claim(&stage, "w", 4).await, []);
}

/// What one holds no other gets, and only its claim ends the delivery, once.
pub async fn event_claims_are_exclusive_and_fenced(store: Store) {
    let stage = Stage::new(store);
    stage.sign().await;
    let held = claim(&stage, "worker-1", 10).await.remove(0);
    assert_eq!(claim(&stage, "worker-2", 10).await, []);
    assert_eq!(claim(&stage, "worker-1", 10).await, [], "not even its own holder");
    for epoch in [held.lease.epoch - 1, held.lease.epoch + 1] {
        assert_fenced(&stage, EventLease { epoch, ..held.lease }).await;
    }
    let stranger = EventLease {
        event_id: EventId(held.event.file_id.0),
        ..held.lease
    };
    assert_fenced(&stage, stranger).await;
    settle(&stage, held.lease, Delivery::Delivered).await;
    assert_fenced(&stage, held.lease).await;
}

/// A consumer that died is replaced when its lease is over; what it says later is not heard.
pub async fn a_lapsed_claim_on_an_event_goes_to_another(store: Store) {
    let stage = Stage::new(store);
    stage.sign().await;
    let first = claim(&stage, "worker-1", 10).await.remove(0);
    stage.clock.advance(LEASE);
    assert_eq!(
        claim(&stage, "worker-2", 10).await,
        [],
        "the lease holds to its last moment"
    );
    stage.clock.advance(SignedDuration::from_micros(1));
    let second = claim(&stage, "worker-2", 10).await.remove(0);
    assert_eq!(second.event, first.event, "the same event under the same id");
    assert_eq!((second.attempt, second.lease.epoch), (2, first.lease.epoch + 1));
    assert_fenced(&stage, first.lease).await;
    assert_eq!(claim(&stage, "worker-3", 10).await, []);
    settle(&stage, second.lease, Delivery::Delivered).await;
    stage.clock.advance(LEASE + LEASE);
    assert_eq!(claim(&stage, "worker-3", 10).await, []);
}

/// Not before the time that the last attempt named, and under a new claim.
pub async fn a_retried_event_waits_for_its_time(store: Store) {
    let stage = Stage::new(store);
    stage.sign().await;
    for attempt in 1..=3 {
        let held = claim(&stage, "w", 10).await.remove(0);
        assert_eq!((held.attempt, held.lease.epoch), (attempt, attempt));
        let retry = Delivery::Retry {
            run_at: stage.now() + SignedDuration::from_secs(10),
            error: "the consumer said \"later\"".to_owned(),
        };
        settle(&stage, held.lease, retry).await;
        assert_fenced(&stage, held.lease).await;
        stage.clock.advance(SignedDuration::from_micros(9_999_999));
        assert_eq!(claim(&stage, "w", 10).await, []);
        stage.clock.advance(SignedDuration::from_micros(1));
    }
    assert_eq!(claim(&stage, "w", 10).await.len(), 1);
}

/// Whatever became of the delivery, the fact stays.
pub async fn delivered_and_given_up_events_stay_in_the_timeline(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    stage.pass(1);
    let file = stage.confirm(&file, &upload).await;
    let before = stage.events(file.id).await;
    let held = claim(&stage, "w", 10).await;
    assert_eq!(held.len(), 2);
    settle(&stage, held[0].lease, Delivery::Delivered).await;
    settle(&stage, held[1].lease, Delivery::GivenUp).await;
    stage.clock.advance(LEASE + LEASE);
    assert_eq!(claim(&stage, "w", 10).await, []);
    assert_eq!(stage.events(file.id).await, before);
}

/// Claims until `writing` is over and nothing waits any more; every event is settled as delivered.
async fn consume(store: Store, n: u32, now: Timestamp, writing: Arc<AtomicBool>) -> Vec<EventId> {
    let mut delivered = Vec::new();
    loop {
        // Asked before the claim: what the last writer wrote is there to be claimed.
        let writers_left = writing.load(Ordering::SeqCst);
        let claimed = claim_from(store.as_ref(), &format!("worker-{n}"), now, 1 + n % 4).await;
        if claimed.is_empty() && !writers_left {
            return delivered;
        }
        for one in claimed {
            store
                .settle_event(one.lease, &Delivery::Delivered)
                .await
                .expect("the claim is held");
            delivered.push(one.event.id);
        }
        tokio::task::yield_now().await;
    }
}

fn assert_each_once(delivered: Vec<EventId>, wanted: &HashSet<EventId>) {
    let mut counts: HashMap<EventId, u32> = HashMap::new();
    for id in delivered {
        *counts.entry(id).or_default() += 1;
    }
    assert!(
        counts.values().all(|count| *count == 1),
        "an event was delivered twice"
    );
    assert_eq!(&counts.into_keys().collect::<HashSet<_>>(), wanted);
}

/// Many consumers, one outbox: no event twice, none left behind.
pub async fn concurrent_claimers_share_the_events(store: Store) {
    let stage = Stage::new(store);
    let mut wanted = HashSet::new();
    for _ in 0..60 {
        let new = stage.new_file();
        wanted.insert(new.event.id);
        stage.insert(new).await;
    }
    let writing = Arc::new(AtomicBool::new(false));
    let consumers: Vec<_> = (0..12)
        .map(|n| {
            let (store, now, writing) = (Arc::clone(&stage.store), stage.now(), Arc::clone(&writing));
            tokio::spawn(consume(store, n, now, writing))
        })
        .collect();
    let mut delivered = Vec::new();
    for consumer in join_all(consumers).await {
        delivered.extend(consumer.expect("no panic"));
    }
    assert_each_once(delivered, &wanted);
}

/// A slow writer: its event has the earlier id and the earlier time, and is there only after a later one was
/// delivered. "Everything after the last one seen" would pass it over.
pub async fn an_event_that_commits_late_is_still_delivered(store: Store) {
    let stage = Stage::new(store);
    let slow = stage.new_file();
    stage.pass(1);
    let fast = stage.new_file();
    let (slow_event, fast_event) = (slow.event.clone(), fast.event.clone());
    assert!(slow_event.id < fast_event.id && slow_event.at < fast_event.at);
    stage.insert(fast).await;
    let held = claim(&stage, "w", 10).await.remove(0);
    assert_eq!(held.event, fast_event);
    settle(&stage, held.lease, Delivery::Delivered).await;
    stage.insert(slow).await;
    let held = claim(&stage, "w", 10).await;
    assert_eq!(event_ids(&held), [slow_event.id]);
}

/// Writers whose commits overtake each other, and consumers at the same time: every event, exactly once.
pub async fn concurrent_writers_and_claimers_lose_no_event(store: Store) {
    const WRITERS: u64 = 8;
    let clock = MockClock::new();
    // Claims are made at the end of all the times that the writers use.
    let now = clock.now() + SignedDuration::from_secs(10);
    let writing = Arc::new(AtomicBool::new(true));
    let consumers: Vec<_> = (0..4)
        .map(|n| tokio::spawn(consume(Arc::clone(&store), n, now, Arc::clone(&writing))))
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, start) = (Arc::clone(&store), clock.now());
            tokio::spawn(async move {
                let random = SeededRandom::new(1000 + writer);
                let mut written = Vec::new();
                for step in 0..12_i64 {
                    // Every other writer lives in the past of its neighbours.
                    let step = if writer % 2 == 0 { step } else { 12 - step };
                    let at = start + SignedDuration::from_millis(step * 500);
                    let new = sample_new_file(&random, at);
                    let (file, upload) = (new.file.clone(), new.upload.clone());
                    written.push(new.event.id);
                    assert_eq!(store.insert(new).await.expect("insert"), Inserted::New);
                    let occasion = Occasion {
                        now: at,
                        actor: "tester",
                        random: &random,
                    };
                    let confirm = file
                        .confirm(&upload, &sample_observed(&file), &sample_collection(), &occasion)
                        .expect("a sample may be confirmed");
                    written.push(confirm.event.id);
                    store.apply(confirm).await.expect("apply");
                }
                written
            })
        })
        .collect();
    let mut wanted = HashSet::new();
    for writer in join_all(writers).await {
        wanted.extend(writer.expect("no panic"));
    }
    writing.store(false, Ordering::SeqCst);
    assert_eq!(wanted.len() as u64, WRITERS * 24);
    let mut delivered = Vec::new();
    for consumer in join_all(consumers).await {
        delivered.extend(consumer.expect("no panic"));
    }
    assert_each_once(delivered, &wanted);
}
