//! `worker`: background work alone, beside any number of other processes that share PostgreSQL and S3.

use std::path::PathBuf;
use std::sync::Arc;

use cloakroom_http::AuthSettings;
use serde_json::json;

use super::Failure;
use crate::cli::ConfigArgs;
use crate::config::checks::missing_for_working;
use crate::config::programs::missing_programs;
use crate::config::{self, Config};
use crate::data_dir::write_private;
use crate::process::{
    Front, Process, authenticator, bind, http_state, install_metrics, local_url, unless_stopped,
};
use crate::runtime::SystemClock;
use crate::stop::StopSignals;
use crate::wire::{Instance, Preparation};
use crate::{logging, wire};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Processes that work together share everything that is kept: PostgreSQL (DATABASE_URL) and S3 (S3_ENDPOINT), \
    and the same collections. A worker needs no keys and no data directory."
)]
pub struct Args {
    /// Allow credentials that everybody knows: to try things out
    #[arg(long)]
    dev: bool,
    /// Where health and metrics are answered, or off [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Jobs that run at the same time [default: 4]
    #[arg(long, value_name = "N")]
    concurrency: Option<String>,
    /// When ready, write the address as JSON into this file
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Works until told to stop.
pub async fn run(args: Args) -> Result<(), Failure> {
    let config = load(&args)?;
    logging::start_as(&config.settings, config.log_filter())?;
    for notice in &config.notices {
        tracing::warn!(event = "configuration_notice", "{notice}");
    }
    let mut signals = StopSignals::listen().map_err(Failure::new)?;
    let Some(worker) = unless_stopped(&mut signals, Worker::start(&config)).await? else {
        return Ok(());
    };
    worker.announce(&args, &config)?;
    let outcome = worker.process.run(signals, worker.instance).await;
    if let Some(path) = &args.ready_file {
        // It says that we are ready, which is no longer so.
        let _ = std::fs::remove_file(path);
    }
    outcome
}

fn load(args: &Args) -> Result<Config, Failure> {
    let mut inputs = args.config.inputs(args.dev);
    let flags = [
        ("worker.listen", &args.listen, "--listen"),
        ("worker.concurrency", &args.concurrency, "--concurrency"),
    ];
    for (key, value, flag) in flags {
        inputs.flags.extend(value.clone().map(|value| (key, value, flag)));
    }
    let config = config::load(&inputs).map_err(Failure::configuration)?;
    let mut missing = missing_for_working(&config);
    missing.extend(missing_programs(&config));
    if missing.is_empty() {
        Ok(config)
    } else {
        Err(Failure::configuration(missing))
    }
}

/// A worker that is ready to work.
struct Worker {
    process: Process,
    instance: Instance,
    url: Option<String>,
}

impl Worker {
    async fn start(config: &Config) -> Result<Self, Failure> {
        let settings = &config.settings;
        let listener = match settings.worker_listen.0 {
            Some(address) => Some(bind("worker.listen", address).await?),
            None => None,
        };
        let url = listener.as_ref().map(local_url).transpose()?;
        let mut process = Process::new(settings.server_shutdown_grace.std());
        // Without a listener nobody reads them.
        let prometheus = listener
            .as_ref()
            .map(|_| install_metrics(settings, process.stop()));
        let prometheus = prometheus.transpose()?.flatten();
        let mut instance = wire::open_app(config, None, None, Preparation::Buckets).await?;
        if let (Some(listener), Some(url)) = (listener, &url) {
            // Nobody signs in here.
            let nobody = authenticator(AuthSettings::default(), Arc::new(SystemClock::default()))?;
            let state = http_state(
                prometheus,
                &instance,
                nobody,
                wire::http_settings(settings, url),
                process.stop(),
            );
            process.add_http("health endpoint", listener, state, Front::HealthAlone);
        }
        process.add_stores(settings, &instance);
        process.add_alerts(&mut instance);
        process.add_worker(settings, &instance)?;
        Ok(Self {
            process,
            instance,
            url,
        })
    }

    fn announce(&self, args: &Args, config: &Config) -> Result<(), Failure> {
        if let Some(path) = &args.ready_file {
            let ready = json!({"url": self.url, "pid": std::process::id()});
            write_private(path, format!("{ready:#}\n").as_bytes())
                .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        }
        tracing::info!(
            event = "worker_ready",
            url = self.url,
            database = %config.settings.database_description(),
            store = %config.settings.store_description(),
            concurrency = config.settings.worker_concurrency,
            "ready"
        );
        Ok(())
    }
}
