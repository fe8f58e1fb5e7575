//! Promotion: the move from staging to the final key, of exactly what was verified.

use cloakroom_core::ports::objects::{GetOptions, ObjectAttributes, ObjectError, ObjectPath};
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use super::{Subject, collect, pattern};

fn verified() -> ObjectAttributes {
    ObjectAttributes {
        content_type: Some("image/png".into()),
        content_disposition: Some("attachment".into()),
        ..ObjectAttributes::default()
    }
}

/// The bytes are at the final key, with the attributes that were given.
pub async fn a_promotion_moves(subject: &Subject) {
    for size in [0, 10, 1_000_000] {
        let bytes = pattern(size, 1);
        let staged = subject.put("staging/x/k", bytes.clone()).await;
        let (from, to) = (
            subject.path("staging/x/k"),
            subject.path(&format!("final/{size}/k")),
        );
        let promoted = subject
            .store
            .promote(&from, &staged.generation, &to, verified())
            .await
            .unwrap();
        assert_eq!(promoted, subject.head(&to.key).await);
        assert_eq!(promoted.attributes, verified());
        assert_eq!(promoted.size_bytes, size as u64);
        assert!(subject.read(&to.key).await == bytes);
    }
}

/// I2: what was put in place of the verified bytes is not promoted.
pub async fn a_promotion_of_other_bytes_is_refused(subject: &Subject) {
    let staged = subject.put("staging/k", "verified").await;
    subject.put("staging/k", "exchanged").await;
    let (from, to) = (subject.path("staging/k"), subject.path("final/k"));
    let refused = subject
        .store
        .promote(&from, &staged.generation, &to, verified())
        .await;
    assert!(
        matches!(refused, Err(ObjectError::PreconditionFailed(_))),
        "{refused:?}"
    );
    subject.assert_missing("final/k").await;
    assert_eq!(subject.read("staging/k").await, b"exchanged");
    assert_eq!(
        subject.head("staging/k").await.attributes,
        ObjectAttributes::default()
    );
}

/// Not even if the bytes look the same, where the store can tell.
pub async fn a_promotion_of_equal_bytes_is_refused(subject: &Subject) {
    if !subject.store.capabilities().generations {
        return;
    }
    let staged = subject.put("staging/k", "same").await;
    subject.put("staging/k", "same").await;
    let (from, to) = (subject.path("staging/k"), subject.path("final/k"));
    let refused = subject
        .store
        .promote(&from, &staged.generation, &to, verified())
        .await;
    assert!(
        matches!(refused, Err(ObjectError::PreconditionFailed(_))),
        "{refused:?}"
    );
    subject.assert_missing("final/k").await;
}

/// A worker that does not know whether it has promoted may do it again.
pub async fn a_promotion_done_twice_is_done_once(subject: &Subject) {
    let staged = subject.put("staging/k", "v").await;
    let (from, to) = (subject.path("staging/k"), subject.path("final/k"));
    let first = subject
        .store
        .promote(&from, &staged.generation, &to, verified())
        .await
        .unwrap();
    let second = subject
        .store
        .promote(&from, &staged.generation, &to, verified())
        .await
        .unwrap();
    assert_eq!((second.size_bytes, &second.etag), (first.size_bytes, &first.etag));
    assert_eq!(subject.read("final/k").await, b"v");
    // Whoever cleans up afterwards removes what the first left of the staging object.
    subject.store.delete(&from).await.unwrap();
    let third = subject
        .store
        .promote(&from, &staged.generation, &to, verified())
        .await
        .unwrap();
    assert_eq!(third.etag, first.etag);
}

/// What was never there cannot be moved.
pub async fn a_promotion_of_nothing_is_not_found(subject: &Subject) {
    let (from, to) = (subject.path("staging/k"), subject.path("final/k"));
    let missing = subject.store.promote(&from, "g", &to, verified()).await;
    assert!(matches!(missing, Err(ObjectError::NotFound)), "{missing:?}");
    subject.put("staging/k", "v").await;
    let nowhere = ObjectPath::new("no-such-bucket", "k");
    let generation = subject.head("staging/k").await.generation;
    let no_bucket = subject
        .store
        .promote(&from, &generation, &nowhere, verified())
        .await;
    assert!(
        matches!(no_bucket, Err(ObjectError::NoSuchBucket(_))),
        "{no_bucket:?}"
    );
    assert_eq!(subject.read("staging/k").await, b"v");
}

/// Staging may be a bucket of its own.
pub async fn a_promotion_into_another_bucket(subject: &Subject) {
    let other = subject.bucket.replace("suite", "other");
    subject.store.create_bucket(&other).await.unwrap();
    let staged = subject.put("k", "v").await;
    let to = ObjectPath::new(&other, "a/b/k");
    let promoted = subject
        .store
        .promote(&subject.path("k"), &staged.generation, &to, verified())
        .await
        .unwrap();
    assert_eq!(
        subject.store.head(&to, &GetOptions::default()).await.unwrap(),
        promoted
    );
}

/// Who is reading the staging object reads it to the end.
pub async fn a_promotion_keeps_readers_whole(subject: &Subject) {
    let bytes = pattern(3_000_000, 1);
    let staged = subject.put("staging/k", bytes.clone()).await;
    let mut read = subject
        .store
        .get(&subject.path("staging/k"), &GetOptions::default())
        .await
        .unwrap();
    let mut seen = read.body.next().await.unwrap().unwrap().to_vec();
    let to = subject.path("final/k");
    subject
        .store
        .promote(&subject.path("staging/k"), &staged.generation, &to, verified())
        .await
        .unwrap();
    seen.extend(collect(read.body).await.unwrap());
    assert!(seen == bytes);
}

/// A presigned PUT used again while the worker promotes: the final object is the verified one, or there is none.
pub async fn a_promotion_against_writers_promotes_one_whole_object(subject: &Subject) {
    for round in 0..10 {
        let staging = format!("staging/{round}");
        let to = subject.path(&format!("final/{round}"));
        let verified_bytes = pattern(2_000, 1);
        let staged = subject.put(&staging, verified_bytes.clone()).await;
        let from = subject.path(&staging);
        let writers = join_all((2..6).map(|seed| subject.try_put_pattern(&staging, seed)));
        let (promoted, ()) = tokio::join!(
            subject.store.promote(&from, &staged.generation, &to, verified()),
            async { drop(writers.await) },
        );
        match promoted {
            Ok(_) => assert!(subject.read(&to.key).await == verified_bytes),
            Err(ObjectError::PreconditionFailed(_)) => subject.assert_missing(&to.key).await,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Subject {
    async fn try_put_pattern(&self, key: &str, seed: u64) {
        for _ in 0..4 {
            self.put(key, pattern(2_000, seed)).await;
        }
    }
}
