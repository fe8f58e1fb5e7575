//! The sandbox with real children: what they may not do, what limits they meet, and that nothing of them stays.

mod commands;
mod confinement;
mod corpus;
mod inputs;
mod limits;
mod lives;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use cloakroom_processors::{Answer, Failure, Input, Limits, Sandbox, SandboxOptions, Task};
use serde_json::{Value, json};

/// A sandbox whose children are probes.
pub(crate) struct Probes {
    pub(crate) sandbox: Sandbox,
    pub(crate) directory: tempfile::TempDir,
}

pub(crate) fn probes() -> Probes {
    let directory = tempfile::tempdir().expect("a directory");
    let options = SandboxOptions {
        program: PathBuf::from(env!("CARGO_BIN_EXE_sandbox-probe")),
        // As on any system where these tests mean something.
        required: true,
        ..SandboxOptions::new(directory.path().to_owned())
    };
    Probes {
        sandbox: Sandbox::new(options),
        directory,
    }
}

pub(crate) fn task(name: &str, argument: Value) -> Task {
    Task::Own {
        name: name.to_owned(),
        argument,
    }
}

/// Room for all that a probe needs that is not about limits, also on a busy machine.
pub(crate) const WIDE: Limits = Limits {
    wall: Duration::from_mins(1),
    cpu: Duration::from_secs(20),
    memory_bytes: 256 * 1024 * 1024,
    output_bytes_max: 1024 * 1024,
};

impl Probes {
    pub(crate) async fn run(&self, name: &str, argument: Value, limits: &Limits) -> Result<Answer, Failure> {
        self.sandbox.run(&task(name, argument), Input::None, limits).await
    }

    /// Runs a probe over these bytes.
    pub(crate) async fn read(&self, name: &str, bytes: impl Into<Bytes>) -> Result<Answer, Failure> {
        let input = Input::Bytes(bytes.into());
        self.sandbox.run(&task(name, json!(null)), input, &WIDE).await
    }
}

pub(crate) fn rejected_code(outcome: Result<Answer, Failure>) -> String {
    match outcome {
        Err(Failure::Rejected { code, .. }) => code,
        Err(other) => panic!("not rejected: {other:?}"),
        Ok(answer) => panic!("not rejected: {:?}, {} files", answer.facts, answer.made.len()),
    }
}
