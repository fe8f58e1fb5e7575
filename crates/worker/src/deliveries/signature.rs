//! Signatures of webhooks, as Standard Webhooks has them: HMAC-SHA256 over id, time and body, so that a receiver knows who
//! sent a message, that it is whole, and that it is not an old one sent again.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Length of a key, in bytes (Standard Webhooks, "Signature scheme").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a secret is none. Never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be whsec_ and 24 to 64 bytes in Base64, as `echo whsec_$(openssl rand -base64 32)` makes it; or two of these with a space between them"
)]
pub struct KeyError;

/// What messages are signed with: one key, or for the time of a change the new one and the old one.
#[derive(Clone)]
pub struct SigningKeys(Vec<Vec<u8>>);

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({} keys)", self.0.len())
    }
}

impl SigningKeys {
    /// Reads `whsec_<base64>`, or several of these with spaces between them.
    ///
    /// # Errors
    /// Anything else.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let keys = text.split_whitespace().map(|secret| {
            let encoded = secret.strip_prefix(PREFIX).ok_or(KeyError)?;
            let key = STANDARD.decode(encoded).map_err(|_| KeyError)?;
            KEY_BYTES.contains(&key.len()).then_some(key).ok_or(KeyError)
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if (1..=2).contains(&keys.len()) {
            Ok(Self(keys))
        } else {
            Err(KeyError)
        }
    }

    /// The value of `webhook-signature`: one signature for each key.
    pub(crate) fn sign(&self, id: &str, unix_seconds: i64, body: &[u8]) -> String {
        let signatures = self.0.iter().map(|key| {
            // Proof: HMAC takes keys of any length (RFC 2104, section 2).
            let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
            hmac.update(format!("{id}.{unix_seconds}.").as_bytes());
            hmac.update(body);
            format!("v1,{}", STANDARD.encode(hmac.finalize().into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 24 bytes, and 32 others.
    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    /// The vector that the libraries of Standard Webhooks are tested with.
    #[test]
    fn it_is_the_signature_of_the_standard() {
        let keys = SigningKeys::parse(ONE).expect("a secret");
        assert_eq!(
            keys.sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                b"{\"test\": 2432232314}"
            ),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn two_keys_give_two_signatures() {
        let both = SigningKeys::parse(&format!("{OTHER} {ONE}")).expect("secrets");
        let signed = |keys: &SigningKeys| keys.sign("id", 1, b"x");
        let alone = |secret| signed(&SigningKeys::parse(secret).expect("a secret"));
        assert_eq!(signed(&both), format!("{} {}", alone(OTHER), alone(ONE)));
        assert_eq!(format!("{both:?}"), "SigningKeys(2 keys)");
    }

    #[test]
    fn what_is_no_secret_is_refused_without_repeating_it() {
        for bad in [
            "",
            "hush",
            "whsec_",
            "whsec_hush!",
            "whsec_aHVzaA==",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw hush",
            &[ONE, ONE, ONE].join(" "),
            &format!("whsec_{}", STANDARD.encode([0; 65])),
        ] {
            let refused = SigningKeys::parse(bad).map(|_| ()).expect_err(bad);
            assert!(!refused.to_string().contains("hush"));
        }
    }
}
