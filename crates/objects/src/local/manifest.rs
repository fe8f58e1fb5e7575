//! The files that stand beside the parts of a multipart upload: how it was begun, and how it ended.

use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, MultipartOptions, MultipartUpload, ObjectError, ObjectInfo, Result,
};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::attributes::{self, Headers, Record};
use super::temp::TempFile;
use super::{Shared, failure, open_file, read};

/// In the directory of an upload: a [`Manifest`].
pub(super) const MANIFEST: &str = "manifest";

/// In the directory of an upload that has become an object: a [`Completion`].
pub(super) const COMPLETION: &str = "completed";

/// The largest file of either kind. A manifest has a key and headers.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024;

/// How an upload was begun, version 1.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    v: u8,
    pub(super) key: String,
    headers: Headers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    full_object: bool,
}

/// How an upload ended, version 1.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Completion {
    v: u8,
    /// Which parts were listed, so that a repeated request is told from another one.
    pub(super) parts: String,
    record: Record,
}

impl Manifest {
    pub(super) fn new(key: &str, options: MultipartOptions) -> Self {
        Self {
            v: 1,
            key: key.to_owned(),
            headers: options.attributes.into(),
            checksum: options.checksum.map(|algorithm| algorithm.as_str().to_owned()),
            full_object: options.full_object_checksum,
        }
    }

    pub(super) fn options(self) -> MultipartOptions {
        MultipartOptions {
            checksum: self.checksum(),
            attributes: self.headers.into(),
            full_object_checksum: self.full_object,
        }
    }

    pub(super) fn checksum(&self) -> Option<ChecksumAlgorithm> {
        let name = self.checksum.as_deref()?;
        ChecksumAlgorithm::ALL
            .iter()
            .copied()
            .find(|algorithm| algorithm.as_str() == name)
    }

    /// Whether the object gets one checksum over all of its bytes. CRC-64/NVME knows no other way.
    pub(super) fn full_object(&self) -> bool {
        self.full_object || matches!(self.checksum(), None | Some(ChecksumAlgorithm::Crc64Nvme))
    }
}

impl Completion {
    pub(super) fn new(parts: String, record: Record) -> Self {
        Self { v: 1, parts, record }
    }

    pub(super) fn into_info(self) -> ObjectInfo {
        self.record.into_info()
    }
}

/// An upload's manifest with the time at which it was written.
pub(super) fn read_manifest(shared: &Shared, directory: &str) -> Result<Option<(Manifest, OwnedFd)>> {
    read_document(shared, &format!("{directory}/{MANIFEST}"))
}

/// How an upload ended, if it has.
pub(super) fn read_completion(shared: &Shared, directory: &str) -> Result<Option<Completion>> {
    Ok(read_document(shared, &format!("{directory}/{COMPLETION}"))?.map(|(completion, _)| completion))
}

/// As the port shows an upload.
pub(super) fn upload(id: &str, manifest: Manifest, file: &OwnedFd) -> Result<MultipartUpload> {
    let stat = rustix::fs::fstat(file).map_err(|error| failure::object(error, "look at an upload"))?;
    Ok(MultipartUpload {
        key: manifest.key.clone(),
        id: id.to_owned(),
        initiated_at: attributes::modified_at(&stat),
        options: manifest.options(),
    })
}

/// Writes a document, durably but for the directory that it is in.
pub(super) fn write_document(
    shared: &Shared,
    document: &impl Serialize,
    path: &str,
) -> Result<rustix::io::Result<()>> {
    let bytes = serde_json::to_vec(document).map_err(|error| ObjectError::Internal(error.to_string()))?;
    let mut temp: TempFile = shared.create_temp()?;
    let fail = |error| failure::object(error, "write the state of an upload");
    temp.write_all(&bytes, 0).map_err(fail)?;
    rustix::fs::fsync(&temp).map_err(fail)?;
    Ok(temp.link(path))
}

fn read_document<T: DeserializeOwned>(shared: &Shared, path: &str) -> Result<Option<(T, OwnedFd)>> {
    let fail = |error| failure::object(error, "read the state of an upload");
    let damaged = |error: &dyn std::fmt::Display| ObjectError::Internal(format!("damaged upload: {error}"));
    let file = match open_file(&shared.root, path) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let size_bytes = attributes::size_of(&rustix::fs::fstat(&file).map_err(fail)?);
    if size_bytes > DOCUMENT_BYTES_MAX {
        return Err(damaged(&"too large"));
    }
    let mut bytes = vec![0; size_bytes as usize];
    read::read_exactly(&file, &mut bytes, 0).map_err(fail)?;
    let document = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
    Ok(Some((document, file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_of_version_1_is_read_for_ever() {
        let golden =
            r#"{"v":1,"key":"a/ü","headers":{"ct":"text/csv"},"checksum":"SHA256","full_object":false}"#;
        let manifest: Manifest = serde_json::from_str(golden).unwrap();
        assert_eq!(serde_json::to_string(&manifest).unwrap(), golden);
        assert!(!manifest.full_object());
        assert_eq!(manifest.checksum(), Some(ChecksumAlgorithm::Sha256));
        assert_eq!(
            manifest.options().attributes.content_type.as_deref(),
            Some("text/csv")
        );
        let plain: Manifest =
            serde_json::from_str(r#"{"v":1,"key":"k","headers":{},"full_object":false}"#).unwrap();
        assert!(plain.full_object());
    }
}
