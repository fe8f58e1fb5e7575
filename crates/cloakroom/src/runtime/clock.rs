//! The system's clock.

use std::sync::atomic::{AtomicI64, Ordering};

use cloakroom_core::ports::clock::Clock;
use jiff::Timestamp;

/// A step back of at most this is an adjustment of the clock, and hidden; a longer one is somebody setting it right,
/// and followed, or we would sign with a wrong time until the old one comes round again.
const HIDDEN_STEP_MICROS: i64 = 1_000_000;

/// The time by the system's clock, in whole microseconds. Does not go back when the clock is adjusted.
#[derive(Debug, Default)]
pub struct SystemClock {
    last_micros: AtomicI64,
}

impl SystemClock {
    fn settle(&self, wall_micros: i64) -> i64 {
        let last = self.last_micros.load(Ordering::Relaxed);
        if wall_micros < last && last - wall_micros <= HIDDEN_STEP_MICROS {
            return last;
        }
        self.last_micros.store(wall_micros, Ordering::Relaxed);
        wall_micros
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let wall = wall_time();
        Timestamp::from_microsecond(self.settle(wall.as_microsecond())).unwrap_or(wall)
    }
}

/// The system's clock as it is, for what is not a decision: log lines.
#[expect(clippy::disallowed_methods, reason = "this is where the time comes in")]
pub fn wall_time() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_are_hidden_and_long_ones_followed() {
        let clock = SystemClock::default();
        let second = 1_000_000;
        let seen: Vec<i64> = [10 * second, 9 * second + 1, 11 * second, 5 * second, 6 * second]
            .iter()
            .map(|t| clock.settle(*t))
            .collect();
        assert_eq!(
            seen,
            [10 * second, 10 * second, 11 * second, 5 * second, 6 * second]
        );
    }

    #[test]
    fn times_are_whole_microseconds() {
        let now = SystemClock::default().now();
        assert_eq!(now.as_nanosecond() % 1000, 0);
        assert!(now.as_second() > 1_700_000_000);
    }
}
