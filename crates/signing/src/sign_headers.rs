//! Requests that we send ourselves: the signature travels in the `Authorization` header.

use std::fmt;
use std::sync::Arc;

use http::Method;
use jiff::Timestamp;

use crate::ALGORITHM;
use crate::canonical::{self, HeaderBlock};
use crate::chunks::ChunkChain;
use crate::encode::parse_query;
use crate::endpoint::UrlParts;
use crate::error::SigningError;
use crate::payload::PayloadHash;
use crate::signer::Signer;

/// Headers that the signature sets itself; given ones are replaced.
const OWN_HEADERS: [&str; 4] = [
    "authorization",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
];

/// A request that is about to be sent.
#[derive(Clone, Debug)]
pub struct OutgoingRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The absolute URL with path and query percent-encoded, as from [`Endpoint::url_for`](crate::Endpoint::url_for).
    pub url: &'a str,
    /// The headers that will be sent. All are signed but those that proxies change (`user-agent`, `expect`, …).
    pub headers: &'a [(String, String)],
    /// What is known about the body.
    pub payload: PayloadHash,
    /// The time of signing, cut to the second.
    pub now: Timestamp,
}

/// The headers that make a request a signed one.
#[derive(Clone)]
pub struct SignedHeaders {
    /// `authorization`, `x-amz-content-sha256` (S3 only), `x-amz-date` and, with temporary credentials,
    /// `x-amz-security-token`, to be set on the request in place of any others of these names.
    pub headers: Vec<(&'static str, String)>,
    chain: ChunkChain,
}

impl SignedHeaders {
    /// The chain that signs the chunks of the body, where the payload is
    /// [`SignedChunks`](PayloadHash::SignedChunks) or [`SignedChunksTrailer`](PayloadHash::SignedChunksTrailer).
    pub fn chunk_chain(&self) -> ChunkChain {
        self.chain.clone()
    }
}

impl fmt::Debug for SignedHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("SignedHeaders")
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// Signs a request (S3 API, "Authenticating Requests: Using the Authorization Header"), equal byte for byte to
    /// botocore's `S3SigV4Auth`; for [another service](Self::for_service) to its `SigV4Auth`, which sends no
    /// `x-amz-content-sha256`.
    ///
    /// # Errors
    /// [`SigningError::InvalidUrl`] or [`SigningError::InvalidHeader`] for what cannot be sent, and
    /// [`SigningError::InvalidTime`].
    pub fn sign_headers(&self, request: &OutgoingRequest<'_>) -> Result<SignedHeaders, SigningError> {
        let (time, day) = self.at(request.now)?;
        let url = UrlParts::split(request.url).ok_or(SigningError::InvalidUrl)?;
        let query = parse_query(url.query.unwrap_or("")).map_err(|_| SigningError::InvalidUrl)?;

        let mut headers = Vec::with_capacity(4);
        if self.is_for_s3() {
            headers.push((
                "x-amz-content-sha256",
                request.payload.header_value().into_owned(),
            ));
        }
        headers.push(("x-amz-date", time.to_text()));
        if let Some(token) = self.session_token() {
            headers.push(("x-amz-security-token", token.to_owned()));
        }
        let given = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| !OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)));
        let own = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let block = HeaderBlock::new(given.chain(own), &url.host)?;

        let mut canonical = Vec::with_capacity(512);
        canonical.extend_from_slice(request.method.as_str().as_bytes());
        canonical.push(b'\n');
        if self.is_for_s3() {
            canonical::push_path(&mut canonical, url.path).map_err(|_| SigningError::InvalidUrl)?;
        } else {
            canonical::push_service_path(&mut canonical, url.path);
        }
        canonical.push(b'\n');
        canonical::push_query(&mut canonical, query.iter().map(|(name, value)| (name, value)));
        canonical.push(b'\n');
        canonical.extend_from_slice(&block.lines);
        canonical.push(b'\n');
        canonical.extend_from_slice(block.names.as_bytes());
        canonical.push(b'\n');
        canonical.extend_from_slice(request.payload.header_value().as_bytes());

        let signature = day.key.sign_canonical_request(&time, &canonical);
        let authorization = format!(
            "{ALGORITHM} Credential={}, SignedHeaders={}, Signature={}",
            day.credential,
            block.names,
            signature.to_text()
        );
        headers.insert(0, ("authorization", authorization));
        Ok(SignedHeaders {
            headers,
            chain: ChunkChain::new(Arc::clone(&day.key), time, signature),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Credentials, Region};

    fn sign(url: &str, headers: &[(String, String)]) -> Result<SignedHeaders, SigningError> {
        let credentials = Credentials::new("AKID", "secret").with_session_token("hush");
        Signer::new(credentials, Region::default()).sign_headers(&OutgoingRequest {
            method: &Method::GET,
            url,
            headers,
            payload: PayloadHash::Unsigned,
            now: Timestamp::UNIX_EPOCH,
        })
    }

    #[test]
    fn stale_headers_of_an_earlier_attempt_are_replaced() {
        let stale = [
            ("X-Amz-Date", "19000101T000000Z"),
            ("Authorization", "AWS4-HMAC-SHA256 old"),
        ];
        let stale = stale.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fresh = sign("http://host/b/k", &[]).expect("valid").headers;
        assert_eq!(sign("http://host/b/k", &stale).expect("valid").headers, fresh);
        assert_eq!(
            fresh.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            [
                "authorization",
                "x-amz-content-sha256",
                "x-amz-date",
                "x-amz-security-token"
            ]
        );
    }

    #[test]
    fn what_cannot_be_sent_is_not_signed() {
        for url in [
            "/b/k",
            "http://",
            "http://host/%",
            "http://host/k?a=%f",
            "http://u:p@host/k",
        ] {
            assert_eq!(
                sign(url, &[]).map(|signed| signed.headers),
                Err(SigningError::InvalidUrl),
                "{url}"
            );
        }
        let split = [("x-amz-meta-a".to_owned(), "b\nc".to_owned())];
        assert!(matches!(
            sign("http://host/k", &split),
            Err(SigningError::InvalidHeader(_))
        ));
    }

    #[test]
    fn debug_output_holds_neither_token_nor_signature() {
        let signed = sign("http://host/k", &[]).expect("valid");
        let printed = format!("{signed:?}");
        assert!(
            !printed.contains("hush") && !printed.contains("Signature="),
            "{printed}"
        );
    }
}
