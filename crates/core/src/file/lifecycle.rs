//! Every legal change of a file, as a pure function that returns a [`Transition`].

use jiff::{SignedDuration, Timestamp};

use super::{File, FileError, FileState, Hold, Staged, Trash, Verified};
use crate::JsonObject;
use crate::checksum::Sha256Digest;
use crate::collection::Collection;
use crate::derivative::Derivative;
use crate::error::{ErrorCode, Refusal};
use crate::event::EventKind;
use crate::job::JobKind;
use crate::media::MediaType;
use crate::ports::objects::ObjectPath;
use crate::ports::scanner::Holdup;
use crate::record::RecordKey;
use crate::transition::{Occasion, Transition, UsageDelta};
use crate::upload::Upload;

/// In the data of an event that a file has moved: the bucket that it left.
pub const FROM_BUCKET: &str = "from_bucket";
/// In the data of an event that a file has moved: the key that it left.
pub const FROM_KEY: &str = "from_key";

/// In the data of [`EventKind::Cleared`]: whether an administrator ordered it.
pub const RELEASED: &str = "released";
/// In the data of [`EventKind::Cleared`]: the message that the file was held back with.
pub const CLEARED_OF: &str = "cleared_of";

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
        // What it waited for is there again.
        transition.file.error = None;
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

    /// Its processing waits for something that does not answer. Said once: what waits already for that is left as it is.
    pub fn delay(&self, error: FileError, occasion: &Occasion<'_>) -> Result<Option<Transition>, Refusal> {
        let mut transition = self.step(FileState::Processing, EventKind::Delayed, occasion)?;
        if self.error.as_ref().is_some_and(|known| known.code == error.code) {
            return Ok(None);
        }
        transition
            .event
            .data
            .insert("error_code".to_owned(), error.code.clone().into());
        transition.file.error = Some(error);
        Ok(Some(transition))
    }

    /// The scanner found something in it, or could not look at all of it: out of reach from here on, whether it was read
    /// for the first time or was `ready` before.
    pub fn quarantine(
        &self,
        verified: Verified,
        held: &Holdup,
        occasion: &Occasion<'_>,
    ) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Quarantined, EventKind::Quarantined, occasion)?;
        self.revise(&mut transition);
        let error = held.error();
        let data = &mut transition.event.data;
        data.insert("error_code".to_owned(), error.code.clone().into());
        data.insert("sha256".to_owned(), verified.sha256.to_string().into());
        match held {
            Holdup::Infected { signature } => data.insert("signature".to_owned(), signature.clone().into()),
            Holdup::NotFullyScanned { reason } => data.insert("reason".to_owned(), reason.clone().into()),
        };
        let file = &mut transition.file;
        file.verified = Some(verified);
        file.error = Some(error);
        file.processed_at = Some(occasion.now);
        Ok(transition)
    }

    /// Out of quarantine, after the collection's processors have run. `released`: by an administrator's order, whatever the
    /// scanner says.
    pub fn clear(
        &self,
        facts: JsonObject,
        derivatives: Vec<Derivative>,
        released: bool,
        occasion: &Occasion<'_>,
    ) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Ready, EventKind::Cleared, occasion)?;
        self.revise(&mut transition);
        let data = &mut transition.event.data;
        data.insert(RELEASED.to_owned(), released.into());
        if let Some(error) = &self.error {
            data.insert("error_code".to_owned(), error.code.clone().into());
            data.insert(CLEARED_OF.to_owned(), error.message.clone().into());
        }
        let file = &mut transition.file;
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
        self.admit_removal()?;
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
        self.revise(&mut transition);
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
        self.revise(&mut transition);
        if trash.from == FileState::Confirmed {
            transition.enqueue(JobKind::ProcessFile, occasion.now, occasion);
        }
        Ok(transition)
    }

    /// Claims a trashed file whose deadline is over: it cannot be restored from here on, so its bytes can go.
    pub fn purge(&self, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        self.admit_removal()?;
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

    /// Puts the file on legal hold, or changes the reason of one that stands. A file in the trash can be held too: it stays
    /// there until it is released.
    pub fn hold_for(&self, reason: &str, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        let mut transition = self.step(self.state, EventKind::Held, occasion)?;
        let file = &mut transition.file;
        file.hold = Some(Hold {
            by: occasion.actor.to_owned(),
            at: occasion.now,
            reason: reason.to_owned(),
        });
        if self.has_sidecar() {
            file.epoch += 1;
        }
        Ok(transition)
    }

    /// Ends a legal hold. Why one was ordered or ended is not the owner's to read, so no event says it.
    pub fn release(&self, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        if self.hold.is_none() {
            return Err(
                Refusal::new(ErrorCode::InvalidState, "The file is on no legal hold.")
                    .with("file_id", self.id.to_string()),
            );
        }
        let mut transition = self.step(self.state, EventKind::Released, occasion)?;
        let file = &mut transition.file;
        file.hold = None;
        if self.has_sidecar() {
            file.epoch += 1;
        }
        if self.state_below_trash() == FileState::Failed && !self.is_kept_for_retry() {
            // What the hold kept.
            transition.enqueue(JobKind::DiscardStaging, occasion.now, occasion);
        }
        Ok(transition)
    }

    /// Its bytes stand in an archive, with those of its derivatives: they are there from now on.
    pub fn archive(
        &self,
        place: ObjectPath,
        derivatives: Vec<Derivative>,
        occasion: &Occasion<'_>,
    ) -> Result<Transition, Refusal> {
        let transition = self.step(FileState::Archived, EventKind::Archived, occasion)?;
        Ok(self.moved(transition, place, derivatives, occasion))
    }

    /// Its bytes stand where they can be read again.
    pub fn unarchive(
        &self,
        place: ObjectPath,
        derivatives: Vec<Derivative>,
        occasion: &Occasion<'_>,
    ) -> Result<Transition, Refusal> {
        let mut transition = self.step(FileState::Ready, EventKind::Unarchived, occasion)?;
        transition.file.unarchived_at = Some(occasion.now);
        Ok(self.moved(transition, place, derivatives, occasion))
    }

    /// The event remembers the place that is left, for the job that removes what stands there.
    fn moved(
        &self,
        mut transition: Transition,
        place: ObjectPath,
        derivatives: Vec<Derivative>,
        occasion: &Occasion<'_>,
    ) -> Transition {
        transition.file.bucket = place.bucket;
        transition.file.key = place.key;
        transition.file.epoch += 1;
        transition.derivatives = derivatives;
        let data = &mut transition.event.data;
        data.insert(FROM_BUCKET.to_owned(), self.bucket.clone().into());
        data.insert(FROM_KEY.to_owned(), self.key.clone().into());
        transition.enqueue(JobKind::RemoveMoved, occasion.now, occasion);
        transition
    }

    /// The refusal to remove what is on legal hold.
    pub fn admit_removal(&self) -> Result<(), Refusal> {
        let Some(hold) = &self.hold else { return Ok(()) };
        Err(Refusal::new(
            ErrorCode::LegalHold,
            format!("The file {} is on legal hold and is not removed.", self.id),
        )
        .with("file_id", self.id.to_string())
        .with("held_at", hold.at.to_string()))
    }

    /// A change of a file whose sidecar stands has a revision of its own.
    fn revise(&self, transition: &mut Transition) {
        if self.has_sidecar() {
            transition.file.epoch += 1;
        }
    }

    /// Goes on with a change that was begun and not committed: `revised` is the row as its sidecar has it.
    ///
    /// # Errors
    /// `invalid_state` when no event of this kind leads there.
    pub fn roll_forward(
        &self,
        revised: Self,
        kind: EventKind,
        occasion: &Occasion<'_>,
    ) -> Result<Transition, Refusal> {
        let updated = kind == EventKind::Updated && self.state == revised.state;
        if !updated && !self.state.may_become(kind, revised.state) {
            return Err(self.illegal(revised.state));
        }
        let mut transition = self.succeed(revised.state, kind, occasion);
        let file = &mut transition.file;
        file.epoch = revised.epoch;
        file.updated_at = revised.updated_at;
        file.filename = revised.filename;
        file.description = revised.description;
        file.metadata = revised.metadata;
        file.record = revised.record;
        file.trash = revised.trash;
        file.hold = revised.hold;
        match kind {
            EventKind::Quarantined => file.error = revised.error,
            EventKind::Cleared => {
                file.error = None;
                file.facts = revised.facts;
                file.processed_at = revised.processed_at;
            }
            _ => {}
        }
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
