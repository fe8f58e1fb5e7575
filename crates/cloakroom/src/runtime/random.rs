//! The system's randomness.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::ports::random::Random;
use jiff::Timestamp;
use rand::RngExt as _;
use uuid::Uuid;

/// Ids and jitter from the thread's generator, which the operating system seeds.
#[derive(Clone, Copy, Debug)]
pub struct SystemRandom {
    /// Whether waits are spread (`retry.jitter`).
    pub jitter: bool,
}

impl Random for SystemRandom {
    fn uuid_v7(&self, now: Timestamp) -> Uuid {
        // Before 1970 there is nothing to name.
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &rand::rng().random()).into_uuid()
    }

    fn unit(&self) -> f64 {
        // The middle of the range leaves a wait as it is.
        if self.jitter { rand::rng().random() } else { 0.5 }
    }
}

/// A new secret: so many random bytes as URL-safe text.
pub fn secret_text<const BYTES: usize>() -> String {
    URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; BYTES]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_time_and_differ() {
        let at: Timestamp = "2026-11-20T21:05:09.123Z".parse().expect("a timestamp");
        let random = SystemRandom { jitter: true };
        let (first, second) = (random.uuid_v7(at), random.uuid_v7(at));
        assert_ne!(first, second);
        assert_eq!(first.get_version_num(), 7);
        let (seconds, nanos) = first.get_timestamp().expect("a time").to_unix();
        assert_eq!((seconds, nanos), (at.as_second().unsigned_abs(), 123_000_000));
    }

    #[test]
    fn without_jitter_waits_are_as_long_as_configured() {
        assert!((SystemRandom { jitter: false }.unit() - 0.5).abs() < f64::EPSILON);
        let spread = SystemRandom { jitter: true };
        assert!(
            (0..100)
                .map(|_| spread.unit())
                .all(|unit| (0.0..1.0).contains(&unit))
        );
    }

    #[test]
    fn secrets_are_long_and_differ() {
        let (first, second) = (secret_text::<32>(), secret_text::<32>());
        assert_eq!(first.len(), 43);
        assert_ne!(first, second);
    }
}
