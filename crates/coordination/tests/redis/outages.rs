//! A Redis of the test's own, to be killed and to stand still.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use cloakroom_coordination::{Redis, RedisLeases, RedisRateLimiter};
use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::leases::Leases as _;
use cloakroom_core::ports::limits::{Admission, RateLimiter as _};
use jiff::{SignedDuration, Timestamp};

use super::{PATIENCE, RATE};

/// A port that nobody has, below those that Linux gives to whoever asks for any: nobody gets it while Redis
/// is away, no other test here either.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() % 10_000;
    let ports = std::iter::repeat_with(|| {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        20_000 + (first + next) % 10_000
    });
    ports
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start() -> Self {
        Self::start_at(free_port())
    }

    fn start_at(port: u16) -> Self {
        let process = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed by scripts/install-test-env");
        Self { process, port }
    }

    fn redis(&self) -> Redis {
        Redis::patient(&format!("redis://127.0.0.1:{}", self.port), PATIENCE).expect("an address")
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([name, &self.process.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn admit(limiter: &RedisRateLimiter, key: &str) -> Admission {
    limiter.admit(key, 1, RATE, Timestamp::UNIX_EPOCH).await
}

#[tokio::test]
async fn a_killed_redis_leaves_each_node_to_its_own_count() {
    let server = Server::start();
    let port = server.port;
    let redis = server.redis();
    until("Redis is up", async || redis.ping().await.is_ok()).await;
    let limiter = RedisRateLimiter::new(redis, "t").with_budget(PATIENCE);
    assert_eq!(admit(&limiter, "ann").await, Admission::Admitted);
    assert_eq!(limiter.degraded(), None);
    drop(server);
    let mut admitted = 0;
    while admit(&limiter, "ann").await == Admission::Admitted {
        admitted += 1;
    }
    assert_eq!(admitted, 10, "its own count holds, too");
    assert!(limiter.degraded().is_some());
    let _again = Server::start_at(port);
    until("it counts together again", async || limiter.degraded().is_none()).await;
}

#[tokio::test]
async fn a_redis_that_stands_still_holds_nobody_up() {
    let server = Server::start();
    // Without patience: what is asked of it while it stands still is to end.
    let redis = Redis::new(&format!("redis://127.0.0.1:{}", server.port)).expect("an address");
    until("Redis is up", async || redis.ping().await.is_ok()).await;
    let limiter = RedisRateLimiter::new(redis, "t");
    admit(&limiter, "ann").await;
    server.signal("-STOP");
    let begun = Instant::now();
    for number in 0..200 {
        admit(&limiter, &number.to_string()).await;
    }
    // One of them waited; the others did not have to.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(
        limiter
            .degraded()
            .is_some_and(|reason| reason.contains("in time"))
    );
    server.signal("-CONT");
    until("it counts together again", async || limiter.degraded().is_none()).await;
}

#[tokio::test]
async fn a_lease_cannot_be_had_from_a_redis_that_is_away() {
    let server = Server::start();
    let redis = server.redis();
    until("Redis is up", async || redis.ping().await.is_ok()).await;
    let leases = RedisLeases::new(redis, "t");
    let holder = WorkerId("one".to_owned());
    let long = SignedDuration::from_mins(1);
    let lease = leases
        .acquire("janitor", &holder, Timestamp::UNIX_EPOCH, long)
        .await
        .expect("answers")
        .expect("free");
    drop(server);
    leases
        .renew(&lease, Timestamp::UNIX_EPOCH, long)
        .await
        .expect_err("away");
    leases
        .acquire("janitor", &holder, Timestamp::UNIX_EPOCH, long)
        .await
        .expect_err("away");
}
