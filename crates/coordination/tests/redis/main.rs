//! Limits and leases against a real Redis, also one that is killed or stands still.

mod outages;

use std::sync::Arc;
use std::time::Duration;

use cloakroom_coordination::{Redis, RedisLeases, RedisPresence, RedisRateLimiter};
use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::limits::{Admission, Rate, RateLimiter as _};
use cloakroom_testkit::servers;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

/// What a busy machine may take for anything here.
const PATIENCE: Duration = Duration::from_mins(1);

fn redis() -> Redis {
    Redis::patient(&servers::redis_url(), PATIENCE).expect("an address")
}

fn limiter(prefix: &str) -> RedisRateLimiter {
    RedisRateLimiter::new(redis(), prefix).with_budget(PATIENCE)
}

fn leases() -> std::future::Ready<(Arc<dyn Leases>, ())> {
    let leases = RedisLeases::new(redis(), &servers::unique_table_prefix());
    std::future::ready((Arc::new(leases), ()))
}

cloakroom_testkit::leases_suite!(leases);

/// So little that nothing grows back while a test runs: Redis counts by its own clock.
const RATE: Rate = Rate {
    count: 10,
    period: SignedDuration::from_hours(1),
};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_count_together() {
    let prefix = servers::unique_table_prefix();
    let nodes: Vec<_> = (0..4).map(|_| limiter(&prefix)).collect();
    let asked = nodes
        .iter()
        .flat_map(|node| (0..10).map(|_| node.admit("ann", 1, RATE, Timestamp::UNIX_EPOCH)));
    let answers = join_all(asked).await;
    let admitted = answers
        .iter()
        .filter(|answer| **answer == Admission::Admitted)
        .count();
    assert_eq!(admitted, 10, "ten of forty, whoever was asked");
    for answer in answers {
        if let Admission::Refused { retry_after } = answer {
            assert!(
                retry_after > SignedDuration::from_mins(1) && retry_after <= SignedDuration::from_mins(6)
            );
        }
    }
    assert!(nodes.iter().all(|node| node.degraded().is_none()));
    assert_eq!(
        nodes[0].admit("bob", 1, RATE, Timestamp::UNIX_EPOCH).await,
        Admission::Admitted
    );
}

#[tokio::test]
async fn services_with_other_prefixes_count_on_their_own() {
    for _ in 0..2 {
        let limiter = limiter(&servers::unique_table_prefix());
        let whole = Rate { count: 1, ..RATE };
        assert_eq!(
            limiter.admit("ann", 1, whole, Timestamp::UNIX_EPOCH).await,
            Admission::Admitted
        );
    }
}

#[tokio::test]
async fn nobodys_name_stands_in_redis() {
    let prefix = servers::unique_table_prefix();
    limiter(&prefix)
        .admit("address:192.0.2.7", 1, RATE, Timestamp::UNIX_EPOCH)
        .await;
    let client = redis::Client::open(servers::redis_url()).expect("an address");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("connected");
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{prefix}*"))
        .query_async(&mut connection)
        .await
        .expect("keys");
    assert_eq!(keys.len(), 1);
    assert!(!keys[0].contains("192"), "{keys:?}");
    let lives_for: i64 = redis::cmd("PTTL")
        .arg(&keys[0])
        .query_async(&mut connection)
        .await
        .expect("a time");
    assert!(
        (1..=360_001).contains(&lives_for),
        "it goes away by itself: {lives_for} ms"
    );
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_repeating_it() {
    let refused = Redis::new("redis//:hush@host").expect_err("refused");
    assert!(!format!("{refused:?} {refused}").contains("hush"));
    let known = Redis::new("redis://:hush@127.0.0.1:1").expect("an address");
    assert!(!format!("{known:?}").contains("hush"));
}

#[tokio::test]
async fn a_process_is_found_until_it_says_no_more() {
    let prefix = servers::unique_table_prefix();
    let presence = RedisPresence::new(redis(), &prefix);
    let client = ::redis::Client::open(servers::redis_url()).expect("an address");
    let mut reader = client.get_multiplexed_async_connection().await.expect("Redis");
    let mut read = async |command: &str, key: &str| -> Option<String> {
        let mut command = ::redis::cmd(command);
        command.arg(format!("{prefix}:nodes:{key}"));
        command.query_async(&mut reader).await.expect("an answer")
    };
    let hour = SignedDuration::from_hours(1);
    presence.announce("a", "{\"n\":1}", hour).await.expect("said");
    presence.announce("b", "{}", hour).await.expect("said");
    presence.announce("a", "{\"n\":2}", hour).await.expect("said");
    assert_eq!(read("GET", "a").await.as_deref(), Some("{\"n\":2}"));
    let left: i64 = read("PTTL", "a")
        .await
        .and_then(|text| text.parse().ok())
        .expect("a time");
    assert!(left > 3_000_000 && left <= 3_600_000, "{left}");
    presence.withdraw("a").await.expect("taken back");
    presence.withdraw("a").await.expect("taken back again");
    assert_eq!(
        (read("GET", "a").await, read("GET", "b").await.as_deref()),
        (None, Some("{}"))
    );
    // Whoever dies says nothing more.
    presence
        .announce("b", "{}", SignedDuration::from_millis(1))
        .await
        .expect("said");
    while read("GET", "b").await.is_some() {
        tokio::task::yield_now().await;
    }
}
