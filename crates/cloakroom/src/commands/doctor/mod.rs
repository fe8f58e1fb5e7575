//! `doctor`: what is really true of the database, the object store, Redis and the scanner that are configured, what it means, and what to
//! do about it.

mod database;
mod local;
mod redis;
mod report;
mod s3;
mod sandbox;
mod scanner;

use cloakroom_core::storage::MAIN_STORE;
use jiff::SignedDuration;

use self::report::Report;
use super::{Failure, print};
use crate::cli::ConfigArgs;
use crate::config::Config;
use crate::config::adapters::Store;
use crate::config::values::{LogFormat, Period};
use crate::logging;

/// How long a server that does not answer is waited for: one who asks what is wrong does not want to wait.
const PATIENCE: Period = Period(SignedDuration::ZERO);

/// Looks at everything that is configured, and tells what works, what does not, and what to do.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It writes into the object store under a prefix of its own and removes what it wrote. Everything else is only \
    looked at, unless --fix is given. Exit codes: 0 nothing fails (there may be warnings), 1 something fails, 2 wrong usage or \
    configuration."
)]
pub struct Args {
    /// Origin of a web page that uploads and downloads, such as <https://app.example>; may be given several times [default:
    /// s3.cors_origins]
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// Make missing buckets, and set up their CORS and lifecycle
    #[arg(long)]
    fix: bool,
    /// Look at this bucket only [default: those of all collections]
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl Args {
    /// The origins that must be let in.
    fn origins(&self, config: &Config) -> Vec<String> {
        if !self.origin.is_empty() {
            return self.origin.clone();
        }
        let configured = config.settings.s3_cors_origins.iter();
        configured
            .map(|origin| {
                // Any origin will do where all are let in; none has this name. Nobody says that its pages are from https.
                if origin == "*" {
                    "http://any.invalid".to_owned()
                } else {
                    origin.replace('*', "any")
                }
            })
            .collect()
    }
}

/// Looks, and tells.
pub async fn run(args: Args) -> Result<(), Failure> {
    let mut config = args.config.load(false)?;
    for origin in &args.origin {
        check_origin(origin)?;
    }
    config.settings.server_startup_timeout = PATIENCE;
    logging::start(LogFormat::Text, "error");
    let mut report = Report::default();
    database::look(&config, &mut report).await;
    if let Some(url) = &config.settings.redis_url {
        redis::look(url, &mut report).await;
    }
    sandbox::look(&config, &mut report).await;
    scanner::look(&config, &mut report).await;
    // The buckets of other stores are not in this one.
    let config = config.of_store(MAIN_STORE);
    match config.settings.store() {
        Store::S3(url) => s3::look(&args, &config, &url, &mut report).await?,
        Store::Local => local::look(&args, &config, &mut report).await?,
    }
    print(&if args.json { report.json() } else { report.text() })?;
    if report.fails() {
        Err(Failure::silent(1))
    } else {
        Ok(())
    }
}

/// `scheme://host[:port]` (RFC 6454 §6.2): with a path it is no origin, and no browser would ever send it.
fn check_origin(origin: &str) -> Result<(), Failure> {
    let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
        matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains(['/', '?', '#', '@', ' '])
    });
    if is_origin {
        Ok(())
    } else {
        Err(Failure::usage(format!(
            "--origin must be like https://app.example, without a path, not {origin:?}"
        )))
    }
}
