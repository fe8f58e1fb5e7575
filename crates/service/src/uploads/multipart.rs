//! Large files in parts: more part URLs, what has arrived, putting them together, giving up.

use std::collections::{BTreeMap, BTreeSet};

use cloakroom_core::access::{Action, Principal};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{CompletedPart, ObjectError, ObjectPath, Part, WriteConditions};
use cloakroom_core::ports::signer::SignedRequest;
use cloakroom_core::upload::{PARTS_MAX, Upload, UploadMethod, part_size_bytes};
use jiff::Timestamp;

use super::RACES_MAX;
use super::confirm::{ConfirmUpload, Confirmed, observed};
use crate::app::App;
use crate::error::Result;

/// Most part URLs in one answer, and most missing parts that are named.
const PART_NUMBERS_MAX: usize = 1_000;

/// One part to send.
#[derive(Clone, Debug)]
pub struct SignedPart {
    /// 1 to 10,000.
    pub number: u32,
    /// Where to send it.
    pub request: SignedRequest,
}

/// What has arrived of a multipart upload.
#[derive(Clone, Debug)]
pub struct UploadedParts {
    /// The store's id of the upload.
    pub multipart_id: String,
    /// Size of every part but the last.
    pub part_size_bytes: u64,
    /// The parts that are there.
    pub parts: Vec<Part>,
}

impl App {
    pub(super) fn sign_part(
        &self,
        path: &ObjectPath,
        multipart_id: &str,
        number: u32,
        expires_in_seconds: u32,
        now: Timestamp,
    ) -> Result<SignedPart> {
        let request = self
            .signer
            .part(path, multipart_id, number, expires_in_seconds, now)?;
        Ok(SignedPart { number, request })
    }

    /// Signs more parts, or the same ones again: of a new multipart upload, where the store knows the old one no more.
    pub async fn sign_parts(
        &self,
        principal: &Principal,
        id: FileId,
        numbers: &[u32],
    ) -> Result<Vec<SignedPart>> {
        if numbers.is_empty()
            || numbers.len() > PART_NUMBERS_MAX
            || numbers.iter().any(|n| !(1..=PARTS_MAX).contains(n))
        {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("Ask for 1 to {PART_NUMBERS_MAX} part numbers between 1 and {PARTS_MAX}."),
            )
            .with("field", "part_numbers")
            .into());
        }
        let (file, mut upload, multipart_id) = self.open_multipart(principal, id).await?;
        self.admit_ticket(&file.bucket)?;
        let collection = self.collection(&file.collection)?;
        if !self.keep_multipart_open(&file, &mut upload).await? {
            return Err(Refusal::new(
                ErrorCode::InvalidState,
                "The parts are put together already; confirm the upload.",
            )
            .with("file_id", id.to_string())
            .with("state", file.state.as_str())
            .into());
        }
        let multipart_id = upload.multipart_id.clone().unwrap_or(multipart_id);
        let path = ObjectPath::new(&file.bucket, &upload.staging_key);
        let now = self.now();
        numbers
            .iter()
            .map(|&number| {
                self.sign_part(
                    &path,
                    &multipart_id,
                    number,
                    collection.upload_expires_seconds,
                    now,
                )
            })
            .collect()
    }

    /// The parts that have arrived, so that an interrupted client sends only the others.
    pub async fn uploaded_parts(&self, principal: &Principal, id: FileId) -> Result<UploadedParts> {
        let (file, upload, multipart_id) = self.open_multipart(principal, id).await?;
        let path = ObjectPath::new(&file.bucket, &upload.staging_key);
        let parts = match self.objects.multipart(&path, &multipart_id).await {
            Ok((_, parts)) => parts,
            // Completed, not yet confirmed: nothing is left to send.
            Err(ObjectError::NoSuchUpload) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(UploadedParts {
            multipart_id,
            part_size_bytes: upload.part_size_bytes.unwrap_or_default(),
            parts,
        })
    }

    /// Puts the parts together and confirms. With no list, whatever has arrived is taken.
    pub async fn complete_upload(
        &self,
        principal: &Principal,
        id: FileId,
        parts: Vec<CompletedPart>,
    ) -> Result<Confirmed> {
        let file = self.file_for(principal, Action::Write, id).await?;
        if file.state.is_open() {
            let (file, upload, multipart_id) = self.open_multipart(principal, id).await?;
            self.admit_ticket(&file.bucket)?;
            self.put_together(&file, &upload, &multipart_id, parts).await?;
        }
        self.confirm_upload(principal, id, ConfirmUpload::default()).await
    }

    async fn put_together(
        &self,
        file: &File,
        upload: &Upload,
        multipart_id: &str,
        mut named: Vec<CompletedPart>,
    ) -> Result<()> {
        let path = ObjectPath::new(&file.bucket, &upload.staging_key);
        let arrived = match self.objects.multipart(&path, multipart_id).await {
            Ok((_, parts)) => parts,
            // Completed before, and the store has forgotten the upload: what counts is the object.
            Err(ObjectError::NoSuchUpload) if self.staging_object(file, upload).await?.is_some() => {
                return Ok(());
            }
            Err(ObjectError::NoSuchUpload) => Vec::new(),
            Err(error) => return Err(part_refusal(error)),
        };
        admit_parts(file, upload, &arrived, &named)?;
        if named.is_empty() {
            named = arrived
                .into_iter()
                .map(|part| CompletedPart {
                    number: part.number,
                    etag: part.etag,
                    ..CompletedPart::default()
                })
                .collect();
        }
        match self
            .objects
            .complete_multipart(&path, multipart_id, &named, WriteConditions::default())
            .await
        {
            Ok(_) => Ok(()),
            // Somebody else completed it meanwhile.
            Err(ObjectError::NoSuchUpload) if self.staging_object(file, upload).await?.is_some() => Ok(()),
            Err(error) => Err(part_refusal(error)),
        }
    }

    /// Begins the multipart upload anew where the store knows it no more and no object came of it that could be confirmed:
    /// it was completed too early, or aborted behind our back. `false` where the parts are put together and only the
    /// confirm is missing.
    pub(super) async fn keep_multipart_open(&self, file: &File, upload: &mut Upload) -> Result<bool> {
        let path = ObjectPath::new(&file.bucket, &upload.staging_key);
        let multipart_id = upload.multipart_id.clone().unwrap_or_default();
        match self.objects.multipart(&path, &multipart_id).await {
            Err(ObjectError::NoSuchUpload) => {}
            // Signing needs no word of the store: it may answer again when the parts come.
            Ok(_) | Err(_) => return Ok(true),
        }
        let collection = self.collection(&file.collection)?;
        if let Some(info) = self.staging_object(file, upload).await?
            && file
                .confirm(upload, &observed(&info), collection, &self.occasion(&file.owner))
                .is_ok()
        {
            return Ok(false);
        }
        self.begin_multipart(file, upload).await?;
        tracing::info!(event = "multipart_begun_again", file_id = %file.id, "the store knew the multipart upload no more; a new one was begun");
        Ok(true)
    }

    /// Gives an upload up: the row is claimed first, then a job removes what has arrived.
    pub async fn abort_upload(&self, principal: &Principal, id: FileId) -> Result<()> {
        for _ in 0..RACES_MAX {
            let file = self.file_for(principal, Action::Write, id).await?;
            if matches!(file.state, FileState::Reaping | FileState::Expired) {
                return Ok(());
            }
            let Some(upload) = self.metadata.upload(id).await? else {
                return Err(Refusal::file_not_found(&id).into());
            };
            let transition = file.reap(&upload, "aborted", &self.occasion(&principal.subject))?;
            match self.metadata.apply(transition).await {
                Ok(()) => {
                    // A confirm that died may have left one; the job that follows removes what this does not.
                    if let Err(error) = self.remove_confirm_note(&file.bucket, &upload.staging_key).await {
                        tracing::warn!(file_id = %id, %error, "a confirm note waits for the job");
                    }
                    return Ok(());
                }
                Err(MetadataError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(MetadataError::Conflict.into())
    }

    async fn open_multipart(&self, principal: &Principal, id: FileId) -> Result<(File, Upload, String)> {
        let file = self.file_for(principal, Action::Write, id).await?;
        let upload = self.metadata.upload(id).await?;
        let multipart_id = upload.as_ref().and_then(|upload| upload.multipart_id.clone());
        match (upload, multipart_id) {
            (Some(upload), Some(multipart_id))
                if upload.method == UploadMethod::Multipart && file.state.is_open() =>
            {
                Ok((file, upload, multipart_id))
            }
            _ => Err(
                Refusal::new(ErrorCode::InvalidState, "This is not an open multipart upload.")
                    .with("file_id", id.to_string())
                    .with("state", file.state.as_str())
                    .into(),
            ),
        }
    }
}

/// Whether the parts are the whole file. The store's multipart upload ends with its completion, so this is asked before.
fn admit_parts(
    file: &File,
    upload: &Upload,
    arrived: &[Part],
    named: &[CompletedPart],
) -> std::result::Result<(), Refusal> {
    let names: BTreeSet<u32> = named.iter().map(|part| part.number).collect();
    let taken: BTreeMap<u32, u64> = arrived
        .iter()
        .filter(|part| names.is_empty() || names.contains(&part.number))
        .map(|part| (part.number, part.size_bytes))
        .collect();
    let have: u64 = taken.values().sum();
    let missing = match file.declared.size_bytes {
        Some(declared) if have > declared => {
            return Err(Refusal::new(
                ErrorCode::SizeMismatch,
                format!("{declared} bytes were declared and the parts have {have}; send the parts anew that are too large."),
            )
            .with("declared_size_bytes", declared)
            .with("size_bytes", have));
        }
        // Parts of another size than ours are fine, as long as they are the whole.
        Some(declared) if have == declared && !taken.is_empty() => Vec::new(),
        Some(declared) => {
            let part_size = upload
                .part_size_bytes
                .unwrap_or_else(|| part_size_bytes(declared));
            missing_of_size(declared, part_size, &taken)
        }
        None if names.is_empty() => {
            let last = taken.keys().last().copied().unwrap_or(1);
            (1..=last).filter(|number| !taken.contains_key(number)).collect()
        }
        None => names
            .into_iter()
            .filter(|number| !taken.contains_key(number))
            .collect(),
    };
    if missing.is_empty() {
        return Ok(());
    }
    let count = missing.len();
    let numbers: Vec<u32> = missing.into_iter().take(PART_NUMBERS_MAX).collect();
    Err(Refusal::new(
        ErrorCode::UploadIncomplete,
        format!("Parts have not arrived, or not whole: {count}. Send them, then complete again."),
    )
    .with("file_id", file.id.to_string())
    .with("missing_parts", count)
    .with("missing_part_numbers", numbers))
}

/// Which parts of a file of that size are not there, or shorter than they must be.
fn missing_of_size(declared: u64, part_size: u64, taken: &BTreeMap<u32, u64>) -> Vec<u32> {
    let part_size = part_size.max(1);
    let count = u32::try_from(declared.div_ceil(part_size)).unwrap_or(PARTS_MAX);
    (1..=count.max(1))
        .filter(|number| {
            let before = part_size.saturating_mul(u64::from(number - 1));
            let whole = part_size.min(declared.saturating_sub(before));
            taken.get(number).is_none_or(|size| *size < whole)
        })
        .collect()
}

fn part_refusal(error: ObjectError) -> crate::error::ServiceError {
    match error {
        ObjectError::InvalidPart(_)
        | ObjectError::InvalidPartOrder
        | ObjectError::PartTooSmall { .. }
        | ObjectError::NoSuchUpload
        | ObjectError::InvalidArgument(_) => {
            Refusal::new(ErrorCode::InvalidPart, sentence(&error.to_string())).into()
        }
        other => other.into(),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), chars.as_str())
    })
}
