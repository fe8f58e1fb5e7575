//! Every legal change of a file, as a pure function that returns a [`Transition`].

use jiff::{SignedDuration, Timestamp};

use super::{File, FileError, FileState, Staged, Trash, Verified};
use crate::JsonObject;
use crate::checksum::Sha256Digest;
use crate::collection::Collection;
use crate::derivative::Derivative;
use crate::error::{ErrorCode, Refusal};
use crate::event::EventKind;
use crate::job::JobKind;
use crate::media::MediaType;
use crate::record::RecordKey;
use crate::transition::{Occasion, Transition, UsageDelta};
use crate::upload::Upload;

/// What the store shows of the staging object at confirm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedObject {
    /// Size, `ETag` and generation.
    pub staged: Staged,
    /// The content type it was stored with.
    pub content_type: Option<String>,
    /// Its SHA-256, when the store knows it.
    pub sha256: Option<Sha256Digest>,
}

/// Fields that [`File::update`] replaces; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilePatch {
    /// A new name.
    pub filename: Option<String>,
    /// A new description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// New metadata, whole.
    pub metadata: Option<JsonObject>,
    /// A new record; `Some(None)` unlinks.
    pub record: Option<Option<RecordKey>>,
}

impl FilePatch {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl File {
    /// First bytes were seen. `None` when that is old news.
    pub fn uploading(&self, occasion: &Occasion<'_>) -> Option<Transition> {
        (self.state == FileState::Pending)
            .then(|| {
                self.step(FileState::Uploading, EventKind::Uploading, occasion)
                    .ok()
            })
            .flatten()
    }

    /// A complete staging object was seen. `None` when that is old news.
    pub fn uploaded(&self, occasion: &Occasion<'_>) -> Option<Transition> {
        let mut transition = self
            .step(FileState::Uploaded, EventKind::Uploaded, occasion)
            .ok()?;
        transition.file.uploaded_at = Some(occasion.now);
        Some(transition)
    }

    /// The client, a bucket event or the sweeper says that the bytes are there. Checks what the store shows
    /// against what was declared; a mismatch leaves the upload open so the client can try again (design §3).
    pub fn confirm(
        &self,
        upload: &Upload,
        observed: &ObservedObject,
        collection: &Collection,
        occasion: &Occasion<'_>,
    ) -> Result<Transition, Refusal> {
        let size = observed.staged.size_bytes;
        if let Some(declared) = self.declared.size_bytes
            && declared != size
        {
            return Err(Refusal::new(
                ErrorCode::SizeMismatch,
                format!(
                    "{declared} bytes were declared and {size} arrived; upload again before the URL expires."
                ),
            )
            .with("declared_size_bytes", declared)
            .with("size_bytes", size));
        }
        collection.admit_size(size)?;
        if let Some(stored) = &observed.content_type
            && MediaType::parse(stored).ok().as_ref() != Some(&self.declared.content_type)
        {
            return Err(Refusal::new(
                ErrorCode::ContentTypeMismatch,
                format!(
                    "Content type {} was declared and {stored} arrived.",
                    self.declared.content_type
                ),
            )
            .with("declared_content_type", self.declared.content_type.as_str())
            .with("content_type", stored.clone()));
        }
        if let (Some(declared), Some(found)) = (self.declared.sha256, observed.sha256)
            && declared != found
        {
            return Err(checksum_mismatch(declared, found));
        }
        let mut transition = self.step(FileState::Confirmed, EventKind::Confirmed, occasion)?;
        let file = &mut transition.file;
        file.staged = Some(observed.staged.clone());
        file.uploaded_at.get_or_insert(occasion.now);
        file.confirmed_at = Some(occasion.now);
        transition.usage = UsageDelta {
            reserved_bytes: -i64::try_from(upload.reserved_bytes).unwrap_or(i64::MAX),
            stored_bytes: i64::try_from(size).unwrap_or(i64::MAX),
            files: 1,
        };
        transition.enqueue(JobKind::ProcessFile, occasion.now, occasion);
        Ok(transition)
    }

    /// A worker takes the file up, or over from one that died. A new epoch fences the old one.
    pub fn process(&self, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Processing, EventKind::Processing, occasion)?;
        transition.file.epoch += 1;
        transition
            .event
            .data
            .insert("epoch".to_owned(), transition.file.epoch.into());
        Ok(transition)
    }

    /// Every byte was read and the final object and its sidecar stand.
    pub fn ready(
        &self,
        verified: Verified,
        facts: JsonObject,
        derivatives: Vec<Derivative>,
        occasion: &Occasion<'_>,
    ) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Ready, EventKind::Ready, occasion)?;
        transition
            .event
            .data
            .insert("sha256".to_owned(), verified.sha256.to_string().into());
        transition
            .event
            .data
            .insert("size_bytes".to_owned(), verified.size_bytes.into());
        let file = &mut transition.file;
        file.verified = Some(verified);
        file.facts = facts;
        file.error = None;
        file.processed_at = Some(occasion.now);
        transition.derivatives = derivatives;
        Ok(transition)
    }

    /// Verification refused it. The staging bytes are discarded.
    pub fn fail(&self, error: FileError, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Failed, EventKind::Failed, occasion)?;
        transition
            .event
            .data
            .insert("error_code".to_owned(), error.code.clone().into());
        transition.file.error = Some(error);
        transition.file.processed_at = Some(occasion.now);
        transition.usage.stored_bytes = -self.counted_bytes();
        transition.enqueue(JobKind::DiscardStaging, occasion.now, occasion);
        Ok(transition)
    }

    /// An administrator has a dead-lettered job tried again: the bytes were kept.
    pub fn reopen(&self, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Confirmed, EventKind::Reopened, occasion)?;
        transition.file.error = None;
        transition.file.processed_at = None;
        transition.usage.stored_bytes = self.counted_bytes();
        Ok(transition)
    }

    /// Claims an upload that is over, because its time is or because the client aborted: from here on a confirm
    /// is refused, so the bytes can go ("claim before you delete").
    pub fn reap(
        &self,
        upload: &Upload,
        reason: &str,
        occasion: &Occasion<'_>,
    ) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Reaping, EventKind::Expired, occasion)?;
        transition.event.data.insert("reason".to_owned(), reason.into());
        transition.usage.reserved_bytes = -i64::try_from(upload.reserved_bytes).unwrap_or(i64::MAX);
        transition.enqueue(JobKind::ReapUpload, occasion.now, occasion);
        Ok(transition)
    }

    /// The bytes of a claimed upload are gone.
    pub fn reaped(&self, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        self.step(FileState::Expired, EventKind::Reaped, occasion)
    }

    /// Deletes, restorably for `trash_for`.
    pub fn trash(&self, trash_for: SignedDuration, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Trashed, EventKind::Trashed, occasion)?;
        // What was being processed starts over when it is restored.
        let from = if self.state == FileState::Processing {
            FileState::Confirmed
        } else {
            self.state
        };
        let purge_at = occasion.now.checked_add(trash_for).unwrap_or(Timestamp::MAX);
        transition.file.trash = Some(Trash {
            from,
            at: occasion.now,
            purge_at,
        });
        transition
            .event
            .data
            .insert("purge_at".to_owned(), purge_at.to_string().into());
        Ok(transition)
    }

    /// Takes the file back out of the trash.
    pub fn restore(&self, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        let Some(trash) = self.trash else {
            return Err(self.illegal(FileState::Ready));
        };
        let mut transition = self.step(trash.from, EventKind::Restored, occasion)?;
        transition.file.trash = None;
        if trash.from == FileState::Confirmed {
            transition.enqueue(JobKind::ProcessFile, occasion.now, occasion);
        }
        Ok(transition)
    }

    /// Claims a trashed file whose deadline is over: it cannot be restored from here on, so its bytes can go.
    pub fn purge(&self, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Purging, EventKind::Purging, occasion)?;
        let discarded = self.trash.is_some_and(|t| t.from == FileState::Failed);
        transition.usage = UsageDelta {
            reserved_bytes: 0,
            stored_bytes: if discarded { 0 } else { -self.counted_bytes() },
            files: -1,
        };
        transition.enqueue(JobKind::PurgeFile, occasion.now, occasion);
        Ok(transition)
    }

    /// Changes what is not bytes. A file whose sidecar stands gets a new epoch, and so a new sidecar revision.
    pub fn update(&self, patch: FilePatch, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        if matches!(
            self.state,
            FileState::Reaping | FileState::Expired | FileState::Purging | FileState::Trashed
        ) {
            return Err(self.illegal(self.state));
        }
        let mut transition = self.succeed(self.state, EventKind::Updated, occasion);
        let file = &mut transition.file;
        let mut changed: Vec<&str> = Vec::new();
        if let Some(filename) = patch.filename {
            file.filename = filename;
            changed.push("filename");
        }
        if let Some(description) = patch.description {
            file.description = description;
            changed.push("description");
        }
        if let Some(metadata) = patch.metadata {
            file.metadata = metadata;
            changed.push("metadata");
        }
        if let Some(record) = patch.record {
            file.record = record;
            changed.push("record");
        }
        if self.has_sidecar() {
            file.epoch += 1;
        }
        transition.event.data.insert("changed".to_owned(), changed.into());
        Ok(transition)
    }

    /// Gives the file an epoch beyond one under which a change was begun and abandoned, in the trash too: whatever was or
    /// will still be written under that one never counts.
    pub fn supersede(&self, abandoned: u32, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        if matches!(
            self.state,
            FileState::Reaping | FileState::Expired | FileState::Purging
        ) {
            return Err(self.illegal(self.state));
        }
        let mut transition = self.succeed(self.state, EventKind::Updated, occasion);
        transition.file.epoch = self.epoch.max(abandoned) + 1;
        let data = &mut transition.event.data;
        data.insert("changed".to_owned(), Vec::<&str>::new().into());
        data.insert("superseded_epoch".to_owned(), abandoned.into());
        Ok(transition)
    }

    /// What this file adds to its owner's stored bytes.
    fn counted_bytes(&self) -> i64 {
        self.verified
            .as_ref()
            .map(|v| v.size_bytes)
            .or(self.staged.as_ref().map(|s| s.size_bytes))
            .map_or(0, |size| i64::try_from(size).unwrap_or(i64::MAX))
    }

    /// The one way from state to state: through the table.
    fn step(&self, next: FileState, kind: EventKind, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        if !self.state.may_become(kind, next) {
            return Err(self.illegal(next));
        }
        Ok(self.succeed(next, kind, occasion))
    }

    fn succeed(&self, next: FileState, kind: EventKind, occasion: &Occasion<'_>) -> Transition {
        let mut file = self.clone();
        file.state = next;
        file.version += 1;
        // A clock that steps back must not make time run backwards within one file.
        file.updated_at = occasion.now.max(self.updated_at);
        let event = occasion.event(&file, kind);
        Transition::new(self.version, file, event)
    }

    fn illegal(&self, next: FileState) -> Refusal {
        let code = match self.state {
            FileState::Expired | FileState::Reaping if next == FileState::Confirmed => {
                ErrorCode::UploadExpired
            }
            _ => ErrorCode::InvalidState,
        };
        Refusal::new(
            code,
            format!("The file is {}; that does not allow this.", self.state.as_str()),
        )
        .with("file_id", self.id.to_string())
        .with("state", self.state.as_str())
    }
}

/// The refusal, and the failure, of bytes that are not the declared ones.
pub fn checksum_mismatch(declared: Sha256Digest, found: Sha256Digest) -> Refusal {
    Refusal::new(
        ErrorCode::ChecksumMismatch,
        "The bytes that arrived do not have the declared SHA-256.",
    )
    .with("declared_checksum_sha256", declared.to_string())
    .with("checksum_sha256", found.to_string())
}
