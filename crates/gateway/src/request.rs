//! What a request names: bucket, key and query out of the URL.
//!
//! The path is decoded once and as a whole before it is split, because that is what is signed: `/b%2Fk` and `/b/k` have
//! one signature, so they must name one object.

use std::borrow::Cow;

use cloakroom_signing::{parse_query, percent_decode_str};
use http::HeaderMap;

use crate::error::S3Error;

/// The longest key in bytes (S3 API, "Object key naming guidelines").
pub(crate) const KEY_BYTES_MAX: usize = 1024;

/// Parameters that belong to the signature. They come in any case, and a bare one of them decides nothing.
const SIGNATURE_PARAMETERS: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// The decoded query, in order.
#[derive(Debug, Default)]
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Decodes a raw query.
    pub(crate) fn parse(raw: Option<&'a str>) -> Result<Self, S3Error> {
        match raw {
            Some(raw) => Ok(Self(parse_query(raw)?)),
            None => Ok(Self::default()),
        }
    }

    /// The value of the first parameter of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.as_ref())
    }

    /// Whether there is such a parameter.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every parameter.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

/// The bucket and the key of a request; a key never stands without a bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<String>,
}

impl Target {
    /// Reads the path and, if the endpoint has a domain of its own, the host.
    pub(crate) fn parse(path: &str, host: Option<&str>, domain: Option<&str>) -> Result<Self, S3Error> {
        let decoded = percent_decode_str(path)?;
        let rest = decoded
            .strip_prefix('/')
            .ok_or_else(|| S3Error::from(cloakroom_signing::InvalidEncoding::Escape))?;
        let by_host = host
            .zip(domain)
            .and_then(|(host, domain)| virtual_host_bucket(host, domain));
        let (bucket, key) = by_host.map_or_else(
            || {
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                (bucket.to_owned(), key)
            },
            |bucket| (bucket, rest),
        );
        if bucket.is_empty() {
            return if key.is_empty() {
                Ok(Self::default())
            } else {
                Err(invalid_bucket_name(""))
            };
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(key_too_long(key.len()));
        }
        Ok(Self {
            bucket: Some(bucket),
            key: (!key.is_empty()).then(|| key.to_owned()),
        })
    }

    /// The path of the resource in error documents.
    pub(crate) fn resource(&self) -> String {
        match (&self.bucket, &self.key) {
            (Some(bucket), Some(key)) => format!("/{bucket}/{key}"),
            (Some(bucket), None) => format!("/{bucket}"),
            _ => "/".to_owned(),
        }
    }
}

/// `KeyTooLongError`.
pub(crate) fn key_too_long(bytes: usize) -> S3Error {
    S3Error::new("KeyTooLongError", "Your key is too long")
        .with("Size", bytes.to_string())
        .with("MaxSizeAllowed", KEY_BYTES_MAX.to_string())
}

/// `InvalidBucketName`.
pub(crate) fn invalid_bucket_name(name: &str) -> S3Error {
    S3Error::new("InvalidBucketName", "The specified bucket is not valid.").with("BucketName", name)
}

/// The bucket in `<bucket>.<domain>[:port]`, without regard to case, as host names are.
fn virtual_host_bucket(host: &str, domain: &str) -> Option<String> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.to_ascii_lowercase();
    let bucket = name
        .strip_suffix(&domain.to_ascii_lowercase())?
        .strip_suffix('.')?;
    (!bucket.is_empty()).then(|| bucket.to_owned())
}

pub(crate) fn is_signature_parameter(name: &str) -> bool {
    SIGNATURE_PARAMETERS
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether a parameter stands for a header: some SDKs put `x-amz-*` headers into the query of a presigned URL, where they
/// are signed with the rest of it.
pub(crate) fn is_hoisted_header(name: &str) -> bool {
    name.as_bytes()
        .get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"x-amz-"))
        && !is_signature_parameter(name)
}

/// Puts the headers that came in the query where headers are read. Only for requests whose signature is verified. A header
/// that came as such is not replaced.
pub(crate) fn apply_hoisted_headers(query: &Query<'_>, headers: &mut HeaderMap) -> Result<(), S3Error> {
    for (name, value) in query.iter().filter(|(name, _)| is_hoisted_header(name)) {
        let invalid = || S3Error::invalid_argument("The parameter cannot be read as a header.", name, value);
        let header = http::HeaderName::try_from(name.to_ascii_lowercase()).map_err(|_| invalid())?;
        let text = http::HeaderValue::from_bytes(value.as_bytes()).map_err(|_| invalid())?;
        headers.entry(header).or_insert(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn target(path: &str) -> Result<(Option<String>, Option<String>), &'static str> {
        Target::parse(path, Some("localhost:9000"), None)
            .map(|target| (target.bucket, target.key))
            .map_err(|error| error.code)
    }

    fn names(bucket: &str, key: &str) -> (Option<String>, Option<String>) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (some(bucket), some(key))
    }

    #[test]
    fn paths_name_what_was_signed() {
        for (path, bucket, key) in [
            ("/", "", ""),
            ("/b", "b", ""),
            ("/b/", "b", ""),
            ("/b/k", "b", "k"),
            ("/b%2Fk", "b", "k"),
            ("/b//k", "b", "/k"),
            ("/b/../x/./y//", "b", "../x/./y//"),
            ("/b/a+b%20%2B%C3%A9", "b", "a+b +é"),
        ] {
            assert_eq!(target(path), Ok(names(bucket, key)), "{path}");
        }
        for (path, code) in [
            ("*", "InvalidURI"),
            ("", "InvalidURI"),
            ("/b/%zz", "InvalidURI"),
            ("/b/%ff", "InvalidURI"),
            ("//k", "InvalidBucketName"),
            (&format!("/b/{}", "k".repeat(1025)), "KeyTooLongError"),
            (&format!("/b/{}", "%D0%B6".repeat(513)), "KeyTooLongError"),
        ] {
            assert_eq!(target(path), Err(code), "{path}");
        }
        assert_eq!(
            target(&format!("/b/{}", "k".repeat(1024))),
            Ok(names("b", &"k".repeat(1024)))
        );
    }

    #[test]
    fn hosts_name_buckets_below_the_domain() {
        let of = |host| Target::parse("/k/x", Some(host), Some("s3.example.com")).expect("valid");
        for host in ["b.s3.example.com", "B.S3.example.com:9000"] {
            assert_eq!(
                of(host),
                Target {
                    bucket: Some("b".into()),
                    key: Some("k/x".into())
                },
                "{host}"
            );
        }
        for host in [
            "s3.example.com",
            ".s3.example.com",
            "bs3.example.com",
            "localhost:9000",
            "b.s3.example.com.evil",
        ] {
            assert_eq!(
                of(host),
                Target {
                    bucket: Some("k".into()),
                    key: Some("x".into())
                },
                "{host}"
            );
        }
    }

    #[test]
    fn a_hoisted_header_does_not_replace_a_real_one() {
        let query =
            Query::parse(Some("X-Amz-Meta-A=q&x-amz-meta-b=q&X-Amz-Date=q&x-amz-acl=%0A")).expect("valid");
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-meta-a", http::HeaderValue::from_static("h"));
        assert_eq!(
            apply_hoisted_headers(&query, &mut headers).map_err(|error| error.code),
            Err("InvalidArgument")
        );
        assert_eq!(headers["x-amz-meta-a"], "h");
        assert_eq!(headers["x-amz-meta-b"], "q");
        assert!(!headers.contains_key("x-amz-date"));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(path in any::<String>(), query in any::<String>(), host in any::<String>()) {
            let _ = Target::parse(&path, Some(&host), Some("example.com"));
            let _ = Target::parse(&format!("/{path}"), Some(&format!("{host}.example.com")), Some("example.com"));
            if let Ok(query) = Query::parse(Some(&query)) {
                let _ = apply_hoisted_headers(&query, &mut HeaderMap::new());
            }
        }
    }
}
