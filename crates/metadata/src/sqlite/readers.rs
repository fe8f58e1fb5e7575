//! The readers: a few threads with a read-only connection each. In WAL mode they neither wait for the writer nor
//! make it wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use cloakroom_core::ports::metadata::{MetadataError, Result};
use tokio::sync::oneshot;

use super::failure::Outcome;
use super::session::Session;

/// Reads that may wait; one more is refused.
const QUEUE_READS_MAX: usize = 4096;

type Read = Box<dyn FnOnce(&Session) + Send>;

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    closed: bool,
}

impl Queue {
    /// Nothing panics while it holds the lock, and if it did, the queue would still be whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Read> {
        let mut waiting = self.lock();
        loop {
            if let Some(read) = waiting.reads.pop_front() {
                return Some(read);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Handle of the reader threads.
pub(super) struct Readers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts a thread for each session.
    pub(super) fn start(sessions: Vec<Session>) -> std::io::Result<Self> {
        let mut readers = Self {
            queue: Arc::default(),
            threads: Vec::with_capacity(sessions.len()),
        };
        for session in sessions {
            let queue = Arc::clone(&readers.queue);
            let thread = std::thread::Builder::new()
                .name("metadata-reader".to_owned())
                .spawn(move || {
                    while let Some(read) = queue.next() {
                        // A panic ends the one read; its caller sees that no answer comes.
                        let _ = catch_unwind(AssertUnwindSafe(|| read(&session)));
                    }
                });
            readers.threads.push(thread?);
        }
        Ok(readers)
    }

    /// Runs a read on one of the threads.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`] when too many reads wait.
    pub(super) async fn read<T, R>(&self, name: &'static str, read: R) -> Result<T>
    where
        T: Send + 'static,
        R: FnOnce(&Session) -> Outcome<T> + Send + 'static,
    {
        let begun = Instant::now();
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.queue.lock();
            if waiting.reads.len() >= QUEUE_READS_MAX {
                return Err(MetadataError::Unavailable(format!(
                    "{QUEUE_READS_MAX} reads are waiting already"
                )));
            }
            waiting.reads.push_back(Box::new(move |session| {
                // Nobody waits any more when the caller went away.
                let _ = reply.send(read(session));
            }));
        }
        self.queue.changed.notify_one();
        let outcome = answer
            .await
            .map_err(|_| MetadataError::Internal("the read panicked".to_owned()))?;
        metrics::histogram!("cloakroom_metadata_operation_seconds", "operation" => name)
            .record(begun.elapsed().as_secs_f64());
        Ok(outcome?)
    }

    /// Ends the threads after everything that waits.
    pub(super) fn stop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // It catches what it runs, so it does not end by a panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::database;
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_read_and_not_the_reader() {
        let (_directory, session) = database();
        let readers = Readers::start(vec![session]).unwrap();
        let answer = readers.read::<(), _>("panics", |_| panic!("a defect")).await;
        assert!(matches!(answer, Err(MetadataError::Internal(_))), "{answer:?}");
        assert_eq!(readers.read("works", |_| Ok(7)).await.unwrap(), 7);
    }
}
