//! How far the work on a file is: told by whoever does it, kept by whoever holds its lease.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cloakroom_core::job::{JobProgress, Stage};

/// A handle on the progress of one attempt; clones share it. Telling is cheap: nothing is written until the runner asks.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    last: Option<JobProgress>,
    changed: bool,
}

impl Progress {
    /// A stage begins, of so many bytes if that is known.
    pub fn enter(&self, stage: Stage, total_bytes: Option<u64>) {
        let mut told = self.lock();
        told.last = Some(JobProgress {
            stage,
            done_bytes: 0,
            total_bytes,
        });
        told.changed = true;
    }

    /// So many more bytes of the stage are done.
    pub fn advance(&self, bytes: u64) {
        let mut told = self.lock();
        if let Some(last) = &mut told.last {
            last.done_bytes = last.done_bytes.saturating_add(bytes);
            told.changed |= bytes > 0;
        }
    }

    /// Where the work is, if that changed since it was asked last.
    pub fn take_change(&self) -> Option<JobProgress> {
        let mut told = self.lock();
        std::mem::take(&mut told.changed)
            .then(|| told.last.clone())
            .flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once() {
        let progress = Progress::default();
        progress.advance(1);
        assert_eq!(progress.take_change(), None, "no stage was entered");
        let told = progress.clone();
        told.enter(Stage::Verifying, Some(10));
        told.advance(4);
        told.advance(0);
        let expected = JobProgress {
            stage: Stage::Verifying,
            done_bytes: 4,
            total_bytes: Some(10),
        };
        assert_eq!(progress.take_change(), Some(expected));
        assert_eq!(progress.take_change(), None);
        told.advance(0);
        assert_eq!(progress.take_change(), None, "nothing changed");
        told.enter(Stage::Promoting, None);
        let change = progress.take_change().expect("a change");
        assert_eq!((change.stage, change.done_bytes), (Stage::Promoting, 0));
    }
}
