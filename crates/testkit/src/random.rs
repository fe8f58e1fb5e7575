//! Randomness that repeats: a failing test fails again.

use std::sync::atomic::{AtomicU64, Ordering};

use cloakroom_core::ports::random::Random;
use jiff::Timestamp;
use uuid::{Builder, Uuid};

/// The step of SplitMix64 (Steele, Lea, Flood 2014): the golden ratio in 64 bits.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A SplitMix64 generator; the same seed gives the same sequence, and may be drawn from by many threads.
#[derive(Debug)]
pub struct SeededRandom(AtomicU64);

impl SeededRandom {
    /// Starts a sequence.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        let mut z = self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Default for SeededRandom {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Random for SeededRandom {
    fn uuid_v7(&self, now: Timestamp) -> Uuid {
        let mut bits = [0_u8; 10];
        bits[..8].copy_from_slice(&self.next_u64().to_be_bytes());
        bits[8..].copy_from_slice(&self.next_u64().to_be_bytes()[..2]);
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &bits).into_uuid()
    }

    fn unit(&self) -> f64 {
        // 53 bits are what an f64 holds.
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_and_makes_ids_of_the_time() {
        let now = Timestamp::from_second(1_700_000_000).expect("a time of today");
        let (a, b) = (SeededRandom::new(7), SeededRandom::new(7));
        let id = a.uuid_v7(now);
        assert_eq!(id, b.uuid_v7(now));
        assert_ne!(id, a.uuid_v7(now));
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(
            id.get_timestamp().map(|time| time.to_unix().0),
            Some(1_700_000_000)
        );
        assert!((0..1000).all(|_| (0.0..1.0).contains(&a.unit())));
    }
}
