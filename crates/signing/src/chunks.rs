//! The signatures inside an `aws-chunked` body: each is made over the one before it, the first over the request's own.
//!
//! S3 API, "Signature calculations for the Authorization header: transferring payload in multiple chunks", and the same
//! with trailing headers. The framing (`size;chunk-signature=…`) is the endpoint's work; here are only the signatures.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::encode::hex;
use crate::error::VerifyError;
use crate::key::{Signature, SigningKey, sha256};
use crate::timestamp::AmzTime;

const CHUNK_ALGORITHM: &[u8] = b"AWS4-HMAC-SHA256-PAYLOAD";
const TRAILER_ALGORITHM: &[u8] = b"AWS4-HMAC-SHA256-TRAILER";
/// SHA-256 of nothing: the place where a future version could hash chunk headers.
const EMPTY_SHA256: &[u8] = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// The chain of chunk signatures of one request, on either side of the wire.
///
/// Chunks are given in order, the last empty one included. After a refused chunk the chain stays where it was.
#[derive(Clone, Debug)]
pub struct ChunkChain {
    key: Arc<SigningKey>,
    time: AmzTime,
    previous: Signature,
}

impl ChunkChain {
    pub(crate) fn new(key: Arc<SigningKey>, time: AmzTime, seed: Signature) -> Self {
        Self {
            key,
            time,
            previous: seed,
        }
    }

    /// Signs the next chunk, given the SHA-256 of its data.
    pub fn sign_chunk(&mut self, chunk_sha256: &[u8; 32]) -> String {
        self.previous = self.chunk_signature(chunk_sha256);
        self.previous.to_text()
    }

    /// Checks the `chunk-signature` of the next chunk, given the SHA-256 of its data.
    ///
    /// # Errors
    /// [`VerifyError::SignatureDoesNotMatch`] for any other data, order or signature.
    pub fn verify_chunk(&mut self, chunk_sha256: &[u8; 32], signature: &[u8]) -> Result<(), VerifyError> {
        let expected = self.chunk_signature(chunk_sha256);
        self.advance(expected, signature)
    }

    /// Signs the trailers that follow the last chunk: the value of `x-amz-trailer-signature`.
    pub fn sign_trailer(&mut self, trailers: &[(&str, &str)]) -> String {
        self.previous = self.trailer_signature(trailers);
        self.previous.to_text()
    }

    /// Checks `x-amz-trailer-signature` over the other trailers.
    ///
    /// # Errors
    /// [`VerifyError::SignatureDoesNotMatch`] where trailers or signature differ.
    pub fn verify_trailer(&mut self, trailers: &[(&str, &str)], signature: &[u8]) -> Result<(), VerifyError> {
        let expected = self.trailer_signature(trailers);
        self.advance(expected, signature)
    }

    fn advance(&mut self, expected: Signature, presented: &[u8]) -> Result<(), VerifyError> {
        if !expected.matches(presented) {
            return Err(VerifyError::SignatureDoesNotMatch);
        }
        self.previous = expected;
        Ok(())
    }

    fn chunk_signature(&self, chunk_sha256: &[u8; 32]) -> Signature {
        self.key.sign(&[
            CHUNK_ALGORITHM,
            b"\n",
            self.time.as_bytes(),
            b"\n",
            self.key.scope().as_bytes(),
            b"\n",
            self.previous.as_bytes(),
            b"\n",
            EMPTY_SHA256,
            b"\n",
            &hex(chunk_sha256),
        ])
    }

    fn trailer_signature(&self, trailers: &[(&str, &str)]) -> Signature {
        let mut lines: Vec<(String, &str)> = trailers
            .iter()
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
            .collect();
        lines.sort_unstable();
        let mut canonical = String::new();
        for (name, value) in lines {
            // Proof: writing to a `String` cannot fail.
            let _ = writeln!(canonical, "{name}:{value}");
        }
        self.key.sign(&[
            TRAILER_ALGORITHM,
            b"\n",
            self.time.as_bytes(),
            b"\n",
            self.key.scope().as_bytes(),
            b"\n",
            self.previous.as_bytes(),
            b"\n",
            &hex(&sha256(canonical.as_bytes())),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Region, Secret};

    fn chain() -> ChunkChain {
        let key = SigningKey::derive(&Secret::from("secret"), *b"20130524", &Region::default());
        let (time, _) = AmzTime::parse(b"20130524T000000Z").expect("valid");
        let seed = key.sign(&[b"seed"]);
        ChunkChain::new(Arc::new(key), time, seed)
    }

    #[test]
    fn chunks_verify_in_order_only() {
        let (first, second) = (sha256(b"first"), sha256(b"second"));
        let mut signer = chain();
        let signatures = [signer.sign_chunk(&first), signer.sign_chunk(&second)];

        let mut verifier = chain();
        assert_eq!(
            verifier.verify_chunk(&second, signatures[1].as_bytes()),
            Err(VerifyError::SignatureDoesNotMatch)
        );
        assert_eq!(verifier.verify_chunk(&first, signatures[0].as_bytes()), Ok(()));
        assert_eq!(
            verifier.verify_chunk(&first, signatures[0].as_bytes()),
            Err(VerifyError::SignatureDoesNotMatch),
            "a chunk cannot be repeated"
        );
        assert_eq!(verifier.verify_chunk(&second, signatures[1].as_bytes()), Ok(()));
    }

    #[test]
    fn trailers_are_signed_by_name_whatever_their_order() {
        let signature = chain().sign_trailer(&[("x-amz-checksum-crc32c", "AAAA"), ("A-Trailer", " b ")]);
        let same = [("a-trailer", "b"), ("X-Amz-Checksum-Crc32c", "AAAA")];
        assert_eq!(chain().verify_trailer(&same, signature.as_bytes()), Ok(()));
        let other = [("a-trailer", "b"), ("x-amz-checksum-crc32c", "AAAB")];
        assert_eq!(
            chain().verify_trailer(&other, signature.as_bytes()),
            Err(VerifyError::SignatureDoesNotMatch)
        );
        assert_eq!(
            chain().verify_trailer(&same, b""),
            Err(VerifyError::SignatureDoesNotMatch)
        );
    }
}
