//! Signatures in the `Authorization` header (S3 API, "Authenticating Requests: Using the Authorization Header").

use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

use crate::error::VerifyError;
use crate::payload::PayloadHash;
use crate::timestamp::AmzTime;
use crate::verify::scope::{self, Place};
use crate::verify::{AuthMethod, Claim, CredentialLookup, IncomingRequest, Pairs, VerifiedRequest, Verifier};
use crate::{ALGORITHM, CLOCK_SKEW_SECONDS_MAX};

pub(super) fn verify(
    verifier: &Verifier,
    request: &IncomingRequest<'_>,
    query: &Pairs<'_>,
    lookup: &impl CredentialLookup,
    now: Timestamp,
) -> Result<VerifiedRequest, VerifyError> {
    let Ok(authorization) = single(request.headers, AUTHORIZATION.as_str()) else {
        return Err(VerifyError::SeveralAuthorizations);
    };
    let authorization = authorization
        .and_then(|value| std::str::from_utf8(value).ok())
        .unwrap_or("");
    let parts = AuthorizationParts::parse(authorization)?;

    let (time, signed_at) = request_time(request.headers)?;
    let access_key_id = scope::access_key_id(parts.credential, &time, &verifier.region, Place::Header)?;
    if now.duration_since(signed_at).abs() > SignedDuration::from_secs(CLOCK_SKEW_SECONDS_MAX) {
        return Err(VerifyError::RequestTimeTooSkewed);
    }
    let payload_text = single(request.headers, "x-amz-content-sha256")
        .map_err(|()| VerifyError::InvalidContentSha256)?
        .ok_or(VerifyError::MissingContentSha256)?;
    let token = single(request.headers, "x-amz-security-token").map_err(|()| VerifyError::InvalidToken)?;
    let claim = Claim {
        method: AuthMethod::Header,
        access_key_id,
        time,
        signed_at,
        expires_at: None,
        signed_headers: super::split_signed_headers(parts.signed_headers).ok_or_else(|| {
            Place::Header.malformed("the SignedHeaders are not a list of lower-case names.")
        })?,
        payload: PayloadHash::parse(payload_text)?,
        payload_text,
        token,
        signature: parts.signature.as_bytes(),
    };
    claim.verify(verifier, request, query, lookup)
}

/// `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct AuthorizationParts<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> AuthorizationParts<'a> {
    fn parse(text: &'a str) -> Result<Self, VerifyError> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme != ALGORITHM {
            return Err(VerifyError::UnsupportedAuthorization);
        }
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=').unwrap_or(("", ""));
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(Place::Header.malformed("it contains an unknown part.")),
            };
            if slot.replace(value).is_some() {
                return Err(Place::Header.malformed("a part is given twice."));
            }
        }
        match (credential, signed_headers, signature) {
            (Some(credential), Some(signed_headers), Some(signature)) => Ok(Self {
                credential,
                signed_headers,
                signature,
            }),
            _ => Err(Place::Header.malformed("Credential, SignedHeaders and Signature are required.")),
        }
    }
}

/// The time that was signed: `x-amz-date` or, where that is missing, `date`, which may be an HTTP date.
fn request_time(headers: &HeaderMap) -> Result<(AmzTime, Timestamp), VerifyError> {
    let missing = |()| VerifyError::MissingDate;
    if let Some(value) = single(headers, "x-amz-date").map_err(missing)? {
        return AmzTime::parse(value).ok_or(VerifyError::MissingDate);
    }
    let value = single(headers, DATE.as_str())
        .map_err(missing)?
        .ok_or(VerifyError::MissingDate)?;
    if let Some(time) = AmzTime::parse(value) {
        return Ok(time);
    }
    let time = std::str::from_utf8(value)
        .ok()
        .and_then(|text| rfc2822::DateTimeParser::new().parse_timestamp(text).ok())
        .ok_or(VerifyError::MissingDate)?;
    let amz = AmzTime::new(time).map_err(|_| VerifyError::MissingDate)?;
    Ok((amz, time))
}

/// The value of a header that may come once; `Err` if it comes more often.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(http::HeaderValue::as_bytes)),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commas_may_come_with_or_without_spaces() {
        let expected = AuthorizationParts {
            credential: "c",
            signed_headers: "h",
            signature: "s",
        };
        for text in [
            "AWS4-HMAC-SHA256 Credential=c, SignedHeaders=h, Signature=s",
            "AWS4-HMAC-SHA256 Credential=c,SignedHeaders=h,Signature=s",
            "AWS4-HMAC-SHA256  Signature=s ,\tCredential=c,  SignedHeaders=h",
        ] {
            assert_eq!(AuthorizationParts::parse(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        for (text, code) in [
            ("AWS AKID:c2lnbmF0dXJl", "InvalidRequest"),
            ("Bearer token", "InvalidRequest"),
            ("AWS4-ECDSA-P256-SHA256 Credential=c", "InvalidRequest"),
            ("", "InvalidRequest"),
            ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
            (
                "AWS4-HMAC-SHA256 Credential=c, Signature=s",
                "AuthorizationHeaderMalformed",
            ),
            (
                "AWS4-HMAC-SHA256 Credential=c, SignedHeaders=h, Signature=s, Signature=t",
                "AuthorizationHeaderMalformed",
            ),
            (
                "AWS4-HMAC-SHA256 Credential=c, SignedHeaders=h, Signature=s, Other=t",
                "AuthorizationHeaderMalformed",
            ),
        ] {
            assert_eq!(
                AuthorizationParts::parse(text).map_err(|error| error.code()),
                Err(code),
                "{text}"
            );
        }
    }

    #[test]
    fn either_date_header_serves() {
        let expected: Timestamp = "2013-05-24T00:00:00Z".parse().expect("valid");
        for (name, value) in [
            ("x-amz-date", "20130524T000000Z"),
            ("date", "20130524T000000Z"),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("date", "Fri, 24 May 2013 00:00:00 -0000"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("valid"));
            let (time, at) = request_time(&headers).expect(value);
            assert_eq!((time.as_bytes(), at), (&b"20130524T000000Z"[..], expected));
        }
        let mut headers = HeaderMap::new();
        assert_eq!(request_time(&headers), Err(VerifyError::MissingDate));
        headers.insert("x-amz-date", "yesterday".parse().expect("valid"));
        headers.insert("date", "20130524T000000Z".parse().expect("valid"));
        assert_eq!(
            request_time(&headers),
            Err(VerifyError::MissingDate),
            "a bad x-amz-date is not skipped"
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in any::<String>(), near in "AWS4-HMAC-SHA256[ ,=;/A-Za-z0-9]{0,80}") {
            let _ = AuthorizationParts::parse(&text);
            let _ = AuthorizationParts::parse(&near);
        }
    }
}
