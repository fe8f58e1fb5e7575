//! What every handler works with.

use std::convert::Infallible;
use std::ops::Deref;
use std::sync::Arc;

use cloakroom_core::ports::administration::Totals;
use cloakroom_core::ports::limits::{Rate, RateLimiter};
use cloakroom_core::ports::metadata::Statistics;
use cloakroom_core::ports::objects::Circuit;
use cloakroom_service::App;
use cloakroom_service::health::Probe;
use cloakroom_service::health::storage::StorageHealth;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::api::bucket_events::BucketEventsToken;
use crate::auth::Authenticator;
use crate::auth::attempts::RefusedNetworks;
use crate::auth::mock_sign_in::MockSignIn;
use crate::dialects::Dialect;
use crate::error_rate::ErrorRate;
use crate::limits::StreamSlots;
use crate::meters::Meters;
use crate::rate_limits::SignLimits;

/// A trial of the storage costs calls of it, so nobody can have it tried more often than this (design §5).
const STORAGE_HEALTH_GOOD_FOR: SignedDuration = SignedDuration::from_secs(10);

/// What the HTTP front is told by configuration.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Origins whose scripts may call the API (`https://app.example.org`); `*` is any. Empty is none.
    pub cors_origins: Vec<String>,
    /// Where clients reach us (`https://files.example.org`), for the OpenAPI document.
    pub public_url: Option<String>,
    /// Status streams that one subject may have open at once.
    pub status_streams_max: u32,
    /// The version that is shown.
    pub version: String,
    /// How often uploads may be signed.
    pub sign_limits: SignLimits,
    /// How often an invalid token may come from one address, or network of IPv6; `None` is no limit.
    pub bad_tokens_per_address: Option<Rate>,
    /// Proxies whose word on a client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What senders of bucket events must show; without it `POST /bucket-events` answers 404.
    pub bucket_events_token: Option<BucketEventsToken>,
    /// Where clients fetch content through a delivery network whose origin we are (`https://cdn.example.org`).
    pub cdn_url: Option<String>,
    /// Collections whose downloads do not lead there, for they have a network of their own.
    pub cdn_not_for: Vec<String>,
    /// From this time on a store that answers counts as slow.
    pub storage_slow_after: SignedDuration,
    /// The founding documents' ways of speaking that are answered beside the native API.
    pub dialects: Vec<Dialect>,
    /// Share of answers in a minute that are errors of ours from which on there is an alert, in percent.
    pub alert_error_percent: u32,
    /// Where files are kept, for whoever asks whether that is configured.
    pub storage: StorageFacts,
    /// Signing in without an issuer of tokens, in development.
    pub mock_sign_in: Option<MockSignIn>,
    /// Whether `/docs` answers.
    pub docs: bool,
    /// Development: routes that exist for it, and details that are told to nobody else.
    pub debug: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            cors_origins: Vec::new(),
            public_url: None,
            status_streams_max: 100,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sign_limits: SignLimits::default(),
            bad_tokens_per_address: None,
            trusted_proxies: Vec::new(),
            bucket_events_token: None,
            cdn_url: None,
            cdn_not_for: Vec::new(),
            storage_slow_after: SignedDuration::from_secs(1),
            dialects: Vec::new(),
            alert_error_percent: 5,
            storage: StorageFacts::default(),
            mock_sign_in: None,
            docs: true,
            debug: false,
        }
    }
}

/// What is configured of the store. Never a credential: only whether there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageFacts {
    /// Address at which we reach it.
    pub endpoint: Option<String>,
    /// Address that URLs are signed for.
    pub presign_endpoint: Option<String>,
    /// Region of signatures.
    pub region: String,
    /// Whether there are credentials, configured or given out by the platform.
    pub credentials: bool,
}

/// Shared by all handlers; cloning it is cheap.
#[derive(Clone)]
pub struct HttpState(Arc<Inner>);

/// See [`HttpState`].
pub struct Inner {
    /// The use cases.
    pub app: Arc<App>,
    /// Verifies credentials.
    pub authenticator: Authenticator,
    /// What configuration says.
    pub settings: HttpSettings,
    /// Renders metrics, when a recorder is installed.
    pub prometheus: Option<PrometheusHandle>,
    /// Counts what is limited.
    pub limiter: Arc<dyn RateLimiter>,
    /// Cancelled when the server drains: streams end then.
    pub draining: CancellationToken,
    /// Open status streams.
    pub streams: StreamSlots,
    /// What is counted of answers.
    pub(crate) meters: Meters,
    /// How many of them are errors of ours.
    pub(crate) error_rate: ErrorRate,
    /// Whether the bucket of a health check was there.
    pub(crate) bucket_looks: Timed<Arc<Probe>>,
    /// Where too many invalid tokens came from.
    pub(crate) refused_networks: RefusedNetworks,
    /// The dependencies' last answers.
    pub(crate) probes: Timed<Arc<[Probe]>>,
    /// What the last trial of the storage came to.
    pub(crate) storage: Timed<Arc<StorageHealth>>,
    /// Whether the bucket of attachments was there when it was last asked for.
    pub(crate) attachments_bucket: Timed<()>,
    /// The last counts.
    pub(crate) statistics: Timed<Arc<Statistics>>,
    /// The last totals.
    pub(crate) totals: Timed<Arc<Totals>>,
}

impl HttpState {
    /// Puts the parts together. `draining` is what the caller cancels to stop the server.
    pub fn new(
        app: Arc<App>,
        authenticator: Authenticator,
        settings: HttpSettings,
        limiter: Arc<dyn RateLimiter>,
        prometheus: Option<PrometheusHandle>,
        draining: CancellationToken,
    ) -> Self {
        let streams = StreamSlots::new(settings.status_streams_max);
        Self(Arc::new(Inner {
            app,
            authenticator,
            settings,
            limiter,
            prometheus,
            draining,
            streams,
            meters: Meters::default(),
            error_rate: ErrorRate::default(),
            bucket_looks: Timed::new(SignedDuration::from_secs(2)),
            refused_networks: RefusedNetworks::default(),
            probes: Timed::new(SignedDuration::from_secs(2)),
            storage: Timed::new(STORAGE_HEALTH_GOOD_FOR),
            attachments_bucket: Timed::new(SignedDuration::from_secs(2)),
            statistics: Timed::new(SignedDuration::from_secs(5)),
            totals: Timed::new(SignedDuration::from_secs(5)),
        }))
    }
}

impl HttpState {
    /// The URL of a path of ours, as clients reach it; the path alone where that is not known.
    pub(crate) fn url_of(&self, path: &str) -> String {
        let base = self.settings.public_url.as_deref().unwrap_or_default();
        format!("{}{path}", base.trim_end_matches('/'))
    }
}

impl HttpState {
    /// What a trial of the storage came to, at most ten seconds ago.
    pub(crate) async fn storage_health(&self) -> Arc<StorageHealth> {
        let ask = async || {
            let health = self
                .app
                .storage_health(&|limit| Box::pin(tokio::time::sleep(limit)))
                .await;
            Ok::<_, Infallible>(Arc::new(health))
        };
        let Ok(health) = self.storage.get(self.app.now(), ask).await;
        health
    }

    /// That in a word: `healthy`, `degraded` when it works but slowly or is only let try again, `unhealthy`.
    pub(crate) fn storage_status(&self, health: &StorageHealth) -> &'static str {
        if !health.is_healthy() {
            "unhealthy"
        } else if health.listing.is_some()
            || health.circuit != Circuit::Closed
            || health.response_time >= self.settings.storage_slow_after
        {
            "degraded"
        } else {
            "healthy"
        }
    }
}

impl Deref for HttpState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// A value that is costly to get and may be a little old. Whoever comes while it is fetched waits for it, so a crowd
/// of askers is one question.
pub(crate) struct Timed<T> {
    good_for: SignedDuration,
    last: Mutex<Option<(Timestamp, T)>>,
}

impl<T: Clone> Timed<T> {
    fn new(good_for: SignedDuration) -> Self {
        Self {
            good_for,
            last: Mutex::new(None),
        }
    }

    /// The value as of `now`, fetched if the last one is too old. A failure is not kept.
    pub(crate) async fn get<E>(
        &self,
        now: Timestamp,
        fetch: impl AsyncFnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut last = self.last.lock().await;
        if let Some((at, value)) = &*last
            && now.duration_since(*at).abs() < self.good_for
        {
            return Ok(value.clone());
        }
        let value = fetch().await?;
        *last = Some((now, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_fetched_again_when_it_is_old() {
        let timed = Timed::new(SignedDuration::from_secs(2));
        let at = |second| Timestamp::from_second(second).expect("a time");
        assert_eq!(
            timed.get(at(10), async || Err::<u8, _>("down")).await,
            Err("down")
        );
        assert_eq!(timed.get(at(10), async || Ok::<_, ()>(1)).await, Ok(1));
        assert_eq!(timed.get(at(11), async || Ok::<_, ()>(2)).await, Ok(1));
        assert_eq!(timed.get(at(12), async || Ok::<_, ()>(3)).await, Ok(3));
    }
}
