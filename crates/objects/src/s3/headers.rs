//! What headers say of an object, and what is said of one that is written.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, Checksums, ObjectAttributes, ObjectError, ObjectInfo, Result, WriteConditions,
};
use http::HeaderMap;
use jiff::Timestamp;

use super::answer::http_date;
use super::client::header;
use crate::conditions::strip_quotes;

/// What S3 says of an object that was stored without a type (S3 API, "PutObject").
const DEFAULT_CONTENT_TYPE: &str = "binary/octet-stream";
/// The most user metadata, names and values together, in bytes (S3 user guide, "User-defined object metadata").
pub(super) const USER_METADATA_BYTES_MAX: usize = 2 * 1024;
const USER_METADATA_PREFIX: &str = "x-amz-meta-";
const ENCODED_PREFIX: &str = "=?UTF-8?B?";
const ENCODED_SUFFIX: &str = "?=";

/// The headers that store these attributes.
///
/// # Errors
/// [`ObjectError::InvalidArgument`] for more user metadata than S3 takes.
pub(super) fn of_attributes(attributes: &ObjectAttributes) -> Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    for (name, value) in [
        ("content-type", &attributes.content_type),
        ("content-disposition", &attributes.content_disposition),
        ("content-encoding", &attributes.content_encoding),
        ("content-language", &attributes.content_language),
        ("cache-control", &attributes.cache_control),
        ("expires", &attributes.expires),
    ] {
        headers.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
    }
    let mut total = 0;
    for (name, value) in &attributes.user_metadata {
        total += name.len() + value.len();
        headers.push((format!("{USER_METADATA_PREFIX}{name}"), encode_text(value)));
    }
    if total > USER_METADATA_BYTES_MAX {
        return Err(ObjectError::InvalidArgument(format!(
            "{total} bytes of user metadata are more than {USER_METADATA_BYTES_MAX}"
        )));
    }
    Ok(headers)
}

/// The headers of a write's conditions. A generation is an `ETag` here. Without quotes, because Ceph compares them as they
/// come, and the others take both.
pub(super) fn of_conditions(conditions: &WriteConditions) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    if conditions.if_absent {
        headers.push(("if-none-match".to_owned(), "*".to_owned()));
    }
    if let Some(tag) = conditions.if_match.as_ref().or(conditions.if_generation.as_ref()) {
        headers.push(("if-match".to_owned(), strip_quotes(tag).to_owned()));
    }
    headers
}

/// An entity tag in quotes; `*` as it is.
pub(super) fn entity_tag(tag: &str) -> String {
    if tag == "*" {
        tag.to_owned()
    } else {
        format!("\"{}\"", strip_quotes(tag))
    }
}

/// What an answer to `HEAD` or `GET` says of the object.
pub(super) fn info(headers: &HeaderMap) -> Result<ObjectInfo> {
    let incomplete = |what: &str| ObjectError::Internal(format!("the object store's answer has no {what}"));
    let etag = strip_quotes(header(headers, "etag").ok_or_else(|| incomplete("ETag"))?).to_owned();
    let size_bytes = match content_range(headers) {
        Some((_, _, size)) => size,
        None => header(headers, "content-length")
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| incomplete("Content-Length"))?,
    };
    let modified_at = header(headers, "last-modified")
        .and_then(http_date)
        .ok_or_else(|| incomplete("Last-Modified"))?;
    Ok(ObjectInfo {
        size_bytes,
        generation: etag.clone(),
        parts: parts_of(&etag),
        etag,
        modified_at,
        attributes: attributes(headers),
        checksums: checksums(headers),
    })
}

/// What is known of an object that was just written and replaced by another one before we could ask.
pub(super) fn presumed(
    attributes: &ObjectAttributes,
    etag: &str,
    size_bytes: u64,
    modified_at: Timestamp,
) -> ObjectInfo {
    ObjectInfo {
        size_bytes,
        generation: etag.to_owned(),
        parts: parts_of(etag),
        etag: etag.to_owned(),
        modified_at,
        attributes: attributes.clone(),
        checksums: Checksums::default(),
    }
}

/// First and last offset, and the object's size: `bytes 0-9/100`.
pub(super) fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let (range, size) = header(headers, "content-range")?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?, size.parse().ok()?))
}

/// An `ETag` of a multipart object ends with the number of its parts.
fn parts_of(etag: &str) -> Option<u32> {
    etag.rsplit_once('-')?.1.parse().ok()
}

fn attributes(headers: &HeaderMap) -> ObjectAttributes {
    let text = |name: &str| header(headers, name).map(str::to_owned);
    let mut user_metadata = BTreeMap::new();
    for (name, value) in headers {
        if let Some(suffix) = name.as_str().strip_prefix(USER_METADATA_PREFIX) {
            // Some services send text as it is and not encoded.
            let value = String::from_utf8_lossy(value.as_bytes());
            user_metadata.insert(suffix.to_owned(), decode_text(&value));
        }
    }
    ObjectAttributes {
        content_type: text("content-type").filter(|content_type| content_type != DEFAULT_CONTENT_TYPE),
        content_disposition: text("content-disposition"),
        content_encoding: text("content-encoding"),
        content_language: text("content-language"),
        cache_control: text("cache-control"),
        expires: text("expires"),
        user_metadata,
    }
}

/// The checksums of an object or a part.
pub(super) fn checksums(headers: &HeaderMap) -> Checksums {
    let found = ChecksumAlgorithm::ALL.iter().filter_map(|algorithm| {
        let value = header(headers, &checksum_name(*algorithm))?;
        Some((*algorithm, value.to_owned()))
    });
    Checksums(found.collect())
}

/// The header that has a store check one of these: S3 takes one with a request. SHA-256 says the most, if it is there.
pub(super) fn of_checksums(checksums: &Checksums) -> Option<(String, String)> {
    let by_merit = [
        ChecksumAlgorithm::Sha256,
        ChecksumAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Crc32c,
        ChecksumAlgorithm::Crc32,
    ];
    by_merit.into_iter().find_map(|algorithm| {
        let value = checksums.0.get(&algorithm)?;
        Some((checksum_name(algorithm), value.clone()))
    })
}

fn checksum_name(algorithm: ChecksumAlgorithm) -> String {
    format!("x-amz-checksum-{}", algorithm.as_str().to_ascii_lowercase())
}

/// Text that a header cannot carry as it is, as S3 itself shows it (RFC 2047).
fn encode_text(text: &str) -> String {
    let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && text.trim() == text
        && !text.starts_with("=?");
    if plain {
        text.to_owned()
    } else {
        format!("{ENCODED_PREFIX}{}{ENCODED_SUFFIX}", BASE64.encode(text))
    }
}

fn decode_text(value: &str) -> String {
    value
        .strip_prefix(ENCODED_PREFIX)
        .and_then(|rest| rest.strip_suffix(ENCODED_SUFFIX))
        .and_then(|encoded| BASE64.decode(encoded).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_comes_back(text in any::<String>()) {
            let encoded = encode_text(&text);
            prop_assert!(encoded.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            prop_assert_eq!(decode_text(&encoded), text);
        }

        #[test]
        fn any_header_is_read(value in any::<String>()) {
            let mut headers = HeaderMap::new();
            for name in ["etag", "content-length", "content-range", "last-modified", "x-amz-meta-a"] {
                if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
                    headers.insert(name, value);
                }
            }
            let _ = info(&headers);
        }
    }

    #[test]
    fn ranges_and_parts_are_read() {
        let mut headers = HeaderMap::new();
        headers.insert("content-range", http::HeaderValue::from_static("bytes 2-5/10"));
        assert_eq!(content_range(&headers), Some((2, 5, 10)));
        assert_eq!(parts_of("0123-12"), Some(12));
        assert_eq!(parts_of("0123"), None);
    }
}
