//! Randomness.

use jiff::Timestamp;
use uuid::Uuid;

/// Fresh ids and jitter.
pub trait Random: Send + Sync {
    /// A new UUIDv7 of this time.
    fn uuid_v7(&self, now: Timestamp) -> Uuid;

    /// A number in `0.0..1.0`, for jitter.
    fn unit(&self) -> f64;
}
