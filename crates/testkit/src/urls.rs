//! A signer for tests in which nobody follows a URL.

use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::{
    CannotSign, DownloadPresentation, SignedForm, SignedRequest, Signer, UploadConstraints,
};
use jiff::{SignedDuration, Timestamp};

/// Signs nothing: its URLs name the object and lead nowhere. Signing has its own tests, against botocore.
pub struct NoUrls;

fn request(key: &str, expires_in_seconds: u32, now: Timestamp) -> SignedRequest {
    let expires_at = now
        .checked_add(SignedDuration::from_secs(i64::from(expires_in_seconds)))
        .expect("a time");
    SignedRequest {
        url: format!("https://store.test/{key}"),
        headers: vec![],
        expires_at,
    }
}

impl Signer for NoUrls {
    fn put(
        &self,
        path: &ObjectPath,
        _: &UploadConstraints,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        Ok(request(&path.key, expires_in_seconds, now))
    }

    fn post(
        &self,
        _: &ObjectPath,
        _: &UploadConstraints,
        _: u32,
        now: Timestamp,
    ) -> Result<SignedForm, CannotSign> {
        Ok(SignedForm {
            url: "https://store.test/".to_owned(),
            fields: vec![],
            expires_at: now,
        })
    }

    fn part(
        &self,
        path: &ObjectPath,
        _: &str,
        _: u32,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        Ok(request(&path.key, expires_in_seconds, now))
    }

    fn get(
        &self,
        path: &ObjectPath,
        _: &DownloadPresentation,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedRequest, CannotSign> {
        Ok(request(&path.key, expires_in_seconds, now))
    }
}
