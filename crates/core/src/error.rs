//! What can go wrong, by name. The core names a refusal; the protocol that talks to the client renders it.

use std::fmt;

use crate::JsonObject;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal;)+) => {
        /// Stable machine-readable names of every refusal (`error_code` on the wire).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)+ }

        impl ErrorCode {
            /// Every code there is, for documentation and exhaustiveness tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The code as it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The HTTP status that the native API answers with; a dialect may differ.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

error_codes! {
    /// A field is missing, malformed or out of its range.
    InvalidRequest = "invalid_request", 422;
    /// The body is not the JSON or form that the endpoint reads.
    MalformedBody = "malformed_body", 400;
    /// A query or path parameter does not parse.
    InvalidParameter = "invalid_parameter", 400;
    /// No credentials, or credentials that nobody here issued.
    Unauthenticated = "unauthenticated", 401;
    /// A token that does not validate.
    InvalidToken = "invalid_token", 401;
    /// A token past its `exp`.
    TokenExpired = "token_expired", 401;
    /// The caller is known and may not do this.
    InsufficientPermissions = "insufficient_permissions", 403;
    /// An upload by who has not accepted the offer in force.
    OfferNotAccepted = "offer_not_accepted", 403;
    /// No such file, or none that the caller may know of (I8).
    FileNotFound = "file_not_found", 404;
    /// No such record, or none that the caller may know of.
    RecordNotFound = "record_not_found", 404;
    /// No such derivative of a file that the caller may read.
    DerivativeNotFound = "derivative_not_found", 404;
    /// No such job, token or other admin resource.
    NotFound = "not_found", 404;
    /// No such path.
    RouteNotFound = "route_not_found", 404;
    /// The path exists, not with this method.
    MethodNotAllowed = "method_not_allowed", 405;
    /// No such collection.
    CollectionNotFound = "collection_not_found", 404;
    /// The collection does not take this type.
    ContentTypeNotAllowed = "content_type_not_allowed", 415;
    /// The body of a request came in a media type that the endpoint does not read.
    UnsupportedMediaType = "unsupported_media_type", 415;
    /// The file is larger than the collection takes.
    FileTooLarge = "file_too_large", 413;
    /// The file is empty and the collection does not take empty files.
    FileTooSmall = "file_too_small", 422;
    /// A request body beyond its limit.
    BodyTooLarge = "body_too_large", 413;
    /// Metadata that does not fit its sidecar (4 KiB).
    MetadataTooLarge = "metadata_too_large", 422;
    /// The owner's quota is used up, counting what is reserved (I11).
    QuotaExceeded = "quota_exceeded", 413;
    /// The upload method is not offered by the store or the collection.
    MethodNotOffered = "method_not_offered", 422;
    /// Confirm before the bytes were there.
    UploadIncomplete = "upload_incomplete", 409;
    /// Confirm, and the object's size is not the declared one.
    SizeMismatch = "size_mismatch", 422;
    /// Confirm, and the object's content type is not the signed one.
    ContentTypeMismatch = "content_type_mismatch", 422;
    /// Confirm, and the object's checksum is not the declared one.
    ChecksumMismatch = "checksum_mismatch", 422;
    /// The upload's time is over.
    UploadExpired = "upload_expired", 410;
    /// A part list that does not name what was uploaded.
    InvalidPart = "invalid_part", 422;
    /// The collection offers no variants, or the file is no image that one can be made of.
    VariantsNotOffered = "variants_not_offered", 422;
    /// The picture could not be made: the file is at fault.
    VariantFailed = "variant_failed", 422;
    /// As many variants of the file were made lately as are kept.
    TooManyVariants = "too_many_variants", 429;
    /// A signed URL that was not signed so.
    InvalidSignature = "invalid_signature", 403;
    /// A signed URL whose time is over.
    UrlExpired = "url_expired", 410;
    /// The file is not in a state that allows this.
    InvalidState = "invalid_state", 409;
    /// A download of a file that is not `ready` (I1).
    FileNotReady = "file_not_ready", 409;
    /// A download of a quarantined file.
    FileQuarantined = "file_quarantined", 409;
    /// The store's mode does not allow this, or does not become that (S3-seed `InvalidStorageMode`).
    InvalidStorageMode = "invalid_storage_mode", 409;
    /// A change of mode that needs `confirm: true`.
    ConfirmationRequired = "confirmation_required", 409;
    /// A sidecar that cannot be read or is not ours (S3-seed `InvalidAttributeFile`).
    InvalidAttributeFile = "invalid_attribute_file", 422;
    /// A file under legal hold is neither deleted nor purged.
    LegalHold = "legal_hold", 409;
    /// An operation of the kind waits or runs already.
    OperationRunning = "operation_running", 409;
    /// A download of an archived file.
    ArchivedFile = "archived_file", 409;
    /// Somebody else changed the same thing at the same time, again and again.
    Conflict = "conflict", 409;
    /// The same idempotency key came with another body.
    IdempotencyKeyReused = "idempotency_key_reused", 422;
    /// `If-Match` names a version that is no longer the current one.
    PreconditionFailed = "precondition_failed", 412;
    /// More requests than the limit allows.
    RateLimited = "rate_limited", 429;
    /// A byte range outside of the file.
    RangeNotSatisfiable = "range_not_satisfiable", 416;
    /// The object store or the database does not answer.
    Unavailable = "unavailable", 503;
    /// More work waits than can be done soon.
    Overloaded = "overloaded", 503;
    /// The disk or the bucket is full.
    InsufficientStorage = "insufficient_storage", 507;
    /// A defect of ours.
    Internal = "internal_error", 500;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that we understood and will not carry out, with what the caller needs to mend it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The stable name.
    pub code: ErrorCode,
    /// What was wrong and what to do, in a sentence; never a secret.
    pub message: String,
    /// The same for machines: the offending field, the limit, the value found.
    pub details: JsonObject,
}

impl Refusal {
    /// A refusal without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: JsonObject::new(),
        }
    }

    /// Adds one detail.
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// The answer for a file that does not exist and for one that the caller may not know of: the same words (I8).
    pub fn file_not_found(id: &crate::id::FileId) -> Self {
        Self::new(
            ErrorCode::FileNotFound,
            "There is no such file, or it is not yours.",
        )
        .with("file_id", id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_snake_case_and_have_an_error_status() {
        let mut seen = std::collections::HashSet::new();
        for code in ErrorCode::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(
                code.as_str().chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{code}"
            );
            assert!((400..600).contains(&code.status()), "{code}");
        }
    }
}
