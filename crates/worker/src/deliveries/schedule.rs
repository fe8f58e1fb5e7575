//! When a delivery that failed is tried again: soon for a receiver that is being restarted, and for days for one that
//! somebody has to mend.

use std::time::Duration;

use jiff::SignedDuration;

/// Waits after the first, second, ... failure, in seconds; 52 hours in all.
const WAITS_SECONDS: [u32; 11] = [
    5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400,
];
/// Attempts in all. Those of a worker that died count as well.
pub const ATTEMPTS_MAX: u32 = WAITS_SECONDS.len() as u32 + 1;
/// The part of a wait by which it is spread, so that what failed together does not come back together.
const SPREAD: f64 = 0.25;

/// How long to wait after the attempt numbered `attempt` (from 1) failed: at least as long as the receiver asked for, if
/// that is not longer than the longest wait. `jitter` is drawn from 0..1.
pub(super) fn wait_after(attempt: u32, jitter: f64, asked: Option<Duration>) -> SignedDuration {
    let longest = WAITS_SECONDS[WAITS_SECONDS.len() - 1];
    let place = attempt.saturating_sub(1) as usize;
    let wait = f64::from(WAITS_SECONDS.get(place).copied().unwrap_or(longest));
    let wait = wait * (1.0 + SPREAD * (2.0 * jitter.clamp(0.0, 1.0) - 1.0));
    let asked = asked.map_or(0.0, |asked| asked.as_secs_f64().min(f64::from(longest)));
    SignedDuration::from_secs_f64(wait.max(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_spread() {
        let wait = |attempt, jitter| wait_after(attempt, jitter, None).as_secs_f64();
        for attempt in 1..ATTEMPTS_MAX {
            let (least, most) = (wait(attempt, 0.0), wait(attempt, 1.0));
            assert!(least < wait(attempt, 0.5) && wait(attempt, 0.5) < most);
            assert!(
                attempt == 1 || least > wait(attempt - 1, 0.5),
                "after {attempt} attempts"
            );
        }
        let all: u32 = WAITS_SECONDS.iter().sum();
        assert!((48..72).contains(&(all / 3_600)), "a weekend: {all} s");
        assert!((wait(1_000, 0.5) - 86_400.0).abs() < 1.0, "beyond the last one");
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_ever() {
        let asked = |seconds| wait_after(1, 0.5, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!(asked(60), 60);
        assert_eq!(asked(1), 5);
        assert_eq!(asked(u64::MAX), 86_400);
    }
}
