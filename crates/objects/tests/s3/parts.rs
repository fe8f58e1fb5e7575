//! What is too large for one request, with limits that fit a test.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloakroom_core::ports::objects::{
    BodyError, CopyOptions, GetOptions, ObjectAttributes, ObjectError, ObjectStore, PutBody, PutOptions,
    WriteConditions,
};
use cloakroom_objects::s3::S3Options;
use cloakroom_testkit::object_store_suite::{bad_digest, collect, pattern, pieces};

use crate::stand::{Stand, options};

const MIB: usize = 1024 * 1024;

async fn stand() -> Stand {
    Stand::with(S3Options {
        put_bytes_max: 6 * MIB as u64,
        put_part_bytes: 5 * MIB as u64,
        copy_bytes_max: 6 * MIB as u64,
        copy_part_bytes: 5 * MIB as u64,
        ..options()
    })
    .await
}

fn attributes() -> ObjectAttributes {
    ObjectAttributes {
        content_type: Some("video/mp4".into()),
        user_metadata: BTreeMap::from([("name".into(), "ü".into())]),
        ..ObjectAttributes::default()
    }
}

fn cut(bytes: &[u8], piece: usize, announced: Option<u64>) -> PutBody {
    pieces(
        bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))),
        announced,
    )
}

async fn read(stand: &Stand, key: &str) -> Vec<u8> {
    let read = stand
        .store
        .get(&stand.path(key), &GetOptions::default())
        .await
        .unwrap();
    collect(read.body).await.unwrap()
}

async fn assert_nothing_is_left(stand: &Stand, key: &str) {
    let head = stand.store.head(&stand.path(key), &GetOptions::default()).await;
    assert!(matches!(head, Err(ObjectError::NotFound)), "{head:?}");
    // The upload is given up behind the caller's back.
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !stand
        .store
        .multiparts(&stand.bucket, "")
        .await
        .unwrap()
        .is_empty()
    {
        assert!(std::time::Instant::now() < deadline, "an upload stays behind");
    }
}

#[tokio::test]
async fn a_large_body_is_written_in_parts() {
    let stand = stand().await;
    let bytes = pattern(16 * MIB + 77, 1);
    for announced in [Some(bytes.len() as u64), None] {
        for piece in [65_537, 7 * MIB] {
            let put_options = PutOptions {
                attributes: attributes(),
                ..PutOptions::default()
            };
            let body = cut(&bytes, piece, announced);
            let put = stand
                .store
                .put(&stand.path("k"), put_options, body)
                .await
                .unwrap();
            assert_eq!(
                (put.size_bytes, &put.attributes),
                (bytes.len() as u64, &attributes())
            );
            // Announced: 5 + 5 + 5 + 1 MiB. Else in the parts of 8 MiB that memory is set aside for.
            assert_eq!(put.parts, Some(if announced.is_some() { 4 } else { 3 }));
            let head = stand
                .store
                .head(&stand.path("k"), &GetOptions::default())
                .await
                .unwrap();
            assert_eq!(put, head);
            assert!(
                read(&stand, "k").await == bytes,
                "{announced:?} in pieces of {piece}"
            );
        }
    }
    assert!(
        stand
            .store
            .multiparts(&stand.bucket, "")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_large_body_that_is_not_what_was_announced_leaves_nothing() {
    let stand = stand().await;
    let bytes = pattern(12 * MIB, 1);
    let lying = [bytes.len() as u64 - 1, bytes.len() as u64 + 1, 7 * MIB as u64];
    for announced in lying {
        let body = cut(&bytes, MIB, Some(announced));
        let refused = stand
            .store
            .put(&stand.path("k"), PutOptions::default(), body)
            .await;
        assert!(
            matches!(&refused, Err(ObjectError::Body(error)) if error.code == "IncompleteBody"),
            "{announced}: {refused:?}"
        );
        assert_nothing_is_left(&stand, "k").await;
    }
    for announced in [Some(bytes.len() as u64), None] {
        let body = PutBody {
            finish: Box::new(|| Err(bad_digest())),
            ..cut(&bytes, MIB, announced)
        };
        let refused = stand
            .store
            .put(&stand.path("k"), PutOptions::default(), body)
            .await;
        assert!(matches!(&refused, Err(ObjectError::Body(error)) if *error == bad_digest()));
        assert_nothing_is_left(&stand, "k").await;
        let broken = BodyError {
            code: "IncompleteBody",
            message: "connection lost".into(),
        };
        let early = bytes[..9 * MIB]
            .chunks(MIB)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)));
        let body = pieces(early.chain([Err(broken.clone())]), announced);
        let refused = stand
            .store
            .put(&stand.path("k"), PutOptions::default(), body)
            .await;
        assert!(
            matches!(&refused, Err(ObjectError::Body(error)) if *error == broken),
            "{refused:?}"
        );
        assert_nothing_is_left(&stand, "k").await;
    }
}

/// Ceph would complete the upload and overwrite what is there.
#[tokio::test]
async fn a_condition_that_the_store_would_not_look_at_is_refused() {
    let stand = stand().await;
    stand
        .store
        .put(
            &stand.path("k"),
            PutOptions::default(),
            PutBody::from_bytes("old"),
        )
        .await
        .unwrap();
    let put_options = PutOptions {
        conditions: WriteConditions {
            if_absent: true,
            ..WriteConditions::default()
        },
        ..PutOptions::default()
    };
    let body = cut(&pattern(12 * MIB, 1), MIB, None);
    let refused = stand.store.put(&stand.path("k"), put_options, body).await;
    assert!(matches!(refused, Err(ObjectError::Unsupported(_))), "{refused:?}");
    assert_eq!(read(&stand, "k").await, b"old");
}

#[tokio::test]
async fn a_large_object_is_copied_and_promoted_in_parts() {
    let stand = stand().await;
    let bytes = pattern(11 * MIB + 5, 1);
    let (from, to) = (stand.path("staging/k"), stand.path("final/k"));
    let staged = stand
        .store
        .put(&from, PutOptions::default(), PutBody::from_bytes(bytes.clone()))
        .await
        .unwrap();
    let promoted = stand
        .store
        .promote(&from, &staged.generation, &to, attributes())
        .await
        .unwrap();
    assert_eq!(
        (promoted.size_bytes, promoted.parts),
        (bytes.len() as u64, Some(3))
    );
    assert_eq!(promoted.attributes, attributes());
    assert!(read(&stand, "final/k").await == bytes);
    let again = stand
        .store
        .promote(&from, &staged.generation, &to, attributes())
        .await
        .unwrap();
    assert_eq!(again.etag, promoted.etag);
    let copied = stand
        .store
        .copy(&to, &stand.path("copy"), CopyOptions::default())
        .await
        .unwrap();
    assert_eq!(
        copied.attributes,
        attributes(),
        "they come along, although parts have none"
    );
    assert!(read(&stand, "copy").await == bytes);
}

/// I2, where Ceph looks at no condition: the exchanged bytes do not become visible.
#[tokio::test]
async fn a_large_object_that_was_exchanged_is_not_promoted() {
    let stand = stand().await;
    let (from, to) = (stand.path("staging/k"), stand.path("final/k"));
    let put = |seed| {
        let body = PutBody::from_bytes(pattern(7 * MIB, seed));
        stand.store.put(&from, PutOptions::default(), body)
    };
    let staged = put(1).await.unwrap();
    for round in 0..4 {
        let (promoted, exchanged) = tokio::join!(
            stand.store.promote(&from, &staged.generation, &to, attributes()),
            put(2 + round)
        );
        exchanged.unwrap();
        match promoted {
            Ok(_) => assert!(read(&stand, "final/k").await == pattern(7 * MIB, 1)),
            Err(ObjectError::PreconditionFailed(_)) => assert_nothing_is_left(&stand, "final/k").await,
            Err(error) => panic!("{error}"),
        }
        stand.store.delete(&to).await.unwrap();
        put(1).await.unwrap();
    }
}
