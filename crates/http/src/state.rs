//! What every handler works with.

use std::ops::Deref;
use std::sync::Arc;

use cloakroom_core::ports::administration::Totals;
use cloakroom_core::ports::limits::{Rate, RateLimiter};
use cloakroom_core::ports::metadata::Statistics;
use cloakroom_service::App;
use cloakroom_service::health::Probe;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::api::bucket_events::BucketEventsToken;
use crate::auth::Authenticator;
use crate::auth::attempts::RefusedNetworks;
use crate::limits::StreamSlots;
use crate::meters::Meters;
use crate::rate_limits::SignLimits;

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
        }
    }
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
    /// Where too many invalid tokens came from.
    pub(crate) refused_networks: RefusedNetworks,
    /// The dependencies' last answers.
    pub(crate) probes: Timed<Arc<[Probe]>>,
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
            refused_networks: RefusedNetworks::default(),
            probes: Timed::new(SignedDuration::from_secs(2)),
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
