//! The server side: who signed this request, and is it the request that was signed?
//!
//! Everything that is not understood is refused, and every `x-amz-*` header must be signed: a presigned PUT must not turn
//! into a copy because its holder adds `x-amz-copy-source`.

mod form;
mod header;
mod query;
mod scope;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use subtle::ConstantTimeEq;

use crate::canonical;
use crate::chunks::ChunkChain;
use crate::credentials::{Credentials, Region, Secret};
use crate::encode::{QueryPair, parse_query};
use crate::error::VerifyError;
use crate::key::{Signature, SigningKey};
use crate::payload::PayloadHash;
use crate::timestamp::AmzTime;

pub use form::VerifiedForm;

type Pairs<'a> = [QueryPair<'a>];

/// A header that CloudFront adds on its way to an origin, after the client signed. S3 reads nothing from it, nor do we.
const CLOUDFRONT_ID_HEADER: &str = "x-amz-cf-id";

/// Finds the credentials behind an access key id. Any `Fn(&str) -> Option<Credentials>` is one.
pub trait CredentialLookup {
    /// The credentials, or `None` if nobody has this id.
    fn credentials(&self, access_key_id: &str) -> Option<Credentials>;
}

impl<F: Fn(&str) -> Option<Credentials>> CredentialLookup for F {
    fn credentials(&self, access_key_id: &str) -> Option<Credentials> {
        self(access_key_id)
    }
}

/// A request as it arrived, before anything was decoded.
#[derive(Clone, Copy, Debug)]
pub struct IncomingRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The raw path, still percent-encoded.
    pub path: &'a str,
    /// The raw query without its `?`.
    pub query: Option<&'a str>,
    /// All headers, `host` among them.
    pub headers: &'a HeaderMap,
}

impl<'a> IncomingRequest<'a> {
    /// The view of an HTTP request's head.
    pub fn from_parts(parts: &'a http::request::Parts) -> Self {
        Self {
            method: &parts.method,
            path: parts.uri.path(),
            query: parts.uri.query(),
            headers: &parts.headers,
        }
    }
}

/// Where the signature was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    /// In the `Authorization` header.
    Header,
    /// In the query: a presigned URL.
    Query,
}

/// A request whose signature is right. What it says about the body is still to be checked while the body is read.
#[derive(Clone)]
pub struct VerifiedRequest {
    /// Who signed.
    pub access_key_id: String,
    /// Where the signature was.
    pub method: AuthMethod,
    /// What the body must be: see [`PayloadHash::check`] and [`chunk_chain`](Self::chunk_chain).
    pub payload: PayloadHash,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// When a presigned URL ends; `None` for a header signature.
    pub expires_at: Option<Timestamp>,
    /// The names of the signed headers, in lower case.
    pub signed_headers: Vec<String>,
    chain: ChunkChain,
    scope: String,
}

impl VerifiedRequest {
    /// `20130524/us-east-1/s3/aws4_request`.
    pub fn scope(&self) -> &str {
        &self.scope
    }

    /// The chain that checks the chunks of the body, where the payload
    /// [has signed chunks](PayloadHash::has_signed_chunks); `None` where it has none.
    pub fn chunk_chain(&self) -> Option<ChunkChain> {
        self.payload.has_signed_chunks().then(|| self.chain.clone())
    }
}

impl fmt::Debug for VerifiedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedRequest")
            .field("access_key_id", &self.access_key_id)
            .field("method", &self.method)
            .field("payload", &self.payload)
            .field("scope", &self.scope)
            .field("signed_at", &self.signed_at)
            .field("expires_at", &self.expires_at)
            .field("signed_headers", &self.signed_headers)
            .finish_non_exhaustive()
    }
}

/// Verifies requests for one region.
///
/// The last derived signing key is kept, as in [`Signer`](crate::Signer): share one `Verifier`.
pub struct Verifier {
    region: Region,
    last_key: ArcSwapOption<DerivedKey>,
}

/// A signing key with what it was derived from. The secret is compared, not its id, so a replaced secret takes effect at once.
struct DerivedKey {
    secret: Secret,
    date: [u8; 8],
    key: Arc<SigningKey>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier that accepts signatures for S3 in `region`, and for nothing else.
    pub fn new(region: Region) -> Self {
        Self {
            region,
            last_key: ArcSwapOption::empty(),
        }
    }

    /// The region that clients must sign for.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Verifies a request that carries its signature in the `Authorization` header or in its query.
    ///
    /// # Errors
    /// [`VerifyError`], with the code and status that S3 gives; [`VerifyError::Unsigned`] if there is no signature.
    pub fn verify(
        &self,
        request: &IncomingRequest<'_>,
        lookup: &impl CredentialLookup,
        now: Timestamp,
    ) -> Result<VerifiedRequest, VerifyError> {
        let query = parse_query(request.query.unwrap_or(""))?;
        let in_header = request.headers.contains_key(http::header::AUTHORIZATION);
        let in_query = query::is_presigned(&query);
        if query::is_signature_v2(&query) {
            return Err(VerifyError::UnsupportedAuthorization);
        }
        match (in_header, in_query) {
            (true, true) => Err(VerifyError::SeveralAuthorizations),
            (true, false) => header::verify(self, request, &query, lookup, now),
            (false, true) => query::verify(self, request, &query, lookup, now),
            (false, false) => Err(VerifyError::Unsigned),
        }
    }

    /// Verifies the signature of a form upload from the fields that came before the file. The form must then be held
    /// against the policy with [`PostPolicy::check`](crate::PostPolicy::check).
    ///
    /// # Errors
    /// [`VerifyError`], with the code and status that S3 gives; [`VerifyError::Unsigned`] for a form without a policy.
    pub fn verify_form<N, V>(
        &self,
        fields: &[(N, V)],
        lookup: &impl CredentialLookup,
    ) -> Result<VerifiedForm, VerifyError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        form::verify(self, fields, lookup)
    }

    fn signing_key(&self, credentials: Credentials, time: &AmzTime) -> Arc<SigningKey> {
        let (secret, date) = (credentials.secret_access_key, time.date());
        if let Some(last) = self
            .last_key
            .load()
            .as_ref()
            .filter(|last| last.date == date && last.secret == secret)
        {
            return Arc::clone(&last.key);
        }
        let key = Arc::new(SigningKey::derive(&secret, date, &self.region));
        self.last_key.store(Some(Arc::new(DerivedKey {
            secret,
            date,
            key: Arc::clone(&key),
        })));
        key
    }
}

/// The credentials of an access key, if the session token that came along is theirs.
fn authenticate(
    lookup: &impl CredentialLookup,
    access_key_id: &str,
    token: Option<&[u8]>,
) -> Result<Credentials, VerifyError> {
    let credentials = lookup
        .credentials(access_key_id)
        .ok_or(VerifyError::InvalidAccessKeyId)?;
    let token_is_right = match (&credentials.session_token, token) {
        (None, None) => true,
        (Some(expected), Some(presented)) => expected.expose().as_bytes().ct_eq(presented).into(),
        _ => false,
    };
    if token_is_right {
        Ok(credentials)
    } else {
        Err(VerifyError::InvalidToken)
    }
}

/// What both kinds of signed requests have in common once their parameters are read.
struct Claim<'a> {
    method: AuthMethod,
    access_key_id: &'a str,
    time: AmzTime,
    signed_at: Timestamp,
    expires_at: Option<Timestamp>,
    signed_headers: Vec<&'a str>,
    payload: PayloadHash,
    /// The payload line of the canonical request, as the client wrote it.
    payload_text: &'a [u8],
    token: Option<&'a [u8]>,
    signature: &'a [u8],
}

impl Claim<'_> {
    /// The last step: the signature is computed anew and compared.
    fn verify(
        self,
        verifier: &Verifier,
        request: &IncomingRequest<'_>,
        query: &Pairs<'_>,
        lookup: &impl CredentialLookup,
    ) -> Result<VerifiedRequest, VerifyError> {
        check_signed_headers(request.headers, &self.signed_headers)?;
        let credentials = authenticate(lookup, self.access_key_id, self.token)?;
        let key = verifier.signing_key(credentials, &self.time);
        let signature = self.expected_signature(&key, request, query)?;
        if !signature.matches(self.signature) {
            return Err(VerifyError::SignatureDoesNotMatch);
        }
        Ok(VerifiedRequest {
            access_key_id: self.access_key_id.to_owned(),
            method: self.method,
            payload: self.payload,
            signed_at: self.signed_at,
            expires_at: self.expires_at,
            signed_headers: self.signed_headers.into_iter().map(str::to_owned).collect(),
            scope: key.scope().to_owned(),
            chain: ChunkChain::new(key, self.time, signature),
        })
    }

    fn expected_signature(
        &self,
        key: &SigningKey,
        request: &IncomingRequest<'_>,
        query: &Pairs<'_>,
    ) -> Result<Signature, VerifyError> {
        let mut text = Vec::with_capacity(1024);
        text.extend_from_slice(request.method.as_str().as_bytes());
        text.push(b'\n');
        canonical::push_path(&mut text, request.path)?;
        text.push(b'\n');
        let signed = |name: &str| self.method != AuthMethod::Query || !query::is_signature(name);
        canonical::push_query(
            &mut text,
            query
                .iter()
                .filter(|(name, _)| signed(name))
                .map(|(name, value)| (name, value)),
        );
        text.push(b'\n');
        for name in &self.signed_headers {
            let mut values = request
                .headers
                .get_all(*name)
                .iter()
                .map(http::HeaderValue::as_bytes)
                .peekable();
            if values.peek().is_none() {
                return Err(VerifyError::SignatureDoesNotMatch);
            }
            canonical::push_header_line(&mut text, name, values);
        }
        text.push(b'\n');
        for (index, name) in self.signed_headers.iter().enumerate() {
            if index > 0 {
                text.push(b';');
            }
            text.extend_from_slice(name.as_bytes());
        }
        text.push(b'\n');
        text.extend_from_slice(self.payload_text);
        Ok(key.sign_canonical_request(&self.time, &text))
    }
}

/// Refuses a request unless its host and all its `x-amz-*` headers are signed.
fn check_signed_headers(headers: &HeaderMap, signed: &[&str]) -> Result<(), VerifyError> {
    let must_be_signed = |name: &str| name.starts_with("x-amz-") && name != CLOUDFRONT_ID_HEADER;
    let mut unsigned: Vec<String> = std::iter::once("host")
        .chain(
            headers
                .keys()
                .map(http::HeaderName::as_str)
                .filter(|name| must_be_signed(name)),
        )
        .filter(|name| !signed.contains(name))
        .map(str::to_owned)
        .collect();
    if unsigned.is_empty() {
        return Ok(());
    }
    unsigned.sort_unstable();
    Err(VerifyError::HeadersNotSigned(unsigned))
}

/// Splits `a;b;c`: lower-case header names, none twice. `None` for anything else.
fn split_signed_headers(text: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = text.split(';').collect();
    let legal =
        |name: &&str| canonical::is_token(name) && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    let mut sorted = names.clone();
    sorted.sort_unstable();
    (names.iter().all(legal) && sorted.windows(2).all(|pair| pair[0] != pair[1])).then_some(names)
}
