//! The canonical request: the one spelling of a request that both sides hash.

use std::borrow::Cow;
use std::ops::Range;

use crate::encode::{InvalidEncoding, KEPT_IN_COMPONENT, KEPT_IN_PATH, percent_decode, push_encoded};
use crate::error::SigningError;

/// Headers that proxies and HTTP libraries change on the way, so that they cannot be signed. The list is botocore's.
const UNSIGNABLE_HEADERS: [&str; 14] = [
    "baggage",
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
];

/// Appends the canonical form of a raw request path: decoded once and encoded again, neither normalised nor encoded twice.
///
/// Clients differ in what they leave unencoded on the wire; what they sign is the same.
pub(crate) fn push_path(out: &mut Vec<u8>, raw_path: &str) -> Result<(), InvalidEncoding> {
    if raw_path.is_empty() {
        out.push(b'/');
    } else {
        push_encoded(out, &percent_decode(raw_path.as_bytes())?, &KEPT_IN_PATH);
    }
    Ok(())
}

/// Appends the canonical form of a raw request path for every service but S3 (SigV4, "Create a canonical request"): without
/// empty and dot segments, and encoded once more as it stands.
pub(crate) fn push_service_path(out: &mut Vec<u8>, raw_path: &str) {
    let mut segments = Vec::new();
    for segment in raw_path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    out.push(b'/');
    push_encoded(out, segments.join("/").as_bytes(), &KEPT_IN_PATH);
    if raw_path.ends_with('/') && !segments.is_empty() {
        out.push(b'/');
    }
}

/// Appends the canonical form of decoded query parameters: encoded, then sorted by name and value as encoded.
pub(crate) fn push_query<'a>(
    out: &mut Vec<u8>,
    pairs: impl Iterator<Item = (&'a Cow<'a, str>, &'a Cow<'a, str>)>,
) {
    let mut text = Vec::with_capacity(256);
    let mut places = Vec::with_capacity(8);
    for (name, value) in pairs {
        let start = text.len();
        push_encoded(&mut text, name.as_bytes(), &KEPT_IN_COMPONENT);
        let middle = text.len();
        push_encoded(&mut text, value.as_bytes(), &KEPT_IN_COMPONENT);
        places.push((start..middle, middle..text.len()));
    }
    push_sorted_pairs(out, &text, &mut places);
}

/// Appends `name=value&…` from pairs of places in `text`, sorted by name, then by value.
pub(crate) fn push_sorted_pairs(out: &mut Vec<u8>, text: &[u8], places: &mut [(Range<usize>, Range<usize>)]) {
    let at = |range: &Range<usize>| &text[range.clone()];
    places.sort_unstable_by(|a, b| (at(&a.0), at(&a.1)).cmp(&(at(&b.0), at(&b.1))));
    for (index, (name, value)) in places.iter().enumerate() {
        if index > 0 {
            out.push(b'&');
        }
        out.extend_from_slice(at(name));
        out.push(b'=');
        out.extend_from_slice(at(value));
    }
}

/// Appends `name:value,value\n`, with the white space of each value folded to single spaces.
pub(crate) fn push_header_line<'a>(out: &mut Vec<u8>, name: &str, values: impl Iterator<Item = &'a [u8]>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    for (index, value) in values.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let words = value
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        for (index, word) in words.enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(word);
        }
    }
    out.push(b'\n');
}

/// The headers that a client signs, in canonical form.
pub(crate) struct HeaderBlock {
    /// `name:value\n` for each header, sorted.
    pub(crate) lines: Vec<u8>,
    /// The names, sorted and joined with `;`.
    pub(crate) names: String,
}

impl HeaderBlock {
    /// Takes every header that can be signed, and the host.
    pub(crate) fn new<'a>(
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        host: &'a str,
    ) -> Result<Self, SigningError> {
        let mut sorted: Vec<(Cow<'a, str>, &'a str)> = vec![(Cow::Borrowed("host"), host)];
        for (name, value) in headers {
            let sendable = !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t');
            if !is_token(name) || !sendable || name.eq_ignore_ascii_case("host") {
                return Err(SigningError::InvalidHeader(name.to_owned()));
            }
            let name = lower_case(name);
            if !UNSIGNABLE_HEADERS.contains(&name.as_ref()) {
                sorted.push((name, value));
            }
        }
        // Stable: the values of a repeated header keep the order in which they will be sent.
        sorted.sort_by(|a, b| a.0.cmp(&b.0));

        let mut block = Self {
            lines: Vec::with_capacity(128),
            names: String::with_capacity(64),
        };
        for group in sorted.chunk_by(|a, b| a.0 == b.0) {
            let name = &group[0].0;
            if !block.names.is_empty() {
                block.names.push(';');
            }
            block.names.push_str(name);
            push_header_line(
                &mut block.lines,
                name,
                group.iter().map(|(_, value)| value.as_bytes()),
            );
        }
        Ok(block)
    }
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether a header's name is a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{ascii_string, parse_query};

    fn path(raw: &str) -> String {
        let mut out = Vec::new();
        push_path(&mut out, raw).expect("valid");
        ascii_string(out)
    }

    fn query(raw: &str) -> String {
        let pairs = parse_query(raw).expect("valid");
        let mut out = Vec::new();
        push_query(&mut out, pairs.iter().map(|(name, value)| (name, value)));
        ascii_string(out)
    }

    fn block(headers: &[(&str, &str)]) -> Result<(String, String), SigningError> {
        let block = HeaderBlock::new(headers.iter().copied(), "h")?;
        Ok((ascii_string(block.lines), block.names))
    }

    #[test]
    fn paths_keep_their_shape() {
        assert_eq!(path(""), "/");
        assert_eq!(path("/b/e//f/./g"), "/b/e//f/./g");
        assert_eq!(path("/b/../x"), "/b/../x");
        assert_eq!(path("/b/a%2Fb%2fc"), "/b/a/b/c");
        assert_eq!(path("/b/%7e~%25%20+"), "/b/~~%25%20%2B");
        assert_eq!(path("/b/a(1)*'!é"), "/b/a%281%29%2A%27%21%C3%A9");
    }

    #[test]
    fn queries_are_sorted_as_encoded() {
        assert_eq!(query("b=2&a=1&a=0&c"), "a=0&a=1&b=2&c=");
        assert_eq!(query("a-b=1&a=2&a%20=3&aé=4"), "a=2&a%20=3&a%C3%A9=4&a-b=1");
        assert_eq!(query("p=a+b%2Bc%20d~%7E"), "p=a%20b%2Bc%20d~~");
    }

    #[test]
    fn headers_are_folded_sorted_and_joined() {
        let (lines, names) = block(&[
            ("X-Amz-Meta-B", "  two\t words  "),
            ("content-type", "text/plain"),
            ("x-amz-meta-b", "again"),
            ("User-Agent", "never"),
            ("x-amz-meta-a", ""),
        ])
        .expect("valid");
        assert_eq!(names, "content-type;host;x-amz-meta-a;x-amz-meta-b");
        assert_eq!(
            lines,
            "content-type:text/plain\nhost:h\nx-amz-meta-a:\nx-amz-meta-b:two words,again\n"
        );
    }

    #[test]
    fn headers_that_could_split_a_request_are_refused() {
        for (name, value) in [
            ("a b", ""),
            ("", "x"),
            ("a:", "x"),
            ("x-amz-meta-a", "b\r\nc: d"),
            ("Host", "other"),
        ] {
            assert_eq!(
                block(&[(name, value)]),
                Err(SigningError::InvalidHeader(name.to_owned()))
            );
        }
    }
}
