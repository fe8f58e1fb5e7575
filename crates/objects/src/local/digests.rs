//! Digests that are computed while bytes pass: each byte is read from memory once, on its way to the disk.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloakroom_core::ports::objects::ChecksumAlgorithm;
use crc_fast::CrcAlgorithm;
use sha2::Digest as _;

/// The digests of one body.
pub(super) struct Digests {
    crc64nvme: crc_fast::Digest,
    md5: Option<md5::Md5>,
    extra: Option<(ChecksumAlgorithm, Hasher)>,
}

/// What came out.
pub(super) struct Digested {
    /// CRC-64/NVME.
    pub(super) crc64nvme: u64,
    /// MD5, if asked for.
    pub(super) md5: Option<[u8; 16]>,
    /// The checksum that was asked for, as S3 shows it.
    pub(super) extra: Option<(ChecksumAlgorithm, String)>,
}

enum Hasher {
    Crc(crc_fast::Digest),
    Sha1(sha1::Sha1),
    Sha256(sha2::Sha256),
}

impl Digests {
    /// CRC-64/NVME always (it costs next to nothing), and what else is asked for.
    pub(super) fn new(with_md5: bool, extra: Option<ChecksumAlgorithm>) -> Self {
        let hasher = |algorithm| match algorithm {
            ChecksumAlgorithm::Sha1 => Hasher::Sha1(sha1::Sha1::new()),
            ChecksumAlgorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            ChecksumAlgorithm::Crc32 => Hasher::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32IsoHdlc)),
            ChecksumAlgorithm::Crc32c => Hasher::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc32Iscsi)),
            ChecksumAlgorithm::Crc64Nvme => Hasher::Crc(crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme)),
        };
        Self {
            crc64nvme: crc_fast::Digest::new(CrcAlgorithm::Crc64Nvme),
            md5: with_md5.then(md5::Md5::new),
            extra: extra.map(|algorithm| (algorithm, hasher(algorithm))),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.crc64nvme.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        match &mut self.extra {
            Some((_, Hasher::Crc(crc))) => crc.update(bytes),
            Some((_, Hasher::Sha1(sha1))) => sha1.update(bytes),
            Some((_, Hasher::Sha256(sha256))) => sha256.update(bytes),
            None => {}
        }
    }

    pub(super) fn finish(self) -> Digested {
        let show = |(algorithm, hasher)| {
            let text = match hasher {
                Hasher::Crc(crc) => show_crc(algorithm, crc.finalize()),
                Hasher::Sha1(sha1) => BASE64.encode(sha1.finalize()),
                Hasher::Sha256(sha256) => BASE64.encode(sha256.finalize()),
            };
            (algorithm, text)
        };
        Digested {
            crc64nvme: self.crc64nvme.finalize(),
            md5: self.md5.map(|md5| md5.finalize().into()),
            extra: self.extra.map(show),
        }
    }
}

/// A CRC as S3 shows it: base64 of its bytes, most significant first.
pub(super) fn show_crc(algorithm: ChecksumAlgorithm, crc: u64) -> String {
    if algorithm == ChecksumAlgorithm::Crc64Nvme {
        BASE64.encode(crc.to_be_bytes())
    } else {
        BASE64.encode((crc as u32).to_be_bytes())
    }
}

/// One checksum over the whole, out of those of its parts (`FULL_OBJECT`, CRCs only). `None` if a part's cannot be
/// read.
pub(super) fn combine_crcs(
    algorithm: ChecksumAlgorithm,
    parts: impl IntoIterator<Item = (String, u64)>,
) -> Option<String> {
    let crc_algorithm = match algorithm {
        ChecksumAlgorithm::Crc32 => CrcAlgorithm::Crc32IsoHdlc,
        ChecksumAlgorithm::Crc32c => CrcAlgorithm::Crc32Iscsi,
        ChecksumAlgorithm::Crc64Nvme => CrcAlgorithm::Crc64Nvme,
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => return None,
    };
    let mut whole = None;
    for (shown, size_bytes) in parts {
        let crc = read_crc(&shown)?;
        whole = Some(match whole {
            None => crc,
            Some(before) => crc_fast::checksum_combine(crc_algorithm, before, crc, size_bytes),
        });
    }
    Some(show_crc(algorithm, whole?))
}

/// A checksum of checksums (`COMPOSITE`): the digest of the parts' digests, with their number. `None` if a part's
/// cannot be read.
pub(super) fn compose(
    algorithm: ChecksumAlgorithm,
    parts: impl IntoIterator<Item = String>,
) -> Option<String> {
    let mut digests = Digests::new(false, Some(algorithm));
    let mut count = 0;
    for shown in parts {
        digests.update(&BASE64.decode(shown).ok()?);
        count += 1;
    }
    let (_, text) = digests.finish().extra?;
    Some(format!("{text}-{count}"))
}

fn read_crc(shown: &str) -> Option<u64> {
    let bytes = BASE64.decode(shown).ok()?;
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The `ETag` of a body: its MD5, or else something of the shape that clients do not take for one.
pub(super) fn etag_of(digested: &Digested) -> String {
    match digested.md5 {
        Some(md5) => hex(&md5),
        None => format!("{:016x}{:016x}-1", digested.crc64nvme, rand::random::<u64>()),
    }
}

/// The `ETag` of an object made of parts: MD5 over the digests in the parts' `ETag`s, with their number.
pub(super) fn multipart_etag<'a>(parts: impl ExactSizeIterator<Item = &'a str>) -> String {
    let count = parts.len();
    let mut md5 = md5::Md5::new();
    for etag in parts {
        let digits = etag.split('-').next().unwrap_or_default();
        let value = u128::from_str_radix(digits, 16).unwrap_or_default();
        md5.update(value.to_be_bytes());
    }
    format!("{}-{count}", hex(&md5.finalize()))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Proof: writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
        let mut digests = Digests::new(false, Some(algorithm));
        digests.update(bytes);
        digests.finish().extra.unwrap().1
    }

    #[test]
    fn checksums_are_those_of_the_catalogue() {
        // Check values over "123456789" of the CRC catalogue, and of `sha1sum` and `sha256sum`.
        let table = [
            (
                ChecksumAlgorithm::Crc32,
                BASE64.encode(0xcbf4_3926_u32.to_be_bytes()),
            ),
            (
                ChecksumAlgorithm::Crc32c,
                BASE64.encode(0xe306_9283_u32.to_be_bytes()),
            ),
            (
                ChecksumAlgorithm::Crc64Nvme,
                BASE64.encode(0xae8b_1486_0a79_9888_u64.to_be_bytes()),
            ),
            (ChecksumAlgorithm::Sha1, "98O8HYCOBHMq32eZZczDTKeuNEE=".to_owned()),
            (
                ChecksumAlgorithm::Sha256,
                "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU=".to_owned(),
            ),
        ];
        for (algorithm, expected) in table {
            assert_eq!(shown(algorithm, b"123456789"), expected, "{algorithm:?}");
        }
    }

    #[test]
    fn crcs_of_parts_make_that_of_the_whole() {
        use ChecksumAlgorithm::{Crc32, Crc32c, Crc64Nvme, Sha256};
        for algorithm in [Crc32, Crc32c, Crc64Nvme] {
            let parts = [&b"1234"[..], b"", b"56789"];
            let combined = combine_crcs(
                algorithm,
                parts.map(|part| (shown(algorithm, part), part.len() as u64)),
            );
            assert_eq!(combined, Some(shown(algorithm, b"123456789")), "{algorithm:?}");
        }
        assert_eq!(combine_crcs(Sha256, [(shown(Sha256, b"x"), 1)]), None);
    }

    #[test]
    fn composites_digest_the_digests() {
        let parts = [&b"one"[..], b"two"];
        let composed = compose(
            ChecksumAlgorithm::Sha256,
            parts.map(|part| shown(ChecksumAlgorithm::Sha256, part)),
        );
        let raw: Vec<u8> = parts
            .iter()
            .flat_map(|part| sha2::Sha256::digest(part).to_vec())
            .collect();
        assert_eq!(
            composed,
            Some(format!("{}-2", BASE64.encode(sha2::Sha256::digest(raw))))
        );
    }

    #[test]
    fn multipart_etags_have_the_shape_of_s3() {
        let one = hex(&md5::Md5::digest(b"one"));
        let raw = md5::Md5::digest(b"one");
        assert_eq!(
            multipart_etag([one.as_str()].into_iter()),
            format!("{}-1", hex(&md5::Md5::digest(raw)))
        );
    }
}
