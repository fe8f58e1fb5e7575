//! What an error of the S3 API means to the port.

use cloakroom_core::ports::objects::ObjectError;

use super::answer::ErrorAnswer;
use super::client::CallError;

/// The port's error for what became of a call about `bucket`.
pub(super) fn describe(error: CallError, bucket: &str) -> ObjectError {
    match error {
        CallError::Answer(answer) => of_answer(answer, bucket),
        CallError::Unavailable(reason) => ObjectError::Unavailable(reason),
        CallError::Body(error) => ObjectError::Body(error),
        CallError::Defect(reason) => ObjectError::InvalidArgument(reason),
    }
}

fn of_answer(answer: ErrorAnswer, bucket: &str) -> ObjectError {
    match (answer.code.as_str(), answer.status) {
        // The size is told by a look.
        ("InvalidRange" | "InvalidPartNumber", _) | (_, 416) => ObjectError::InvalidRange { size_bytes: 0 },
        ("NoSuchBucket", _) => ObjectError::NoSuchBucket(bucket.to_owned()),
        ("NoSuchUpload", _) => ObjectError::NoSuchUpload,
        ("NoSuchKey" | "NotFound" | "", 404) | ("NoSuchKey", _) => ObjectError::NotFound,
        ("BucketAlreadyExists" | "BucketAlreadyOwnedByYou", _) => ObjectError::BucketExists,
        ("BucketNotEmpty", _) => ObjectError::BucketNotEmpty,
        ("InvalidPart", _) => ObjectError::InvalidPart(answer.message),
        // It does not say which; whoever knows the parts does.
        ("EntityTooSmall", _) => ObjectError::PartTooSmall {
            number: 0,
            size_bytes: 0,
        },
        ("InvalidPartOrder", _) => ObjectError::InvalidPartOrder,
        ("QuotaExceeded" | "InsufficientStorage", _) | (_, 507) => ObjectError::NoSpace,
        ("NotImplemented", _) | (_, 501) => {
            ObjectError::Unsupported("the object store has no such operation")
        }
        ("PreconditionFailed", _) | (_, 412) => ObjectError::PreconditionFailed("the store's condition"),
        // Another write of the same key at the same time (S3 API, "ConditionalRequestConflict").
        ("ConditionalRequestConflict" | "OperationAborted", _) => {
            ObjectError::PreconditionFailed("another write at the same time")
        }
        // The operator can mend this while we run; what was to be done waits.
        (_, 401 | 403) => ObjectError::Denied(answer.to_string()),
        (_, 400..=499) => ObjectError::InvalidArgument(answer.to_string()),
        _ => ObjectError::Internal(answer.to_string()),
    }
}
