//! A process that serves: its parts run side by side until one fails or a signal comes, then drain together.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::clock::Clock;
use cloakroom_http::{AuthSettings, Authenticator, HttpSettings};
use cloakroom_service::App;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::commands::Failure;
use crate::config::layers::Problem;
use crate::config::settings::Settings;
use crate::stop::{StopSignals, exit_at_next};
use crate::wire::{self, Instance};

/// After the grace period, tasks that did not end are dropped; the process waits this long for its own bookkeeping.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The parts of a process.
pub struct Process {
    parts: JoinSet<(&'static str, Result<(), String>)>,
    stop: CancellationToken,
    grace: Duration,
}

impl Process {
    /// Without parts. What is under way when it is told to stop may take `grace`.
    pub fn new(grace: Duration) -> Self {
        Self {
            parts: JoinSet::new(),
            stop: CancellationToken::new(),
            grace,
        }
    }

    /// Cancelled when the process is told to stop.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Adds a part, which ends when the process is told to stop.
    pub fn add(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.parts.spawn(async move {
            part.await;
            (name, Ok(()))
        });
    }

    /// Answers HTTP.
    pub fn add_http(
        &mut self,
        name: &'static str,
        listener: TcpListener,
        state: cloakroom_http::HttpState,
        kind: Front,
    ) {
        let stopped = self.stop.clone().cancelled_owned();
        let router = match kind {
            Front::Whole => cloakroom_http::router(state),
            Front::HealthAlone => cloakroom_http::router::health_router(state),
        };
        self.parts.spawn(async move {
            let served = cloakroom_http::serve(listener, router, stopped).await;
            (name, served.map_err(|error| error.to_string()))
        });
    }

    /// Does background work: jobs, sweeps when this process leads, what queues tell, webhooks.
    pub fn add_worker(&mut self, settings: &Settings, instance: &Instance) -> Result<(), Failure> {
        for (name, source) in wire::bucket_event_sources(settings, instance, &self.stop)? {
            self.add(name, source);
        }
        let (app, leases): (Arc<App>, _) = (Arc::clone(&instance.app), Arc::clone(&instance.leases));
        let options = wire::worker_options(settings, &instance.id);
        if let Some(webhooks) = wire::webhook_options(settings, &options)? {
            let deliveries = cloakroom_worker::deliveries::run(Arc::clone(&app), webhooks, self.stop.clone());
            self.add("webhooks", deliveries);
        }
        let work = cloakroom_worker::run(app, leases, options, self.stop.clone());
        self.add("worker", work);
        Ok(())
    }

    /// Tells alerts, where that is configured.
    pub fn add_alerts(&mut self, instance: &mut Instance) {
        if let Some(courier) = instance.alerts.take() {
            let stop = self.stop.clone();
            self.parts.spawn(async move {
                let told = courier.run(stop).await;
                ("alerts", told.map_err(|error| error.to_string()))
            });
        }
    }

    /// Says in Redis that this process is there, where there is one.
    pub fn add_presence(
        &mut self,
        settings: &Settings,
        instance: &Instance,
        url: &str,
    ) -> Result<(), Failure> {
        if let Some(announcer) = wire::announcer(settings, &instance.id, url)? {
            let said = announcer.run(Arc::clone(&instance.app), self.stop.clone());
            self.add("presence", said);
        }
        Ok(())
    }

    /// Keeps the modes of the stores fresh, and decides on them when this process is the one that is elected.
    pub fn add_stores(&mut self, settings: &Settings, instance: &Instance) {
        let options = wire::worker_options(settings, &instance.id);
        let (app, leases) = (Arc::clone(&instance.app), Arc::clone(&instance.leases));
        let stores =
            cloakroom_worker::stores::run(app, leases, options.id, options.leader_lease, self.stop.clone());
        self.add("stores", stores);
    }

    /// Runs until a signal comes or a part fails, then drains and closes the database.
    pub async fn run(mut self, mut signals: StopSignals, instance: Instance) -> Result<(), Failure> {
        let outcome = tokio::select! {
            signal = signals.next() => {
                tracing::info!(event = "server_stopping", signal, "finishing what is under way; a second signal stops at once");
                Ok(())
            }
            ended = self.parts.join_next() => Err(Failure::new(describe(ended))),
        };
        let hasty = tokio::spawn(exit_at_next(signals));
        self.stop.cancel();
        let drain = async { while self.parts.join_next().await.is_some() {} };
        if tokio::time::timeout(self.grace + LAST_WORDS, drain)
            .await
            .is_err()
        {
            tracing::warn!(
                event = "server_drain_timeout",
                "some work did not end in time and is cut off"
            );
            self.parts.shutdown().await;
        }
        hasty.abort();
        // The database last: everything else may still have something to say.
        instance.close().await?;
        tracing::info!(event = "server_stopped", "stopped");
        outcome
    }
}

/// How much of the HTTP front a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// The API, and everything beside it.
    Whole,
    /// Health and metrics.
    HealthAlone,
}

type Ended = Option<Result<(&'static str, Result<(), String>), JoinError>>;

/// A part that ends by itself is a defect or a broken machine; the others cannot do without it.
fn describe(ended: Ended) -> String {
    match ended {
        Some(Ok((part, Err(error)))) => format!("the {part} failed: {error}"),
        Some(Ok((part, Ok(())))) => format!("the {part} ended unexpectedly"),
        Some(Err(error)) => format!("a part of the process failed: {error}"),
        None => "nothing is running".to_owned(),
    }
}

/// Starts, unless a signal comes first: then there is nothing to drain.
pub async fn unless_stopped<T>(
    signals: &mut StopSignals,
    start: impl Future<Output = Result<T, Failure>>,
) -> Result<Option<T>, Failure> {
    tokio::select! {
        started = start => started.map(Some),
        signal = signals.next() => {
            tracing::info!(event = "server_stopped", signal, "stopped before it was ready");
            Ok(None)
        }
    }
}

/// Listens on the address of a setting.
pub async fn bind(key: &str, address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::new(format!("cannot listen on {address} ({key}): {error}"));
    TcpListener::bind(address).await.map_err(failed)
}

/// The address as a client on this machine writes it.
pub fn local_url(listener: &TcpListener) -> Result<String, Failure> {
    let address = listener.local_addr().map_err(Failure::new)?;
    Ok(if address.ip().is_unspecified() {
        format!("http://localhost:{}", address.port())
    } else {
        format!("http://{address}")
    })
}

/// Whether only this machine reaches it.
pub fn is_loopback(listener: &TcpListener) -> bool {
    listener
        .local_addr()
        .is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

/// What checks access tokens.
pub fn authenticator(settings: AuthSettings, clock: Arc<dyn Clock>) -> Result<Authenticator, Failure> {
    Authenticator::new(settings, clock)
        .map_err(|error| Failure::configuration(vec![Problem(error.to_string())]))
}

/// Installs what counts and times, where `settings.metrics_enabled`: once in a process, and before anything that reports.
pub fn install_metrics(
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Option<PrometheusHandle>, Failure> {
    let prometheus = settings.metrics_enabled.then(cloakroom_http::metrics::install);
    let prometheus = prometheus.transpose().map_err(Failure::new)?;
    if let Some(handle) = prometheus.clone() {
        let upkeep = cloakroom_http::metrics::keep_up(handle);
        tokio::spawn(stop.clone().run_until_cancelled_owned(upkeep));
    }
    Ok(prometheus)
}

/// What the HTTP front works with.
pub fn http_state(
    prometheus: Option<PrometheusHandle>,
    instance: &Instance,
    authenticator: Authenticator,
    http: HttpSettings,
    stop: &CancellationToken,
) -> cloakroom_http::HttpState {
    cloakroom_http::HttpState::new(
        Arc::clone(&instance.app),
        authenticator,
        http,
        Arc::clone(&instance.limiter),
        prometheus,
        stop.clone(),
    )
}
