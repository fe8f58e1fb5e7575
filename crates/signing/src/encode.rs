//! Percent-encoding by the rules of Signature Version 4, and decoding that agrees with it.
//!
//! Only `A-Z a-z 0-9 - . _ ~` stay as they are (RFC 3986 unreserved); a path also keeps `/`. Escapes are upper case. S3
//! neither normalises paths nor encodes them twice, so `a//b/../c` is a key like any other.
//! The embedded endpoint decodes with the functions of this module, so what it stores under is what was signed.

use std::borrow::Cow;
use std::str;

const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";

/// Bytes that stay as they are.
pub(crate) type KeptBytes = [bool; 256];

/// For query names and values, and everything else that is not a path.
pub(crate) static KEPT_IN_COMPONENT: KeptBytes = kept_bytes(false);
/// For object keys in a path.
pub(crate) static KEPT_IN_PATH: KeptBytes = kept_bytes(true);

const fn kept_bytes(keep_slash: bool) -> KeptBytes {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] =
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') || (keep_slash && b == b'/');
        byte += 1;
    }
    table
}

/// Text from outside that is no valid percent-encoding of UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEncoding {
    /// A `%` that two hexadecimal digits do not follow.
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Escape,
    /// The decoded bytes are not UTF-8.
    #[error("the decoded text is not UTF-8")]
    Utf8,
}

/// A query parameter, decoded: its name and its value.
pub type QueryPair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Encodes a query name, a query value or any other text in which `/` has no meaning.
pub fn encode_component(text: &str) -> String {
    encode(text, &KEPT_IN_COMPONENT)
}

/// Encodes an object key for use in a path: like [`encode_component`] but keeps `/`.
pub fn encode_path(key: &str) -> String {
    encode(key, &KEPT_IN_PATH)
}

fn encode(text: &str, kept: &KeptBytes) -> String {
    let mut out = Vec::with_capacity(text.len() + 16);
    push_encoded(&mut out, text.as_bytes(), kept);
    ascii_string(out)
}

/// Appends `text`, encoded; the output is ASCII.
pub(crate) fn push_encoded(out: &mut Vec<u8>, text: &[u8], kept: &KeptBytes) {
    let mut rest = text;
    loop {
        let run = rest
            .iter()
            .position(|&byte| !kept[usize::from(byte)])
            .unwrap_or(rest.len());
        out.extend_from_slice(&rest[..run]);
        let Some(&byte) = rest.get(run) else { return };
        out.extend_from_slice(&[
            b'%',
            HEX_UPPER[usize::from(byte >> 4)],
            HEX_UPPER[usize::from(byte & 15)],
        ]);
        rest = &rest[run + 1..];
    }
}

/// A string from a buffer that only ever took ASCII.
pub(crate) fn ascii_string(bytes: Vec<u8>) -> String {
    // Proof: every writer of these buffers appends `&str`s, digits or the output of `push_encoded`.
    String::from_utf8(bytes).expect("only valid UTF-8 was appended")
}

/// Decodes `%XX`; every other byte, `+` included, stands for itself.
///
/// # Errors
/// [`InvalidEncoding::Escape`] for a `%` without two hexadecimal digits.
pub fn percent_decode(text: &[u8]) -> Result<Cow<'_, [u8]>, InvalidEncoding> {
    decode(text, false)
}

/// Decodes the path of a request, or a part of one, to text: the object key exactly as the client means it.
///
/// # Errors
/// [`InvalidEncoding`] for a bad escape or bytes that are not UTF-8.
pub fn percent_decode_str(text: &str) -> Result<Cow<'_, str>, InvalidEncoding> {
    text_from(percent_decode(text.as_bytes())?)
}

fn decode(text: &[u8], plus_is_space: bool) -> Result<Cow<'_, [u8]>, InvalidEncoding> {
    let special = |byte: u8| byte == b'%' || (plus_is_space && byte == b'+');
    let Some(first) = text.iter().position(|&byte| special(byte)) else {
        return Ok(Cow::Borrowed(text));
    };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut rest = text[first..].iter();
    while let Some(&byte) = rest.next() {
        out.push(match byte {
            b'%' => {
                let high = rest.next().and_then(|&digit| hex_value(digit));
                let low = rest.next().and_then(|&digit| hex_value(digit));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(InvalidEncoding::Escape);
                };
                high << 4 | low
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    Ok(Cow::Owned(out))
}

fn text_from(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, InvalidEncoding> {
    match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes)
            .map(Cow::Borrowed)
            .map_err(|_| InvalidEncoding::Utf8),
        Cow::Owned(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| InvalidEncoding::Utf8),
    }
}

/// Splits and decodes a raw query string in order. A name without `=` has the value `""`, `+` is a space (as S3 reads
/// it), and empty pieces between two `&` are skipped.
///
/// # Errors
/// [`InvalidEncoding`] for a bad escape or bytes that are not UTF-8.
pub fn parse_query(raw: &str) -> Result<Vec<QueryPair<'_>>, InvalidEncoding> {
    raw.split('&')
        .filter(|piece| !piece.is_empty())
        .map(|piece| {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((
                text_from(decode(name.as_bytes(), true)?)?,
                text_from(decode(value.as_bytes(), true)?)?,
            ))
        })
        .collect()
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Thirty-two bytes as 64 lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    let mut out = [0; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX_LOWER[usize::from(byte >> 4)];
        pair[1] = HEX_LOWER[usize::from(byte & 15)];
    }
    out
}

/// The reverse of [`hex`]; either case is read.
pub(crate) fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_unreserved_bytes_stay() {
        assert_eq!(encode_component("azAZ09-._~"), "azAZ09-._~");
        assert_eq!(encode_component("a b+c/d%é\n"), "a%20b%2Bc%2Fd%25%C3%A9%0A");
        assert_eq!(encode_path("/a//b/./../c d"), "/a//b/./../c%20d");
        assert_eq!(
            encode_path("!*'();:@&=$,?#[]"),
            "%21%2A%27%28%29%3B%3A%40%26%3D%24%2C%3F%23%5B%5D"
        );
    }

    #[test]
    fn a_plus_is_itself_in_a_path_and_a_space_in_a_query() {
        assert_eq!(percent_decode_str("a+b%2Bc").as_deref(), Ok("a+b+c"));
        let pairs = parse_query("a+b=c+d%2B&&flag&empty=&x=1=2").expect("valid");
        let expected = [("a b", "c d+"), ("flag", ""), ("empty", ""), ("x", "1=2")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.into(), value.into())));
    }

    #[test]
    fn broken_escapes_are_refused() {
        for text in ["%", "a%2", "%zz", "%2x", "%%41"] {
            assert_eq!(percent_decode_str(text), Err(InvalidEncoding::Escape), "{text}");
            assert_eq!(parse_query(text), Err(InvalidEncoding::Escape), "{text}");
        }
        assert_eq!(percent_decode_str("%FF"), Err(InvalidEncoding::Utf8));
        assert_eq!(parse_query("a=%C3"), Err(InvalidEncoding::Utf8));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in any::<String>()) {
            let path = encode_path(&text);
            prop_assert_eq!(percent_decode_str(&path).expect("ours"), text.as_str());
            let query = format!("{0}={0}", encode_component(&text));
            let pairs = parse_query(&query).expect("ours");
            prop_assert_eq!(&pairs[0].0, &text);
            prop_assert_eq!(&pairs[0].1, &text);
        }

        #[test]
        fn decoding_never_panics(bytes in any::<Vec<u8>>(), text in "[%+&=a-fA-F0-9é]{0,40}") {
            let _ = percent_decode(&bytes);
            let _ = percent_decode_str(&text);
            let _ = parse_query(&text);
        }

        #[test]
        fn hex_round_trips(bytes in any::<[u8; 32]>()) {
            prop_assert_eq!(from_hex(&hex(&bytes)), Some(bytes));
        }
    }
}
