//! Reading.

use cloakroom_core::ports::objects::{ByteRange, GetOptions, ObjectError};
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use super::{Subject, collect, pattern};

fn ranged(range: ByteRange) -> GetOptions {
    GetOptions {
        range: Some(range),
        ..GetOptions::default()
    }
}

async fn check_ranges(subject: &Subject, size: u64) {
    let bytes = pattern(size as usize, size);
    subject.put("k", bytes.clone()).await;
    let middle = size / 2;
    let table = [
        (ByteRange::FromTo(0, 0), 0, 0),
        (ByteRange::FromTo(0, size - 1), 0, size - 1),
        (ByteRange::FromTo(1, middle), 1, middle),
        (ByteRange::FromTo(middle, u64::MAX), middle, size - 1),
        (ByteRange::From(0), 0, size - 1),
        (ByteRange::From(middle), middle, size - 1),
        (ByteRange::From(size - 1), size - 1, size - 1),
        (ByteRange::Last(1), size - 1, size - 1),
        (ByteRange::Last(middle), size - middle, size - 1),
        (ByteRange::Last(size * 2), 0, size - 1),
    ];
    for (range, start, end) in table {
        let (read, body) = subject.read_with("k", &ranged(range)).await.unwrap();
        assert_eq!(read.range, Some(start..=end), "{range:?}");
        assert_eq!(read.info.size_bytes, size, "the size is the object's");
        assert!(body == bytes[start as usize..=end as usize], "{range:?}");
    }
}

/// Ranges of an object that fits anywhere.
pub async fn ranges_of_a_small_object(subject: &Subject) {
    check_ranges(subject, 10).await;
}

/// Ranges of an object that is read in pieces.
pub async fn ranges_of_a_large_object(subject: &Subject) {
    check_ranges(subject, 3_000_001).await;
}

/// A range outside says how large the object is.
pub async fn a_range_outside_is_refused(subject: &Subject) {
    subject.put("k", "0123456789").await;
    for range in [
        ByteRange::FromTo(10, 11),
        ByteRange::From(10),
        ByteRange::Last(0),
        ByteRange::FromTo(5, 4),
    ] {
        let refused = subject.store.get(&subject.path("k"), &ranged(range)).await.err();
        assert!(
            matches!(refused, Some(ObjectError::InvalidRange { size_bytes: 10 })),
            "{range:?}: {refused:?}"
        );
    }
}

/// Every range of nothing is outside.
pub async fn an_empty_object_has_no_range(subject: &Subject) {
    subject.put("k", "").await;
    for range in [ByteRange::From(0), ByteRange::FromTo(0, 0), ByteRange::Last(5)] {
        let refused = subject.store.get(&subject.path("k"), &ranged(range)).await.err();
        assert!(
            matches!(refused, Some(ObjectError::InvalidRange { size_bytes: 0 })),
            "{range:?}: {refused:?}"
        );
    }
}

/// Keys that lead to a directory, or past a file, are as missing as others.
pub async fn missing_objects_are_not_found(subject: &Subject) {
    subject.put("a/b", "v").await;
    for key in ["x", "a", "a/", "a/b/c", "a/b.%", "a/bb", "A/b", "./a/b", "a//b"] {
        subject.assert_missing(key).await;
        let get = subject
            .store
            .get(&subject.path(key), &GetOptions::default())
            .await
            .err();
        assert!(matches!(get, Some(ObjectError::NotFound)), "{key:?}");
    }
}

/// Both tell the same; a whole object has no range.
pub async fn head_and_get_agree(subject: &Subject) {
    for size in [0, 5, 700_000] {
        let put = subject.put("k", pattern(size, 1)).await;
        let (read, _) = subject.read_with("k", &GetOptions::default()).await.unwrap();
        assert_eq!(subject.head("k").await, put);
        assert_eq!(read.info, put);
        assert_eq!(read.range, None);
    }
}

/// An overwrite in the middle of a read does not mix bytes.
pub async fn a_reader_keeps_what_it_opened(subject: &Subject) {
    let (old, new) = (pattern(4_000_000, 1), pattern(4_000_000, 2));
    subject.put("k", old.clone()).await;
    let mut read = subject
        .store
        .get(&subject.path("k"), &GetOptions::default())
        .await
        .unwrap();
    let mut bytes = read.body.next().await.unwrap().unwrap().to_vec();
    subject.put("k", new.clone()).await;
    bytes.extend(collect(read.body).await.unwrap());
    assert!(bytes == old, "all of it is of the object that was opened");
    assert!(subject.read("k").await == new);
}

/// Nor does a delete cut it short.
pub async fn a_reader_survives_a_delete(subject: &Subject) {
    let old = pattern(4_000_000, 1);
    subject.put("a/b/k", old.clone()).await;
    let read = subject
        .store
        .get(&subject.path("a/b/k"), &GetOptions::default())
        .await
        .unwrap();
    subject.store.delete(&subject.path("a/b/k")).await.unwrap();
    assert!(collect(read.body).await.unwrap() == old);
}

/// `partNumber=1` of an object that has no parts is all of it; there is no second.
pub async fn a_plain_object_is_its_own_first_part(subject: &Subject) {
    if !subject.store.capabilities().part_reads {
        return;
    }
    subject.put("k", "0123456789").await;
    let part = |number| GetOptions {
        part_number: Some(number),
        ..GetOptions::default()
    };
    let (read, body) = subject.read_with("k", &part(1)).await.unwrap();
    assert_eq!((read.range, body.as_slice()), (Some(0..=9), &b"0123456789"[..]));
    let second = subject.store.get(&subject.path("k"), &part(2)).await.err();
    assert!(
        matches!(second, Some(ObjectError::InvalidRange { size_bytes: 10 })),
        "{second:?}"
    );
}

/// Asking for both at once is a mistake of the caller.
pub async fn a_range_and_a_part_exclude_each_other(subject: &Subject) {
    subject.put("k", "v").await;
    let both = GetOptions {
        part_number: Some(1),
        ..ranged(ByteRange::From(0))
    };
    let refused = subject.store.get(&subject.path("k"), &both).await.err();
    assert!(
        matches!(refused, Some(ObjectError::InvalidArgument(_))),
        "{refused:?}"
    );
}

/// A reader that goes away does no harm.
pub async fn a_reader_can_stop_early(subject: &Subject) {
    let bytes = pattern(4_000_000, 1);
    subject.put("k", bytes.clone()).await;
    for _ in 0..20 {
        let mut read = subject
            .store
            .get(&subject.path("k"), &GetOptions::default())
            .await
            .unwrap();
        read.body.next().await.unwrap().unwrap();
    }
    assert!(subject.read("k").await == bytes);
}

/// Readers beside a writer see one write or another, whole, with its own facts.
pub async fn many_readers_see_whole_objects(subject: &Subject) {
    let seed_of = |info: &cloakroom_core::ports::objects::ObjectInfo| info.size_bytes - 100_000;
    subject.put("k", pattern(100_000, 0)).await;
    let write = async {
        for seed in 1..20 {
            subject.put("k", pattern(100_000 + seed as usize, seed)).await;
        }
    };
    let read = || async {
        for _ in 0..30 {
            let (read, bytes) = subject.read_with("k", &GetOptions::default()).await.unwrap();
            assert!(bytes == pattern(read.info.size_bytes as usize, seed_of(&read.info)));
        }
    };
    tokio::join!(write, join_all((0..4).map(|_| read())));
}
