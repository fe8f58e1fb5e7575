//! Signs what lets a client reach the bytes directly: presigned URLs and forms, for our own S3 endpoint or any other.
//!
//! A URL is signed for the host that the client will use, which need not be the one that we use. Everything that an
//! upload may not vary is part of its signature, so that the store refuses what was not agreed (I2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::signer::{
    CannotSign, DownloadPresentation, SignedForm, SignedRequest, Signer, UploadConstraints,
};
use cloakroom_signing::{Endpoint, PolicyCondition, PostPolicyRequest, PresignRequest, SigningError};
use http::Method;
use jiff::{SignedDuration, Timestamp};

/// The longest key (S3 API, "Object key naming guidelines").
const KEY_BYTES_MAX: usize = 1_024;

/// The highest part number (S3 API, "Amazon S3 multipart upload limits").
const PART_NUMBER_MAX: u32 = 10_000;

/// For so long, at most, the download URL of an object stays the same.
const DOWNLOAD_WINDOW_SECONDS_MAX: u32 = 900;

/// Signs with one access key for one S3 service.
///
/// **Downloads** are signed for a time that is rounded down to a window, a quarter of the expiry but at most fifteen
/// minutes: within a window the same object, presentation and expiry give the same URL, so that browsers and proxies
/// can cache. Such a URL is good for at least three quarters of the expiry that was asked for and never for longer than
/// all of it; `expires_at` tells the truth. **Uploads** are signed for the second in which they are asked for.
#[derive(Debug)]
pub struct UrlSigner {
    signer: cloakroom_signing::Signer,
    endpoint: Endpoint,
}

impl UrlSigner {
    /// Signs with `signer` for clients that reach the service at `endpoint`.
    pub fn new(signer: cloakroom_signing::Signer, endpoint: Endpoint) -> Self {
        Self { signer, endpoint }
    }

    fn presign(&self, grant: Grant<'_>) -> Result<SignedRequest, CannotSign> {
        let Grant {
            method,
            path,
            query,
            headers,
            expires_in_seconds,
            signed_at,
        } = grant;
        check_key(path)?;
        let signed_at = floor_to(signed_at, 1)?;
        let url = self
            .signer
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
    method: Method,
    path: &'a ObjectPath,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    expires_in_seconds: u32,
    signed_at: Timestamp,
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
        self.presign(Grant {
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
            .signer
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
        let window_seconds = (expires_in_seconds / 4).clamp(1, DOWNLOAD_WINDOW_SECONDS_MAX);
        self.presign(Grant {
            method: Method::GET,
            path,
            query,
            headers: Vec::new(),
            expires_in_seconds,
            signed_at: floor_to(now, window_seconds)?,
        })
    }
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

fn floor_to(time: Timestamp, seconds: u32) -> Result<Timestamp, CannotSign> {
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

#[cfg(test)]
mod tests {
    use cloakroom_core::checksum::Sha256Digest;
    use cloakroom_signing::{
        Addressing, Credentials, IncomingRequest, PostPolicy, Region, VerifiedRequest, Verifier, VerifyError,
    };
    use http::{HeaderMap, HeaderName, HeaderValue, Uri};
    use proptest::prelude::*;

    use super::*;

    const NOW: &str = "2026-11-21T12:34:56.789Z";

    fn now() -> Timestamp {
        NOW.parse().unwrap()
    }

    fn credentials() -> Credentials {
        Credentials::new("AKID", "hush-hush")
    }

    fn signer(endpoint: &str, addressing: Addressing) -> UrlSigner {
        let signer = cloakroom_signing::Signer::new(credentials(), Region::default());
        UrlSigner::new(signer, Endpoint::parse(endpoint, addressing).unwrap())
    }

    fn local() -> UrlSigner {
        signer("http://localhost:9000", Addressing::Path)
    }

    fn path() -> ObjectPath {
        ObjectPath::new("bucket", "a b/ü+%.csv")
    }

    fn constraints() -> UploadConstraints {
        UploadConstraints {
            content_type: "text/csv; charset=utf-8".into(),
            size_bytes: Some(1_234),
            size_bytes_range: (1, 10_000),
            sha256: Some(Sha256Digest([7; 32])),
            success_action_status: 204,
        }
    }

    fn presentation() -> DownloadPresentation {
        DownloadPresentation {
            content_disposition: "attachment; filename=\"x.csv\"; filename*=UTF-8''%C3%BC.csv".into(),
            content_type: "text/csv".into(),
        }
    }

    /// As the store sees a request that sends these headers.
    fn verify(
        method: &Method,
        request: &SignedRequest,
        headers: &[(String, String)],
        at: Timestamp,
    ) -> Result<VerifiedRequest, VerifyError> {
        let uri: Uri = request.url.parse().unwrap();
        let mut sent = HeaderMap::new();
        sent.insert(
            "host",
            HeaderValue::from_str(uri.authority().unwrap().as_str()).unwrap(),
        );
        for (name, value) in headers {
            sent.insert(
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let incoming = IncomingRequest {
            method,
            path: uri.path(),
            query: uri.query(),
            headers: &sent,
        };
        let lookup = |id: &str| (id == "AKID").then(credentials);
        Verifier::new(Region::default()).verify(&incoming, &lookup, at)
    }

    #[test]
    fn an_upload_url_permits_exactly_what_was_agreed() {
        let request = local().put(&path(), &constraints(), 900, now()).unwrap();
        assert_eq!(request.expires_at, "2026-11-21T12:49:56Z".parse().unwrap());
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Content-Type", "Content-Length", "x-amz-checksum-sha256"]);
        let verified = verify(&Method::PUT, &request, &request.headers, now()).unwrap();
        assert_eq!(verified.expires_at, Some(request.expires_at));
        assert_eq!(
            verified.signed_headers,
            ["content-length", "content-type", "host", "x-amz-checksum-sha256"]
        );
        for changed in 0..request.headers.len() {
            let mut headers = request.headers.clone();
            headers[changed].1 = "1".into();
            assert!(
                verify(&Method::PUT, &request, &headers, now()).is_err(),
                "{}",
                names[changed]
            );
            headers.remove(changed);
            assert!(
                verify(&Method::PUT, &request, &headers, now()).is_err(),
                "without {}",
                names[changed]
            );
        }
        assert!(verify(&Method::GET, &request, &request.headers, now()).is_err());
        let late = request.expires_at + SignedDuration::from_secs(1);
        assert!(matches!(
            verify(&Method::PUT, &request, &request.headers, late),
            Err(VerifyError::Expired)
        ));
    }

    #[test]
    fn what_is_not_known_is_not_signed() {
        let constraints = UploadConstraints {
            size_bytes: None,
            sha256: None,
            ..constraints()
        };
        let request = local().put(&path(), &constraints, 900, now()).unwrap();
        assert_eq!(request.headers, [pair("Content-Type", "text/csv; charset=utf-8")]);
        verify(&Method::PUT, &request, &request.headers, now()).unwrap();
    }

    #[test]
    fn urls_are_for_the_host_that_the_client_uses() {
        let signer = signer("https://s3.example.org", Addressing::VirtualHost);
        let request = signer.put(&path(), &constraints(), 900, now()).unwrap();
        assert!(
            request
                .url
                .starts_with("https://bucket.s3.example.org/a%20b/%C3%BC%2B%25.csv?")
        );
        verify(&Method::PUT, &request, &request.headers, now()).unwrap();
        let local = local().put(&path(), &constraints(), 900, now()).unwrap();
        assert!(
            local
                .url
                .starts_with("http://localhost:9000/bucket/a%20b/%C3%BC%2B%25.csv?")
        );
    }

    fn checked(form: &SignedForm, file_bytes: u64, at: Timestamp) -> Result<(), VerifyError> {
        let lookup = |id: &str| (id == "AKID").then(credentials);
        let verified = Verifier::new(Region::default()).verify_form(&form.fields, &lookup)?;
        let policy: &PostPolicy = &verified.policy;
        policy.check(&form.fields, "bucket", at)?;
        policy.check_content_length(file_bytes)
    }

    #[test]
    fn a_form_permits_exactly_what_was_agreed() {
        let form = local().post(&path(), &constraints(), 900, now()).unwrap();
        assert_eq!(form.url, "http://localhost:9000/bucket");
        let field = |name: &str| {
            form.fields
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        assert_eq!(field("key"), Some("a b/ü+%.csv"));
        assert_eq!(field("success_action_status"), Some("204"));
        assert_eq!(field("x-amz-checksum-algorithm"), Some("SHA256"));
        assert_eq!(
            field("x-amz-checksum-sha256"),
            Some(BASE64.encode([7; 32]).as_str())
        );
        checked(&form, 1_234, now()).unwrap();
        for size in [0, 1_233, 1_235] {
            assert!(checked(&form, size, now()).is_err(), "{size}");
        }
        for name in [
            "key",
            "Content-Type",
            "success_action_status",
            "x-amz-checksum-sha256",
        ] {
            let mut other = form.clone();
            other
                .fields
                .iter_mut()
                .find(|(key, _)| key == name)
                .unwrap()
                .1
                .push('x');
            assert!(checked(&other, 1_234, now()).is_err(), "{name}");
        }
        let mut more = form.clone();
        more.fields.push(pair("acl", "public-read"));
        assert!(checked(&more, 1_234, now()).is_err());
        assert!(checked(&form, 1_234, form.expires_at + SignedDuration::from_secs(1)).is_err());
    }

    #[test]
    fn a_form_may_leave_the_size_open_within_a_range() {
        let constraints = UploadConstraints {
            size_bytes: None,
            sha256: None,
            ..constraints()
        };
        let form = local().post(&path(), &constraints, 900, now()).unwrap();
        for (size, fits) in [(0, false), (1, true), (10_000, true), (10_001, false)] {
            assert_eq!(checked(&form, size, now()).is_ok(), fits, "{size}");
        }
    }

    #[test]
    fn a_part_url_is_for_one_part() {
        let request = local().part(&path(), "id/+", 7, 900, now()).unwrap();
        assert!(request.url.contains("?partNumber=7&uploadId=id%2F%2B&"));
        verify(&Method::PUT, &request, &[], now()).unwrap();
        let other = SignedRequest {
            url: request.url.replace("partNumber=7", "partNumber=8"),
            ..request
        };
        assert!(verify(&Method::PUT, &other, &[], now()).is_err());
        for number in [0, 10_001] {
            local().part(&path(), "id", number, 900, now()).unwrap_err();
        }
    }

    #[test]
    fn a_download_presents_itself_as_agreed() {
        let request = local().get(&path(), &presentation(), 900, now()).unwrap();
        assert!(request.headers.is_empty());
        verify(&Method::GET, &request, &[], now()).unwrap();
        let inline = SignedRequest {
            url: request.url.replace("attachment", "inline"),
            ..request
        };
        assert!(verify(&Method::GET, &inline, &[], now()).is_err());
    }

    #[test]
    fn a_download_url_is_stable_within_its_window() {
        let at = |time: &str, expires| {
            local()
                .get(&path(), &presentation(), expires, time.parse().unwrap())
                .unwrap()
        };
        assert_eq!(
            at("2026-11-21T12:30:00Z", 3_600),
            at("2026-11-21T12:44:59.9Z", 3_600)
        );
        assert_ne!(
            at("2026-11-21T12:30:00Z", 3_600),
            at("2026-11-21T12:45:00Z", 3_600)
        );
        assert_eq!(
            at("2026-11-21T12:30:00Z", 3_600).expires_at,
            "2026-11-21T13:30:00Z".parse().unwrap()
        );
        assert_ne!(at("2026-11-21T12:30:00Z", 1), at("2026-11-21T12:30:01Z", 1));
    }

    proptest! {
        #[test]
        fn a_download_url_lives_at_least_three_quarters_of_its_time(
            expires in 1_u32..=604_800,
            second in 1_700_000_000_i64..1_900_000_000,
            millisecond in 0_i32..1_000,
        ) {
            let now = Timestamp::new(second, millisecond * 1_000_000).unwrap();
            let request = local().get(&path(), &presentation(), expires, now).unwrap();
            let left = request.expires_at.duration_since(Timestamp::from_second(second).unwrap()).as_secs();
            prop_assert!(left * 4 >= i64::from(expires) * 3 && left <= i64::from(expires));
            let verified = verify(&Method::GET, &request, &[], now).unwrap();
            prop_assert_eq!(verified.expires_at, Some(request.expires_at));
        }
    }

    #[test]
    fn what_cannot_be_signed_is_refused() {
        let long = ObjectPath::new("bucket", "k".repeat(1_025));
        let none = ObjectPath::new("bucket", "");
        for path in [&long, &none] {
            local().put(path, &constraints(), 900, now()).unwrap_err();
            local().post(path, &constraints(), 900, now()).unwrap_err();
            local().get(path, &presentation(), 900, now()).unwrap_err();
            local().part(path, "id", 1, 900, now()).unwrap_err();
        }
        let open_ended = ObjectPath::new("bucket", "a/${filename}");
        local().post(&open_ended, &constraints(), 900, now()).unwrap_err();
        for expires in [0, 604_801] {
            let error = local().put(&path(), &constraints(), expires, now()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "cannot sign: the expiry must be between 1 and 604800 seconds"
            );
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let request = local().put(&path(), &constraints(), 900, now()).unwrap();
        assert!(!format!("{:?}", local()).contains("hush"));
        assert!(!format!("{request:?}").contains("Signature"));
    }
}
