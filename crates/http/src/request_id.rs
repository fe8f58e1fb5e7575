//! Names of a request: its id, which every answer and log line carries, and its place in a distributed trace.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

use crate::problem::Problem;

/// The header that carries the request id, both ways.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Longest request id taken from a client, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Names one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The client's own id if it is 1 to 128 of `[A-Za-z0-9._-]`, so it can stand in a log line as it is; else
    /// the fresh one.
    pub fn of(headers: &HeaderMap, fresh: Uuid) -> Self {
        let given = headers
            .get(REQUEST_ID_HEADER)
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_plain(text));
        match given {
            Some(text) => Self::new(text),
            None => Self(Arc::from(
                &*fresh.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()),
            )),
        }
    }

    /// An id of this text.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a header value.
    pub fn to_header(&self) -> HeaderValue {
        // Checked characters only; the fallback is unreachable.
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static("invalid"))
    }
}

fn is_plain(text: &str) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Problem::internal("a route outside of the observe layer"))
    }
}

/// The request's place in a trace (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceIds {
    /// 32 hexadecimal digits: the caller's trace, or a new one.
    pub trace_id: String,
    /// 16 hexadecimal digits: this request's own span.
    pub span_id: String,
}

impl TraceIds {
    /// Joins the caller's trace if `traceparent` is well-formed, else begins one.
    pub fn of(headers: &HeaderMap, fresh: Uuid) -> Self {
        let given = headers
            .get(TRACEPARENT)
            .and_then(|value| value.to_str().ok())
            .and_then(trace_id);
        let own = fresh.as_simple().to_string();
        // The last eight bytes of a UUIDv7 are its random part.
        Self {
            span_id: own[16..].to_owned(),
            trace_id: given.map_or(own, str::to_owned),
        }
    }
}

/// The trace id of `00-<trace id>-<parent id>-<flags>`. A later version may add fields at the end
/// (Trace Context §3.2.4); version `ff`, zero ids and upper-case digits are invalid.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut fields = traceparent.split('-');
    let (version, trace_id, parent_id, flags) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let nonzero = |text: &str| text.bytes().any(|b| b != b'0');
    let well_formed = hex(version, 2)
        && version != "ff"
        && hex(trace_id, 32)
        && nonzero(trace_id)
        && hex(parent_id, 16)
        && nonzero(parent_id)
        && hex(flags, 2)
        && (version != "00" || fields.next().is_none());
    well_formed.then_some(trace_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            name,
            HeaderValue::from_bytes(value.as_bytes()).expect("a header value"),
        )])
    }

    #[test]
    fn a_plain_request_id_is_taken_and_any_other_replaced() {
        let fresh = Uuid::from_u128(7);
        let of = |value: &str| {
            RequestId::of(&headers(REQUEST_ID_HEADER, value), fresh)
                .as_str()
                .to_owned()
        };
        assert_eq!(of("abc-1.2_Z"), "abc-1.2_Z");
        for bad in ["", "a b", "a\"b", "ж", "a;b", &"x".repeat(129)] {
            assert_eq!(of(bad), fresh.to_string(), "{bad}");
        }
        assert_eq!(
            RequestId::of(&HeaderMap::new(), fresh).as_str(),
            fresh.to_string()
        );
    }

    #[test]
    fn a_trace_is_joined_only_when_well_formed() {
        let fresh = Uuid::from_u128(0x0123_4567_89ab_7def_8123_4567_89ab_cdef);
        let of = |value: &str| TraceIds::of(&headers(TRACEPARENT, value), fresh).trace_id;
        let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of(&format!("00-{theirs}-00f067aa0ba902b7-01")), theirs);
        assert_eq!(of(&format!("cc-{theirs}-00f067aa0ba902b7-01-later")), theirs);
        for bad in [
            format!("00-{theirs}-00f067aa0ba902b7-01-extra"),
            format!("ff-{theirs}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{theirs}-{}-01", "0".repeat(16)),
            format!("00-{}-00f067aa0ba902b7-01", theirs.to_uppercase()),
            "nonsense".to_owned(),
        ] {
            assert_eq!(of(&bad), "0123456789ab7def8123456789abcdef", "{bad}");
        }
        assert_eq!(TraceIds::of(&HeaderMap::new(), fresh).span_id, "8123456789abcdef");
    }
}
