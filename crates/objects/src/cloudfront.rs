//! Downloads through Amazon CloudFront: a distribution in front of a bucket that nobody else may read (origin access
//! control), and URLs that it checks itself.
//!
//! This stands before the signer of a store, the one place where a URL of its bytes is made, and answers for downloads
//! alone: uploads go to the bucket.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::{
    CannotSign, DownloadPresentation, SignedForm, SignedRequest, Signer, UploadConstraints,
};
use cloakroom_signing::{
    CloudFrontPolicy, CloudFrontSigner, PRESIGN_EXPIRES_SECONDS_MAX, encode_component, encode_path,
};
use jiff::{SignedDuration, Timestamp};

use crate::signer::{download_window, floor_to};

/// Where the bucket's name goes in the address of a distribution with several origins.
pub const BUCKET_PLACEHOLDER: &str = "{bucket}";

/// A URL of a custom policy is good from so long before it was signed.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// What stands in a URL beside its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloudFrontPolicyKind {
    /// Nothing.
    #[default]
    Canned,
    /// The policy itself, which also says from when the URL is good.
    Custom,
}

/// Hands out downloads of some buckets through CloudFront, and all else through the signer behind it.
///
/// A URL stays the same within a window, as those of [`crate::signer::UrlSigner`] do, so that browsers can cache.
pub struct CloudFrontDownloads {
    store: Arc<dyn Signer>,
    signer: CloudFrontSigner,
    policy: CloudFrontPolicyKind,
    /// The address of each bucket, without a slash at its end.
    addresses: BTreeMap<String, String>,
}

impl CloudFrontDownloads {
    /// Before `store`, for these buckets, at the distribution's `address`, such as `https://d111111abcdef8.cloudfront.net` or
    /// `https://media.example.org/{bucket}`.
    pub fn new<'a>(
        store: Arc<dyn Signer>,
        signer: CloudFrontSigner,
        policy: CloudFrontPolicyKind,
        address: &str,
        buckets: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let of = |bucket: &str| {
            address
                .trim_end_matches('/')
                .replace(BUCKET_PLACEHOLDER, &encode_component(bucket))
        };
        Self {
            store,
            signer,
            policy,
            addresses: buckets
                .into_iter()
                .map(|bucket| (bucket.to_owned(), of(bucket)))
                .collect(),
        }
    }
}

impl fmt::Debug for CloudFrontDownloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudFrontDownloads")
            .field("signer", &self.signer)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Signer for CloudFrontDownloads {
    fn put(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        self.store.put(path, constraints, expires_in_seconds, now)
    }

    fn post(
        &self,
        path: &ObjectPath,
        constraints: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedForm, CannotSign> {
        self.store.post(path, constraints, expires_in_seconds, now)
    }

    fn part(
        &self,
        path: &ObjectPath,
        multipart_id: &str,
        part_number: u32,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        self.store
            .part(path, multipart_id, part_number, expires_in_seconds, now)
    }

    fn get(
        &self,
        path: &ObjectPath,
        presentation: &DownloadPresentation,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        let Some(address) = self.addresses.get(&path.bucket) else {
            return self.store.get(path, presentation, expires_in_seconds, now);
        };
        if path.key.is_empty() || !(1..=PRESIGN_EXPIRES_SECONDS_MAX).contains(&expires_in_seconds) {
            return Err(CannotSign(format!(
                "a download has a key, and is good for 1 to {PRESIGN_EXPIRES_SECONDS_MAX} seconds"
            )));
        }
        // S3 answers with these when CloudFront hands them on: the distribution's cache policy must name both.
        let url = format!(
            "{address}/{}?response-content-disposition={}&response-content-type={}",
            encode_path(&path.key),
            encode_component(&presentation.content_disposition),
            encode_component(&presentation.content_type),
        );
        let from = floor_to(now, download_window(expires_in_seconds))?;
        let until = from
            .checked_add(SignedDuration::from_secs(expires_in_seconds.into()))
            .map_err(|error| CannotSign(error.to_string()))?;
        let signed = match self.policy {
            CloudFrontPolicyKind::Canned => self.signer.canned(&url, until),
            CloudFrontPolicyKind::Custom => {
                let policy = CloudFrontPolicy {
                    resource: &url,
                    until,
                    // Their clock and ours need not agree to the second.
                    from: from.checked_sub(CLOCK_SKEW).ok(),
                    source_ip: None,
                };
                self.signer.custom(&url, &policy)
            }
        };
        Ok(SignedRequest {
            url: signed.map_err(|error| CannotSign(error.to_string()))?,
            headers: Vec::new(),
            expires_at: until,
        })
    }
}
