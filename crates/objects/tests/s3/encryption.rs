//! Encryption by the store: Ceph's key management is real, moto shows headers that Ceph does not.

use std::sync::Arc;

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::objects::{
    CompletedPart, CopyOptions, GetOptions, MultipartOptions, ObjectAttributes, ObjectPath, ObjectStore,
    PutBody, PutOptions,
};
use cloakroom_core::ports::signer::{DownloadPresentation, Signer as _, UploadConstraints};
use cloakroom_objects::credentials::StaticCredentials;
use cloakroom_objects::s3::{Encryption, S3Options, S3Store};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_signing::{Addressing, Credentials, Endpoint, PresignRequest, Signer};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::object_store_suite::{collect, pattern};
use cloakroom_testkit::servers;
use http::Method;

use crate::stand::{Stand, options, options_for};
use crate::wire::{self, Answer};

const ASKED: &str = "x-amz-server-side-encryption";
const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";

fn kms() -> Encryption {
    Encryption::Kms {
        key_id: Some(servers::s3_kms_key_id()),
    }
}

fn credentials() -> Credentials {
    let server = servers::s3();
    Credentials::new(server.access_key, server.secret_key)
}

/// The answer to `HEAD`, as it comes.
async fn head(endpoint: &str, path: &ObjectPath) -> Answer {
    let url = Signer::new(credentials(), servers::s3().region.parse().unwrap())
        .presign(&PresignRequest {
            method: Method::HEAD,
            endpoint: &Endpoint::parse(endpoint, Addressing::Path).unwrap(),
            bucket: &path.bucket,
            key: &path.key,
            query: &[],
            headers: &[],
            expires_in_seconds: 60,
            now: WallClock.now(),
        })
        .unwrap();
    wire::send("HEAD", &url, &[], "").await
}

async fn assert_encrypted(path: &ObjectPath) {
    let head = head(&servers::s3().endpoint, path).await;
    assert_eq!(
        head.headers.get(ASKED).map(String::as_str),
        Some("aws:kms"),
        "{}",
        path.key
    );
    assert_eq!(
        head.headers.get(KEY),
        Some(&servers::s3_kms_key_id()),
        "{}",
        path.key
    );
}

/// Each way in which an object comes to be.
async fn make_objects(store: &S3Store, bucket: &str) -> Vec<ObjectPath> {
    let path = |key: &str| ObjectPath::new(bucket, key);
    let put = |key: &str, bytes: usize| {
        let (path, body) = (path(key), PutBody::from_bytes(pattern(bytes, 1)));
        async move { store.put(&path, PutOptions::default(), body).await.unwrap() }
    };
    put("small", 10).await;
    let staged = put("streamed", 2_000_000).await;
    store
        .copy(&path("small"), &path("copied"), CopyOptions::default())
        .await
        .unwrap();
    let promoted = path("promoted");
    store
        .promote(
            &path("streamed"),
            &staged.generation,
            &promoted,
            ObjectAttributes::default(),
        )
        .await
        .unwrap();
    let multipart = path("multipart");
    let id = store
        .begin_multipart(&multipart, MultipartOptions::default())
        .await
        .unwrap();
    let part = store
        .put_part(&multipart, &id, 1, PutBody::from_bytes(pattern(10, 2)))
        .await
        .unwrap();
    let parts = [CompletedPart {
        number: 1,
        etag: part.etag,
        ..CompletedPart::default()
    }];
    store
        .complete_multipart(
            &multipart,
            &id,
            &parts,
            cloakroom_core::ports::objects::WriteConditions::default(),
        )
        .await
        .unwrap();
    ["small", "streamed", "copied", "promoted", "multipart"]
        .map(path)
        .into()
}

#[tokio::test]
async fn everything_that_is_written_is_encrypted_with_the_key() {
    let stand = Stand::with(S3Options {
        encryption: Some(kms()),
        ..options()
    })
    .await;
    for path in make_objects(&stand.store, &stand.bucket).await {
        assert_encrypted(&path).await;
    }
    let read = stand
        .store
        .get(&stand.path("promoted"), &GetOptions::default())
        .await
        .unwrap();
    assert!(collect(read.body).await.unwrap() == pattern(2_000_000, 1));
}

#[tokio::test]
async fn a_key_that_is_not_there_makes_nothing() {
    let stand = Stand::with(S3Options {
        encryption: Some(Encryption::Kms {
            key_id: Some("no-such-key".into()),
        }),
        ..options()
    })
    .await;
    let body = PutBody::from_bytes("v");
    stand
        .store
        .put(&stand.path("k"), PutOptions::default(), body)
        .await
        .unwrap_err();
    stand
        .store
        .head(&stand.path("k"), &GetOptions::default())
        .await
        .unwrap_err();
}

fn url_signer() -> UrlSigner {
    let server = servers::s3();
    UrlSigner::from_credentials(
        Arc::new(StaticCredentials(credentials())),
        server.region.parse().unwrap(),
        Endpoint::parse(&server.endpoint, Addressing::Path).unwrap(),
    )
    .with_encryption(&kms())
}

fn constraints() -> UploadConstraints {
    UploadConstraints {
        content_type: "text/csv".into(),
        size_bytes: Some(3),
        size_bytes_range: (1, 10),
        sha256: None,
        success_action_status: 204,
    }
}

#[tokio::test]
async fn a_client_uploads_encrypted_or_not_at_all() {
    let stand = Stand::new().await;
    let signer = url_signer();
    let path = stand.path("staging/ü +.csv");
    let signed = signer.put(&path, &constraints(), 60, WallClock.now()).unwrap();
    let plain: Vec<_> = signed
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with(ASKED))
        .cloned()
        .collect();
    assert_eq!(wire::send("PUT", &signed.url, &plain, "abc").await.status, 403);
    let put = wire::send("PUT", &signed.url, &signed.headers, "abc").await;
    assert_eq!(put.status, 200, "{}", put.body);
    assert_encrypted(&path).await;
    let presentation = DownloadPresentation {
        content_disposition: "attachment".into(),
        content_type: "text/csv".into(),
    };
    let download = signer.get(&path, &presentation, 60, WallClock.now()).unwrap();
    let read = wire::send("GET", &download.url, &[], "").await;
    assert_eq!((read.status, read.body.as_str()), (200, "abc"));
}

#[tokio::test]
async fn a_form_uploads_encrypted_or_not_at_all() {
    let stand = Stand::new().await;
    let path = stand.path("staging/form.csv");
    let form = url_signer()
        .post(&path, &constraints(), 60, WallClock.now())
        .unwrap();
    let plain: Vec<_> = form
        .fields
        .iter()
        .filter(|(name, _)| !name.starts_with(ASKED))
        .cloned()
        .collect();
    assert_eq!(wire::post(&form.url, &plain, b"abc").await.status, 403);
    let posted = wire::post(&form.url, &form.fields, b"abc").await;
    assert_eq!(posted.status, 204, "{}", posted.body);
    assert_encrypted(&path).await;
}

/// moto keeps what Ceph does not know: SSE-S3, and storage classes.
#[tokio::test]
async fn moto_sees_the_storage_class_and_the_encryption() {
    let url = servers::moto_url();
    let store = S3Store::new(S3Options {
        encryption: Some(Encryption::Aes256),
        storage_class: Some("STANDARD_IA".into()),
        ..options_for(&url)
    })
    .unwrap();
    let bucket = servers::unique_bucket();
    store.create_bucket(&bucket).await.unwrap();
    let paths = make_objects(&store, &bucket).await;
    for path in &paths {
        let head = head(&url, path).await;
        assert_eq!(
            head.headers.get(ASKED).map(String::as_str),
            Some("AES256"),
            "{}",
            path.key
        );
        let class = head.headers.get("x-amz-storage-class").map(String::as_str);
        assert_eq!(class, Some("STANDARD_IA"), "{}", path.key);
    }
    for path in &paths {
        store.delete(path).await.unwrap();
    }
    store.delete_bucket(&bucket).await.unwrap();
}
