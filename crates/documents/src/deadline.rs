//! Work that cannot be interrupted, with an end to the waiting for it.
//!
//! The interpreter of a PDF page has no place to ask it to stop. It runs on a thread of its own, which is left behind
//! when the time is over and ends with the process: the caller is meant to be a process that is there for one file.
//! The thread also has a stack of a known size, large enough for the nesting that the parser allows.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::Error;

const STACK: usize = 64 << 20;
/// How often the clock is looked at.
const PATIENCE: Duration = Duration::from_millis(25);
/// How much more of the wall clock's time may pass: on a busy machine others get most of it.
const BUSY: u32 = 8;

/// When work on a document began, by both clocks.
#[derive(Clone, Copy)]
pub(crate) struct Begin {
    processor: Duration,
    wall: Instant,
}

impl Begin {
    pub(crate) fn now() -> Self {
        Self {
            processor: processor_time(),
            wall: Instant::now(),
        }
    }

    fn is_over(self, limit: Duration) -> bool {
        processor_time().saturating_sub(self.processor) > limit || self.wall.elapsed() > limit * BUSY
    }
}

/// The time that the processors gave this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Runs `work` until the process has used `limit` of processor time since `begin`. A panic in it goes on in the caller.
pub(crate) fn run<T: Send + 'static>(
    begin: Begin,
    limit: Duration,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = sync_channel(1);
    let worker = thread::Builder::new()
        .name("document".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            // Nobody listens any more after the deadline.
            drop(sender.send(work()));
        })?;
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if !begin.is_over(limit) => {}
            Err(RecvTimeoutError::Timeout) => {
                return Err(Error::LimitExceeded {
                    limit: "milliseconds",
                    value: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                });
            }
            Err(RecvTimeoutError::Disconnected) => {
                return match worker.join() {
                    Err(panic) => resume_unwind(panic),
                    Ok(()) => Err(Error::Malformed {
                        message: "the document gave no answer",
                        offset: 0,
                    }),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_without_an_end_is_left_behind() {
        let (hold, held) = sync_channel::<()>(0);
        let limit = Duration::from_millis(20);
        let result = run(Begin::now(), limit, move || {
            held.recv().unwrap_err();
            Ok(())
        });
        assert!(matches!(
            result,
            Err(Error::LimitExceeded {
                limit: "milliseconds",
                value: 20
            })
        ));
        drop(hold);
    }

    #[test]
    #[should_panic(expected = "a bug of the parser")]
    fn a_panic_is_not_hidden() {
        drop(run::<()>(Begin::now(), Duration::from_mins(1), || {
            panic!("a bug of the parser")
        }));
    }
}
