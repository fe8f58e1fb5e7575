//! When an endpoint that was found away is asked again, and when it is a file that drives it away.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloakroom_core::id::FileId;
use cloakroom_core::ports::processor::ProcessorError;
use jiff::{SignedDuration, Timestamp};

/// Waits for an endpoint that was found away once, twice, ... in a row, in seconds. It may ask for more, up to the last one.
const WAITS_SECONDS: [u32; 7] = [5, 10, 20, 40, 80, 160, 300];
/// A file that found it away so often, while it answered for others in between, is what it does not stand.
const SUSPECT_AFTER: u32 = 3;
/// Files that are remembered; beyond them all are forgotten, and found out anew.
const FILES_MAX: usize = 10_000;

/// How an endpoint has fared. Shared by all who ask it.
#[derive(Default)]
pub(super) struct Attendance(Mutex<State>);

#[derive(Default)]
struct State {
    absence: Option<Absence>,
    /// How often it has answered.
    answers: u64,
    suspects: HashMap<FileId, Suspect>,
}

/// It was away when it was asked last.
struct Absence {
    /// How often in a row.
    times: usize,
    /// It is not asked before.
    until: Timestamp,
    reason: String,
}

/// A file that found it away.
struct Suspect {
    /// How often it had answered by then.
    answers: u64,
    /// How often it had answered for others since the time before.
    times: u32,
}

impl Absence {
    fn error(&self, now: Timestamp) -> ProcessorError {
        ProcessorError::Unavailable {
            reason: self.reason.clone(),
            wait: Some(Duration::try_from(self.until.duration_since(now)).unwrap_or_default()),
        }
    }
}

impl Attendance {
    /// Whether it may be asked now.
    pub(super) fn ready(&self, now: Timestamp) -> Result<(), ProcessorError> {
        match &self.lock().absence {
            Some(absence) if now < absence.until => Err(absence.error(now)),
            _ => Ok(()),
        }
    }

    /// It has answered.
    pub(super) fn answered(&self, file: FileId) {
        let mut state = self.lock();
        state.absence = None;
        state.answers += 1;
        state.suspects.remove(&file);
    }

    /// Nobody takes the connection, which no file can bring about.
    pub(super) fn unreachable(&self, now: Timestamp, reason: String) -> ProcessorError {
        self.lock().away(now, reason, None)
    }

    /// It, or a proxy in front of it, said that it is away, and perhaps for how long.
    pub(super) fn said_away(
        &self,
        now: Timestamp,
        file: FileId,
        reason: String,
        asked: Option<Duration>,
    ) -> ProcessorError {
        let mut state = self.lock();
        if state.suspects.len() >= FILES_MAX {
            state.suspects.clear();
        }
        let answers = state.answers;
        let suspect = state
            .suspects
            .entry(file)
            .or_insert(Suspect { answers, times: 0 });
        if suspect.answers < answers {
            (suspect.answers, suspect.times) = (answers, suspect.times + 1);
        }
        if suspect.times >= SUSPECT_AFTER {
            return ProcessorError::Retry(format!("{reason}, again and again, and answers for other files"));
        }
        state.away(now, reason, asked)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in between leaves nothing half made that matters: what is forgotten is found out anew.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn away(&mut self, now: Timestamp, reason: String, asked: Option<Duration>) -> ProcessorError {
        let times = match &self.absence {
            // Others found out at the same time.
            Some(known) if now < known.until => return known.error(now),
            Some(known) => (known.times + 1).min(WAITS_SECONDS.len()),
            None => 1,
        };
        let seconds = |place: usize| Duration::from_secs(u64::from(WAITS_SECONDS[place]));
        let asked = asked.unwrap_or_default().min(seconds(WAITS_SECONDS.len() - 1));
        let wait = seconds(times - 1).max(asked);
        let until = SignedDuration::try_from(wait)
            .ok()
            .and_then(|wait| now.checked_add(wait).ok());
        let absence = Absence {
            times,
            until: until.unwrap_or(now),
            reason,
        };
        let error = absence.error(now);
        self.absence = Some(absence);
        error
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const BAD: FileId = FileId(Uuid::from_u128(1));
    const GOOD: FileId = FileId(Uuid::from_u128(2));

    #[test]
    fn a_file_that_drives_it_away_is_told_from_an_endpoint_that_is_down() {
        let attendance = Attendance::default();
        let mut now = Timestamp::UNIX_EPOCH;
        let mut ask = |file: FileId| {
            now += SignedDuration::from_mins(5);
            attendance.ready(now).expect("the wait is over");
            attendance.said_away(now, file, "answered 502".to_owned(), None)
        };
        // Down, however often: nobody is to blame.
        for _ in 0..9 {
            assert!(matches!(ask(BAD), ProcessorError::Unavailable { .. }));
            assert!(matches!(ask(GOOD), ProcessorError::Unavailable { .. }));
        }
        // Up again, but for one.
        for _ in 1..SUSPECT_AFTER {
            attendance.answered(GOOD);
            assert!(matches!(ask(BAD), ProcessorError::Unavailable { .. }));
        }
        for _ in 0..3 {
            attendance.answered(GOOD);
            // Others do not wait for it: the next one is let through.
            assert!(matches!(ask(BAD), ProcessorError::Retry(_)));
        }
        attendance.answered(BAD);
        attendance.answered(GOOD);
        assert!(matches!(ask(BAD), ProcessorError::Unavailable { .. }), "forgiven");
    }
}
