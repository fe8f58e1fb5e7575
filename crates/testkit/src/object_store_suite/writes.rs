//! Writing and deleting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use cloakroom_core::ports::objects::{
    BodyError, ChecksumAlgorithm, Checksums, GetOptions, ListOptions, ObjectAttributes, ObjectError, PutBody,
    PutOptions,
};
use futures_util::future::join_all;

use super::{Subject, bad_digest, finishing, odd_keys, pattern, pieces};

/// Sizes around every buffer that an adapter may have.
const SIZES: [usize; 13] = [
    0,
    1,
    4_095,
    4_096,
    16_384,
    16_385,
    65_535,
    65_536,
    65_537,
    262_144,
    262_145,
    1_048_579,
    5 * 1_048_576 + 7,
];

/// Bytes of every size come back as they were.
pub async fn what_was_put_is_read_back(subject: &Subject) {
    for size in SIZES {
        let bytes = pattern(size, size as u64);
        let info = subject.put("k", bytes.clone()).await;
        assert_eq!(info.size_bytes, size as u64);
        assert!(subject.read("k").await == bytes, "{size} bytes");
    }
}

/// No bytes are an object, too.
pub async fn an_empty_object_is_an_object(subject: &Subject) {
    subject.put("k", "").await;
    assert_eq!(subject.head("k").await.size_bytes, 0);
    assert_eq!(subject.read("k").await, b"");
    assert_eq!(subject.keys().await, ["k"]);
    let unannounced = subject.try_put("u", pieces([], None)).await.unwrap();
    assert_eq!(unannounced.size_bytes, 0);
}

/// Pieces of any size, with and without a length announced, make one body.
pub async fn a_body_in_odd_pieces_arrives_whole(subject: &Subject) {
    for (total, piece) in [
        (10, 1),
        (1_000, 7),
        (65_536, 65_535),
        (300_000, 4_097),
        (1_500_000, 262_143),
        (900_000, 900_000),
    ] {
        let bytes = pattern(total, piece as u64);
        let cut = || bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece)));
        for announced in [Some(total as u64), None] {
            let with_gaps = cut().flat_map(|piece| [Ok(Bytes::new()), piece]);
            let info = subject.try_put("k", pieces(with_gaps, announced)).await.unwrap();
            assert_eq!(info.size_bytes, total as u64);
            assert!(subject.read("k").await == bytes, "{total} in pieces of {piece}");
        }
    }
}

/// Stored headers come back, from everywhere.
pub async fn attributes_come_back(subject: &Subject) {
    let attributes = ObjectAttributes {
        content_type: Some("text/csv; charset=utf-8".into()),
        content_disposition: Some("attachment; filename*=UTF-8''b%C3%BCro.csv".into()),
        content_encoding: Some("gzip".into()),
        content_language: Some("de".into()),
        cache_control: Some("max-age=60".into()),
        expires: Some("Thu, 01 Dec 2033 16:00:00 GMT".into()),
        user_metadata: BTreeMap::from([("a".into(), "1".into()), ("b-c".into(), String::new())]),
    };
    let options = PutOptions {
        attributes: attributes.clone(),
        ..PutOptions::default()
    };
    let put = subject
        .store
        .put(&subject.path("k"), options, PutBody::from_bytes("x"))
        .await
        .unwrap();
    let (read, _) = subject.read_with("k", &GetOptions::default()).await.unwrap();
    for info in [put, subject.head("k").await, read.info] {
        assert_eq!(info.attributes, attributes);
    }
}

/// Values of user metadata are text, not ASCII.
pub async fn user_metadata_may_be_unicode(subject: &Subject) {
    let user_metadata = BTreeMap::from([
        ("name".to_owned(), "Отчёт 2026 – 日本 🎒.pdf".to_owned()),
        ("quote".to_owned(), "\"a\\b\"".to_owned()),
    ]);
    let attributes = ObjectAttributes {
        user_metadata: user_metadata.clone(),
        ..ObjectAttributes::default()
    };
    let options = PutOptions {
        attributes,
        ..PutOptions::default()
    };
    subject
        .store
        .put(&subject.path("k"), options, PutBody::from_bytes("x"))
        .await
        .unwrap();
    assert_eq!(subject.head("k").await.attributes.user_metadata, user_metadata);
}

/// 2 KiB of user metadata fit, more are refused, and nothing is written.
pub async fn too_much_user_metadata_is_refused(subject: &Subject) {
    let takes_long = subject.store.capabilities().long_user_metadata;
    for (value_bytes, fits) in [(256, true), (2_047, takes_long), (2_048, false), (60_000, false)] {
        let user_metadata = BTreeMap::from([("k".to_owned(), "v".repeat(value_bytes))]);
        let attributes = ObjectAttributes {
            user_metadata,
            ..ObjectAttributes::default()
        };
        let options = PutOptions {
            attributes,
            ..PutOptions::default()
        };
        let key = value_bytes.to_string();
        let put = subject
            .store
            .put(&subject.path(&key), options, PutBody::from_bytes("x"))
            .await;
        if fits {
            assert_eq!(put.unwrap().attributes.user_metadata["k"].len(), value_bytes);
        } else {
            assert!(matches!(put, Err(ObjectError::InvalidArgument(_))), "{put:?}");
            subject.assert_missing(&key).await;
        }
    }
}

/// Nothing of the old object stays.
pub async fn an_overwrite_replaces_bytes_and_attributes(subject: &Subject) {
    let attributes = ObjectAttributes {
        content_type: Some("text/plain".into()),
        user_metadata: BTreeMap::from([("old".into(), "1".into())]),
        ..ObjectAttributes::default()
    };
    let options = PutOptions {
        attributes,
        ..PutOptions::default()
    };
    let long = pattern(100_000, 1);
    let old = subject
        .store
        .put(&subject.path("k"), options, PutBody::from_bytes(long))
        .await
        .unwrap();
    let new = subject.put("k", "short").await;
    assert_ne!(old.etag, new.etag);
    assert!(old.modified_at <= new.modified_at);
    assert_eq!(subject.read("k").await, b"short");
    assert_eq!(subject.head("k").await.attributes, ObjectAttributes::default());
    assert_eq!(subject.keys().await, ["k"]);
}

/// Until the sender's checks have said yes, the key is as it was.
pub async fn nothing_is_visible_before_finish(subject: &Subject) {
    for size in [10, 100_000, 1_000_000] {
        let key = size.to_string();
        let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
        let stream = futures_util::stream::unfold(receive, |mut receive| async {
            receive.recv().await.map(|piece| (Ok(piece), receive))
        });
        let body = PutBody::from_stream(Box::pin(stream), Some(size));
        let store = Arc::clone(&subject.store);
        let path = subject.path(&key);
        let write = tokio::spawn(async move { store.put(&path, PutOptions::default(), body).await });
        send.send(pattern(size as usize, 1).into()).await.unwrap();
        // Taken by the store before this one is accepted, so all announced bytes are with it.
        send.send(Bytes::new()).await.unwrap();
        subject.assert_missing(&key).await;
        assert!(!subject.keys().await.contains(&key));
        drop(send);
        write.await.unwrap().unwrap();
        assert_eq!(subject.head(&key).await.size_bytes, size);
    }
}

/// A body that its sender's checks refuse was never there.
pub async fn a_failed_finish_leaves_nothing(subject: &Subject) {
    for size in [0, 10, 100_000, 1_000_000] {
        let refused = subject
            .try_put("dir/k", finishing(pattern(size, 1), Err(bad_digest())))
            .await;
        assert!(matches!(refused, Err(ObjectError::Body(error)) if error == bad_digest()));
        subject.assert_missing("dir/k").await;
    }
    assert_eq!(subject.keys().await, [""; 0]);
    let prefixes = ListOptions {
        delimiter: "/".into(),
        limit: 10,
        ..ListOptions::default()
    };
    assert!(subject.list(&prefixes).await.common_prefixes.is_empty());
}

/// ... and does not touch what was.
pub async fn a_failed_finish_leaves_the_old_object(subject: &Subject) {
    let old = subject.put("k", "old").await;
    for size in [10, 1_000_000] {
        subject
            .try_put("k", finishing(pattern(size, 1), Err(bad_digest())))
            .await
            .unwrap_err();
        assert_eq!(subject.read("k").await, b"old");
        assert_eq!(subject.head("k").await, old);
    }
}

/// A body that breaks off does not touch what was, either.
pub async fn a_failed_stream_leaves_the_old_object(subject: &Subject) {
    let old = subject.put("k", "old").await;
    for before in [0, 10, 300_000, 2_000_000] {
        let broken = BodyError {
            code: "IncompleteBody",
            message: "connection lost".into(),
        };
        let body = pieces([Ok(pattern(before, 1).into()), Err(broken.clone())], None);
        let refused = subject.try_put("k", body).await;
        assert!(matches!(refused, Err(ObjectError::Body(error)) if error == broken));
        assert_eq!(subject.head("k").await, old);
        assert_eq!(subject.read("k").await, b"old");
    }
}

/// Fewer bytes than announced are not an object.
pub async fn a_body_too_short_is_refused(subject: &Subject) {
    for (announced, sent) in [(1, 0), (11, 10), (1_000_000, 999_999)] {
        let refused = subject
            .try_put("k", pieces([Ok(pattern(sent, 1).into())], Some(announced)))
            .await;
        assert!(matches!(refused, Err(ObjectError::Body(error)) if error.code == "IncompleteBody"));
        subject.assert_missing("k").await;
    }
}

/// Nor are more.
pub async fn a_body_too_long_is_refused(subject: &Subject) {
    for (announced, sent) in [(0, 1), (10, 11), (300_000, 1_000_000)] {
        let bytes = pattern(sent, 1);
        let body = pieces(
            bytes.chunks(4_096).map(|piece| Ok(Bytes::copy_from_slice(piece))),
            Some(announced),
        );
        let refused = subject.try_put("k", body).await;
        assert!(matches!(refused, Err(ObjectError::Body(error)) if error.code == "IncompleteBody"));
        subject.assert_missing("k").await;
    }
}

/// A client that goes away in the middle leaves nothing behind.
pub async fn an_abandoned_write_leaves_nothing(subject: &Subject) {
    let (send, receive) = tokio::sync::mpsc::channel::<Bytes>(1);
    let stream = futures_util::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|piece| (Ok(piece), receive))
    });
    let body = PutBody::from_stream(Box::pin(stream), None);
    let store = Arc::clone(&subject.store);
    let path = subject.path("k");
    let write = tokio::spawn(async move { store.put(&path, PutOptions::default(), body).await });
    for _ in 0..4 {
        send.send(pattern(300_000, 1).into()).await.unwrap();
    }
    write.abort();
    assert!(write.await.unwrap_err().is_cancelled());
    subject.assert_missing("k").await;
    assert_eq!(subject.keys().await, [""; 0]);
}

/// With `Content-MD5` the `ETag` is the MD5, whatever the size.
pub async fn md5_is_the_etag_when_asked_for(subject: &Subject) {
    // MD5 of so many bytes `a`, as `md5sum` gives it.
    let table = [
        (0, "d41d8cd98f00b204e9800998ecf8427e"),
        (3, "47bce5c74f589f4867dbd57e9ca9f808"),
        (1_000_000, "7707d6ae4e027c70eea2a935c2296f21"),
    ];
    for (count, md5) in table {
        let body = PutBody {
            md5_etag: true,
            ..PutBody::from_bytes(vec![b'a'; count])
        };
        assert_eq!(subject.try_put("k", body).await.unwrap().etag, md5);
        assert_eq!(subject.head("k").await.etag, md5);
    }
}

/// Write, head, read and list tell the same `ETag`, and equal `ETag`s mean equal bytes.
pub async fn the_etag_is_the_same_everywhere(subject: &Subject) {
    let mut seen = BTreeSet::new();
    for size in [0, 100, 100_000, 100_001] {
        let put = subject.put("k", pattern(size, 1)).await;
        let (read, _) = subject.read_with("k", &GetOptions::default()).await.unwrap();
        let list = subject
            .list(&ListOptions {
                limit: 10,
                ..ListOptions::default()
            })
            .await;
        assert_eq!(subject.head("k").await.etag, put.etag);
        assert_eq!(read.info.etag, put.etag);
        assert_eq!(list.objects[0].etag, put.etag);
        assert!(
            !put.etag.is_empty()
                && put
                    .etag
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        );
        assert!(seen.insert(put.etag));
    }
}

/// Every write is told from every other.
pub async fn generations_differ_for_equal_bytes(subject: &Subject) {
    for size in [5, 200_000] {
        let one = subject.put("k", pattern(size, 1)).await;
        assert_eq!(subject.head("k").await.generation, one.generation);
        let other = subject.put("k", pattern(size, 1)).await;
        assert_eq!(subject.head("k").await.generation, other.generation);
        if subject.store.capabilities().generations {
            assert_ne!(one.generation, other.generation);
        } else {
            assert_eq!(one.generation, one.etag);
        }
    }
}

/// What the sender's checks established is stored.
pub async fn checksums_of_the_sender_are_kept(subject: &Subject) {
    if !subject.store.capabilities().checksums {
        return;
    }
    let checksums = Checksums(BTreeMap::from([
        (
            ChecksumAlgorithm::Sha256,
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=".to_owned(),
        ),
        (ChecksumAlgorithm::Crc32, "NSRBwg==".to_owned()),
    ]));
    let put = subject
        .try_put("k", finishing(b"abc".to_vec(), Ok(checksums.clone())))
        .await
        .unwrap();
    if !subject.store.capabilities().several_checksums {
        // One is kept, and whatever else the store says is no other value of these.
        let known = |(algorithm, value)| checksums.0.get(algorithm).is_none_or(|given| given == value);
        assert!(put.checksums.0.iter().all(known), "{put:?}");
        assert!(
            checksums
                .0
                .keys()
                .any(|algorithm| put.checksums.0.contains_key(algorithm)),
            "{put:?}"
        );
        assert_eq!(subject.head("k").await.checksums, put.checksums);
        return;
    }
    assert_eq!(put.checksums, checksums);
    assert_eq!(subject.head("k").await.checksums, checksums);
}

/// A store with checksums computes one when nobody gave any.
pub async fn a_checksum_is_known_without_asking(subject: &Subject) {
    if !subject.store.capabilities().checksums {
        return;
    }
    if !subject.store.capabilities().computed_checksums {
        let put = subject.put("k", "123456789").await;
        assert_eq!(put.checksums, Checksums::default());
        return;
    }
    // The check value of CRC-64/NVME over "123456789" is ae8b14860a799888.
    let put = subject.put("k", "123456789").await;
    assert_eq!(put.checksums.0[&ChecksumAlgorithm::Crc64Nvme], "rosUhgp5mIg=");
    let large = subject.put("l", pattern(600_000, 1)).await;
    let again = subject
        .try_put("m", pieces([Ok(pattern(600_000, 1).into())], None))
        .await
        .unwrap();
    assert_eq!(large.checksums, again.checksums);
}

/// The last one wins, whole: bytes and attributes are of one write.
pub async fn concurrent_writers_of_one_key_leave_one_whole_winner(subject: &Subject) {
    for size in [1_000, 600_000] {
        let writers = (0..12_u64).map(|writer| async move {
            let attributes = ObjectAttributes {
                user_metadata: BTreeMap::from([("writer".to_owned(), writer.to_string())]),
                ..ObjectAttributes::default()
            };
            let options = PutOptions {
                attributes,
                ..PutOptions::default()
            };
            let body = PutBody::from_bytes(pattern(size, writer));
            subject
                .store
                .put(&subject.path("a/b/k"), options, body)
                .await
                .unwrap()
        });
        let written = join_all(writers).await;
        let (read, bytes) = subject.read_with("a/b/k", &GetOptions::default()).await.unwrap();
        let winner: u64 = read.info.attributes.user_metadata["writer"].parse().unwrap();
        assert!(bytes == pattern(size, winner));
        assert_eq!(read.info, written[winner as usize]);
    }
}

/// Many at once, in directories that are new to all of them.
pub async fn concurrent_writers_of_many_keys_all_arrive(subject: &Subject) {
    let key = |writer: u64| format!("new/{}/{writer}", writer % 3);
    join_all((0..60).map(|writer| subject.put_owned(key(writer), writer.to_string()))).await;
    assert_eq!(subject.keys().await.len(), 60);
    for writer in 0..60 {
        assert_eq!(subject.read(&key(writer)).await, writer.to_string().as_bytes());
    }
}

/// Every legal key is its own object.
pub async fn keys_of_every_kind_work(subject: &Subject) {
    let (keys, refused): (Vec<_>, Vec<_>) = odd_keys().into_iter().partition(|key| subject.takes(key));
    for key in &refused {
        let put = subject.try_put(key, PutBody::from_bytes("x")).await;
        assert!(matches!(put, Err(ObjectError::InvalidArgument(_))), "{put:?}");
        let head = subject.try_head(key).await;
        assert!(matches!(head, Err(ObjectError::InvalidArgument(_))), "{head:?}");
    }
    for key in &keys {
        subject.put(key, format!("at {key}")).await;
    }
    for key in &keys {
        assert_eq!(subject.read(key).await, format!("at {key}").as_bytes(), "{key:?}");
    }
    for (position, key) in keys.iter().enumerate() {
        subject.store.delete(&subject.path(key)).await.unwrap();
        subject.assert_missing(key).await;
        if let Some(next) = keys.get(position + 1) {
            subject.head(next).await;
        }
    }
    assert_eq!(subject.keys().await, [""; 0]);
}

/// A key may be the beginning of another, in whichever order they come.
pub async fn n_lies_beside_n_b(subject: &Subject) {
    for keys in [["n", "n/b", "n/b/c"], ["m/b/c", "m/b", "m"]] {
        for key in keys {
            subject.put(key, key).await;
        }
        for key in keys {
            assert_eq!(subject.read(key).await, key.as_bytes());
        }
    }
    subject.assert_missing("n/").await;
    subject.assert_missing("m/b/").await;
}

/// A key has 1 to 1,024 bytes of UTF-8, counted in bytes.
pub async fn the_length_of_keys_is_checked(subject: &Subject) {
    subject.put(&"é".repeat(512), "fits").await;
    for key in [String::new(), "k".repeat(1_025), "é".repeat(513)] {
        let refused = subject.try_put(&key, PutBody::from_bytes("x")).await;
        assert!(
            matches!(refused, Err(ObjectError::InvalidArgument(_))),
            "{refused:?}"
        );
        assert!(matches!(
            subject.try_head(&key).await,
            Err(ObjectError::InvalidArgument(_))
        ));
    }
}

/// Removing what is not there is fine.
pub async fn deleting_is_idempotent(subject: &Subject) {
    subject.put("a/k", "v").await;
    for key in ["a/k", "a/k", "a", "a/", "never/was"] {
        subject.store.delete(&subject.path(key)).await.unwrap();
    }
    subject.assert_missing("a/k").await;
    subject.put("a/k", "again").await;
    assert_eq!(subject.read("a/k").await, b"again");
}

/// Only that key goes.
pub async fn deleting_a_key_leaves_its_neighbours(subject: &Subject) {
    for key in ["n", "n/", "n/b", "n/b/c", "nn"] {
        subject.put(key, key).await;
    }
    subject.store.delete(&subject.path("n/b")).await.unwrap();
    assert_eq!(subject.keys().await, ["n", "n/", "n/b/c", "nn"]);
    subject.store.delete(&subject.path("n")).await.unwrap();
    assert_eq!(subject.keys().await, ["n/", "n/b/c", "nn"]);
}

/// A write whose neighbours are being deleted finds, or makes, its place.
pub async fn deletes_beside_writes_lose_nothing(subject: &Subject) {
    let rounds = 40;
    let come_and_go = |name: &'static str| async move {
        for _ in 0..rounds {
            subject.put(&format!("d/e/f/{name}"), name).await;
            subject
                .store
                .delete(&subject.path(&format!("d/e/f/{name}")))
                .await
                .unwrap();
        }
    };
    let stay = async {
        for round in 0..rounds {
            let key = format!("d/e/f/kept-{round}");
            subject.put(&key, key.clone()).await;
            assert_eq!(subject.read(&key).await, key.as_bytes());
            if round % 2 == 0 {
                subject.store.delete(&subject.path(&key)).await.unwrap();
            }
        }
    };
    tokio::join!(come_and_go("one"), come_and_go("two"), stay);
    assert_eq!(subject.keys().await.len(), rounds / 2);
}

impl Subject {
    async fn put_owned(&self, key: String, bytes: String) {
        self.put(&key, bytes).await;
    }
}
