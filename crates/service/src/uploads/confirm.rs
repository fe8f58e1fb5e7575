//! Confirm: the client says that the bytes are there, and from then on they are ours to look after (I3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal};
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FilePatch, FileState, ObservedObject, Staged, checksum_mismatch};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{ChecksumAlgorithm, GetOptions, ObjectError, ObjectInfo, ObjectPath};
use cloakroom_core::record::RecordKey;
use cloakroom_core::upload::{Upload, UploadMethod};

use super::RACES_MAX;
use super::counting::count_confirmed;
use super::validate::admit_metadata;
use crate::app::App;
use crate::artifacts::ARTIFACT;
use crate::error::{Result, ServiceError};
use crate::measuring::{Measured, Seen};

/// What a client may add when it confirms.
#[derive(Clone, Debug, Default)]
pub struct ConfirmUpload {
    /// Link to this record now (S2: "can be linked during confirm or later").
    pub record: Option<RecordKey>,
    /// Fields to add to the metadata, replacing those of the same name.
    pub metadata: Option<JsonObject>,
    /// The SHA-256 that the bytes must have, if it was not declared before.
    pub checksum_sha256: Option<Sha256Digest>,
    /// The size that the bytes must have, if it was not declared before.
    pub size_bytes: Option<u64>,
    /// The key that the client was told to upload to. Checked, and never used.
    pub object_name: Option<String>,
    /// The bucket that the client was told to upload to. Checked, and never used.
    pub bucket_name: Option<String>,
}

/// A confirmed upload.
#[derive(Clone, Debug)]
pub struct Confirmed {
    /// The file, `confirmed` or further.
    pub file: File,
    /// Whether it had been confirmed before.
    pub repeated: bool,
}

impl App {
    /// Confirms an upload. Repeating it gives the same answer.
    pub async fn confirm_upload(
        &self,
        principal: &Principal,
        id: FileId,
        request: ConfirmUpload,
    ) -> Result<Confirmed> {
        let work = Box::pin(self.confirm_or_repeat(principal, id, request));
        let whose = (principal.subject.as_str(), Some(id));
        self.measured(Measured::Upload, whose, work, |confirmed| Seen {
            file: Some(&confirmed.file),
            repeated: confirmed.repeated,
        })
        .await
    }

    async fn confirm_or_repeat(
        &self,
        principal: &Principal,
        id: FileId,
        request: ConfirmUpload,
    ) -> Result<Confirmed> {
        for _ in 0..RACES_MAX {
            let file = self.file_for(principal, Action::Write, id).await?;
            if !file.state.is_open() {
                return self.confirm_again(principal, file, request).await;
            }
            match self.confirm_open(principal, &file, &request).await {
                Err(ConfirmError::LostRace) => {}
                Err(ConfirmError::Other(error)) => {
                    let (error_code, user_id) = (error.code().as_str(), &principal.subject);
                    if let ServiceError::Refused(_) = error {
                        tracing::info!(event = "upload_confirm_refused", file_id = %id, %user_id, error_code, "Upload failed: {error_code}");
                    } else {
                        tracing::error!(event = "upload_confirm_failed", file_id = %id, %user_id, error_code, %error, "Upload failed: {error}");
                    }
                    return Err(error);
                }
                Ok(file) => {
                    return Ok(Confirmed {
                        file,
                        repeated: false,
                    });
                }
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// What was confirmed before stays as it is, but for a record that it hangs on from now on (S2: "or later").
    async fn confirm_again(
        &self,
        principal: &Principal,
        file: File,
        request: ConfirmUpload,
    ) -> Result<Confirmed> {
        if let Some(upload) = self.metadata.upload(file.id).await? {
            check_place(&file, &upload, &request)?;
        }
        let mut confirmed = already_confirmed(file)?;
        check_claims(&confirmed.file, &request)?;
        let Some(record) = request.record else {
            return Ok(confirmed);
        };
        match &confirmed.file.record {
            Some(linked) if *linked == record => return Ok(confirmed),
            Some(linked) => {
                return Err(Refusal::new(
                    ErrorCode::InvalidState,
                    "The file hangs on another record already.",
                )
                .with("record", linked.to_string())
                .into());
            }
            // Nothing comes of it any more that a record could use.
            None if matches!(confirmed.file.state, FileState::Failed | FileState::Quarantined) => {
                let state = confirmed.file.state.as_str();
                return Err(Refusal::new(
                    ErrorCode::InvalidState,
                    format!("The file is {state} and cannot be linked; upload a good one and link that."),
                )
                .with("file_id", confirmed.file.id.to_string())
                .with("state", state)
                .into());
            }
            None => {}
        }
        let patch = FilePatch {
            record: Some(Some(record)),
            ..FilePatch::default()
        };
        let id = confirmed.file.id;
        confirmed.file = self.update_file(principal, id, patch, None).await?;
        Ok(confirmed)
    }

    /// Confirms on behalf of the sweeper or an observed upload, if the staging object is complete.
    pub(crate) async fn confirm_unattended(&self, file: &File, actor: &str) -> Result<bool> {
        let Some(upload) = self.metadata.upload(file.id).await? else {
            return Ok(false);
        };
        let Ok(collection) = self.collection(&file.collection) else {
            return Ok(false);
        };
        if self.admit_ticket(&file.bucket).is_err() {
            return Ok(false);
        }
        let Some(info) = self.staging_object(file, &upload).await? else {
            return Ok(false);
        };
        let Ok(transition) = file.confirm(&upload, &observed(&info), collection, &self.occasion(actor))
        else {
            return Ok(false);
        };
        match self.commit_confirm(transition, Some(&upload)).await {
            Ok(()) => {
                count_confirmed(&collection.name, info.size_bytes);
                Ok(true)
            }
            Err(error) if error.code() == ErrorCode::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn confirm_open(
        &self,
        principal: &Principal,
        file: &File,
        request: &ConfirmUpload,
    ) -> std::result::Result<File, ConfirmError> {
        self.admit_ticket(&file.bucket)?;
        let upload = self
            .metadata
            .upload(file.id)
            .await?
            .ok_or_else(|| ServiceError::Internal(format!("file {} has no upload", file.id)))?;
        check_place(file, &upload, request)?;
        let collection = self.collection(&file.collection)?;
        let Some(info) = self.staging_object(file, &upload).await? else {
            return Err(incomplete(&upload).into());
        };
        let mut file = file.clone();
        if let Some(size) = request.size_bytes {
            // Two claims that differ cannot both be what arrived.
            if let Some(declared) = file.declared.size_bytes.filter(|declared| *declared != size) {
                return Err(Refusal::new(
                    ErrorCode::SizeMismatch,
                    format!("{declared} bytes were declared before, and now {size}."),
                )
                .with("declared_size_bytes", declared)
                .with("size_bytes", size)
                .into());
            }
            file.declared.size_bytes = Some(size);
        }
        if let Some(checksum) = request.checksum_sha256 {
            if let Some(declared) = file.declared.sha256
                && declared != checksum
            {
                return Err(checksum_mismatch(declared, checksum).into());
            }
            file.declared.sha256 = Some(checksum);
        }
        let occasion = self.occasion(&principal.subject);
        let mut transition = file.confirm(&upload, &observed(&info), collection, &occasion)?;
        if let Some(metadata) = &request.metadata {
            transition.file.metadata.extend(metadata.clone());
        }
        if let Some(record) = &request.record {
            transition.record = self.record_to_link(principal, &file.owner, Some(record)).await?;
            transition.file.record = Some(record.clone());
        }
        if request.metadata.is_some() || request.record.is_some() {
            admit_metadata(&transition.file)?;
        }
        let confirmed = transition.file.clone();
        // Again, for the store took its time.
        self.admit_ticket(&file.bucket)?;
        match self.commit_confirm(transition, Some(&upload)).await {
            Ok(()) => {}
            Err(error) if error.code() == ErrorCode::Conflict => return Err(ConfirmError::LostRace),
            Err(error) => return Err(error.into()),
        }
        tracing::info!(
            event = "file_created",
            operation = "upload",
            file_id = %confirmed.id,
            user_id = %principal.subject,
            file_size = info.size_bytes,
            bucket = %confirmed.bucket,
            record = confirmed.record.as_ref().map(tracing::field::display),
            artifact_id = confirmed.record.as_ref().filter(|record| record.kind() == ARTIFACT).map(RecordKey::id),
            status = "success",
            "Upload completed: {}", confirmed.id
        );
        count_confirmed(&confirmed.collection, info.size_bytes);
        Ok(confirmed)
    }

    /// The complete staging object, if it is there.
    pub(crate) async fn staging_object(&self, file: &File, upload: &Upload) -> Result<Option<ObjectInfo>> {
        let path = ObjectPath::new(&file.bucket, &upload.staging_key);
        match self.objects.head(&path, &GetOptions::default()).await {
            Ok(info) => Ok(Some(info)),
            Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

enum ConfirmError {
    LostRace,
    Other(ServiceError),
}

impl<E: Into<ServiceError>> From<E> for ConfirmError {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

fn already_confirmed(file: File) -> Result<Confirmed> {
    match file.state {
        FileState::Reaping | FileState::Expired => Err(Refusal::new(
            ErrorCode::UploadExpired,
            "Nobody confirmed this upload in time, or it was aborted; sign a new one.",
        )
        .with("file_id", file.id.to_string())
        .into()),
        FileState::Trashed | FileState::Purging => Err(Refusal::new(
            ErrorCode::InvalidState,
            "The file was deleted; restore it first.",
        )
        .with("file_id", file.id.to_string())
        .with("state", file.state.as_str())
        .into()),
        _ => Ok(Confirmed { file, repeated: true }),
    }
}

/// Whether the client speaks of the place that it was given.
fn check_place(file: &File, upload: &Upload, request: &ConfirmUpload) -> std::result::Result<(), Refusal> {
    let told = [
        ("object_name", &request.object_name, &upload.staging_key),
        ("bucket_name", &request.bucket_name, &file.bucket),
    ];
    for (field, said, given) in told {
        if said.as_ref().is_some_and(|said| said != given) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("The field `{field}` is not what this upload was signed for."),
            )
            .with("field", field));
        }
    }
    Ok(())
}

/// Whether what the client says of the bytes is what is known of them by now. What is not known yet, nobody can tell.
fn check_claims(file: &File, request: &ConfirmUpload) -> std::result::Result<(), Refusal> {
    if let (Some(claimed), Some(known)) = (request.checksum_sha256, known_checksum(file))
        && claimed != known
    {
        return Err(checksum_mismatch(claimed, known));
    }
    if let (Some(claimed), Some(known)) = (request.size_bytes, file.size_bytes())
        && claimed != known
    {
        return Err(Refusal::new(
            ErrorCode::SizeMismatch,
            format!("The file has {known} bytes, and not {claimed}."),
        )
        .with("declared_size_bytes", claimed)
        .with("size_bytes", known));
    }
    Ok(())
}

/// The SHA-256 that the bytes have, or are going to be held to.
pub(super) fn known_checksum(file: &File) -> Option<Sha256Digest> {
    let verified = file.verified.as_ref().map(|verified| verified.sha256);
    verified.or(file.declared.sha256)
}

fn incomplete(upload: &Upload) -> Refusal {
    let what = match upload.method {
        UploadMethod::Multipart => "The parts are not put together yet; call complete with their ETags.",
        _ => "The bytes have not arrived; send them to the upload URL first.",
    };
    Refusal::new(ErrorCode::UploadIncomplete, what)
        .with("file_id", upload.file_id.to_string())
        .with("expires_at", upload.expires_at.to_string())
}

/// What the store shows, in the core's words.
pub(super) fn observed(info: &ObjectInfo) -> ObservedObject {
    let sha256 = info
        .checksums
        .0
        .get(&ChecksumAlgorithm::Sha256)
        // A composite (`...-3`) is no digest of the bytes and does not decode.
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .map(Sha256Digest);
    ObservedObject {
        staged: Staged {
            size_bytes: info.size_bytes,
            etag: info.etag.clone(),
            generation: info.generation.clone(),
        },
        content_type: info.attributes.content_type.clone(),
        sha256,
    }
}
