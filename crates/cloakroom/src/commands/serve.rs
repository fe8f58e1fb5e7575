//! `serve`: the whole server in one process.
//!
//! The order of a start: configuration, ports, data directory, keys, stores, protocols. What can be refused without a
//! trace comes before what makes something, and each refusal is one line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::access::Role;
use cloakroom_core::ports::clock::Clock;
use cloakroom_gateway::{CorsPolicy, Gateway, GatewayOptions, Timeouts};
use cloakroom_http::{AuthSettings, Authenticator, HttpSettings, HttpState};
use cloakroom_service::App;
use cloakroom_signing::Credentials;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Failure, print};
use crate::admission::AdmittingStore;
use crate::cli::ConfigArgs;
use crate::config::layers::Problem;
use crate::config::{self, Config, missing_for_serving};
use crate::data_dir::{DataDir, Occupant, write_private};
use crate::dev::{Banner, DevKeys};
use crate::observer::observer;
use crate::runtime::SystemClock;
use crate::stop::{StopSignals, exit_at_next};
use crate::{logging, wire};

/// After the grace period, tasks that did not end are dropped; the process waits this long for its own bookkeeping.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Make keys, tokens and credentials, allow known ones, and let every web page in: to try things out
    #[arg(long)]
    dev: bool,
    /// Where the HTTP API listens [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the S3 endpoint listens [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDRESS")]
    s3_listen: Option<String>,
    /// Do no background work in this process: confirmed files wait for a worker
    #[arg(long)]
    no_worker: bool,
    /// When ready, write addresses (and under --dev credentials and tokens) as JSON into this file
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Serves until told to stop.
pub async fn run(args: Args) -> Result<(), Failure> {
    let config = load(&args)?;
    logging::start(config.settings.log_format, config.log_filter());
    for notice in &config.notices {
        tracing::warn!(event = "configuration_notice", "{notice}");
    }
    // From here on, so that a signal during the start is not lost.
    let signals = StopSignals::listen().map_err(Failure::new)?;
    let server = Server::start(&args, &config).await?;
    server.announce(&args)?;
    let outcome = server.serve(signals).await;
    if let Some(path) = &args.ready_file {
        // It says that we are ready, which is no longer so.
        let _ = std::fs::remove_file(path);
    }
    outcome
}

fn load(args: &Args) -> Result<Config, Failure> {
    let mut inputs = args.config.inputs(args.dev);
    let flags = [
        ("server.listen", &args.listen, "--listen"),
        ("s3.listen", &args.s3_listen, "--s3-listen"),
    ];
    for (key, value, flag) in flags {
        inputs.flags.extend(value.clone().map(|value| (key, value, flag)));
    }
    let config = config::load(&inputs).map_err(Failure::configuration)?;
    let missing = if args.dev {
        Vec::new()
    } else {
        missing_for_serving(&config.settings)
    };
    if missing.is_empty() {
        Ok(config)
    } else {
        Err(Failure::configuration(missing))
    }
}

/// A server that is ready to serve.
struct Server {
    tasks: JoinSet<(&'static str, Result<(), String>)>,
    stop: CancellationToken,
    instance: wire::Instance,
    grace: Duration,
    data_dir: DataDir,
    dev: Option<DevKeys>,
    credentials: Credentials,
    credentials_are_made: bool,
    region: String,
    api_url: String,
    s3_url: String,
}

impl Server {
    async fn start(args: &Args, config: &Config) -> Result<Self, Failure> {
        let settings = &config.settings;
        let api_listener = bind("server.listen", settings.server_listen.0).await?;
        let s3_listener = bind("s3.listen", settings.s3_listen.0).await?;
        let api_url = settings
            .server_public_url
            .as_ref()
            .map_or_else(|| local_url(&api_listener), |url| Ok(url.with_scheme(false)))?;
        let s3_url = config
            .s3_public_url()
            .map_or_else(|| local_url(&s3_listener), Ok)?;

        // Keys that cannot be used are refused before anything is made.
        authenticator(
            wire::auth_settings(settings, None),
            Arc::new(SystemClock::default()),
        )?;
        let data_dir = DataDir::open(&settings.data_dir).map_err(Failure::new)?;
        let dev_keys = DevKeys::new(data_dir.keys(), settings);
        let credentials = credentials(args.dev, config, &dev_keys, is_loopback(&s3_listener))?;
        let dev = args.dev.then_some(dev_keys);
        if let Some(keys) = dev.clone() {
            // Making an RSA key takes a moment.
            let prepared = tokio::task::spawn_blocking(move || keys.prepare()).await;
            prepared.map_err(Failure::new)?.map_err(Failure::new)?;
        }
        if dev.is_some() && !(is_loopback(&api_listener) && is_loopback(&s3_listener)) {
            tracing::warn!(
                event = "dev_exposed",
                "other machines reach this development server; its keys are not protected"
            );
        }
        let instance = wire::open_app(config, &data_dir, &s3_url, credentials.clone()).await?;
        let app = &instance.app;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let router = cloakroom_http::router(api(config, app, dev.as_ref(), &api_url, stop.clone())?);
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            let served = cloakroom_http::serve(api_listener, router, stopped).await;
            ("HTTP API", served.map_err(|error| error.to_string()))
        });
        let (gateway, observations) = gateway(config, &instance, &credentials);
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            gateway.serve(s3_listener, stopped).await;
            ("S3 endpoint", Ok(()))
        });
        tasks.spawn(async move {
            observations.await;
            ("observations", Ok(()))
        });
        if !args.no_worker {
            let (app, options, stopped) = (Arc::clone(app), wire::worker_options(settings), stop.clone());
            tasks.spawn(async move {
                cloakroom_worker::run(app, options, stopped).await;
                ("worker", Ok(()))
            });
        }
        data_dir
            .announce(&Occupant {
                pid: Some(std::process::id()),
                api_url: Some(api_url.clone()),
            })
            .map_err(Failure::new)?;
        Ok(Self {
            tasks,
            stop,
            instance,
            grace: settings.server_shutdown_grace.std(),
            data_dir,
            dev,
            credentials,
            credentials_are_made: settings.s3_access_key.is_none(),
            region: settings.s3_region.as_str().to_owned(),
            api_url,
            s3_url,
        })
    }

    /// Says where everything is: a log line, the ready file, and under `--dev` a message for people.
    fn announce(&self, args: &Args) -> Result<(), Failure> {
        if let Some(path) = &args.ready_file {
            let text = self.ready_text()?;
            write_private(path, text.as_bytes())
                .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
        }
        if let Some(keys) = &self.dev {
            let banner = Banner {
                api_url: self.api_url.clone(),
                s3_url: self.s3_url.clone(),
                data_dir: self.data_dir.path().to_owned(),
                credentials_file: self.credentials_are_made.then(|| keys.credentials_file()),
                token_file: keys.token_file(Role::User),
            };
            print(&banner.text())?;
        }
        tracing::info!(
            event = "server_ready",
            api = self.api_url,
            s3 = self.s3_url,
            data_dir = %self.data_dir.path().display(),
            dev = self.dev.is_some(),
            "ready"
        );
        Ok(())
    }

    fn ready_text(&self) -> Result<String, Failure> {
        let token = |role| match &self.dev {
            Some(keys) => std::fs::read_to_string(keys.token_file(role))
                .map(Some)
                .map_err(Failure::new),
            None => Ok(None),
        };
        let dev = self.dev.is_some();
        let ready = json!({
            "api_url": self.api_url,
            "s3_url": self.s3_url,
            "access_key": dev.then_some(&self.credentials.access_key_id),
            "secret_key": dev.then(|| self.credentials.secret_access_key.expose()),
            "region": self.region,
            "user_token": token(Role::User)?,
            "admin_token": token(Role::Admin)?,
            "data_dir": self.data_dir.path(),
            "pid": std::process::id(),
        });
        Ok(format!("{ready:#}\n"))
    }

    /// Serves until a signal comes or a part fails, then drains.
    async fn serve(mut self, mut signals: StopSignals) -> Result<(), Failure> {
        let outcome = tokio::select! {
            signal = signals.next() => {
                tracing::info!(event = "server_stopping", signal, "finishing what is under way; a second signal stops at once");
                Ok(())
            }
            ended = self.tasks.join_next() => Err(Failure::new(describe(ended))),
        };
        let hasty = tokio::spawn(exit_at_next(signals));
        self.stop.cancel();
        let drain = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.grace + LAST_WORDS, drain)
            .await
            .is_err()
        {
            tracing::warn!(
                event = "server_drain_timeout",
                "some work did not end in time and is cut off"
            );
            self.tasks.shutdown().await;
        }
        hasty.abort();
        let instance = self.instance;
        let closed = tokio::task::spawn_blocking(move || instance.close()).await;
        closed.map_err(Failure::new)?.map_err(Failure::new)?;
        tracing::info!(event = "server_stopped", "stopped");
        outcome
    }
}

type Ended = Option<Result<(&'static str, Result<(), String>), tokio::task::JoinError>>;

/// A part that ends by itself is a defect or a broken machine; the others cannot do without it.
fn describe(ended: Ended) -> String {
    match ended {
        Some(Ok((part, Err(error)))) => format!("the {part} failed: {error}"),
        Some(Ok((part, Ok(())))) => format!("the {part} ended unexpectedly"),
        Some(Err(error)) => format!("a part of the server failed: {error}"),
        None => "nothing is running".to_owned(),
    }
}

fn gateway(
    config: &Config,
    instance: &wire::Instance,
    credentials: &Credentials,
) -> (Gateway, impl Future<Output = ()> + Send + use<>) {
    let app = &instance.app;
    let known = credentials.clone();
    let lookup = move |access_key: &str| (access_key == known.access_key_id).then(|| known.clone());
    let (observer, observations) = observer(Arc::clone(app));
    let options = GatewayOptions {
        cors: CorsPolicy {
            allowed_origins: config.settings.s3_cors_origins.clone(),
        },
        observer: Some(Arc::new(observer)),
        timeouts: Timeouts {
            drain: config.settings.server_shutdown_grace.std(),
            ..Timeouts::default()
        },
        ..GatewayOptions::new(
            config.settings.s3_region.clone(),
            Arc::new(lookup),
            Arc::clone(&app.clock),
        )
    };
    (
        Gateway::new(Arc::new(AdmittingStore::new(Arc::clone(app))), options),
        observations,
    )
}

fn api(
    config: &Config,
    app: &Arc<App>,
    dev: Option<&DevKeys>,
    api_url: &str,
    stop: CancellationToken,
) -> Result<HttpState, Failure> {
    let settings = &config.settings;
    let authenticator = authenticator(wire::auth_settings(settings, dev), Arc::clone(&app.clock))?;
    let prometheus = settings.metrics_enabled.then(cloakroom_http::metrics::install);
    let prometheus = prometheus.transpose().map_err(Failure::new)?;
    let http_settings = HttpSettings {
        cors_origins: settings.server_cors_origins.clone(),
        public_url: Some(api_url.to_owned()),
        ..HttpSettings::default()
    };
    Ok(HttpState::new(
        Arc::clone(app),
        authenticator,
        http_settings,
        prometheus,
        stop,
    ))
}

/// The credentials of the S3 endpoint: configured, or made for development. Those that were made stay on this machine.
fn credentials(dev: bool, config: &Config, keys: &DevKeys, local: bool) -> Result<Credentials, Failure> {
    let settings = &config.settings;
    let (Some(access_key), Some(secret_key)) = (&settings.s3_access_key, &settings.s3_secret_key) else {
        return keys.credentials().map_err(Failure::new);
    };
    let configured = Credentials::new(access_key.expose(), secret_key.clone());
    if !dev
        && !local
        && keys
            .stored_credentials()
            .map_err(Failure::new)?
            .is_some_and(|made| made == configured)
    {
        return Err(Failure::configuration(vec![Problem(
            "s3.access_key and s3.secret_key were made by --dev; choose others for an address that other machines reach".to_owned(),
        )]));
    }
    Ok(configured)
}

fn is_loopback(listener: &TcpListener) -> bool {
    listener
        .local_addr()
        .is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

fn authenticator(settings: AuthSettings, clock: Arc<dyn Clock>) -> Result<Authenticator, Failure> {
    Authenticator::new(settings, clock)
        .map_err(|error| Failure::configuration(vec![Problem(error.to_string())]))
}

async fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::new(format!("cannot listen on {address} ({key}): {error}"));
    TcpListener::bind(address).await.map_err(failed)
}

/// The address as a client on this machine writes it.
fn local_url(listener: &TcpListener) -> Result<String, Failure> {
    let address = listener.local_addr().map_err(Failure::new)?;
    Ok(if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    })
}
