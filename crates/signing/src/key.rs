//! The derived signing key: four HMACs that turn a secret into a key good for one day, one region and one service.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::ALGORITHM;
use crate::credentials::{Region, Secret};
use crate::encode::hex;
use crate::timestamp::AmzTime;

pub(crate) const SERVICE: &str = "s3";
pub(crate) const TERMINATOR: &str = "aws4_request";

/// A signature as it goes over the wire: 64 lower-case hexadecimal digits. `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature([u8; 64]);

impl Signature {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares in time that depends on the length only.
    pub(crate) fn matches(&self, presented: &[u8]) -> bool {
        self.0.ct_eq(presented).into()
    }

    pub(crate) fn to_text(self) -> String {
        crate::encode::ascii_string(self.0.to_vec())
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// A signing key with the scope it is good for; the HMAC's key blocks are already absorbed, so a use costs no set-up.
pub(crate) struct SigningKey {
    hmac: Hmac<Sha256>,
    scope: Box<str>,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Derives the key of S3 for the day of `date` (SigV4, "Calculate the signature", step 3).
    pub(crate) fn derive(secret: &Secret, date: [u8; 8], region: &Region) -> Self {
        Self::derive_for(secret, date, region, SERVICE)
    }

    /// The same for another service than S3.
    pub(crate) fn derive_for(secret: &Secret, date: [u8; 8], region: &Region, service: &str) -> Self {
        let mut first = Vec::with_capacity(4 + secret.expose().len());
        first.extend_from_slice(b"AWS4");
        first.extend_from_slice(secret.expose().as_bytes());
        let mut key = hmac_of(&new_hmac(&first), &[&date]);
        for part in [region.as_str(), service, TERMINATOR] {
            key = hmac_of(&new_hmac(&key), &[part.as_bytes()]);
        }
        let date = crate::encode::ascii_string(date.to_vec());
        let scope = format!("{date}/{region}/{service}/{TERMINATOR}").into_boxed_str();
        Self {
            hmac: new_hmac(&key),
            scope,
        }
    }

    /// `20130524/us-east-1/s3/aws4_request`.
    pub(crate) fn scope(&self) -> &str {
        &self.scope
    }

    /// Signs the concatenation of `parts`.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> Signature {
        Signature(hex(&hmac_of(&self.hmac, parts)))
    }

    /// Signs a canonical request by way of its string to sign.
    pub(crate) fn sign_canonical_request(&self, time: &AmzTime, canonical_request: &[u8]) -> Signature {
        self.sign(&[
            ALGORITHM.as_bytes(),
            b"\n",
            time.as_bytes(),
            b"\n",
            self.scope.as_bytes(),
            b"\n",
            &hex(&sha256(canonical_request)),
        ])
    }
}

fn new_hmac(key: &[u8]) -> Hmac<Sha256> {
    // Proof: HMAC hashes keys that are longer than a block, so every length is legal (RFC 2104, section 2).
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hmac_of(hmac: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut hmac = hmac.clone();
    for part in parts {
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_its_day_and_region_only() {
        // That it is the right key, `tests/published_vectors.rs` shows.
        let secret = Secret::from("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let key = SigningKey::derive(&secret, *b"20130524", &Region::default());
        assert_eq!(key.scope(), "20130524/us-east-1/s3/aws4_request");
        let other_day = SigningKey::derive(&secret, *b"20130525", &Region::default());
        let other_region =
            SigningKey::derive(&secret, *b"20130524", &Region::new("eu-west-1").expect("legal"));
        let signature = key.sign(&[b"text"]);
        assert_eq!(signature, key.sign(&[b"te", b"", b"xt"]));
        assert_ne!(signature, other_day.sign(&[b"text"]));
        assert_ne!(signature, other_region.sign(&[b"text"]));
    }

    #[test]
    fn matching_needs_every_digit() {
        let signature = SigningKey::derive(&Secret::from("s"), *b"20130524", &Region::default()).sign(&[b""]);
        assert!(signature.matches(signature.to_text().as_bytes()));
        assert!(!signature.matches(b""));
        assert!(!signature.matches(&signature.as_bytes()[..63]));
        assert!(!signature.matches(signature.to_text().to_uppercase().as_bytes()));
    }

    #[test]
    fn debug_output_holds_neither_key_nor_signature() {
        let key = SigningKey::derive(&Secret::from("hush"), *b"20130524", &Region::default());
        assert_eq!(
            format!("{key:?}"),
            "SigningKey { scope: \"20130524/us-east-1/s3/aws4_request\", .. }"
        );
        assert_eq!(format!("{:?}", key.sign(&[])), "Signature(..)");
    }
}
