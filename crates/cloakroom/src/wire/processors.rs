//! What processors work with, as configuration has it.

use std::path::PathBuf;
use std::sync::Arc;

use cloakroom_core::ports::processor::ProcessorLimits;
use cloakroom_processors::{Sandbox, SandboxOptions};
use cloakroom_worker::processors::ProcessorOptions;
use cloakroom_worker::processors::decoders::Decoders;

use super::clock;
use crate::commands::Failure;
use crate::config::Config;
use crate::config::settings::Settings;
use crate::config::values::SandboxPolicy;
use crate::data_dir::{DataDir, create_private};

/// The children of this process.
pub fn sandbox(settings: &Settings, data_dir: Option<&DataDir>) -> Result<Sandbox, Failure> {
    Ok(Sandbox::new(SandboxOptions {
        required: settings.processing_sandbox == SandboxPolicy::Required,
        ..SandboxOptions::new(directory(settings, data_dir)?)
    }))
}

/// Where files are kept while they are processed. Only what a process that was killed left behind is there at the start.
fn directory(settings: &Settings, data_dir: Option<&DataDir>) -> Result<PathBuf, Failure> {
    let own = data_dir.map(|data_dir| data_dir.path().join("processing"));
    let directory = match (&settings.processing_directory, own) {
        (Some(directory), _) => directory.clone(),
        (None, Some(own)) => {
            // Nobody else works in a data directory.
            match std::fs::remove_dir_all(&own) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(unusable(&own, &error));
                }
                _ => own,
            }
        }
        (None, None) => return Ok(std::env::temp_dir()),
    };
    create_private(&directory).map_err(|error| unusable(&directory, &error))?;
    directory
        .canonicalize()
        .map_err(|error| unusable(&directory, &error))
}

fn unusable(directory: &std::path::Path, error: &std::io::Error) -> Failure {
    Failure::new(format!(
        "cannot use the directory for processing {}: {error}",
        directory.display()
    ))
}

/// What every processor works with.
pub(super) fn options(config: &Config, data_dir: Option<&DataDir>) -> Result<ProcessorOptions, Failure> {
    let settings = &config.settings;
    Ok(ProcessorOptions {
        sandbox: Arc::new(sandbox(settings, data_dir)?),
        limits: ProcessorLimits {
            wall: settings.processing_timeout.std(),
            cpu: settings.processing_cpu.std(),
            memory_bytes: settings.processing_memory.0,
            output_bytes_max: settings.processing_output_max.0,
        },
        decoders: if settings.processing_system_decoders {
            Decoders::find()
        } else {
            Decoders::none()
        },
        own: config.own_processors(),
        clock: clock(),
    })
}
