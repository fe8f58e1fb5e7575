//! The verbs of the command line, one file each: `Args`, and `run`, which does it.

pub mod config;
pub mod doctor;
mod existing;
pub mod get;
pub mod import;
pub mod jobs;
pub mod ls;
pub mod migrate;
pub mod mirror;
pub mod openapi;
pub mod operations;
pub mod orphans;
pub mod purge;
pub mod put;
pub mod quarantine;
pub mod rebuild;
pub mod rm;
pub mod serve;
pub mod session;
pub mod smoke;
pub mod status;
pub mod stores;
pub mod token;
pub mod torture;
mod transfer;
pub mod verify;
pub mod worker;

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use crate::config::layers::Problem;

/// Why a command did not do what it was told: lines for standard error, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    lines: Vec<String>,
    code: u8,
}

impl Failure {
    /// Something is in the way (exit code 1).
    pub fn new(message: impl fmt::Display) -> Self {
        Self::with_code(1, message)
    }

    /// The command line is wrong (exit code 2).
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::with_code(2, message)
    }

    /// With an exit code of the command's own.
    pub fn with_code(code: u8, message: impl fmt::Display) -> Self {
        Self {
            lines: vec![message.to_string()],
            code,
        }
    }

    /// Everything has been said; only the exit code remains.
    pub fn silent(code: u8) -> Self {
        Self {
            lines: Vec::new(),
            code,
        }
    }

    /// With another exit code, if it has this one.
    #[must_use]
    pub fn recoded(mut self, from: u8, to: u8) -> Self {
        if self.code == from {
            self.code = to;
        }
        self
    }

    /// The configuration is wrong (exit code 2); every problem is a line.
    pub fn configuration(problems: Vec<Problem>) -> Self {
        Self {
            lines: problems.into_iter().map(|problem| problem.0).collect(),
            code: 2,
        }
    }

    /// The same, about something that its lines do not name.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        for line in &mut self.lines {
            *line = format!("{what}: {line}");
        }
        self
    }

    /// Writes the lines to standard error.
    pub fn report(&self) -> ExitCode {
        for line in &self.lines {
            // Nothing can be done about an error that nobody reads.
            let _ = writeln!(std::io::stderr(), "cloakroom: {line}");
        }
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("; "))
    }
}

/// Writes a command's result to standard output. A reader that went away (`| head`) is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
