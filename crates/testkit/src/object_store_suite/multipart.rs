//! Multipart uploads.

use std::collections::BTreeMap;

use cloakroom_core::ports::objects::{
    ByteRange, Checksums, CompletedPart, GetOptions, MultipartOptions, ObjectAttributes, ObjectError,
    ObjectInfo, ObjectPath, Part, PutBody, Result, WriteConditions,
};
use futures_util::future::join_all;
use jiff::SignedDuration;

use super::{Subject, bad_digest, finishing, pattern};

/// The smallest part that may have another one behind it.
pub(super) const PART_BYTES: usize = 5 * 1024 * 1024;

/// An upload that a case works on.
pub(super) struct Upload<'a> {
    pub subject: &'a Subject,
    pub path: ObjectPath,
    pub id: String,
}

impl<'a> Upload<'a> {
    pub async fn begin(subject: &'a Subject, key: &str) -> Self {
        Self::begin_with(subject, key, MultipartOptions::default()).await
    }

    pub async fn begin_with(subject: &'a Subject, key: &str, options: MultipartOptions) -> Self {
        let path = subject.path(key);
        let id = subject.store.begin_multipart(&path, options).await.unwrap();
        Self { subject, path, id }
    }

    pub async fn try_part(&self, number: u32, body: PutBody) -> Result<Part> {
        self.subject
            .store
            .put_part(&self.path, &self.id, number, body)
            .await
    }

    pub async fn part(&self, number: u32, bytes: Vec<u8>) -> CompletedPart {
        let size = bytes.len() as u64;
        let part = self.try_part(number, PutBody::from_bytes(bytes)).await.unwrap();
        assert_eq!((part.number, part.size_bytes), (number, size));
        CompletedPart {
            number,
            etag: part.etag,
            checksums: Checksums::default(),
        }
    }

    pub async fn complete(&self, parts: &[CompletedPart]) -> Result<ObjectInfo> {
        self.subject
            .store
            .complete_multipart(&self.path, &self.id, parts, WriteConditions::default())
            .await
    }

    pub async fn abort(&self) -> Result<()> {
        self.subject.store.abort_multipart(&self.path, &self.id).await
    }
}

pub(super) fn listed(number: u32, etag: &str) -> CompletedPart {
    CompletedPart {
        number,
        etag: etag.to_owned(),
        checksums: Checksums::default(),
    }
}

pub(super) fn is_no_upload<T: std::fmt::Debug>(result: &Result<T>) -> bool {
    matches!(result, Err(ObjectError::NoSuchUpload))
}

/// The parts, in the order of their numbers, are the object.
pub async fn parts_make_an_object(subject: &Subject) {
    let upload = Upload::begin(subject, "a/b/k").await;
    let (one, two, three) = (pattern(PART_BYTES, 1), pattern(PART_BYTES, 2), pattern(1_000, 3));
    let third = upload.part(10_000, three.clone()).await;
    let second = upload.part(7, two.clone()).await;
    let first = upload.part(1, one.clone()).await;
    let info = upload.complete(&[first, second, third]).await.unwrap();
    assert_eq!(info, subject.head("a/b/k").await);
    assert_eq!(info.size_bytes, (2 * PART_BYTES + 1_000) as u64);
    assert_eq!(info.parts, Some(3));
    assert!(info.etag.ends_with("-3"), "{}", info.etag);
    assert!(subject.read("a/b/k").await == [one, two, three].concat());
}

/// One part of any size will do.
pub async fn an_only_part_may_be_small(subject: &Subject) {
    for size in [0, 5, 100_000] {
        let upload = Upload::begin(subject, "k").await;
        if size == 0 && !subject.store.capabilities().empty_parts {
            let refused = upload.try_part(3, PutBody::from_bytes("")).await;
            assert!(
                matches!(refused, Err(ObjectError::InvalidArgument(_))),
                "{refused:?}"
            );
            continue;
        }
        let part = upload.part(3, pattern(size, 1)).await;
        let info = upload.complete(&[part]).await.unwrap();
        assert_eq!((info.size_bytes, info.parts), (size as u64, Some(1)));
        assert!(info.etag.ends_with("-1"));
        assert_eq!(subject.head("k").await, info);
        assert!(subject.read("k").await == pattern(size, 1));
    }
}

/// The last one written under a number counts.
pub async fn a_part_can_be_replaced(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let old = upload.part(1, pattern(1_000, 1)).await;
    let new = upload.part(1, pattern(2_000, 2)).await;
    let refused = upload.complete(&[old]).await;
    assert!(matches!(refused, Err(ObjectError::InvalidPart(_))), "{refused:?}");
    upload.complete(&[new]).await.unwrap();
    assert!(subject.read("k").await == pattern(2_000, 2));
}

/// `ListParts`.
pub async fn parts_are_listed_by_number(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let mut put = Vec::new();
    for number in [300, 2, 10_000, 1] {
        let body = PutBody::from_bytes(pattern(number as usize, u64::from(number)));
        put.push(upload.try_part(number, body).await.unwrap());
    }
    put.sort_by_key(|part| part.number);
    let (described, mut parts) = subject.store.multipart(&upload.path, &upload.id).await.unwrap();
    if !subject.store.capabilities().upload_memory {
        // The answer to a part does not tell its time, so it is the time of the answer.
        for (part, put) in parts.iter_mut().zip(&put) {
            assert!(part.modified_at.duration_since(put.modified_at).abs() <= SignedDuration::from_mins(1));
            part.modified_at = put.modified_at;
        }
    }
    assert_eq!(parts, put);
    assert_eq!((described.key, described.id), ("k".to_owned(), upload.id.clone()));
}

/// `ListMultipartUploads`.
pub async fn uploads_are_listed_by_key(subject: &Subject) {
    let options = MultipartOptions {
        attributes: ObjectAttributes {
            content_type: Some("text/csv".into()),
            ..ObjectAttributes::default()
        },
        ..MultipartOptions::default()
    };
    let mut begun = Vec::new();
    for key in ["b/2", "a", "b/1", "b/1", "é"] {
        begun.push((key, Upload::begin_with(subject, key, options.clone()).await.id));
    }
    begun.sort();
    let of_prefix = |prefix: &str| {
        let begun = begun.iter().filter(|(key, _)| key.starts_with(prefix));
        begun
            .map(|(key, id)| ((*key).to_owned(), id.clone()))
            .collect::<Vec<_>>()
    };
    for prefix in ["", "b/", "b/1", "x"] {
        let uploads = subject.store.multiparts(&subject.bucket, prefix).await.unwrap();
        if subject.store.capabilities().upload_memory {
            assert!(uploads.iter().all(|upload| upload.options == options));
        }
        let found: Vec<_> = uploads
            .into_iter()
            .map(|upload| (upload.key, upload.id))
            .collect();
        assert_eq!(found, of_prefix(prefix), "{prefix:?}");
    }
}

/// Only listed parts go in.
pub async fn an_unlisted_part_is_left_out(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    upload.part(1, pattern(10, 1)).await;
    let second = upload.part(2, pattern(20, 2)).await;
    if !subject.store.capabilities().unlisted_parts {
        let refused = upload.complete(&[second]).await;
        assert!(matches!(refused, Err(ObjectError::InvalidPart(_))), "{refused:?}");
        subject.assert_missing("k").await;
        return;
    }
    assert_eq!(upload.complete(&[second]).await.unwrap().size_bytes, 20);
    assert!(subject.read("k").await == pattern(20, 2));
}

/// Nothing can be done with an upload that was given up.
pub async fn an_aborted_upload_is_gone(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let part = upload.part(1, pattern(10, 1)).await;
    upload.abort().await.unwrap();
    assert!(is_no_upload(&upload.abort().await));
    assert!(is_no_upload(&upload.try_part(1, PutBody::from_bytes("x")).await));
    assert!(is_no_upload(&upload.complete(&[part]).await));
    assert!(is_no_upload(
        &subject.store.multipart(&upload.path, &upload.id).await
    ));
    assert!(
        subject
            .store
            .multiparts(&subject.bucket, "")
            .await
            .unwrap()
            .is_empty()
    );
    subject.assert_missing("k").await;
}

/// An id is of no use with another key or bucket.
pub async fn an_upload_belongs_to_its_key(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let part = upload.part(1, pattern(10, 1)).await;
    let other_bucket = subject.bucket.replace("suite", "other");
    subject.store.create_bucket(&other_bucket).await.unwrap();
    for path in [
        subject.path("other"),
        subject.path("k/"),
        ObjectPath::new(&other_bucket, "k"),
    ] {
        let stranger = Upload {
            subject,
            path,
            id: upload.id.clone(),
        };
        assert!(is_no_upload(
            &stranger.try_part(1, PutBody::from_bytes("x")).await
        ));
        assert!(is_no_upload(
            &stranger.complete(std::slice::from_ref(&part)).await
        ));
        assert!(is_no_upload(&stranger.abort().await));
        assert!(is_no_upload(
            &subject.store.multipart(&stranger.path, &stranger.id).await
        ));
    }
    upload.complete(&[part]).await.unwrap();
}

/// An id is not a path.
pub async fn made_up_upload_ids_are_refused(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let half = &upload.id[..upload.id.len() / 2];
    for id in [
        "",
        ".",
        "..",
        "../..",
        "x",
        half,
        "00000000000000000000000000000000",
        &format!("{}/", upload.id),
    ] {
        let made_up = Upload {
            subject,
            path: subject.path("k"),
            id: id.to_owned(),
        };
        assert!(
            is_no_upload(&made_up.try_part(1, PutBody::from_bytes("x")).await),
            "{id:?}"
        );
        assert!(is_no_upload(&made_up.complete(&[listed(1, "x")]).await), "{id:?}");
        assert!(is_no_upload(&made_up.abort().await), "{id:?}");
        assert!(
            is_no_upload(&subject.store.multipart(&made_up.path, id).await),
            "{id:?}"
        );
    }
}

/// 1 to 10,000.
pub async fn part_numbers_are_checked(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    for number in [0, 10_001, u32::MAX] {
        let refused = upload.try_part(number, PutBody::from_bytes("x")).await;
        assert!(
            matches!(refused, Err(ObjectError::InvalidArgument(_))),
            "{number}: {refused:?}"
        );
    }
    upload.part(10_000, pattern(1, 1)).await;
}

/// Headers are given at the beginning.
pub async fn attributes_of_the_upload_become_the_objects(subject: &Subject) {
    let attributes = ObjectAttributes {
        content_type: Some("video/mp4".into()),
        user_metadata: BTreeMap::from([("name".into(), "ü".into())]),
        ..ObjectAttributes::default()
    };
    for parts in [1, 2] {
        let options = MultipartOptions {
            attributes: attributes.clone(),
            ..MultipartOptions::default()
        };
        let upload = Upload::begin_with(subject, "k", options).await;
        let mut list = Vec::new();
        for number in 1..=parts {
            list.push(upload.part(number, pattern(PART_BYTES, 1)).await);
        }
        assert_eq!(upload.complete(&list).await.unwrap().attributes, attributes);
        assert_eq!(subject.head("k").await.attributes, attributes);
    }
}

/// Parts are no object.
pub async fn nothing_is_visible_before_completion(subject: &Subject) {
    let old = subject.put("k", "old").await;
    let upload = Upload::begin(subject, "k").await;
    upload.part(1, pattern(10, 1)).await;
    assert_eq!(subject.head("k").await, old);
    assert_eq!(subject.keys().await, ["k"]);
    upload.abort().await.unwrap();
    assert_eq!(subject.head("k").await, old);
}

/// `partNumber` reads the bytes of one part; numbers count within the object.
pub async fn a_part_can_be_read_by_number(subject: &Subject) {
    if !subject.store.capabilities().part_reads {
        return;
    }
    let upload = Upload::begin(subject, "k").await;
    let (one, two) = (pattern(PART_BYTES, 1), pattern(1_234, 2));
    let list = [
        upload.part(4, one.clone()).await,
        upload.part(9, two.clone()).await,
    ];
    upload.complete(&list).await.unwrap();
    let part = |number| GetOptions {
        part_number: Some(number),
        ..GetOptions::default()
    };
    let end = (PART_BYTES + 1_234) as u64 - 1;
    for (number, bytes, range) in [
        (1, &one, 0..=PART_BYTES as u64 - 1),
        (2, &two, PART_BYTES as u64..=end),
    ] {
        let (read, body) = subject.read_with("k", &part(number)).await.unwrap();
        assert_eq!((read.range, read.info.parts), (Some(range), Some(2)));
        assert!(body == *bytes, "part {number}");
    }
    for number in [0, 3] {
        let refused = subject.store.get(&subject.path("k"), &part(number)).await.err();
        assert!(
            matches!(refused, Some(ObjectError::InvalidRange { .. })),
            "{number}: {refused:?}"
        );
    }
    let across = GetOptions {
        range: Some(ByteRange::FromTo(PART_BYTES as u64 - 2, PART_BYTES as u64 + 1)),
        ..part(1)
    };
    let across = GetOptions {
        part_number: None,
        ..across
    };
    let (_, body) = subject.read_with("k", &across).await.unwrap();
    assert_eq!(body, [&one[PART_BYTES - 2..], &two[..2]].concat());
}

/// A part that its sender's checks refuse does not replace the one before.
pub async fn a_failed_part_leaves_the_old_one(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let part = upload.part(1, pattern(10, 1)).await;
    let refused = upload
        .try_part(1, finishing(pattern(500_000, 2), Err(bad_digest())))
        .await;
    assert!(matches!(refused, Err(ObjectError::Body(_))), "{refused:?}");
    upload.complete(&[part]).await.unwrap();
    assert!(subject.read("k").await == pattern(10, 1));
}

/// Clients send parts in parallel.
pub async fn concurrent_parts_all_arrive(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let bytes = |number: u32| pattern(if number == 4 { 100 } else { PART_BYTES }, u64::from(number));
    let list = join_all((1..=4).map(|number| upload.part(number, bytes(number)))).await;
    upload.complete(&list).await.unwrap();
    assert!(subject.read("k").await == (1..=4).flat_map(bytes).collect::<Vec<_>>());
}

/// R2 wants parts of one size; others do not.
pub async fn parts_may_differ_in_size(subject: &Subject) {
    if !subject.store.capabilities().uneven_parts {
        return;
    }
    let upload = Upload::begin(subject, "k").await;
    let sizes = [PART_BYTES + 1, PART_BYTES, PART_BYTES + 77_777, 1];
    let mut list = Vec::new();
    for (number, size) in (1..).zip(sizes) {
        list.push(upload.part(number, pattern(size, u64::from(number))).await);
    }
    upload.complete(&list).await.unwrap();
    let whole: Vec<u8> = (1..)
        .zip(sizes)
        .flat_map(|(number, size)| pattern(size, number))
        .collect();
    assert!(subject.read("k").await == whole);
    if !subject.store.capabilities().part_reads {
        return;
    }
    for (number, size) in (1..).zip(sizes) {
        let part = GetOptions {
            part_number: Some(number),
            ..GetOptions::default()
        };
        let (_, body) = subject.read_with("k", &part).await.unwrap();
        assert!(body == pattern(size, u64::from(number)), "part {number}");
    }
}

/// What made an object does not show in what replaces it.
pub async fn a_multipart_object_is_overwritten_like_any(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let part = upload.part(1, pattern(1_000, 1)).await;
    upload.complete(&[part]).await.unwrap();
    let plain = subject.put("k", "plain").await;
    assert_eq!(plain.parts, None);
    assert_eq!(subject.head("k").await, plain);
    let again = Upload::begin(subject, "k").await;
    let part = again.part(1, pattern(2_000, 2)).await;
    assert_eq!(again.complete(&[part]).await.unwrap().parts, Some(1));
    assert!(subject.read("k").await == pattern(2_000, 2));
}
