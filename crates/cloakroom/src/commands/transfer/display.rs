//! How far it is: a bar on a terminal, a line for every tenth elsewhere, nothing for machines.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::client::error::printable;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bar,
    Lines,
    Silent,
}

#[derive(Debug, Default)]
struct Phase {
    name: String,
    total: Option<u64>,
    bytes: bool,
    done: u64,
    tenths: u64,
}

/// The progress of an import or a mirror, on standard error. Clones are the same.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Display {
    mode: Mode,
    bar: ProgressBar,
    phase: Arc<Mutex<Phase>>,
}

impl Display {
    /// `silent` for `--json` and `--quiet`.
    pub(in crate::commands) fn new(silent: bool) -> Self {
        let mode = match (silent, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Bar,
            (false, false) => Mode::Lines,
        };
        Self::with_mode(mode)
    }

    fn with_mode(mode: Mode) -> Self {
        Self {
            mode,
            bar: match mode {
                Mode::Bar => ProgressBar::no_length(),
                Mode::Lines | Mode::Silent => ProgressBar::hidden(),
            },
            phase: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, Phase> {
        // Nothing panics while it holds the lock.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something begins, of so many bytes if that is known.
    pub(in crate::commands) fn phase(&self, name: &str, bytes: Option<u64>) {
        self.begin(name, bytes, true);
    }

    /// Rows of a section are moved.
    pub(in crate::commands) fn rows(&self, name: &str, rows: u64) {
        self.begin(name, Some(rows), false);
    }

    fn begin(&self, name: &str, total: Option<u64>, bytes: bool) {
        *self.state() = Phase {
            name: name.to_owned(),
            total,
            bytes,
            ..Phase::default()
        };
        let template = match (total, bytes) {
            (Some(_), true) => {
                "{prefix:14} {bar:32} {bytes:>11} / {total_bytes} {bytes_per_sec:>13} {eta:>4}"
            }
            (Some(_), false) => "{prefix:14} {bar:32} {pos:>11} / {len} {per_sec:>13} {eta:>4}",
            (None, _) => "{prefix} {spinner}",
        };
        // A constant that the tests of this file read; a plain bar is no harm.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        self.bar.reset();
        self.bar.set_style(style);
        self.bar.set_prefix(name.to_owned());
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        if self.mode == Mode::Lines && total.is_none() {
            let _ = writeln!(std::io::stderr(), "{name}");
        }
    }

    /// So much is done.
    pub(in crate::commands) fn advance(&self, by: u64) {
        self.bar.inc(by);
        let mut phase = self.state();
        phase.done += by;
        let Some(total) = phase.total.filter(|_| self.mode == Mode::Lines) else {
            return;
        };
        let tenths = phase
            .done
            .saturating_mul(10)
            .checked_div(total)
            .unwrap_or(10)
            .min(10);
        if tenths > phase.tenths {
            phase.tenths = tenths;
            let total = if phase.bytes {
                HumanBytes(total).to_string()
            } else {
                total.to_string()
            };
            let _ = writeln!(std::io::stderr(), "{}: {} % of {total}", phase.name, tenths * 10);
        }
    }

    /// So much was done in vain.
    pub(in crate::commands) fn take_back(&self, by: u64) {
        let mut phase = self.state();
        phase.done = phase.done.saturating_sub(by);
        self.bar.set_position(phase.done);
    }

    /// Something to know at once.
    pub(in crate::commands) fn note(&self, text: &str) {
        if self.mode != Mode::Silent {
            self.bar.suspend(|| {
                let _ = writeln!(std::io::stderr(), "cloakroom: {}", printable(text));
            });
        }
    }

    /// Takes the bar away.
    pub(in crate::commands) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_a_bar() {
        let display = Display::with_mode(Mode::Bar);
        display.phase("reading", None);
        display.phase("objects", Some(100));
        display.advance(60);
        display.take_back(50);
        assert_eq!((display.state().done, display.bar.position()), (10, 10));
        display.rows("files", 7);
        display.advance(7);
        assert_eq!(display.bar.position(), 7);
        display.note("a");
        display.finish();
    }

    #[test]
    fn an_empty_phase_is_no_division() {
        let display = Display::with_mode(Mode::Lines);
        display.phase("objects", Some(0));
        display.advance(0);
        assert_eq!(display.state().tenths, 10);
    }
}
