//! Commands that run an operation in their own process: `rebuild`, `verify`, `orphans`, `purge`.
//!
//! The operation is a row in the database, as one that was asked for by the API: an interrupted command leaves it behind
//! with its place, and whoever claims it next goes on, be it the same command or a worker.

mod display;
mod remote;
mod report;
mod running;

use std::path::PathBuf;

use cloakroom_core::JsonObject;
use cloakroom_core::operation::OperationKind;

use super::{Failure, existing};
use crate::cli::ConfigArgs;
use crate::client::connection::ConnectionArgs;
use crate::client::output::OutputArgs;
use crate::config::Config;
use crate::config::values::LogFormat;
use crate::data_dir::{DataDir, DataDirError, occupant};
use crate::logging;
use crate::process::unless_stopped;
use crate::stop::StopSignals;
use crate::wire::{self, Preparation};

use self::display::Display;
use self::remote::Remote;
use self::report::{Csv, Findings};
use self::running::Runner;

/// What these commands end with, for their help.
pub const EXIT_CODES: &str = "An interrupted command goes on when it is run again. Exit codes: 0 nothing is left to do, 1 findings are left, \
    2 wrong usage or configuration, 3 it could not be done, 130 interrupted.";

/// Findings are left.
const LEFT: u8 = 1;
/// Interrupted before it began.
const INTERRUPTED: u8 = 130;
/// It could not be done.
const NOT_DONE: u8 = 3;

/// Arguments of every one of these commands.
#[derive(Clone, Debug, clap::Args)]
pub struct OperationArgs {
    /// Go on with one that was interrupted, whatever its options were
    #[arg(long, conflicts_with = "restart")]
    resume: bool,
    /// Begin anew instead of going on with one that was interrupted
    #[arg(long)]
    restart: bool,
    /// Write the findings as CSV into this file as well
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl OperationArgs {
    /// Whether a server is to do it: only when one is named, for what this machine has is its own business otherwise.
    fn names_a_server(&self) -> bool {
        self.connection.url.is_some() || self.connection.profile.is_some()
    }
}

/// Runs an operation of this kind to its end, and says what it found.
pub async fn run(kind: OperationKind, options: JsonObject, args: OperationArgs) -> Result<(), Failure> {
    if args.names_a_server() {
        return run_there(kind, &options, args).await;
    }
    let config = args.config.load(false)?;
    match kind {
        OperationKind::Rebuild => existing::require_store(&config)?,
        _ => existing::require(&config)?,
    }
    logging::start(LogFormat::Text, "warn");
    let signals = StopSignals::listen().map_err(Failure::new)?;
    run_with(kind, options, args, &config, signals)
        .await
        .map_err(|failure| failure.recoded(1, NOT_DONE))?
        .map_or(Ok(()), |code| Err(Failure::silent(code)))
}

/// Has a server run it.
async fn run_there(kind: OperationKind, options: &JsonObject, args: OperationArgs) -> Result<(), Failure> {
    if args.restart {
        return Err(Failure::usage(
            "--restart is for operations of this machine; a server's own are cancelled by its API",
        ));
    }
    let signals = StopSignals::listen().map_err(Failure::new)?;
    let csv = args.csv.as_deref().map(Csv::create).transpose()?;
    let remote = Remote::open(&args.connection)?;
    let display = Display::new(kind.as_str(), args.output.json || args.output.quiet);
    let outcome = remote.run(kind, options, args.resume, &display, signals).await;
    display.finish();
    let left = report::tell(Findings::There(&remote), &outcome?, csv, args.output.json).await?;
    if left { Err(Failure::silent(LEFT)) } else { Ok(()) }
}

/// The exit code, if it is not 0.
async fn run_with(
    kind: OperationKind,
    options: JsonObject,
    args: OperationArgs,
    config: &Config,
    mut signals: StopSignals,
) -> Result<Option<u8>, Failure> {
    // A file that cannot be written is said before the work, not after it.
    let csv = args.csv.as_deref().map(Csv::create).transpose()?;
    let data_dir = open_data_dir(kind, config)?;
    let open = wire::open_app(config, data_dir.as_ref(), None, Preparation::Buckets);
    let Some(instance) = unless_stopped(&mut signals, open).await? else {
        return Ok(Some(INTERRUPTED));
    };
    let display = Display::new(kind.as_str(), args.output.json || args.output.quiet);
    let runner = Runner {
        app: &instance.app,
        kind,
        options,
        worker: wire::worker_options(&config.settings, &instance.id),
        // Nobody else does the jobs of an instance that is one process.
        works: !config.is_shared(),
        resume: args.resume,
        restart: args.restart,
        display: &display,
    };
    // What the mode of a store forbids is asked all the time.
    let outcome = tokio::select! {
        outcome = runner.run(signals) => outcome,
        never = cloakroom_worker::stores::keep_fresh(&instance.app) => match never {},
    };
    display.finish();
    let left = match outcome {
        Ok(operation) => report::tell(Findings::Here(&instance.app), &operation, csv, args.output.json).await,
        Err(failure) => Err(failure),
    };
    instance.close().await?;
    drop(data_dir);
    Ok(left?.then_some(LEFT))
}

fn open_data_dir(kind: OperationKind, config: &Config) -> Result<Option<DataDir>, Failure> {
    let settings = &config.settings;
    if !config.needs_data_dir(false) {
        return Ok(None);
    }
    DataDir::open(&settings.data_dir).map(Some).map_err(|error| match error {
        DataDirError::InUse { .. } => {
            let url = occupant(&settings.data_dir).api_url;
            Failure::new(format!(
                "{error}. Have it do this, as an administrator: cloakroom {} --url {} --token-file FILE (or POST \
                 /api/v1/admin/operations); or stop it first",
                kind.as_str(),
                url.unwrap_or_else(|| "URL".to_owned())
            ))
        }
        error @ DataDirError::Unusable { .. } => Failure::new(error),
    })
}

/// The options that are set.
pub fn flags(flags: &[(&str, bool)]) -> JsonObject {
    let set = flags.iter().filter(|(_, set)| *set);
    set.map(|(name, _)| ((*name).to_owned(), true.into())).collect()
}
