//! When to try again, and after how long: exponential backoff with full jitter, and the server's own wish.

use std::time::Duration;

use super::error::ClientError;

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts in all after failures, the first one included.
    pub attempts_max: u32,
    /// Upper bound of the first wait; each further bound is twice as long.
    pub first_delay: Duration,
    /// Longest wait of our own choice.
    pub delay_max: Duration,
    /// How long a rate limit is waited out in all. These waits do not count as attempts: the server is well.
    pub rate_limit_wait_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 6,
            first_delay: Duration::from_millis(250),
            delay_max: Duration::from_secs(15),
            rate_limit_wait_max: Duration::from_mins(15),
        }
    }
}

impl RetryPolicy {
    /// For a server that has never answered: more likely a wrong address than a restart.
    pub fn first_contact(self) -> Self {
        Self {
            attempts_max: self.attempts_max.min(2),
            ..self
        }
    }
}

/// What one operation has been through.
#[derive(Debug, Default)]
pub struct Retry {
    failures: u32,
    rate_limited: Duration,
}

impl Retry {
    /// How long to wait before the next attempt; `None` is to give up. `jitter` is a random number in `0..1`.
    pub fn next_delay(&mut self, policy: &RetryPolicy, error: &ClientError, jitter: f64) -> Option<Duration> {
        let asked = error.answer().and_then(|answer| answer.retry_after);
        if let (Some(429), Some(asked)) = (error.status(), asked) {
            // A little more than asked, each client another little: they were all told the same second.
            let delay = asked + Duration::from_millis(500).mul_f64(jitter);
            self.rate_limited += delay;
            return (self.rate_limited <= policy.rate_limit_wait_max).then_some(delay);
        }
        if !is_transient(error) {
            return None;
        }
        self.failures += 1;
        if self.failures >= policy.attempts_max {
            return None;
        }
        let bound = policy
            .first_delay
            .saturating_mul(1 << (self.failures - 1).min(16))
            .min(policy.delay_max);
        Some(
            bound
                .mul_f64(jitter)
                .max(asked.unwrap_or_default().min(policy.rate_limit_wait_max)),
        )
    }

    /// Something got through: earlier failures no longer count.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }
}

/// Whether the same request may succeed a little later.
pub fn is_transient(error: &ClientError) -> bool {
    match error {
        ClientError::Transport { .. } => true,
        // A full disk stays full.
        ClientError::Answer(answer) => matches!(answer.status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::error::ErrorAnswer;

    fn answer(status: u16, retry_after: Option<u64>) -> ClientError {
        ClientError::Answer(Box::new(ErrorAnswer {
            status,
            message: String::new(),
            code: None,
            request_id: None,
            retry_after: retry_after.map(Duration::from_secs),
            from_store: false,
        }))
    }

    #[test]
    fn waits_double_up_to_a_bound_and_end() {
        let policy = RetryPolicy {
            delay_max: Duration::from_secs(1),
            ..RetryPolicy::default()
        };
        let mut retry = Retry::default();
        let broken = ClientError::Transport {
            host: String::new(),
            reason: String::new(),
        };
        let delays: Vec<_> = std::iter::from_fn(|| retry.next_delay(&policy, &broken, 1.0)).collect();
        assert_eq!(delays, [250, 500, 1000, 1000, 1000].map(Duration::from_millis));
        retry.progressed();
        assert_eq!(
            retry.next_delay(&policy, &broken, 0.5),
            Some(Duration::from_millis(125))
        );
    }

    #[test]
    fn a_refusal_is_final() {
        for status in [400, 401, 403, 404, 409, 412, 413, 422, 501, 507] {
            assert_eq!(
                Retry::default().next_delay(&RetryPolicy::default(), &answer(status, None), 0.5),
                None,
                "{status}"
            );
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(
                Retry::default()
                    .next_delay(&RetryPolicy::default(), &answer(status, None), 0.5)
                    .is_some(),
                "{status}"
            );
        }
    }

    #[test]
    fn a_rate_limit_is_waited_out_as_the_server_asks_without_using_up_attempts() {
        let policy = RetryPolicy::default();
        let mut retry = Retry::default();
        for _ in 0..10 {
            assert_eq!(
                retry.next_delay(&policy, &answer(429, Some(60)), 0.0),
                Some(Duration::from_mins(1))
            );
        }
        let rest = std::iter::from_fn(|| retry.next_delay(&policy, &answer(429, Some(60)), 0.0)).count();
        assert_eq!(rest, 5, "15 minutes in all");
        assert_eq!(
            Retry::default().next_delay(&policy, &answer(503, Some(3)), 0.0),
            Some(Duration::from_secs(3)),
            "an overloaded server is believed too"
        );
    }

    #[test]
    fn a_server_that_never_answered_is_given_up_soon() {
        let policy = RetryPolicy::default().first_contact();
        let mut retry = Retry::default();
        let broken = ClientError::Transport {
            host: String::new(),
            reason: String::new(),
        };
        assert!(retry.next_delay(&policy, &broken, 0.0).is_some());
        assert!(retry.next_delay(&policy, &broken, 0.0).is_none());
    }
}
