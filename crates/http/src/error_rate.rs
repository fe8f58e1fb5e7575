//! Whether many answers are errors of ours: counted by the minute, and an alert when there are too many.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use cloakroom_core::ports::alerts::AlertKind;
use cloakroom_service::App;
use http::StatusCode;
use jiff::Timestamp;

/// How long answers are counted together.
const WINDOW_MILLISECONDS: i64 = 60_000;
/// Of fewer answers no share is taken: one error of two requests is not many.
const ANSWERS_MIN: u32 = 20;

/// The answers of this minute. What falls between two minutes may be counted for either.
#[derive(Default)]
pub(crate) struct ErrorRate {
    begun_at: AtomicI64,
    answers: AtomicU32,
    errors: AtomicU32,
}

impl ErrorRate {
    /// Counts an answer; at the end of a minute `(errors, answers)`, if the former are at least `percent` of the latter.
    fn count(&self, status: StatusCode, percent: u32, now: Timestamp) -> Option<(u32, u32)> {
        let now = now.as_millisecond();
        let begun_at = self.begun_at.load(Ordering::Relaxed);
        let mut found = None;
        if now.saturating_sub(begun_at).abs() >= WINDOW_MILLISECONDS
            && self
                .begun_at
                .compare_exchange(begun_at, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let answers = self.answers.swap(0, Ordering::Relaxed);
            let errors = self.errors.swap(0, Ordering::Relaxed);
            let many = u64::from(errors) * 100 >= u64::from(percent) * u64::from(answers);
            found = (answers >= ANSWERS_MIN && errors > 0 && many).then_some((errors, answers));
        }
        self.answers.fetch_add(1, Ordering::Relaxed);
        if status.is_server_error() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    /// Counts an answer, and raises an alert when there were too many errors.
    pub(crate) fn observe(&self, app: &App, status: StatusCode, percent: u32) {
        if let Some((errors, answers)) = self.count(status, percent, app.now()) {
            let message =
                format!("{errors} of {answers} requests in a minute were answered with errors of ours.");
            let details = [("errors", errors.into()), ("answers", answers.into())];
            app.send_alert(AlertKind::ErrorRate, message, details);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_minute_counts() {
        let rate = ErrorRate::default();
        let at = |second: i64| Timestamp::from_second(1_000_000 + second).expect("a time");
        let (good, bad) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
        // The first one ends a minute without answers.
        assert_eq!(rate.count(good, 5, at(0)), None);
        for _ in 0..18 {
            assert_eq!(rate.count(StatusCode::NOT_FOUND, 5, at(1)), None);
        }
        assert_eq!(rate.count(bad, 5, at(59)), None);
        assert_eq!(rate.count(good, 5, at(60)), Some((1, 20)));
        // Too few.
        assert_eq!(rate.count(bad, 5, at(61)), None);
        assert_eq!(rate.count(good, 5, at(121)), None);
        // Too small a share.
        for _ in 0..30 {
            assert_eq!(rate.count(good, 5, at(122)), None);
        }
        assert_eq!(rate.count(bad, 5, at(122)), None);
        assert_eq!(rate.count(good, 5, at(190)), None);
    }
}
