//! A bad network between us and Ceph: every call ends in time, and no short answer is taken for a whole one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom_core::ports::objects::{Circuit, GetOptions, ObjectError, ObjectStore, PutBody, PutOptions};
use cloakroom_core::ports::random::Random;
use cloakroom_objects::s3::{CircuitPolicy, S3Options, S3Store};
use cloakroom_testkit::object_store_suite::{collect, pattern};
use cloakroom_testkit::servers;
use cloakroom_testkit::toxics::{Proxy, Toxic};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use uuid::Uuid;

use crate::stand::{Stand, eager, impatient, options_for};

/// Longer than any call may take that gives up, and a slow machine: what it would wait for never comes.
const ENOUGH: Duration = Duration::from_mins(1);

/// A store behind a proxy, and one that reaches Ceph directly.
struct Rig {
    stand: Stand,
    proxy: Arc<Proxy>,
    options: S3Options,
    store: S3Store,
}

async fn rig() -> Rig {
    rig_with(|options| options).await
}

async fn rig_with(change: impl FnOnce(S3Options) -> S3Options) -> Rig {
    let stand = Stand::new().await;
    let (proxy, url) = Proxy::before(&servers::s3().endpoint).await;
    // A circuit that opens would answer instead of the network.
    let never = CircuitPolicy {
        failures_max: u32::MAX,
        ..CircuitPolicy::default()
    };
    let options = change(S3Options {
        circuit: never,
        ..eager(options_for(&url))
    });
    let store = S3Store::new(options.clone()).unwrap();
    Rig {
        stand,
        proxy: Arc::new(proxy),
        options,
        store,
    }
}

impl Rig {
    async fn put_directly(&self, key: &str, bytes: Vec<u8>) {
        let body = PutBody::from_bytes(bytes);
        self.stand
            .store
            .put(&self.stand.path(key), PutOptions::default(), body)
            .await
            .unwrap();
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        let (path, body) = (self.stand.path(key), PutBody::from_bytes(bytes));
        self.store.put(&path, PutOptions::default(), body).await.map(drop)
    }

    async fn head(&self, key: &str) -> Result<(), ObjectError> {
        self.store
            .head(&self.stand.path(key), &GetOptions::default())
            .await
            .map(drop)
    }

    async fn read(&self, key: &str) -> Result<Vec<u8>, ObjectError> {
        let read = self
            .store
            .get(&self.stand.path(key), &GetOptions::default())
            .await?;
        Ok(collect(read.body).await?)
    }

    async fn assert_missing(&self, key: &str) {
        let head = self
            .stand
            .store
            .head(&self.stand.path(key), &GetOptions::default())
            .await;
        assert!(matches!(head, Err(ObjectError::NotFound)), "{head:?}");
    }
}

fn is_unavailable<T>(result: &Result<T, ObjectError>) -> bool {
    matches!(result, Err(ObjectError::Unavailable(_)))
}

#[tokio::test]
async fn latency_is_waited_for() {
    let rig = rig().await;
    rig.proxy.set(Toxic::Latency(Duration::from_millis(10)));
    rig.put("k", pattern(100_000, 1)).await.unwrap();
    rig.put("large", pattern(1_500_000, 1)).await.unwrap();
    assert!(rig.read("k").await.unwrap() == pattern(100_000, 1));
}

#[tokio::test]
async fn connections_that_break_or_are_refused_end_in_time_and_leave_nothing() {
    let mut rig = rig_with(impatient).await;
    rig.put_directly("there", pattern(10, 1)).await;
    rig.head("there").await.unwrap();
    for toxic in [Toxic::Reset, Toxic::Refuse, Toxic::BlackHole] {
        if toxic == Toxic::Refuse {
            // Connections that are open would stay so.
            rig.store = S3Store::new(rig.options.clone()).unwrap();
        }
        rig.proxy.set(toxic);
        for bytes in [10, 3_000_000] {
            let begun = Instant::now();
            assert!(
                is_unavailable(&rig.put("k", pattern(bytes, 1)).await),
                "{toxic:?}"
            );
            assert!(begun.elapsed() < ENOUGH, "{toxic:?}");
            rig.assert_missing("k").await;
        }
        let begun = Instant::now();
        assert!(is_unavailable(&rig.head("there").await), "{toxic:?}");
        assert!(is_unavailable(&rig.read("there").await), "{toxic:?}");
        assert!(begun.elapsed() < ENOUGH, "{toxic:?}");
        rig.proxy.set(Toxic::None);
        let deadline = Instant::now() + ENOUGH;
        while rig.head("there").await.is_err() {
            assert!(Instant::now() < deadline, "it answers again after {toxic:?}");
        }
    }
}

#[tokio::test]
async fn a_read_that_breaks_off_is_resumed_where_it_ended() {
    let rig = rig().await;
    let bytes = pattern(4_000_000, 1);
    rig.put_directly("k", bytes.clone()).await;
    // Every connection brings a part of it.
    rig.proxy.set(Toxic::CutAfter { bytes: 700_000 });
    assert!(rig.read("k").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_read_that_cannot_go_on_is_an_error() {
    let rig = rig_with(impatient).await;
    rig.put_directly("k", pattern(4_000_000, 1)).await;
    let whole = GetOptions::default();
    for toxic in [Toxic::Reset, Toxic::BlackHole] {
        rig.proxy.set(Toxic::CutAfter { bytes: 300_000 });
        let mut read = rig.store.get(&rig.stand.path("k"), &whole).await.unwrap();
        let first = read.body.next().await.unwrap().unwrap();
        rig.proxy.set(toxic);
        let begun = Instant::now();
        let rest = collect(read.body).await;
        assert!(rest.is_err(), "{toxic:?} after {} bytes", first.len());
        assert!(begun.elapsed() < ENOUGH, "{toxic:?}");
    }
}

/// I2: the rest of one object does not follow the beginning of another.
#[tokio::test]
async fn a_read_is_not_resumed_on_other_bytes() {
    let rig = rig().await;
    rig.put_directly("k", pattern(4_000_000, 1)).await;
    rig.proxy.set(Toxic::CutAfter { bytes: 300_000 });
    let mut read = rig
        .store
        .get(&rig.stand.path("k"), &GetOptions::default())
        .await
        .unwrap();
    read.body.next().await.unwrap().unwrap();
    rig.put_directly("k", pattern(4_000_000, 2)).await;
    let error = collect(read.body).await.unwrap_err();
    assert_eq!(error.code, "IncompleteBody");
}

#[tokio::test]
async fn a_slow_network_that_moves_is_no_outage() {
    let rig = rig_with(impatient).await;
    rig.put_directly("k", pattern(400_000, 1)).await;
    rig.proxy.set(Toxic::Throttle {
        bytes_per_second: 100_000,
    });
    // Each takes longer than an attempt may stand still.
    assert!(rig.read("k").await.unwrap() == pattern(400_000, 1));
    rig.proxy.set(Toxic::Throttle {
        bytes_per_second: 800_000,
    });
    rig.put("up", pattern(2_000_000, 1)).await.unwrap();
}

#[tokio::test]
async fn the_circuit_opens_and_closes_again_by_itself() {
    let rig = rig_with(|options| S3Options {
        circuit: CircuitPolicy {
            failures_max: 4,
            open_for: Duration::from_millis(400),
            open_for_max: Duration::from_millis(400),
            ..CircuitPolicy::default()
        },
        ..options
    })
    .await;
    rig.put_directly("k", pattern(10, 1)).await;
    for _ in 0..20 {
        assert!(matches!(rig.head("missing").await, Err(ObjectError::NotFound)));
    }
    assert_eq!(
        rig.store.circuit(),
        Circuit::Closed,
        "what is missing is no outage"
    );
    rig.proxy.set(Toxic::Reset);
    while rig.store.circuit() == Circuit::Closed {
        assert!(is_unavailable(&rig.head("k").await));
    }
    let deadline = Instant::now() + ENOUGH;
    // Its time may be over before it is asked: then the probe fails, and it opens again.
    loop {
        let refused = rig.head("k").await;
        if matches!(&refused, Err(ObjectError::Unavailable(reason)) if reason.contains("not asked before 20"))
        {
            break;
        }
        assert!(Instant::now() < deadline, "it refuses: {refused:?}");
    }
    let deadline = Instant::now() + ENOUGH;
    rig.proxy.set(Toxic::None);
    while rig.head("k").await.is_err() {
        assert!(Instant::now() < deadline, "it closes again");
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.store.circuit(), Circuit::Closed);
}

/// Draws no lot before the first attempt has failed; then the network is well again.
struct Healing(Arc<Proxy>);

impl Random for Healing {
    fn uuid_v7(&self, _: Timestamp) -> Uuid {
        Uuid::nil()
    }

    fn unit(&self) -> f64 {
        self.0.set(Toxic::None);
        0.5
    }
}

/// A body that was not begun can be sent again, even if it can be read only once.
#[tokio::test]
async fn a_stream_is_sent_again_if_nothing_was_taken_from_it() {
    let rig = rig().await;
    rig.put("first", pattern(10, 1)).await.unwrap();
    let mut options = S3Options {
        random: Arc::new(Healing(Arc::clone(&rig.proxy))),
        ..rig.options.clone()
    };
    options.retry.initial_delay = jiff::SignedDuration::from_millis(300);
    options.retry.delay_max = options.retry.initial_delay;
    let store = S3Store::new(options).unwrap();
    rig.proxy.set(Toxic::Refuse);
    let body = PutBody::from_bytes(pattern(2_000_000, 1));
    let put = store
        .put(&rig.stand.path("k"), PutOptions::default(), body)
        .await
        .unwrap();
    assert_eq!(put.size_bytes, 2_000_000);
}
