//! `POST /bucket-events`: what object stores push when an upload arrived. Senders cannot sign in as a person does, so a
//! secret of the endpoint's own stands for them; without one configured there is no such route.

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::{FromRequestParts, Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::error::ErrorCode;
use cloakroom_service::uploads::{RecordOutcome, measure_refused};
use http::header::{self, HeaderValue};
use http::request::Parts;
use serde::Serialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use utoipa::ToSchema;

use crate::client_address::ClientAddress;
use crate::extract::json;
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Where the events come from, in metrics.
const SOURCE: &str = "http";
/// Stores that can only send a user and a password wait for this (SNS does).
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"bucket events\", Bearer");

/// The secret that senders of bucket events show. Only its SHA-256 is kept; `Debug` hides that too.
#[derive(Clone)]
pub struct BucketEventsToken([u8; 32]);

impl BucketEventsToken {
    /// The token with this text.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Compares in the same time whatever was presented.
    fn matches(&self, presented: &[u8]) -> bool {
        let presented: [u8; 32] = Sha256::digest(presented).into();
        self.0.ct_eq(&presented).into()
    }
}

impl fmt::Debug for BucketEventsToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BucketEventsToken(..)")
    }
}

/// A sender that showed the token; the first argument of the handler, so nothing of a stranger's request is read.
pub struct Sender;

impl FromRequestParts<HttpState> for Sender {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self> {
        let Some(token) = &state.settings.bucket_events_token else {
            return Err(Problem::new(
                ErrorCode::RouteNotFound,
                "Bucket events are not taken here: no token for them is configured.",
            ));
        };
        let address = ClientAddress::of(parts, state);
        let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
        if let Some(shown) = values.next() {
            state.admit_attempt(address)?;
            if values.next().is_none() && shows(shown, token) {
                return Ok(Self);
            }
            state.count_failure(address).await;
        }
        Err(Problem::new(
            ErrorCode::Unauthenticated,
            "Send the token of the bucket events: `Authorization: Bearer <token>`, or as the password of any user.",
        )
        .with_header(header::WWW_AUTHENTICATE, CHALLENGE))
    }
}

/// `Bearer <token>`; `Basic <user:token>`, of which the user is not looked at (credentials in the URL of a Ceph or SNS
/// topic); or the token alone (MinIO's `auth_token`). Never in the query: addresses end up in logs.
fn shows(value: &HeaderValue, token: &BucketEventsToken) -> bool {
    let value = value.as_bytes().trim_ascii();
    let scheme_end = value.iter().position(|&byte| byte == b' ').unwrap_or(0);
    let (scheme, rest) = value.split_at(scheme_end);
    let rest = rest.trim_ascii();
    if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = STANDARD.decode(rest).unwrap_or_default();
        let password_at = pair.iter().position(|&byte| byte == b':').map(|colon| colon + 1);
        return password_at.is_some_and(|at| token.matches(&pair[at..]));
    }
    if scheme.eq_ignore_ascii_case(b"bearer") {
        return token.matches(rest);
    }
    token.matches(value)
}

/// What became of the events.
#[derive(Serialize, ToSchema)]
#[schema(as = BucketEventsTaken)]
pub struct BucketEventsBody {
    /// How many events ended how: `confirmed`, `uploaded`, `mismatched`, `settled`, `absent`, `removed`, `unknown`,
    /// `ignored`, `test`, `subscription`. Outcomes that did not occur are left out.
    #[schema(value_type = Object, additional_properties = true)]
    outcomes: BTreeMap<&'static str, usize>,
}

/// Take bucket events.
///
/// Called by object stores, queues and topics when objects come and go: S3 notifications as AWS, MinIO and Ceph RGW
/// send them, also in SNS, EventBridge and CloudEvents envelopes, at most 1 MiB. An event is a hint: the store is asked
/// before a file becomes `uploaded`, or `confirmed` in a collection with `auto_confirm`. Sending events again is safe,
/// and asked for by a 5xx. Authorised by the token of `bucket_events.token`, as a bearer token or as the password of
/// any user.
#[utoipa::path(
    post,
    path = "/bucket-events",
    operation_id = "receive_bucket_events",
    tag = "uploads",
    security(("bucket_events_token" = []), ("bucket_events_password" = [])),
    request_body(content = Object, description = "A notification.", content_type = "application/json"),
    responses(
        (status = OK, description = "All are taken over.", body = BucketEventsBody),
        Refused::<404>, Refused::<503>,
    ),
)]
pub async fn receive_bucket_events(
    State(state): State<HttpState>,
    _: Sender,
    request: Request,
) -> Result<axum::Json<BucketEventsBody>> {
    // SNS sends JSON as text/plain, so the content type is not asked for.
    let payload = json::read(request).await?;
    match state.app.receive_bucket_events(&payload).await {
        Ok(received) => {
            received.measure(SOURCE);
            let outcomes = RecordOutcome::ALL
                .iter()
                .map(|&outcome| (outcome.as_str(), received.count(outcome)))
                .filter(|(_, count)| *count > 0)
                .collect();
            Ok(axum::Json(BucketEventsBody { outcomes }))
        }
        Err(error) => {
            measure_refused(SOURCE, &error);
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_may_come_in_three_ways() {
        let token = BucketEventsToken::new("s3cr:et t");
        let shown = |text: &str| shows(&HeaderValue::from_str(text).expect("a value"), &token);
        for good in [
            "Bearer s3cr:et t".to_owned(),
            "bearer  s3cr:et t ".to_owned(),
            "s3cr:et t".to_owned(),
            format!("Basic {}", STANDARD.encode("anybody:s3cr:et t")),
            format!("basic {}", STANDARD.encode(":s3cr:et t")),
        ] {
            assert!(shown(&good), "{good}");
        }
        for bad in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer s3cr:et".to_owned(),
            "Bearer S3CR:ET T".to_owned(),
            "Digest s3cr:et t".to_owned(),
            "Basic s3cr:et t".to_owned(),
            format!("Basic {}", STANDARD.encode("s3cr:et t")),
            format!("Basic {}", STANDARD.encode("s3cr:et t:")),
            format!("Bearer {}", STANDARD.encode("x:s3cr:et t")),
        ] {
            assert!(!shown(&bad), "{bad}");
        }
        assert_eq!(format!("{token:?}"), "BucketEventsToken(..)");
    }
}
