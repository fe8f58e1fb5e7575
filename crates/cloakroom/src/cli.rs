//! The command line: what can be said. What it does is in [`commands`], one file a verb.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::commands::{self, Failure};
use crate::config::{self, Config, Inputs};

/// Leave your files, keep the ticket: uploads that go straight to storage, verified before anybody sees them.
#[derive(Debug, Parser)]
#[command(name = "cloakroom", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a server: the HTTP API, a worker, and with the local store the S3 endpoint
    Serve(commands::serve::Args),
    /// Start a worker: background work alone, beside servers that share PostgreSQL and S3
    Worker(commands::worker::Args),
    /// Print an access token for development, or create a service token
    Token(commands::token::Args),
    /// Check or show the configuration
    Config(commands::config::Args),
    /// Show the stores, change how far they are open
    Stores(commands::stores::Args),
    /// Bring the database to the newest schema
    Migrate(commands::migrate::Args),
    /// Move an embedded instance to PostgreSQL, S3, or both
    Import(commands::import::Args),
    /// Copy every object into a directory, or back from there: backup and restore
    Mirror(commands::mirror::Args),
    /// Compare rows, sidecars and objects, and repair what can be repaired
    Verify(commands::verify::Args),
    /// Bring rows back from what stands in the stores: into an empty database, or one in use
    Rebuild(commands::rebuild::Args),
    /// Look for what nothing refers to
    Orphans(commands::orphans::Args),
    /// Remove what is in the trash and over its deadline
    Purge(commands::purge::Args),
    /// List what the virus scanner holds back; release, delete or scan again
    Quarantine(commands::quarantine::Args),
    /// List background jobs; try dead ones again, or throw them away
    Jobs(commands::jobs::Args),
    /// Find out what the database and the object store can really do, and what to do about it
    Doctor(commands::doctor::Args),
    /// Print the OpenAPI document
    Openapi,
    /// Upload files, and wait until they are verified
    Put(commands::put::Args),
    /// Download files, and verify them
    Get(commands::get::Args),
    /// List files
    Ls(commands::ls::Args),
    /// Delete files: into the trash
    Rm(commands::rm::Args),
    /// Show where files stand
    Status(commands::status::Args),
    /// Check the whole pipeline, a line a step
    Smoke(commands::smoke::Args),
    /// Kill an instance of its own again and again, and check that nothing is lost
    Torture(commands::torture::Args),
}

/// Where configuration is, for every command that needs it.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: cloakroom.toml or cloakroom.yaml, if there is one; environment: CLOAKROOM_CONFIG]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Directory that everything is kept in [default: ./data]
    #[arg(long, value_name = "PATH")]
    pub data_dir: Option<PathBuf>,
}

impl ConfigArgs {
    /// What configuration is read from, with these flags as the strongest layer.
    pub fn inputs(&self, dev: bool) -> Inputs {
        let mut inputs = Inputs::from_process();
        inputs.config_file.clone_from(&self.config);
        inputs.dev = dev;
        if let Some(path) = &self.data_dir {
            inputs
                .flags
                .push(("data_dir", path.display().to_string(), "--data-dir"));
        }
        inputs
    }

    /// The configuration, or every problem with it.
    pub fn load(&self, dev: bool) -> Result<Config, Failure> {
        config::load(&self.inputs(dev)).map_err(Failure::configuration)
    }
}

/// Does what the command line says.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("cannot start: {error}")).report(),
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => commands::serve::run(args).await,
            Command::Worker(args) => commands::worker::run(args).await,
            Command::Token(args) => commands::token::run(args).await,
            Command::Config(args) => commands::config::run(args),
            Command::Stores(args) => commands::stores::run(args).await,
            Command::Migrate(args) => commands::migrate::run(args).await,
            Command::Import(args) => commands::import::run(args).await,
            Command::Mirror(args) => commands::mirror::run(args).await,
            Command::Verify(args) => commands::verify::run(args).await,
            Command::Rebuild(args) => commands::rebuild::run(args).await,
            Command::Orphans(args) => commands::orphans::run(args).await,
            Command::Purge(args) => commands::purge::run(args).await,
            Command::Quarantine(args) => commands::quarantine::run(args).await,
            Command::Jobs(args) => commands::jobs::run(args).await,
            Command::Doctor(args) => commands::doctor::run(args).await,
            Command::Openapi => commands::openapi::run(),
            Command::Put(args) => commands::put::run(args).await,
            Command::Get(args) => commands::get::run(args).await,
            Command::Ls(args) => commands::ls::run(args).await,
            Command::Rm(args) => commands::rm::run(args).await,
            Command::Status(args) => commands::status::run(args).await,
            Command::Smoke(args) => commands::smoke::run(args).await,
            Command::Torture(args) => commands::torture::run(args).await,
        }
    });
    // A blocking read that nobody waits for any more must not hold the process.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
