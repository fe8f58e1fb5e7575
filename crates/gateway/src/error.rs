//! What a refused request is told: S3's error code, status and message, and the XML document that carries them.
//!
//! Store, signing and body each have errors of their own; here, and only here, they become those of the protocol.

use std::borrow::Cow;

use bytes::Bytes;
use cloakroom_core::ports::objects::{BodyError, ObjectError, ObjectInfo};
use cloakroom_signing::{InvalidEncoding, VerifyError};
use http::StatusCode;

use crate::xml::write::XmlWriter;

/// The smallest size of a part that is not the last one, in bytes (S3 API, "Multipart upload limits").
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// A refused or failed request (S3 API, "Error responses"). The message holds no secrets.
#[derive(Debug)]
pub(crate) struct S3Error {
    pub(crate) code: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) message: Cow<'static, str>,
    /// Further elements of the document, such as `BucketName`.
    pub(crate) extra: Vec<(&'static str, String)>,
    /// The object's size, for the `Content-Range` of a range that cannot be satisfied.
    pub(crate) object_size_bytes: Option<u64>,
    /// The object that the client already has: the answer is a 304 without a document.
    pub(crate) not_modified: Option<Box<ObjectInfo>>,
}

impl S3Error {
    /// An error whose status follows from its code.
    pub(crate) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status: status_of(code),
            message: message.into(),
            extra: Vec::new(),
            object_size_bytes: None,
            not_modified: None,
        }
    }

    /// Adds an element to the document.
    pub(crate) fn with(mut self, element: &'static str, value: impl Into<String>) -> Self {
        self.extra.push((element, value.into()));
        self
    }

    /// `InvalidArgument`, naming the argument and its value as S3 does.
    pub(crate) fn invalid_argument(
        message: impl Into<Cow<'static, str>>,
        name: &str,
        value: impl Into<String>,
    ) -> Self {
        Self::new("InvalidArgument", message)
            .with("ArgumentName", name)
            .with("ArgumentValue", value)
    }

    /// `InvalidRequest`.
    pub(crate) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("InvalidRequest", message)
    }

    /// `NotImplemented`: a part of S3 that this endpoint does not have.
    pub(crate) fn not_implemented(what: &str) -> Self {
        Self::new(
            "NotImplemented",
            format!(
                "A header or parameter you provided implies functionality that is not implemented: {what}"
            ),
        )
    }

    /// `MethodNotAllowed`.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        )
    }

    /// `MalformedXML`.
    pub(crate) fn malformed_xml() -> Self {
        Self::new(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        )
    }

    /// `PreconditionFailed`, naming the header that does not hold.
    pub(crate) fn precondition_failed(condition: &str) -> Self {
        Self::new(
            "PreconditionFailed",
            "At least one of the pre-conditions you specified did not hold",
        )
        .with("Condition", condition)
    }

    /// `NoSuchKey`.
    pub(crate) fn no_such_key() -> Self {
        Self::new("NoSuchKey", "The specified key does not exist.")
    }

    /// The document.
    pub(crate) fn document(&self, resource: &str, request_id: &str) -> Bytes {
        let mut xml = XmlWriter::new();
        xml.open("Error");
        xml.leaf("Code", self.code);
        xml.leaf("Message", &self.message);
        for (name, value) in &self.extra {
            xml.leaf(name, value);
        }
        xml.leaf("Resource", resource);
        xml.leaf("RequestId", request_id);
        xml.close("Error");
        xml.finish()
    }
}

/// The status that S3 gives with a code (S3 API, "List of error codes").
fn status_of(code: &str) -> StatusCode {
    match code {
        "AccessDenied"
        | "AccessForbidden"
        | "AuthorizationQueryParametersError"
        | "InvalidAccessKeyId"
        | "InvalidObjectState"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch" => StatusCode::FORBIDDEN,
        "NoSuchBucket" | "NoSuchCORSConfiguration" | "NoSuchKey" | "NoSuchUpload" | "NoSuchVersion" => {
            StatusCode::NOT_FOUND
        }
        "MethodNotAllowed" => StatusCode::METHOD_NOT_ALLOWED,
        "BucketAlreadyOwnedByYou" | "BucketNotEmpty" | "OperationAborted" => StatusCode::CONFLICT,
        "MissingContentLength" => StatusCode::LENGTH_REQUIRED,
        "PreconditionFailed" => StatusCode::PRECONDITION_FAILED,
        "InvalidRange" => StatusCode::RANGE_NOT_SATISFIABLE,
        "NotModified" => StatusCode::NOT_MODIFIED,
        "NotImplemented" => StatusCode::NOT_IMPLEMENTED,
        "InternalError" => StatusCode::INTERNAL_SERVER_ERROR,
        "ServiceUnavailable" | "SlowDown" => StatusCode::SERVICE_UNAVAILABLE,
        "InsufficientStorage" => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl From<ObjectError> for S3Error {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NoSuchBucket(bucket) => {
                Self::new("NoSuchBucket", "The specified bucket does not exist").with("BucketName", bucket)
            }
            ObjectError::NotFound => Self::no_such_key(),
            ObjectError::NoSuchUpload => Self::new(
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
            ),
            ObjectError::BucketExists => Self::new(
                "BucketAlreadyOwnedByYou",
                "Your previous request to create the named bucket succeeded and you already own it.",
            ),
            ObjectError::BucketNotEmpty => {
                Self::new("BucketNotEmpty", "The bucket you tried to delete is not empty")
            }
            ObjectError::PreconditionFailed(condition) => Self::precondition_failed(condition),
            ObjectError::NotModified { info } => {
                let mut error = Self::new("NotModified", "Not Modified");
                error.not_modified = Some(info);
                error
            }
            ObjectError::InvalidRange { size_bytes } => {
                let mut error = Self::new("InvalidRange", "The requested range is not satisfiable")
                    .with("ActualObjectSize", size_bytes.to_string());
                error.object_size_bytes = Some(size_bytes);
                error
            }
            ObjectError::InvalidPart(_) => Self::new(
                "InvalidPart",
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
            ),
            ObjectError::InvalidPartOrder => Self::new(
                "InvalidPartOrder",
                "The list of parts was not in ascending order. Parts must be ordered by part number.",
            ),
            ObjectError::PartTooSmall { number, size_bytes } => Self::new(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
            )
            .with("ProposedSize", size_bytes.to_string())
            .with("MinSizeAllowed", PART_BYTES_MIN.to_string())
            .with("PartNumber", number.to_string()),
            ObjectError::InvalidArgument(message) => Self::new("InvalidArgument", message),
            ObjectError::Body(error) => error.into(),
            ObjectError::NoSpace => {
                Self::new("InsufficientStorage", "There is no space left for the object.")
            }
            ObjectError::Unavailable(reason) | ObjectError::Denied(reason) => {
                tracing::warn!(reason, "the object store is unavailable");
                Self::new(
                    "ServiceUnavailable",
                    "The object store is unavailable. Please try again.",
                )
            }
            ObjectError::Unsupported(what) => Self::not_implemented(what),
            ObjectError::Internal(reason) => {
                tracing::error!(reason, "the object store failed");
                Self::new(
                    "InternalError",
                    "We encountered an internal error. Please try again.",
                )
            }
        }
    }
}

impl From<BodyError> for S3Error {
    fn from(error: BodyError) -> Self {
        Self::new(error.code, error.message)
    }
}

impl From<VerifyError> for S3Error {
    fn from(error: VerifyError) -> Self {
        let mut refused = Self::new(error.code(), error.to_string());
        // A presigned URL that cannot be read is refused like one that does not match, as Ceph's suite wants it.
        if !matches!(error, VerifyError::AuthorizationQueryParameters { .. }) {
            refused.status = StatusCode::from_u16(error.status()).unwrap_or(refused.status);
        }
        match error.expected_region() {
            Some(region) => refused.with("Region", region),
            None => refused,
        }
    }
}

impl From<InvalidEncoding> for S3Error {
    fn from(_: InvalidEncoding) -> Self {
        Self::new("InvalidURI", "Couldn't parse the specified URI.")
    }
}

/// A body that is refused, with the code of the signing module's error.
pub(crate) fn body_error(error: &VerifyError) -> BodyError {
    BodyError {
        code: error.code(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_shape_of_s3() {
        let error = S3Error::from(ObjectError::NoSuchBucket("b<&>".to_owned()));
        assert_eq!(error.status, StatusCode::NOT_FOUND);
        assert_eq!(
            error.document("/b<&>/k\u{1}", "4442587FB7D0A2F9"),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchBucket</Code>\
             <Message>The specified bucket does not exist</Message><BucketName>b&lt;&amp;&gt;</BucketName>\
             <Resource>/b&lt;&amp;&gt;/k&#x1;</Resource><RequestId>4442587FB7D0A2F9</RequestId></Error>"
        );
    }

    #[test]
    fn what_failed_inside_stays_inside() {
        for error in [
            ObjectError::Internal("/var/lib/x".into()),
            ObjectError::Unavailable("/var/lib/x".into()),
        ] {
            let document = S3Error::from(error).document("/", "1");
            assert!(!String::from_utf8_lossy(&document).contains("/var/lib"));
        }
    }

    #[test]
    fn a_wrong_region_is_named() {
        let error = S3Error::from(VerifyError::AuthorizationHeaderMalformed {
            reason: "the region is wrong".into(),
            expected_region: Some("eu-west-1".into()),
        });
        assert_eq!(
            (error.code, error.status),
            ("AuthorizationHeaderMalformed", StatusCode::BAD_REQUEST)
        );
        assert_eq!(error.extra, [("Region", "eu-west-1".to_owned())]);
    }

    #[test]
    fn statuses_agree_with_the_signing_module() {
        for error in [
            VerifyError::Unsigned,
            VerifyError::Expired,
            VerifyError::SignatureDoesNotMatch,
        ] {
            assert_eq!(status_of(error.code()).as_u16(), error.status());
        }
    }
}
