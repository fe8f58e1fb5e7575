//! Copies within a store.

use std::collections::BTreeMap;

use cloakroom_core::ports::objects::{
    CopyOptions, GetOptions, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions, ReadConditions,
    WriteConditions,
};

use super::{Subject, pattern};

fn attributes(content_type: &str) -> ObjectAttributes {
    ObjectAttributes {
        content_type: Some(content_type.into()),
        user_metadata: BTreeMap::from([("of".into(), content_type.into())]),
        ..ObjectAttributes::default()
    }
}

async fn put_with_attributes(subject: &Subject, key: &str, bytes: Vec<u8>) {
    let options = PutOptions {
        attributes: attributes("text/plain"),
        ..PutOptions::default()
    };
    subject
        .store
        .put(&subject.path(key), options, PutBody::from_bytes(bytes))
        .await
        .unwrap();
}

/// Bytes and attributes come along; the source stays.
pub async fn a_copy_takes_its_attributes_along(subject: &Subject) {
    put_with_attributes(subject, "from", b"v".to_vec()).await;
    let copied = subject
        .store
        .copy(
            &subject.path("from"),
            &subject.path("new/dir/to"),
            CopyOptions::default(),
        )
        .await
        .unwrap();
    assert_eq!(copied, subject.head("new/dir/to").await);
    assert_eq!(copied.attributes, attributes("text/plain"));
    assert_eq!(subject.read("new/dir/to").await, b"v");
    assert_eq!(subject.read("from").await, b"v");
}

/// Or are replaced, all of them.
pub async fn a_copy_may_get_new_attributes(subject: &Subject) {
    put_with_attributes(subject, "from", b"v".to_vec()).await;
    let options = CopyOptions {
        attributes: Some(attributes("text/csv")),
        ..CopyOptions::default()
    };
    let copied = subject
        .store
        .copy(&subject.path("from"), &subject.path("to"), options)
        .await
        .unwrap();
    assert_eq!(copied.attributes, attributes("text/csv"));
    assert_eq!(subject.head("from").await.attributes, attributes("text/plain"));
}

/// How S3 clients change attributes.
pub async fn a_copy_onto_itself_changes_attributes(subject: &Subject) {
    put_with_attributes(subject, "k", b"v".to_vec()).await;
    let options = CopyOptions {
        attributes: Some(attributes("text/csv")),
        ..CopyOptions::default()
    };
    subject
        .store
        .copy(&subject.path("k"), &subject.path("k"), options)
        .await
        .unwrap();
    assert_eq!(subject.head("k").await.attributes, attributes("text/csv"));
    assert_eq!(subject.read("k").await, b"v");
}

/// A copy is a write.
pub async fn a_copy_has_a_generation_of_its_own(subject: &Subject) {
    let source = subject.put("from", "v").await;
    let copied = subject
        .store
        .copy(&subject.path("from"), &subject.path("to"), CopyOptions::default())
        .await
        .unwrap();
    if subject.store.capabilities().generations {
        assert_ne!(copied.generation, source.generation);
    }
    assert_eq!(subject.head("from").await, source);
}

/// `x-amz-copy-source-if-*`.
pub async fn conditions_on_the_source_of_a_copy(subject: &Subject) {
    let source = subject.put("from", "v").await;
    for wrong in [
        ReadConditions {
            if_match: Some("x".into()),
            ..ReadConditions::default()
        },
        ReadConditions {
            if_generation: Some("x".into()),
            ..ReadConditions::default()
        },
    ] {
        let options = CopyOptions {
            source_conditions: wrong,
            ..CopyOptions::default()
        };
        assert!(copy_refused(
            &subject
                .store
                .copy(&subject.path("from"), &subject.path("to"), options)
                .await
        ));
    }
    subject.assert_missing("to").await;
    let right = ReadConditions {
        if_match: Some(source.etag),
        if_generation: Some(source.generation),
        ..ReadConditions::default()
    };
    let options = CopyOptions {
        source_conditions: right,
        ..CopyOptions::default()
    };
    subject
        .store
        .copy(&subject.path("from"), &subject.path("to"), options)
        .await
        .unwrap();
}

/// Those of the target are those of a write.
pub async fn conditions_on_the_target_of_a_copy(subject: &Subject) {
    if !subject.store.capabilities().conditional_copy_target {
        return;
    }
    subject.put("from", "new").await;
    let if_absent = CopyOptions {
        conditions: WriteConditions {
            if_absent: true,
            ..WriteConditions::default()
        },
        ..CopyOptions::default()
    };
    subject
        .store
        .copy(&subject.path("from"), &subject.path("to"), if_absent.clone())
        .await
        .unwrap();
    subject.put("to", "old").await;
    let refused = subject
        .store
        .copy(&subject.path("from"), &subject.path("to"), if_absent)
        .await;
    assert!(copy_refused(&refused));
    assert_eq!(subject.read("to").await, b"old");
}

fn copy_refused<T>(result: &Result<T, ObjectError>) -> bool {
    matches!(result, Err(ObjectError::PreconditionFailed(_)))
}

/// Neither a missing source nor a missing bucket makes anything.
pub async fn a_copy_of_nothing_is_not_found(subject: &Subject) {
    let missing = subject
        .store
        .copy(&subject.path("from"), &subject.path("to"), CopyOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(missing, ObjectError::NotFound));
    subject.assert_missing("to").await;
    subject.put("from", "v").await;
    let elsewhere = ObjectPath::new("no-such-bucket", "to");
    let no_bucket = subject
        .store
        .copy(&subject.path("from"), &elsewhere, CopyOptions::default())
        .await;
    assert!(matches!(no_bucket, Err(ObjectError::NoSuchBucket(_))));
}

/// Large objects are copied whole.
pub async fn a_large_copy_is_equal(subject: &Subject) {
    for size in [0, 1, 5_000_001] {
        let bytes = pattern(size, 3);
        let source = subject.put("from", bytes.clone()).await;
        let copied = subject
            .store
            .copy(&subject.path("from"), &subject.path("to"), CopyOptions::default())
            .await
            .unwrap();
        assert_eq!(copied.size_bytes, size as u64);
        assert_eq!(copied.checksums, source.checksums);
        assert!(subject.read("to").await == bytes);
    }
}

/// Buckets are no border.
pub async fn a_copy_into_another_bucket(subject: &Subject) {
    let other = subject.bucket.replace("suite", "other");
    subject.store.create_bucket(&other).await.unwrap();
    subject.put("k", "v").await;
    let to = ObjectPath::new(&other, "k");
    let copied = subject
        .store
        .copy(&subject.path("k"), &to, CopyOptions::default())
        .await
        .unwrap();
    assert_eq!(
        subject.store.head(&to, &GetOptions::default()).await.unwrap(),
        copied
    );
    subject.store.delete(&subject.path("k")).await.unwrap();
    assert_eq!(
        subject
            .store
            .head(&to, &GetOptions::default())
            .await
            .unwrap()
            .size_bytes,
        1
    );
}
