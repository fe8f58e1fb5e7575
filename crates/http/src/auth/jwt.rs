//! Access tokens: JSON Web Tokens (RFC 7519), verified locally against configured keys.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::error::ErrorCode;
use jiff::Timestamp;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::keys::KeyRing;
use crate::problem::Problem;

/// Clocks usually differ by less.
const LEEWAY: Duration = Duration::from_mins(1);
/// Longest `sub`, in bytes.
const SUBJECT_BYTES_MAX: usize = 200;
/// Longest name taken from a token, in characters.
const NAME_CHARS_MAX: usize = 200;

/// What a token must say beside being signed.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// `iss` must be this one.
    pub issuer: Option<String>,
    /// `aud` must name one of these; empty checks nothing.
    pub audiences: Vec<String>,
    /// How far `nbf` and `iat` may lie in the future: clocks differ. `exp` gets no leeway.
    pub leeway: Duration,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            issuer: None,
            audiences: Vec::new(),
            leeway: LEEWAY,
        }
    }
}

/// A verified token.
pub(super) struct VerifiedToken {
    pub(super) principal: Principal,
    pub(super) expires_at: Timestamp,
}

/// Why a token is not accepted.
pub(super) enum Rejected {
    /// No key fits: a reload may help.
    NoKey(Problem),
    /// Nothing will help.
    Final(Problem),
}

impl Rejected {
    /// What the client is told.
    pub(super) fn into_problem(self) -> Problem {
        let (Self::NoKey(problem) | Self::Final(problem)) = self;
        problem
    }
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        Self::Final(problem)
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<Value>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    iss: Option<Value>,
    aud: Option<Value>,
    role: Option<Value>,
    roles: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    token_type: Option<Value>,
    typ: Option<Value>,
    preferred_username: Option<Value>,
    username: Option<Value>,
    name: Option<Value>,
    full_name: Option<Value>,
}

/// Verifies signature and claims.
pub(super) fn verify(
    token: &str,
    ring: &KeyRing,
    allowed: &[Algorithm],
    expected: &Expectations,
    now: Timestamp,
) -> Result<VerifiedToken, Rejected> {
    // Whoever mistyped a service token that configuration gives has no prefix that would tell.
    let malformed = || {
        invalid(
            "The token is neither an access token (a signed JSON Web Token) nor a service token that is known here; \
             check what is sent as `Authorization: Bearer <token>`.",
        )
    };
    let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
    let (header, payload) = message.split_once('.').ok_or_else(malformed)?;
    let header: Header = decode(header).ok_or_else(malformed)?;
    if header.crit.is_some() {
        return Err(invalid("The token demands extensions (`crit`) that are not known here.").into());
    }
    let algorithm = algorithm(&header.alg)
        .filter(|algorithm| allowed.contains(algorithm))
        .ok_or_else(|| invalid("The token is signed with an algorithm that is not accepted here."))?;

    let mut tried = false;
    let signed = ring.candidates(header.kid.as_deref(), algorithm).any(|key| {
        tried = true;
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
    });
    if !signed {
        let message = if tried {
            "The token's signature does not verify; sign in again to get a token of this system."
        } else {
            "The token is signed with a key that is not known here; sign in again to get a token of this system."
        };
        return Err(Rejected::NoKey(invalid(message)));
    }

    let claims: Claims =
        decode(payload).ok_or_else(|| invalid("The token's claims are not what access tokens carry."))?;
    if header.typ.as_deref().is_some_and(is_refresh) || claims.is_refresh() {
        return Err(invalid("This is a refresh token; send the access token.").into());
    }
    let expires_at = claims.check_times(now, expected.leeway)?;
    claims.check_source(expected)?;
    Ok(VerifiedToken {
        principal: claims.principal()?,
        expires_at,
    })
}

impl Claims {
    fn is_refresh(&self) -> bool {
        [&self.kind, &self.token_type, &self.typ]
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(is_refresh)
    }

    fn check_times(&self, now: Timestamp, leeway: Duration) -> Result<Timestamp, Problem> {
        let now_seconds = now.as_microsecond() as f64 / 1e6;
        let latest = now_seconds + leeway.as_secs_f64();
        let exp = self
            .exp
            .ok_or_else(|| invalid("The token has no expiry (`exp`)."))?;
        if exp <= now_seconds {
            return Err(Problem::new(
                ErrorCode::TokenExpired,
                "The token has expired; refresh it and try again.",
            )
            .with_header(http::header::WWW_AUTHENTICATE, CHALLENGE));
        }
        if self.nbf.is_some_and(|nbf| nbf > latest) {
            return Err(invalid("The token is not valid yet (`nbf`)."));
        }
        if self.iat.is_some_and(|iat| iat > latest) {
            return Err(invalid(
                "The token was issued in the future (`iat`); check the clocks.",
            ));
        }
        // Far beyond what a timestamp holds is far enough.
        Ok(Timestamp::from_microsecond((exp * 1e6) as i64).unwrap_or(Timestamp::MAX))
    }

    fn check_source(&self, expected: &Expectations) -> Result<(), Problem> {
        if let Some(issuer) = &expected.issuer
            && self.iss.as_ref().and_then(Value::as_str) != Some(issuer)
        {
            return Err(invalid("The token is from another issuer (`iss`)."));
        }
        if expected.audiences.is_empty() {
            return Ok(());
        }
        let named = texts(self.aud.as_ref());
        if named
            .iter()
            .any(|audience| expected.audiences.iter().any(|own| own == audience))
        {
            return Ok(());
        }
        Err(invalid("The token is for another audience (`aud`)."))
    }

    fn principal(&self) -> Result<Principal, Problem> {
        let subject = match &self.sub {
            Some(Value::String(text)) => text.clone(),
            // Some issuers number their users.
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX || subject.chars().any(char::is_control) {
            return Err(invalid(
                "The token names no subject (`sub` of 1 to 200 bytes without control characters).",
            ));
        }
        let role = texts(self.role.as_ref())
            .into_iter()
            .chain(texts(self.roles.as_ref()))
            .filter_map(Role::parse)
            .max()
            .unwrap_or(Role::User);
        let name = |claim: &Option<Value>| claim.as_ref().and_then(Value::as_str).and_then(plain_name);
        let username = name(&self.preferred_username)
            .or_else(|| name(&self.username))
            .or_else(|| name(&self.name))
            .unwrap_or_else(|| subject.clone());
        let full_name = name(&self.full_name).or_else(|| name(&self.name));
        Ok(Principal {
            subject,
            role,
            credential: Credential::AccessToken,
            username,
            full_name,
        })
    }
}

/// The challenge of an answer to a token that came and is not accepted (RFC 6750 §3.1).
pub(super) const CHALLENGE: http::HeaderValue =
    http::HeaderValue::from_static("Bearer error=\"invalid_token\"");

pub(super) fn invalid(message: &str) -> Problem {
    Problem::new(ErrorCode::InvalidToken, message).with_header(http::header::WWW_AUTHENTICATE, CHALLENGE)
}

fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

fn is_refresh(kind: &str) -> bool {
    ["refresh", "refresh_token", "refresh+jwt"]
        .iter()
        .any(|name| name.eq_ignore_ascii_case(kind))
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// A claim that is one text or several; a single text may list several, separated by spaces.
fn texts(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(text)) => text.split(' ').filter(|word| !word.is_empty()).collect(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A name without control characters, of bearable length.
fn plain_name(text: &str) -> Option<String> {
    let plain: String = text
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME_CHARS_MAX)
        .collect();
    let plain = plain.trim();
    (!plain.is_empty()).then(|| plain.to_owned())
}
