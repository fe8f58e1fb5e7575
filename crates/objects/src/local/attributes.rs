//! What is known of an object beyond its bytes, kept in one extended attribute of its file.
//!
//! It is set before the file gets its name, so bytes and attributes appear in one step, and a rename takes both
//! along. A file without it (copied in by hand) or changed since (edited in place) is served all the same, with an
//! `ETag` and a generation that follow from what the file system says of it.

use std::collections::BTreeMap;

use cloakroom_core::media::MediaType;
use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, Checksums, ObjectAttributes, ObjectError, ObjectInfo, Part, Result,
};
use jiff::Timestamp;
use rustix::fd::AsFd;
use rustix::fs::{Stat, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::failure;

/// The attribute of an object's file.
pub(super) const OBJECT_XATTR: &str = "user.cloakroom";

/// The attribute of a part's file. Another name, because the file of an only part becomes the object's file.
pub(super) const PART_XATTR: &str = "user.cloakroom.part";

/// Of the stored form.
const VERSION: u8 = 1;

/// ext4 keeps all extended attributes of a file in one block of 4 KiB; this leaves room for a part's attribute.
const RECORD_BYTES_MAX: usize = 3_456;

/// What headers and user metadata may take of that, as stored.
const HEADERS_BYTES_MAX: usize = 2_400;

/// The largest user metadata in bytes, names and values together (S3 API, "Working with object metadata").
const USER_METADATA_BYTES_MAX: usize = 2_048;

/// Part sizes are kept while they fit into so many bytes.
const PART_SIZES_BYTES_MAX: usize = 384;

/// The stored form, version 1. Short names, because there are few bytes.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Record {
    /// Version.
    v: u8,
    /// `ETag`.
    #[serde(rename = "e")]
    pub(super) etag: String,
    /// Generation.
    #[serde(rename = "g")]
    pub(super) generation: String,
    /// Size in bytes and modification time in nanoseconds when it was written: others mean that somebody changed the
    /// file since.
    #[serde(rename = "s")]
    pub(super) size_bytes: u64,
    #[serde(rename = "t")]
    modified_nanoseconds: i128,
    /// Headers and user metadata.
    #[serde(rename = "h", default, skip_serializing_if = "Headers::is_empty")]
    headers: Headers,
    /// Checksums by algorithm.
    #[serde(rename = "c", default, skip_serializing_if = "BTreeMap::is_empty")]
    checksums: BTreeMap<String, String>,
    /// CRC-64/NVME of a part, from which that of the whole is combined.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub(super) crc64nvme: Option<u64>,
    /// Number of parts.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub(super) parts: Option<u32>,
    /// Sizes of the parts, equal neighbours folded: `8388608*12,77`.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    part_sizes: Option<String>,
}

/// [`ObjectAttributes`] as stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub(super) struct Headers {
    #[serde(rename = "ct", default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(rename = "cd", default, skip_serializing_if = "Option::is_none")]
    content_disposition: Option<String>,
    #[serde(rename = "ce", default, skip_serializing_if = "Option::is_none")]
    content_encoding: Option<String>,
    #[serde(rename = "cl", default, skip_serializing_if = "Option::is_none")]
    content_language: Option<String>,
    #[serde(rename = "cc", default, skip_serializing_if = "Option::is_none")]
    cache_control: Option<String>,
    #[serde(rename = "ex", default, skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    user_metadata: BTreeMap<String, String>,
}

impl Headers {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<ObjectAttributes> for Headers {
    fn from(attributes: ObjectAttributes) -> Self {
        Self {
            content_type: attributes.content_type,
            content_disposition: attributes.content_disposition,
            content_encoding: attributes.content_encoding,
            content_language: attributes.content_language,
            cache_control: attributes.cache_control,
            expires: attributes.expires,
            user_metadata: attributes.user_metadata,
        }
    }
}

impl From<Headers> for ObjectAttributes {
    fn from(headers: Headers) -> Self {
        Self {
            content_type: headers.content_type,
            content_disposition: headers.content_disposition,
            content_encoding: headers.content_encoding,
            content_language: headers.content_language,
            cache_control: headers.cache_control,
            expires: headers.expires,
            user_metadata: headers.user_metadata,
        }
    }
}

impl Record {
    /// What is stored for a file that has just been written.
    pub(super) fn new(stat: &Stat, etag: String, generation: String, checksums: &Checksums) -> Self {
        Self {
            v: VERSION,
            etag,
            generation,
            size_bytes: size_of(stat),
            modified_nanoseconds: modified_nanoseconds(stat),
            headers: Headers::default(),
            checksums: checksums
                .0
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.clone()))
                .collect(),
            crc64nvme: None,
            parts: None,
            part_sizes: None,
        }
    }

    /// The same for these headers.
    pub(super) fn with_attributes(mut self, attributes: ObjectAttributes) -> Self {
        self.headers = attributes.into();
        self
    }

    /// The same for an object made of parts of these sizes.
    pub(super) fn with_parts(mut self, sizes: &[u64]) -> Self {
        let folded = fold_sizes(sizes);
        self.parts = Some(sizes.len() as u32);
        self.part_sizes = (folded.len() <= PART_SIZES_BYTES_MAX).then_some(folded);
        self
    }

    /// The same bytes in another file.
    pub(super) fn in_file(mut self, stat: &Stat) -> Self {
        self.size_bytes = size_of(stat);
        self.modified_nanoseconds = modified_nanoseconds(stat);
        self
    }

    /// Reads the attribute; `None` if there is none, or none that belongs to the file as it is now.
    pub(super) fn read(file: impl AsFd, name: &str, stat: &Stat) -> Result<Option<Self>> {
        let mut bytes = [0_u8; 4096];
        let length = match rustix::fs::fgetxattr(file, name, &mut bytes[..]) {
            Ok(length) => length,
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(failure::object(error, "read the attributes of an object")),
        };
        let record: Self = match serde_json::from_slice(&bytes[..length]) {
            Ok(record) => record,
            Err(error) => {
                return Err(ObjectError::Internal(format!(
                    "damaged attributes of an object: {error}"
                )));
            }
        };
        if record.v != VERSION {
            let message = format!("attributes of an object have version {}, not {VERSION}", record.v);
            return Err(ObjectError::Internal(message));
        }
        let unchanged =
            record.size_bytes == size_of(stat) && record.modified_nanoseconds == modified_nanoseconds(stat);
        Ok(unchanged.then_some(record))
    }

    /// Writes the attribute, unless it is too large.
    pub(super) fn write(&self, file: impl AsFd, name: &str) -> Result<()> {
        let bytes = self.to_json()?;
        rustix::fs::fsetxattr(file, name, &bytes, XattrFlags::empty())
            .map_err(|error| failure::object(error, "write the attributes of an object"))
    }

    fn to_json(&self) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self).map_err(|error| ObjectError::Internal(error.to_string()))?;
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(ObjectError::Internal(format!(
                "attributes of {} bytes do not fit",
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// What stands in for the attribute of a file that has none.
    pub(super) fn of_foreign_file(stat: &Stat, key: &str) -> Self {
        let name = format!(
            "{:x}-{:x}-{:x}",
            stat.st_ino,
            size_of(stat),
            modified_nanoseconds(stat)
        );
        let etag = format!("{:032x}-1", digest_of(&name));
        let extension = key
            .rsplit('/')
            .next()
            .and_then(|name| name.rsplit_once('.'))
            .map(|(_, extension)| extension);
        let content_type = extension
            .and_then(MediaType::from_extension)
            .map(|media_type| media_type.as_str().to_owned());
        Self::new(stat, etag, format!("file-{name}"), &Checksums::default()).with_attributes(
            ObjectAttributes {
                content_type,
                ..ObjectAttributes::default()
            },
        )
    }

    /// As the port shows it.
    pub(super) fn into_info(self) -> ObjectInfo {
        ObjectInfo {
            size_bytes: self.size_bytes,
            modified_at: self.modified_at(),
            checksums: self.checksums(),
            etag: self.etag,
            generation: self.generation,
            attributes: self.headers.into(),
            parts: self.parts,
        }
    }

    /// As the port shows a part.
    pub(super) fn into_part(self, number: u32) -> Part {
        Part {
            number,
            size_bytes: self.size_bytes,
            modified_at: self.modified_at(),
            checksums: self.checksums(),
            etag: self.etag,
        }
    }

    pub(super) fn modified_at(&self) -> Timestamp {
        timestamp(self.modified_nanoseconds)
    }

    pub(super) fn checksums(&self) -> Checksums {
        let known = ChecksumAlgorithm::ALL.iter().filter_map(|algorithm| {
            self.checksums
                .get(algorithm.as_str())
                .map(|value| (*algorithm, value.clone()))
        });
        Checksums(known.collect())
    }

    /// First and last offset of a part, from 1; `None` when there is no such part. An object that was written whole
    /// is its own first part.
    pub(super) fn part_range(&self, number: u32) -> Result<Option<(u64, u64)>> {
        let sizes = match (&self.part_sizes, self.parts) {
            (Some(sizes), _) => sizes.clone(),
            (None, None) => self.size_bytes.to_string(),
            (None, Some(_)) => return Err(ObjectError::Unsupported("parts of an object made of many sizes")),
        };
        let damaged = || ObjectError::Internal("damaged part sizes of an object".to_owned());
        let mut start = 0;
        let mut before = 0;
        for run in sizes.split(',') {
            let (size, count) = run.split_once('*').unwrap_or((run, "1"));
            let size: u64 = size.parse().map_err(|_| damaged())?;
            let count: u32 = count.parse().map_err(|_| damaged())?;
            if number > before && number - before <= count {
                start += size * u64::from(number - before - 1);
                return Ok(Some((start, start + size)));
            }
            start += size * u64::from(count);
            before += count;
        }
        Ok(None)
    }
}

/// Checks what S3 limits, and what fits.
pub(super) fn check_attributes(attributes: &ObjectAttributes) -> Result<()> {
    let user_metadata = attributes
        .user_metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let stored = serde_json::to_vec(&Headers::from(attributes.clone()))
        .map_err(|error| ObjectError::Internal(error.to_string()))?
        .len();
    for (what, bytes, bytes_max) in [
        ("user metadata", user_metadata, USER_METADATA_BYTES_MAX),
        ("headers and user metadata", stored, HEADERS_BYTES_MAX),
    ] {
        if bytes > bytes_max {
            let message = format!("{what} of an object may take {bytes_max} bytes, not {bytes}");
            return Err(ObjectError::InvalidArgument(message));
        }
    }
    Ok(())
}

/// When a file was last written.
pub(super) fn modified_at(stat: &Stat) -> Timestamp {
    timestamp(modified_nanoseconds(stat))
}

pub(super) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

fn modified_nanoseconds(stat: &Stat) -> i128 {
    i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec)
}

/// Cut to the microseconds that every database keeps.
fn timestamp(nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds - nanoseconds.rem_euclid(1_000)).unwrap_or_default()
}

fn fold_sizes(sizes: &[u64]) -> String {
    let runs = sizes.chunk_by(|one, other| one == other).map(|run| match run {
        [size] => size.to_string(),
        _ => format!("{}*{}", run[0], run.len()),
    });
    runs.collect::<Vec<_>>().join(",")
}

fn digest_of(text: &str) -> u128 {
    use md5::Digest as _;
    u128::from_be_bytes(md5::Md5::digest(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat_of(size: u64) -> (tempfile::NamedTempFile, Stat) {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        let stat = rustix::fs::fstat(file.as_file()).unwrap();
        (file, stat)
    }

    fn record(size: u64) -> Record {
        let (_file, stat) = stat_of(size);
        Record::new(&stat, "e".into(), "g".into(), &Checksums::default())
    }

    #[test]
    fn the_stored_form_of_version_1_is_read_for_ever() {
        let golden = r#"{"v":1,"e":"9a0364b9e99bb480dd25e1f0284c8555-2","g":"00ff","s":5242887,"t":1700000000123456789,"h":{"ct":"image/png","cc":"no-cache","m":{"name":"ü"}},"c":{"CRC64NVME":"AAAAAAAAAAA="},"n":2,"p":"5242880,7"}"#;
        let read: Record = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), golden);
        let info = read.into_info();
        assert_eq!(info.modified_at.as_microsecond(), 1_700_000_000_123_456);
        assert_eq!(info.attributes.user_metadata["name"], "ü");
        assert_eq!((info.parts, info.size_bytes), (Some(2), 5_242_887));
    }

    #[test]
    fn a_record_holds_for_the_file_that_it_was_written_for() {
        let (file, stat) = stat_of(3);
        let record = Record::new(&stat, "e".into(), "g".into(), &Checksums::default());
        assert_eq!(Record::read(file.as_file(), OBJECT_XATTR, &stat).unwrap(), None);
        record.write(file.as_file(), OBJECT_XATTR).unwrap();
        assert_eq!(
            Record::read(file.as_file(), OBJECT_XATTR, &stat).unwrap(),
            Some(record.clone())
        );
        rustix::fs::fsetxattr(
            file.as_file(),
            OBJECT_XATTR,
            br#"{"v":2,"e":"e","g":"g","s":3,"t":0}"#,
            XattrFlags::empty(),
        )
        .unwrap();
        assert!(matches!(
            Record::read(file.as_file(), OBJECT_XATTR, &stat),
            Err(ObjectError::Internal(_))
        ));
        record.write(file.as_file(), OBJECT_XATTR).unwrap();
        file.as_file().set_len(4).unwrap();
        let stat = rustix::fs::fstat(file.as_file()).unwrap();
        assert_eq!(Record::read(file.as_file(), OBJECT_XATTR, &stat).unwrap(), None);
    }

    #[test]
    fn what_is_accepted_fits_into_a_block_with_all_that_can_come_with_it() {
        let attributes = |metadata_bytes: usize, header_bytes: usize| ObjectAttributes {
            user_metadata: [("k".to_owned(), "x".repeat(metadata_bytes - 1))].into(),
            content_disposition: Some("x".repeat(header_bytes)),
            ..ObjectAttributes::default()
        };
        let largest = attributes(2_048, 331);
        assert_eq!(
            serde_json::to_vec(&Headers::from(largest.clone())).unwrap().len(),
            HEADERS_BYTES_MAX
        );
        check_attributes(&largest).unwrap();
        for too_large in [
            attributes(2_048, 332),
            attributes(2_049, 0),
            attributes(1, 60_000),
        ] {
            assert!(matches!(
                check_attributes(&too_large),
                Err(ObjectError::InvalidArgument(_))
            ));
        }

        let (file, stat) = stat_of(5);
        let lengths = [8, 8, 12, 28, 44];
        let checksums = ChecksumAlgorithm::ALL.iter().zip(lengths);
        let checksums =
            checksums.map(|(algorithm, length)| (*algorithm, format!("{}-10000", "x".repeat(length))));
        let checksums = Checksums(checksums.collect());
        let new = || {
            Record::new(
                &stat,
                format!("{:032x}-10000", 1),
                format!("{:032x}", 2),
                &checksums,
            )
        };
        let part = Record {
            crc64nvme: Some(u64::MAX),
            size_bytes: u64::MAX,
            ..new()
        };
        part.write(file.as_file(), PART_XATTR).unwrap();
        let sizes: Vec<u64> = (0..34).map(|number| 5_242_880_000 + number).collect();
        let object = Record {
            size_bytes: u64::MAX,
            ..new().with_attributes(largest).with_parts(&sizes)
        };
        assert!(object.part_sizes.is_some());
        object.write(file.as_file(), OBJECT_XATTR).unwrap();
    }

    #[test]
    fn part_ranges_follow_the_sizes() {
        let parted = record(0).with_parts(&[10, 10, 10, 4, 10]);
        assert_eq!(parted.part_sizes.as_deref(), Some("10*3,4,10"));
        let ranges: Vec<_> = (0..=6).map(|number| parted.part_range(number).unwrap()).collect();
        assert_eq!(
            ranges,
            [
                None,
                Some((0, 10)),
                Some((10, 20)),
                Some((20, 30)),
                Some((30, 34)),
                Some((34, 44)),
                None
            ]
        );
        assert_eq!(record(7).part_range(1).unwrap(), Some((0, 7)));
        assert_eq!(record(7).part_range(2).unwrap(), None);
        let uneven: Vec<u64> = (0..10_000).collect();
        let parted = record(0).with_parts(&uneven);
        assert_eq!(parted.parts, Some(10_000));
        assert!(matches!(parted.part_range(1), Err(ObjectError::Unsupported(_))));
    }

    #[test]
    fn foreign_files_get_a_type_by_their_name() {
        let (_file, stat) = stat_of(5);
        let info = Record::of_foreign_file(&stat, "dir.x/photo.JPG").into_info();
        assert_eq!(info.attributes.content_type.as_deref(), Some("image/jpeg"));
        assert_eq!(info.etag.len(), 34);
        assert_eq!(
            Record::of_foreign_file(&stat, "dir.jpg/photo")
                .into_info()
                .attributes
                .content_type,
            None
        );
    }
}
