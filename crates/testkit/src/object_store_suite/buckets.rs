//! Buckets.

use cloakroom_core::ports::objects::{
    GetOptions, ListOptions, MultipartOptions, ObjectError, ObjectPath, PutBody, PutOptions,
};

use super::Subject;

/// A bucket can be made, is listed by name, and can be removed.
pub async fn buckets_are_made_listed_and_removed(subject: &Subject) {
    let name = format!("{}-b", subject.bucket.replace("suite", "later"));
    subject.store.create_bucket(&name).await.unwrap();
    assert_eq!(subject.store.bucket(&name).await.unwrap().name, name);
    let names: Vec<_> = subject
        .store
        .buckets()
        .await
        .unwrap()
        .into_iter()
        .map(|bucket| bucket.name)
        .collect();
    assert!(
        names.contains(&name) && names.contains(&subject.bucket),
        "{names:?}"
    );
    assert!(names.is_sorted());
    subject.store.delete_bucket(&name).await.unwrap();
    assert!(
        matches!(subject.store.bucket(&name).await, Err(ObjectError::NoSuchBucket(missing)) if missing == name)
    );
}

/// Making a bucket again is refused and changes nothing.
pub async fn a_bucket_is_made_once(subject: &Subject) {
    subject.put("k", "v").await;
    assert!(matches!(
        subject.store.create_bucket(&subject.bucket).await,
        Err(ObjectError::BucketExists)
    ));
    assert_eq!(subject.read("k").await, b"v");
}

/// Every operation names the bucket that is missing, instead of making it.
pub async fn a_missing_bucket_is_reported_by_everything(subject: &Subject) {
    let store = &subject.store;
    let is_missing = |error: ObjectError| matches!(error, ObjectError::NoSuchBucket(_));
    for bucket in ["no-such-bucket", "../etc", "", ".tmp", "No_Bucket"] {
        let path = ObjectPath::new(bucket, "a/b");
        assert!(is_missing(store.bucket(bucket).await.unwrap_err()), "{bucket:?}");
        assert!(
            is_missing(store.head(&path, &GetOptions::default()).await.unwrap_err()),
            "{bucket:?}"
        );
        assert!(
            is_missing(store.get(&path, &GetOptions::default()).await.err().unwrap()),
            "{bucket:?}"
        );
        let put = store
            .put(&path, PutOptions::default(), PutBody::from_bytes("x"))
            .await;
        assert!(is_missing(put.unwrap_err()), "{bucket:?}");
        assert!(is_missing(store.delete(&path).await.unwrap_err()), "{bucket:?}");
        let list = store
            .list(
                bucket,
                &ListOptions {
                    limit: 1,
                    ..ListOptions::default()
                },
            )
            .await;
        assert!(is_missing(list.unwrap_err()), "{bucket:?}");
        assert!(
            is_missing(store.delete_bucket(bucket).await.unwrap_err()),
            "{bucket:?}"
        );
        let begun = store.begin_multipart(&path, MultipartOptions::default()).await;
        assert!(is_missing(begun.unwrap_err()), "{bucket:?}");
        assert!(
            is_missing(store.multiparts(bucket, "").await.unwrap_err()),
            "{bucket:?}"
        );
    }
    assert!(is_missing(store.bucket("no-such-bucket").await.unwrap_err()));
}

/// A bucket with an object cannot be removed.
pub async fn a_bucket_with_objects_stays(subject: &Subject) {
    subject.put("deep/er/k", "v").await;
    assert!(matches!(
        subject.store.delete_bucket(&subject.bucket).await,
        Err(ObjectError::BucketNotEmpty)
    ));
    assert_eq!(subject.read("deep/er/k").await, b"v");
}

/// Names that S3 does not allow are refused.
pub async fn bucket_names_are_checked(subject: &Subject) {
    for name in [
        "ab",
        "UPPER",
        "under_score",
        "-dash",
        "dash-",
        "two..dots",
        "192.168.0.1",
        "a/b",
        "..",
        &"x".repeat(64),
    ] {
        match subject.store.create_bucket(name).await {
            Err(ObjectError::InvalidArgument(_)) => {}
            other => panic!("{name:?}: {other:?}"),
        }
    }
}

/// Writing into a bucket does not make it younger.
pub async fn a_bucket_keeps_its_creation_time(subject: &Subject) {
    let made = subject.store.bucket(&subject.bucket).await.unwrap().created_at;
    let written = subject.put("k", "v").await.modified_at;
    assert!(made <= written);
    assert_eq!(
        subject.store.bucket(&subject.bucket).await.unwrap().created_at,
        made
    );
}

/// Deleting the last key of a deep path leaves nothing that keeps the bucket.
pub async fn a_bucket_emptied_of_deep_keys_can_go(subject: &Subject) {
    for key in ["a/b/c/d", "a/b/x", &"y".repeat(900)] {
        subject.put(key, "v").await;
        subject.store.delete(&subject.path(key)).await.unwrap();
    }
    subject.store.delete_bucket(&subject.bucket).await.unwrap();
}

/// An upload under way does not keep a bucket, and does not come back with a new one of its name.
pub async fn a_bucket_with_only_an_upload_can_go(subject: &Subject) {
    let path = subject.path("k");
    let id = subject
        .store
        .begin_multipart(&path, MultipartOptions::default())
        .await
        .unwrap();
    subject.store.delete_bucket(&subject.bucket).await.unwrap();
    subject.store.create_bucket(&subject.bucket).await.unwrap();
    assert!(
        subject
            .store
            .multiparts(&subject.bucket, "")
            .await
            .unwrap()
            .is_empty()
    );
    let part = subject
        .store
        .put_part(&path, &id, 1, PutBody::from_bytes("x"))
        .await;
    assert!(matches!(part, Err(ObjectError::NoSuchUpload)), "{part:?}");
}

/// A store that works says so.
pub async fn the_store_answers(subject: &Subject) {
    subject.store.ping().await.unwrap();
}

/// A client learns that there is no bucket before it has sent all of a large body.
pub async fn a_missing_bucket_is_reported_early(subject: &Subject) {
    let endless = futures_util::stream::repeat_with(|| Ok(bytes::Bytes::from_static(&[7; 8_192])));
    let body = PutBody::from_stream(Box::pin(endless), None);
    let path = ObjectPath::new("no-such-bucket", "k");
    let refused = subject.store.put(&path, PutOptions::default(), body).await;
    assert!(
        matches!(refused, Err(ObjectError::NoSuchBucket(_))),
        "{refused:?}"
    );
}
