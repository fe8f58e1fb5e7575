//! Request headers with a meaning of their own.

use axum::extract::FromRequestParts;
use cloakroom_core::error::ErrorCode;
use http::header::{self, HeaderMap};
use http::request::Parts;

use crate::problem::Problem;

/// `Idempotency-Key`, when it was sent.
pub struct IdempotencyKey(pub Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        visible(&parts.headers, "Idempotency-Key", 255).map(Self)
    }
}

/// A header of 1 to so many visible ASCII characters, when it was sent.
pub fn visible(
    headers: &HeaderMap,
    name: &'static str,
    length_max: usize,
) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let fits = (1..=length_max).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(text) if fits => Ok(Some(text.to_owned())),
        _ => Err(Problem::new(
            ErrorCode::InvalidParameter,
            format!("The header `{name}` is not 1 to {length_max} visible ASCII characters."),
        )
        .with("parameter", name)),
    }
}

/// The version that `If-Match` names (RFC 9110 §13.1.1); `*` and an absent header name none.
pub struct IfMatch(pub Option<u64>);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if_match(&parts.headers).map(Self)
    }
}

fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    // Clients forget the quotes.
    let version = inner.unwrap_or(text).parse().ok();
    match version {
        Some(version) => Ok(Some(version)),
        // A well-formed tag that we never gave out matches nothing.
        None if text.starts_with('"') || text.starts_with("W/\"") => Err(Problem::new(
            ErrorCode::PreconditionFailed,
            "The file has changed since that version.",
        )),
        None => Err(Problem::new(
            ErrorCode::InvalidParameter,
            "The header `If-Match` is not an ETag of this file, for example \"3\".",
        )
        .with("parameter", "If-Match")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_headers() {
        let parse = |text: &[u8]| {
            let value = http::HeaderValue::from_bytes(text).expect("a header value");
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static("x-a"), value)]);
            visible(&headers, "X-A", 3).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(parse(b"a-1"), Ok(Some("a-1".to_owned())));
        for bad in [&b""[..], b"abcd", b"a b", b"\xd0\xb6"] {
            assert_eq!(parse(bad), Err(400), "{bad:?}");
        }
    }

    #[test]
    fn entity_tags() {
        let parse = |text: &str| {
            let headers = HeaderMap::from_iter([(header::IF_MATCH, text.parse().expect("a header value"))]);
            if_match(&headers).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(parse("\"3\""), Ok(Some(3)));
        assert_eq!(parse("*"), Ok(None));
        assert_eq!(parse("\"abc\""), Err(412));
        assert_eq!(parse("W/\"3\""), Err(412));
        assert_eq!(parse("3"), Ok(Some(3)));
        assert_eq!(parse("three"), Err(400));
        assert_eq!(if_match(&HeaderMap::new()).ok(), Some(None));
    }
}
