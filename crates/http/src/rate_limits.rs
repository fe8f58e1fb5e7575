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

/// What is signed. Each is counted on its own: who sends one large file in parts may sign others meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signing {
    /// So many uploads.
    Uploads(u32),
    /// Parts of an upload: one request, however many it asks for, as no upload has more than 10,000.
    Parts,
}

impl Signing {
    fn name(self) -> &'static str {
        match self {
            Self::Uploads(_) => "uploads",
            Self::Parts => "parts",
        }
    }

    fn cost(self) -> u32 {
        match self {
            Self::Uploads(count) => count,
            Self::Parts => 1,
        }
    }

    fn message(self, rate: Rate, scope: &str, wait: i64) -> String {
        let period = period_seconds(rate);
        let what = match self {
            Self::Uploads(_) => "uploads are signed",
            Self::Parts => "times are parts signed",
        };
        format!(
            "At most {} {what} in {period} s per {scope}; try again in {wait} s.",
            rate.count
        )
    }
}

impl HttpState {
    /// Counts signatures, or refuses them all.
    ///
    /// # Errors
    /// `rate_limited`, with the time to wait.
    pub(crate) async fn admit_signing(
        &self,
        caller: &Caller,
        address: ClientAddress,
        signing: Signing,
    ) -> Result<(), Problem> {
        let principal = caller.principal();
        if principal.credential != Credential::AccessToken || principal.role >= Role::Admin {
            return Ok(());
        }
        let (limits, what) = (self.settings.sign_limits, signing.name());
        let user = limits
            .per_user
            .map(|rate| (rate, format!("{what}:user:{}", principal.subject), "user"));
        let address = limits
            .per_address
            .zip(address.network())
            .map(|(rate, network)| (rate, format!("{what}:address:{network}"), "address"));
        for (rate, key, scope) in user.into_iter().chain(address) {
            let admission = self
                .limiter
                .admit(&key, signing.cost(), rate, self.app.now())
                .await;
            if let Admission::Refused { retry_after } = admission {
                metrics::counter!("cloakroom_rate_limited_total", "scope" => scope).increment(1);
                return Err(limited(rate, scope, retry_after, |wait| {
                    signing.message(rate, scope, wait)
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
