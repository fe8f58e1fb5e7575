//! How a use case ends when it does not succeed.

use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::ObjectError;
use cloakroom_core::ports::signer::CannotSign;

/// Why a use case did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ServiceError {
    /// The request is at fault; the caller reads why.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database or the store is at fault, for now; the caller may try again.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// We are at fault. The text is for the log, never for the caller.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Result of a use case.
pub type Result<T> = std::result::Result<T, ServiceError>;

impl ServiceError {
    /// The refusal's code, if it is one.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refusal) => refusal.code,
            Self::Unavailable(_) => ErrorCode::Unavailable,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }
}

impl From<MetadataError> for ServiceError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Conflict => Refusal::new(
                ErrorCode::Conflict,
                "The same thing was changed by somebody else at the same time; read it again and try again.",
            )
            .into(),
            MetadataError::RecordTaken => Refusal::new(
                ErrorCode::RecordNotFound,
                "There is no such record, or it is not yours.",
            )
            .into(),
            MetadataError::Unavailable(reason) => Self::Unavailable(reason),
            MetadataError::Fenced => Self::Internal("a claim was lost outside of a worker".to_owned()),
            MetadataError::Inconsistent(reason) | MetadataError::Internal(reason) => Self::Internal(reason),
        }
    }
}

impl From<ObjectError> for ServiceError {
    fn from(error: ObjectError) -> Self {
        match error {
            // The operator can mend either while we run.
            ObjectError::Unavailable(reason) | ObjectError::Denied(reason) => Self::Unavailable(reason),
            ObjectError::NoSpace => Refusal::new(
                ErrorCode::InsufficientStorage,
                "The store is full; nothing was kept.",
            )
            .into(),
            ObjectError::Body(body) => {
                let code = match body.code {
                    "EntityTooLarge" => ErrorCode::FileTooLarge,
                    "BadDigest" | "XAmzContentSHA256Mismatch" => ErrorCode::ChecksumMismatch,
                    _ => ErrorCode::MalformedBody,
                };
                Refusal::new(code, body.message).into()
            }
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<CannotSign> for ServiceError {
    fn from(error: CannotSign) -> Self {
        Self::Internal(error.to_string())
    }
}
