//! Who of several processes does what only one should do: whoever holds a lease, for as long as it can be sure of it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::leases::{Lease, LeaseError, Leases};
use jiff::SignedDuration;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

/// A lease is renewed, and asked for by those who do not have it, so often within its duration.
const TRIES_PER_LEASE: u32 = 3;
/// The part of a lease after which its holder no longer believes in it, in percent: clocks differ a little.
const BELIEVED_PERCENT: u32 = 80;
/// Giving back may take so long; who waits then waits for the lease's end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Work that only one of several processes does.
pub(crate) struct Election {
    /// The lease's name, and that of the role in logs and metrics.
    pub(crate) name: &'static str,
    /// Who gives it out.
    pub(crate) leases: Arc<dyn Leases>,
    /// The time that is common to all candidates.
    pub(crate) clock: Arc<dyn Clock>,
    /// This process.
    pub(crate) candidate: WorkerId,
    /// How long a lease lasts without being renewed.
    pub(crate) duration: Duration,
}

/// How a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// We were told to stop.
    Stopped,
    /// Somebody else holds the lease.
    Lost,
    /// It could not be renewed in time, so that somebody else may hold it.
    Late,
}

/// Until when this process is the leader.
struct Term(Mutex<Instant>);

impl Term {
    fn end(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn extend(&self, end: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }
}

impl Election {
    /// Does the work that `work` makes anew for each term whenever this process is the leader, until told to stop. The
    /// work is dropped when the term is over or may be.
    pub(crate) async fn run<W: Future<Output = Infallible>>(
        &self,
        shutdown: CancellationToken,
        work: impl Fn() -> W,
    ) {
        metrics::describe_gauge!("cloakroom_leader", "1 in the process that leads in a role.");
        self.show(false);
        let mut reachable = true;
        while !shutdown.is_cancelled() {
            let asked_at = Instant::now();
            let asked = tokio::select! {
                () = shutdown.cancelled() => return,
                // An answer that comes after the lease is none.
                asked = timeout_at(asked_at + self.duration, self.acquire()) => asked,
            };
            match asked {
                Ok(Ok(Some(lease))) => {
                    reachable = true;
                    self.lead(&lease, asked_at, &shutdown, work()).await;
                    continue;
                }
                Ok(Ok(None)) => reachable = true,
                Ok(Err(error)) => self.complain(&mut reachable, &error.to_string()),
                Err(_) => self.complain(&mut reachable, "no answer in time"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep_until(asked_at + self.interval()) => {}
            }
        }
    }

    async fn lead(
        &self,
        lease: &Lease,
        since: Instant,
        shutdown: &CancellationToken,
        work: impl Future<Output = Infallible>,
    ) {
        let term = Term(Mutex::new(since + self.believed()));
        self.show(true);
        tracing::info!(
            event = "leader_elected",
            role = self.name,
            epoch = lease.epoch,
            "this process leads now"
        );
        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ended::Stopped,
            ended = self.hold(lease, since, &term) => ended,
            ended = within(&term, work) => ended,
        };
        self.show(false);
        if ended == Ended::Stopped {
            let released = tokio::time::timeout(RELEASE_TIMEOUT, self.leases.release(lease)).await;
            let kept = match released {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            match kept {
                None => tracing::info!(
                    event = "leader_resigned",
                    role = self.name,
                    "another process may lead now"
                ),
                Some(error) => {
                    tracing::warn!(
                        event = "leader_resigned",
                        role = self.name,
                        error,
                        "another process leads when the lease ends"
                    );
                }
            }
            return;
        }
        tracing::warn!(
            event = "leader_lost",
            role = self.name,
            epoch = lease.epoch,
            reason = if ended == Ended::Lost {
                "another process leads"
            } else {
                "the lease could not be renewed in time"
            },
            "this process leads no longer"
        );
    }

    /// Renews the lease until that fails or comes too late.
    async fn hold(&self, lease: &Lease, since: Instant, term: &Term) -> Ended {
        let mut next = since + self.interval();
        let mut reachable = true;
        loop {
            let end = term.end();
            sleep_until(next.min(end)).await;
            let asked_at = Instant::now();
            if asked_at >= end {
                return Ended::Late;
            }
            let duration = SignedDuration::try_from(self.duration).unwrap_or(SignedDuration::MAX);
            match timeout_at(end, self.leases.renew(lease, self.clock.now(), duration)).await {
                Ok(Ok(true)) => {
                    reachable = true;
                    term.extend(asked_at + self.believed());
                    next = asked_at + self.interval();
                }
                Ok(Ok(false)) => return Ended::Lost,
                Ok(Err(error)) => {
                    self.complain(&mut reachable, &error.to_string());
                    // Sooner than usual: the term has an end.
                    next = Instant::now() + self.interval() / TRIES_PER_LEASE;
                }
                Err(_) => return Ended::Late,
            }
        }
    }

    async fn acquire(&self) -> Result<Option<Lease>, LeaseError> {
        let duration = SignedDuration::try_from(self.duration).unwrap_or(SignedDuration::MAX);
        self.leases
            .acquire(self.name, &self.candidate, self.clock.now(), duration)
            .await
    }

    fn interval(&self) -> Duration {
        self.duration / TRIES_PER_LEASE
    }

    fn believed(&self) -> Duration {
        self.duration * BELIEVED_PERCENT / 100
    }

    fn show(&self, leads: bool) {
        metrics::gauge!("cloakroom_leader", "role" => self.name).set(if leads { 1.0 } else { 0.0 });
    }

    /// Says once that nobody answers, until somebody does.
    fn complain(&self, reachable: &mut bool, error: &str) {
        if std::mem::replace(reachable, false) {
            tracing::warn!(
                event = "lease_unavailable",
                role = self.name,
                error,
                "leases are out of reach; what only the leader does waits until they are back"
            );
        }
    }
}

/// Work within a term. Asked before each step, so that a process that stood still past its term does none more.
async fn within(term: &Term, work: impl Future<Output = Infallible>) -> Ended {
    let mut work = pin!(work);
    poll_fn(|context| {
        if Instant::now() >= term.end() {
            return Poll::Ready(Ended::Late);
        }
        work.as_mut().poll(context).map(|never| match never {})
    })
    .await
}
