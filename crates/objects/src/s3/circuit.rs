//! The circuit breaker of a store (design §7): after repeated failures calls are refused at once for a while instead of
//! making everybody wait for a store that does not answer; then one is let through to see.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cloakroom_core::ports::objects::Circuit;

use super::upload::Progress;

/// When a circuit opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct CircuitPolicy {
    /// So many failures within the window open it, if no fewer calls failed than did not.
    pub failures_max: u32,
    /// Failures are forgotten after so long, unless one follows the other and nothing is answered in between.
    pub window: Duration,
    /// A caller who goes away has waited in vain, and not just left, if the store has been silent for so long.
    pub silence: Duration,
    /// It stays open for so long after the first time, and twice as long each time that the probe fails.
    pub open_for: Duration,
    /// But not longer than this.
    pub open_for_max: Duration,
}

impl Default for CircuitPolicy {
    fn default() -> Self {
        Self {
            failures_max: 8,
            window: Duration::from_secs(30),
            // Below what a check of health waits for an answer.
            silence: Duration::from_secs(3),
            open_for: Duration::from_secs(2),
            open_for_max: Duration::from_secs(30),
        }
    }
}

/// Calls are refused for so much longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) Duration);

#[derive(Debug)]
enum State {
    Closed(Window),
    Open {
        until: Instant,
        open_for: Duration,
    },
    /// One call is under way; the others wait for its outcome.
    HalfOpen {
        open_for: Duration,
    },
}

/// What became of calls since a window began; the first outcome after its end begins another one. It weighs failures
/// against answers of the same time; where nothing is answered, there is nothing to weigh, and a call that waits long for
/// its failure must not be what makes the ones before forgotten.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    failed_at: Option<Instant>,
    failures: u32,
    successes: u32,
}

impl Window {
    fn beginning(now: Instant) -> Self {
        Self {
            began: now,
            failed_at: None,
            failures: 0,
            successes: 0,
        }
    }

    fn at(self, now: Instant, policy: &CircuitPolicy) -> Self {
        if now.saturating_duration_since(self.began) >= policy.window {
            Self::beginning(now)
        } else {
            self
        }
    }

    /// The window that a call belongs to that was begun at `called` and has failed.
    fn at_failure(self, called: Instant, now: Instant, policy: &CircuitPolicy) -> Self {
        let follows = |failed: Instant| called.saturating_duration_since(failed) < policy.window;
        if self.successes == 0 && self.failed_at.is_some_and(follows) {
            self
        } else {
            self.at(now, policy)
        }
    }
}

/// Counts outcomes and refuses calls.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    policy: CircuitPolicy,
    state: Mutex<State>,
}

/// A call that was let through. One that is dropped without an outcome (the caller went away) says something only if the
/// store had been silent.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a CircuitBreaker,
    called: Instant,
    progress: Option<Progress>,
    is_probe: bool,
    settled: bool,
}

impl CircuitBreaker {
    pub(super) fn new(policy: CircuitPolicy) -> Self {
        report(Circuit::Closed);
        Self {
            policy,
            state: Mutex::new(State::Closed(Window::beginning(Instant::now()))),
        }
    }

    /// Lets a call through, or says for how long none is.
    pub(super) fn enter(&self, now: Instant) -> Result<Pass<'_>, Refused> {
        let mut state = self.lock();
        let is_probe = match *state {
            State::Closed(_) => false,
            State::Open { until, .. } if now < until => return Err(Refused(until - now)),
            State::Open { open_for, .. } => {
                *state = State::HalfOpen { open_for };
                report(Circuit::HalfOpen);
                true
            }
            State::HalfOpen { open_for } => return Err(Refused(open_for)),
        };
        Ok(Pass {
            breaker: self,
            called: now,
            progress: None,
            is_probe,
            settled: false,
        })
    }

    /// What it does with calls now.
    pub(super) fn circuit(&self, now: Instant) -> Circuit {
        match *self.lock() {
            State::Closed(_) => Circuit::Closed,
            State::Open { until, .. } if now < until => Circuit::Open,
            State::Open { .. } | State::HalfOpen { .. } => Circuit::HalfOpen,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: nothing is half done when a holder panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// From now on the store has something to answer to.
    pub(super) fn watching(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The store answered, whatever it said.
    pub(super) fn succeeded(mut self, now: Instant) {
        self.settled = true;
        let mut state = self.breaker.lock();
        if let State::Closed(window) = &mut *state {
            *window = window.at(now, &self.breaker.policy);
            window.successes = window.successes.saturating_add(1);
            return;
        }
        *state = State::Closed(Window::beginning(now));
        report(Circuit::Closed);
        tracing::info!(event = "circuit_closed", "the object store answers again");
    }

    /// It did not answer, or said that it cannot.
    pub(super) fn failed(mut self, now: Instant, why: &str) {
        self.fail(now, why);
    }

    fn fail(&mut self, now: Instant, why: &str) {
        self.settled = true;
        let policy = self.breaker.policy;
        let mut state = self.breaker.lock();
        let open_for = match &mut *state {
            State::Closed(window) => {
                *window = window.at_failure(self.called, now, &policy);
                window.failed_at = Some(now);
                window.failures = window.failures.saturating_add(1);
                if window.failures < policy.failures_max || window.failures < window.successes {
                    return;
                }
                policy.open_for
            }
            State::HalfOpen { open_for } => (*open_for * 2).min(policy.open_for_max),
            // Calls from before it opened end one after the other.
            State::Open { .. } => return,
        };
        *state = State::Open {
            until: now + open_for,
            open_for,
        };
        report(Circuit::Open);
        tracing::warn!(
            event = "circuit_open",
            open_for_ms = open_for.as_millis() as u64,
            error = why,
            "the object store does not answer; calls are refused for a while"
        );
    }

    /// The caller went away, after so long without a sign of the store.
    fn left(&mut self, now: Instant, silence: Duration) {
        if silence >= self.breaker.policy.silence {
            self.fail(now, "no answer before the caller gave up");
        } else if self.is_probe {
            let mut state = self.breaker.lock();
            if let State::HalfOpen { open_for } = *state {
                // The next call is the probe.
                *state = State::Open { until: now, open_for };
            }
        }
        self.settled = true;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let silence = self.progress.as_ref().map(Progress::idle);
            self.left(Instant::now(), silence.unwrap_or_default());
        }
    }
}

fn report(circuit: Circuit) {
    let value = match circuit {
        Circuit::Closed => 0.0,
        Circuit::HalfOpen => 1.0,
        Circuit::Open => 2.0,
    };
    metrics::gauge!(crate::CIRCUIT_STATE).set(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: CircuitPolicy = CircuitPolicy {
        failures_max: 3,
        window: Duration::from_secs(10),
        silence: Duration::from_secs(3),
        open_for: Duration::from_secs(2),
        open_for_max: Duration::from_secs(5),
    };

    fn fail(breaker: &CircuitBreaker, now: Instant) {
        breaker.enter(now).expect("let through").failed(now, "down");
    }

    fn succeed(breaker: &CircuitBreaker, now: Instant) {
        breaker.enter(now).expect("let through").succeeded(now);
    }

    #[test]
    fn it_opens_after_failures_and_closes_after_a_probe() {
        let (breaker, start) = (CircuitBreaker::new(POLICY), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        fail(&breaker, at(0));
        fail(&breaker, at(0));
        assert_eq!(breaker.circuit(at(0)), Circuit::Closed);
        fail(&breaker, at(0));
        assert_eq!(breaker.circuit(at(0)), Circuit::Open);
        assert_eq!(breaker.enter(at(1)).err(), Some(Refused(Duration::from_secs(1))));
        assert_eq!(breaker.circuit(at(2)), Circuit::HalfOpen);
        let probe = breaker.enter(at(2)).expect("one probe");
        assert!(breaker.enter(at(2)).is_err(), "and only one");
        probe.failed(at(2), "down");
        assert!(breaker.enter(at(5)).is_err(), "twice as long");
        fail(&breaker, at(6));
        assert!(breaker.enter(at(10)).is_err(), "five seconds at most");
        succeed(&breaker, at(11));
        assert_eq!(breaker.circuit(at(11)), Circuit::Closed);
        fail(&breaker, at(11));
        fail(&breaker, at(11));
        assert_eq!(breaker.circuit(at(11)), Circuit::Closed, "the count begins anew");
    }

    #[test]
    fn failures_are_forgotten_after_the_window() {
        let (breaker, start) = (CircuitBreaker::new(POLICY), Instant::now());
        fail(&breaker, start);
        fail(&breaker, start);
        let later = start + POLICY.window;
        fail(&breaker, later);
        fail(&breaker, later);
        assert_eq!(breaker.circuit(later), Circuit::Closed);
        fail(&breaker, later);
        assert_eq!(breaker.circuit(later), Circuit::Open);
    }

    #[test]
    fn a_few_failures_among_many_answers_do_not_open_it() {
        let (breaker, now) = (CircuitBreaker::new(POLICY), Instant::now());
        (0..10).for_each(|_| succeed(&breaker, now));
        (0..9).for_each(|_| fail(&breaker, now));
        assert_eq!(breaker.circuit(now), Circuit::Closed);
        fail(&breaker, now);
        assert_eq!(breaker.circuit(now), Circuit::Open);
    }

    #[test]
    fn a_probe_that_went_away_does_not_keep_it_open() {
        let (breaker, now) = (CircuitBreaker::new(POLICY), Instant::now());
        let early = breaker.enter(now).expect("closed");
        (0..3).for_each(|_| fail(&breaker, now));
        let later = now + Duration::from_secs(2);
        let probe = breaker.enter(later).expect("a probe");
        drop(early);
        assert!(breaker.enter(later).is_err(), "a call from before says nothing");
        drop(probe);
        assert!(breaker.enter(later).is_ok());
    }

    #[test]
    fn a_silent_store_opens_it_however_long_each_failure_takes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let fail_slowly = |breaker: &CircuitBreaker, from: u64| {
            let pass = breaker.enter(at(from)).expect("let through");
            pass.failed(at(from + 30), "no answer");
        };
        let breaker = CircuitBreaker::new(POLICY);
        fail_slowly(&breaker, 0);
        fail_slowly(&breaker, 30);
        assert_eq!(breaker.circuit(at(60)), Circuit::Closed);
        fail_slowly(&breaker, 69);
        assert_eq!(breaker.circuit(at(99)), Circuit::Open);

        let breaker = CircuitBreaker::new(POLICY);
        fail_slowly(&breaker, 0);
        fail_slowly(&breaker, 30);
        succeed(&breaker, at(60));
        fail_slowly(&breaker, 60);
        fail_slowly(&breaker, 90);
        assert_eq!(breaker.circuit(at(120)), Circuit::Closed, "it was not silent");
        fail_slowly(&breaker, 130);
        assert_eq!(
            breaker.circuit(at(160)),
            Circuit::Closed,
            "nobody asked for a while"
        );
    }

    #[test]
    fn a_caller_who_waited_in_vain_counts() {
        let (breaker, now) = (CircuitBreaker::new(POLICY), Instant::now());
        let leave = |now: Instant, silence: u64| {
            let mut pass = breaker.enter(now).expect("let through");
            pass.left(now, Duration::from_secs(silence));
        };
        (0..9).for_each(|_| leave(now, 2));
        assert_eq!(breaker.circuit(now), Circuit::Closed, "they were in a hurry");
        (0..3).for_each(|_| leave(now, 3));
        assert_eq!(breaker.circuit(now), Circuit::Open);
        let later = now + POLICY.open_for;
        leave(later, 2);
        assert_eq!(
            breaker.circuit(later),
            Circuit::HalfOpen,
            "the next one is the probe"
        );
        leave(later, 3);
        assert!(breaker.enter(later + POLICY.open_for).is_err(), "twice as long");
    }
}
