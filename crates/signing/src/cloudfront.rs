//! Signed URLs of Amazon CloudFront (developer guide, "Use signed URLs"): a policy, its RSA-SHA1 signature and the name of
//! the key pair, as three query parameters.
//!
//! A **canned** policy limits one URL to a time and need not be sent along; a **custom** one may also begin later, hold for
//! one network, or cover several URLs by `*`, and is sent along. SHA-1 is CloudFront's choice for RSA keys, not ours: what is
//! signed is a policy that we wrote, so a collision gains nobody anything.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;

use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha1::{Digest as _, Sha1};

use crate::error::SigningError;

/// CloudFront takes no shorter RSA keys (developer guide, "Create key pairs for your signers").
const KEY_BITS_MIN: u32 = 2048;
/// Longest id of a key pair.
const KEY_PAIR_ID_BYTES_MAX: usize = 128;

/// What a custom policy allows.
#[derive(Clone, Copy, Debug)]
pub struct CloudFrontPolicy<'a> {
    /// The URL; `*` is any number of characters, `?` exactly one.
    pub resource: &'a str,
    /// Until when.
    pub until: Timestamp,
    /// From when.
    pub from: Option<Timestamp>,
    /// For whom: an IPv4 address or a network in CIDR notation.
    pub source_ip: Option<&'a str>,
}

impl CloudFrontPolicy<'_> {
    /// The policy as it is signed: compact JSON with its members in the order of the developer guide.
    ///
    /// # Errors
    /// [`SigningError::InvalidUrl`] when the resource is not printable ASCII.
    pub fn to_json(&self) -> Result<String, SigningError> {
        check_text(self.resource)?;
        let source = self.source_ip.map(|ip| {
            let network = if ip.contains('/') { "" } else { "/32" };
            format!(
                ",\"IpAddress\":{{\"AWS:SourceIp\":{}}}",
                quoted(&format!("{ip}{network}"))
            )
        });
        let from = self
            .from
            .map(|from| format!(",\"DateGreaterThan\":{{\"AWS:EpochTime\":{}}}", from.as_second()));
        Ok(format!(
            "{{\"Statement\":[{{\"Resource\":{},\"Condition\":{{\"DateLessThan\":{{\"AWS:EpochTime\":{}}}{}{}}}}}]}}",
            quoted(self.resource),
            self.until.as_second(),
            source.unwrap_or_default(),
            from.unwrap_or_default(),
        ))
    }
}

/// Signs URLs of a CloudFront distribution with the private key of one of its trusted key pairs.
pub struct CloudFrontSigner {
    key_pair_id: String,
    key: RsaPrivateKey,
}

impl fmt::Debug for CloudFrontSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudFrontSigner")
            .field("key_pair_id", &self.key_pair_id)
            .finish_non_exhaustive()
    }
}

impl CloudFrontSigner {
    /// With the id that CloudFront gave the public key, and the private key in PEM (PKCS#1 or PKCS#8).
    ///
    /// # Errors
    /// [`SigningError::InvalidKey`] when the id is no plain word or the key is none of RSA with at least 2048 bits.
    pub fn new(key_pair_id: &str, private_key_pem: &str) -> Result<Self, SigningError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if key_pair_id.is_empty()
            || key_pair_id.len() > KEY_PAIR_ID_BYTES_MAX
            || !key_pair_id.bytes().all(plain)
        {
            return Err(SigningError::InvalidKey(
                "the id of a key pair is letters and digits",
            ));
        }
        // Errors of the reader may quote what they read.
        let refused = SigningError::InvalidKey("the private key is not one of RSA in PEM, unencrypted");
        let pem = private_key_pem.trim();
        let key = RsaPrivateKey::from_pkcs8_pem(pem)
            .or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem).map_err(|_| refused))?;
        if key.n().bits() < KEY_BITS_MIN {
            return Err(SigningError::InvalidKey(
                "the private key has less than the 2048 bits that CloudFront asks for",
            ));
        }
        Ok(Self {
            key_pair_id: key_pair_id.to_owned(),
            key,
        })
    }

    /// `url` with a canned policy: for everybody who has it, until then.
    ///
    /// # Errors
    /// [`SigningError::InvalidUrl`] when the URL is not printable ASCII; what is not must be percent-encoded.
    pub fn canned(&self, url: &str, until: Timestamp) -> Result<String, SigningError> {
        let policy = CloudFrontPolicy {
            resource: url,
            until,
            from: None,
            source_ip: None,
        };
        let signature = self.signature(&policy.to_json()?)?;
        Ok(self.with_parameters(url, &format!("Expires={}", until.as_second()), &signature))
    }

    /// `url` with a custom policy, which need not name exactly this URL.
    ///
    /// # Errors
    /// [`SigningError::InvalidUrl`] when the URL or the policy's resource is not printable ASCII.
    pub fn custom(&self, url: &str, policy: &CloudFrontPolicy<'_>) -> Result<String, SigningError> {
        check_text(url)?;
        let policy = policy.to_json()?;
        let signature = self.signature(&policy)?;
        Ok(self.with_parameters(url, &format!("Policy={}", encode(policy.as_bytes())), &signature))
    }

    fn signature(&self, policy: &str) -> Result<String, SigningError> {
        let signature = self
            .key
            .sign(Pkcs1v15Sign::new::<Sha1>(), &Sha1::digest(policy))
            .map_err(|_| SigningError::InvalidKey("the private key cannot sign"))?;
        Ok(encode(&signature))
    }

    fn with_parameters(&self, url: &str, first: &str, signature: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        let id = &self.key_pair_id;
        format!("{url}{separator}{first}&Signature={signature}&Key-Pair-Id={id}")
    }
}

/// What a browser sends as it is: everything else must be percent-encoded, for the signature is over what CloudFront sees.
fn check_text(url: &str) -> Result<(), SigningError> {
    if url.is_empty() || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(SigningError::InvalidUrl);
    }
    Ok(())
}

/// A JSON string; printable ASCII comes in alone.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Base64 with the characters that a query cannot hold replaced (developer guide, "Create a signature").
fn encode(bytes: &[u8]) -> String {
    BASE64
        .encode(bytes)
        .chars()
        .map(|character| match character {
            '+' => '-',
            '=' => '_',
            '/' => '~',
            other => other,
        })
        .collect()
}
