//! The last guard of the log: what looks like a credential is replaced.

use std::borrow::Cow;

/// What stands where a credential would.
pub(super) const REDACTED: &str = "[redacted]";
/// Texts that only stand in credentials or in URLs that are ones. Lower-case.
const MARKERS: &[&str] = &["signature=", "x-amz-security-token="];
/// Beginnings of tokens, and how many characters of a token's alphabet must follow.
const TOKEN_BEGINNINGS: &[(&str, usize)] = &[("eyJ", 16), ("clk_", 20)];
/// Fields whose value is never written.
pub(super) const SECRET_FIELDS: &[&str] = &[
    "authorization",
    "password",
    "secret",
    "secret_key",
    "token",
    "upload_url",
    "download_url",
];

/// The text with every word that holds a credential replaced.
pub(super) fn redact(text: &str) -> Cow<'_, str> {
    if !is_suspicious(text) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut after_bearer = false;
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let is_bearer = ends_with_bearer(bare);
        if !bare.is_empty() && (after_bearer || is_credential(bare)) {
            out.push_str(REDACTED);
            out.push_str(&word[bare.len()..]);
        } else {
            out.push_str(word);
        }
        after_bearer = is_bearer || after_bearer && bare.is_empty();
    }
    Cow::Owned(out)
}

/// A cheap look that is right for nearly every text, without making a copy of it.
fn is_suspicious(text: &str) -> bool {
    may_hold_a_mark(text.as_bytes()) && (contains_ignoring_case(text, "bearer") || is_credential(text))
}

/// Whether one of the marks may end somewhere in the text: looks once at each byte, as log lines are written for every
/// request.
fn may_hold_a_mark(text: &[u8]) -> bool {
    text.iter().enumerate().any(|(at, byte)| match byte {
        // Of `MARKERS`.
        b'=' => true,
        b'J' => text[..at].ends_with(b"ey"),
        b'_' => text[..at].ends_with(b"clk"),
        b'r' | b'R' => at >= 5 && text[at - 5..at].eq_ignore_ascii_case(b"beare"),
        _ => false,
    })
}

fn ends_with_bearer(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 6 && bytes[bytes.len() - 6..].eq_ignore_ascii_case(b"bearer")
}

fn is_credential(word: &str) -> bool {
    let is_token = |(beginning, length): &(&str, usize)| {
        word.match_indices(beginning).any(|(at, _)| {
            let rest = word[at + beginning.len()..].bytes();
            rest.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                .count()
                >= *length
        })
    };
    MARKERS.iter().any(|marker| contains_ignoring_case(word, marker)) || TOKEN_BEGINNINGS.iter().any(is_token)
}

/// Whether a lower-case ASCII text occurs, in any letter case.
fn contains_ignoring_case(text: &str, lower: &str) -> bool {
    text.as_bytes()
        .windows(lower.len())
        .any(|window| window.eq_ignore_ascii_case(lower.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_texts_stay() {
        for text in [
            "",
            "eyJ",
            "clk_ is a prefix",
            "the signature does not match",
            "/b/k?X-Amz-Expires=1",
            "a  b\n",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    /// The first look must not overlook what the second one would find.
    #[test]
    fn every_mark_is_looked_at_twice() {
        let beginnings = TOKEN_BEGINNINGS.iter().map(|(beginning, _)| *beginning);
        for mark in MARKERS
            .iter()
            .copied()
            .chain(["bearer", "BEARER", "Bearer"])
            .chain(beginnings)
        {
            for text in [
                mark.to_owned(),
                format!("a{mark}"),
                format!("{mark}b"),
                format!("ж{mark}ж"),
            ] {
                assert!(may_hold_a_mark(text.as_bytes()), "{text}");
            }
        }
    }
}
