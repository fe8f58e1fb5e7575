//! Waiting, for a while, for what starts beside us: in a compose file everything starts at once.

use std::time::{Duration, Instant};

use crate::commands::Failure;

/// Wait after the first attempt; each is twice as long as the one before, up to the last.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Why something is not there.
pub(super) enum NotReady {
    /// It does not answer; it may yet.
    Yet(String),
    /// It never will.
    Ever(Failure),
}

/// How long a start waits in all.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    until: Instant,
    whole: Duration,
}

impl Patience {
    /// From now on.
    pub(super) fn new(whole: Duration) -> Self {
        Self {
            until: Instant::now() + whole,
            whole,
        }
    }

    /// What `attempt` gives once it gives something. Each failure is logged; the last one is the refusal, in one line.
    /// `name` is for people and holds no secret.
    pub(super) async fn wait_for<T>(
        &self,
        name: &str,
        attempt: impl AsyncFn() -> Result<T, NotReady>,
    ) -> Result<T, Failure> {
        let mut wait = WAIT_FIRST;
        let mut waited = false;
        loop {
            match attempt().await {
                Ok(ready) => {
                    if waited {
                        tracing::info!(event = "dependency_ready", dependency = name, "it answers");
                    }
                    return Ok(ready);
                }
                Err(NotReady::Ever(failure)) => return Err(failure),
                Err(NotReady::Yet(reason)) if Instant::now() + wait > self.until => {
                    let after = match self.whole.as_secs() {
                        0 => String::new(),
                        seconds => format!(" (waited {seconds} s, server.startup_timeout)"),
                    };
                    return Err(Failure::new(format!("{name} is out of reach: {reason}{after}")));
                }
                Err(NotReady::Yet(reason)) => {
                    tracing::warn!(
                        event = "dependency_not_ready",
                        dependency = name,
                        reason,
                        "waiting for it"
                    );
                }
            }
            waited = true;
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_later_is_waited_for() {
        let tries = Cell::new(0);
        let attempt = async || {
            tries.set(tries.get() + 1);
            if tries.get() < 3 {
                Err(NotReady::Yet("refused".to_owned()))
            } else {
                Ok(tries.get())
            }
        };
        let ready = Patience::new(Duration::from_secs(30))
            .wait_for("it", attempt)
            .await;
        assert_eq!(ready, Ok(3));
    }

    #[tokio::test]
    async fn what_does_not_come_is_named() {
        let never = async || Err::<(), _>(NotReady::Yet("refused".to_owned()));
        let refusal = Patience::new(Duration::ZERO)
            .wait_for("PostgreSQL at x", never)
            .await;
        assert_eq!(
            refusal,
            Err(Failure::new("PostgreSQL at x is out of reach: refused"))
        );
        let hopeless = async || Err::<(), _>(NotReady::Ever(Failure::new("another schema")));
        let refusal = Patience::new(Duration::from_secs(30))
            .wait_for("it", hopeless)
            .await;
        assert_eq!(refusal, Err(Failure::new("another schema")));
    }
}
