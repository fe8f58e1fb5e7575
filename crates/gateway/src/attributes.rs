//! Headers that are stored with an object: read from requests and forms, written into answers.

use cloakroom_core::ports::objects::{ObjectAttributes, ObjectInfo};
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, EXPIRES,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::body::checksums::header_name;
use crate::error::S3Error;
use crate::request::Query;
use crate::response::set;

/// What an object is that nobody gave a type (S3 API, "PutObject").
pub(crate) const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";
/// The most user metadata, names and values together, in bytes (S3 user guide, "User-defined object metadata").
const USER_METADATA_BYTES_MAX: usize = 2 * 1024;
const USER_METADATA_PREFIX: &str = "x-amz-meta-";

/// Parameters of a signed read that replace a stored header in the answer (S3 API, "GetObject").
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-cache-control", CACHE_CONTROL),
    ("response-content-disposition", CONTENT_DISPOSITION),
    ("response-content-encoding", CONTENT_ENCODING),
    ("response-content-language", CONTENT_LANGUAGE),
    ("response-content-type", CONTENT_TYPE),
    ("response-expires", EXPIRES),
];

/// Reads what is to be stored with an object.
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<ObjectAttributes, S3Error> {
    let mut attributes = ObjectAttributes {
        content_type: text(headers, &CONTENT_TYPE)?,
        content_disposition: text(headers, &CONTENT_DISPOSITION)?,
        content_encoding: text(headers, &CONTENT_ENCODING)?.and_then(without_framing),
        content_language: text(headers, &CONTENT_LANGUAGE)?,
        cache_control: text(headers, &CACHE_CONTROL)?,
        expires: text(headers, &EXPIRES)?,
        ..ObjectAttributes::default()
    };
    let mut total = 0;
    for name in headers.keys() {
        let Some(suffix) = name.as_str().strip_prefix(USER_METADATA_PREFIX) else {
            continue;
        };
        let values: Vec<&str> = headers
            .get_all(name)
            .iter()
            .map(|value| value_text(name, value))
            .collect::<Result<_, _>>()?;
        let value = values.join(",");
        total += suffix.len() + value.len();
        attributes.user_metadata.insert(suffix.to_owned(), value);
    }
    if total > USER_METADATA_BYTES_MAX {
        return Err(S3Error::new(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
        )
        .with("Size", total.to_string())
        .with("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string()));
    }
    Ok(attributes)
}

/// Refuses headers that ask for what this endpoint does not do, rather than to let their sender believe it was done.
pub(crate) fn refuse_unsupported(headers: &HeaderMap) -> Result<(), S3Error> {
    for name in headers.keys().map(HeaderName::as_str) {
        let Some(suffix) = name.strip_prefix("x-amz-") else {
            continue;
        };
        if suffix.starts_with("grant-") {
            return Err(acl_not_supported());
        }
        let unsupported = suffix.starts_with("object-lock-")
            || suffix.starts_with("server-side-encryption")
            || suffix.starts_with("copy-source-server-side-encryption")
            || matches!(
                suffix,
                "tagging" | "website-redirect-location" | "write-offset-bytes" | "mfa"
            );
        if unsupported {
            return Err(S3Error::not_implemented(name));
        }
    }
    // Everything belongs to one account and is private, so these change nothing.
    let acl = headers.get("x-amz-acl").map(HeaderValue::as_bytes);
    if acl.is_some_and(|acl| {
        !matches!(
            acl,
            b"" | b"private" | b"bucket-owner-full-control" | b"bucket-owner-read"
        )
    }) {
        return Err(acl_not_supported());
    }
    let class = headers.get("x-amz-storage-class").map(HeaderValue::as_bytes);
    if class.is_some_and(|class| class != b"STANDARD") {
        return Err(S3Error::new(
            "InvalidStorageClass",
            "The storage class you specified is not valid",
        ));
    }
    Ok(())
}

fn acl_not_supported() -> S3Error {
    S3Error::new("AccessControlListNotSupported", "The bucket does not allow ACLs")
}

/// Writes what is known of an object: stored headers, `ETag`, dates, and checksums if they are asked for.
pub(crate) fn write_info(headers: &mut HeaderMap, info: &ObjectInfo, with_checksums: bool) {
    let attributes = &info.attributes;
    set(
        headers,
        CONTENT_TYPE,
        attributes.content_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE),
    );
    for (name, value) in [
        (CONTENT_DISPOSITION, &attributes.content_disposition),
        (CONTENT_ENCODING, &attributes.content_encoding),
        (CONTENT_LANGUAGE, &attributes.content_language),
        (CACHE_CONTROL, &attributes.cache_control),
        (EXPIRES, &attributes.expires),
    ] {
        if let Some(value) = value {
            set(headers, name, value);
        }
    }
    crate::response::set_etag(headers, &info.etag);
    crate::response::set_last_modified(headers, info.modified_at);
    for (name, value) in &attributes.user_metadata {
        if let Ok(name) = HeaderName::try_from(format!("{USER_METADATA_PREFIX}{name}")) {
            set(headers, name, value);
        }
    }
    if with_checksums {
        write_checksums(headers, info);
    }
}

/// Writes the checksums of an object, and what they are over.
pub(crate) fn write_checksums(headers: &mut HeaderMap, info: &ObjectInfo) {
    for (algorithm, value) in &info.checksums.0 {
        set(headers, HeaderName::from_static(header_name(*algorithm)), value);
    }
    if let Some(kind) = checksum_type(info) {
        headers.insert("x-amz-checksum-type", HeaderValue::from_static(kind));
    }
}

/// `COMPOSITE` for a checksum of checksums, `FULL_OBJECT` for one over all bytes, `None` without any.
pub(crate) fn checksum_type(info: &ObjectInfo) -> Option<&'static str> {
    let value = info.checksums.0.values().next()?;
    Some(if value.contains('-') {
        "COMPOSITE"
    } else {
        "FULL_OBJECT"
    })
}

/// Replaces stored headers by the parameters that say so. Only verified requests get here.
pub(crate) fn apply_overrides(headers: &mut HeaderMap, query: &Query<'_>) -> Result<(), S3Error> {
    for (parameter, name) in OVERRIDES {
        if let Some(value) = query.get(parameter) {
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
                S3Error::invalid_argument("The value cannot be sent as a header.", parameter, value)
            })?;
            headers.insert(name, value);
        }
    }
    Ok(())
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, S3Error> {
    headers
        .get(name)
        .map(|value| value_text(name, value).map(str::to_owned))
        .transpose()
}

/// Header values are bytes; they are kept as text and come back as the same bytes, so they must be UTF-8.
fn value_text<'v>(name: &HeaderName, value: &'v HeaderValue) -> Result<&'v str, S3Error> {
    std::str::from_utf8(value.as_bytes())
        .map_err(|_| S3Error::invalid_argument("The header is not valid UTF-8.", name.as_str(), "…"))
}

/// A content encoding without `aws-chunked`, which is the framing of the request and not of the object.
fn without_framing(encoding: String) -> Option<String> {
    if !encoding.contains("aws-chunked") {
        return Some(encoding);
    }
    let rest: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|coding| *coding != "aws-chunked")
        .collect();
    (!rest.is_empty()).then(|| rest.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn stored_headers_are_read() {
        let attributes = from_headers(&headers(&[
            ("content-type", "text/plain"),
            ("content-encoding", "aws-chunked, gzip"),
            ("x-amz-meta-a", "1"),
            ("x-amz-meta-a", "2"),
            ("x-amz-meta-", ""),
            ("x-amz-date", "no"),
        ]))
        .expect("valid");
        assert_eq!(attributes.content_type.as_deref(), Some("text/plain"));
        assert_eq!(attributes.content_encoding.as_deref(), Some("gzip"));
        let metadata: Vec<_> = attributes
            .user_metadata
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(metadata, [("", ""), ("a", "1,2")]);
        let framed = from_headers(&headers(&[("content-encoding", "aws-chunked")])).expect("valid");
        assert_eq!(framed.content_encoding, None);
    }

    #[test]
    fn metadata_has_a_limit_and_an_encoding() {
        let mut large = HeaderMap::new();
        large.insert("x-amz-meta-a", "x".repeat(2047).parse().expect("a value"));
        assert!(from_headers(&large).is_ok());
        large.insert("x-amz-meta-b", "x".parse().expect("a value"));
        assert_eq!(
            from_headers(&large).map_err(|error| error.code),
            Err("MetadataTooLarge")
        );
        let mut binary = HeaderMap::new();
        binary.insert("x-amz-meta-a", HeaderValue::from_bytes(b"\xff").expect("a value"));
        assert_eq!(
            from_headers(&binary).map_err(|error| error.code),
            Err("InvalidArgument")
        );
    }

    #[test]
    fn what_would_not_be_done_is_refused() {
        for (name, value, code) in [
            ("x-amz-acl", "public-read", "AccessControlListNotSupported"),
            ("x-amz-grant-read", "id=1", "AccessControlListNotSupported"),
            ("x-amz-server-side-encryption", "aws:kms", "NotImplemented"),
            (
                "x-amz-server-side-encryption-customer-algorithm",
                "AES256",
                "NotImplemented",
            ),
            ("x-amz-tagging", "a=b", "NotImplemented"),
            ("x-amz-object-lock-mode", "GOVERNANCE", "NotImplemented"),
            ("x-amz-website-redirect-location", "/", "NotImplemented"),
            ("x-amz-storage-class", "GLACIER", "InvalidStorageClass"),
        ] {
            let refused = refuse_unsupported(&headers(&[(name, value)])).map_err(|error| error.code);
            assert_eq!(refused, Err(code), "{name}: {value}");
        }
        let fine = headers(&[
            ("x-amz-acl", "private"),
            ("x-amz-storage-class", "STANDARD"),
            ("x-amz-meta-tagging", "x"),
        ]);
        assert!(refuse_unsupported(&fine).is_ok());
    }
}
