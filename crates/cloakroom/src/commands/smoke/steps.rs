//! A line a step: what was done, how long it took, and where it failed what was expected.

use std::io::Write as _;

use serde_json::json;
use tokio::time::Instant;

use crate::client::error::{ClientError, Result};

/// Width of a step's name.
const NAME_CHARS: usize = 44;

/// The steps so far.
#[derive(Debug)]
pub struct Steps {
    json: bool,
    began: Instant,
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Steps {
    /// None yet.
    pub fn new(json: bool) -> Self {
        Self {
            json,
            began: Instant::now(),
            passed: 0,
            failed: 0,
            skipped: 0,
        }
    }

    /// How many failed.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Does one step and says how it went; `None` when it failed.
    pub async fn step<T>(
        &mut self,
        name: &str,
        expected: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        let began = Instant::now();
        let outcome = work.await;
        self.done(name, expected, began, outcome)
    }

    /// A step that may turn out not to be offered: that is a skip, and `None` as well.
    pub async fn step_if_offered<T>(
        &mut self,
        name: &str,
        expected: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Option<T> {
        let began = Instant::now();
        match work.await {
            Err(error) if error.code() == Some("method_not_offered") => {
                self.skip(name, "the store does not offer this method");
                None
            }
            outcome => self.done(name, expected, began, outcome),
        }
    }

    fn done<T>(&mut self, name: &str, expected: &str, began: Instant, outcome: Result<T>) -> Option<T> {
        let milliseconds = began.elapsed().as_millis() as u64;
        match outcome {
            Ok(value) => {
                self.passed += 1;
                self.say(
                    &format!("[ok]   {name:NAME_CHARS$} {milliseconds:>6} ms"),
                    json!({ "step": name, "outcome": "ok", "milliseconds": milliseconds }),
                );
                Some(value)
            }
            Err(error) => {
                self.failed += 1;
                self.say(
                    &format!("[fail] {name:NAME_CHARS$} {milliseconds:>6} ms\n       expected: {expected}\n       got:      {error}"),
                    json!({
                        "step": name, "outcome": "failed", "milliseconds": milliseconds,
                        "expected": expected, "error": error.to_json(),
                    }),
                );
                None
            }
        }
    }

    /// A step that this instance has no use for.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        self.say(
            &format!("[skip] {name:NAME_CHARS$} {why}"),
            json!({ "step": name, "outcome": "skipped", "why": why }),
        );
    }

    /// The verdict.
    pub fn summary(&self) {
        let milliseconds = self.began.elapsed().as_millis() as u64;
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        let verdict = if *failed == 0 {
            "everything works"
        } else {
            "FAILED"
        };
        let skips = if *skipped == 0 {
            String::new()
        } else {
            format!(", {skipped} skipped")
        };
        self.say(
            &format!(
                "{verdict}: {passed} steps passed, {failed} failed{skips}, {:.1} s",
                milliseconds as f64 / 1000.0
            ),
            json!({
                "outcome": if *failed == 0 { "ok" } else { "failed" },
                "passed": passed, "failed": failed, "skipped": skipped, "milliseconds": milliseconds,
            }),
        );
    }

    fn say(&self, text: &str, object: serde_json::Value) {
        // Whoever closed standard output still gets the exit code.
        let _ = writeln!(
            std::io::stdout(),
            "{}",
            if self.json {
                object.to_string()
            } else {
                text.to_owned()
            }
        );
    }
}

/// What was found instead of what was expected.
pub fn found(what: impl Into<String>) -> ClientError {
    ClientError::Failed(what.into())
}

/// Passes if it is so.
pub fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(found(what())) }
}

/// Passes if the server refuses with this status.
pub fn refused<T>(outcome: Result<T>, status: u16) -> Result<()> {
    match outcome {
        Err(error) if error.status() == Some(status) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(found("a success")),
    }
}
