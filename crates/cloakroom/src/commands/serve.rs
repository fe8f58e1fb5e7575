//! `serve`: the HTTP API, and unless other processes do it, the background work. With the local store also the S3 endpoint
//! in front of it.
//!
//! The order of a start: configuration, ports, data directory, keys, stores, protocols. What can be refused without a
//! trace comes before what makes something, and each refusal is one line.

use std::path::PathBuf;
use std::sync::Arc;

use cloakroom_core::access::Role;
use cloakroom_gateway::{CorsPolicy, Gateway, GatewayOptions, Timeouts};
use cloakroom_http::HttpSettings;
use cloakroom_http::auth::mock_sign_in::MockSignIn;
use cloakroom_signing::Credentials;
use serde_json::json;
use tokio::net::TcpListener;

use super::{Failure, print};
use crate::admission::AdmittingStore;
use crate::cli::ConfigArgs;
use crate::config::adapters::Store;
use crate::config::checks::missing_for_serving;
use crate::config::layers::Problem;
use crate::config::programs::missing_programs;
use crate::config::settings::Settings;
use crate::config::{self, Config};
use crate::data_dir::{DataDir, DataDirError, Occupant, write_private};
use crate::dev::{Banner, DevKeys};
use crate::observer::observer;
use crate::process::{
    Front, Process, authenticator, bind, http_state, install_metrics, is_loopback, local_url, unless_stopped,
};
use crate::runtime::SystemClock;
use crate::stop::StopSignals;
use crate::wire::{EmbeddedEndpoint, Instance, Preparation};
use crate::{logging, wire};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Make keys, tokens and credentials, allow known ones, and let every web page in: to try things out
    #[arg(long)]
    dev: bool,
    /// Where the HTTP API listens [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where the S3 endpoint of the local store listens [default: 127.0.0.1:9000]
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
    logging::start_as(&config.settings, config.log_filter())?;
    for notice in &config.notices {
        tracing::warn!(event = "configuration_notice", "{notice}");
    }
    // From here on, so that a signal during the start is not lost.
    let mut signals = StopSignals::listen().map_err(Failure::new)?;
    let Some(server) = unless_stopped(&mut signals, Server::start(&args, &config)).await? else {
        return Ok(());
    };
    server.announce(&args)?;
    let Server {
        process,
        instance,
        data_dir,
        ..
    } = server;
    let outcome = process.run(signals, instance).await;
    if let Some(path) = &args.ready_file {
        // It says that we are ready, which is no longer so.
        let _ = std::fs::remove_file(path);
    }
    // Held to the end: until then it is in use.
    drop(data_dir);
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
    let mut missing = missing_for_serving(&config, args.dev);
    if !args.no_worker {
        missing.extend(missing_programs(&config));
    }
    if missing.is_empty() {
        Ok(config)
    } else {
        Err(Failure::configuration(missing))
    }
}

/// Where the embedded S3 endpoint listens, and what clients use there.
struct S3Front {
    listener: TcpListener,
    endpoint: EmbeddedEndpoint,
}

/// A server that is ready to serve.
struct Server {
    process: Process,
    instance: Instance,
    data_dir: Option<DataDir>,
    dev: Option<DevKeys>,
    credentials: Option<Credentials>,
    credentials_are_made: bool,
    region: String,
    api_url: String,
    s3_url: String,
    stores: String,
}

impl Server {
    async fn start(args: &Args, config: &Config) -> Result<Self, Failure> {
        let settings = &config.settings;
        let api_listener = bind("server.listen", settings.server_listen.0).await?;
        let s3_listener = if config.has_local_store() {
            Some(bind("s3.listen", settings.s3_listen.0).await?)
        } else {
            None
        };
        let api_url = settings
            .server_public_url
            .as_ref()
            .map_or_else(|| local_url(&api_listener), |url| Ok(url.with_scheme(false)))?;

        // Keys that cannot be used are refused before anything is made.
        authenticator(
            wire::auth_settings(settings, None),
            Arc::new(SystemClock::default()),
        )?;
        let data_dir = open_data_dir(config, args.dev)?;
        let dev_keys = data_dir.as_ref().map(|dir| DevKeys::new(dir.keys(), settings));
        let front = match s3_listener {
            Some(listener) => Some(s3_front(args.dev, config, dev_keys.as_ref(), listener)?),
            None => None,
        };
        let dev = dev_keys.filter(|_| args.dev);
        if let Some(keys) = dev.clone() {
            // Making an RSA key takes a moment.
            let prepared = tokio::task::spawn_blocking(move || keys.prepare()).await;
            prepared.map_err(Failure::new)?.map_err(Failure::new)?;
            let exposed = front.as_ref().is_some_and(|front| !is_loopback(&front.listener));
            if exposed || !is_loopback(&api_listener) {
                tracing::warn!(
                    event = "dev_exposed",
                    "other machines reach this development server; its keys are not protected"
                );
            }
        }
        let embedded = front.as_ref().map(|front| front.endpoint.clone());
        let s3_here = front
            .as_ref()
            .map(|front| local_url(&front.listener))
            .transpose()?;
        let mut process = Process::new(settings.server_shutdown_grace.std());
        let prometheus = install_metrics(settings, process.stop())?;
        let mut instance =
            wire::open_app(config, data_dir.as_ref(), embedded.clone(), Preparation::Buckets).await?;
        let keys = wire::auth_settings(settings, dev.as_ref());
        let authenticator = authenticator(keys, Arc::clone(&instance.app.clock))?;
        let http = HttpSettings {
            storage: wire::storage_facts(config, embedded.as_ref()),
            mock_sign_in: dev.clone().map(|keys| MockSignIn::new(Arc::new(keys))),
            ..wire::http_settings(settings, &api_url)
        };
        let state = http_state(prometheus, &instance, authenticator, http, process.stop());
        process.add_http("HTTP API", api_listener, state, Front::Whole);
        if let Some(S3Front { listener, endpoint }) = front {
            add_gateway(&mut process, settings, &instance, listener, &endpoint.credentials)?;
        }
        process.add_stores(settings, &instance);
        process.add_presence(settings, &instance, &api_url)?;
        process.add_alerts(&mut instance);
        if !args.no_worker {
            process.add_worker(settings, &instance)?;
        }
        if let Some(data_dir) = &data_dir {
            let occupant = Occupant::serving(&api_url, s3_here);
            data_dir.announce(&occupant).map_err(Failure::new)?;
        }
        let embedded = embedded.filter(|_| settings.store() == Store::Local);
        let s3_url = match &embedded {
            Some(endpoint) => Some(endpoint.url.clone()),
            None => settings.s3_public_address(),
        };
        Ok(Self {
            process,
            instance,
            data_dir,
            dev,
            credentials: embedded.map_or_else(|| configured(settings), |endpoint| Some(endpoint.credentials)),
            credentials_are_made: settings.s3_access_key.is_none(),
            region: settings.s3_region.as_str().to_owned(),
            api_url,
            s3_url: s3_url.unwrap_or_default(),
            stores: format!(
                "{}; {}",
                settings.database_description(),
                settings.store_description()
            ),
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
                stores: self.stores.clone(),
                credentials_file: self.credentials_are_made.then(|| keys.credentials_file()),
                token_file: keys.token_file(Role::User),
            };
            print(&banner.text())?;
        }
        tracing::info!(
            event = "server_ready",
            api = self.api_url,
            s3 = self.s3_url,
            stores = self.stores,
            worker = !args.no_worker,
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
        let shown = self.credentials.as_ref().filter(|_| self.dev.is_some());
        let ready = json!({
            "api_url": self.api_url,
            "s3_url": self.s3_url,
            "access_key": shown.map(|credentials| &credentials.access_key_id),
            "secret_key": shown.map(|credentials| credentials.secret_access_key.expose()),
            "region": self.region,
            "user_token": token(Role::User)?,
            "admin_token": token(Role::Admin)?,
            "data_dir": self.data_dir.as_ref().map(DataDir::path),
            "pid": std::process::id(),
        });
        Ok(format!("{ready:#}\n"))
    }
}

/// The data directory, where something is kept in one.
fn open_data_dir(config: &Config, dev: bool) -> Result<Option<DataDir>, Failure> {
    let settings = &config.settings;
    if !config.needs_data_dir(dev) {
        return Ok(None);
    }
    DataDir::open(&settings.data_dir)
        .map(Some)
        .map_err(|error| match error {
            DataDirError::InUse { .. } if config.is_shared() => Failure::new(format!(
                "{error}; every process needs a data_dir of its own for the keys of --dev"
            )),
            DataDirError::InUse { .. } => Failure::new(format!(
                "{error}; several processes need PostgreSQL and S3: set DATABASE_URL and S3_ENDPOINT"
            )),
            error @ DataDirError::Unusable { .. } => Failure::new(error),
        })
}

fn s3_front(
    dev: bool,
    config: &Config,
    keys: Option<&DevKeys>,
    listener: TcpListener,
) -> Result<S3Front, Failure> {
    let settings = &config.settings;
    let said = match settings.store() {
        Store::Local => settings.s3_public_address(),
        // That is the address of another store.
        Store::S3(_) => None,
    };
    let url = said.map_or_else(|| local_url(&listener), Ok)?;
    let credentials = embedded_credentials(dev, config, keys, is_loopback(&listener))?;
    Ok(S3Front {
        listener,
        endpoint: EmbeddedEndpoint { url, credentials },
    })
}

fn add_gateway(
    process: &mut Process,
    settings: &Settings,
    instance: &Instance,
    listener: TcpListener,
    credentials: &Credentials,
) -> Result<(), Failure> {
    let app = &instance.app;
    let local = instance.local_objects.clone();
    let local = local.ok_or_else(|| Failure::new("there is no local store for the S3 endpoint"))?;
    let known = credentials.clone();
    let lookup = move |access_key: &str| (access_key == known.access_key_id).then(|| known.clone());
    let (observer, observations) = observer(Arc::clone(app));
    let options = GatewayOptions {
        cors: CorsPolicy {
            allowed_origins: settings.s3_cors_origins.clone(),
        },
        observer: Some(Arc::new(observer)),
        timeouts: Timeouts {
            drain: settings.server_shutdown_grace.std(),
            ..Timeouts::default()
        },
        ..GatewayOptions::new(
            settings.s3_region.clone(),
            Arc::new(lookup),
            Arc::clone(&app.clock),
        )
    };
    let gateway = Gateway::new(Arc::new(AdmittingStore::new(Arc::clone(app), local)), options);
    let stopped = process.stop().clone().cancelled_owned();
    process.add(
        "S3 endpoint",
        async move { gateway.serve(listener, stopped).await },
    );
    process.add("observations", observations);
    Ok(())
}

fn configured(settings: &Settings) -> Option<Credentials> {
    let (access_key, secret_key) = (settings.s3_access_key.as_ref()?, settings.s3_secret_key.as_ref()?);
    Some(Credentials::new(access_key.expose(), secret_key.clone()))
}

/// The credentials of the embedded endpoint: configured, or made for development. Those that were made stay on this
/// machine.
fn embedded_credentials(
    dev: bool,
    config: &Config,
    keys: Option<&DevKeys>,
    local: bool,
) -> Result<Credentials, Failure> {
    // A local store has a data directory.
    let keys = keys.ok_or_else(|| Failure::new("there is no data directory for credentials"))?;
    let said = config.embedded_keys();
    let said = said.map(|(access, secret)| Credentials::new(access.expose(), secret.clone()));
    let Some(configured) = said else {
        return keys.credentials().map_err(Failure::new);
    };
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
