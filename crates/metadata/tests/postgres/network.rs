//! A bad network between a node and its database: clear answers in time, nothing lost, nothing twice, and recovery by
//! itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{Inserted, MetadataError, MetadataStore, NewFile};
use cloakroom_core::transition::Occasion;
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{
    SAMPLE_BYTES, SAMPLE_OWNER, object, sample_collection, sample_new_file, sample_observed,
};
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers::postgres_url;
use cloakroom_testkit::toxics::{Proxy, Toxic};
use futures_util::future::join_all;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::database::{Prefix, client, options};

/// Longer than the store may take for anything here, on a busy machine too, shorter than anybody's patience.
const IN_TIME: Duration = Duration::from_mins(1);

async fn behind_a_proxy() -> (Arc<PostgresStore>, Proxy, Prefix) {
    let prefix = Prefix::new();
    let (proxy, url) = Proxy::before(&postgres_url()).await;
    let url = format!("{url}?application_name={}", prefix.0);
    let store = PostgresStore::connect(PostgresOptions {
        url,
        pool_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(5),
        ..options(&prefix)
    })
    .await
    .unwrap();
    (Arc::new(store), proxy, prefix)
}

async fn count(prefix: &Prefix, table: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM {}_{table}", prefix.0);
    let rows: i64 = client().await.query_one(&sql, &[]).await.unwrap().get(0);
    rows.unsigned_abs()
}

/// Reads, a plain write, an insert: each is unavailable, in time.
async fn assert_unavailable(store: &PostgresStore, random: &SeededRandom) {
    let begun = Instant::now();
    let value = object(json!({}));
    let new = sample_new_file(random, MockClock::new().now());
    let (read, write, insert) = tokio::join!(
        store.setting("x"),
        store.put_setting("x", &value),
        store.insert(new)
    );
    assert!(matches!(read, Err(MetadataError::Unavailable(_))), "{read:?}");
    assert!(matches!(write, Err(MetadataError::Unavailable(_))), "{write:?}");
    assert!(matches!(insert, Err(MetadataError::Unavailable(_))), "{insert:?}");
    for text in [read.unwrap_err(), write.unwrap_err(), insert.unwrap_err()].map(|error| error.to_string()) {
        assert!(!text.contains("postgres://"), "{text}");
    }
    assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
}

async fn assert_works(store: &PostgresStore, random: &SeededRandom) {
    let value = object(json!({ "n": random.next_u64() }));
    store.put_setting("x", &value).await.unwrap();
    assert_eq!(store.setting("x").await.unwrap(), Some(value));
    let new = sample_new_file(random, MockClock::new().now());
    assert_eq!(store.insert(new).await.unwrap(), Inserted::New);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_out_of_reach_is_said_to_be_and_comes_back() {
    let (store, proxy, prefix) = behind_a_proxy().await;
    let random = SeededRandom::default();
    for toxic in [Toxic::BlackHole, Toxic::Reset, Toxic::Refuse] {
        assert_works(&store, &random).await;
        proxy.set(toxic);
        if toxic == Toxic::Refuse {
            // What is open stays open; it is new connections that are refused.
            end_connections(&prefix).await;
        }
        assert_unavailable(&store, &random).await;
        proxy.set(Toxic::None);
        wait_for(&store).await;
        assert_works(&store, &random).await;
    }
}

/// Whatever ends all connections also ends one that is just being made.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ends_while_it_is_made_is_made_again() {
    let prefix = Prefix::new();
    let upstream = postgres_url();
    let place = |url: &str| {
        url.split('@')
            .nth(1)
            .unwrap()
            .split('/')
            .next()
            .unwrap()
            .to_owned()
    };
    let (listener, to) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), place(&upstream));
    let url = upstream.replace(&to, &listener.local_addr().unwrap().to_string());
    let ending = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&ending);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let ends = |left: u32| left.checked_sub(1);
            if left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, ends)
                .is_ok()
            {
                continue;
            }
            let to = to.clone();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let url = format!("{url}?application_name={}", prefix.0);
    let store = PostgresStore::connect(PostgresOptions {
        url,
        ..options(&prefix)
    })
    .await
    .unwrap();
    let value = object(json!({ "n": 1 }));
    for write in [true, false] {
        end_connections(&prefix).await;
        ending.store(3, Ordering::SeqCst);
        if write {
            store.put_setting("x", &value).await.unwrap();
        } else {
            assert_eq!(store.setting("x").await.unwrap(), Some(value.clone()));
        }
        assert_eq!(ending.load(Ordering::SeqCst), 0);
    }
}

/// Asks until the database is within reach again; the proxy takes a moment to listen.
async fn wait_for(store: &PostgresStore) {
    let begun = Instant::now();
    while let Err(error) = store.ping().await {
        assert!(begun.elapsed() < IN_TIME, "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the server has ended what it was at when a connection was cut.
async fn wait_until_idle(prefix: &Prefix) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle'";
    let (client, name, begun) = (client().await, prefix.0.to_string(), Instant::now());
    loop {
        let busy: i64 = client.query_one(sql, &[&name]).await.unwrap().get(0);
        if busy == 0 {
            return;
        }
        assert!(begun.elapsed() < IN_TIME, "{busy} are busy");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ends what the store has open, from the other side.
async fn end_connections(prefix: &Prefix) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
    client()
        .await
        .query_one(sql, &[&prefix.0.to_string()])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_network_only_costs_time() {
    let (store, proxy, prefix) = behind_a_proxy().await;
    let random = SeededRandom::default();
    for toxic in [
        Toxic::Latency(Duration::from_millis(30)),
        Toxic::Throttle {
            bytes_per_second: 200_000,
        },
    ] {
        proxy.set(toxic);
        let inserts = (0..40).map(|_| store.insert(sample_new_file(&random, MockClock::new().now())));
        for answer in join_all(inserts).await {
            assert_eq!(answer.unwrap(), Inserted::New);
        }
        assert_works(&store, &random).await;
    }
    assert_eq!(count(&prefix, "files").await, 82);
}

/// Signs and confirms; says whether each was acknowledged.
async fn life(store: Arc<PostgresStore>, new: NewFile) -> (NewFile, bool, bool) {
    let answer = store.insert(new.clone()).await;
    assert!(
        matches!(answer, Ok(Inserted::New) | Err(MetadataError::Unavailable(_))),
        "{answer:?}"
    );
    if answer.is_err() {
        return (new, false, false);
    }
    let random = SeededRandom::new(new.file.id.0.as_u64_pair().1);
    let occasion = Occasion {
        now: new.file.created_at,
        actor: "tester",
        random: &random,
    };
    let confirm = new
        .file
        .confirm(
            &new.upload,
            &sample_observed(&new.file),
            &sample_collection(),
            &occasion,
        )
        .unwrap();
    let answer = store.apply(confirm).await;
    assert!(
        matches!(answer, Ok(()) | Err(MetadataError::Unavailable(_))),
        "{answer:?}"
    );
    (new, true, answer.is_ok())
}

/// Connections are cut again and again, in the middle of whatever they carry: what was acknowledged is there, whole and
/// once, and the counts are those of the rows.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    let (store, proxy, prefix) = behind_a_proxy().await;
    let random = SeededRandom::default();
    let (mut signed, mut confirmed) = (0, 0);
    let mut lives = Vec::new();
    for round in 0..16_u64 {
        // Every connection ends after some bytes: while it is made, in an answer, or between two.
        proxy.set(match round % 4 {
            3 => Toxic::Reset,
            _ => Toxic::CutAfter {
                bytes: 1_000 + 1_500 * round,
            },
        });
        let tasks: Vec<_> = (0..60)
            .map(|_| {
                let new = sample_new_file(&random, MockClock::new().now());
                tokio::spawn(life(Arc::clone(&store), new))
            })
            .collect();
        for task in tasks {
            lives.push(task.await.unwrap());
        }
    }
    proxy.set(Toxic::None);
    wait_for(&store).await;
    assert_works(&store, &random).await;
    wait_until_idle(&prefix).await;
    for (new, was_signed, was_confirmed) in lives {
        let file = store.file(new.file.id).await.unwrap();
        assert!(file.is_some() || !was_signed, "an acknowledged insert is lost");
        let Some(file) = file else {
            continue;
        };
        let events = store.timeline(new.file.id, None, 10).await.unwrap().items;
        assert_eq!(events.len() as u64, file.version, "one event for each version");
        assert!(
            file.version == 2 || !was_confirmed,
            "an acknowledged change is lost"
        );
        signed += 1;
        confirmed += u64::from(file.version == 2);
    }
    // And the one that showed that it works again.
    signed += 1;
    assert_eq!(count(&prefix, "files").await, signed);
    assert_eq!(count(&prefix, "events").await, signed + confirmed);
    assert_eq!(count(&prefix, "jobs").await, confirmed);
    let usage = store.usage(SAMPLE_OWNER).await.unwrap();
    assert_eq!(usage.reserved_bytes, (signed - confirmed) * SAMPLE_BYTES);
    assert_eq!(
        (usage.stored_bytes, usage.files),
        (confirmed * SAMPLE_BYTES, confirmed)
    );
}
