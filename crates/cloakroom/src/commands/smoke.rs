//! `smoke`: the whole pipeline, a line a step; the exit code is the verdict.

pub(super) mod document;
mod instance;
mod pipeline;
pub(super) mod send;
mod steps;

use std::io::Write as _;
use std::time::Duration;

use self::instance::Instance;
use self::pipeline::{Pipeline, clean_up};
use self::steps::Steps;
use super::Failure;
use super::session::failure;
use crate::client::api::Api;
use crate::client::connection::{Connection, ConnectionArgs};
use crate::client::development::DevIdentity;
use crate::client::error::{ClientError, Exit};
use crate::stop::StopSignals;

/// Sends a file through everything that an instance does, and checks each step.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --url and --profile it starts a fresh instance of its own, in a temporary directory and \
    on free ports, and removes it afterwards. The environment and configuration files do not reach \
    that instance. Exit codes: 0 everything works, 1 a step failed, 2 wrong usage or configuration, \
    4 the instance does not answer."
)]
pub struct Args {
    /// Collection to test with; it must take any type
    #[arg(long, short, default_value = "files", value_name = "NAME")]
    collection: String,
    /// How long a file may take to become ready
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait_timeout: u32,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Does it.
pub async fn run(args: Args) -> Result<(), Failure> {
    let mut steps = Steps::new(args.json);
    let mut signals = StopSignals::listen().map_err(Failure::new)?;
    let mut instance = None;
    let outcome = check(&args, &mut steps, &mut signals, &mut instance).await;
    let stopped = match instance {
        Some(instance) => steps
            .step(
                "stop",
                "SIGTERM ends the instance with exit code 0",
                instance.stop(),
            )
            .await
            .is_some(),
        None => true,
    };
    match outcome {
        Ok(()) => {}
        // Told as a step already.
        Err(ClientError::Failed(_)) if steps.failed() > 0 => {}
        Err(error) => return Err(failure(&error)),
    }
    steps.summary();
    if steps.failed() == 0 && stopped {
        Ok(())
    } else {
        Err(Failure::silent(Exit::Failed.code()))
    }
}

/// Starts or reaches the instance, runs every step, and deletes what they made. The instance is left in `own`, so that
/// it can be stopped whatever happens here.
async fn check(
    args: &Args,
    steps: &mut Steps,
    signals: &mut StopSignals,
    own: &mut Option<Instance>,
) -> Result<(), ClientError> {
    let wait = Duration::from_secs(args.wait_timeout.into());
    let (api, stranger) = if args.connection.url.is_some() || args.connection.profile.is_some() {
        let connection = Connection::open(&args.connection, DevIdentity::User)?;
        for notice in &connection.notices {
            // Nothing can be done about an error that nobody reads.
            let _ = writeln!(std::io::stderr(), "cloakroom: {notice}");
        }
        (Api::new(connection)?, None)
    } else {
        let expected = "`serve --dev` on free ports says that it is ready";
        let started = tokio::select! {
            started = steps.step("start", expected, Instance::start(own)) => started,
            _ = signals.next() => return Err(ClientError::Interrupted),
        };
        let (api, stranger) = started.ok_or_else(|| ClientError::Failed("not started".to_owned()))?;
        (api, Some(stranger))
    };
    let pipeline = Pipeline::new(&api, stranger.as_ref(), &args.collection, wait);
    let outcome = tokio::select! {
        outcome = pipeline.run(steps) => outcome,
        _ = signals.next() => Err(ClientError::Interrupted),
    };
    clean_up(&api, &pipeline.made(), steps).await;
    outcome
}
