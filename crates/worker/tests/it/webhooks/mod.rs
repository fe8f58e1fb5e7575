//! Webhooks at a real receiver: one that fails, is slow, leads elsewhere; workers that die, stand still and are stopped.

pub mod receiver;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::id::WorkerId;
use cloakroom_service::App;
use cloakroom_worker::deliveries::{self, ATTEMPTS_MAX, SigningKeys, Target, WebhookOptions};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::SignedDuration;
use serde_json::Value;
use sha2::Sha256;
use tokio_util::sync::CancellationToken;

use self::receiver::{Answer, Receiver, Seen};
use crate::app::Stores;

const KEY: &[u8] = b"a key of twenty-four byte";
/// Longer than any claim.
const LEASE: SignedDuration = SignedDuration::from_mins(2);
/// A timeout that is waited for. A message and the head of its answer come within it, on a busy machine too.
const SOON: Duration = Duration::from_secs(5);

fn options(worker: &str, url: &str) -> WebhookOptions {
    let secret = format!("whsec_{}", STANDARD.encode(KEY));
    WebhookOptions {
        timeout: Duration::from_mins(1),
        poll: Duration::from_millis(10),
        ..WebhookOptions::new(
            WorkerId(worker.to_owned()),
            Target::new(url, true).expect("a target"),
            SigningKeys::parse(&secret).expect("a secret"),
        )
    }
}

async fn deliver(app: &Arc<App>, options: &WebhookOptions) -> usize {
    deliveries::run_due(app, options).await.expect("a client")
}

fn status(code: u16) -> Answer {
    Answer::Status(code, String::new())
}

/// A worker that goes on until it is told to stop, or killed.
fn start(app: &Arc<App>, options: WebhookOptions) -> (tokio::task::JoinHandle<()>, CancellationToken) {
    let stop = CancellationToken::new();
    let running = tokio::spawn(deliveries::run(Arc::clone(app), options, stop.clone()));
    (running, stop)
}

/// What a receiver does to be sure of a message (Standard Webhooks, "Verifying signatures").
fn assert_signed(seen: &Seen) {
    let mut hmac = Hmac::<Sha256>::new_from_slice(KEY).expect("a key");
    hmac.update(format!("{}.{}.", seen.id(), seen.header("webhook-timestamp")).as_bytes());
    hmac.update(&seen.body);
    let expected = STANDARD.encode(hmac.finalize().into_bytes());
    assert_eq!(seen.header("webhook-signature"), format!("v1,{expected}"));
}

#[tokio::test]
async fn an_event_is_delivered_signed_and_once() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    let signed = process.sign(b"abc").await;
    let options = options("w", &receiver.url());
    assert_eq!(deliver(&process.app, &options).await, 1);
    let seen = receiver.seen();
    let [message] = seen.as_slice() else {
        panic!("{seen:?}")
    };
    assert!(message.head.starts_with("POST /hooks?token=hush HTTP/1.1"));
    assert_eq!(message.header("content-type"), "application/json");
    assert_signed(message);
    let timeline = stores.metadata.timeline(signed.file.id, None, 10).await;
    let event = timeline.expect("a timeline").items.remove(0);
    assert_eq!(message.id(), event.id.to_string());
    let body: Value = serde_json::from_slice(&message.body).expect("JSON");
    assert_eq!(
        (&body["type"], &body["data"]["file_id"]),
        (&"file.signed".into(), &signed.file.id.to_string().into())
    );
    assert!(
        !String::from_utf8_lossy(&message.body).contains("store.test"),
        "no URL in it"
    );
    stores.clock.advance(LEASE * 10);
    assert_eq!(deliver(&process.app, &options).await, 0, "it left the outbox");
}

#[tokio::test]
async fn what_fails_is_tried_again_with_the_same_id_until_it_is_taken() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let elsewhere = Receiver::start().await;
    let process = stores.start();
    process.sign(b"abc").await;
    let options = options("w", &receiver.url());
    receiver.answer([
        status(500),
        Answer::Status(302, format!("location: {}\r\n", elsewhere.url())),
        Answer::BreakOff,
        Answer::Status(429, "retry-after: 7200\r\n".to_owned()),
        Answer::Drip,
    ]);
    assert_eq!(deliver(&process.app, &options).await, 1);
    assert_eq!(deliver(&process.app, &options).await, 0, "not at once");
    for wait in [7, 38, 150] {
        stores.clock.advance(SignedDuration::from_secs(wait));
        assert_eq!(deliver(&process.app, &options).await, 1, "after {wait} s");
    }
    stores.clock.advance(SignedDuration::from_secs(7_199));
    assert_eq!(deliver(&process.app, &options).await, 0, "asked for two hours");
    stores.clock.advance(SignedDuration::from_secs(1));
    let quick = WebhookOptions {
        timeout: SOON,
        ..options
    };
    assert_eq!(deliver(&process.app, &quick).await, 1);
    let seen = receiver.seen();
    assert_eq!(seen.len(), 5);
    assert!(
        seen.iter()
            .all(|one| one.id() == seen[0].id() && one.body == seen[0].body)
    );
    seen.iter().for_each(assert_signed);
    let times: HashSet<_> = seen.iter().map(|one| one.header("webhook-timestamp")).collect();
    assert_eq!(times.len(), 5, "each says when it was sent");
    assert_eq!(elsewhere.connections(), 0, "redirects are not followed");
    stores.clock.advance(SignedDuration::from_hours(100));
    assert_eq!(
        deliver(&process.app, &quick).await,
        0,
        "the status said so, whatever came after it"
    );
}

#[tokio::test]
async fn what_is_never_taken_is_given_up() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    process.sign(b"abc").await;
    receiver.answer((0..ATTEMPTS_MAX).map(|_| status(503)));
    let options = options("w", &receiver.url());
    for attempt in 1..=ATTEMPTS_MAX {
        assert_eq!(deliver(&process.app, &options).await, 1, "attempt {attempt}");
        stores.clock.advance(SignedDuration::from_hours(30));
    }
    assert_eq!(deliver(&process.app, &options).await, 0);
    process.sign(b"abc").await;
    receiver.answer([status(410)]);
    assert_eq!(deliver(&process.app, &options).await, 1);
    stores.clock.advance(SignedDuration::from_hours(30));
    assert_eq!(
        deliver(&process.app, &options).await,
        0,
        "who is gone is left alone"
    );
}

#[tokio::test]
async fn a_receiver_that_is_away_or_silent_costs_time_and_no_event() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    process.sign(b"abc").await;
    let refused = options("w", "http://127.0.0.1:1/");
    assert_eq!(deliver(&process.app, &refused).await, 1);
    stores.clock.advance(SignedDuration::from_secs(7));
    receiver.answer([Answer::Held(200)]);
    let quick = WebhookOptions {
        timeout: SOON,
        ..options("w", &receiver.url())
    };
    let begun = Instant::now();
    assert_eq!(deliver(&process.app, &quick).await, 1);
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    stores.clock.advance(SignedDuration::from_secs(38));
    assert_eq!(deliver(&process.app, &options("w", &receiver.url())).await, 1);
    let seen = receiver.seen();
    assert_eq!((seen.len(), seen[0].id()), (2, seen[1].id()));
}

#[tokio::test]
async fn one_that_is_slow_does_not_hold_up_the_others() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    receiver.answer([Answer::Held(200)]);
    for _ in 0..20 {
        process.sign(b"abc").await;
    }
    let options = WebhookOptions {
        concurrency: 2,
        ..options("w", &receiver.url())
    };
    let (running, stop) = start(&process.app, options);
    let seen = receiver.until_seen(20).await;
    let ids: HashSet<_> = seen.iter().map(Seen::id).collect();
    assert_eq!(ids.len(), 20);
    receiver.release();
    stop.cancel();
    running.await.expect("it drained");
}

#[tokio::test]
async fn several_workers_share_the_work() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    for _ in 0..60 {
        process.sign(b"abc").await;
    }
    let workers: Vec<_> = ["a", "b", "c"]
        .map(|name| start(&process.app, options(name, &receiver.url())))
        .into();
    receiver.until_seen(60).await;
    for (running, stop) in workers {
        stop.cancel();
        running.await.expect("it drained");
    }
    let seen = receiver.seen();
    let ids: HashSet<_> = seen.iter().map(Seen::id).collect();
    assert_eq!((ids.len(), seen.len()), (60, 60), "each once");
}

#[tokio::test]
async fn what_a_dead_worker_held_is_delivered_by_another() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    process.sign(b"abc").await;
    receiver.answer([Answer::Held(200)]);
    let (dying, _stop) = start(&process.app, options("dying", &receiver.url()));
    receiver.until_seen(1).await;
    dying.abort();
    assert!(dying.await.expect_err("killed").is_cancelled());
    let other = options("other", &receiver.url());
    assert_eq!(deliver(&process.app, &other).await, 0, "it is still claimed");
    stores.clock.advance(LEASE);
    assert_eq!(deliver(&process.app, &other).await, 1);
    let seen = receiver.seen();
    assert_eq!((seen.len(), seen[0].id()), (2, seen[1].id()), "at least once");
    assert_eq!(seen[0].body, seen[1].body);
    stores.clock.advance(LEASE * 10);
    assert_eq!(deliver(&process.app, &other).await, 0);
}

#[tokio::test]
async fn a_worker_that_stood_still_cannot_bring_back_what_another_delivered() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    process.sign(b"abc").await;
    // The first one gets its answer only after the second one is done: a failure, which it would have tried again.
    receiver.answer([Answer::Held(500)]);
    let busy = WebhookOptions {
        concurrency: 1,
        ..options("paused", &receiver.url())
    };
    let (paused, stop) = start(&process.app, busy);
    receiver.until_seen(1).await;
    stores.clock.advance(LEASE);
    let other = options("other", &receiver.url());
    assert_eq!(deliver(&process.app, &other).await, 1);
    stop.cancel();
    receiver.release();
    paused.await.expect("it drained");
    let seen = receiver.seen();
    assert_eq!((seen.len(), seen[0].id()), (2, seen[1].id()));
    stores.clock.advance(SignedDuration::from_hours(30));
    assert_eq!(deliver(&process.app, &other).await, 0, "delivered is delivered");
}

#[tokio::test]
async fn who_is_stopped_lets_deliveries_end_or_gives_them_back() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    process.sign(b"abc").await;
    receiver.answer([Answer::Held(200)]);
    let (running, stop) = start(&process.app, options("w", &receiver.url()));
    receiver.until_seen(1).await;
    stop.cancel();
    receiver.release();
    running.await.expect("it drained");
    stores.clock.advance(LEASE);
    let other = options("other", &receiver.url());
    assert_eq!(deliver(&process.app, &other).await, 0, "it ended well");

    process.sign(b"abc").await;
    receiver.answer([Answer::Held(200)]);
    let hasty = WebhookOptions {
        grace: Duration::ZERO,
        ..options("w", &receiver.url())
    };
    let (running, stop) = start(&process.app, hasty);
    receiver.until_seen(2).await;
    stop.cancel();
    running.await.expect("it gave back");
    assert_eq!(
        deliver(&process.app, &other).await,
        1,
        "without waiting for a lease"
    );
}

#[tokio::test]
async fn nobodys_own_network_is_asked() {
    let (stores, receiver) = (Stores::new().await, Receiver::start().await);
    let process = stores.start();
    process.sign(b"abc").await;
    let url = format!("https://localhost:{}/", receiver.address.port());
    let guarded = WebhookOptions {
        target: Target::new(&url, false).expect("a name tells nothing yet"),
        ..options("w", &url)
    };
    assert_eq!(deliver(&process.app, &guarded).await, 1);
    assert_eq!(receiver.connections(), 0);
    stores.clock.advance(SignedDuration::from_secs(7));
    let allowed = options("w", &receiver.url());
    assert_eq!(deliver(&process.app, &allowed).await, 1, "it waits on");
    assert_eq!(receiver.seen().len(), 1);
}
