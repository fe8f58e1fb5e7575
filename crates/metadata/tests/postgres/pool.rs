//! The pool: its size, what is closed, and what is replaced (S3-053..055).

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::metadata::{MetadataError, MetadataStore};
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::fixtures::object;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio_postgres::Client;

use crate::database::{Prefix, client, options};

/// A store whose connections can be told from others.
async fn open(prefix: &Prefix, change: impl FnOnce(&mut PostgresOptions)) -> Arc<PostgresStore> {
    let mut options = PostgresOptions {
        url: format!("{}?application_name={}", options(prefix).url, prefix.0),
        ..options(prefix)
    };
    change(&mut options);
    Arc::new(PostgresStore::connect(options).await.unwrap())
}

/// Process ids of the server for the connections of a store.
async fn backends(client: &Client, prefix: &Prefix) -> Vec<i32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 ORDER BY pid";
    let rows = client.query(sql, &[&prefix.0.to_string()]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Waits until there are so many.
async fn wait_for_backends(client: &Client, prefix: &Prefix, wanted: impl Fn(usize) -> bool) {
    let begun = std::time::Instant::now();
    loop {
        let found = backends(client, prefix).await.len();
        if wanted(found) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{found} connections");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_size_are_closed_when_they_rest() {
    let prefix = Prefix::new();
    let store = open(&prefix, |options| {
        (options.pool_size, options.pool_overflow) = (2, 4);
    })
    .await;
    let mut watcher = client().await;
    // The one that listens.
    wait_for_backends(&watcher, &prefix, |found| found == 1).await;
    let holder = client().await;
    let hold = watcher.transaction().await.unwrap();
    hold.batch_execute(&format!(
        "LOCK TABLE {}_settings IN ACCESS EXCLUSIVE MODE",
        prefix.0
    ))
    .await
    .unwrap();
    let reads: Vec<_> = (0..12)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.setting("x").await })
        })
        .collect();
    wait_for_backends(&holder, &prefix, |found| found == 1 + 6).await;
    hold.rollback().await.unwrap();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap(), None);
    }
    wait_for_backends(&holder, &prefix, |found| found == 1 + 2).await;
    store.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_says_so_in_time() {
    let prefix = Prefix::new();
    let store = open(&prefix, |options| {
        options.pool_size = 1;
        options.pool_timeout = Duration::from_millis(200);
    })
    .await;
    let mut holder = client().await;
    let hold = holder.transaction().await.unwrap();
    hold.batch_execute(&format!(
        "LOCK TABLE {}_settings IN ACCESS EXCLUSIVE MODE",
        prefix.0
    ))
    .await
    .unwrap();
    let mut reads: FuturesUnordered<_> = (0..3).map(|_| store.setting("x")).collect();
    // One waits for the lock, two for its connection.
    for _ in 0..2 {
        match tokio::time::timeout(Duration::from_mins(1), reads.next())
            .await
            .expect("in time")
        {
            Some(Err(MetadataError::Unavailable(text))) => {
                assert!(text.contains("no connection was free within 0.2 s"), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
    hold.rollback().await.unwrap();
    assert_eq!(reads.next().await.unwrap().unwrap(), None);
    assert_eq!(store.setting("x").await.unwrap(), None, "and it works again");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_connections_are_replaced() {
    let prefix = Prefix::new();
    let store = open(&prefix, |options| options.recycle_after = Duration::ZERO).await;
    let watcher = client().await;
    store.setting("x").await.unwrap();
    let before = backends(&watcher, &prefix).await;
    store.setting("x").await.unwrap();
    wait_for_backends(&watcher, &prefix, |found| found == 2).await;
    assert_ne!(backends(&watcher, &prefix).await, before);
}

/// The server ends every connection, while they rest and while they work: whoever asks next notices nothing.
#[tokio::test(flavor = "multi_thread")]
async fn ended_connections_are_replaced_unnoticed() {
    let prefix = Prefix::new();
    let store = open(&prefix, |_| ()).await;
    let watcher = client().await;
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
        prefix.0
    );
    for n in 0..10 {
        let value = object(json!({ "n": n }));
        let writes = join_all((0..6).map(|_| store.put_setting("x", &value)));
        let (writes, _) = tokio::join!(writes, watcher.batch_execute(&end));
        for write in writes {
            write.unwrap();
        }
        assert_eq!(store.setting("x").await.unwrap(), Some(value));
        watcher.batch_execute(&end).await.unwrap();
    }
}
