//! What makes a variant's URL one of ours: an HMAC over everything that it says.

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::id::FileId;
use cloakroom_core::image::Rendition;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What tells keys of ours apart that are derived from one secret.
const PURPOSE: &[u8] = b"cloakroom variants v1";

/// Signs URLs of variants. `Debug` hides it.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    // Proof: HMAC hashes keys that are longer than a block, so every length is legal (RFC 2104, section 2).
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl SigningKey {
    /// The key that follows from a secret of the instance, and is good for nothing but this.
    pub fn derived_from(secret: &[u8]) -> Self {
        let mut derivation = hmac(secret);
        derivation.update(PURPOSE);
        Self(hmac(&derivation.finalize().into_bytes()))
    }

    /// The signature of a URL, in hexadecimal digits.
    pub fn sign(&self, file_id: FileId, rendition: &Rendition, expires_at: Timestamp) -> String {
        let mut hmac = self.0.clone();
        hmac.update(canonical(file_id, rendition, expires_at).as_bytes());
        Sha256Digest(hmac.finalize().into_bytes().into()).to_string()
    }

    /// The signature of the address of a file's content. The words before it tell it from that of a variant, which begins
    /// with the digits of an id.
    pub fn sign_content(&self, file_id: FileId, filename: &str, expires_at: Timestamp) -> String {
        let mut hmac = self.0.clone();
        let text = format!("content\n{file_id}\n{filename}\n{}\n", expires_at.as_second());
        hmac.update(text.as_bytes());
        Sha256Digest(hmac.finalize().into_bytes().into()).to_string()
    }

    /// Whether the address of a file's content was signed so.
    pub fn verify_content(
        &self,
        file_id: FileId,
        filename: &str,
        expires_at: Timestamp,
        signature: &str,
    ) -> bool {
        let expected = self.sign_content(file_id, filename, expires_at);
        expected.as_bytes().ct_eq(signature.as_bytes()).into()
    }

    /// Whether a URL was signed so. How long that takes tells nothing of how near a guess came.
    pub fn verify(
        &self,
        file_id: FileId,
        rendition: &Rendition,
        expires_at: Timestamp,
        signature: &str,
    ) -> bool {
        let expected = self.sign(file_id, rendition, expires_at);
        expected.as_bytes().ct_eq(signature.as_bytes()).into()
    }
}

/// What is signed. Each part has one spelling and ends with a line.
fn canonical(file_id: FileId, rendition: &Rendition, expires_at: Timestamp) -> String {
    format!("{file_id}\n{}\n{}\n", rendition.query(), expires_at.as_second())
}

/// The name of the derivative that a rendition is kept as.
pub(super) fn name_of(rendition: &Rendition) -> String {
    Rendition::name(Sha256Digest(Sha256::digest(rendition.query()).into()))
}

#[cfg(test)]
mod tests {
    use cloakroom_core::image::{Fit, ImageFormat, SIDE_MAX};
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    type Parts = (FileId, Rendition, Timestamp);

    fn parts() -> impl Strategy<Value = Parts> {
        let side = || prop::option::of(1..=SIDE_MAX);
        let fit = prop::sample::select(Fit::ALL);
        let format = prop::sample::select(ImageFormat::ALL);
        (
            any::<u128>(),
            side(),
            side(),
            fit,
            format,
            1_u8..=100,
            0_i64..4_000_000_000,
        )
            .prop_map(|(id, width, height, fit, format, quality, second)| {
                let rendition = Rendition {
                    width,
                    height,
                    fit,
                    format,
                    quality,
                };
                let expires_at = Timestamp::from_second(second).expect("a time");
                (FileId(Uuid::from_u128(id)), rendition, expires_at)
            })
    }

    /// The parts with one of them taken from others.
    fn changed((id, rendition, expires_at): Parts, other: Parts, which: usize) -> Parts {
        let swapped = match which {
            0 => Rendition {
                width: other.1.width,
                ..rendition
            },
            1 => Rendition {
                height: other.1.height,
                ..rendition
            },
            2 => Rendition {
                fit: other.1.fit,
                ..rendition
            },
            3 => Rendition {
                format: other.1.format,
                ..rendition
            },
            4 => Rendition {
                quality: other.1.quality,
                ..rendition
            },
            _ => rendition,
        };
        match which {
            5 => (other.0, swapped, expires_at),
            6 => (id, swapped, other.2),
            _ => (id, swapped, expires_at),
        }
    }

    proptest! {
        #[test]
        fn a_signature_is_good_for_what_was_signed_alone(one in parts(), other in parts(), which in 0_usize..7) {
            let key = SigningKey::derived_from(b"secret");
            let signature = key.sign(one.0, &one.1, one.2);
            prop_assert!(key.verify(one.0, &one.1, one.2, &signature));
            let tampered = changed(one, other, which);
            prop_assert_eq!(key.verify(tampered.0, &tampered.1, tampered.2, &signature), tampered == one);
            let stranger = SigningKey::derived_from(b"another secret");
            prop_assert!(!stranger.verify(one.0, &one.1, one.2, &signature));
        }

        #[test]
        fn another_signature_is_refused(one in parts(), noise in "[0-9a-f]{0,70}") {
            let key = SigningKey::derived_from(b"secret");
            prop_assert!(!key.verify(one.0, &one.1, one.2, &noise));
        }
    }

    #[test]
    fn an_address_of_content_is_good_for_that_file_name_and_time_alone() {
        let key = SigningKey::derived_from(b"secret");
        let id = |number| FileId(Uuid::from_u128(number));
        let at = |second| Timestamp::from_second(second).expect("a time");
        let signature = key.sign_content(id(7), "a.png", at(10));
        assert!(key.verify_content(id(7), "a.png", at(10), &signature));
        for (other, name, end) in [
            (8, "a.png", 10),
            (7, "b.png", 10),
            (7, "a.png", 11),
            (7, "a.png\n10", 10),
        ] {
            assert!(
                !key.verify_content(id(other), name, at(end), &signature),
                "{other} {name} {end}"
            );
        }
        assert!(!key.verify_content(id(7), "a.png", at(10), ""));
        let stranger = SigningKey::derived_from(b"another secret");
        assert!(!stranger.verify_content(id(7), "a.png", at(10), &signature));
    }

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // Computed with Python's hmac.
        let rendition = Rendition {
            width: Some(320),
            height: None,
            fit: Fit::Contain,
            format: ImageFormat::Auto,
            quality: 80,
        };
        let (id, at) = (
            FileId(Uuid::from_u128(7)),
            Timestamp::from_second(1_800_000_000).expect("a time"),
        );
        assert_eq!(
            canonical(id, &rendition, at),
            "00000000-0000-0000-0000-000000000007\nw=320&fit=contain&format=auto&quality=80\n1800000000\n"
        );
        let key = SigningKey::derived_from(b"secret");
        assert_eq!(
            key.sign(id, &rendition, at),
            "66f2dd02c6b0fd83d966cec774ce231f1f182126ec40d54fd623ae67cbce8d01"
        );
        assert_eq!(format!("{key:?}"), "SigningKey");
    }
}
