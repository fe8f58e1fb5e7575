//! Conditions and ranges, as headers spell them (RFC 9110, sections 13 and 14).

use cloakroom_core::ports::objects::{ByteRange, ReadConditions};
use http::HeaderMap;
use http::header::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

static HTTP_DATE: DateTimeParser = DateTimeParser::new();

/// The names of the four conditions: of a read, or of the source of a copy.
pub(crate) struct ConditionNames {
    pub(crate) matches: &'static str,
    pub(crate) none_matches: &'static str,
    pub(crate) modified_since: &'static str,
    pub(crate) unmodified_since: &'static str,
}

/// Conditions of a read.
pub(crate) const OF_READ: ConditionNames = ConditionNames {
    matches: "if-match",
    none_matches: "if-none-match",
    modified_since: "if-modified-since",
    unmodified_since: "if-unmodified-since",
};

/// Conditions on the source of a copy.
pub(crate) const OF_COPY_SOURCE: ConditionNames = ConditionNames {
    matches: "x-amz-copy-source-if-match",
    none_matches: "x-amz-copy-source-if-none-match",
    modified_since: "x-amz-copy-source-if-modified-since",
    unmodified_since: "x-amz-copy-source-if-unmodified-since",
};

/// Reads conditions. A date that is none is as if it were not there.
pub(crate) fn read_conditions(headers: &HeaderMap, names: &ConditionNames) -> ReadConditions {
    let date = |name| text(headers, name).and_then(http_date);
    ReadConditions {
        if_match: text(headers, names.matches).map(str::to_owned),
        if_none_match: text(headers, names.none_matches).map(str::to_owned),
        if_modified_since: date(names.modified_since),
        if_unmodified_since: date(names.unmodified_since),
        if_generation: None,
    }
}

/// The text of a header.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers
        .get(name)
        .map(HeaderValue::as_bytes)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// Reads an HTTP date.
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    HTTP_DATE.parse_timestamp(text).ok()
}

/// Reads `Range`. Other units, several ranges and whatever does not parse are ignored, as S3 does.
pub(crate) fn range(headers: &HeaderMap) -> Option<ByteRange> {
    parse_range(text(headers, "range")?)
}

/// Reads `bytes=<first>-<last>`, `bytes=<first>-` or `bytes=-<count>`.
pub(crate) fn parse_range(text: &str) -> Option<ByteRange> {
    let (unit, spec) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    match (first, last) {
        ("", count) => Some(ByteRange::Last(offset(count)?)),
        (first, "") => Some(ByteRange::From(offset(first)?)),
        (first, last) => {
            let (first, last) = (offset(first)?, offset(last)?);
            (first <= last).then_some(ByteRange::FromTo(first, last))
        }
    }
}

/// Digits. What is beyond 64 bits is beyond every object.
fn offset(digits: &str) -> Option<u64> {
    let legal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    legal.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Whether one of the entity tags in a list is this one; `*` is any (RFC 9110, section 8.8.3). Quotes may be missing, as S3
/// allows, and tags are compared weakly.
pub(crate) fn matches_etag(list: &str, etag: &str) -> bool {
    list.trim() == "*"
        || list.split(',').any(|tag| {
            let tag = tag.trim();
            tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"') == etag
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_or_ignored() {
        for (text, expected) in [
            ("bytes=0-4", Some(ByteRange::FromTo(0, 4))),
            ("Bytes = 0-4", Some(ByteRange::FromTo(0, 4))),
            ("bytes=4-", Some(ByteRange::From(4))),
            ("bytes=-7", Some(ByteRange::Last(7))),
            ("bytes=-0", Some(ByteRange::Last(0))),
            ("bytes=99999999999999999999-", Some(ByteRange::From(u64::MAX))),
            ("bytes=7-4", None),
            ("bytes=0-1,4-6", None),
            ("bytes=a-b", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("bytes=--1", None),
            ("bytes=+1-2", None),
            ("bytes=1-2-3", None),
            ("lines=1-2", None),
            ("4-7", None),
        ] {
            assert_eq!(parse_range(text), expected, "{text}");
        }
    }

    #[test]
    fn dates_and_tags() {
        let date = http_date("Sat, 29 Oct 1994 19:43:31 GMT").map(|time| time.to_string());
        assert_eq!(date.as_deref(), Some("1994-10-29T19:43:31Z"));
        assert_eq!(http_date("not a date"), None);
        for (list, expected) in [
            ("*", true),
            ("\"a\"", true),
            ("a", true),
            ("\"b\", W/\"a\"", true),
            ("\"b\"", false),
            ("", false),
        ] {
            assert_eq!(matches_etag(list, "a"), expected, "{list}");
        }
    }
}
