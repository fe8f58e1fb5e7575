//! Where webhooks go, and the client that goes there and nowhere else.

use std::fmt;
use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;
use url::Host;

use super::addresses::{PublicResolver, is_public};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an address is none for webhooks. Never repeats it: it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No URL that anything could be posted to.
    #[error("must be an address such as https://example.com/hooks, without a user, password or fragment")]
    Malformed,
    /// What is sent could be read on the way.
    #[error("must be an https address (webhooks.allow_private allows http)")]
    Unencrypted,
    /// It leads into somebody's own network.
    #[error("is a private address (webhooks.allow_private allows these)")]
    Private,
    /// The certificates of this machine cannot be used.
    #[error("no client for it can be made: {0}")]
    Client(String),
}

impl TargetError {
    /// The same in the words of another table of settings than `webhooks`.
    pub fn of(&self, table: &str) -> String {
        self.to_string().replace("webhooks.", &format!("{table}."))
    }
}

/// Where webhooks are posted to.
#[derive(Clone)]
pub struct Target {
    url: Url,
    allow_private: bool,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("allow_private", &self.allow_private)
            .finish_non_exhaustive()
    }
}

impl Target {
    /// A target by its URL. Unless `allow_private`, it must be `https` and its host public; what a name resolves to is
    /// looked at with every connection.
    ///
    /// # Errors
    /// An address that is none, or one that is not allowed.
    pub fn new(url: &str, allow_private: bool) -> Result<Self, TargetError> {
        let url = Url::parse(url.trim()).map_err(|_| TargetError::Malformed)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "http" | "https") || !plain {
            return Err(TargetError::Malformed);
        }
        if !allow_private {
            if url.scheme() != "https" {
                return Err(TargetError::Unencrypted);
            }
            // A host that is an address is asked of no resolver.
            let public = match url.host() {
                Some(Host::Ipv4(address)) => is_public(address.into()),
                Some(Host::Ipv6(address)) => is_public(address.into()),
                Some(Host::Domain(_)) => true,
                None => false,
            };
            if !public {
                return Err(TargetError::Private);
            }
        }
        Ok(Self { url, allow_private })
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    /// A client that follows no redirect and asks no proxy: either would connect to addresses that nobody looked at.
    pub(crate) fn client(
        &self,
        timeout: Duration,
        connections: usize,
    ) -> Result<reqwest::Client, TargetError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("cloakroom/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .pool_max_idle_per_host(connections);
        if !self.allow_private {
            builder = builder.dns_resolver(PublicResolver).https_only(true);
        }
        builder
            .build()
            .map_err(|error| TargetError::Client(error.without_url().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_public_and_encrypted_is_a_target() {
        let check = |url| Target::new(url, false).map(|_| ());
        for good in [
            "https://example.com/hooks?token=x",
            "https://example.com:8443",
            "https://1.1.1.1/",
            "https://[2606:4700::1111]/",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", TargetError::Malformed),
            ("example.com", TargetError::Malformed),
            ("ftp://example.com", TargetError::Malformed),
            ("https://ann:hush@example.com", TargetError::Malformed),
            ("https://example.com/#x", TargetError::Malformed),
            ("http://example.com", TargetError::Unencrypted),
            ("https://10.0.0.1", TargetError::Private),
            // The many ways to write an address.
            ("https://2130706433/", TargetError::Private),
            ("https://0x7f.1/", TargetError::Private),
            ("https://0177.0.0.1/", TargetError::Private),
            ("https://[::ffff:169.254.169.254]/", TargetError::Private),
            ("https://[::1]/", TargetError::Private),
        ] {
            let refused = check(bad).expect_err(bad);
            assert_eq!(refused, why, "{bad}");
            assert!(!refused.to_string().contains("hush"));
        }
        for url in ["http://127.0.0.1:9/", "https://10.0.0.1/"] {
            let target = Target::new(url, true).expect("allowed");
            assert!(!format!("{target:?}").contains("0.1"), "{target:?}");
        }
    }
}
