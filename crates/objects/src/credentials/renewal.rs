//! Temporary credentials: kept, and fetched anew before they end, so that neither a request nor a URL is signed with what
//! is about to be refused.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use cloakroom_core::ports::clock::Clock;
use cloakroom_signing::Credentials;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Mutex;

use super::CredentialsError;
use super::issued::{Issued, Issuer};

/// So long before their end credentials are fetched anew; until the end the old ones serve if that fails. EC2 has new ones
/// from five minutes before on; URLs that are signed live as long as the credentials at most.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_mins(15);
/// Credentials that live no longer than twice that are fetched anew when half of their life is over.
const RENEW_BEFORE_SHARE: i32 = 2;
/// Credentials so close to their end are of no use any more: the request is on its way for a while.
const USELESS_BEFORE: SignedDuration = SignedDuration::from_secs(10);
/// After a failure the next try is so much later, while the old ones serve.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// Attempts at what may be temporary, and the wait after the first; it doubles.
const ATTEMPTS_MAX: u32 = 3;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(200);

/// Credentials of an issuer, as fresh as they need to be.
pub(super) struct Renewed {
    issuer: Box<dyn Issuer>,
    clock: Arc<dyn Clock>,
    state: ArcSwap<State>,
    /// One at a time asks.
    asking: Mutex<()>,
}

struct State {
    credentials: Credentials,
    expires_at: Option<Timestamp>,
    renew_at: Option<Timestamp>,
}

impl Renewed {
    /// Fetches the first ones.
    pub(super) async fn new(
        issuer: Box<dyn Issuer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CredentialsError> {
        let issued = attempts(&*issuer).await?;
        let state = State::new(issued, clock.now());
        if state.is_useless(clock.now()) {
            return Err(ended(&*issuer));
        }
        Ok(Self {
            issuer,
            state: ArcSwap::from_pointee(state),
            clock,
            asking: Mutex::new(()),
        })
    }

    pub(super) fn latest(&self) -> Credentials {
        self.state.load().credentials.clone()
    }

    /// Credentials that are good for a while.
    pub(super) async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        if !self.state.load().is_due(self.clock.now()) {
            return Ok(self.latest());
        }
        let asking = if self.state.load().is_useless(self.clock.now()) {
            self.asking.lock().await
        } else {
            // Somebody asks already, and the old ones are good until there are new ones.
            let Ok(asking) = self.asking.try_lock() else {
                return Ok(self.latest());
            };
            asking
        };
        let now = self.clock.now();
        if !self.state.load().is_due(now) {
            return Ok(self.latest());
        }
        let renewed = attempts(&*self.issuer)
            .await
            .map(|issued| State::new(issued, now));
        let renewed = renewed.and_then(|state| {
            if state.is_useless(now) {
                Err(ended(&*self.issuer))
            } else {
                Ok(state)
            }
        });
        let outcome = match renewed {
            Ok(state) => {
                tracing::debug!(
                    event = "credentials_renewed",
                    issuer = self.issuer.name(),
                    "new credentials for the object store"
                );
                self.state.store(Arc::new(state));
                Ok(self.latest())
            }
            Err(error) => {
                tracing::warn!(event = "credentials_not_renewed", issuer = self.issuer.name(), %error, "the credentials for the object store were not renewed");
                let last = self.state.load();
                if last.is_useless(now) {
                    Err(error)
                } else {
                    self.state.store(Arc::new(State {
                        credentials: last.credentials.clone(),
                        expires_at: last.expires_at,
                        renew_at: now.checked_add(RETRY_AFTER).ok(),
                    }));
                    Ok(last.credentials.clone())
                }
            }
        };
        drop(asking);
        outcome
    }
}

impl State {
    fn new(issued: Issued, now: Timestamp) -> Self {
        let renew_at = issued.expires_at.and_then(|end| {
            let before = (end.duration_since(now) / RENEW_BEFORE_SHARE).min(RENEW_BEFORE);
            end.checked_sub(before).ok()
        });
        Self {
            credentials: issued.credentials,
            expires_at: issued.expires_at,
            renew_at,
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.renew_at.is_some_and(|due| due <= now) || self.is_useless(now)
    }

    fn is_useless(&self, now: Timestamp) -> bool {
        self.expires_at
            .is_some_and(|end| end.duration_since(now) <= USELESS_BEFORE)
    }
}

fn ended(issuer: &dyn Issuer) -> CredentialsError {
    CredentialsError::Unreadable {
        issuer: issuer.name(),
        reason: "it gave out credentials that have ended; do the clocks agree?".to_owned(),
    }
}

async fn attempts(issuer: &dyn Issuer) -> Result<Issued, CredentialsError> {
    let mut pause = ATTEMPT_PAUSE;
    for _ in 1..ATTEMPTS_MAX {
        match issuer.issue().await {
            Err(error) if error.is_temporary() => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
    issuer.issue().await
}
