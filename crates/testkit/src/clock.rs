//! A clock whose hands the test turns, and one for servers that have their own.

use std::sync::atomic::{AtomicI64, Ordering};

use cloakroom_core::ports::clock::Clock;
use jiff::{SignedDuration, Timestamp};

/// 2026-01-02T03:04:05.000006Z in microseconds: a time with a fraction, so that lost digits show.
const START_MICROS: i64 = 1_767_323_045_000_006;

/// A clock that stands still until it is set or advanced.
#[derive(Debug)]
pub struct MockClock(AtomicI64);

impl MockClock {
    /// Stands at 2026-01-02T03:04:05.000006Z.
    pub const fn new() -> Self {
        Self(AtomicI64::new(START_MICROS))
    }

    /// Sets the time.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.as_microsecond(), Ordering::SeqCst);
    }

    /// Moves the time on, or back by a negative duration; returns the new time.
    pub fn advance(&self, by: SignedDuration) -> Timestamp {
        let micros =
            i64::try_from(by.as_micros()).expect("a test moves the clock by less than 292,000 years");
        self.0.fetch_add(micros, Ordering::SeqCst);
        self.now()
    }
}

impl Default for MockClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MockClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.0.load(Ordering::SeqCst))
            .expect("a test stays within the years -9999 to 9999")
    }
}

/// The time by the system's clock, for what speaks to servers that compare it with theirs.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    #[expect(clippy::disallowed_methods, reason = "a real server has a real clock")]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_only_when_told() {
        let clock = MockClock::new();
        assert_eq!(clock.now().to_string(), "2026-01-02T03:04:05.000006Z");
        assert_eq!(clock.now(), clock.now());
        assert_eq!(
            clock.advance(SignedDuration::from_secs(1)).to_string(),
            "2026-01-02T03:04:06.000006Z"
        );
        clock.set(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
    }
}
