//! Several nodes on one database.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloakroom_core::event::Event;
use cloakroom_core::id::{FileId, WorkerId};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{Claim, Delivery, Inserted, MetadataError, MetadataStore, NewFile};
use cloakroom_core::ports::signals::{Signals, Subscription, Topic};
use cloakroom_core::transition::Occasion;
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{
    SAMPLE_BYTES, SAMPLE_OWNER, record_key, sample_collection, sample_new_file, sample_observed,
    sample_record,
};
use cloakroom_testkit::random::SeededRandom;
use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::database::{Prefix, client, options};

const PATIENCE: Duration = Duration::from_mins(1);

/// Remembers what was said, and wakes who waits for more.
#[derive(Default)]
struct Heard {
    topics: Mutex<Vec<Topic>>,
    more: Notify,
}

impl Heard {
    async fn wait_for(&self, topic: Topic) {
        let heard = async {
            loop {
                let more = self.more.notified();
                if self.topics.lock().unwrap().contains(&topic) {
                    return;
                }
                more.await;
            }
        };
        timeout(PATIENCE, heard).await.expect("the topic is heard");
    }

    fn take(&self) -> Vec<Topic> {
        std::mem::take(&mut *self.topics.lock().unwrap())
    }
}

impl Signals for Heard {
    fn notify(&self, topic: Topic) {
        self.topics.lock().unwrap().push(topic);
        self.more.notify_waiters();
    }

    fn subscribe(&self, _topic: Topic) -> Box<dyn Subscription> {
        panic!("the store only speaks");
    }
}

struct Node {
    store: Arc<PostgresStore>,
    heard: Arc<Heard>,
}

async fn node(prefix: &Prefix) -> Node {
    let heard = Arc::new(Heard::default());
    let signals: Arc<dyn Signals> = Arc::<Heard>::clone(&heard);
    let store = PostgresStore::connect(PostgresOptions {
        signals: Some(signals),
        outbox: true,
        url: format!("{}?application_name={}", options(prefix).url, prefix.0),
        ..options(prefix)
    })
    .await
    .unwrap();
    Node {
        store: Arc::new(store),
        heard,
    }
}

/// Signed and confirmed through one node.
async fn confirmed(store: &PostgresStore, random: &SeededRandom) -> FileId {
    let new = sample_new_file(random, MockClock::new().now());
    let (file, upload) = (new.file.clone(), new.upload.clone());
    store.insert(new).await.unwrap();
    let occasion = Occasion {
        now: MockClock::new().now(),
        actor: "tester",
        random,
    };
    let confirm = file
        .confirm(&upload, &sample_observed(&file), &sample_collection(), &occasion)
        .unwrap();
    store.apply(confirm.clone()).await.unwrap();
    assert!(store.apply(confirm).await.is_err());
    file.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_through_one_node_wakes_who_waits_on_another() {
    let prefix = Prefix::new();
    let (a, b) = (node(&prefix).await, node(&prefix).await);
    let random = SeededRandom::default();
    let id = confirmed(&a.store, &random).await;
    assert_eq!(
        a.heard.take(),
        [Topic::Jobs, Topic::File(id)],
        "at once here, and nothing of what was refused"
    );
    b.heard.wait_for(Topic::File(id)).await;
    b.heard.wait_for(Topic::Jobs).await;

    // Another one after it: whatever node A would hear of itself by the database, it would have heard by now.
    let id = confirmed(&b.store, &random).await;
    a.heard.wait_for(Topic::File(id)).await;
    let topics = a.heard.take();
    assert_eq!(
        topics.iter().filter(|topic| **topic == Topic::File(id)).count(),
        1,
        "{topics:?}"
    );
}

/// The connection that listens is lost: it comes back by itself, and work that came meanwhile is looked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_listener_comes_back() {
    let prefix = Prefix::new();
    let (a, b) = (node(&prefix).await, node(&prefix).await);
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    let row = client()
        .await
        .query_one(ended, &[&prefix.0.to_string()])
        .await
        .unwrap();
    assert!(row.get::<_, i64>(0) >= 2);
    b.heard.wait_for(Topic::Jobs).await;
    a.heard.wait_for(Topic::Jobs).await;
    let id = confirmed(&a.store, &SeededRandom::default()).await;
    b.heard.wait_for(Topic::File(id)).await;
}

/// I11, across nodes: fifty at once where ten fit.
#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold_across_nodes() {
    let prefix = Prefix::new();
    let (a, b) = (node(&prefix).await, node(&prefix).await);
    let random = SeededRandom::default();
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let mut new = sample_new_file(&random, MockClock::new().now());
            new.quota_bytes = Some(10 * SAMPLE_BYTES + 1);
            let store = Arc::clone(if n % 2 == 0 { &a.store } else { &b.store });
            tokio::spawn(async move { store.insert(new).await })
        })
        .collect();
    let mut accepted = 0;
    for task in join_all(tasks).await {
        match task.unwrap().unwrap() {
            Inserted::New => accepted += 1,
            Inserted::QuotaExceeded(usage) => assert!(usage.reserved_bytes <= 10 * SAMPLE_BYTES),
            Inserted::Existing(_) => panic!("ids are fresh"),
        }
    }
    assert_eq!(accepted, 10);
    let usage = a.store.usage(SAMPLE_OWNER).await.unwrap();
    assert_eq!(usage.reserved_bytes, 10 * SAMPLE_BYTES);
}

/// The same requests reach two nodes at once, in another order: every id is made once, and nobody waits in a circle.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_inserts_through_two_nodes_make_each_row_once() {
    let prefix = Prefix::new();
    let (a, b) = (node(&prefix).await, node(&prefix).await);
    let random = SeededRandom::default();
    let news: Vec<NewFile> = (0..200)
        .map(|n| {
            let mut new = sample_new_file(&random, MockClock::new().now());
            new.file.owner = format!("owner-{}", n % 7);
            new.file.record = Some(record_key(&format!("message/{}", n % 7)));
            let owner = new.file.owner.clone();
            new.record = Some(sample_record(
                &format!("message/{}", n % 7),
                &owner,
                new.file.created_at,
            ));
            new
        })
        .collect();
    let through = |store: &Arc<PostgresStore>, news: Vec<NewFile>| {
        let store = Arc::clone(store);
        tokio::spawn(async move { join_all(news.into_iter().map(|new| store.insert(new))).await })
    };
    let backwards: Vec<NewFile> = news.iter().rev().cloned().collect();
    let (first, second) = (through(&a.store, news.clone()), through(&b.store, backwards));
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    for ((one, other), new) in first.into_iter().zip(second.into_iter().rev()).zip(&news) {
        let answers = [one.unwrap(), other.unwrap()];
        let made = answers.iter().filter(|answer| **answer == Inserted::New).count();
        assert_eq!(made, 1, "{answers:?}");
        let rows = Box::new((new.file.clone(), new.upload.clone()));
        assert!(answers.contains(&Inserted::Existing(rows)));
    }
    let mut reserved = 0;
    for n in 0..7 {
        reserved += a.store.usage(&format!("owner-{n}")).await.unwrap().reserved_bytes;
    }
    assert_eq!(reserved, 200 * SAMPLE_BYTES);
}

/// A transaction takes its place in the order of events, and its id, and commits after a later one was delivered.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_transaction_that_commits_late_is_delivered() {
    let prefix = Prefix::new();
    let node = node(&prefix).await;
    let (clock, random) = (MockClock::new(), SeededRandom::default());
    let early = sample_new_file(&random, clock.now());
    let mut slow = client().await;
    let transaction = slow.transaction().await.unwrap();
    write_by_hand(&transaction, &prefix, &early.event).await;

    clock.advance(SignedDuration::from_secs(1));
    let late = sample_new_file(&random, clock.now());
    let late_event = late.event.clone();
    node.store.insert(late).await.unwrap();
    let worker = WorkerId("w".to_owned());
    let claim = Claim {
        worker: &worker,
        now: clock.advance(SignedDuration::from_secs(1)),
        lease: SignedDuration::from_secs(30),
        limit: 10,
        at_most: &[],
    };
    let claimed = node.store.claim_events(&claim).await.unwrap();
    let events: Vec<&Event> = claimed.iter().map(|one| &one.event).collect();
    assert_eq!(events, [&late_event]);
    node.store
        .settle_event(claimed[0].lease, &Delivery::Delivered)
        .await
        .unwrap();

    transaction.commit().await.unwrap();
    let claimed = node.store.claim_events(&claim).await.unwrap();
    let events: Vec<&Event> = claimed.iter().map(|one| &one.event).collect();
    assert_eq!(events, [&early.event]);
}

async fn write_by_hand(transaction: &tokio_postgres::Transaction<'_>, prefix: &Prefix, event: &Event) {
    let at = event.at.to_string();
    let sql = format!(
        "WITH e AS (INSERT INTO {0}_events VALUES ($1, $2, $3, $4, $5, $6, '{{}}', $7::text::timestamptz))
         INSERT INTO {0}_outbox VALUES ($3, $1, $2, $7::text::timestamptz, 0, 0)",
        prefix.0
    );
    let version = i64::try_from(event.version).unwrap();
    let (kind, state) = (event.kind.as_str(), event.state.as_str());
    transaction
        .execute(
            &sql,
            &[
                &event.file_id.0,
                &version,
                &event.id.0,
                &kind,
                &state,
                &event.actor,
                &at,
            ],
        )
        .await
        .unwrap();
}

/// Claims of jobs through many nodes: each job once.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_claimed_once_across_nodes() {
    let prefix = Prefix::new();
    let (a, b) = (node(&prefix).await, node(&prefix).await);
    let random = SeededRandom::default();
    let mut wanted = HashSet::new();
    for _ in 0..30 {
        wanted.insert(confirmed(&a.store, &random).await);
    }
    let now = MockClock::new().now() + SignedDuration::from_secs(1);
    let workers: Vec<_> = (0..8)
        .map(|n| {
            let store = Arc::clone(if n % 2 == 0 { &a.store } else { &b.store });
            tokio::spawn(async move {
                let worker = WorkerId(format!("worker-{n}"));
                let claim = Claim {
                    worker: &worker,
                    now,
                    lease: SignedDuration::from_secs(30),
                    limit: 2,
                    at_most: &[],
                };
                let mut files = Vec::new();
                loop {
                    let jobs = store.claim(&claim).await.unwrap();
                    if jobs.is_empty() {
                        return files;
                    }
                    files.extend(jobs.into_iter().map(|job| job.file_id));
                }
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for worker in join_all(workers).await {
        claimed.extend(worker.unwrap());
    }
    assert_eq!(claimed.len(), 30, "each once");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), wanted);
}

/// One node removes a record while another links a file to it: either the record stays, or the link makes it anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_never_removed_under_a_link() {
    let prefix = Prefix::new();
    let (a, b) = (node(&prefix).await, node(&prefix).await);
    let random = SeededRandom::default();
    for n in 0..30 {
        let key = record_key(&format!("message/{n}"));
        let record = sample_record(&format!("message/{n}"), SAMPLE_OWNER, MockClock::new().now());
        a.store.put_record(&record, None).await.unwrap();
        let mut new = sample_new_file(&random, MockClock::new().now());
        new.file.record = Some(key.clone());
        new.record = Some(record);
        let (removed, linked) = tokio::join!(a.store.delete_record(&key, 1), b.store.insert(new));
        assert_eq!(linked.unwrap(), Inserted::New);
        assert!(
            matches!(removed, Ok(()) | Err(MetadataError::Conflict)),
            "{removed:?}"
        );
        let found = a.store.record(&key).await.unwrap();
        assert!(found.is_some(), "a file hangs on it ({removed:?})");
    }
}
