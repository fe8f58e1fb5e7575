//! What the sender announced about a body, and whether it is so: `Content-MD5`, `x-amz-checksum-*` as header or trailer,
//! and the digest in `x-amz-content-sha256` (S3 API, "Checking object integrity").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::ports::objects::{BodyError, ChecksumAlgorithm, Checksums};
use cloakroom_signing::PayloadHash;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::error::{S3Error, body_error};

/// The header, and the trailer, that carry a checksum.
pub(crate) const fn header_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "x-amz-checksum-crc32",
        ChecksumAlgorithm::Crc32c => "x-amz-checksum-crc32c",
        ChecksumAlgorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        ChecksumAlgorithm::Sha1 => "x-amz-checksum-sha1",
        ChecksumAlgorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

/// The element that carries a checksum in documents.
pub(crate) const fn element_name(algorithm: ChecksumAlgorithm) -> &'static str {
    match algorithm {
        ChecksumAlgorithm::Crc32 => "ChecksumCRC32",
        ChecksumAlgorithm::Crc32c => "ChecksumCRC32C",
        ChecksumAlgorithm::Crc64Nvme => "ChecksumCRC64NVME",
        ChecksumAlgorithm::Sha1 => "ChecksumSHA1",
        ChecksumAlgorithm::Sha256 => "ChecksumSHA256",
    }
}

/// The algorithm of this name, in any case, as in `x-amz-checksum-algorithm`.
pub(crate) fn algorithm_named(name: &str) -> Result<ChecksumAlgorithm, S3Error> {
    ChecksumAlgorithm::ALL
        .iter()
        .copied()
        .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
        .ok_or_else(|| S3Error::invalid_request("Checksum algorithm provided is unsupported."))
}

/// The one checksum among the headers: its algorithm and value. Two, or one of an unknown algorithm, are refused.
pub(crate) fn checksum_header(headers: &HeaderMap) -> Result<Option<(ChecksumAlgorithm, String)>, S3Error> {
    let mut found = None;
    for (name, value) in headers {
        let Some(suffix) = name.as_str().strip_prefix("x-amz-checksum-") else {
            continue;
        };
        if matches!(suffix, "algorithm" | "mode" | "type") {
            continue;
        }
        let algorithm = algorithm_named(suffix)?;
        let text = value.to_str().unwrap_or_default();
        if found.is_some() {
            return Err(S3Error::invalid_request(
                "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
            ));
        }
        if !is_well_formed(algorithm, text) {
            return Err(S3Error::invalid_request(format!(
                "Value for {} header is invalid.",
                header_name(algorithm)
            )));
        }
        found = Some((algorithm, text.to_owned()));
    }
    Ok(found)
}

/// Whether a text is base64 of as many bytes as the algorithm gives.
pub(crate) fn is_well_formed(algorithm: ChecksumAlgorithm, text: &str) -> bool {
    let length = match algorithm {
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
        ChecksumAlgorithm::Crc64Nvme => 8,
        ChecksumAlgorithm::Sha1 => 20,
        ChecksumAlgorithm::Sha256 => 32,
    };
    STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == length)
}

/// Where the announced checksum is.
#[derive(Debug)]
enum Announced {
    Nothing,
    /// In the header: this value.
    Value(ChecksumAlgorithm, String),
    /// In a trailer still to come, or come with this value.
    Trailer(ChecksumAlgorithm, Option<String>),
}

enum Hasher {
    Crc(crc_fast::Digest, usize),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl Hasher {
    fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::Crc32 => Self::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc), 4),
            ChecksumAlgorithm::Crc32c => Self::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi), 4),
            ChecksumAlgorithm::Crc64Nvme => Self::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme), 8),
            ChecksumAlgorithm::Sha1 => Self::Sha1(Sha1::new()),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Crc(crc, _) => crc.update(bytes),
            Self::Sha1(sha1) => sha1.update(bytes),
            Self::Sha256(sha256) => sha256.update(bytes),
        }
    }

    fn finish(self) -> String {
        match self {
            Self::Crc(crc, bytes) => STANDARD.encode(&crc.finalize().to_be_bytes()[8 - bytes..]),
            Self::Sha1(sha1) => STANDARD.encode(sha1.finalize()),
            Self::Sha256(sha256) => STANDARD.encode(sha256.finalize()),
        }
    }
}

/// The announcements about one body, checked while it streams by.
pub(crate) struct Verification {
    announced: Announced,
    checksum: Option<Hasher>,
    md5: Option<(Md5, [u8; 16])>,
    payload: PayloadHash,
    sha256: Option<Sha256>,
    complete: bool,
}

impl Verification {
    /// Reads the announcements of a request's headers, or of a form's fields.
    pub(crate) fn new(headers: &HeaderMap, payload: PayloadHash) -> Result<Self, S3Error> {
        let header = checksum_header(headers)?;
        let trailer = announced_trailer(headers, payload)?;
        let announced = match (header, trailer) {
            (Some(_), Some(_)) => {
                return Err(S3Error::invalid_request(
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
                ));
            }
            (Some((algorithm, value)), None) => Announced::Value(algorithm, value),
            (None, Some(algorithm)) => Announced::Trailer(algorithm, None),
            (None, None) => {
                if headers.contains_key("x-amz-sdk-checksum-algorithm") {
                    return Err(S3Error::invalid_request(
                        "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
                    ));
                }
                Announced::Nothing
            }
        };
        let checksum = match &announced {
            Announced::Nothing => None,
            Announced::Value(algorithm, _) | Announced::Trailer(algorithm, _) => {
                Some(Hasher::new(*algorithm))
            }
        };
        let md5 = content_md5(headers)?.map(|expected| (Md5::new(), expected));
        let sha256 = matches!(payload, PayloadHash::Sha256(_)).then(Sha256::new);
        Ok(Self {
            announced,
            checksum,
            md5,
            payload,
            sha256,
            complete: false,
        })
    }

    /// Whether `Content-MD5` was given.
    pub(crate) fn has_md5(&self) -> bool {
        self.md5.is_some()
    }

    /// Takes the next piece.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.checksum {
            hasher.update(bytes);
        }
        if let Some((md5, _)) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// Takes a trailer. One that was not announced is refused.
    pub(crate) fn trailer(&mut self, name: &str, value: &str) -> Result<(), BodyError> {
        match &mut self.announced {
            Announced::Trailer(algorithm, slot @ None)
                if name.eq_ignore_ascii_case(header_name(*algorithm)) =>
            {
                if !is_well_formed(*algorithm, value) {
                    return Err(BodyError {
                        code: "InvalidRequest",
                        message: format!(
                            "Value for {} trailing header is invalid.",
                            header_name(*algorithm)
                        ),
                    });
                }
                *slot = Some(value.to_owned());
                Ok(())
            }
            _ => Err(malformed_trailer()),
        }
    }

    /// The body has come to its regular end.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// Compares what was announced with what came, and returns the checksum that was.
    pub(crate) fn finish(&mut self) -> Result<Checksums, BodyError> {
        if !self.complete {
            return Err(super::incomplete());
        }
        if let Some(sha256) = self.sha256.take() {
            self.payload
                .check(&sha256.finalize().into())
                .map_err(|error| body_error(&error))?;
        }
        if let Some((md5, expected)) = self.md5.take()
            && md5.finalize().as_slice() != expected
        {
            return Err(bad_digest("Content-MD5"));
        }
        let mut checksums = Checksums::default();
        let Some(hasher) = self.checksum.take() else {
            return Ok(checksums);
        };
        let (algorithm, expected) = match &self.announced {
            Announced::Value(algorithm, value) | Announced::Trailer(algorithm, Some(value)) => {
                (*algorithm, value)
            }
            Announced::Nothing | Announced::Trailer(_, None) => return Err(malformed_trailer()),
        };
        let computed = hasher.finish();
        if computed != *expected {
            return Err(bad_digest(algorithm.as_str()));
        }
        checksums.0.insert(algorithm, computed);
        Ok(checksums)
    }
}

/// The checksum that `x-amz-trailer` promises.
fn announced_trailer(
    headers: &HeaderMap,
    payload: PayloadHash,
) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let mut promised = None;
    for value in headers.get_all("x-amz-trailer") {
        for name in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            let algorithm = name
                .get(..15)
                .filter(|start| start.eq_ignore_ascii_case("x-amz-checksum-"))
                .and_then(|_| algorithm_named(&name[15..]).ok());
            if algorithm.is_none() || promised.is_some() || !payload.has_trailer() {
                return Err(S3Error::invalid_request(
                    "The value specified in the x-amz-trailer header is not supported",
                ));
            }
            promised = algorithm;
        }
    }
    Ok(promised)
}

fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, S3Error> {
    let Some(value) = headers.get("content-md5") else {
        return Ok(None);
    };
    let digest = STANDARD
        .decode(value.as_bytes())
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    digest
        .map(Some)
        .ok_or_else(|| S3Error::new("InvalidDigest", "The Content-MD5 you specified was invalid."))
}

fn bad_digest(name: &str) -> BodyError {
    BodyError {
        code: "BadDigest",
        message: format!("The {name} you specified did not match the calculated checksum."),
    }
}

/// `MalformedTrailerError`.
pub(crate) fn malformed_trailer() -> BodyError {
    BodyError {
        code: "MalformedTrailerError",
        message: "The request contained trailing data that was not well-formed or did not conform to our published schema."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn verify(
        pairs: &[(&'static str, &'static str)],
        payload: PayloadHash,
        trailers: &[(&str, &str)],
    ) -> Result<Vec<(ChecksumAlgorithm, String)>, &'static str> {
        let mut verification = Verification::new(&headers(pairs), payload).map_err(|error| error.code)?;
        verification.update(b"1234");
        verification.update(b"56789");
        for (name, value) in trailers {
            verification.trailer(name, value).map_err(|error| error.code)?;
        }
        verification.complete();
        let checksums = verification.finish().map_err(|error| error.code)?;
        Ok(checksums.0.into_iter().collect())
    }

    #[test]
    fn every_algorithm_gives_its_published_check_value() {
        for (name, algorithm, value) in [
            ("x-amz-checksum-crc32", ChecksumAlgorithm::Crc32, "y/Q5Jg=="),
            ("x-amz-checksum-crc32c", ChecksumAlgorithm::Crc32c, "4waSgw=="),
            (
                "x-amz-checksum-crc64nvme",
                ChecksumAlgorithm::Crc64Nvme,
                "rosUhgp5mIg=",
            ),
            (
                "x-amz-checksum-sha1",
                ChecksumAlgorithm::Sha1,
                "98O8HYCOBHMq32eZZczDTKeuNEE=",
            ),
            (
                "x-amz-checksum-sha256",
                ChecksumAlgorithm::Sha256,
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=",
            ),
        ] {
            let expected = Ok(vec![(algorithm, value.to_owned())]);
            assert_eq!(
                verify(&[(name, value)], PayloadHash::Unsigned, &[]),
                expected,
                "{name}"
            );
            assert_eq!(header_name(algorithm), name);
            let trailer = [("x-amz-trailer", name)];
            assert_eq!(
                verify(&trailer, PayloadHash::UnsignedChunksTrailer, &[(name, value)]),
                expected,
                "{name}"
            );
        }
        assert_eq!(
            verify(
                &[("content-md5", "JfnnlDI7RTiF9RgfG2JNCw==")],
                PayloadHash::Unsigned,
                &[]
            ),
            Ok(vec![])
        );
        assert_eq!(verify(&[], PayloadHash::of(b"123456789"), &[]), Ok(vec![]));
    }

    #[test]
    fn what_is_not_so_is_refused() {
        let trailer = [("x-amz-trailer", "x-amz-checksum-crc32")];
        let streaming = PayloadHash::UnsignedChunksTrailer;
        assert_eq!(
            verify(
                &[("x-amz-checksum-crc32", "AAAAAA==")],
                PayloadHash::Unsigned,
                &[]
            ),
            Err("BadDigest")
        );
        assert_eq!(
            verify(
                &[("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")],
                PayloadHash::Unsigned,
                &[]
            ),
            Err("BadDigest")
        );
        assert_eq!(
            verify(&[], PayloadHash::of(b"12345678"), &[]),
            Err("XAmzContentSHA256Mismatch")
        );
        assert_eq!(
            verify(&trailer, streaming, &[("X-Amz-Checksum-Crc32", "AAAAAA==")]),
            Err("BadDigest")
        );
        assert_eq!(
            verify(&trailer, streaming, &[]),
            Err("MalformedTrailerError"),
            "promised and not given"
        );
        assert_eq!(
            verify(&trailer, streaming, &[("x-amz-checksum-crc32", "x")]),
            Err("InvalidRequest")
        );
        assert_eq!(
            verify(&trailer, streaming, &[("x-amz-checksum-sha1", "AAAAAA==")]),
            Err("MalformedTrailerError")
        );
        let right = ("x-amz-checksum-crc32", "y/Q5Jg==");
        assert_eq!(
            verify(&trailer, streaming, &[right, right]),
            Err("MalformedTrailerError")
        );
        assert_eq!(
            verify(&[], streaming, &[right]),
            Err("MalformedTrailerError"),
            "given and not promised"
        );
    }

    #[test]
    fn announcements_that_make_no_sense_are_refused() {
        for (pairs, code) in [
            (&[("x-amz-checksum-crc32", "AAAA")][..], "InvalidRequest"),
            (&[("x-amz-checksum-crc32", "not base64")], "InvalidRequest"),
            (&[("x-amz-checksum-whirlpool", "AAAA")], "InvalidRequest"),
            (
                &[
                    ("x-amz-checksum-crc32", "AAAAAA=="),
                    ("x-amz-checksum-crc32c", "AAAAAA=="),
                ],
                "InvalidRequest",
            ),
            (&[("x-amz-sdk-checksum-algorithm", "CRC32")], "InvalidRequest"),
            (&[("x-amz-trailer", "x-amz-checksum-crc32")], "InvalidRequest"),
            (&[("content-md5", "AAAA")], "InvalidDigest"),
            (&[("content-md5", "not base64")], "InvalidDigest"),
        ] {
            assert_eq!(verify(pairs, PayloadHash::Unsigned, &[]), Err(code), "{pairs:?}");
        }
        assert_eq!(
            verify(
                &[("x-amz-trailer", "x-amz-meta-a")],
                PayloadHash::UnsignedChunksTrailer,
                &[]
            ),
            Err("InvalidRequest")
        );
    }

    #[test]
    fn a_body_that_did_not_end_is_not_verified() {
        let mut verification =
            Verification::new(&HeaderMap::new(), PayloadHash::Unsigned).expect("nothing announced");
        assert_eq!(
            verification.finish().map_err(|error| error.code),
            Err("IncompleteBody")
        );
    }
}
