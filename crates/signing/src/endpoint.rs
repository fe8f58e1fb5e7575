//! Where a bucket is: the scheme and host that go into the signature, and the two ways to name a bucket in a URL.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::canonical;
use crate::encode::{KEPT_IN_COMPONENT, KEPT_IN_PATH, ascii_string, push_encoded};
use crate::error::SigningError;

/// Where the bucket's name goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// `https://host/bucket/key`; works everywhere.
    #[default]
    Path,
    /// `https://bucket.host/key`, where the name allows it: no IP address as host, a legal host label as bucket (dots only
    /// without TLS, whose wildcard certificates do not cover them). Else as [`Path`](Self::Path), like botocore.
    VirtualHost,
}

/// The base URL of an S3 service, as the one who uses the signature will call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: &'static str,
    host: String,
    host_is_ip: bool,
    base_path: String,
    addressing: Addressing,
}

impl Endpoint {
    /// Reads `http(s)://host[:port][/path]`. The host is lower-cased and a default port dropped, because that is how HTTP
    /// clients send, and so sign, the `Host` header.
    ///
    /// # Errors
    /// [`SigningError::InvalidEndpoint`] for other schemes and for URLs with credentials, a query or a fragment.
    pub fn parse(url: &str, addressing: Addressing) -> Result<Self, SigningError> {
        let parts = UrlParts::split(url).ok_or(SigningError::InvalidEndpoint)?;
        if parts.query.is_some() || url.contains('#') {
            return Err(SigningError::InvalidEndpoint);
        }
        let mut base_path = Vec::new();
        canonical::push_path(&mut base_path, parts.path.trim_end_matches('/'))
            .map_err(|_| SigningError::InvalidEndpoint)?;
        let mut base_path = ascii_string(base_path);
        if base_path == "/" {
            base_path.clear();
        }
        let name = host_name(&parts.host);
        let host_is_ip = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .is_ok();
        Ok(Self {
            scheme: parts.scheme,
            host_is_ip,
            host: parts.host,
            base_path,
            addressing,
        })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The host of the service, with its port unless that is the scheme's default.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How buckets are addressed where their names allow it.
    pub fn addressing(&self) -> Addressing {
        self.addressing
    }

    /// The value of `Host` in requests for `bucket`.
    pub fn host_for(&self, bucket: &str) -> Cow<'_, str> {
        if self.is_virtual_host(bucket) {
            Cow::Owned(format!("{bucket}.{}", self.host))
        } else {
            Cow::Borrowed(&self.host)
        }
    }

    /// The URL of an object; of the bucket, if `key` is empty. Key and bucket are encoded.
    pub fn url_for(&self, bucket: &str, key: &str) -> String {
        let mut url = Vec::with_capacity(self.host.len() + bucket.len() + key.len() + 32);
        self.push_origin(&mut url, bucket);
        self.push_path(&mut url, bucket, key);
        ascii_string(url)
    }

    /// Appends `scheme://host`.
    pub(crate) fn push_origin(&self, out: &mut Vec<u8>, bucket: &str) {
        out.extend_from_slice(self.scheme.as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(self.host_for(bucket).as_bytes());
    }

    /// Appends the canonical path of an object or, with an empty key, of the bucket.
    pub(crate) fn push_path(&self, out: &mut Vec<u8>, bucket: &str, key: &str) {
        let start = out.len();
        out.extend_from_slice(self.base_path.as_bytes());
        if !self.is_virtual_host(bucket) {
            out.push(b'/');
            push_encoded(out, bucket.as_bytes(), &KEPT_IN_COMPONENT);
        }
        if !key.is_empty() || out.len() == start {
            out.push(b'/');
        }
        push_encoded(out, key.as_bytes(), &KEPT_IN_PATH);
    }

    fn is_virtual_host(&self, bucket: &str) -> bool {
        self.addressing == Addressing::VirtualHost
            && !self.host_is_ip
            && bucket.len() >= 3
            && bucket.parse::<IpAddr>().is_err()
            && (self.scheme == "http" || !bucket.contains('.'))
            && bucket.split('.').all(is_host_label)
    }
}

fn is_host_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// An absolute HTTP URL, taken apart without changing a byte of path or query.
pub(crate) struct UrlParts<'a> {
    pub(crate) scheme: &'static str,
    /// The value of `Host`: lower case, without a default port.
    pub(crate) host: String,
    /// Empty or starting with `/`.
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
}

impl<'a> UrlParts<'a> {
    /// `None` for anything but `http(s)://host[:port][/path][?query][#fragment]`.
    pub(crate) fn split(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => ("http", 80),
            "https" => ("https", 443),
            _ => return None,
        };
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        let (path, query) = rest
            .split_once('?')
            .map_or((rest, None), |(path, query)| (path, Some(query)));
        let host = normal_host(authority, default_port)?;
        Some(Self {
            scheme,
            host,
            path,
            query,
        })
    }
}

fn normal_host(authority: &str, default_port: u16) -> Option<String> {
    let name = host_name(authority);
    let bracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let legal = match bracketed {
        Some(address) => matches!(address.parse(), Ok(IpAddr::V6(_))),
        None => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    if !legal {
        return None;
    }
    let mut host = name.to_ascii_lowercase();
    if let Some(port) = authority[name.len()..].strip_prefix(':') {
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let port: u16 = port.parse().ok()?;
        if port != default_port {
            host.push(':');
            host.push_str(&port.to_string());
        }
    }
    Some(host)
}

/// The host without its port; an IPv6 address keeps its brackets.
fn host_name(authority: &str) -> &str {
    let port_from = if authority.starts_with('[') {
        authority.find(']').unwrap_or(0)
    } else {
        0
    };
    authority[port_from..]
        .find(':')
        .map_or(authority, |colon| &authority[..port_from + colon])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(endpoint: &str, addressing: Addressing, bucket: &str, key: &str) -> String {
        Endpoint::parse(endpoint, addressing)
            .expect("valid")
            .url_for(bucket, key)
    }

    #[test]
    fn path_style_puts_the_bucket_into_the_path() {
        for (endpoint, expected) in [
            ("http://localhost:9000", "http://localhost:9000/b/k%20%C3%A9"),
            (
                "HTTPS://S3.Example.COM:443/",
                "https://s3.example.com/b/k%20%C3%A9",
            ),
            ("http://[::1]:9000", "http://[::1]:9000/b/k%20%C3%A9"),
            (
                "https://proxy.example/s3//",
                "https://proxy.example/s3/b/k%20%C3%A9",
            ),
        ] {
            assert_eq!(url(endpoint, Addressing::Path, "b", "k é"), expected);
        }
        assert_eq!(
            url("http://localhost:9000", Addressing::Path, "b", ""),
            "http://localhost:9000/b"
        );
    }

    #[test]
    fn virtual_host_style_falls_back_where_the_name_forbids_it() {
        let virtual_host = |endpoint, bucket| url(endpoint, Addressing::VirtualHost, bucket, "k");
        assert_eq!(
            virtual_host("https://s3.example.com", "bucket"),
            "https://bucket.s3.example.com/k"
        );
        assert_eq!(
            virtual_host("http://localhost:9000", "my.bucket"),
            "http://my.bucket.localhost:9000/k"
        );
        assert_eq!(
            virtual_host("https://s3.example.com", "my.bucket"),
            "https://s3.example.com/my.bucket/k"
        );
        assert_eq!(
            virtual_host("http://127.0.0.1:9000", "bucket"),
            "http://127.0.0.1:9000/bucket/k"
        );
        assert_eq!(
            virtual_host("http://[::1]:9000", "bucket"),
            "http://[::1]:9000/bucket/k"
        );
        for bucket in [
            "ab",
            "Bucket",
            "-bucket",
            "bucket-",
            "under_score",
            "a..b",
            "192.168.0.1",
        ] {
            let expected = format!("http://s3.example.com/{bucket}/k");
            assert_eq!(virtual_host("http://s3.example.com", bucket), expected);
        }
        assert_eq!(
            url("https://s3.example.com", Addressing::VirtualHost, "bucket", ""),
            "https://bucket.s3.example.com/"
        );
    }

    #[test]
    fn other_urls_are_refused() {
        for text in [
            "",
            "localhost:9000",
            "ftp://host",
            "http://",
            "http:///path",
            "http://user:pass@host",
            "http://host?x=1",
            "http://host/#top",
            "http://host:port",
            "http://host:",
            "http://host:99999",
            "http://ho st",
            "http://[::1",
            "http://[host]",
            "http://host:+1",
            "http://host/%zz",
            "http://::1",
        ] {
            assert_eq!(
                Endpoint::parse(text, Addressing::Path),
                Err(SigningError::InvalidEndpoint),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in any::<String>(), close in "https?://[a-z.:@/?#%\\[\\]0-9é]{0,30}") {
            let _ = Endpoint::parse(&text, Addressing::Path);
            if let Ok(endpoint) = Endpoint::parse(&close, Addressing::VirtualHost) {
                let _ = endpoint.url_for(&text, &text);
            }
        }
    }
}
