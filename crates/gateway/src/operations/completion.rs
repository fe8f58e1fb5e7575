//! Whether the parts of an upload make the object that the client announced, checked before anything becomes visible.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::ports::objects::{ChecksumAlgorithm, CompletedPart, Part};
use crc_fast::CrcAlgorithm;

use crate::error::S3Error;

/// Holds the announced checksum and size against the parts that were uploaded. Parts that are not there are left to the
/// store to refuse.
pub(crate) fn check(
    listed: &[CompletedPart],
    uploaded: &[Part],
    checksum: Option<&(ChecksumAlgorithm, String)>,
    object_bytes: Option<u64>,
) -> Result<(), S3Error> {
    let mut parts = Vec::with_capacity(listed.len());
    for entry in listed {
        let Some(part) = uploaded.iter().find(|part| part.number == entry.number) else {
            return Ok(());
        };
        parts.push(part);
    }
    let total: u64 = parts.iter().map(|part| part.size_bytes).sum();
    if object_bytes.is_some_and(|announced| announced != total) {
        return Err(S3Error::invalid_request(
            "The provided 'x-amz-mp-object-size' header value does not match what was computed.",
        ));
    }
    let Some((algorithm, announced)) = checksum else {
        return Ok(());
    };
    let matches = full_object(&parts, *algorithm).is_some_and(|computed| computed == *announced);
    if matches {
        return Ok(());
    }
    Err(S3Error::new(
        "BadDigest",
        format!(
            "The {} you specified did not match the calculated checksum.",
            algorithm.as_str()
        ),
    ))
}

/// The CRC over all parts, joined from theirs; `None` where that cannot be.
fn full_object(parts: &[&Part], algorithm: ChecksumAlgorithm) -> Option<String> {
    let (crc, width) = match algorithm {
        ChecksumAlgorithm::Crc32 => (CrcAlgorithm::Crc32IsoHdlc, 4),
        ChecksumAlgorithm::Crc32c => (CrcAlgorithm::Crc32Iscsi, 4),
        ChecksumAlgorithm::Crc64Nvme => (CrcAlgorithm::Crc64Nvme, 8),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => return None,
    };
    let mut joined = crc_fast::checksum(crc, b"");
    for part in parts {
        let digest = STANDARD.decode(part.checksums.0.get(&algorithm)?).ok()?;
        let value = digest
            .iter()
            .fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
        joined = crc_fast::checksum_combine(crc, joined, value, part.size_bytes);
    }
    Some(STANDARD.encode(&joined.to_be_bytes()[8 - width..]))
}

#[cfg(test)]
mod tests {
    use cloakroom_core::ports::objects::Checksums;

    use super::*;

    fn part(number: u32, content: &[u8]) -> (CompletedPart, Part) {
        let mut checksums = Checksums::default();
        for (algorithm, crc, width) in [
            (ChecksumAlgorithm::Crc32, CrcAlgorithm::Crc32IsoHdlc, 4),
            (ChecksumAlgorithm::Crc64Nvme, CrcAlgorithm::Crc64Nvme, 8),
        ] {
            let value = crc_fast::checksum(crc, content).to_be_bytes();
            checksums
                .0
                .insert(algorithm, STANDARD.encode(&value[8 - width..]));
        }
        let uploaded = Part {
            number,
            size_bytes: content.len() as u64,
            etag: "e".into(),
            checksums,
            modified_at: jiff::Timestamp::UNIX_EPOCH,
        };
        (
            CompletedPart {
                number,
                ..CompletedPart::default()
            },
            uploaded,
        )
    }

    #[test]
    fn the_whole_is_known_from_its_parts() {
        let (listed, uploaded): (Vec<_>, Vec<_>) = [part(1, b"1234"), part(2, b""), part(9, b"56789")]
            .into_iter()
            .unzip();
        let verdict = |algorithm, value: &str, bytes| {
            check(&listed, &uploaded, Some(&(algorithm, value.to_owned())), bytes).map_err(|error| error.code)
        };
        assert_eq!(verdict(ChecksumAlgorithm::Crc32, "y/Q5Jg==", Some(9)), Ok(()));
        assert_eq!(
            verdict(ChecksumAlgorithm::Crc64Nvme, "rosUhgp5mIg=", None),
            Ok(())
        );
        assert_eq!(
            verdict(ChecksumAlgorithm::Crc32, "AAAAAA==", None),
            Err("BadDigest")
        );
        assert_eq!(
            verdict(ChecksumAlgorithm::Crc32c, "4waSgw==", None),
            Err("BadDigest"),
            "the parts do not have it"
        );
        assert_eq!(
            verdict(ChecksumAlgorithm::Crc32, "y/Q5Jg==", Some(8)),
            Err("InvalidRequest")
        );
    }
}
