//! Signing: pure computation of URLs and forms with which a client reaches the object store directly.

use jiff::Timestamp;

use crate::checksum::Sha256Digest;
use crate::ports::objects::ObjectPath;

/// What a signed upload allows: exactly this.
#[derive(Clone, Debug, PartialEq)]
pub struct UploadConstraints {
    /// The content type that must be sent.
    pub content_type: String,
    /// The exact size that must be sent, when known.
    pub size_bytes: Option<u64>,
    /// Smallest and largest size, for methods that can enforce a range.
    pub size_bytes_range: (u64, u64),
    /// The SHA-256 that the store must check, when known.
    pub sha256: Option<Sha256Digest>,
    /// Status of a successful form upload.
    pub success_action_status: u16,
}

/// A signed request. `Debug` hides the URL: whoever has it may use it (I7).
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// Where to send it.
    pub url: String,
    /// Headers that must be sent as they are.
    pub headers: Vec<(String, String)>,
    /// Until when the URL may be used.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedRequest")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// A signed form. `Debug` hides it as it does a signed request.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedForm {
    /// Where to post it.
    pub url: String,
    /// Fields that must be sent, in this order, the file last.
    pub fields: Vec<(String, String)>,
    /// Until when the form may be used.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for SignedForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedForm")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// How a download presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadPresentation {
    /// `Content-Disposition` of the answer.
    pub content_disposition: String,
    /// `Content-Type` of the answer.
    pub content_type: String,
}

/// A request that cannot be signed: an expiry out of range, a key too long.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign: {0}")]
pub struct CannotSign(pub String);

/// Signs for the address that the client will use.
pub trait Signer: Send + Sync {
    /// A presigned PUT of a whole object.
    fn put(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign>;

    /// A form with a POST policy.
    fn post(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedForm, CannotSign>;

    /// A presigned `UploadPart`.
    fn part(
        &self,
        path: &ObjectPath,
        multipart_id: &str,
        part_number: u32,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign>;

    /// A presigned GET.
    fn get(
        &self,
        path: &ObjectPath,
        presentation: &DownloadPresentation,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign>;
}
