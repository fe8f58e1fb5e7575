//! What can go wrong: on the signing side a caller's mistake, on the verifying side an S3 error with its code and status.

use crate::encode::InvalidEncoding;

/// A request that cannot be signed as asked. Messages never contain secrets, signatures or values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// An expiry that S3 would refuse.
    #[error("the expiry must be between 1 and {max} seconds", max = crate::PRESIGN_EXPIRES_SECONDS_MAX)]
    InvalidExpiry,
    /// The endpoint is no plain `http(s)://host[:port][/path]`.
    #[error("the endpoint is not an http or https URL without credentials, query and fragment")]
    InvalidEndpoint,
    /// The URL of an outgoing request is not absolute or not percent-encoded.
    #[error("the URL to sign is not an absolute, percent-encoded http or https URL")]
    InvalidUrl,
    /// No bucket is named.
    #[error("the bucket name is empty")]
    InvalidBucket,
    /// A header's name is no HTTP token, or its value contains a line break or another control character.
    #[error("the header {0:?} cannot be sent over HTTP")]
    InvalidHeader(String),
    /// A query parameter that the signature itself sets.
    #[error("the query parameter {0:?} belongs to the signature")]
    ReservedParameter(String),
    /// The region breaks the credential scope.
    #[error("the region must be 1 to 63 letters, digits, hyphens, underscores or dots")]
    InvalidRegion,
    /// The time, or the time plus the expiry, has no four-digit year.
    #[error("the time is outside of the years 0 to 9999")]
    InvalidTime,
    /// A private key, or its id, that CloudFront's signatures cannot be made with.
    #[error("{0}")]
    InvalidKey(&'static str),
}

/// Why a request is refused, as S3 would say it: [`code`](Self::code), [`status`](Self::status) and a message (`Display`).
///
/// Messages never contain secrets, tokens or signatures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The request carries no signature at all.
    #[error("Access Denied: the request is not signed")]
    Unsigned,
    /// No `x-amz-date` or `date` that can be read.
    #[error("AWS authentication requires a valid Date or x-amz-date header")]
    MissingDate,
    /// Headers that S3 requires to be signed are not.
    #[error("There were headers present in the request which were not signed. HeadersNotSigned: {}", .0.join(", "))]
    HeadersNotSigned(Vec<String>),
    /// A presigned URL after its end.
    #[error("Request has expired")]
    Expired,
    /// A presigned URL before its start.
    #[error("Request is not yet valid")]
    NotYetValid,
    /// The time of a header-signed request is more than fifteen minutes off.
    #[error("The difference between the request time and the current time is too large.")]
    RequestTimeTooSkewed,
    /// Nobody has this access key id.
    #[error("The AWS Access Key Id you provided does not exist in our records.")]
    InvalidAccessKeyId,
    /// The session token is missing, unexpected or another one.
    #[error("The provided token is malformed or otherwise invalid.")]
    InvalidToken,
    /// The signature is not the one that the secret key gives.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    )]
    SignatureDoesNotMatch,
    /// Signature Version 2 or an unknown scheme.
    #[error(
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256 (Signature Version 4)."
    )]
    UnsupportedAuthorization,
    /// More than one signature on one request.
    #[error(
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"
    )]
    SeveralAuthorizations,
    /// The `Authorization` header cannot be read or names another scope.
    #[error("The authorization header is malformed; {reason}")]
    AuthorizationHeaderMalformed {
        /// What is wrong.
        reason: String,
        /// The region to sign for, if that is what is wrong (S3 puts it into `<Region>`).
        expected_region: Option<String>,
    },
    /// The parameters of a presigned URL, or the like-named fields of a form, cannot be read or name another scope.
    #[error("Error parsing the authorization parameters; {reason}")]
    AuthorizationQueryParameters {
        /// What is wrong.
        reason: String,
        /// The region to sign for, if that is what is wrong (S3 puts it into `<Region>`).
        expected_region: Option<String>,
    },
    /// `x-amz-content-sha256` is missing from a header-signed request.
    #[error("Missing required header for this request: x-amz-content-sha256")]
    MissingContentSha256,
    /// `x-amz-content-sha256` is neither a digest nor a known literal.
    #[error(
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING-* payload with HMAC-SHA256, or a valid sha256 value."
    )]
    InvalidContentSha256,
    /// The body is not the one whose digest was signed.
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    ContentSha256Mismatch,
    /// The path or the query is not valid percent-encoding.
    #[error("Couldn't parse the specified URI.")]
    InvalidUri,
    /// A form lacks a field or has it twice.
    #[error("{0}")]
    InvalidForm(String),
    /// The policy of a form upload cannot be read.
    #[error("Invalid Policy: {0}")]
    InvalidPolicyDocument(String),
    /// The policy of a form upload is longer than S3 allows.
    #[error("Your POST request fields preceding the upload file were too large.")]
    PolicyTooLarge,
    /// The form does not keep to its policy.
    #[error("Invalid according to Policy: {0}")]
    PolicyViolated(String),
    /// The file is larger than the policy allows.
    #[error("Your proposed upload exceeds the maximum allowed size")]
    EntityTooLarge,
    /// The file is smaller than the policy demands.
    #[error("Your proposed upload is smaller than the minimum allowed size")]
    EntityTooSmall,
}

impl VerifyError {
    /// The S3 error code (S3 API, "Error responses").
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsigned
            | Self::MissingDate
            | Self::HeadersNotSigned(_)
            | Self::Expired
            | Self::NotYetValid
            | Self::PolicyViolated(_) => "AccessDenied",
            Self::RequestTimeTooSkewed => "RequestTimeTooSkewed",
            Self::InvalidAccessKeyId => "InvalidAccessKeyId",
            Self::InvalidToken => "InvalidToken",
            Self::SignatureDoesNotMatch => "SignatureDoesNotMatch",
            Self::UnsupportedAuthorization | Self::MissingContentSha256 => "InvalidRequest",
            Self::SeveralAuthorizations | Self::InvalidContentSha256 | Self::InvalidForm(_) => {
                "InvalidArgument"
            }
            Self::AuthorizationHeaderMalformed { .. } => "AuthorizationHeaderMalformed",
            Self::AuthorizationQueryParameters { .. } => "AuthorizationQueryParametersError",
            Self::ContentSha256Mismatch => "XAmzContentSHA256Mismatch",
            Self::InvalidUri => "InvalidURI",
            Self::InvalidPolicyDocument(_) => "InvalidPolicyDocument",
            Self::PolicyTooLarge => "MaxPostPreDataLengthExceeded",
            Self::EntityTooLarge => "EntityTooLarge",
            Self::EntityTooSmall => "EntityTooSmall",
        }
    }

    /// The HTTP status that S3 gives with the code.
    pub fn status(&self) -> u16 {
        match self.code() {
            "AccessDenied" | "RequestTimeTooSkewed" | "InvalidAccessKeyId" | "SignatureDoesNotMatch" => 403,
            _ => 400,
        }
    }

    /// The region that the client should have signed for, where the wrong one is what is refused.
    pub fn expected_region(&self) -> Option<&str> {
        match self {
            Self::AuthorizationHeaderMalformed { expected_region, .. }
            | Self::AuthorizationQueryParameters { expected_region, .. } => expected_region.as_deref(),
            _ => None,
        }
    }
}

impl From<InvalidEncoding> for VerifyError {
    fn from(_: InvalidEncoding) -> Self {
        Self::InvalidUri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_statuses_are_those_of_s3() {
        let table = [
            (VerifyError::Unsigned, "AccessDenied", 403),
            (VerifyError::Expired, "AccessDenied", 403),
            (VerifyError::RequestTimeTooSkewed, "RequestTimeTooSkewed", 403),
            (VerifyError::SignatureDoesNotMatch, "SignatureDoesNotMatch", 403),
            (VerifyError::InvalidAccessKeyId, "InvalidAccessKeyId", 403),
            (VerifyError::InvalidToken, "InvalidToken", 400),
            (VerifyError::UnsupportedAuthorization, "InvalidRequest", 400),
            (VerifyError::PolicyViolated("x".into()), "AccessDenied", 403),
            (
                VerifyError::InvalidPolicyDocument("x".into()),
                "InvalidPolicyDocument",
                400,
            ),
            (VerifyError::EntityTooLarge, "EntityTooLarge", 400),
            (
                VerifyError::ContentSha256Mismatch,
                "XAmzContentSHA256Mismatch",
                400,
            ),
        ];
        for (error, code, status) in table {
            assert_eq!((error.code(), error.status()), (code, status), "{error:?}");
        }
    }

    #[test]
    fn unsigned_headers_are_named() {
        let error = VerifyError::HeadersNotSigned(vec!["host".into(), "x-amz-acl".into()]);
        assert!(error.to_string().ends_with("HeadersNotSigned: host, x-amz-acl"));
    }
}
