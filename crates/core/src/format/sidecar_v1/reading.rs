//! Reading sidecars, with every rule that a row of ours keeps.

use std::borrow::Cow;

use jiff::Timestamp;

use super::{ELSEWHERE, SIDECAR_BYTES_MAX, SIDECAR_STATES, SidecarDerivativeV1, SidecarTrashV1, SidecarV1};
use crate::derivative::{Derivative, DerivativeOutcome};
use crate::error::Refusal;
use crate::file::{Declared, File, FileError, FileState, Hold, Staged, Trash, Verified};
use crate::format::{digest, invalid, media_type, named, no_nul, record_key};
use crate::id::FileId;
use crate::key::{derivative_base, staging_key};
use crate::record::Record;
use crate::upload::{Upload, UploadMethod};

impl SidecarV1 {
    /// Reads a sidecar.
    ///
    /// # Errors
    /// `invalid_attribute_file`, saying what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        if bytes.len() > SIDECAR_BYTES_MAX {
            return Err(invalid(format!(
                "{} bytes are more than {SIDECAR_BYTES_MAX}",
                bytes.len()
            )));
        }
        let sidecar: Self = serde_json::from_slice(bytes).map_err(invalid)?;
        if sidecar.format != 1 {
            return Err(invalid(format!("format {} is not known here", sidecar.format)));
        }
        // What can be made into a row is valid.
        let file = sidecar.file("bucket", "key")?;
        sidecar.derivatives(&file)?;
        sidecar.upload()?;
        sidecar.linked_record()?;
        Ok(sidecar)
    }

    /// The row, for a sidecar that stands in this bucket beside this key.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn file(&self, bucket: &str, key: &str) -> Result<File, Refusal> {
        for (name, text) in [
            ("owner", &self.owner),
            ("collection", &self.collection),
            ("filename", &self.filename),
        ] {
            if text.is_empty() {
                return Err(invalid(format!("{name} is empty")));
            }
        }
        let state = named("state", &self.state, FileState::parse)?;
        if !SIDECAR_STATES.contains(&state) {
            return Err(invalid(format!("a file that is {} has no sidecar", self.state)));
        }
        let trash = self.trash.as_ref().map(trash).transpose()?;
        if trash.is_some() != (state == FileState::Trashed) {
            return Err(invalid("trash and state disagree"));
        }
        if self.epoch == 0 {
            return Err(invalid("there is no epoch 0"));
        }
        // No database keeps NUL, and ours never let one in.
        no_nul(&serde_json::to_value(self).map_err(invalid)?)?;
        Ok(File {
            id: FileId(self.file_id),
            owner: self.owner.clone(),
            created_by_username: self.created_by_username.clone(),
            created_by_full_name: self.created_by_full_name.clone(),
            collection: self.collection.clone(),
            bucket: self.bucket.clone().unwrap_or_else(|| bucket.to_owned()),
            state,
            version: self.version.unwrap_or(u64::from(self.epoch)).max(1),
            epoch: self.epoch,
            record: self.record.as_deref().map(record_key).transpose()?,
            filename: self.filename.clone(),
            description: self.description.clone(),
            metadata: self.metadata.clone(),
            declared: Declared {
                content_type: media_type(&self.declared_content_type)?,
                size_bytes: self.declared_size_bytes,
                sha256: self.declared_sha256.as_deref().map(digest).transpose()?,
            },
            staged: self.etag.as_ref().map(|etag| Staged {
                size_bytes: self.size_bytes,
                etag: etag.clone(),
                // Of the staging object, which is gone.
                generation: etag.clone(),
            }),
            verified: Some(Verified {
                sha256: digest(&self.sha256)?,
                size_bytes: self.size_bytes,
                content_type: media_type(&self.content_type)?,
            }),
            key: self.key.clone().unwrap_or_else(|| key.to_owned()),
            facts: self.facts.clone(),
            error: self.error.as_ref().map(|error| FileError {
                code: error.code.clone(),
                message: error.message.clone(),
            }),
            created_at: self.created_at,
            updated_at: self.updated_at,
            uploaded_at: self.uploaded_at,
            confirmed_at: self.confirmed_at,
            processed_at: self.processed_at,
            trash,
            hold: self.hold.as_ref().map(|hold| Hold {
                by: hold.by.clone(),
                at: hold.at,
                reason: hold.reason.clone(),
            }),
            unarchived_at: self.unarchived_at,
        })
    }

    /// The derivatives of this file, which [`Self::file`] gave.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn derivatives(&self, file: &File) -> Result<Vec<Derivative>, Refusal> {
        let made_at = file.processed_at.unwrap_or(file.updated_at);
        self.derivatives
            .iter()
            .map(|derivative| derivative.read(file, made_at))
            .collect()
    }

    /// The upload that brought the file. Its staging key is one of this file, with nothing at it any more.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn upload(&self) -> Result<Option<Upload>, Refusal> {
        let Some(upload) = &self.upload else {
            return Ok(None);
        };
        let file_id = FileId(self.file_id);
        Ok(Some(Upload {
            file_id,
            method: named("upload.method", &upload.method, UploadMethod::parse)?,
            staging_key: staging_key(file_id, &self.filename, upload.expires_at),
            expires_at: upload.expires_at,
            multipart_id: None,
            part_size_bytes: upload.part_size_bytes,
            request_digest: upload.request_sha256.as_deref().map(digest).transpose()?,
            reserved_bytes: self.declared_size_bytes.unwrap_or_default(),
        }))
    }

    /// The record that the file hangs on, if it was made by linking.
    ///
    /// # Errors
    /// `invalid_attribute_file`.
    pub fn linked_record(&self) -> Result<Option<Record>, Refusal> {
        let (Some(key), Some(owner)) = (&self.record, &self.record_owner) else {
            return Ok(None);
        };
        let created_at = self.record_created_at.unwrap_or(self.created_at);
        Ok(Some(Record::linked(record_key(key)?, owner.clone(), created_at)))
    }

    /// Whether something of this name did not fit.
    pub fn omits(&self, name: &str) -> bool {
        self.omitted.iter().any(|omitted| omitted == name)
    }
}

impl SidecarDerivativeV1 {
    fn read(&self, file: &File, made_at: Timestamp) -> Result<Derivative, Refusal> {
        if self.name.is_empty() {
            return Err(invalid("a derivative has no name"));
        }
        let outcome = match (&self.suffix, &self.content_type, self.size_bytes, &self.error) {
            (Some(suffix), Some(content_type), Some(size_bytes), None) => {
                let (base, suffix) = match suffix.strip_prefix(ELSEWHERE) {
                    Some(suffix) => (derivative_base(&file.key), suffix),
                    None => (Cow::Borrowed(file.key.as_str()), suffix.as_str()),
                };
                if !suffix.starts_with('.') {
                    return Err(invalid("a derivative does not stand beside its file"));
                }
                DerivativeOutcome::Made {
                    key: format!("{base}{suffix}"),
                    content_type: media_type(content_type)?,
                    size_bytes,
                    width: self.width,
                    height: self.height,
                }
            }
            (None, _, _, Some(error)) => DerivativeOutcome::Failed { error: error.clone() },
            _ => {
                return Err(invalid(format!(
                    "derivative {:?} was neither made nor failed",
                    self.name
                )));
            }
        };
        Ok(Derivative {
            file_id: file.id,
            name: self.name.clone(),
            outcome,
            created_at: self.created_at.unwrap_or(made_at),
        })
    }
}

fn trash(trash: &SidecarTrashV1) -> Result<Trash, Refusal> {
    let from = named("trash.from", &trash.from, FileState::parse)?;
    if from == FileState::Trashed || !SIDECAR_STATES.contains(&from) {
        return Err(invalid(format!("a file that was {} has no sidecar", trash.from)));
    }
    Ok(Trash {
        from,
        at: trash.at,
        purge_at: trash.purge_at,
    })
}
