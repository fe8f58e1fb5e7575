//! Uploads: one attempt to bring a file in.

use jiff::Timestamp;

use crate::checksum::Sha256Digest;
use crate::id::FileId;

/// How the bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UploadMethod {
    /// One presigned PUT.
    Put,
    /// A browser form with a POST policy.
    Post,
    /// S3 multipart: presigned parts, then complete.
    Multipart,
    /// Through the service: `POST /files`.
    Stream,
}

impl UploadMethod {
    /// Every method.
    pub const ALL: &'static [Self] = &[Self::Put, Self::Post, Self::Multipart, Self::Stream];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Post => "post",
            Self::Multipart => "multipart",
            Self::Stream => "stream",
        }
    }

    /// Reads a name, in any letter case (S2 says `PUT`).
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|method| method.as_str().eq_ignore_ascii_case(text))
    }
}

/// One attempt to bring a file in; its file's id is its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// The file that it brings.
    pub file_id: FileId,
    /// How.
    pub method: UploadMethod,
    /// Where the client writes: the staging key, in the bucket of the file.
    pub staging_key: String,
    /// When the signatures given out end.
    pub expires_at: Timestamp,
    /// The store's multipart id, once begun.
    pub multipart_id: Option<String>,
    /// Size of every part but the last, for multipart.
    pub part_size_bytes: Option<u64>,
    /// Digest of the signing request, to tell a repeated request with the same idempotency key from another one.
    pub request_digest: Option<Sha256Digest>,
    /// Bytes reserved in the owner's quota until the upload ends (I11).
    pub reserved_bytes: u64,
}

/// S3 takes parts of 5 MiB to 5 GiB, 10,000 of them (S3 user guide, "multipart upload limits").
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// See [`PART_BYTES_MIN`].
pub const PARTS_MAX: u32 = 10_000;
/// Above this size S3 refuses a single PUT, so only multipart is offered.
pub const SINGLE_PUT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// Part size for a file of this size: 8 MiB, or what fits the file in 10,000 parts, in whole MiB.
pub fn part_size_bytes(size_bytes: u64) -> u64 {
    const MIB: u64 = 1024 * 1024;
    let needed = size_bytes.div_ceil(u64::from(PARTS_MAX)).div_ceil(MIB) * MIB;
    needed.max(8 * MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::OBJECT_BYTES_MAX;

    #[test]
    fn parts_fit_the_limits_of_s3() {
        for size in [0, 1, PART_BYTES_MIN, 80 << 30, (80 << 30) + 1, OBJECT_BYTES_MAX] {
            let part = part_size_bytes(size);
            assert!(
                part >= PART_BYTES_MIN && size.div_ceil(part) <= u64::from(PARTS_MAX),
                "{size}"
            );
        }
    }
}
