//! The outbox and the leases across openings: what waits is kept, and without an outbox nothing waits.

use std::path::Path;

use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::leases::Leases as _;
use cloakroom_core::ports::metadata::{
    Claim, ClaimedEvent, Delivery, EventLease, Inserted, MetadataError, MetadataStore as _, NewFile,
};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::sample_new_file;
use cloakroom_testkit::random::SeededRandom;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tempfile::TempDir;

const LEASE: SignedDuration = SignedDuration::from_secs(30);

fn open(path: &Path, outbox: bool) -> SqliteStore {
    SqliteStore::open(SqliteOptions {
        outbox,
        ..SqliteOptions::new(path)
    })
    .unwrap()
}

async fn claim(store: &SqliteStore, now: Timestamp) -> Vec<ClaimedEvent> {
    let worker = WorkerId("w".to_owned());
    let claim = Claim {
        worker: &worker,
        now,
        lease: LEASE,
        limit: 10,
        at_most: &[],
    };
    store.claim_events(&claim).await.unwrap()
}

fn sample(random: &SeededRandom) -> NewFile {
    sample_new_file(random, MockClock::new().now())
}

#[tokio::test]
async fn without_an_outbox_nothing_waits() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let (random, now) = (SeededRandom::default(), MockClock::new().now());
    let store = open(&path, false);
    let unheard = sample(&random);
    assert_eq!(store.insert(unheard.clone()).await.unwrap(), Inserted::New);
    assert_eq!(claim(&store, now).await, []);
    let lease = EventLease {
        event_id: unheard.event.id,
        epoch: 1,
    };
    assert!(matches!(
        store.settle_event(lease, &Delivery::Delivered).await,
        Err(MetadataError::Fenced)
    ));
    drop(store);
    let rows: u32 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM cloakroom_outbox", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 0, "the hot path writes no row that nobody reads");

    // From the moment on that somebody listens, and not before.
    let store = open(&path, true);
    let heard = sample(&random);
    assert_eq!(store.insert(heard.clone()).await.unwrap(), Inserted::New);
    let waiting: Vec<_> = claim(&store, now)
        .await
        .into_iter()
        .map(|one| one.event)
        .collect();
    assert_eq!(waiting, [heard.event]);
}

#[tokio::test]
async fn claims_and_what_waits_survive_a_restart() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let (random, clock) = (SeededRandom::default(), MockClock::new());
    let store = open(&path, true);
    store.insert(sample(&random)).await.unwrap();
    let held = claim(&store, clock.now()).await.remove(0);
    drop(store);

    let store = open(&path, true);
    assert_eq!(claim(&store, clock.now()).await, []);
    let after = clock.advance(LEASE + SignedDuration::from_micros(1));
    let again = claim(&store, after).await.remove(0);
    assert_eq!((again.event, again.attempt), (held.event, 2));
    assert!(again.lease.epoch > held.lease.epoch);
    store.settle_event(again.lease, &Delivery::GivenUp).await.unwrap();
}

/// What the shared suite cannot wait for: with the time given, an end is exact.
#[tokio::test]
async fn a_lease_holds_to_its_last_moment_and_is_then_lost_even_to_its_holder() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let clock = MockClock::new();
    let (a, b) = (WorkerId("a".to_owned()), WorkerId("b".to_owned()));
    let store = open(&path, false);
    let first = store
        .acquire("sweeper", &a, clock.now(), LEASE)
        .await
        .unwrap()
        .unwrap();
    drop(store);

    let store = open(&path, false);
    let end = clock.advance(LEASE);
    assert_eq!(store.acquire("sweeper", &b, end, LEASE).await.unwrap(), None);
    let over = clock.advance(SignedDuration::from_micros(1));
    assert!(!store.renew(&first, over, LEASE).await.unwrap());
    let second = store.acquire("sweeper", &b, over, LEASE).await.unwrap().unwrap();
    assert_eq!(second.epoch, first.epoch + 1, "epochs outlive the process");
    assert!(store.renew(&second, over, LEASE).await.unwrap());
}
