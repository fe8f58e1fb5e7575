//! Rate limits that one process counts: the generic cell rate algorithm, which needs one time per key.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use cloakroom_core::ports::limits::{Admission, Rate, RateLimiter};
use jiff::{SignedDuration, Timestamp};

/// Parts that are locked on their own.
const SHARDS: usize = 16;
/// Keys that a part may hold: more are strangers in great number, and those who have waited longest are forgotten.
const KEYS_MAX: usize = 16_384;

/// Counts in memory that is bounded however many keys there are.
#[derive(Debug)]
pub struct LocalRateLimiter {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    /// By hash of the key: until when, in microseconds, everything that it was granted is used up.
    used_until: HashMap<u64, i64>,
    /// Keys at which those that are free again are dropped.
    tidy_at: usize,
}

impl Default for LocalRateLimiter {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl LocalRateLimiter {
    /// Counts, without waiting for anything.
    pub fn admit_now(&self, key: &str, cost: u32, rate: Rate, now: Timestamp) -> Admission {
        let hash = self.hasher.hash_one(key);
        let shard = &self.shards[(hash % SHARDS as u64) as usize];
        // Every change is one insertion: nothing is half done when a holder panics.
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.as_microsecond();
        shard.tidy(now);
        let used_until = shard.used_until.get(&hash).copied().unwrap_or(now);
        match decide(used_until, cost, rate, now) {
            Ok(used_until) => {
                shard.used_until.insert(hash, used_until);
                Admission::Admitted
            }
            Err(wait) => Admission::Refused {
                retry_after: SignedDuration::from_micros(wait),
            },
        }
    }

    #[cfg(test)]
    fn keys(&self) -> usize {
        let lock = |shard: &Mutex<Shard>| shard.lock().map_or(0, |shard| shard.used_until.len());
        self.shards.iter().map(lock).sum()
    }
}

impl Shard {
    fn tidy(&mut self, now: i64) {
        if self.used_until.len() < self.tidy_at.max(1_024) {
            return;
        }
        self.used_until.retain(|_, used_until| *used_until > now);
        if self.used_until.len() >= KEYS_MAX {
            let mut times: Vec<i64> = self.used_until.values().copied().collect();
            let middle = times.len() / 2;
            let (_, &mut median, _) = times.select_nth_unstable(middle);
            self.used_until.retain(|_, used_until| *used_until > median);
        }
        self.tidy_at = (self.used_until.len() * 2).min(KEYS_MAX);
    }
}

#[async_trait]
impl RateLimiter for LocalRateLimiter {
    async fn admit(&self, key: &str, cost: u32, rate: Rate, now: Timestamp) -> Admission {
        self.admit_now(key, cost, rate, now)
    }
}

/// The new time for a key, or for how many microseconds to wait. What costs more than may come at once is let through when
/// nothing was used, and paid for afterwards.
fn decide(used_until: i64, cost: u32, rate: Rate, now: i64) -> Result<i64, i64> {
    let period = rate.period.as_micros().clamp(1, i64::MAX.into()) as i64;
    let each = period / i64::from(rate.count.max(1));
    let begin = used_until.max(now);
    let at_once = each.saturating_mul(cost.min(rate.count).into());
    let wait = begin
        .saturating_add(at_once)
        .saturating_sub(now.saturating_add(period));
    if wait > 0 {
        Err(wait)
    } else {
        Ok(begin.saturating_add(each.saturating_mul(cost.into())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(count: u32, seconds: i64) -> Rate {
        Rate {
            count,
            period: SignedDuration::from_secs(seconds),
        }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).expect("a time")
    }

    #[test]
    fn so_many_come_at_once_and_then_one_by_one() {
        let limiter = LocalRateLimiter::default();
        let admit = |millis| limiter.admit_now("ann", 1, rate(10, 60), at(millis));
        for _ in 0..10 {
            assert_eq!(admit(0), Admission::Admitted);
        }
        let refused = Admission::Refused {
            retry_after: SignedDuration::from_secs(6),
        };
        assert_eq!(admit(0), refused);
        assert_eq!(admit(0), refused, "a refusal is not counted");
        assert!(matches!(admit(5_999), Admission::Refused { .. }));
        assert_eq!(admit(6_000), Admission::Admitted);
        assert!(matches!(admit(6_001), Admission::Refused { .. }));
        assert_eq!(
            limiter.admit_now("bob", 1, rate(10, 60), at(0)),
            Admission::Admitted
        );
    }

    #[test]
    fn what_costs_more_than_the_limit_waits_for_a_clean_slate_and_is_paid_for() {
        let limiter = LocalRateLimiter::default();
        let admit = |cost, seconds: i64| limiter.admit_now("ann", cost, rate(10, 60), at(seconds * 1_000));
        assert_eq!(admit(1, 0), Admission::Admitted);
        assert!(matches!(admit(100, 0), Admission::Refused { .. }));
        assert_eq!(admit(100, 6), Admission::Admitted);
        assert!(matches!(admit(1, 6 + 545), Admission::Refused { .. }));
        assert_eq!(admit(1, 6 + 546), Admission::Admitted);
    }

    #[test]
    fn strangers_in_great_number_do_not_fill_the_memory() {
        let limiter = LocalRateLimiter::default();
        for stranger in 0..600_000 {
            limiter.admit_now(&stranger.to_string(), 1, rate(10, 60), at(0));
        }
        assert!(limiter.keys() <= SHARDS * KEYS_MAX, "{}", limiter.keys());
        for stranger in 0..100_000 {
            limiter.admit_now(&stranger.to_string(), 1, rate(10, 60), at(600_000));
        }
        assert!(
            limiter.keys() <= 110_000,
            "those that are free again are forgotten: {}",
            limiter.keys()
        );
    }

    proptest! {
        /// In no stretch of time are there more than the burst and what grows back within it.
        #[test]
        fn no_window_has_more_than_it_may(
            count in 1_u32..20,
            seconds in 1_i64..100,
            gaps in prop::collection::vec(0_i64..5_000, 1..200),
        ) {
            let limiter = LocalRateLimiter::default();
            let (mut now, mut admitted) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if limiter.admit_now("k", 1, rate(count, seconds), at(now)) == Admission::Admitted {
                    admitted.push(now);
                }
            }
            for (first, start) in admitted.iter().enumerate() {
                for (last, end) in admitted.iter().enumerate().skip(first) {
                    let grown = (end - start) as f64 * f64::from(count) / (seconds as f64 * 1_000.0);
                    prop_assert!((last - first + 1) as f64 <= f64::from(count) + grown + 1e-6);
                }
            }
        }

        /// Whoever waits as long as told is let in.
        #[test]
        fn the_wait_is_long_enough(count in 1_u32..20, seconds in 1_i64..100, cost in 1_u32..40) {
            let limiter = LocalRateLimiter::default();
            let now = at(0);
            while limiter.admit_now("k", 1, rate(count, seconds), now) == Admission::Admitted {}
            let Admission::Refused { retry_after } = limiter.admit_now("k", cost, rate(count, seconds), now) else {
                return Err(TestCaseError::fail("still let in"));
            };
            prop_assert_eq!(
                limiter.admit_now("k", cost, rate(count, seconds), now + retry_after),
                Admission::Admitted
            );
        }
    }
}
