//! Service tokens: looked up by their SHA-256, and remembered for a moment.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::access::Principal;
use cloakroom_core::error::ErrorCode;
use cloakroom_service::App;
use http::header;
use jiff::{SignedDuration, Timestamp};

use super::jwt::CHALLENGE;
use crate::problem::Problem;

pub(super) use cloakroom_service::tokens::SERVICE_TOKEN_PREFIX;

/// A found token is believed for so long, so a revoked one is refused within five seconds.
const BELIEVED_FOR: SignedDuration = SignedDuration::from_secs(4);
/// How many tokens are remembered.
const REMEMBERED_MAX: u64 = 10_000;

/// Tokens found lately.
pub(super) struct Cache(moka::sync::Cache<[u8; 32], (Arc<Principal>, Timestamp)>);

impl Cache {
    pub(super) fn new() -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(REMEMBERED_MAX)
            .time_to_live(Duration::from_secs(BELIEVED_FOR.as_secs().unsigned_abs()))
            .build();
        Self(cache)
    }

    /// Whose token this is, if it was found lately.
    pub(super) fn remembered(&self, digest: &[u8; 32], now: Timestamp) -> Option<Arc<Principal>> {
        let (principal, until) = self.0.get(digest)?;
        (until > now).then_some(principal)
    }

    /// Whose token this is. Keys are digests, so comparing them tells nothing about the secret.
    pub(super) async fn authenticate(
        &self,
        app: &App,
        secret: &str,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Arc<Principal>, Problem> {
        if let Some(principal) = self.remembered(&digest, now) {
            return Ok(principal);
        }
        let found = app.authenticate_service_token(secret).await.map_err(|error| {
            let problem = Problem::from(error);
            match problem.code() {
                ErrorCode::InvalidToken | ErrorCode::TokenExpired => {
                    problem.with_header(header::WWW_AUTHENTICATE, CHALLENGE)
                }
                _ => problem,
            }
        })?;
        let principal = Arc::new(found);
        self.0
            .insert(digest, (Arc::clone(&principal), super::after(now, BELIEVED_FOR)));
        Ok(principal)
    }
}
