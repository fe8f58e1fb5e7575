//! The credential: who signed, and for which day, region and service.

use crate::credentials::Region;
use crate::error::VerifyError;
use crate::key::{SERVICE, TERMINATOR};
use crate::timestamp::AmzTime;

/// Where a credential was given, which decides the error that refuses it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Header,
    /// The query of a presigned URL, or the fields of a form.
    Parameters,
}

impl Place {
    pub(super) fn malformed(self, reason: impl Into<String>) -> VerifyError {
        self.error(reason.into(), None)
    }

    fn error(self, reason: String, expected_region: Option<String>) -> VerifyError {
        match self {
            Self::Header => VerifyError::AuthorizationHeaderMalformed {
                reason,
                expected_region,
            },
            Self::Parameters => VerifyError::AuthorizationQueryParameters {
                reason,
                expected_region,
            },
        }
    }
}

/// Reads `<access key id>/<date>/<region>/s3/aws4_request`, checks all but the id and returns that.
///
/// The scope is read from its end, because an access key id may contain `/`.
pub(super) fn access_key_id<'a>(
    credential: &'a str,
    time: &AmzTime,
    region: &Region,
    place: Place,
) -> Result<&'a str, VerifyError> {
    let parts: Vec<&str> = credential.rsplitn(5, '/').collect();
    let &[terminator, service, signed_region, date, access_key_id] = parts.as_slice() else {
        return Err(place.malformed(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        ));
    };
    if access_key_id.is_empty() {
        return Err(place.malformed("a non-empty Access Key (AKID) must be provided in the credential."));
    }
    if terminator != TERMINATOR {
        return Err(place.malformed("incorrect terminal; this endpoint belongs to \"aws4_request\"."));
    }
    if service != SERVICE {
        return Err(place.malformed("incorrect service; this endpoint belongs to \"s3\"."));
    }
    if signed_region != region.as_str() {
        let reason = format!("the region is wrong; expecting '{region}'");
        return Err(place.error(reason, Some(region.to_string())));
    }
    if date.as_bytes() != time.date() {
        return Err(place.malformed("the date of the credential is not that of the request."));
    }
    Ok(access_key_id)
}
