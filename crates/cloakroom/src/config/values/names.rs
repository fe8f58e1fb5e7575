//! Names and addresses that other systems restrict.

use std::net::SocketAddr;

use cloakroom_metadata::TablePrefix;
use cloakroom_signing::{Addressing, Endpoint, Region};

use super::{Raw, Value, expected, text_of};

/// Where to listen: an address and a port; port 0 takes a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenAddress(pub SocketAddr);

impl Value for ListenAddress {
    const KIND: &'static str = "an address and port such as 127.0.0.1:8000 or [::]:8000";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text_of::<Self>(raw)?;
        // `localhost:8000` and `:8000` are what people write.
        let spelled = match text.rsplit_once(':') {
            Some(("localhost", port)) => format!("127.0.0.1:{port}"),
            Some(("", port)) => format!("0.0.0.0:{port}"),
            _ => text.to_owned(),
        };
        spelled.parse().map(Self).map_err(|_| expected::<Self>(raw))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Where a worker process answers questions about its health, if anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerListen(pub Option<SocketAddr>);

impl Value for WorkerListen {
    const KIND: &'static str = "an address and port such as 127.0.0.1:8001, or off";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)? {
            // In the environment an empty value is none, so it has a word as well.
            "" | "off" | "none" => Ok(Self(None)),
            _ => ListenAddress::read(raw)
                .map(|address| Self(Some(address.0)))
                .map_err(|_| expected::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        self.0
            .map_or_else(|| "off".to_owned(), |address| address.to_string())
    }
}

/// The base address of a service: `http(s)://host[:port][/path]`, without a slash at its end. The scheme may be
/// absent where another setting gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// The address; a missing scheme becomes `https` or `http`.
    pub fn with_scheme(&self, tls: bool) -> String {
        match (self.scheme(), tls) {
            (Some(_), _) => self.0.clone(),
            (None, true) => format!("https://{}", self.0),
            (None, false) => format!("http://{}", self.0),
        }
    }

    /// `http` or `https`, where it is written.
    pub fn scheme(&self) -> Option<&str> {
        self.0.split_once("://").map(|(scheme, _)| scheme)
    }
}

impl Value for BaseUrl {
    const KIND: &'static str = "an address such as https://files.example.com";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text_of::<Self>(raw)?.trim_end_matches('/');
        let url = Self(text.to_owned());
        // A user name or password in an address would be shown with it, so the text is not repeated.
        if text.contains('@') {
            return Err("must not hold credentials".to_owned());
        }
        Endpoint::parse(&url.with_scheme(false), Addressing::Path).map_err(|_| expected::<Self>(raw))?;
        Ok(url)
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Value for Region {
    const KIND: &'static str = "a region name such as us-east-1";

    fn read(raw: &Raw) -> Result<Self, String> {
        Self::new(text_of::<Self>(raw)?).map_err(|_| expected::<Self>(raw))
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

/// The name of a bucket (S3 user guide, "General purpose bucket naming rules").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketName(pub String);

impl Value for BucketName {
    const KIND: &'static str = "a bucket name: 3 to 63 lower-case letters, digits, dots and hyphens";

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text_of::<Self>(raw)?;
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let legal = (3..=63).contains(&text.len())
            && text
                .bytes()
                .all(|byte| alphanumeric(byte) || matches!(byte, b'.' | b'-'))
            && text.bytes().next().is_some_and(alphanumeric)
            && text.bytes().last().is_some_and(alphanumeric)
            && !text.contains("..")
            && text.parse::<std::net::Ipv4Addr>().is_err();
        if legal {
            Ok(Self(text.to_owned()))
        } else {
            Err(expected::<Self>(raw))
        }
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Value for TablePrefix {
    const KIND: &'static str = "1 to 21 lower-case letters, digits and underscores, beginning with a letter";

    fn read(raw: &Raw) -> Result<Self, String> {
        text_of::<Self>(raw)?.parse().map_err(|_| expected::<Self>(raw))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn addresses() {
        for (written, shown) in [
            ("localhost:80", "127.0.0.1:80"),
            (":80", "0.0.0.0:80"),
            ("[::1]:0", "[::1]:0"),
            ("10.0.0.1:9000", "10.0.0.1:9000"),
        ] {
            assert_eq!(
                text::<ListenAddress>(written).map(|a| a.show()),
                Ok(shown.to_owned())
            );
        }
        for bad in ["", "8000", "host:80", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(text::<ListenAddress>(bad).is_err(), "{bad}");
        }
        assert_eq!(
            text::<BaseUrl>("minio:9000").map(|u| u.with_scheme(true)),
            Ok("https://minio:9000".into())
        );
        assert_eq!(
            text::<BaseUrl>("http://h/").map(|u| u.with_scheme(true)),
            Ok("http://h".into())
        );
        for bad in ["ftp://x", "http://", "http://h?x=1", "a b"] {
            assert!(text::<BaseUrl>(bad).is_err(), "{bad}");
        }
        assert_eq!(text::<WorkerListen>("off"), Ok(WorkerListen(None)));
        assert_eq!(
            text::<WorkerListen>(":8001").map(|l| l.show()),
            Ok("0.0.0.0:8001".into())
        );
        assert!(text::<WorkerListen>("on").is_err());
        let refused = text::<BaseUrl>("http://user:hush@host").expect_err("credentials");
        assert!(!refused.contains("hush"), "{refused}");
    }

    #[test]
    fn names_that_other_systems_restrict() {
        assert!(text::<BucketName>("reconciliation-files").is_ok());
        for bad in [
            "",
            "ab",
            "Bucket",
            "a..b",
            "-ab",
            "192.168.0.1",
            "a_b",
            &"b".repeat(64),
        ] {
            assert!(text::<BucketName>(bad).is_err(), "{bad}");
        }
        assert_eq!(text::<TablePrefix>("app1_").map(|p| p.show()), Ok("app1_".into()));
        for bad in ["", "1app", "app;drop", "App", &"a".repeat(33)] {
            assert!(text::<TablePrefix>(bad).is_err(), "{bad}");
        }
    }
}
