//! Cross-origin requests: which web pages may use the endpoint from a browser (Fetch standard, "CORS protocol").
//!
//! Preflights carry no signature and are answered without one; what follows them is signed like any other request.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::error::S3Error;
use crate::response::{self, S3Response, empty, set};
use crate::xml::write::XmlWriter;

/// Methods that pages may use.
const METHODS: [&str; 5] = ["GET", "HEAD", "PUT", "POST", "DELETE"];
/// How long a browser may remember a preflight's answer, in seconds.
const MAX_AGE_SECONDS: &str = "3600";
/// Headers that pages may read besides `x-amz-*` and those that every page may.
const EXPOSED: [&str; 5] = [
    "etag",
    "accept-ranges",
    "content-range",
    "content-disposition",
    "location",
];

/// The origins whose pages may use the endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CorsPolicy {
    /// `https://app.example.com`, with at most one `*` for any text, as in `https://*.example.com`; `*` alone is any origin.
    /// None by default. In practice set these to the origins of your own pages: a signed URL works from any that is allowed.
    pub allowed_origins: Vec<String>,
}

impl CorsPolicy {
    /// Pages of any origin. For development.
    pub fn any() -> Self {
        Self {
            allowed_origins: vec!["*".to_owned()],
        }
    }

    /// The value of `Access-Control-Allow-Origin` for a page of this origin.
    fn allowed(&self, origin: &HeaderValue) -> Option<HeaderValue> {
        let text = origin.to_str().ok()?;
        let rule = self
            .allowed_origins
            .iter()
            .find(|rule| matches_origin(rule, text))?;
        Some(if rule == "*" {
            HeaderValue::from_static("*")
        } else {
            origin.clone()
        })
    }

    /// What it comes to, as S3 writes it (GetBucketCors).
    pub(crate) fn configuration(&self) -> Result<S3Response, S3Error> {
        if self.allowed_origins.is_empty() {
            return Err(S3Error::new(
                "NoSuchCORSConfiguration",
                "The CORS configuration does not exist",
            ));
        }
        let mut xml = XmlWriter::root("CORSConfiguration");
        xml.open("CORSRule");
        for origin in &self.allowed_origins {
            xml.leaf("AllowedOrigin", origin);
        }
        for method in METHODS {
            xml.leaf("AllowedMethod", method);
        }
        xml.leaf("AllowedHeader", "*");
        for header in EXPOSED.into_iter().chain(["x-amz-*"]) {
            xml.leaf("ExposeHeader", header);
        }
        xml.leaf("MaxAgeSeconds", MAX_AGE_SECONDS);
        xml.close("CORSRule");
        xml.close("CORSConfiguration");
        Ok(response::xml(xml.finish()))
    }

    /// Answers a preflight.
    pub(crate) fn preflight(&self, headers: &HeaderMap) -> Result<S3Response, S3Error> {
        let (Some(origin), Some(method)) = (headers.get(ORIGIN), headers.get(ACCESS_CONTROL_REQUEST_METHOD))
        else {
            return Err(S3Error::new(
                "BadRequest",
                "Insufficient information. Origin and Access-Control-Request-Method headers needed.",
            ));
        };
        if self.allowed(origin).is_none() || !METHODS.iter().any(|known| method == known) {
            return Err(S3Error::new(
                "AccessForbidden",
                "CORSResponse: This CORS request is not allowed. This is usually because the evaluation of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
            ));
        }
        let mut response = empty(StatusCode::OK);
        let answer = response.headers_mut();
        set(answer, ACCESS_CONTROL_ALLOW_METHODS, &METHODS.join(", "));
        if let Some(requested) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_SECONDS));
        Ok(response)
    }

    /// Adds to an answer what lets a page of this origin read it.
    pub(crate) fn expose(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.allowed_origins.is_empty() {
            return;
        }
        headers.insert(
            VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Headers, Access-Control-Request-Method"),
        );
        let Some(allowed) = origin.and_then(|origin| self.allowed(origin)) else {
            return;
        };
        let exposed = |name: &&str| name.starts_with("x-amz-") || EXPOSED.contains(name);
        let names: Vec<&str> = headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(exposed)
            .collect();
        let names = names.join(", ");
        set(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &names);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}

fn matches_origin(rule: &str, origin: &str) -> bool {
    match rule.split_once('*') {
        None => rule == origin,
        Some((start, end)) => {
            origin.len() >= start.len() + end.len() && origin.starts_with(start) && origin.ends_with(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_as_written() {
        let policy = CorsPolicy {
            allowed_origins: vec!["https://app.example.com".into(), "https://*.example.org".into()],
        };
        let allowed = |origin| {
            policy
                .allowed(&HeaderValue::from_static(origin))
                .map(|value| value == origin)
        };
        assert_eq!(allowed("https://app.example.com"), Some(true));
        assert_eq!(allowed("https://a.b.example.org"), Some(true));
        for origin in [
            "http://app.example.com",
            "https://app.example.com.evil.net",
            "https://example.org",
            "null",
            "https://evil.net/.example.org.net",
        ] {
            assert_eq!(allowed(origin), None, "{origin}");
        }
        let any = CorsPolicy::any().allowed(&HeaderValue::from_static("null"));
        assert_eq!(any, Some(HeaderValue::from_static("*")));
    }
}
