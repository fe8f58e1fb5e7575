//! `mirror`: a copy of every object in a directory, and back. Bytes, sidecars and documents of records come along, so the
//! copy is a whole backup: `rebuild` makes the database of it.
//!
//! The copy is laid out as the data directory of an embedded instance. What an object's key names never changes but for
//! small documents of ours, so a second run into the same directory costs little more than two lists.

mod copying;
mod report;

use std::path::PathBuf;
use std::sync::Arc;

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::objects::ObjectStore;
use cloakroom_objects::local::{LocalOptions, LocalStore};
use serde_json::json;

use super::transfer::display::Display;
use super::{Failure, existing, print};
use crate::cli::ConfigArgs;
use crate::client::output::OutputArgs;
use crate::config::Config;
use crate::config::values::LogFormat;
use crate::data_dir::{DataDir, write_private};
use crate::logging;
use crate::runtime::SystemClock;
use crate::stop::StopSignals;
use crate::wire::{self, Preparation};

use self::copying::Copying;
use self::report::Report;

/// Beside the objects of a finished mirror: when it was finished, and how much it has.
const SUMMARY: &str = "mirror.json";

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The instance may run meanwhile; what comes while the mirror is made comes with the next run. To go back, copy \
    the objects with --restore into empty stores, or start an embedded instance with --data-dir DIR; then run `cloakroom \
    rebuild`. The same command again goes on where an interrupted one stopped. Exit codes: 0 everything is there and was \
    verified, 1 something cannot be read or is in the way, 2 wrong usage or configuration, 130 interrupted."
)]
pub struct Args {
    /// Directory of the mirror, such as /backup/attachments-20261121
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The other way: from the mirror into the stores that are configured
    #[arg(long, conflicts_with = "prune")]
    restore: bool,
    /// Remove from the mirror what the instance has no more
    #[arg(long)]
    prune: bool,
    /// Compare every byte of what is there already
    #[arg(long)]
    deep: bool,
    /// Objects at a time
    #[arg(long, short, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it.
pub async fn run(args: Args) -> Result<(), Failure> {
    let config = args.config.load(false)?;
    logging::start(LogFormat::Text, "warn");
    let mut signals = StopSignals::listen().map_err(Failure::new)?;
    let display = Display::new(args.output.json || args.output.quiet);
    let outcome = tokio::select! {
        outcome = mirror(&args, &config, &display) => outcome,
        signal = signals.next() => {
            display.finish();
            return Err(Failure::with_code(
                if signal == "SIGINT" { 130 } else { 143 },
                "interrupted; the same command goes on where this one stopped",
            ));
        }
    };
    display.finish();
    let report = outcome?;
    print(&if args.output.json {
        report.json()
    } else {
        report.text()
    })?;
    if report.is_clean() {
        Ok(())
    } else {
        Err(Failure::silent(1))
    }
}

async fn mirror(args: &Args, config: &Config, display: &Display) -> Result<Report, Failure> {
    let preparation = if args.restore {
        if !args.directory.join("objects").is_dir() {
            return Err(Failure::usage(format!(
                "{} is no mirror: it has no objects",
                args.directory.display()
            )));
        }
        Preparation::Buckets
    } else {
        existing::require_store(config)?;
        Preparation::None
    };
    let directory = DataDir::open(&args.directory).map_err(Failure::new)?;
    let of_mirror = LocalStore::open(&LocalOptions::new(directory.objects())).map_err(Failure::new)?;
    let of_mirror: Arc<dyn ObjectStore> = Arc::new(of_mirror);
    let instance = wire::open_objects(config, preparation).await?;
    let (source, target) = if args.restore {
        (&of_mirror, &instance.objects)
    } else {
        (&instance.objects, &of_mirror)
    };
    let copying = Copying {
        source: &**source,
        target: &**target,
        jobs: args.jobs.into(),
        deep: args.deep,
        display,
    };
    let mut report = Report::new(directory.path(), args.restore);
    let buckets = if args.restore {
        let buckets = of_mirror.buckets().await.map_err(Failure::new)?;
        buckets.into_iter().map(|bucket| bucket.name).collect()
    } else {
        instance.buckets.clone()
    };
    copying.run(&buckets, &mut report).await.map_err(Failure::new)?;
    if args.prune {
        copying.prune(&buckets, &mut report).await.map_err(Failure::new)?;
    }
    if !args.restore && report.is_clean() {
        let summary = json!({
            "finished_at": SystemClock::default().now().to_string(),
            "objects": report.objects,
            "bytes": report.bytes,
        });
        let path = directory.path().join(SUMMARY);
        write_private(&path, format!("{summary:#}\n").as_bytes())
            .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(report)
}
