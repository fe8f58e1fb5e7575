//! clamd's protocol (clamd(8), "COMMANDS"): `z` commands end with a zero byte, and so do their answers.

/// Ask for the version.
pub const VERSION: &[u8] = b"zVERSION\0";
/// Ask whether it lives.
pub const PING: &[u8] = b"zPING\0";
/// Chunks follow: each its length in four bytes, big-endian, and its bytes; one of length zero is the last.
pub const INSTREAM: &[u8] = b"zINSTREAM\0";
/// Longest answer that is read, in bytes.
pub const REPLY_BYTES_MAX: usize = 4 * 1024;

/// What clamd says of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `stream: OK`.
    Nothing,
    /// `stream: <signature> FOUND`.
    Found(String),
    /// `INSTREAM size limit exceeded. ERROR`: more than its `StreamMaxLength`.
    TooLong,
    /// Any other words, among them `... ERROR`.
    Other(String),
}

impl Reply {
    /// Reads an answer without the zero byte at its end.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_matches(['\0', '\n', ' ']);
        if text.starts_with("INSTREAM size limit exceeded") {
            return Self::TooLong;
        }
        let Some(said) = text.strip_prefix("stream: ") else {
            return Self::Other(text.to_owned());
        };
        match said.strip_suffix(" FOUND") {
            Some(signature) if !signature.is_empty() => Self::Found(signature.to_owned()),
            None if said == "OK" => Self::Nothing,
            _ => Self::Other(said.to_owned()),
        }
    }
}

/// Whether a signature only says that a limit was met, or that something could not be opened: `AlertExceedsMax`,
/// `AlertEncrypted` and their kin.
pub fn is_about_limits(signature: &str) -> bool {
    ["Heuristics.Limits.Exceeded", "Heuristics.Encrypted"]
        .iter()
        .any(|beginning| signature.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_words_are_clean() {
        let table: [(&[u8], Reply); 8] = [
            (b"stream: OK\0", Reply::Nothing),
            (
                b"stream: Win.Test.EICAR_HDB-1 FOUND",
                Reply::Found("Win.Test.EICAR_HDB-1".into()),
            ),
            (b"INSTREAM size limit exceeded. ERROR\0", Reply::TooLong),
            (
                b"stream: Can't allocate memory ERROR",
                Reply::Other("Can't allocate memory ERROR".into()),
            ),
            (b"stream: NOT OK", Reply::Other("NOT OK".into())),
            (b"stream:  FOUND", Reply::Other(" FOUND".into())),
            (b"OK", Reply::Other("OK".into())),
            (b"", Reply::Other(String::new())),
        ];
        for (said, expected) in table {
            assert_eq!(
                Reply::parse(said),
                expected,
                "{:?}",
                String::from_utf8_lossy(said)
            );
        }
        assert!(is_about_limits("Heuristics.Limits.Exceeded.MaxFileSize"));
        assert!(!is_about_limits("Heuristics.Phishing.Email.SpoofedDomain"));
    }
}
