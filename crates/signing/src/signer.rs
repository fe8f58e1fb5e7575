//! The signing side's state: credentials, region and the key of the day.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;

use crate::credentials::{Credentials, Region, Secret};
use crate::encode::encode_component;
use crate::error::SigningError;
use crate::key::{SERVICE, SigningKey};
use crate::timestamp::{AmzTime, unix_day};

/// Signs for one access key in one region.
///
/// Deriving the signing key takes as long as the rest of a signature, and it is the same for a whole day: the last one is
/// kept, and swapped without a lock when the day changes. Share one `Signer`; it is cheap to use from many threads.
pub struct Signer {
    credentials: Credentials,
    region: Region,
    service: &'static str,
    day: ArcSwapOption<DayKey>,
}

/// Everything that is the same for all signatures of a day.
pub(crate) struct DayKey {
    day: i64,
    pub(crate) key: Arc<SigningKey>,
    /// `AKID/20130524/us-east-1/s3/aws4_request`.
    pub(crate) credential: String,
    /// The same, encoded for a query.
    pub(crate) encoded_credential: String,
}

impl Signer {
    /// A signer for S3 in `region`.
    pub fn new(credentials: Credentials, region: Region) -> Self {
        Self::for_service(credentials, region, SERVICE)
    }

    /// A signer for another service of AWS or one that speaks like it, by its name in the credential scope: `sqs`. It is
    /// for [`sign_headers`](Self::sign_headers); URLs and forms are presigned for S3 only.
    pub fn for_service(credentials: Credentials, region: Region, service: &'static str) -> Self {
        Self {
            credentials,
            region,
            service,
            day: ArcSwapOption::empty(),
        }
    }

    /// S3 spells paths and announces bodies otherwise than all other services.
    pub(crate) fn is_for_s3(&self) -> bool {
        self.service == SERVICE
    }

    /// The public half of the key that signs.
    pub fn access_key_id(&self) -> &str {
        &self.credentials.access_key_id
    }

    /// The region that is signed for.
    pub fn region(&self) -> &Region {
        &self.region
    }

    pub(crate) fn session_token(&self) -> Option<&str> {
        self.credentials.session_token.as_ref().map(Secret::expose)
    }

    /// The time as it is signed, and the key of its day.
    pub(crate) fn at(&self, now: Timestamp) -> Result<(AmzTime, Arc<DayKey>), SigningError> {
        let time = AmzTime::new(now)?;
        let day = unix_day(now);
        if let Some(cached) = self.day.load().as_ref().filter(|cached| cached.day == day) {
            return Ok((time, Arc::clone(cached)));
        }
        let key = SigningKey::derive_for(
            &self.credentials.secret_access_key,
            time.date(),
            &self.region,
            self.service,
        );
        let credential = format!("{}/{}", self.credentials.access_key_id, key.scope());
        let encoded_credential = encode_component(&credential);
        let derived = Arc::new(DayKey {
            day,
            key: Arc::new(key),
            credential,
            encoded_credential,
        });
        self.day.store(Some(Arc::clone(&derived)));
        Ok((time, derived))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("access_key_id", &self.credentials.access_key_id)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_the_day() {
        let signer = Signer::new(Credentials::new("AKID", "secret"), Region::default());
        let at = |text: &str| {
            let (_, day) = signer.at(text.parse().expect("valid")).expect("a common year");
            day
        };
        let morning = at("2024-02-29T00:00:00Z");
        let evening = at("2024-02-29T23:59:59.999Z");
        assert!(Arc::ptr_eq(&morning, &evening), "derived once a day");
        let next = at("2024-03-01T00:00:00Z");
        assert_eq!(next.key.scope(), "20240301/us-east-1/s3/aws4_request");
        assert_eq!(
            at("2024-02-29T12:00:00Z").credential,
            "AKID/20240229/us-east-1/s3/aws4_request"
        );
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let signer = Signer::new(Credentials::new("AKID", "hush"), Region::default());
        assert!(!format!("{signer:?}").contains("hush"));
    }
}
