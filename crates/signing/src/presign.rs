//! Presigned URLs: the signature travels in the query, so whoever holds the URL may do this one request until it expires.

use std::ops::Range;

use http::Method;
use jiff::Timestamp;

use crate::canonical::{self, HeaderBlock};
use crate::encode::{KEPT_IN_COMPONENT, ascii_string, push_encoded};
use crate::endpoint::Endpoint;
use crate::error::SigningError;
use crate::signer::Signer;
use crate::{ALGORITHM, PRESIGN_EXPIRES_SECONDS_MAX};

/// Parameters that the signature sets itself.
const RESERVED_PARAMETERS: [&str; 8] = [
    "x-amz-algorithm",
    "x-amz-content-sha256",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amz-signedheaders",
];

/// What a presigned URL permits.
#[derive(Clone, Debug)]
pub struct PresignRequest<'a> {
    /// `PUT`, `GET`, ….
    pub method: Method,
    /// The service as the URL's user will reach it: the host is part of the signature.
    pub endpoint: &'a Endpoint,
    /// The bucket.
    pub bucket: &'a str,
    /// The object key, not encoded.
    pub key: &'a str,
    /// Parameters in the order in which they appear in the URL, not encoded: `partNumber`, `uploadId`, `versionId`,
    /// `response-content-disposition`, ….
    pub query: &'a [(String, String)],
    /// Headers that the request must carry with exactly these values: `content-type`, `content-length`,
    /// `x-amz-checksum-sha256`, `if-none-match`, …. The host is added.
    pub headers: &'a [(String, String)],
    /// How long the URL is good, counted from `now`: 1 to 604,800 seconds.
    pub expires_in_seconds: u32,
    /// The time of signing, cut to the second.
    pub now: Timestamp,
}

impl Signer {
    /// Signs a URL (S3 API, "Authenticating Requests: Using Query Parameters"), equal byte for byte to what botocore's
    /// `generate_presigned_url` gives. The body is not signed, except through headers such as `x-amz-checksum-sha256` or
    /// `x-amz-content-sha256`.
    ///
    /// The URL is a secret until it expires: it must not be logged.
    ///
    /// # Errors
    /// [`SigningError`] for an expiry out of range, an empty bucket, a header that cannot be sent and a parameter that
    /// belongs to the signature.
    pub fn presign(&self, request: &PresignRequest<'_>) -> Result<String, SigningError> {
        if !(1..=PRESIGN_EXPIRES_SECONDS_MAX).contains(&request.expires_in_seconds) {
            return Err(SigningError::InvalidExpiry);
        }
        if request.bucket.is_empty() {
            return Err(SigningError::InvalidBucket);
        }
        let (time, day) = self.at(request.now)?;
        let host = request.endpoint.host_for(request.bucket);
        let headers = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let block = HeaderBlock::new(headers, &host)?;

        let mut url = UrlWriter::new(request);
        for (name, value) in request.query {
            if RESERVED_PARAMETERS
                .iter()
                .any(|reserved| name.eq_ignore_ascii_case(reserved))
            {
                return Err(SigningError::ReservedParameter(name.clone()));
            }
            url.push_pair(name, value.as_bytes());
        }
        url.push_encoded_pair("X-Amz-Algorithm", ALGORITHM.as_bytes());
        url.push_encoded_pair("X-Amz-Credential", day.encoded_credential.as_bytes());
        url.push_encoded_pair("X-Amz-Date", time.as_bytes());
        url.push_encoded_pair("X-Amz-Expires", request.expires_in_seconds.to_string().as_bytes());
        url.push_pair("X-Amz-SignedHeaders", block.names.as_bytes());
        if let Some(token) = self.session_token() {
            url.push_pair("X-Amz-Security-Token", token.as_bytes());
        }

        let mut canonical = Vec::with_capacity(url.bytes.len() + block.lines.len() + 128);
        canonical.extend_from_slice(request.method.as_str().as_bytes());
        canonical.push(b'\n');
        canonical.extend_from_slice(&url.bytes[url.path.clone()]);
        canonical.push(b'\n');
        canonical::push_sorted_pairs(&mut canonical, &url.bytes, &mut url.pairs);
        canonical.push(b'\n');
        canonical.extend_from_slice(&block.lines);
        canonical.push(b'\n');
        canonical.extend_from_slice(block.names.as_bytes());
        canonical.push(b'\n');
        let payload = request
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("x-amz-content-sha256"));
        canonical.extend_from_slice(payload.map_or("UNSIGNED-PAYLOAD", |(_, value)| value).as_bytes());

        let signature = day.key.sign_canonical_request(&time, &canonical);
        url.push_encoded_pair("X-Amz-Signature", signature.as_bytes());
        Ok(ascii_string(url.bytes))
    }
}

/// The URL while it grows, with the places of its parameters, so that the canonical query is sorted without copies.
struct UrlWriter {
    bytes: Vec<u8>,
    path: Range<usize>,
    pairs: Vec<(Range<usize>, Range<usize>)>,
}

impl UrlWriter {
    fn new(request: &PresignRequest<'_>) -> Self {
        let mut bytes = Vec::with_capacity(512 + request.key.len() * 2);
        request.endpoint.push_origin(&mut bytes, request.bucket);
        let path_start = bytes.len();
        request
            .endpoint
            .push_path(&mut bytes, request.bucket, request.key);
        Self {
            path: path_start..bytes.len(),
            bytes,
            pairs: Vec::with_capacity(8 + request.query.len()),
        }
    }

    fn push_pair(&mut self, name: &str, value: &[u8]) {
        let name = self.push_part(|out| push_encoded(out, name.as_bytes(), &KEPT_IN_COMPONENT));
        let value = self.push_value(|out| push_encoded(out, value, &KEPT_IN_COMPONENT));
        self.pairs.push((name, value));
    }

    fn push_encoded_pair(&mut self, name: &str, value: &[u8]) {
        let name = self.push_part(|out| out.extend_from_slice(name.as_bytes()));
        let value = self.push_value(|out| out.extend_from_slice(value));
        self.pairs.push((name, value));
    }

    fn push_part(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        self.bytes.push(if self.pairs.is_empty() { b'?' } else { b'&' });
        let start = self.bytes.len();
        write(&mut self.bytes);
        start..self.bytes.len()
    }

    fn push_value(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        self.bytes.push(b'=');
        let start = self.bytes.len();
        write(&mut self.bytes);
        start..self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Credentials, Region};
    use crate::endpoint::Addressing;

    fn presign(
        expires_in_seconds: u32,
        query: &[(String, String)],
        bucket: &str,
    ) -> Result<String, SigningError> {
        let endpoint = Endpoint::parse("http://localhost:9000", Addressing::Path).expect("valid");
        Signer::new(Credentials::new("AKID", "secret"), Region::default()).presign(&PresignRequest {
            method: Method::GET,
            endpoint: &endpoint,
            bucket,
            key: "key",
            query,
            headers: &[],
            expires_in_seconds,
            now: Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn the_expiry_has_bounds() {
        assert_eq!(presign(0, &[], "b"), Err(SigningError::InvalidExpiry));
        assert_eq!(presign(604_801, &[], "b"), Err(SigningError::InvalidExpiry));
        assert!(presign(1, &[], "b").is_ok());
        assert!(presign(604_800, &[], "b").is_ok());
    }

    #[test]
    fn the_signature_keeps_its_own_parameters() {
        for name in ["X-Amz-Expires", "x-amz-signature", "X-AMZ-DATE"] {
            let query = [(name.to_owned(), "1".to_owned())];
            assert_eq!(
                presign(1, &query, "b"),
                Err(SigningError::ReservedParameter(name.to_owned()))
            );
        }
        assert_eq!(presign(1, &[], ""), Err(SigningError::InvalidBucket));
    }
}
