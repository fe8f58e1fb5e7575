//! AWS Signature Version 4 for S3 (and, for requests that we send, other services), as pure computation.
//!
//! Cloakroom signs URLs that clients use against any S3, signs its own requests to a bucket, and verifies both on its
//! embedded S3 endpoint. One implementation serves all three so that they cannot drift apart. Nothing here reads a clock,
//! a file or a socket: the time is always an argument.
//!
//! | side | entry point | for |
//! |---|---|---|
//! | client | [`Signer::presign`] | a URL that carries its own signature |
//! | client | [`Signer::post_policy`] | a browser form upload |
//! | client | [`Signer::sign_headers`] | a request that we send ourselves |
//! | client | [`CloudFrontSigner`] | a URL of a CloudFront distribution |
//! | server | [`Verifier::verify`] | a request with an `Authorization` header or a presigned query |
//! | server | [`Verifier::verify_form`], [`PostPolicy`] | a form upload |
//! | both | [`ChunkChain`] | bodies in `aws-chunked` with signed chunks |
//!
//! The output is byte-equal to botocore's for the same inputs and time; `tests/botocore.rs` holds it to that.

mod canonical;
mod chunks;
mod cloudfront;
mod credentials;
mod encode;
mod endpoint;
mod error;
mod key;
mod payload;
mod post_policy;
mod presign;
mod sign_headers;
mod signer;
mod timestamp;
mod verify;

pub use chunks::ChunkChain;
pub use cloudfront::{CloudFrontPolicy, CloudFrontSigner};
pub use credentials::{Credentials, Region, Secret};
pub use encode::{
    InvalidEncoding, QueryPair, encode_component, encode_path, parse_query, percent_decode,
    percent_decode_str,
};
pub use endpoint::{Addressing, Endpoint};
pub use error::{SigningError, VerifyError};
pub use payload::PayloadHash;
pub use post_policy::{PolicyCondition, PostForm, PostPolicy, PostPolicyRequest};
pub use presign::PresignRequest;
pub use sign_headers::{OutgoingRequest, SignedHeaders};
pub use signer::Signer;
pub use verify::{AuthMethod, CredentialLookup, IncomingRequest, VerifiedForm, VerifiedRequest, Verifier};

/// The longest life of a presigned URL in seconds: seven days (S3 API, "Authenticating Requests: Using Query Parameters").
pub const PRESIGN_EXPIRES_SECONDS_MAX: u32 = 604_800;

/// How far a request's time may be from ours, in seconds, before it is refused: fifteen minutes (S3 error `RequestTimeTooSkewed`).
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 900;

/// The largest decoded POST policy in bytes: S3 limits the form in front of the file to 20 KB (`MaxPostPreDataLengthExceeded`).
pub const POST_POLICY_BYTES_MAX: usize = 20 * 1024;

/// The name of the only algorithm that is spoken here.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
