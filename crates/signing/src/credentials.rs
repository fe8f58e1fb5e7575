//! Who signs: access keys whose secret half cannot be printed, and the region that is part of every signature.

use std::fmt;
use std::str::FromStr;

use subtle::ConstantTimeEq;

use crate::error::SigningError;

/// A text that never appears in `Debug` output: a secret access key or a session token.
///
/// Equality takes the same time wherever the texts differ.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into().into_boxed_str())
    }

    /// The text itself; the caller answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// An access key: its public id, its secret, and the session token that temporary credentials carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The public half, sent with every request.
    pub access_key_id: String,
    /// The half that only signs.
    pub secret_access_key: Secret,
    /// Sent as `x-amz-security-token` with temporary credentials.
    pub session_token: Option<Secret>,
}

impl Credentials {
    /// Long-lived credentials, without a session token.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<Secret>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            session_token: None,
        }
    }

    /// The same credentials with a session token.
    pub fn with_session_token(mut self, token: impl Into<Secret>) -> Self {
        self.session_token = Some(token.into());
        self
    }
}

/// A region name, as in `us-east-1` or Garage's `garage`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Region(String);

impl Region {
    /// Checks and wraps a name: 1 to 63 ASCII letters, digits, `-`, `_` or `.`, so that it cannot break the credential
    /// scope, in which `/` separates.
    ///
    /// # Errors
    /// [`SigningError::InvalidRegion`] for any other name.
    pub fn new(name: impl Into<String>) -> Result<Self, SigningError> {
        let name = name.into();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 63 || !name.bytes().all(legal) {
            return Err(SigningError::InvalidRegion);
        }
        Ok(Self(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Region {
    fn default() -> Self {
        Self("us-east-1".to_owned())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Region {
    type Err = SigningError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_holds_no_secret() {
        let credentials = Credentials::new("AKID", "hush-hush").with_session_token("token-token");
        let printed = format!("{credentials:?}");
        assert!(printed.contains("AKID"));
        assert!(
            !printed.contains("hush") && !printed.contains("token-token"),
            "{printed}"
        );
    }

    #[test]
    fn secrets_compare_by_value() {
        assert_eq!(Secret::from("same"), Secret::from("same"));
        assert_ne!(Secret::from("same"), Secret::from("samf"));
        assert_ne!(Secret::from("same"), Secret::from("same "));
    }

    #[test]
    fn a_region_cannot_break_the_scope() {
        for name in ["us-east-1", "garage", "eu_1.x"] {
            assert_eq!(Region::new(name).map(|r| r.to_string()), Ok(name.to_owned()));
        }
        for name in ["", "us/east", "us east", "ü", "a\nb", &"r".repeat(64)] {
            assert_eq!(Region::new(name), Err(SigningError::InvalidRegion), "{name:?}");
        }
    }
}
