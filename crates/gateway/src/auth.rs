//! Who sent this request, and is it what they signed? Without an answer nothing else is looked at.

use cloakroom_signing::{ChunkChain, IncomingRequest, PayloadHash, Verifier, VerifyError};
use http::request::Parts;
use jiff::Timestamp;

use crate::error::S3Error;
use crate::gateway::CredentialSource;
use crate::request::Query;

/// What the signature says about the body.
pub(crate) struct Authorized {
    pub(crate) payload: PayloadHash,
    /// Verifies the chunks, where they are signed.
    pub(crate) chain: Option<ChunkChain>,
}

/// Verifies the signature in the header or in the query. A request without one is refused.
pub(crate) fn authorize(
    verifier: &Verifier,
    credentials: &CredentialSource,
    now: Timestamp,
    query: &Query<'_>,
    parts: &Parts,
) -> Result<Authorized, S3Error> {
    let verified = verifier.verify(
        &IncomingRequest::from_parts(parts),
        &|id: &str| credentials(id),
        now,
    );
    let verified = verified.map_err(|error| match error {
        VerifyError::SignatureDoesNotMatch => mismatch(query, parts),
        error => error.into(),
    })?;
    Ok(Authorized {
        payload: verified.payload,
        chain: verified.chunk_chain(),
    })
}

/// A presigned URL is mostly used wrongly by leaving out a header that was signed with it. Tells only what the request says
/// of itself.
fn mismatch(query: &Query<'_>, parts: &Parts) -> S3Error {
    let error = S3Error::from(VerifyError::SignatureDoesNotMatch);
    let Some(signed) = query.get("X-Amz-SignedHeaders") else {
        return error;
    };
    let signed: Vec<&str> = signed.split(';').collect();
    let is_missing = |name: &&str| !parts.headers.contains_key(*name);
    let missing: Vec<&str> = signed.iter().copied().filter(is_missing).collect();
    let hint = if missing.is_empty() {
        let signed = signed.join(", ");
        format!("The method, the path, the query and these headers must be as they were signed: {signed}.")
    } else {
        let missing = missing.join(", ");
        format!(
            "The URL was signed with headers that the request does not have; send them as they were signed: {missing}."
        )
    };
    S3Error {
        message: format!("{} {hint}", error.message).into(),
        ..error
    }
}
