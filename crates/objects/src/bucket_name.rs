//! Names of buckets, the same for every store: they become host names and directories.

/// S3 API, "Bucket naming rules": 3 to 63 lower-case letters, digits, dots and hyphens, a letter or digit at both
/// ends, no two dots together, not an IP address.
pub(crate) fn is_legal_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-');
    let outer =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (3..=63).contains(&name.len())
        && name.bytes().all(inner)
        && outer(name.bytes().next())
        && outer(name.bytes().next_back())
        && !name.contains("..")
        && name.parse::<std::net::Ipv4Addr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::is_legal_name;

    #[test]
    fn names_follow_the_rules_of_s3() {
        for name in ["abc", "a-b.c", "123", "my.bucket-1", "1.2.3", &"a".repeat(63)] {
            assert!(is_legal_name(name), "{name}");
        }
        let bad = [
            "", "ab", "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "10.0.0.1", "a/b", "../x", "äbc",
            "a b",
        ];
        for name in bad.into_iter().chain([&*"a".repeat(64), ".tmp", ".multipart"]) {
            assert!(!is_legal_name(name), "{name}");
        }
    }
}
