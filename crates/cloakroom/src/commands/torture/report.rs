//! What is said: a line a round, and a verdict.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::audit::Found;
use super::ledger::Ledger;

/// Violations that are shown; a broken store breaks every file.
const SHOWN_MAX: usize = 20;

/// A run so far.
pub struct Report {
    json: bool,
    seed: u64,
    kills: u32,
    confirmed: usize,
    read: usize,
    violations: Vec<String>,
}

impl Report {
    /// Nothing was done yet.
    pub fn new(json: bool, seed: u64) -> Self {
        let report = Self {
            json,
            seed,
            kills: 0,
            confirmed: 0,
            read: 0,
            violations: Vec::new(),
        };
        report.say(
            &format!("seed {seed}"),
            &json!({"event": "torture", "seed": seed}),
        );
        report
    }

    /// Nothing was broken so far.
    pub fn holds(&self) -> bool {
        self.violations.is_empty()
    }

    /// A round is over.
    pub fn round(&mut self, number: u32, kills: u32, ledger: &Ledger, found: Found, took: Duration) {
        self.kills += kills;
        self.confirmed = ledger.confirmed();
        self.read += found.read;
        let line = format!(
            "round {number}: {kills} kills, {} confirms acknowledged so far, {} files read again, {} violations, {:.1} s",
            self.confirmed,
            found.read,
            found.violations.len(),
            took.as_secs_f64()
        );
        let object = json!({
            "event": "round", "round": number, "kills": kills, "confirmed": self.confirmed, "read": found.read,
            "violations": found.violations.len(), "seconds": took.as_secs_f64(),
        });
        self.say(&line, &object);
        self.add(found.violations);
    }

    /// Things that went wrong in one way.
    pub fn complaints(&mut self, what: &str, found: Vec<String>) {
        self.add(
            found
                .into_iter()
                .map(|detail| format!("{what}: {detail}"))
                .collect(),
        );
    }

    /// Whether a command that looks for what is left over found nothing.
    pub fn tidiness(&mut self, what: &str, clean: bool, said: &str) {
        let verdict = if clean { "clean" } else { "not clean" };
        self.say(
            &format!("{what}: {verdict}"),
            &json!({"event": what, "clean": clean}),
        );
        if !clean {
            self.add(vec![format!("{what} found:\n{said}")]);
        }
    }

    fn add(&mut self, violations: Vec<String>) {
        for violation in violations.iter().take(SHOWN_MAX) {
            self.say(
                &format!("  VIOLATION {violation}"),
                &json!({"event": "violation", "detail": violation}),
            );
        }
        self.violations.extend(violations);
    }

    /// The last line; whether everything held.
    pub fn verdict(&self) -> bool {
        let holds = self.holds();
        let line = format!(
            "{}: {} kills, {} acknowledged confirms, {} reads compared, {} violations (seed {})",
            if holds { "held" } else { "BROKEN" },
            self.kills,
            self.confirmed,
            self.read,
            self.violations.len(),
            self.seed
        );
        let object = json!({
            "event": "verdict", "held": holds, "kills": self.kills, "confirmed": self.confirmed, "read": self.read,
            "violations": self.violations.len(), "seed": self.seed,
        });
        self.say(&line, &object);
        holds
    }

    /// Where the evidence is.
    pub fn kept(&self, path: &Path) {
        let shown = path.display().to_string();
        self.say(
            &format!("everything is kept in {shown}"),
            &json!({"event": "kept", "path": shown}),
        );
    }

    fn say(&self, line: &str, object: &Value) {
        let text = if self.json {
            object.to_string()
        } else {
            line.to_owned()
        };
        // Nothing can be done about an error that nobody reads.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}
