//! Signatures in the query: presigned URLs (S3 API, "Authenticating Requests: Using Query Parameters").

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::error::VerifyError;
use crate::payload::PayloadHash;
use crate::timestamp::AmzTime;
use crate::verify::scope::{self, Place};
use crate::verify::{AuthMethod, Claim, CredentialLookup, IncomingRequest, Pairs, VerifiedRequest, Verifier};
use crate::{ALGORITHM, CLOCK_SKEW_SECONDS_MAX, PRESIGN_EXPIRES_SECONDS_MAX};

const SIGNATURE: &str = "X-Amz-Signature";
const CONTENT_SHA256: &str = "x-amz-content-sha256";

/// Whether the query claims to carry a signature of version 4; any one of these parameters does.
pub(super) fn is_presigned(query: &Pairs<'_>) -> bool {
    ["X-Amz-Algorithm", "X-Amz-Credential", SIGNATURE]
        .iter()
        .any(|name| query.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)))
}

/// Whether the query carries a signature of version 2.
pub(super) fn is_signature_v2(query: &Pairs<'_>) -> bool {
    ["AWSAccessKeyId", "Signature"]
        .iter()
        .any(|name| query.iter().any(|(given, _)| given == name))
}

/// The one parameter that is not part of what is signed.
pub(super) fn is_signature(name: &str) -> bool {
    name == SIGNATURE
}

pub(super) fn verify(
    verifier: &Verifier,
    request: &IncomingRequest<'_>,
    query: &Pairs<'_>,
    lookup: &impl CredentialLookup,
    now: Timestamp,
) -> Result<VerifiedRequest, VerifyError> {
    refuse_duplicates(query)?;
    if required(query, "X-Amz-Algorithm")? != ALGORITHM {
        return Err(malformed("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let credential = required(query, "X-Amz-Credential")?;
    let date = required(query, "X-Amz-Date")?;
    let expires_in_seconds = parse_expires(required(query, "X-Amz-Expires")?)?;
    let signed_headers = super::split_signed_headers(required(query, "X-Amz-SignedHeaders")?)
        .ok_or_else(|| malformed("X-Amz-SignedHeaders is not a list of lower-case names"))?;
    let signature = required(query, SIGNATURE)?.as_bytes();

    let (time, signed_at) = AmzTime::parse(date.as_bytes())
        .ok_or_else(|| malformed("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""))?;
    let access_key_id = scope::access_key_id(credential, &time, &verifier.region, Place::Parameters)?;
    let expires_at = signed_at
        .checked_add(SignedDuration::from_secs(expires_in_seconds.into()))
        .map_err(|_| malformed("X-Amz-Date is beyond the calendar"))?;
    if now > expires_at {
        return Err(VerifyError::Expired);
    }
    if signed_at.duration_since(now) > SignedDuration::from_secs(CLOCK_SKEW_SECONDS_MAX) {
        return Err(VerifyError::NotYetValid);
    }

    // Some SDKs state the payload among the parameters; a header that states it is signed like all `x-amz-*` headers.
    let payload_text = match parameter(query, CONTENT_SHA256) {
        Some(value) => value.as_bytes(),
        None => request
            .headers
            .get(CONTENT_SHA256)
            .map_or(&b"UNSIGNED-PAYLOAD"[..], http::HeaderValue::as_bytes),
    };
    let token = parameter(query, "X-Amz-Security-Token")
        .map(|token| token.as_bytes())
        .or_else(|| {
            request
                .headers
                .get("x-amz-security-token")
                .map(http::HeaderValue::as_bytes)
        });
    let claim = Claim {
        method: AuthMethod::Query,
        access_key_id,
        time,
        signed_at,
        expires_at: Some(expires_at),
        signed_headers,
        payload: PayloadHash::parse(payload_text)?,
        payload_text,
        token,
        signature,
    };
    claim.verify(verifier, request, query, lookup)
}

/// Which of two values counts is a matter of taste on which two programs may differ, so neither does.
fn refuse_duplicates(query: &Pairs<'_>) -> Result<(), VerifyError> {
    let is_amz = |name: &&str| {
        name.get(..6)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case("x-amz-"))
    };
    let mut names: Vec<&str> = query
        .iter()
        .map(|(name, _)| name.as_ref())
        .filter(is_amz)
        .collect();
    names.sort_unstable_by(|a, b| {
        let lower = |byte: u8| byte.to_ascii_lowercase();
        a.bytes().map(lower).cmp(b.bytes().map(lower))
    });
    if names.windows(2).any(|pair| pair[0].eq_ignore_ascii_case(pair[1])) {
        return Err(malformed("an X-Amz parameter is given more than once"));
    }
    Ok(())
}

fn required<'q>(query: &'q Pairs<'_>, name: &str) -> Result<&'q str, VerifyError> {
    query
        .iter()
        .find(|(given, _)| given == name)
        .map(|(_, value)| value.as_ref())
        .filter(|value| !value.is_empty())
        .ok_or_else(|| {
            malformed(
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
            )
        })
}

fn parameter<'q>(query: &'q Pairs<'_>, name: &str) -> Option<&'q Cow<'q, str>> {
    query
        .iter()
        .find(|(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn parse_expires(text: &str) -> Result<u32, VerifyError> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed("X-Amz-Expires should be a non-negative number"));
    }
    match text.parse() {
        Ok(0) => Err(malformed("X-Amz-Expires must be at least 1 second")),
        Ok(seconds @ 1..=PRESIGN_EXPIRES_SECONDS_MAX) => Ok(seconds),
        _ => Err(malformed(
            "X-Amz-Expires must be less than a week (in seconds); that is, at most 604800 seconds",
        )),
    }
}

fn malformed(reason: &str) -> VerifyError {
    Place::Parameters.malformed(reason)
}
