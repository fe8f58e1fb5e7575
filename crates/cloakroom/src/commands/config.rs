//! `config check` and `config show`.

use std::sync::Arc;

use clap::Subcommand;
use cloakroom_http::Authenticator;

use super::{Failure, print};
use crate::cli::ConfigArgs;
use crate::config::adapters::Store;
use crate::config::checks::missing_for_serving;
use crate::config::layers::Problem;
use crate::config::programs::missing_programs;
use crate::config::show;
use crate::config::values::Value as _;
use crate::runtime::SystemClock;
use crate::wire;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say whether a server could start with this configuration; exit code 2 if not
    Check {
        #[command(flatten)]
        config: ConfigArgs,
        /// Check for `serve --dev`
        #[arg(long)]
        dev: bool,
        /// Check for `serve --no-worker`, which needs no programs of processors
        #[arg(long)]
        no_worker: bool,
    },
    /// Print every value and where it comes from, secrets masked
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// Show for `serve --dev`
        #[arg(long)]
        dev: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Print docs/configuration.md instead
        #[arg(long, conflicts_with_all = ["json", "env_example"])]
        docs: bool,
        /// Print .env.example instead
        #[arg(long, conflicts_with = "json")]
        env_example: bool,
    },
}

/// Does it.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.action {
        Action::Check {
            config,
            dev,
            no_worker,
        } => check(&config, dev, no_worker),
        Action::Show { docs: true, .. } => print(&show::markdown()),
        Action::Show {
            env_example: true, ..
        } => print(&show::dotenv_example()),
        Action::Show {
            config, dev, json, ..
        } => {
            let config = config.load(dev)?;
            if json {
                print(&format!("{:#}\n", show::json(&config)))
            } else {
                print(&show::table(&config))
            }
        }
    }
}

fn check(args: &ConfigArgs, dev: bool, no_worker: bool) -> Result<(), Failure> {
    let config = args.load(dev)?;
    for notice in &config.notices {
        print(&format!("note: {notice}\n"))?;
    }
    let settings = &config.settings;
    print(&format!(
        "database: {}\nstore:    {}\nshared:   {}\n",
        settings.database_description(),
        settings.store_description(),
        if config.is_shared() {
            "several servers and workers may run"
        } else {
            "one process (several need PostgreSQL and S3)"
        }
    ))?;
    for name in config.stores.keys() {
        let own = config.of_store(name).settings;
        let buckets: Vec<&str> = config.buckets_of(name).into_iter().collect();
        let what = match (own.store(), &config.stores[name].directory) {
            (Store::Local, Some(directory)) => format!("files in {}", directory.display()),
            (Store::Local, None) => format!(
                "files in {}",
                settings.data_dir.join("stores").join(name).display()
            ),
            (Store::S3(_), _) => own.store_description().to_string(),
        };
        print(&format!("store {name}: {what}; buckets {}\n", buckets.join(", ")))?;
    }
    match &settings.redis_url {
        Some(url) => print(&format!("redis:    {}\n", url.show()))?,
        None => print("redis:    none; every process counts by itself, leases are in the database\n")?,
    }
    let mut missing = missing_for_serving(&config, dev);
    if !no_worker {
        missing.extend(missing_programs(&config));
    }
    // As the start reads them.
    let keys = Authenticator::new(
        wire::auth_settings(settings, None),
        Arc::new(SystemClock::default()),
    );
    missing.extend(keys.err().map(|error| Problem(error.to_string())));
    if !missing.is_empty() {
        return Err(Failure::configuration(missing));
    }
    print("The configuration is good.\n")
}
