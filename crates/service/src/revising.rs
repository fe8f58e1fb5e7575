//! Changes of files that were confirmed: what stands in the store is changed first, the row after it, so that the store
//! alone tells all of it (I6). A verified file has a sidecar, one that is not verified yet a confirm note.

use cloakroom_core::JsonObject;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::Derivative;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::File;
use cloakroom_core::format::sidecar_v1::{SIDECAR_BYTES_MAX, SidecarV1};
use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::key::sidecar_key;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath};
use cloakroom_core::record::Record;
use cloakroom_core::transition::Transition;
use futures_util::StreamExt;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::processing::AttemptError;

/// Entries of the log that are looked through for the author of a revision.
const PENDING_MAX: u32 = 10_000;

impl App {
    /// Commits a change of a file that moves no bytes: metadata, trash, restore, hold, release. Where a sidecar stands, its
    /// next revision is written first: intent, sidecar, row; a crash in between is rolled forward if the sidecar was
    /// written, else back. A file that is not verified yet has its confirm note instead.
    pub(crate) async fn commit_update(&self, before: &File, transition: Transition) -> Result<File> {
        // Boxed, for it is part of many use cases.
        if before.has_sidecar() {
            return Box::pin(self.commit_revision(before, transition)).await;
        }
        let updated = transition.file.clone();
        Box::pin(self.commit_noted(transition)).await?;
        Ok(updated)
    }

    async fn commit_revision(&self, before: &File, mut transition: Transition) -> Result<File> {
        let updated = transition.file.clone();
        // The sidecar tells of all of them, the row is given those that this change makes.
        let made = std::mem::take(&mut transition.derivatives);
        let standing = self.metadata.derivatives(before.id).await?;
        let kept = standing
            .into_iter()
            .filter(|one| !made.iter().any(|new| new.name == one.name));
        transition.derivatives = kept.chain(made.iter().cloned()).collect();
        let bytes = self.revision(&transition).await.map_err(unfinished)?;
        let intent = self.intend_update(before, &transition, &bytes).await?;
        let outcome = match self.put_revision_bytes(&updated, bytes, None).await {
            Ok(_) => {
                transition.derivatives = made;
                transition.intent = Some(intent);
                self.metadata.apply(transition).await.map_err(ServiceError::from)
            }
            Err(AttemptError::Overtaken) => {
                // The revision is somebody else's, so there is nothing of ours to take back.
                self.metadata
                    .end_intent(intent, IntentStatus::RolledBack, None, self.now())
                    .await?;
                Box::pin(self.help(&updated)).await?;
                return Err(MetadataError::Conflict.into());
            }
            Err(error) => Err(unfinished(error)),
        };
        match outcome {
            Ok(()) => {
                self.drop_sidecars_before(&updated).await;
                Ok(updated)
            }
            Err(error) if error.code() == ErrorCode::Conflict => {
                self.after_conflict(updated, intent, error).await
            }
            Err(error) => Err(error),
        }
    }

    /// Another change has written the revision that this one was to write. Whether its author is alive or dead is not
    /// waited for: the row is brought to where that revision has it, and whoever comes after goes on from there.
    async fn help(&self, lost: &File) -> Result<()> {
        let pending = self.metadata.stale_intents(Timestamp::MAX, PENDING_MAX).await?;
        let path = ObjectPath::new(&lost.bucket, sidecar_key(&lost.key, lost.epoch));
        let Some(bytes) = self.read_document(&path, SIDECAR_BYTES_MAX).await? else {
            return Ok(());
        };
        let standing = digest(&bytes);
        let theirs = pending.iter().find(|intent| {
            let revision = intent.data.get(REVISION).and_then(serde_json::Value::as_str);
            intent.file_id == Some(lost.id) && intent.epoch == lost.epoch && revision == Some(&standing)
        });
        let helped = if let Some(intent) = theirs {
            self.recover_and_end(intent).await
        } else {
            // A move, or nobody knows of it: the database is older than the store.
            self.adopt_file(&path).await.map(drop)
        };
        match helped {
            Err(error) if error.code() != ErrorCode::Conflict => Err(error),
            _ => Ok(()),
        }
    }

    /// The row is another one than the change began with. It may be this very change, made true by a recovery or a rebuild
    /// that found its sidecar.
    async fn after_conflict(&self, lost: File, intent: IntentId, error: ServiceError) -> Result<File> {
        let end = async |status| match self.metadata.end_intent(intent, status, None, self.now()).await {
            // Whoever went on from here has ended it too.
            Err(MetadataError::Conflict) => Ok(()),
            other => other,
        };
        match self.metadata.file(lost.id).await? {
            Some(now) if now.epoch == lost.epoch && says_the_same(&now, &lost) => {
                end(IntentStatus::Committed).await?;
                return Ok(now);
            }
            // Made true by somebody else, and others came after it: to do it once more would undo theirs.
            Some(now) if now.epoch > lost.epoch && self.is_rolled_forward(&lost, intent).await? => {
                end(IntentStatus::Committed).await?;
                return Ok(lost);
            }
            // The sidecar of that epoch is another's truth.
            Some(now) if now.epoch >= lost.epoch => {}
            // Our revision is no truth, and yet it is not removed: a rebuild may have believed it a moment ago. The intent
            // stays open, so that a recovery moves the row beyond it.
            _ => return Err(error),
        }
        end(IntentStatus::RolledBack).await?;
        Err(error)
    }

    /// Whether a recovery, or another change that needed the place, did what this intent says.
    async fn is_rolled_forward(&self, lost: &File, intent: IntentId) -> Result<bool> {
        let before = lost.version.checked_sub(1);
        let events = self.metadata.timeline(lost.id, before, 1).await?.items;
        let by = events.first().and_then(|event| event.data.get(INTENT));
        Ok(by.is_some_and(|by| *by == intent.0.to_string()))
    }

    async fn intend_update(&self, before: &File, transition: &Transition, bytes: &[u8]) -> Result<IntentId> {
        let now = self.now();
        let id = IntentId(self.random.uuid_v7(now));
        let (after, event) = (&transition.file, &transition.event);
        let data = JsonObject::from_iter([
            ("from_version".to_owned(), before.version.into()),
            ("bucket".to_owned(), after.bucket.clone().into()),
            ("key".to_owned(), after.key.clone().into()),
            ("sidecar".to_owned(), sidecar_key(&after.key, after.epoch).into()),
            // Whose sidecar stands: of two changes that want one epoch each has its intent.
            (REVISION.to_owned(), digest(bytes).into()),
            ("event".to_owned(), event.kind.as_str().into()),
            ("event_data".to_owned(), event.data.clone().into()),
        ]);
        let intent = Intent {
            id,
            kind: IntentKind::FileUpdate,
            status: IntentStatus::Pending,
            file_id: Some(after.id),
            epoch: after.epoch,
            data,
            actor: event.actor.clone(),
            // The commit ends it with the time of its event: it does not begin after that.
            started_at: event.at.min(now),
            lease_until: now.checked_add(self.policy.intent_lease).unwrap_or(now),
            completed_at: None,
            error: None,
        };
        self.metadata.begin_intent(&intent).await?;
        Ok(id)
    }

    /// What the sidecar of this file says, with its upload, and its record if that was made by linking. `new_record` is
    /// made together with this revision.
    pub(crate) async fn sidecar_of(
        &self,
        file: &File,
        derivatives: &[Derivative],
        new_record: Option<&Record>,
    ) -> std::result::Result<SidecarV1, AttemptError> {
        let Some(mut sidecar) = SidecarV1::of(file, derivatives) else {
            return Err(AttemptError::Retry(
                "an unverified file has no sidecar".to_owned(),
            ));
        };
        if let Some(upload) = self.metadata.upload(file.id).await? {
            sidecar = sidecar.with_upload(&upload);
        }
        if let Some(record) = self.record_of(file, new_record).await? {
            sidecar = sidecar.with_record(&record);
        }
        Ok(sidecar)
    }

    /// What the file's sidecar would say if it were written now, without what would not fit.
    pub(crate) async fn expected_sidecar(
        &self,
        file: &File,
        derivatives: &[Derivative],
    ) -> Result<SidecarV1> {
        let sidecar = self
            .sidecar_of(file, derivatives, None)
            .await
            .map_err(unfinished)?;
        Ok(SidecarV1::decode(&sidecar.encode_fitting()?)?)
    }

    /// The record that a file hangs on, as it is or as it is to be.
    pub(crate) async fn record_of(
        &self,
        file: &File,
        new_record: Option<&Record>,
    ) -> std::result::Result<Option<Record>, MetadataError> {
        match (&file.record, new_record) {
            (Some(key), Some(record)) if record.key == *key => Ok(Some(record.clone())),
            (Some(key), _) => self.metadata.record(key).await,
            (None, _) => Ok(None),
        }
    }

    /// A small document of ours; `None` when there is none. One that is longer than `bytes_max` is cut off beyond it, which
    /// its reader then refuses.
    pub(crate) async fn read_document(&self, path: &ObjectPath, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let mut read = match self.objects.get(path, &GetOptions::default()).await {
            Ok(read) => read,
            Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = read.body.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| ServiceError::Unavailable(error.to_string()))?);
            if bytes.len() > bytes_max {
                break;
            }
        }
        Ok(Some(bytes))
    }
}

/// In the data of an intent: the SHA-256 of the sidecar that its author writes.
pub(crate) const REVISION: &str = "sidecar_sha256";
/// The name, in an event's data, of the intent that a recovery rolled forward.
pub(crate) const INTENT: &str = "intent";

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256Digest(Sha256::digest(bytes).into()).to_string()
}

/// A worker's words in those of a use case.
fn unfinished(error: AttemptError) -> ServiceError {
    match error {
        AttemptError::Unavailable(reason) => ServiceError::Unavailable(reason),
        error => ServiceError::Internal(error.to_string()),
    }
}

/// Whether two rows say the same, but for when and in which version.
fn says_the_same(now: &File, lost: &File) -> bool {
    let mut now = now.clone();
    now.version = lost.version;
    now.updated_at = lost.updated_at;
    SidecarV1::of(&now, &[]) == SidecarV1::of(lost, &[])
}
