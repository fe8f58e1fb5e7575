//! What a signature says about the body: the values of `x-amz-content-sha256`.

use std::borrow::Cow;

use subtle::ConstantTimeEq;

use crate::encode::{ascii_string, from_hex, hex};
use crate::error::VerifyError;
use crate::key::sha256;

const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const SIGNED_CHUNKS: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const SIGNED_CHUNKS_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const UNSIGNED_CHUNKS_TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

/// How the body is bound to the signature (S3 API, "Authenticating Requests: Using the Authorization Header").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadHash {
    /// The SHA-256 of the whole body is part of the signature.
    Sha256([u8; 32]),
    /// The body is not signed. Presigned URLs always are like this.
    Unsigned,
    /// The body is `aws-chunked`, every chunk signed in a chain.
    SignedChunks,
    /// As [`SignedChunks`](Self::SignedChunks), followed by signed trailers.
    SignedChunksTrailer,
    /// The body is `aws-chunked` without signatures, followed by unsigned trailers (a checksum).
    UnsignedChunksTrailer,
}

impl PayloadHash {
    /// The digest of a body that is at hand.
    pub fn of(body: &[u8]) -> Self {
        Self::Sha256(sha256(body))
    }

    /// Reads a value of `x-amz-content-sha256`.
    ///
    /// # Errors
    /// [`VerifyError::InvalidContentSha256`] for anything else, the asymmetric `STREAMING-AWS4-ECDSA-*` included.
    pub fn parse(value: &[u8]) -> Result<Self, VerifyError> {
        let literals = [
            Self::Unsigned,
            Self::SignedChunks,
            Self::SignedChunksTrailer,
            Self::UnsignedChunksTrailer,
        ];
        literals
            .into_iter()
            .find(|literal| literal.header_value().as_bytes() == value)
            .or_else(|| from_hex(value).map(Self::Sha256))
            .ok_or(VerifyError::InvalidContentSha256)
    }

    /// The value of `x-amz-content-sha256`.
    pub fn header_value(&self) -> Cow<'static, str> {
        match self {
            Self::Sha256(digest) => ascii_string(hex(digest).to_vec()).into(),
            Self::Unsigned => UNSIGNED.into(),
            Self::SignedChunks => SIGNED_CHUNKS.into(),
            Self::SignedChunksTrailer => SIGNED_CHUNKS_TRAILER.into(),
            Self::UnsignedChunksTrailer => UNSIGNED_CHUNKS_TRAILER.into(),
        }
    }

    /// Whether the body is framed as `aws-chunked`.
    pub fn is_chunked(&self) -> bool {
        !matches!(self, Self::Sha256(_) | Self::Unsigned)
    }

    /// Whether every chunk carries a signature that must be checked with a [`ChunkChain`](crate::ChunkChain).
    pub fn has_signed_chunks(&self) -> bool {
        matches!(self, Self::SignedChunks | Self::SignedChunksTrailer)
    }

    /// Whether trailers follow the body.
    pub fn has_trailer(&self) -> bool {
        matches!(self, Self::SignedChunksTrailer | Self::UnsignedChunksTrailer)
    }

    /// Checks the digest of the body that arrived; everything but a signed digest passes, because nothing was promised.
    ///
    /// # Errors
    /// [`VerifyError::ContentSha256Mismatch`] where the bodies differ.
    pub fn check(&self, computed: &[u8; 32]) -> Result<(), VerifyError> {
        match self {
            Self::Sha256(signed) if !bool::from(signed.ct_eq(computed)) => {
                Err(VerifyError::ContentSha256Mismatch)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_the_header() {
        for hash in [
            PayloadHash::of(b"body"),
            PayloadHash::Unsigned,
            PayloadHash::SignedChunks,
            PayloadHash::SignedChunksTrailer,
            PayloadHash::UnsignedChunksTrailer,
        ] {
            assert_eq!(PayloadHash::parse(hash.header_value().as_bytes()), Ok(hash));
        }
        assert_eq!(
            PayloadHash::of(b"").header_value(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn other_values_are_refused() {
        let short = &PayloadHash::of(b"").header_value()[..63];
        for value in [
            "",
            "unsigned-payload",
            "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
            short,
            &"g".repeat(64),
        ] {
            assert_eq!(
                PayloadHash::parse(value.as_bytes()),
                Err(VerifyError::InvalidContentSha256),
                "{value}"
            );
        }
    }

    #[test]
    fn a_signed_digest_binds_the_body_and_nothing_else_does() {
        assert_eq!(PayloadHash::of(b"a").check(&sha256(b"a")), Ok(()));
        assert_eq!(
            PayloadHash::of(b"a").check(&sha256(b"b")),
            Err(VerifyError::ContentSha256Mismatch)
        );
        assert_eq!(PayloadHash::Unsigned.check(&sha256(b"b")), Ok(()));
    }
}
