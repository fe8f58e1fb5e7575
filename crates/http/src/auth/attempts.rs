//! Invalid tokens, limited per address: nobody can guess, and neither checking signatures nor looking for tokens in the
//! database can be made to use up the machine.
//!
//! Failures are counted after the fact, as nobody knows one before. Once an address has had too many, what it sends is
//! refused unread until the limit lets one more through. Tokens that were valid a moment ago still are: who shares the
//! address with an attacker and is at work is not disturbed.

use std::net::IpAddr;
use std::sync::Arc;

use cloakroom_core::access::Principal;
use cloakroom_core::ports::limits::{Admission, Rate};
use jiff::Timestamp;

use super::after;
use crate::client_address::ClientAddress;
use crate::problem::Problem;
use crate::rate_limits::{limited, period_seconds};
use crate::state::HttpState;

/// How many networks are remembered: of more, one is counted anew.
const NETWORKS_MAX: u64 = 50_000;

/// Networks from which no token is looked at, and until when.
pub(crate) struct RefusedNetworks(moka::sync::Cache<IpAddr, Timestamp>);

impl Default for RefusedNetworks {
    fn default() -> Self {
        Self(moka::sync::Cache::new(NETWORKS_MAX))
    }
}

impl HttpState {
    /// The caller with these credentials.
    ///
    /// # Errors
    /// `invalid_token` and its like; `rate_limited` from where too many of these came.
    pub(crate) async fn authenticate(
        &self,
        token: &str,
        address: ClientAddress,
    ) -> Result<Arc<Principal>, Problem> {
        if let Err(refused) = self.admit_attempt(address) {
            return self.authenticator.remembered(token).ok_or(refused);
        }
        let authenticated = self.authenticator.authenticate(&self.app, token).await;
        if let Err(problem) = &authenticated
            && problem.status() == http::StatusCode::UNAUTHORIZED
        {
            self.count_failure(address).await;
        }
        authenticated
    }

    /// Whether a token from there is looked at.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub(crate) fn admit_attempt(&self, address: ClientAddress) -> Result<(), Problem> {
        let Some((rate, network)) = self.attempts_of(address) else {
            return Ok(());
        };
        let now = self.app.now();
        let Some(until) = self.refused_networks.0.get(&network).filter(|until| *until > now) else {
            return Ok(());
        };
        metrics::counter!("cloakroom_rate_limited_total", "scope" => "bad_tokens").increment(1);
        Err(limited(rate, "address", until.duration_since(now), |wait| {
            format!(
                "More than {} invalid tokens in {} s came from this address; try again in {wait} s.",
                rate.count,
                period_seconds(rate)
            )
        }))
    }

    /// An invalid token came from there.
    pub(crate) async fn count_failure(&self, address: ClientAddress) {
        let Some((rate, network)) = self.attempts_of(address) else {
            return;
        };
        let now = self.app.now();
        let key = format!("bad-token:address:{network}");
        if let Admission::Refused { retry_after } = self.limiter.admit(&key, 1, rate, now).await {
            self.refused_networks.0.insert(network, after(now, retry_after));
        }
    }

    fn attempts_of(&self, address: ClientAddress) -> Option<(Rate, IpAddr)> {
        self.settings.bad_tokens_per_address.zip(address.network())
    }
}
