//! How often uploads may be signed: by each user, and from each address.
//!
//! Applications with a service token and administrators are not counted: they answer for their users themselves, and
//! many of these come from one address.

use cloakroom_core::access::{Credential, Role};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::ports::limits::{Admission, Rate};
use http::header::{self, HeaderValue};
use jiff::SignedDuration;

use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::problem::Problem;
use crate::state::HttpState;

/// Limits on signing; `None` is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignLimits {
    /// For each user.
    pub per_user: Option<Rate>,
    /// For each address, or network of IPv6.
    pub per_address: Option<Rate>,
}

impl HttpState {
    /// Counts `cost` signatures, or refuses them all.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub(crate) async fn admit_signing(
        &self,
        caller: &Caller,
        address: ClientAddress,
        cost: u32,
    ) -> Result<(), Problem> {
        let principal = caller.principal();
        if principal.credential != Credential::AccessToken || principal.role >= Role::Admin {
            return Ok(());
        }
        let limits = self.settings.sign_limits;
        let user = limits
            .per_user
            .map(|rate| (rate, format!("sign:user:{}", principal.subject), "user"));
        let address = limits
            .per_address
            .zip(address.network())
            .map(|(rate, network)| (rate, format!("sign:address:{network}"), "address"));
        for (rate, key, scope) in user.into_iter().chain(address) {
            let admission = self.limiter.admit(&key, cost, rate, self.app.now()).await;
            if let Admission::Refused { retry_after } = admission {
                metrics::counter!("cloakroom_rate_limited_total", "scope" => scope).increment(1);
                return Err(limited(rate, scope, retry_after, |wait| {
                    format!(
                        "At most {} uploads are signed in {} s per {scope}; try again in {wait} s.",
                        rate.count,
                        period_seconds(rate)
                    )
                }));
            }
        }
        Ok(())
    }
}

/// `rate_limited` with what machines read: what the limit is, of what, and when to come again.
pub(crate) fn limited(
    rate: Rate,
    scope: &str,
    retry_after: SignedDuration,
    message: impl FnOnce(i64) -> String,
) -> Problem {
    // Rounded up: whoever comes at the full second must be let in.
    let begun = i64::from(retry_after.subsec_nanos() > 0);
    let wait = retry_after.as_secs().saturating_add(begun).clamp(1, 86_400);
    Problem::new(ErrorCode::RateLimited, message(wait))
        .with("limit", rate.count)
        .with("period_seconds", period_seconds(rate))
        .with("scope", scope)
        .with("retry_after_seconds", wait)
        .with_header(header::RETRY_AFTER, HeaderValue::from(wait))
}

/// At least one.
pub(crate) fn period_seconds(rate: Rate) -> i64 {
    rate.period.as_secs().max(1)
}
