//! What concerns two stores at once.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::ports::objects::{
    Bucket, ChecksumAlgorithm, Checksums, Circuit, CopyOptions, GetOptions, ObjectAttributes, ObjectError,
    ObjectPath, ObjectStore, PutBody, PutOptions, ReadConditions, WriteConditions,
};
use cloakroom_core::ports::signer::{DownloadPresentation, Signer};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_objects::stores::{RoutingError, StoreMember, StoreRouter};
use cloakroom_signing::{Addressing, Credentials, Endpoint};
use cloakroom_testkit::object_store_suite::{collect, pattern};
use cloakroom_testkit::outages::OutageObjects;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::stand::{COLD, HOT, Stand};

async fn read(store: &dyn ObjectStore, path: &ObjectPath) -> Vec<u8> {
    let read = store.get(path, &GetOptions::default()).await.unwrap();
    collect(read.body).await.unwrap()
}

#[tokio::test]
async fn a_bucket_is_in_one_store_alone() {
    let stand = Stand::new().await;
    let names = |buckets: Vec<Bucket>| buckets.into_iter().map(|bucket| bucket.name).collect::<Vec<_>>();
    assert_eq!(names(stand.hot.buckets().await.unwrap()), [HOT]);
    assert_eq!(names(stand.cold.buckets().await.unwrap()), [COLD]);
    assert_eq!(names(stand.router.buckets().await.unwrap()), [COLD, HOT]);
    // One of the same name in a store that it does not belong to is not shown twice.
    stand.cold.create_bucket(HOT).await.unwrap();
    assert_eq!(names(stand.router.buckets().await.unwrap()), [COLD, HOT]);
    // A bucket that nobody names is one of the default store.
    stand.router.create_bucket("another").await.unwrap();
    assert!(stand.hot.bucket("another").await.is_ok() && stand.cold.bucket("another").await.is_err());
}

#[tokio::test]
async fn a_copy_between_stores_is_whole_and_takes_the_headers_along() {
    let stand = Stand::new().await;
    for size in [0, 1, 3_000_000] {
        let bytes = pattern(size, 5);
        let from = stand.put("a/b.bin", &bytes).await;
        let to = ObjectPath::new(COLD, "copied.bin");
        let options = CopyOptions {
            attributes: Some(ObjectAttributes {
                content_type: Some("image/png".to_owned()),
                ..ObjectAttributes::default()
            }),
            ..CopyOptions::default()
        };
        let copied = stand.router.copy(&from, &to, options).await.unwrap();
        assert_eq!(copied.size_bytes, size as u64);
        assert_eq!(copied.attributes.content_type.as_deref(), Some("image/png"));
        assert_eq!(read(&*stand.cold, &to).await, bytes);
        let back = ObjectPath::new(HOT, "back.bin");
        let again = stand
            .router
            .copy(&to, &back, CopyOptions::default())
            .await
            .unwrap();
        assert_eq!(again.attributes.content_type.as_deref(), Some("image/png"));
        assert_eq!(read(&*stand.hot, &back).await, bytes);
    }
}

#[tokio::test]
async fn conditions_hold_between_stores_too() {
    let stand = Stand::new().await;
    let from = stand.put("a", b"one").await;
    let to = ObjectPath::new(COLD, "a");
    let absent = || CopyOptions {
        conditions: WriteConditions {
            if_absent: true,
            ..WriteConditions::default()
        },
        ..CopyOptions::default()
    };
    stand.router.copy(&from, &to, absent()).await.unwrap();
    let refused = stand.router.copy(&from, &to, absent()).await;
    assert!(matches!(refused, Err(ObjectError::PreconditionFailed(_))));
    let other = CopyOptions {
        source_conditions: ReadConditions {
            if_match: Some("\"00000000000000000000000000000000\"".to_owned()),
            ..ReadConditions::default()
        },
        ..CopyOptions::default()
    };
    let refused = stand.router.copy(&from, &to, other).await;
    assert!(matches!(refused, Err(ObjectError::PreconditionFailed(_))));
    let nowhere = ObjectPath::new(HOT, "nowhere");
    let missing = stand.router.copy(&nowhere, &to, CopyOptions::default()).await;
    assert!(matches!(missing, Err(ObjectError::NotFound)));
}

#[tokio::test]
async fn a_promotion_between_stores_takes_exactly_what_was_looked_at() {
    let stand = Stand::new().await;
    let from = stand.put("staging/a", b"verified").await;
    let seen = stand.router.head(&from, &GetOptions::default()).await.unwrap();
    stand.put("staging/a", b"exchanged").await;
    let to = ObjectPath::new(COLD, "a");
    let promote = |generation: String| {
        let (router, from, to) = (Arc::clone(&stand.router), from.clone(), to.clone());
        async move {
            let attributes = ObjectAttributes::default();
            router.promote(&from, &generation, &to, attributes).await
        }
    };
    let refused = promote(seen.generation).await;
    assert!(matches!(refused, Err(ObjectError::PreconditionFailed(_))));
    assert!(stand.router.head(&to, &GetOptions::default()).await.is_err());
    let now = stand.router.head(&from, &GetOptions::default()).await.unwrap();
    // Done again after a lost answer, it is done.
    for _ in 0..2 {
        promote(now.generation.clone()).await.unwrap();
        assert_eq!(read(&*stand.cold, &to).await, b"exchanged");
    }
}

#[tokio::test]
async fn bytes_that_rotted_at_their_source_do_not_arrive() {
    let stand = Stand::new().await;
    let from = stand.put("a.bin", &pattern(100_000, 1)).await;
    let options = PutOptions::default();
    let sha256 = STANDARD.encode(Sha256::digest(pattern(100_000, 1)));
    let body = PutBody {
        finish: Box::new(move || {
            let sha256 = (ChecksumAlgorithm::Sha256, sha256);
            Ok(Checksums([sha256].into()))
        }),
        ..PutBody::from_bytes(pattern(100_000, 1))
    };
    ObjectStore::put(&*stand.router, &from, options, body)
        .await
        .unwrap();
    // Behind the store's back, in place, so that its attributes stay.
    let path = stand.directory.path().join("hot").join(HOT).join("a.bin");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let written_at = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"rot", 50_000).unwrap();
    // As a disk does it: nobody has written, as far as the file system knows.
    file.set_modified(written_at).unwrap();
    drop(file);
    let to = ObjectPath::new(COLD, "a");
    let refused = stand.router.copy(&from, &to, CopyOptions::default()).await;
    assert!(refused.is_err(), "{:?}", refused.map(|info| info.checksums));
    assert!(stand.router.head(&to, &GetOptions::default()).await.is_err());
}

#[tokio::test]
async fn the_store_that_fails_is_named() {
    let stand = Stand::new().await;
    let away = OutageObjects::new(Arc::clone(&stand.cold) as _);
    let member = |objects: Arc<dyn ObjectStore>| StoreMember {
        objects,
        signer: None,
    };
    let stores = [
        ("main".to_owned(), member(Arc::clone(&stand.hot) as _), vec![]),
        (
            "archive".to_owned(),
            member(Arc::clone(&away) as _),
            vec![COLD.to_owned()],
        ),
    ];
    let router = StoreRouter::new("main", stores).unwrap();
    router.ping().await.unwrap();
    assert_eq!(router.circuit(), Circuit::Closed);
    away.set_away(true);
    let error = router.ping().await.expect_err("an outage").to_string();
    assert!(error.contains("store archive"), "{error}");
    // The other one works on.
    let path = ObjectPath::new(HOT, "none");
    let answer = router.head(&path, &GetOptions::default()).await;
    assert!(matches!(answer, Err(ObjectError::NotFound)));
}

#[tokio::test]
async fn each_store_signs_for_its_own_buckets() {
    let stand = Stand::new().await;
    let signer = |url: &str| -> Arc<dyn Signer> {
        let credentials = Credentials::new("access", "secret-key".to_owned());
        let signer = cloakroom_signing::Signer::new(credentials, "us-east-1".parse().unwrap());
        Arc::new(UrlSigner::new(
            signer,
            Endpoint::parse(url, Addressing::Path).unwrap(),
        ))
    };
    let member = |objects: Arc<dyn ObjectStore>, signer| StoreMember { objects, signer };
    let stores = [
        (
            "main".to_owned(),
            member(Arc::clone(&stand.hot) as _, Some(signer("http://hot.test"))),
            vec![],
        ),
        (
            "archive".to_owned(),
            member(Arc::clone(&stand.cold) as _, Some(signer("http://cold.test"))),
            vec![COLD.to_owned()],
        ),
    ];
    let router = StoreRouter::new("main", stores).unwrap();
    let presentation = DownloadPresentation {
        content_disposition: "attachment".to_owned(),
        content_type: "text/plain".to_owned(),
    };
    for (bucket, address) in [(HOT, "http://hot.test/"), (COLD, "http://cold.test/")] {
        let path = ObjectPath::new(bucket, "a");
        let signed = Signer::get(&router, &path, &presentation, 60, Timestamp::UNIX_EPOCH).unwrap();
        assert!(signed.url.starts_with(address), "{bucket}");
    }
    let unsigned = Signer::get(
        &*stand.router,
        &ObjectPath::new(COLD, "a"),
        &presentation,
        60,
        Timestamp::UNIX_EPOCH,
    );
    assert!(unsigned.expect_err("no signer").to_string().contains("archive"));
}

#[tokio::test]
async fn what_cannot_be_routed_is_refused() {
    let stand = Stand::new().await;
    let member = || StoreMember {
        objects: Arc::clone(&stand.hot) as _,
        signer: None,
    };
    let bucket = || vec!["b".to_owned()];
    let twice = StoreRouter::new(
        "main",
        [
            ("main".to_owned(), member(), bucket()),
            ("archive".to_owned(), member(), bucket()),
        ],
    );
    assert_eq!(
        twice.err(),
        Some(RoutingError::BucketInTwoStores {
            bucket: "b".to_owned(),
            one: "main".to_owned(),
            other: "archive".to_owned()
        })
    );
    let none = StoreRouter::new("main", [("archive".to_owned(), member(), bucket())]);
    assert_eq!(none.err(), Some(RoutingError::NoDefault("main".to_owned())));
}
