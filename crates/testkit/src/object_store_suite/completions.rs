//! The end of a multipart upload: what is refused, what the object is, and what happens when it is asked for twice.

use std::collections::BTreeMap;

use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, Checksums, CompletedPart, MultipartOptions, ObjectError, PutBody, WriteConditions,
};
use futures_util::future::join_all;

use super::multipart::{PART_BYTES, Upload, is_no_upload, listed};
use super::{Subject, finishing, pattern};

/// The list must name what was uploaded; quotes do not matter.
pub async fn a_wrong_etag_is_refused(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let part = upload.part(1, pattern(10, 1)).await;
    for etag in ["", "x", "\"d41d8cd98f00b204e9800998ecf8427e\""] {
        let refused = upload.complete(&[listed(1, etag)]).await;
        assert!(
            matches!(refused, Err(ObjectError::InvalidPart(_))),
            "{etag}: {refused:?}"
        );
    }
    subject.assert_missing("k").await;
    upload
        .complete(&[listed(1, &format!("\"{}\"", part.etag))])
        .await
        .unwrap();
}

/// Every listed part must be there.
pub async fn a_missing_part_is_refused(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let part = upload.part(1, pattern(PART_BYTES, 1)).await;
    let refused = upload.complete(&[part.clone(), listed(2, &part.etag)]).await;
    assert!(matches!(refused, Err(ObjectError::InvalidPart(_))), "{refused:?}");
    upload.complete(&[part]).await.unwrap();
}

/// Ascending, each once.
pub async fn parts_out_of_order_are_refused(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let one = upload.part(1, pattern(PART_BYTES, 1)).await;
    let two = upload.part(2, pattern(10, 2)).await;
    for list in [[two.clone(), one.clone()], [one.clone(), one.clone()]] {
        let refused = upload.complete(&list).await;
        assert!(
            matches!(refused, Err(ObjectError::InvalidPartOrder)),
            "{refused:?}"
        );
    }
    upload.complete(&[one, two]).await.unwrap();
}

/// All but the last have at least 5 MiB; the error names part and size.
pub async fn a_small_part_in_the_middle_is_refused(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let small = upload.part(1, pattern(PART_BYTES - 1, 1)).await;
    let last = upload.part(2, pattern(10, 2)).await;
    if !subject.store.capabilities().small_parts_refused {
        upload.complete(&[small, last]).await.unwrap();
        assert!(subject.read("k").await == [pattern(PART_BYTES - 1, 1), pattern(10, 2)].concat());
        return;
    }
    let refused = upload.complete(&[small, last.clone()]).await;
    let size = PART_BYTES as u64 - 1;
    assert!(
        matches!(refused, Err(ObjectError::PartTooSmall { number: 1, size_bytes }) if size_bytes == size),
        "{refused:?}"
    );
    let enough = upload.part(1, pattern(PART_BYTES, 1)).await;
    upload.complete(&[enough, last]).await.unwrap();
}

/// An object has at least one part.
pub async fn an_empty_list_is_refused(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    upload.part(1, pattern(10, 1)).await;
    let refused = upload.complete(&[]).await;
    assert!(
        matches!(refused, Err(ObjectError::InvalidArgument(_))),
        "{refused:?}"
    );
}

/// The answer may have been lost on its way.
pub async fn completing_twice_gives_the_same_answer(subject: &Subject) {
    for parts in [1, 2] {
        let upload = Upload::begin(subject, "k").await;
        let mut list = Vec::new();
        for number in 1..=parts {
            list.push(upload.part(number, pattern(PART_BYTES, u64::from(number))).await);
        }
        let first = upload.complete(&list).await.unwrap();
        assert_eq!(upload.complete(&list).await.unwrap(), first);
        // Even after somebody else has written the key; that stays as it is.
        let later = subject.put("k", "later").await;
        if !subject.store.capabilities().upload_memory {
            assert!(is_no_upload(&upload.complete(&list).await));
            assert_eq!(subject.head("k").await, later);
            continue;
        }
        assert_eq!(upload.complete(&list).await.unwrap(), first);
        assert_eq!(subject.head("k").await, later);
    }
}

/// Another list is another request, to an upload that is no more.
pub async fn completing_twice_with_another_list_is_refused(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let one = upload.part(1, pattern(10, 1)).await;
    if !subject.store.capabilities().unlisted_parts {
        upload.complete(&[one]).await.unwrap();
        let other = listed(1, "d41d8cd98f00b204e9800998ecf8427e");
        assert!(is_no_upload(&upload.complete(&[other]).await));
        assert!(subject.read("k").await == pattern(10, 1));
        return;
    }
    let two = upload.part(2, pattern(10, 2)).await;
    upload.complete(&[one]).await.unwrap();
    assert!(is_no_upload(&upload.complete(&[two]).await));
    assert!(subject.read("k").await == pattern(10, 1));
}

/// `If-None-Match: *` and `If-Match` at the end, when it counts; a refusal leaves the upload open.
pub async fn conditions_hold_at_completion(subject: &Subject) {
    if !subject.store.capabilities().conditional_completion {
        return;
    }
    let upload = Upload::begin(subject, "k").await;
    let part = upload.part(1, pattern(10, 1)).await;
    let current = subject.put("k", "current").await;
    let complete = |conditions| {
        subject
            .store
            .complete_multipart(&upload.path, &upload.id, std::slice::from_ref(&part), conditions)
    };
    let if_absent = WriteConditions {
        if_absent: true,
        ..WriteConditions::default()
    };
    let refused = complete(if_absent).await;
    assert!(
        matches!(refused, Err(ObjectError::PreconditionFailed(_))),
        "{refused:?}"
    );
    assert_eq!(subject.head("k").await, current);
    let if_match = WriteConditions {
        if_match: Some(current.etag),
        ..WriteConditions::default()
    };
    complete(if_match).await.unwrap();
    assert!(subject.read("k").await == pattern(10, 1));
}

/// A CRC over the whole is that of the same bytes written at once.
pub async fn full_object_checksums_are_those_of_the_bytes(subject: &Subject) {
    if !subject.store.capabilities().checksums {
        return;
    }
    let bytes = pattern(PART_BYTES + 1_000, 1);
    let table = [
        (None, ChecksumAlgorithm::Crc64Nvme, None),
        (
            Some(ChecksumAlgorithm::Crc64Nvme),
            ChecksumAlgorithm::Crc64Nvme,
            None,
        ),
        (
            Some(ChecksumAlgorithm::Crc32),
            ChecksumAlgorithm::Crc32,
            Some(crc32(&bytes, CRC32)),
        ),
        (
            Some(ChecksumAlgorithm::Crc32c),
            ChecksumAlgorithm::Crc32c,
            Some(crc32(&bytes, CRC32C)),
        ),
    ];
    for (checksum, algorithm, expected) in table {
        if expected.is_none() && !subject.store.capabilities().computed_checksums {
            continue;
        }
        let options = MultipartOptions {
            checksum,
            full_object_checksum: true,
            ..MultipartOptions::default()
        };
        let upload = Upload::begin_with(subject, "k", options).await;
        let one = checked_part(&upload, 1, bytes[..PART_BYTES].to_vec(), algorithm).await;
        let two = checked_part(&upload, 2, bytes[PART_BYTES..].to_vec(), algorithm).await;
        let info = upload.complete(&[one, two]).await.unwrap();
        let expected = match expected {
            Some(crc) => base64(crc.to_be_bytes()),
            None => {
                subject.put("whole", bytes.clone()).await.checksums.0[&ChecksumAlgorithm::Crc64Nvme].clone()
            }
        };
        assert_eq!(info.checksums.0.get(&algorithm), Some(&expected), "{checksum:?}");
    }
}

/// A checksum of checksums says of how many.
pub async fn composite_checksums_count_the_parts(subject: &Subject) {
    if !subject.store.capabilities().checksums {
        return;
    }
    for algorithm in [
        ChecksumAlgorithm::Sha256,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Crc32,
    ] {
        if algorithm != ChecksumAlgorithm::Crc32 && !subject.store.capabilities().computed_checksums {
            continue;
        }
        let options = MultipartOptions {
            checksum: Some(algorithm),
            ..MultipartOptions::default()
        };
        let upload = Upload::begin_with(subject, "k", options).await;
        let one = checked_part(&upload, 1, pattern(PART_BYTES, 1), algorithm).await;
        let two = checked_part(&upload, 2, pattern(10, 2), algorithm).await;
        let (_, parts) = subject.store.multipart(&upload.path, &upload.id).await.unwrap();
        assert!(
            parts.iter().all(|part| part.checksums.0.contains_key(&algorithm)),
            "{parts:?}"
        );
        let info = upload.complete(&[one, two]).await.unwrap();
        assert!(info.checksums.0[&algorithm].ends_with("-2"), "{info:?}");
    }
}

/// The checksums that the client lists must be the parts' own.
pub async fn a_wrong_part_checksum_is_refused(subject: &Subject) {
    if !subject.store.capabilities().checksums {
        return;
    }
    let algorithm = ChecksumAlgorithm::Sha256;
    let options = MultipartOptions {
        checksum: Some(algorithm),
        ..MultipartOptions::default()
    };
    let upload = Upload::begin_with(subject, "k", options).await;
    let right = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    let body = if subject.store.capabilities().computed_checksums {
        PutBody::from_bytes("abc")
    } else {
        let checksums = Checksums(BTreeMap::from([(algorithm, right.to_owned())]));
        finishing(b"abc".to_vec(), Ok(checksums))
    };
    let part = upload.try_part(1, body).await.unwrap();
    assert_eq!(part.checksums.0[&algorithm], right);
    let list = |value: &str| {
        let checksums = Checksums(BTreeMap::from([(algorithm, value.to_owned())]));
        [CompletedPart {
            number: 1,
            etag: part.etag.clone(),
            checksums,
        }]
    };
    let refused = upload.complete(&list("AAAA")).await;
    assert!(matches!(refused, Err(ObjectError::InvalidPart(_))), "{refused:?}");
    upload.complete(&list(right)).await.unwrap();
}

/// SHA digests cannot be combined.
pub async fn sha_checksums_cannot_cover_the_whole(subject: &Subject) {
    if !subject.store.capabilities().checksums {
        return;
    }
    for algorithm in [ChecksumAlgorithm::Sha1, ChecksumAlgorithm::Sha256] {
        let options = MultipartOptions {
            checksum: Some(algorithm),
            full_object_checksum: true,
            ..MultipartOptions::default()
        };
        let refused = subject.store.begin_multipart(&subject.path("k"), options).await;
        assert!(
            matches!(refused, Err(ObjectError::InvalidArgument(_))),
            "{refused:?}"
        );
    }
}

/// After completion there is no upload to add to, list or describe; giving it up is harmless.
pub async fn a_completed_upload_is_closed(subject: &Subject) {
    let upload = Upload::begin(subject, "k").await;
    let part = upload.part(1, pattern(10, 1)).await;
    upload.complete(&[part]).await.unwrap();
    let late = upload.try_part(2, PutBody::from_bytes("x")).await;
    let described = subject.store.multipart(&upload.path, &upload.id).await;
    if subject.store.capabilities().closed_uploads {
        assert!(is_no_upload(&late), "{late:?}");
        assert!(is_no_upload(&described), "{described:?}");
    } else {
        assert!(late.is_ok() && described.is_ok(), "{late:?} {described:?}");
    }
    assert!(
        subject
            .store
            .multiparts(&subject.bucket, "")
            .await
            .unwrap()
            .is_empty()
    );
    let aborted = upload.abort().await;
    assert!(aborted.is_ok() || is_no_upload(&aborted), "{aborted:?}");
    assert!(subject.read("k").await == pattern(10, 1));
}

/// A client that asks again before the first answer came gets that same answer.
pub async fn concurrent_completions_agree(subject: &Subject) {
    for last in [1, 2, 1, 2, 1, 2] {
        let upload = Upload::begin(subject, "k").await;
        let mut list = Vec::new();
        for number in 1..=last {
            list.push(upload.part(number, pattern(PART_BYTES, u64::from(number))).await);
        }
        let answers = join_all((0..4).map(|_| upload.complete(&list))).await;
        let current = subject.head("k").await;
        for answer in answers {
            assert_eq!(answer.unwrap(), current);
        }
    }
}

/// A part of an upload that was begun with a checksum, one of [`crc32`] where the store computes none: there it refuses a
/// part without.
async fn checked_part(
    upload: &Upload<'_>,
    number: u32,
    bytes: Vec<u8>,
    algorithm: ChecksumAlgorithm,
) -> CompletedPart {
    if upload.subject.store.capabilities().computed_checksums {
        return upload.part(number, bytes).await;
    }
    let unchecked = upload.try_part(number, PutBody::from_bytes(bytes.clone())).await;
    assert!(
        matches!(unchecked, Err(ObjectError::InvalidArgument(_))),
        "{unchecked:?}"
    );
    let crc = match algorithm {
        ChecksumAlgorithm::Crc32c => crc32(&bytes, CRC32C),
        _ => crc32(&bytes, CRC32),
    };
    let checksums = Checksums(BTreeMap::from([(algorithm, base64(crc.to_be_bytes()))]));
    let part = upload
        .try_part(number, finishing(bytes, Ok(checksums.clone())))
        .await
        .unwrap();
    assert_eq!(part.checksums, checksums);
    listed(number, &part.etag)
}

const CRC32: u32 = 0xedb8_8320;
const CRC32C: u32 = 0x82f6_3b78;

/// Bit by bit, so that it shares nothing with what it checks.
fn crc32(bytes: &[u8], polynomial: u32) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { polynomial } else { 0 }
        })
    })
}

/// RFC 4648 §4, for four bytes.
fn base64(bytes: [u8; 4]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = u64::from(u32::from_be_bytes(bytes)) << 4;
    let digits = (0..6)
        .rev()
        .map(|at| char::from(DIGITS[(bits >> (6 * at) & 63) as usize]));
    digits.chain(['=', '=']).collect()
}
