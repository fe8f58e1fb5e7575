//! Rate limits: how often somebody may do something, counted by one node or by several together.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many times, all of which may come at once...
    pub count: u32,
    /// ...within this time.
    pub period: SignedDuration,
}

/// Whether it may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may, and was counted.
    Admitted,
    /// Not before this time has passed; it was not counted.
    Refused {
        /// How long to wait.
        retry_after: SignedDuration,
    },
}

/// Counts. Never fails: an adapter that cannot reach what it counts with counts by itself and says so.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Counts `cost` at once under a key, if the rate allows it.
    async fn admit(&self, key: &str, cost: u32, rate: Rate, now: Timestamp) -> Admission;

    /// Why it counts by itself, when it should count together with others.
    fn degraded(&self) -> Option<String> {
        None
    }
}
