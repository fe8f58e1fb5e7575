//! Who sent this request, and is it what they signed? Without an answer nothing else is looked at.

use cloakroom_signing::{ChunkChain, IncomingRequest, PayloadHash, Verifier};
use http::request::Parts;
use jiff::Timestamp;

use crate::error::S3Error;
use crate::gateway::CredentialSource;

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
    parts: &Parts,
) -> Result<Authorized, S3Error> {
    let verified = verifier.verify(
        &IncomingRequest::from_parts(parts),
        &|id: &str| credentials(id),
        now,
    )?;
    Ok(Authorized {
        payload: verified.payload,
        chain: verified.chunk_chain(),
    })
}
