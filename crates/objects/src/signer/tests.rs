//! What is signed is what may be done, no more.

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_signing::{
    Addressing, Credentials, IncomingRequest, PostPolicy, Region, VerifiedRequest, Verifier, VerifyError,
};
use std::sync::Mutex;

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use proptest::prelude::*;

use super::*;
use crate::credentials::{CredentialsError, StaticCredentials};

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

/// Temporary credentials that a test exchanges.
struct Rotating(Mutex<Credentials>);

impl Rotating {
    fn new(credentials: Credentials) -> Arc<Self> {
        Arc::new(Self(Mutex::new(credentials)))
    }

    fn rotate(&self, credentials: Credentials) {
        *self.0.lock().unwrap() = credentials;
    }
}

#[async_trait]
impl CredentialsSource for Rotating {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        Ok(self.latest())
    }

    fn latest(&self) -> Credentials {
        self.0.lock().unwrap().clone()
    }
}

fn endpoint() -> Endpoint {
    Endpoint::parse("http://localhost:9000", Addressing::Path).unwrap()
}

fn temporary(id: &str) -> Credentials {
    Credentials::new(id, format!("secret of {id}")).with_session_token(format!("token of {id}"))
}

/// Whose signature an upload URL carries, by the store that knows these credentials.
fn verified_for(known: &Credentials, method: &Method, request: &SignedRequest) -> Result<(), VerifyError> {
    let uri: Uri = request.url.parse().unwrap();
    let mut sent = HeaderMap::new();
    sent.insert("host", HeaderValue::from_static("localhost:9000"));
    for (name, value) in &request.headers {
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
    let lookup = |id: &str| (id == known.access_key_id).then(|| known.clone());
    Verifier::new(Region::default())
        .verify(&incoming, &lookup, now())
        .map(drop)
}

fn form_verified_for(known: &Credentials, form: &SignedForm) -> Result<(), VerifyError> {
    let lookup = |id: &str| (id == known.access_key_id).then(|| known.clone());
    let verified = Verifier::new(Region::default()).verify_form(&form.fields, &lookup)?;
    let policy: &PostPolicy = &verified.policy;
    policy.check(&form.fields, "bucket", now())
}

#[test]
fn the_last_credentials_of_the_source_sign() {
    let (one, two) = (temporary("ONE"), temporary("TWO"));
    let source = Rotating::new(one.clone());
    let signer = UrlSigner::from_credentials(source.clone(), Region::default(), endpoint());
    let sign = || {
        (
            signer.put(&path(), &constraints(), 900, now()).unwrap(),
            signer.post(&path(), &constraints(), 900, now()).unwrap(),
            signer.part(&path(), "id", 1, 900, now()).unwrap(),
            signer.get(&path(), &presentation(), 900, now()).unwrap(),
        )
    };
    for (credentials, other) in [(&one, &two), (&two, &one), (&one, &two)] {
        source.rotate(credentials.clone());
        let (put, form, part, get) = sign();
        for (method, request) in [(Method::PUT, &put), (Method::PUT, &part), (Method::GET, &get)] {
            verified_for(credentials, &method, request).unwrap();
            verified_for(other, &method, request).unwrap_err();
            let token = format!("X-Amz-Security-Token=token%20of%20{}", credentials.access_key_id);
            assert!(request.url.contains(&token));
        }
        form_verified_for(credentials, &form).unwrap();
        form_verified_for(other, &form).unwrap_err();
        let token = format!("token of {}", credentials.access_key_id);
        assert!(form.fields.contains(&pair("x-amz-security-token", token)));
    }
}

#[test]
fn a_new_token_alone_is_noticed() {
    let source = Rotating::new(temporary("ONE"));
    let signer = UrlSigner::from_credentials(source.clone(), Region::default(), endpoint());
    signer.get(&path(), &presentation(), 900, now()).unwrap();
    source.rotate(temporary("ONE").with_session_token("renewed"));
    let request = signer.get(&path(), &presentation(), 900, now()).unwrap();
    assert!(request.url.contains("X-Amz-Security-Token=renewed"));
}

#[test]
fn uploads_may_have_credentials_of_their_own() {
    let (reading, writing) = (temporary("READS"), Credentials::new("WRITES", "pen"));
    let signer = UrlSigner::from_credentials(Rotating::new(reading.clone()), Region::default(), endpoint())
        .with_upload_credentials(Arc::new(StaticCredentials(writing.clone())));
    for request in [
        signer.put(&path(), &constraints(), 900, now()).unwrap(),
        signer.part(&path(), "id", 1, 900, now()).unwrap(),
    ] {
        verified_for(&writing, &Method::PUT, &request).unwrap();
        verified_for(&reading, &Method::PUT, &request).unwrap_err();
    }
    form_verified_for(
        &writing,
        &signer.post(&path(), &constraints(), 900, now()).unwrap(),
    )
    .unwrap();
    let download = signer.get(&path(), &presentation(), 900, now()).unwrap();
    verified_for(&reading, &Method::GET, &download).unwrap();
    verified_for(&writing, &Method::GET, &download).unwrap_err();
}

fn kms() -> Encryption {
    Encryption::Kms {
        key_id: Some("alias/files".to_owned()),
    }
}

#[test]
fn an_encrypted_upload_cannot_leave_its_encryption_out() {
    let signer = local().with_encryption(&kms());
    let request = signer.put(&path(), &constraints(), 900, now()).unwrap();
    let asked: Vec<_> = request
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-amz-server-side-encryption"))
        .cloned()
        .collect();
    assert_eq!(
        asked,
        [
            pair("x-amz-server-side-encryption", "aws:kms"),
            pair("x-amz-server-side-encryption-aws-kms-key-id", "alias/files"),
        ]
    );
    verify(&Method::PUT, &request, &request.headers, now()).unwrap();
    for changed in &asked {
        let without: Vec<_> = request
            .headers
            .iter()
            .filter(|header| *header != changed)
            .cloned()
            .collect();
        verify(&Method::PUT, &request, &without, now()).unwrap_err();
        let other: Vec<_> = without.into_iter().chain([pair(&changed.0, "AES256")]).collect();
        verify(&Method::PUT, &request, &other, now()).unwrap_err();
    }
}

#[test]
fn an_encrypted_form_cannot_leave_its_encryption_out() {
    let form = local()
        .with_encryption(&kms())
        .post(&path(), &constraints(), 900, now())
        .unwrap();
    checked(&form, 1_234, now()).unwrap();
    for name in [
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
    ] {
        let mut without = form.clone();
        without.fields.retain(|(field, _)| field != name);
        assert_eq!(without.fields.len() + 1, form.fields.len(), "{name}");
        assert!(checked(&without, 1_234, now()).is_err(), "without {name}");
    }
}

#[test]
fn parts_and_downloads_name_no_encryption() {
    let signer = local().with_encryption(&Encryption::Aes256);
    let part = signer.part(&path(), "id", 1, 900, now()).unwrap();
    let download = signer.get(&path(), &presentation(), 900, now()).unwrap();
    assert!(part.headers.is_empty() && download.headers.is_empty());
    let whole = signer.put(&path(), &constraints(), 900, now()).unwrap();
    assert!(
        whole
            .headers
            .contains(&pair("x-amz-server-side-encryption", "AES256"))
    );
}

#[test]
fn debug_output_of_a_changing_signer_holds_no_secret() {
    let signer = UrlSigner::from_credentials(Rotating::new(temporary("ONE")), Region::default(), endpoint())
        .with_upload_credentials(Arc::new(StaticCredentials(temporary("TWO"))));
    signer.put(&path(), &constraints(), 900, now()).unwrap();
    let printed = format!("{signer:?}");
    assert!(
        !printed.contains("secret of") && !printed.contains("token of"),
        "{printed}"
    );
}
