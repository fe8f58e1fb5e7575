//! How far an operation is: a bar on a terminal, a line for every tenth elsewhere, nothing for machines.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

use cloakroom_core::operation::Operation;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::error::printable;

const WITH_TOTAL: &str = "{prefix} {bar:32} {pos:>11} / {len} {per_sec:>13} {eta:>4} {msg}";
const WITHOUT_TOTAL: &str = "{prefix} {spinner} {pos:>11} {per_sec:>13} {msg}";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bar,
    Lines,
    Silent,
}

/// The progress of an operation, on standard error.
#[derive(Debug)]
pub(super) struct Display {
    mode: Mode,
    name: &'static str,
    bar: ProgressBar,
    tenths: AtomicU64,
}

impl Display {
    /// `silent` for `--json` and `--quiet`.
    pub(super) fn new(name: &'static str, silent: bool) -> Self {
        Self::with_mode(
            name,
            match (silent, std::io::stderr().is_terminal()) {
                (true, _) => Mode::Silent,
                (false, true) => Mode::Bar,
                (false, false) => Mode::Lines,
            },
        )
    }

    fn with_mode(name: &'static str, mode: Mode) -> Self {
        let bar = match mode {
            Mode::Bar => ProgressBar::no_length(),
            Mode::Lines | Mode::Silent => ProgressBar::hidden(),
        };
        bar.set_style(style(WITHOUT_TOTAL));
        bar.set_prefix(name);
        Self {
            mode,
            name,
            bar,
            tenths: AtomicU64::new(0),
        }
    }

    /// The operation as it was last saved.
    pub(super) fn show(&self, operation: &Operation) {
        if let Some(total) = operation.total
            && self.bar.length() != Some(total)
        {
            self.bar.set_style(style(WITH_TOTAL));
            self.bar.set_length(total);
        }
        self.bar.set_position(operation.done);
        self.bar
            .set_message(operation.error.as_deref().map(printable).unwrap_or_default());
        let (Mode::Lines, Some(total)) = (self.mode, operation.total) else {
            return;
        };
        let tenths = operation
            .done
            .saturating_mul(10)
            .checked_div(total)
            .unwrap_or(10)
            .min(10);
        if self.tenths.fetch_max(tenths, Ordering::Relaxed) < tenths {
            let _ = writeln!(std::io::stderr(), "{}: {} % of {total}", self.name, tenths * 10);
        }
    }

    /// Something to know at once.
    pub(super) fn note(&self, text: &str) {
        if self.mode != Mode::Silent {
            self.bar.suspend(|| {
                let _ = writeln!(std::io::stderr(), "cloakroom: {}", printable(text));
            });
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    // Constants that the tests of this file read; a plain bar is no harm.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_good() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
        let display = Display::with_mode("verify", Mode::Bar);
        display.note("a");
        display.finish();
    }
}
