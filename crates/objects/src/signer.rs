//! Signs what lets a client reach the bytes directly: presigned URLs and forms, for our own S3 endpoint or any other.
//!
//! A URL is signed for the host that the client will use, which need not be the one that we use. Everything that an
//! upload may not vary is part of its signature, so that the store refuses what was not agreed (I2).

mod identity;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::{
    CannotSign, DownloadPresentation, SignedForm, SignedRequest, Signer, UploadConstraints,
};
use cloakroom_signing::{Endpoint, PolicyCondition, PostPolicyRequest, PresignRequest, Region, SigningError};
use http::Method;
use jiff::{SignedDuration, Timestamp};

use self::identity::Identity;
use crate::credentials::CredentialsSource;
use crate::s3::Encryption;

/// The longest key (S3 API, "Object key naming guidelines").
const KEY_BYTES_MAX: usize = 1_024;

/// The highest part number (S3 API, "Amazon S3 multipart upload limits").
const PART_NUMBER_MAX: u32 = 10_000;

/// For so long, at most, the download URL of an object stays the same.
const DOWNLOAD_WINDOW_SECONDS_MAX: u32 = 900;

/// Signs for one S3 service, with one access key or one for reading and one for uploads.
///
/// **Downloads** are signed for a time that is rounded down to a window, a quarter of the expiry but at most fifteen
/// minutes: within a window the same object, presentation and expiry give the same URL, so that browsers and proxies
/// can cache. Such a URL is good for at least three quarters of the expiry that was asked for and never for longer than
/// all of it; `expires_at` tells the truth. **Uploads** are signed for the second in which they are asked for.
///
/// With temporary credentials nothing that is signed outlives them, whatever its own expiry says: S3 refuses the token.
pub struct UrlSigner {
    identity: Identity,
    uploads: Option<Identity>,
    endpoint: Endpoint,
    region: Region,
    encryption: Vec<(String, String)>,
}

impl UrlSigner {
    /// Signs with `signer` for clients that reach the service at `endpoint`.
    pub fn new(signer: cloakroom_signing::Signer, endpoint: Endpoint) -> Self {
        let region = signer.region().clone();
        Self::of(Identity::fixed(signer), region, endpoint)
    }

    /// Signs with whatever credentials `source` gave last, for clients that reach the service at `endpoint`.
    pub fn from_credentials(source: Arc<dyn CredentialsSource>, region: Region, endpoint: Endpoint) -> Self {
        Self::of(Identity::of(source), region, endpoint)
    }

    fn of(identity: Identity, region: Region, endpoint: Endpoint) -> Self {
        Self {
            identity,
            uploads: None,
            endpoint,
            region,
            encryption: Vec::new(),
        }
    }

    /// Uploads are signed with these credentials, which need no right but to write. A URL that leaks then reads nothing.
    #[must_use]
    pub fn with_upload_credentials(mut self, source: Arc<dyn CredentialsSource>) -> Self {
        self.uploads = Some(Identity::of(source));
        self
    }

    /// Uploads ask for this encryption, and the store refuses those that leave it out: it is part of their signature. Parts
    /// take it from their upload (S3 API, "UploadPart").
    #[must_use]
    pub fn with_encryption(mut self, encryption: &Encryption) -> Self {
        self.encryption = encryption.headers();
        self
    }

    fn uploader(&self) -> &Identity {
        self.uploads.as_ref().unwrap_or(&self.identity)
    }

    fn presign(&self, grant: Grant<'_>) -> Result<SignedRequest, CannotSign> {
        let Grant {
            identity,
            method,
            path,
            query,
            headers,
            expires_in_seconds,
            signed_at,
        } = grant;
        check_key(path)?;
        let signed_at = floor_to(signed_at, 1)?;
        let url = identity
            .signer(&self.region)
            .presign(&PresignRequest {
                method,
                endpoint: &self.endpoint,
                bucket: &path.bucket,
                key: &path.key,
                query: &query,
                headers: &headers,
                expires_in_seconds,
                now: signed_at,
            })
            .map_err(refused)?;
        Ok(SignedRequest {
            url,
            headers,
            expires_at: after(signed_at, expires_in_seconds)?,
        })
    }
}

/// What a URL permits.
struct Grant<'a> {
    identity: &'a Identity,
    method: Method,
    path: &'a ObjectPath,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    expires_in_seconds: u32,
    signed_at: Timestamp,
}

impl fmt::Debug for UrlSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UrlSigner")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

impl Signer for UrlSigner {
    fn put(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        let mut headers = vec![pair("Content-Type", &constraints.content_type)];
        if let Some(size_bytes) = constraints.size_bytes {
            headers.push(pair("Content-Length", size_bytes.to_string()));
        }
        if let Some(sha256) = constraints.sha256 {
            headers.push(pair("x-amz-checksum-sha256", BASE64.encode(sha256.0)));
        }
        headers.extend(self.encryption.iter().cloned());
        self.presign(Grant {
            identity: self.uploader(),
            method: Method::PUT,
            path,
            query: Vec::new(),
            headers,
            expires_in_seconds,
            signed_at: now,
        })
    }

    fn post(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedForm, CannotSign> {
        check_key(path)?;
        if path.key.ends_with("${filename}") {
            return Err(CannotSign(
                "a form would let the client choose the end of this key".to_owned(),
            ));
        }
        let mut fields = vec![
            pair("Content-Type", &constraints.content_type),
            pair(
                "success_action_status",
                constraints.success_action_status.to_string(),
            ),
        ];
        if let Some(sha256) = constraints.sha256 {
            fields.push(pair("x-amz-checksum-algorithm", "SHA256"));
            fields.push(pair("x-amz-checksum-sha256", BASE64.encode(sha256.0)));
        }
        fields.extend(self.encryption.iter().cloned());
        let exact = fields
            .iter()
            .cloned()
            .map(|(name, value)| PolicyCondition::Exact(name, value));
        let (smallest, largest) = constraints
            .size_bytes
            .map_or(constraints.size_bytes_range, |exactly| (exactly, exactly));
        let conditions: Vec<_> = exact
            .chain([PolicyCondition::ContentLengthRange(smallest, largest)])
            .collect();
        let form = self
            .uploader()
            .signer(&self.region)
            .post_policy(&PostPolicyRequest {
                endpoint: &self.endpoint,
                bucket: &path.bucket,
                key: &path.key,
                conditions: &conditions,
                fields: &fields,
                expires_in_seconds,
                now,
            })
            .map_err(refused)?;
        Ok(SignedForm {
            url: form.url,
            fields: form.fields,
            expires_at: form.expires_at,
        })
    }

    fn part(
        &self,
        path: &ObjectPath,
        multipart_id: &str,
        part_number: u32,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        if !(1..=PART_NUMBER_MAX).contains(&part_number) {
            return Err(CannotSign(format!("a part number is 1 to {PART_NUMBER_MAX}")));
        }
        let query = vec![
            pair("partNumber", part_number.to_string()),
            pair("uploadId", multipart_id),
        ];
        self.presign(Grant {
            identity: self.uploader(),
            method: Method::PUT,
            path,
            query,
            headers: Vec::new(),
            expires_in_seconds,
            signed_at: now,
        })
    }

    fn get(
        &self,
        path: &ObjectPath,
        presentation: &DownloadPresentation,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        let query = vec![
            pair("response-content-disposition", &presentation.content_disposition),
            pair("response-content-type", &presentation.content_type),
        ];
        self.presign(Grant {
            identity: &self.identity,
            method: Method::GET,
            path,
            query,
            headers: Vec::new(),
            expires_in_seconds,
            signed_at: floor_to(now, download_window(expires_in_seconds))?,
        })
    }
}

/// For how many seconds the URL of a download that is good for so many stays the same.
pub(crate) fn download_window(expires_in_seconds: u32) -> u32 {
    (expires_in_seconds / 4).clamp(1, DOWNLOAD_WINDOW_SECONDS_MAX)
}

fn pair(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// A URL without a key would be one of the bucket.
fn check_key(path: &ObjectPath) -> Result<(), CannotSign> {
    if (1..=KEY_BYTES_MAX).contains(&path.key.len()) {
        Ok(())
    } else {
        Err(CannotSign(format!(
            "a key has 1 to {KEY_BYTES_MAX} bytes, this one has {}",
            path.key.len()
        )))
    }
}

/// The last full multiple of so many seconds since 1970.
pub(crate) fn floor_to(time: Timestamp, seconds: u32) -> Result<Timestamp, CannotSign> {
    let second = time.as_nanosecond().div_euclid(1_000_000_000) as i64;
    Timestamp::from_second(second - second.rem_euclid(seconds.into()))
        .map_err(|_| refused(SigningError::InvalidTime))
}

fn after(time: Timestamp, seconds: u32) -> Result<Timestamp, CannotSign> {
    time.checked_add(SignedDuration::from_secs(seconds.into()))
        .map_err(|_| refused(SigningError::InvalidTime))
}

fn refused(error: SigningError) -> CannotSign {
    CannotSign(error.to_string())
}
