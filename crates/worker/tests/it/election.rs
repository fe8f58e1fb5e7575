//! Of all processes one sweeps, and stops when it cannot be sure that it is the one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::leases::{Lease, LeaseError, Leases};
use cloakroom_worker::WorkerOptions;
use cloakroom_worker::janitor::{self, LEASE, Sweep};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::Stores;

/// Short, so that a candidate asks every 100 ms, by a clock that moves only when everybody waits for it:
/// a busy machine makes no renewal late. The lease itself ends by the test's clock.
const LEASE_DURATION: Duration = Duration::from_millis(300);
/// Nothing here takes longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// What happens to somebody who asks for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Fine,
    /// No lease service.
    Away,
    /// No answer.
    Silent,
}

/// Stores, and from now on a clock of the runtime that stands while anything runs.
async fn stores() -> Stores {
    let stores = Stores::new().await;
    tokio::time::pause();
    stores
}

/// Keeps the paused clock where it is until this is dropped: a thread of a database is at work, of which the
/// runtime does not know. A blocking task it does know of.
fn hold_time() -> mpsc::Sender<()> {
    let (held, over) = mpsc::channel();
    tokio::task::spawn_blocking(move || {
        let _ = over.recv();
    });
    held
}

/// Leases with a weather, over the real ones.
struct Weathered {
    inner: Arc<dyn Leases>,
    weather: watch::Receiver<Weather>,
    asked: AtomicUsize,
}

impl Weathered {
    async fn pass(&self) -> Result<(), LeaseError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let weather = *self.weather.borrow();
        match weather {
            Weather::Fine => Ok(()),
            Weather::Away => Err(LeaseError("away".to_owned())),
            Weather::Silent => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Leases for Weathered {
    async fn acquire(
        &self,
        name: &str,
        holder: &WorkerId,
        now: Timestamp,
        duration: SignedDuration,
    ) -> Result<Option<Lease>, LeaseError> {
        self.pass().await?;
        let _held = hold_time();
        self.inner.acquire(name, holder, now, duration).await
    }

    async fn renew(
        &self,
        lease: &Lease,
        now: Timestamp,
        duration: SignedDuration,
    ) -> Result<bool, LeaseError> {
        self.pass().await?;
        let _held = hold_time();
        self.inner.renew(lease, now, duration).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), LeaseError> {
        self.pass().await?;
        let _held = hold_time();
        self.inner.release(lease).await
    }
}

/// A process that sweeps when it leads.
struct Candidate {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    leases: Arc<Weathered>,
    weather: watch::Sender<Weather>,
}

impl Candidate {
    fn start(stores: &Stores, name: &str, sweeps: &'static [Sweep]) -> Self {
        let (weather, receiver) = watch::channel(Weather::Fine);
        let leases = Arc::new(Weathered {
            inner: Arc::clone(&stores.leases),
            weather: receiver,
            asked: AtomicUsize::new(0),
        });
        let options = WorkerOptions {
            sweep_every: Duration::from_millis(10),
            leader_lease: LEASE_DURATION,
            ..WorkerOptions::new(WorkerId(name.to_owned()))
        };
        let shutdown = CancellationToken::new();
        let (app, asked, stop) = (stores.start().app, Arc::clone(&leases), shutdown.clone());
        let task = tokio::spawn(async move { janitor::run(app, asked, &options, sweeps, stop).await });
        Self {
            shutdown,
            task,
            leases,
            weather,
        }
    }

    fn asked(&self) -> usize {
        self.leases.asked.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("it ends");
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

/// Counts what a test's candidate does: begun sweeps, and sweeps that were broken off.
struct Seen {
    begun: AtomicUsize,
    broken_off: AtomicUsize,
}

impl Seen {
    const fn new() -> Self {
        Self {
            begun: AtomicUsize::new(0),
            broken_off: AtomicUsize::new(0),
        }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    fn broken_off(&self) -> usize {
        self.broken_off.load(Ordering::SeqCst)
    }
}

struct UnderWay(&'static Seen);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.broken_off.fetch_add(1, Ordering::SeqCst);
    }
}

/// A sweep that is over at once.
macro_rules! quick {
    ($seen:ident) => {{
        static SWEEPS: [Sweep; 1] = [Sweep {
            name: "quick",
            every_rounds: 1,
            run: |_| {
                Box::pin(async {
                    $seen.begun.fetch_add(1, Ordering::SeqCst);
                    Ok(0)
                })
            },
        }];
        &SWEEPS
    }};
}

/// A sweep that never ends by itself.
macro_rules! endless {
    ($seen:ident) => {{
        static SWEEPS: [Sweep; 1] = [Sweep {
            name: "endless",
            every_rounds: 1,
            run: |_| {
                Box::pin(async {
                    $seen.begun.fetch_add(1, Ordering::SeqCst);
                    let _under_way = UnderWay(&$seen);
                    std::future::pending().await
                })
            },
        }];
        &SWEEPS
    }};
}

#[tokio::test]
async fn one_sweeps_and_the_next_takes_over_at_once_when_it_stops() {
    static FIRST: Seen = Seen::new();
    static SECOND: Seen = Seen::new();
    let stores = stores().await;
    let first = Candidate::start(&stores, "first", quick!(FIRST));
    until("the first sweeps", || FIRST.begun() > 0).await;
    let second = Candidate::start(&stores, "second", quick!(SECOND));
    until("the second asks", || second.asked() > 2).await;
    let before = FIRST.begun();
    until("the first goes on", || FIRST.begun() > before + 3).await;
    assert_eq!(SECOND.begun(), 0, "one at a time");
    first.stop().await;
    // The clock of the lease stands still: without being given back it would never be over.
    until("the second takes over", || SECOND.begun() > 0).await;
    second.stop().await;
}

#[tokio::test]
async fn a_dead_leader_is_replaced_when_its_lease_is_over() {
    static FIRST: Seen = Seen::new();
    static SECOND: Seen = Seen::new();
    let stores = stores().await;
    let first = Candidate::start(&stores, "first", quick!(FIRST));
    until("the first sweeps", || FIRST.begun() > 0).await;
    first.task.abort();
    let second = Candidate::start(&stores, "second", quick!(SECOND));
    until("the second asks", || second.asked() > 3).await;
    assert_eq!(SECOND.begun(), 0, "the lease is not over");
    stores.clock.advance(SignedDuration::from_secs(1));
    until("the second takes over", || SECOND.begun() > 0).await;
    second.stop().await;
}

#[tokio::test]
async fn a_leader_that_cannot_renew_breaks_off_and_begins_again() {
    static AWAY: Seen = Seen::new();
    static SILENT: Seen = Seen::new();
    for (weather, seen, sweeps) in [
        (Weather::Away, &AWAY, endless!(AWAY)),
        (Weather::Silent, &SILENT, endless!(SILENT)),
    ] {
        let stores = stores().await;
        let candidate = Candidate::start(&stores, "first", sweeps);
        until("it sweeps", || seen.begun() == 1).await;
        let renewals = candidate.asked();
        until("it renews", || candidate.asked() > renewals + 2).await;
        assert_eq!(seen.broken_off(), 0, "renewed in time");
        candidate.weather.send_replace(weather);
        until("it breaks off", || seen.broken_off() == 1).await;
        let asked = candidate.asked();
        until("it asks in vain", || candidate.asked() > asked + 1).await;
        assert_eq!(seen.begun(), 1, "{weather:?}: without a lease nothing is swept");
        candidate.weather.send_replace(Weather::Fine);
        until("it sweeps again", || seen.begun() == 2).await;
        candidate.stop().await;
        assert_eq!(
            seen.broken_off(),
            2,
            "{weather:?}: stopped in the middle of a sweep"
        );
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_leader_whose_lease_was_taken_breaks_off() {
    static SEEN: Seen = Seen::new();
    let stores = stores().await;
    let candidate = Candidate::start(&stores, "first", endless!(SEEN));
    until("it sweeps", || SEEN.begun() == 1).await;
    // As if it had stood still: its lease is over, and somebody else has it.
    let thief = WorkerId("thief".to_owned());
    let long = SignedDuration::from_hours(1);
    let taken = async || {
        stores.clock.advance(SignedDuration::from_secs(1));
        let now = cloakroom_core::ports::clock::Clock::now(&*stores.clock);
        let _held = hold_time();
        stores
            .leases
            .acquire(LEASE, &thief, now, long)
            .await
            .expect("an answer")
            .is_some()
    };
    // A renewal may come between the clock and the thief.
    while !taken().await {}
    until("it breaks off", || SEEN.broken_off() == 1).await;
    let asked = candidate.asked();
    until("it asks", || candidate.asked() > asked + 2).await;
    assert_eq!(SEEN.begun(), 1);
    candidate.stop().await;
}
