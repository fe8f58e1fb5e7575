//! `torture`: real processes under load, killed at random, again and again; then everything that was acknowledged is
//! asked for.

mod audit;
mod ledger;
mod load;
mod plant;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use self::audit::Audit;
use self::ledger::Ledger;
use self::load::Load;
use self::plant::{External, Plant};
use self::report::Report;
use super::Failure;
use super::session::failure;
use crate::client::error::{ClientError, Exit, Result};
use crate::stop::StopSignals;

/// Kills an instance of its own, again and again, and checks that nothing is lost.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It starts processes of this program in a temporary directory and on free ports, with clients that upload, \
    change, delete, restore and download; kills them with SIGKILL at random moments, and starts them again. After every round it \
    asks for every file whose confirm was acknowledged and compares its SHA-256. In the end verify and orphans \
    must find nothing. With --database-url and --s3-endpoint several servers and workers share PostgreSQL and S3, in tables and \
    a bucket of their own; the keys come from S3_ACCESS_KEY and S3_SECRET_KEY. Exit codes: 0 everything held, 1 it did \
    not, and the evidence is kept, 2 wrong usage."
)]
pub struct Args {
    /// Rounds: load, kills, a look at everything
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: u32,
    /// Kills in each round
    #[arg(long, default_value_t = 10, value_name = "N")]
    kills: u32,
    /// Clients at the same time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    clients: u32,
    /// Seed of every choice; by default a random one, which is printed. Processes keep their own time, so a seed repeats the
    /// choices, not the moments
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Longest time between two kills
    #[arg(long, default_value_t = 800, value_name = "MILLISECONDS")]
    calm: u64,
    /// One JSON object a line on standard output
    #[arg(long)]
    json: bool,
    /// Keep everything here, also when it held; by default a temporary directory
    #[arg(long, value_name = "PATH")]
    directory: Option<PathBuf>,
    /// PostgreSQL, for tables of its own
    #[arg(long, value_name = "URL", requires = "s3_endpoint", hide_env_values = true)]
    database_url: Option<String>,
    /// S3 service, for a bucket of its own
    #[arg(long, value_name = "URL", requires = "database_url")]
    s3_endpoint: Option<String>,
    /// Its region
    #[arg(long, default_value = "us-east-1", value_name = "NAME")]
    s3_region: String,
    /// Servers, where they share their stores
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    servers: u32,
    /// Workers, where they share their stores
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=16))]
    workers: u32,
}

impl Args {
    #[expect(
        clippy::disallowed_methods,
        reason = "keys stand on no command line; they are the tested store's, not this program's configuration"
    )]
    fn external(&self) -> std::result::Result<Option<External>, Failure> {
        let (Some(database_url), Some(s3_endpoint)) = (&self.database_url, &self.s3_endpoint) else {
            return Ok(None);
        };
        let key = |name: &str| {
            std::env::var(name)
                .map_err(|_| Failure::usage(format!("--s3-endpoint needs {name} in the environment")))
        };
        Ok(Some(External {
            database_url: database_url.clone(),
            s3_endpoint: s3_endpoint.clone(),
            s3_region: self.s3_region.clone(),
            access_key: key("S3_ACCESS_KEY")?,
            secret_key: key("S3_SECRET_KEY")?,
            servers: self.servers,
            workers: self.workers,
        }))
    }
}

/// Does it.
pub async fn run(args: Args) -> std::result::Result<(), Failure> {
    let external = args.external()?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let mut signals = StopSignals::listen().map_err(Failure::new)?;
    let mut report = Report::new(args.json, seed);
    let mut plant = Plant::new(args.directory.clone(), external).map_err(|error| failure(&error))?;
    let outcome = tokio::select! {
        outcome = torment(&args, seed, &mut plant, &mut report) => outcome,
        _ = signals.next() => Err(ClientError::Interrupted),
    };
    plant.kill_all().await;
    if let Err(error) = outcome {
        report.kept(&plant.keep());
        return Err(failure(&error));
    }
    if report.verdict() {
        if args.directory.is_some() {
            report.kept(&plant.keep());
        }
        Ok(())
    } else {
        report.kept(&plant.keep());
        Err(Failure::silent(Exit::Failed.code()))
    }
}

async fn torment(args: &Args, seed: u64, plant: &mut Plant, report: &mut Report) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    plant.start_all().await?;
    let ledger = Arc::new(Ledger::default());
    for round in 1..=args.rounds {
        let began = Instant::now();
        let load = Load::start(args.clients, random.random(), &plant.nodes(), &ledger);
        for _ in 0..args.kills {
            sleep(Duration::from_millis(random.random_range(1..=args.calm.max(1)))).await;
            plant.kill_and_restart(&mut random).await?;
        }
        sleep(Duration::from_millis(random.random_range(1..=args.calm.max(1)))).await;
        load.stop().await;
        let last = round == args.rounds;
        let found = Audit::new(plant.api()?, Arc::clone(&ledger)).run(last).await;
        report.round(round, args.kills, &ledger, found, began.elapsed());
        if !report.holds() {
            return Ok(());
        }
    }
    // Asked to end, every process ends in order, and what is left is clean.
    let complaints = plant.stop_all().await;
    report.complaints("a process did not end in order", complaints);
    for (what, arguments) in [
        ("verify", &["verify", "--deep"] as &[&str]),
        ("orphans", &["orphans"]),
    ] {
        let (clean, said) = plant.command(arguments).await?;
        report.tidiness(what, clean, &said);
    }
    Ok(())
}
