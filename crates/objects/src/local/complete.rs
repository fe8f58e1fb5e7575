//! Making an object out of the parts of a multipart upload.

use std::collections::BTreeMap;

use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, Checksums, CompletedPart, ObjectError, ObjectInfo, ObjectPath, Result, WriteConditions,
};
use rustix::fd::AsFd;
use sha2::Digest as _;

use super::attributes::{OBJECT_XATTR, Record};
use super::digests::{combine_crcs, compose, hex, multipart_etag, show_crc};
use super::manifest::{self, COMPLETION, Completion, Manifest, read_completion};
use super::multipart::{UploadPlace, open_part, remove_parts};
use super::temp::TempFile;
use super::{Shared, failure};
use crate::conditions::strip_quotes;

/// The smallest part other than the last (S3 API, "Amazon S3 multipart upload limits").
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

/// Completes an upload. Blocks.
pub(super) fn complete(
    shared: &Shared,
    path: &ObjectPath,
    upload_id: &str,
    listed: &[CompletedPart],
    conditions: &WriteConditions,
) -> Result<ObjectInfo> {
    let place = UploadPlace::new(path, upload_id)?;
    check_order(listed)?;
    let (manifest, _) = place.manifest(shared)?;
    if let Some(answer) = earlier_answer(shared, &place, listed)? {
        return Ok(answer);
    }
    match make_object(shared, &place, manifest, listed, conditions) {
        // The parts may be gone because the same request has been served meanwhile.
        Err(error @ ObjectError::InvalidPart(_)) => earlier_answer(shared, &place, listed)?.ok_or(error),
        result => result,
    }
}

fn make_object(
    shared: &Shared,
    place: &UploadPlace,
    manifest: Manifest,
    listed: &[CompletedPart],
    conditions: &WriteConditions,
) -> Result<ObjectInfo> {
    let chosen = Chosen::new(shared, place, listed)?;
    let generation = chosen.generation(place);
    let checksums = chosen.checksums(&manifest)?;
    let attributes = manifest.options().attributes;
    let record_for = |file: &dyn Fn() -> rustix::io::Result<rustix::fs::Stat>| -> Result<Record> {
        let stat = file().map_err(|error| failure::object(error, "look at the object"))?;
        Ok(Record::new(&stat, chosen.etag(), generation.clone(), &checksums)
            .with_attributes(attributes.clone())
            .with_parts(&chosen.sizes()))
    };
    // The long part, copying, happens before the lock; an only part is not copied at all.
    let assembled = if let [_] = listed {
        None
    } else {
        Some(chosen.assemble(shared, place)?)
    };

    let _guard = shared.upload_locks.lock(&place.directory);
    place.manifest(shared)?;
    if let Some(answer) = earlier_answer(shared, place, listed)? {
        return Ok(answer);
    }
    let made_before = shared
        .open(&place.object)
        .ok()
        .filter(|opened| opened.record.generation == generation);
    let record = match (made_before, assembled, listed) {
        (Some(opened), _, _) => opened.record,
        (None, Some(temp), _) => {
            let record = record_for(&|| rustix::fs::fstat(&temp))?;
            make_durable(&record, &temp)?;
            shared.publish(&place.object, temp, conditions)?;
            record
        }
        (None, None, listed) => {
            let number = listed[0].number;
            let (_, file) = chosen.open(shared, place, number)?;
            let record = record_for(&|| rustix::fs::fstat(&file))?;
            make_durable(&record, &file)?;
            shared.publish_existing(&place.object, &place.part_path(number), conditions)?;
            record
        }
    };
    let fail = |error| failure::object(error, "note that the upload is complete");
    let completion = Completion::new(digest_of_list(listed), record.clone());
    manifest::write_document(shared, &completion, &format!("{}/{COMPLETION}", place.directory))?
        .map_err(fail)?;
    shared
        .directories
        .sync(&shared.root, &place.directory)
        .map_err(fail)?;
    remove_parts(shared, place)?;
    Ok(record.into_info())
}

/// What the same request was answered before; after another one the upload is no more.
fn earlier_answer(
    shared: &Shared,
    place: &UploadPlace,
    listed: &[CompletedPart],
) -> Result<Option<ObjectInfo>> {
    match read_completion(shared, &place.directory)? {
        Some(completion) if completion.parts == digest_of_list(listed) => Ok(Some(completion.into_info())),
        Some(_) => Err(ObjectError::NoSuchUpload),
        None => Ok(None),
    }
}

fn make_durable(record: &Record, file: impl AsFd) -> Result<()> {
    record.write(&file, OBJECT_XATTR)?;
    rustix::fs::fsync(&file).map_err(|error| failure::object(error, "sync the object"))
}

fn digest_of_list(listed: &[CompletedPart]) -> String {
    let mut digest = sha2::Sha256::new();
    for part in listed {
        digest.update(format!("{} {} ", part.number, strip_quotes(&part.etag)));
    }
    hex(&digest.finalize())
}

/// The parts of a list, checked against what was uploaded.
struct Chosen {
    /// By number, with the file's record.
    parts: BTreeMap<u32, Record>,
}

impl Chosen {
    /// Checks order, `ETag`s, checksums and sizes (S3 API, `CompleteMultipartUpload`).
    fn new(shared: &Shared, place: &UploadPlace, listed: &[CompletedPart]) -> Result<Self> {
        check_order(listed)?;
        let mut parts = BTreeMap::new();
        for part in listed {
            let invalid = || ObjectError::InvalidPart(format!("part {}", part.number));
            let (record, _) = open_part(shared, place, part.number)?.ok_or_else(invalid)?;
            let known: Checksums = record.checksums();
            let agrees = strip_quotes(&part.etag) == record.etag
                && part
                    .checksums
                    .0
                    .iter()
                    .all(|(algorithm, value)| known.0.get(algorithm) == Some(value));
            if !agrees {
                return Err(invalid());
            }
            parts.insert(part.number, record);
        }
        let last = listed.last().map(|part| part.number);
        for (number, record) in &parts {
            if record.size_bytes < PART_BYTES_MIN && Some(*number) != last {
                return Err(ObjectError::PartTooSmall {
                    number: *number,
                    size_bytes: record.size_bytes,
                });
            }
        }
        Ok(Self { parts })
    }

    /// Opens a part, if it is still the one that was chosen.
    fn open(
        &self,
        shared: &Shared,
        place: &UploadPlace,
        number: u32,
    ) -> Result<(Record, rustix::fd::OwnedFd)> {
        open_part(shared, place, number)?
            .filter(|(record, _)| {
                self.parts
                    .get(&number)
                    .is_some_and(|chosen| chosen.generation == record.generation)
            })
            .ok_or_else(|| ObjectError::InvalidPart(format!("part {number} was replaced meanwhile")))
    }

    /// All parts in one file.
    fn assemble(&self, shared: &Shared, place: &UploadPlace) -> Result<TempFile> {
        let mut temp = shared.create_temp()?;
        let mut offset = 0;
        for number in self.parts.keys() {
            let (record, file) = self.open(shared, place, *number)?;
            shared.append_file(&file, record.size_bytes, &mut temp, offset)?;
            offset += record.size_bytes;
        }
        Ok(temp)
    }

    fn etag(&self) -> String {
        multipart_etag(self.parts.values().map(|record| record.etag.as_str()))
    }

    fn sizes(&self) -> Vec<u64> {
        self.parts.values().map(|record| record.size_bytes).collect()
    }

    /// The object's checksum of the kind that the upload was begun with; CRC-64/NVME if with none.
    fn checksums(&self, manifest: &Manifest) -> Result<Checksums> {
        let algorithm = manifest.checksum().unwrap_or(ChecksumAlgorithm::Crc64Nvme);
        let of_part = |record: &Record| match manifest.checksum() {
            None => record.crc64nvme.map(|crc| show_crc(algorithm, crc)),
            Some(_) => record.checksums().0.remove(&algorithm),
        };
        let parts = self
            .parts
            .values()
            .map(|record| Some((of_part(record)?, record.size_bytes)));
        let parts: Option<Vec<_>> = parts.collect();
        let whole = parts.and_then(|parts| {
            if manifest.full_object() {
                combine_crcs(algorithm, parts)
            } else {
                compose(algorithm, parts.into_iter().map(|(value, _)| value))
            }
        });
        let whole = whole.ok_or_else(|| ObjectError::Internal("a part has no usable checksum".to_owned()))?;
        Ok(Checksums([(algorithm, whole)].into()))
    }

    /// The object's generation: the same for the same parts of the same upload, and for nothing else.
    fn generation(&self, place: &UploadPlace) -> String {
        let mut digest = sha2::Sha256::new();
        digest.update(&place.id);
        for (number, record) in &self.parts {
            digest.update(format!(" {number} {}", record.generation));
        }
        hex(&digest.finalize()[..16])
    }
}

/// A list has parts, and they ascend.
fn check_order(listed: &[CompletedPart]) -> Result<()> {
    if listed.is_empty() {
        return Err(ObjectError::InvalidArgument(
            "a multipart upload needs at least one part".to_owned(),
        ));
    }
    if !listed.is_sorted_by(|one, next| one.number < next.number) {
        return Err(ObjectError::InvalidPartOrder);
    }
    Ok(())
}
