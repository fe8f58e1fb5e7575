//! Time.

use jiff::Timestamp;

/// Tells the time; tests turn its hands.
pub trait Clock: Send + Sync {
    /// The current time, in whole microseconds (what every database keeps).
    fn now(&self) -> Timestamp;
}
