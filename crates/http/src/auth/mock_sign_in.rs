//! Signing in without anybody who sends codes (S0: "mock OTP"): for development, where this process makes its own keys.
//!
//! There is a code, and it has to be given back, so that a client's whole flow can be run; but it stands in the answer instead
//! of in a message. Whoever reaches such a server may be anybody, with the role `user`: so it takes both `debug` and a key to
//! sign tokens with, which only `--dev` has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::error::ErrorCode;
use cloakroom_service::App;
use jiff::SignedDuration;
use subtle::ConstantTimeEq as _;

use crate::problem::{Problem, Result};

/// How long a code is good, in seconds.
pub(crate) const CODE_LIFE_SECONDS: u64 = 300;
/// Wrong guesses after which a code is void.
const GUESSES_MAX: u32 = 5;
/// Codes that wait.
const WAITING_MAX: u64 = 10_000;
/// How long a token is good that was got so.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// Makes access tokens.
pub trait TokenIssuer: Send + Sync {
    /// A token for this user with the role `user`, good for so long; `None` when the key cannot be used.
    fn issue(&self, user: &str, life: SignedDuration) -> Option<String>;
}

/// The codes that wait, and who makes tokens for them.
#[derive(Clone)]
pub struct MockSignIn {
    issuer: Arc<dyn TokenIssuer>,
    waiting: moka::sync::Cache<String, Arc<Code>>,
}

struct Code {
    digits: String,
    guesses: AtomicU32,
}

impl fmt::Debug for MockSignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MockSignIn")
    }
}

/// A token, and whose it is.
pub(crate) struct SignedIn {
    pub(crate) token: String,
    pub(crate) principal: Principal,
    pub(crate) life_seconds: u64,
}

impl MockSignIn {
    /// With tokens of this issuer.
    pub fn new(issuer: Arc<dyn TokenIssuer>) -> Self {
        Self {
            issuer,
            waiting: moka::sync::Cache::builder()
                .max_capacity(WAITING_MAX)
                .time_to_live(Duration::from_secs(CODE_LIFE_SECONDS))
                .build(),
        }
    }

    /// A new code for a phone number or an e-mail address; the one before is void.
    pub(crate) fn begin(&self, app: &App, login: &str) -> String {
        // The end of a UUIDv7 is random.
        let random = app.random.uuid_v7(app.now()).as_u128() & u128::from(u64::MAX >> 2);
        let digits = format!("{:06}", random % 1_000_000);
        let code = Code {
            digits: digits.clone(),
            guesses: AtomicU32::new(0),
        };
        self.waiting.insert(login.to_owned(), Arc::new(code));
        digits
    }

    /// A token for who gives the code back. A code is good once.
    pub(crate) fn finish(&self, login: &str, digits: &str) -> Result<SignedIn> {
        let wrong = || {
            Problem::new(
                ErrorCode::Unauthenticated,
                "The code is wrong or its time is over; ask for a new one.",
            )
        };
        let code = self.waiting.get(login).ok_or_else(wrong)?;
        if code.guesses.fetch_add(1, Ordering::Relaxed) >= GUESSES_MAX {
            return Err(wrong());
        }
        if !bool::from(code.digits.as_bytes().ct_eq(digits.as_bytes())) {
            return Err(wrong());
        }
        self.waiting.remove(login).ok_or_else(wrong)?;
        let token = self.issuer.issue(login, TOKEN_LIFE);
        let token = token.ok_or_else(|| Problem::internal("the development key cannot be used"))?;
        Ok(SignedIn {
            token,
            principal: Principal {
                subject: login.to_owned(),
                role: Role::User,
                credential: Credential::AccessToken,
                username: login.to_owned(),
                full_name: None,
            },
            life_seconds: TOKEN_LIFE.as_secs().unsigned_abs(),
        })
    }
}
