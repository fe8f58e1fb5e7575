//! How far things are: bars on a terminal, a few lines elsewhere, nothing for machines.
//!
//! Progress goes to standard error, results to standard output, so that results can be piped while one watches.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};

/// Without a terminal, only files of at least this size report on the way, in bytes.
const LINES_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// How to show progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Silent,
}

/// The progress of a command.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    bars: MultiProgress,
}

impl Progress {
    /// `silent` for `--quiet` and `--json`.
    pub fn new(silent: bool) -> Self {
        let mode = match (silent, std::io::stderr().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Bars,
            (false, false) => Mode::Lines,
        };
        Self {
            mode,
            bars: MultiProgress::new(),
        }
    }

    /// One file on its way.
    pub fn task(&self, name: &str, size: Option<u64>) -> Task {
        let name = super::error::printable(name);
        let bar = match self.mode {
            Mode::Bars => self
                .bars
                .add(size.map_or_else(ProgressBar::no_length, ProgressBar::new)),
            Mode::Lines | Mode::Silent => ProgressBar::hidden(),
        };
        let template = match size {
            Some(_) => "{prefix} {bar:24} {bytes:>11} / {total_bytes} {bytes_per_sec:>13} {eta:>4} {msg}",
            None => "{prefix} {spinner} {bytes:>11} {bytes_per_sec:>13} {msg}",
        };
        // A constant that the tests of this file read; a plain bar is no harm.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_prefix(format!("{:24}", abbreviated(&name, 24)));
        let tenths = size.filter(|size| self.mode == Mode::Lines && *size >= LINES_BYTES_MIN);
        Task(Arc::new(Inner {
            name,
            bar,
            moved: AtomicU64::new(0),
            tenths,
            shown: AtomicU64::new(0),
        }))
    }

    /// A result, on standard output. A reader that went away is noticed at the end of the command, not here.
    pub fn line(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stdout(), "{text}");
        });
    }

    /// Something to know, on standard error.
    pub fn note(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stderr(), "cloakroom: {text}");
        });
    }
}

/// One file on its way. Clones are the same file.
#[derive(Clone, Debug)]
pub struct Task(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    bar: ProgressBar,
    moved: AtomicU64,
    /// The size, when every tenth of it is a line.
    tenths: Option<u64>,
    shown: AtomicU64,
}

impl Task {
    /// So many bytes more.
    pub fn add(&self, bytes: u64) {
        self.0.bar.inc(bytes);
        let moved = self.0.moved.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if let Some(size) = self.0.tenths {
            let tenth = (moved * 10 / size.max(1)).min(10);
            if self.0.shown.fetch_max(tenth, Ordering::Relaxed) < tenth {
                let _ = writeln!(
                    std::io::stderr(),
                    "{}: {} % of {}",
                    self.0.name,
                    tenth * 10,
                    HumanBytes(size)
                );
            }
        }
    }

    /// So many bytes were sent in vain.
    pub fn take_back(&self, bytes: u64) {
        self.0.moved.fetch_sub(bytes, Ordering::Relaxed);
        self.0.bar.set_position(self.0.moved.load(Ordering::Relaxed));
    }

    /// From the beginning, for another pass.
    pub fn restart(&self, phase: &'static str) {
        self.0.moved.store(0, Ordering::Relaxed);
        self.0.shown.store(0, Ordering::Relaxed);
        self.0.bar.reset();
        self.0.bar.set_message(phase);
    }

    /// What is being done, beside the bar.
    pub fn phase(&self, phase: &'static str) {
        self.0.bar.set_message(phase);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.bar.finish_and_clear();
    }
}

/// The end of a name that does not fit, which is where names differ.
fn abbreviated(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    std::iter::once('…')
        .chain(name.chars().skip(length - (width - 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_in_vain_is_taken_back() {
        let task = Progress::new(true).task("a", Some(100));
        task.add(60);
        task.take_back(50);
        task.add(5);
        assert_eq!(task.0.moved.load(Ordering::Relaxed), 15);
        task.restart("again");
        assert_eq!(task.0.moved.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(abbreviated("короткое", 8), "короткое");
        assert_eq!(abbreviated("report-2026-11.pdf", 8), "…-11.pdf");
    }

    #[test]
    fn the_templates_are_good() {
        for size in [None, Some(1)] {
            let task = Progress {
                mode: Mode::Bars,
                bars: MultiProgress::new(),
            }
            .task("a", size);
            task.add(1);
            task.finish();
        }
    }
}
