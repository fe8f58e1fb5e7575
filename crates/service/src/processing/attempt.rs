//! How an attempt at a job ends.

use std::time::Duration;

use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::ObjectError;

use crate::error::ServiceError;

/// Why an attempt ended without a verdict about the file.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The claim went to somebody else, who is at it now.
    #[error("the claim was lost")]
    Lost,
    /// The row was changed by somebody else (a patch, a delete): begin again from what it is now.
    #[error("the file was changed at the same time")]
    Overtaken,
    /// Try again later.
    #[error("{0}")]
    Retry(String),
    /// Try again later; the store or the database is at fault, so the attempt does not count.
    #[error("{0}")]
    Unavailable(String),
    /// Try again then; what a processor depends on is at fault and says, or has shown, how long it needs. The attempt does not
    /// count.
    #[error("{reason}")]
    Away {
        /// Why.
        reason: String,
        /// How long to wait.
        wait: Duration,
    },
    /// Try again in a while; the mode of the store does not allow it now, so the attempt does not count.
    #[error("{0}")]
    Closed(String),
}

impl AttemptError {
    /// What the mode of a store does not allow.
    pub(crate) fn from_mode(refusal: Refusal) -> Self {
        match refusal.code {
            ErrorCode::Unavailable => Self::Unavailable(refusal.message),
            _ => Self::Closed(refusal.message),
        }
    }

    /// What a processor found away.
    pub(crate) fn away(reason: String, wait: Option<Duration>) -> Self {
        match wait {
            Some(wait) => Self::Away { reason, wait },
            None => Self::Unavailable(reason),
        }
    }
}

impl From<MetadataError> for AttemptError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Fenced => Self::Lost,
            MetadataError::Conflict => Self::Overtaken,
            MetadataError::Unavailable(reason) => Self::Unavailable(reason),
            other => Self::Retry(other.to_string()),
        }
    }
}

impl From<ObjectError> for AttemptError {
    fn from(error: ObjectError) -> Self {
        match error {
            // A permission is given back without a word to us: what is to be done waits, as for a store that is away.
            ObjectError::Unavailable(reason) | ObjectError::Denied(reason) => Self::Unavailable(reason),
            other => Self::Retry(other.to_string()),
        }
    }
}

impl From<ServiceError> for AttemptError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unavailable(reason) => Self::Unavailable(reason),
            ServiceError::Refused(refusal) if refusal.code == ErrorCode::InvalidStorageMode => {
                Self::from_mode(refusal)
            }
            other => Self::Retry(other.to_string()),
        }
    }
}

/// Whether the job was completed by the commit itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The commit that made the change also completed the job.
    Completed,
    /// There was nothing (more) to do; the job must still be finished.
    NothingToDo,
}
