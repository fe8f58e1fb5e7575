//! Who is asking: access tokens verified locally, service tokens looked up by their digest. No network call.

pub(crate) mod attempts;
mod configured;
mod jwt;
mod keys;
pub mod mock_sign_in;
mod service_token;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::FromRequestParts;
use cloakroom_core::access::{Principal, Role};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::ports::clock::Clock;
use cloakroom_service::App;
use http::header;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

pub use configured::ConfiguredToken;
pub use jsonwebtoken::Algorithm;
pub use jwt::Expectations;
pub use keys::{KeyError, KeySource};

use crate::client_address::ClientAddress;
use crate::extract::header::visible;
use crate::problem::Problem;
use crate::state::HttpState;
use jwt::Rejected;
use keys::KeyRing;
use service_token::SERVICE_TOKEN_PREFIX;

/// A verified token is believed for so long without looking at its signature again.
const VERIFIED_FOR: SignedDuration = SignedDuration::from_secs(60);
/// How often key files are looked at, at most.
const KEY_CHECK_INTERVAL: SignedDuration = SignedDuration::from_secs(5);
/// How many verified tokens are remembered.
const VERIFIED_MAX: u64 = 50_000;
/// Longest credentials that are looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// The owner that a service token or an administrator acts for.
const OWNER_HEADER: &str = "x-cloakroom-owner";
/// Longest owner, in bytes.
const OWNER_BYTES_MAX: usize = 200;

/// How tokens are verified.
#[derive(Clone, Debug)]
pub struct AuthSettings {
    /// Keys of access tokens. Without any only service tokens are accepted.
    pub keys: Vec<KeySource>,
    /// Algorithms that tokens may be signed with: of RS256, ES256 and EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// What tokens must say.
    pub expected: Expectations,
    /// Service tokens that are not in the database.
    pub service_tokens: Vec<ConfiguredToken>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            algorithms: vec![Algorithm::RS256],
            expected: Expectations::default(),
            service_tokens: Vec::new(),
        }
    }
}

#[derive(Clone)]
struct Verified {
    principal: Arc<Principal>,
    until: Timestamp,
    generation: u64,
}

/// Verifies credentials.
pub struct Authenticator {
    settings: AuthSettings,
    clock: Arc<dyn Clock>,
    ring: ArcSwap<KeyRing>,
    /// Unix milliseconds before which key files are not looked at again.
    next_key_check: AtomicI64,
    /// By SHA-256 of the token: a dump of the memory holds no token.
    verified: moka::sync::Cache<[u8; 32], Verified>,
    service_tokens: service_token::Cache,
}

impl Authenticator {
    /// Loads the keys.
    pub fn new(settings: AuthSettings, clock: Arc<dyn Clock>) -> Result<Self, KeyError> {
        let ring = KeyRing::load(&settings.keys, &settings.algorithms, 0)?;
        let next_key_check = AtomicI64::new(after(clock.now(), KEY_CHECK_INTERVAL).as_millisecond());
        Ok(Self {
            settings,
            clock,
            ring: ArcSwap::from_pointee(ring),
            next_key_check,
            verified: moka::sync::Cache::builder()
                .max_capacity(VERIFIED_MAX)
                .time_to_live(Duration::from_secs(VERIFIED_FOR.as_secs().unsigned_abs()))
                .build(),
            service_tokens: service_token::Cache::new(),
        })
    }

    /// The caller with these credentials.
    pub async fn authenticate(&self, app: &App, token: &str) -> Result<Arc<Principal>, Problem> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let now = self.clock.now();
        if let Some(principal) = configured::find(&self.settings.service_tokens, &digest) {
            // Where too many invalid tokens come from, those that were valid just before are let in.
            let generation = self.ring.load().generation;
            self.remember(digest, &principal, after(now, VERIFIED_FOR), generation);
            return Ok(principal);
        }
        if token.starts_with(SERVICE_TOKEN_PREFIX) {
            return self.service_tokens.authenticate(app, token, digest, now).await;
        }
        if self.key_check_is_due(now) {
            self.reload_keys().await;
        }
        let ring = self.ring.load();
        if let Some(principal) = self.verified(&digest, &ring, now) {
            return Ok(principal);
        }
        match self.verify(token, digest, &ring, now) {
            Ok(principal) => Ok(principal),
            Err(Rejected::Final(problem)) => Err(problem),
            Err(Rejected::NoKey(problem)) => {
                // The issuer may have a new key that its file already shows. Bounded by the same interval, so
                // forged tokens do not make us read files all day.
                let generation = ring.generation;
                drop(ring);
                if !self.key_check_is_due(now) {
                    return Err(problem);
                }
                self.reload_keys().await;
                let ring = self.ring.load();
                if ring.generation == generation {
                    return Err(problem);
                }
                self.verify(token, digest, &ring, now)
                    .map_err(Rejected::into_problem)
            }
        }
    }

    /// The caller with these credentials if they were found valid a moment ago: costs neither a signature's check nor
    /// a question to the database.
    pub(crate) fn remembered(&self, token: &str) -> Option<Arc<Principal>> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let now = self.clock.now();
        if token.starts_with(SERVICE_TOKEN_PREFIX) {
            return self.service_tokens.remembered(&digest, now);
        }
        self.verified(&digest, &self.ring.load(), now)
    }

    fn verified(&self, digest: &[u8; 32], ring: &KeyRing, now: Timestamp) -> Option<Arc<Principal>> {
        let verified = self.verified.get(digest)?;
        (verified.until > now && verified.generation == ring.generation).then_some(verified.principal)
    }

    fn verify(
        &self,
        token: &str,
        digest: [u8; 32],
        ring: &KeyRing,
        now: Timestamp,
    ) -> Result<Arc<Principal>, Rejected> {
        if ring.is_empty() {
            return Err(jwt::invalid(
                "The token is no service token that is known here, and no other is accepted: no keys of access tokens are configured.",
            )
            .into());
        }
        let token = jwt::verify(
            token,
            ring,
            &self.settings.algorithms,
            &self.settings.expected,
            now,
        )?;
        let principal = Arc::new(token.principal);
        let until = token.expires_at.min(after(now, VERIFIED_FOR));
        self.remember(digest, &principal, until, ring.generation);
        Ok(principal)
    }

    fn remember(&self, digest: [u8; 32], principal: &Arc<Principal>, until: Timestamp, generation: u64) {
        let verified = Verified {
            principal: Arc::clone(principal),
            until,
            generation,
        };
        self.verified.insert(digest, verified);
    }

    /// Whether it is time to look at the key files; says yes to one caller per interval.
    fn key_check_is_due(&self, now: Timestamp) -> bool {
        let due = self.next_key_check.load(Ordering::Relaxed);
        let next = after(now, KEY_CHECK_INTERVAL).as_millisecond();
        now.as_millisecond() >= due
            && self
                .next_key_check
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Reads the keys again if a file changed. A file that cannot be used leaves the old keys in place.
    async fn reload_keys(&self) {
        let current = self.ring.load();
        let (digest, generation) = (current.digest, current.generation + 1);
        drop(current);
        let (sources, allowed) = (self.settings.keys.clone(), self.settings.algorithms.clone());
        let read = tokio::task::spawn_blocking(move || match KeyRing::digest_of(&sources) {
            Ok(found) if found == digest => Ok(None),
            Ok(_) => KeyRing::load(&sources, &allowed, generation).map(Some),
            Err(error) => Err(error),
        })
        .await;
        match read {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(ring))) => {
                self.ring.store(Arc::new(ring));
                self.verified.invalidate_all();
                tracing::info!(
                    event = "auth_keys_reloaded",
                    generation,
                    "keys of access tokens were reloaded"
                );
            }
            Ok(Err(error)) => {
                tracing::error!(event = "auth_keys_reload_failed", %error, "the keys of access tokens stay as they were");
            }
            Err(error) => tracing::error!(event = "auth_keys_reload_failed", %error, "reading keys panicked"),
        }
    }
}

fn after(now: Timestamp, span: SignedDuration) -> Timestamp {
    now.checked_add(span).unwrap_or(Timestamp::MAX)
}

/// The authenticated caller, as an extractor. The first argument of every handler below `/api/v1`, so nothing of a
/// request is read before its sender is known.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Arc<Principal>,
    /// The owner named by `x-cloakroom-owner`.
    owner: Option<String>,
}

impl Caller {
    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whom the request is for, when it says so: the body's `owner`, else the header's. Two that disagree are
    /// refused.
    pub fn owner(&self, in_body: Option<String>) -> Result<Option<String>, Problem> {
        match (in_body, &self.owner) {
            (Some(body), Some(header)) if body != *header => Err(Problem::new(
                ErrorCode::InvalidRequest,
                "The field `owner` and the header `x-cloakroom-owner` name different owners.",
            )
            .with("field", "owner")),
            (Some(body), _) => Ok(Some(body)),
            (None, header) => Ok(header.clone()),
        }
    }

    /// Refuses everybody below a role.
    pub fn require(&self, role: Role) -> Result<&Principal, Problem> {
        if self.principal.role >= role {
            return Ok(&self.principal);
        }
        Err(Problem::new(
            ErrorCode::InsufficientPermissions,
            format!("This needs the role {}.", role.as_str()),
        )
        .with("required_role", role.as_str()))
    }
}

impl FromRequestParts<HttpState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let token = bearer(parts)?;
        let principal = state.authenticate(token, ClientAddress::of(parts, state)).await?;
        tracing::Span::current().record("user_id", principal.subject.as_str());
        let owner = owner_header(parts, &principal)?;
        Ok(Self { principal, owner })
    }
}

/// A caller who is an administrator. Everybody else is refused before anything of the request is looked at.
pub struct Administrator(pub Arc<Principal>);

impl FromRequestParts<HttpState> for Administrator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        caller.require(Role::Admin)?;
        Ok(Self(caller.principal))
    }
}

/// The token of `Authorization: Bearer <token>` (RFC 6750 §2.1).
fn bearer(parts: &Parts) -> Result<&str, Problem> {
    let missing = || {
        Problem::new(
            ErrorCode::Unauthenticated,
            "Send an access token: `Authorization: Bearer <token>`.",
        )
    };
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(Problem::new(
            ErrorCode::Unauthenticated,
            "Send one Authorization header, not several.",
        ));
    }
    let value = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    if token.len() > TOKEN_BYTES_MAX {
        return Err(jwt::invalid("The token is longer than any that is issued here."));
    }
    Ok(token)
}

fn owner_header(parts: &Parts, principal: &Principal) -> Result<Option<String>, Problem> {
    let Some(owner) = visible(&parts.headers, OWNER_HEADER, OWNER_BYTES_MAX)? else {
        return Ok(None);
    };
    if owner != principal.subject && !principal.may_act_for_others() {
        return Err(Problem::new(
            ErrorCode::InsufficientPermissions,
            "Only service tokens and administrators may name another owner.",
        )
        .with("parameter", OWNER_HEADER));
    }
    Ok(Some(owner))
}
