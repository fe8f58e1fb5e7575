//! Multipart uploads: a directory per upload in `.multipart/<bucket>/<upload id>/`, with a manifest and a file per
//! part, all written as objects are.
//!
//! Completion is safe to repeat. The object's generation follows from the upload and the parts it is made of, so a
//! second attempt recognises what the first one made, even if that died before it could say so. Afterwards a small
//! file remembers the answer until the upload is aborted or the store is opened more than a day later.

use std::sync::Arc;

use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, MultipartOptions, MultipartUpload, ObjectError, ObjectPath, Part, PutBody, Result,
};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::attributes::{PART_XATTR, Record, check_attributes};
use super::buckets::directory_names;
use super::manifest::{self, MANIFEST, Manifest, read_completion, read_manifest};
use super::names::{DIRECTORY_MODE, Place};
use super::write::{self, fresh_generation};
use super::{Shared, failure, on_blocking_thread, open_directory, open_file, temp};
use crate::bucket_name::is_legal_name;

/// Where uploads are, below the root.
pub(super) const MULTIPART_DIRECTORY: &str = ".multipart";

/// The highest part number (S3 API, "Amazon S3 multipart upload limits").
const PART_NUMBER_MAX: u32 = 10_000;

/// An upload's directory, below the root.
pub(super) struct UploadPlace {
    pub(super) id: String,
    pub(super) directory: String,
    pub(super) object: Place,
}

impl UploadPlace {
    /// Checks bucket, key and the form of the id, which becomes a name on disk.
    pub(super) fn new(path: &ObjectPath, id: &str) -> Result<Self> {
        let object = Place::new(path)?;
        if id.len() != 32 || !id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ObjectError::NoSuchUpload);
        }
        let directory = format!("{MULTIPART_DIRECTORY}/{}/{id}", object.bucket);
        Ok(Self {
            id: id.to_owned(),
            directory,
            object,
        })
    }

    pub(super) fn part_path(&self, number: u32) -> String {
        format!("{}/{number:05}", self.directory)
    }

    /// The manifest of an upload for this key, whether it has ended or not.
    pub(super) fn manifest(&self, shared: &Shared) -> Result<(Manifest, rustix::fd::OwnedFd)> {
        match read_manifest(shared, &self.directory)? {
            Some((manifest, file)) if manifest.key == self.object.key => Ok((manifest, file)),
            _ => {
                shared.check_bucket(&self.object.bucket)?;
                Err(ObjectError::NoSuchUpload)
            }
        }
    }

    /// The manifest of an upload under way.
    fn open_manifest(&self, shared: &Shared) -> Result<(Manifest, rustix::fd::OwnedFd)> {
        let manifest = self.manifest(shared)?;
        if read_completion(shared, &self.directory)?.is_some() {
            return Err(ObjectError::NoSuchUpload);
        }
        Ok(manifest)
    }
}

/// Begins an upload. Blocks.
pub(super) fn begin(shared: &Shared, path: &ObjectPath, options: MultipartOptions) -> Result<String> {
    let object = Place::new(path)?;
    check_attributes(&options.attributes)?;
    if options.full_object_checksum
        && matches!(
            options.checksum,
            Some(ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256)
        )
    {
        return Err(ObjectError::InvalidArgument(
            "SHA checksums of a multipart object are composite".to_owned(),
        ));
    }
    shared.check_bucket(&object.bucket)?;
    let id = fresh_generation();
    let fail = |error| failure::object(error, "begin the upload");
    let uploads = format!("{MULTIPART_DIRECTORY}/{}", object.bucket);
    match rustix::fs::mkdirat(&shared.root, &uploads, DIRECTORY_MODE) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(fail(error)),
    }
    let directory = format!("{uploads}/{id}");
    rustix::fs::mkdirat(&shared.root, &directory, DIRECTORY_MODE).map_err(fail)?;
    let manifest = Manifest::new(&object.key, options);
    manifest::write_document(shared, &manifest, &format!("{directory}/{MANIFEST}"))?.map_err(fail)?;
    for made in [directory.as_str(), uploads.as_str(), MULTIPART_DIRECTORY] {
        shared.directories.sync(&shared.root, made).map_err(fail)?;
    }
    Ok(id)
}

/// Writes a part.
pub(super) async fn put_part(
    shared: &Arc<Shared>,
    path: &ObjectPath,
    upload_id: &str,
    number: u32,
    body: PutBody,
) -> Result<Part> {
    let place = UploadPlace::new(path, upload_id)?;
    if !(1..=PART_NUMBER_MAX).contains(&number) {
        return Err(ObjectError::InvalidArgument(format!(
            "a part number is 1 to {PART_NUMBER_MAX}"
        )));
    }
    let (place, checksum) = {
        let shared = Arc::clone(shared);
        on_blocking_thread(move || {
            let checksum = place.open_manifest(&shared)?.0.checksum();
            Ok((place, checksum))
        })
        .await?
    };
    let received = write::receive(shared, &path.bucket, body, checksum).await?;
    let shared = Arc::clone(shared);
    on_blocking_thread(move || {
        let mut written = received.finish(&shared)?;
        let mut record = Record::new(
            &written.stat,
            written.etag,
            fresh_generation(),
            &written.checksums,
        );
        record.crc64nvme = Some(written.crc64nvme);
        record.write(&written.temp, PART_XATTR)?;
        let fail = |error| failure::object(error, "write the part");
        rustix::fs::fsync(&written.temp).map_err(fail)?;
        {
            let _guard = shared.upload_locks.lock(&place.directory);
            place.open_manifest(&shared)?;
            match written.temp.link(&place.part_path(number)) {
                Err(Errno::NOENT) => return Err(ObjectError::NoSuchUpload),
                linked => linked.map_err(fail)?,
            }
        }
        shared
            .directories
            .sync(&shared.root, &place.directory)
            .map_err(fail)?;
        Ok(record.into_part(number))
    })
    .await
}

/// An upload and its parts. Blocks.
pub(super) fn describe(
    shared: &Shared,
    path: &ObjectPath,
    upload_id: &str,
) -> Result<(MultipartUpload, Vec<Part>)> {
    let place = UploadPlace::new(path, upload_id)?;
    let (manifest, file) = place.open_manifest(shared)?;
    let upload = manifest::upload(&place.id, manifest, &file)?;
    let fail = |error| failure::object(error, "read the parts of an upload");
    let mut parts = Vec::new();
    let directory = match open_directory(&shared.root, &place.directory) {
        Err(Errno::NOENT) => return Err(ObjectError::NoSuchUpload),
        directory => directory.map_err(fail)?,
    };
    for entry in rustix::fs::Dir::read_from(directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let Some(number) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some((record, _)) = open_part(shared, &place, number)? {
            parts.push(record.into_part(number));
        }
    }
    parts.sort_by_key(|part| part.number);
    Ok((upload, parts))
}

/// Uploads under way. Blocks.
pub(super) fn under_way(shared: &Shared, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>> {
    if !is_legal_name(bucket) {
        return Err(ObjectError::NoSuchBucket(bucket.to_owned()));
    }
    shared.check_bucket(bucket)?;
    let uploads = format!("{MULTIPART_DIRECTORY}/{bucket}");
    let mut found = Vec::new();
    for id in directory_names(shared, &uploads)? {
        let directory = format!("{uploads}/{id}");
        if let Some((manifest, file)) = read_manifest(shared, &directory)?
            && manifest.key.starts_with(prefix)
            && read_completion(shared, &directory)?.is_none()
        {
            found.push(manifest::upload(&id, manifest, &file)?);
        }
    }
    found.sort_by(|one, other| (&one.key, &one.id).cmp(&(&other.key, &other.id)));
    Ok(found)
}

/// Gives an upload up. Blocks.
pub(super) fn abort(shared: &Shared, path: &ObjectPath, upload_id: &str) -> Result<()> {
    let place = UploadPlace::new(path, upload_id)?;
    let _guard = shared.upload_locks.lock(&place.directory);
    place.manifest(shared)?;
    discard(shared, &place.directory)
}

/// The file of a part with what is known of it; `None` when there is no such part.
pub(super) fn open_part(
    shared: &Shared,
    place: &UploadPlace,
    number: u32,
) -> Result<Option<(Record, rustix::fd::OwnedFd)>> {
    let fail = |error| failure::object(error, "open a part");
    let file = match open_file(&shared.root, &place.part_path(number)) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(fail)?;
    Ok(Record::read(&file, PART_XATTR, &stat)?.map(|record| (record, file)))
}

/// Makes a directory disappear in one step, and then removes what was in it. A crash in between leaves it among the
/// temporary files, which the next start removes.
pub(super) fn discard(shared: &Shared, directory: &str) -> Result<()> {
    let fail = |error| failure::object(error, "remove an upload");
    let gone = temp::temp_name();
    match rustix::fs::renameat(&shared.root, directory, &shared.root, &gone) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(fail(error)),
    }
    shared
        .directories
        .sync(&shared.root, super::sync::parent_of(directory))
        .map_err(fail)?;
    std::fs::remove_dir_all(shared.root.path.join(gone))
        .map_err(|error| failure::object_io(&error, "remove an upload"))
}

/// Removes all uploads of a bucket.
pub(super) fn discard_bucket(shared: &Shared, bucket: &str) -> Result<()> {
    discard(shared, &format!("{MULTIPART_DIRECTORY}/{bucket}"))
}

/// Removes the parts of an upload that has become an object; what remembers the answer stays.
pub(super) fn remove_parts(shared: &Shared, place: &UploadPlace) -> Result<()> {
    let fail = |error| failure::object(error, "remove the parts of an upload");
    let directory = open_directory(&shared.root, &place.directory).map_err(fail)?;
    for entry in rustix::fs::Dir::read_from(&directory).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let is_part = entry.file_name().to_bytes().iter().all(u8::is_ascii_digit);
        if is_part {
            match rustix::fs::unlinkat(&directory, entry.file_name(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(fail(error)),
            }
        }
    }
    Ok(())
}
