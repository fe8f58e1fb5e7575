//! The sweep: removes marked garbage whose deadline is over, after asking everything again.
//!
//! | reason | who could still come to refer to it | so |
//! |---|---|---|
//! | staging, without a row | a rebuild, a repeated idempotency key | a row `reaping` is inserted first: from then on nobody can insert or adopt the id |
//! | a copy of a move ahead of its row | the worker that makes the move | the row gets a later version first: from then on that move cannot be committed |
//! | superseded sidecar, unlisted derivative, a place that was left | nobody: epochs and places are never used twice | it is removed |
//! | what is left of a purged, failed or expired file, tombstones | nobody: these ids never come back | it is removed |

use cloakroom_core::JsonObject;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{Declared, File, FileState};
use cloakroom_core::garbage::{Garbage, GarbageReason, GarbageState, Verdict};
use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{JobKind, NewJob};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::metadata::{Inserted, MetadataError, NewFile};
use cloakroom_core::ports::objects::ObjectError;
use cloakroom_core::storage::StorageAction;
use cloakroom_core::upload::{Upload, UploadMethod};
use jiff::{SignedDuration, Timestamp};

use super::evidence::Look;
use crate::app::App;
use crate::error::Result;
use crate::purging::SWEEPER;

/// Marks handled in one step.
const ROUND_MAX: u32 = 200;
/// How long garbage waits that cannot be removed now: its store is closed, or a job is at it.
const WAIT: SignedDuration = SignedDuration::from_mins(10);

/// What became of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is gone.
    Removed,
    /// It was gone before, or is no garbage (any more), or another object: the mark is forgotten, and the next scan says
    /// what it is now.
    Moot,
    /// It goes later.
    Waits,
}

impl App {
    /// Removes garbage whose deadline is over. Returns how many objects were removed.
    pub async fn sweep_garbage(&self) -> Result<u64> {
        let mut removed = 0;
        loop {
            let round = self
                .administration
                .purgeable_garbage(self.now(), ROUND_MAX)
                .await?;
            for garbage in &round {
                let outcome = self.remove_garbage(garbage).await?;
                if outcome == Outcome::Waits {
                    let later = self.now().checked_add(WAIT).unwrap_or(Timestamp::MAX);
                    self.administration
                        .mark_garbage(&garbage.path, &garbage.upload_id, GarbageState::Trashed, later)
                        .await?;
                    continue;
                }
                self.administration
                    .forget_garbage(&garbage.path, &garbage.upload_id)
                    .await?;
                if outcome == Outcome::Removed {
                    removed += 1;
                    tracing::info!(
                        event = "garbage_removed",
                        bucket = %garbage.path.bucket,
                        reason = garbage.reason.as_str(),
                        file_id = garbage.file_id.map(tracing::field::display),
                        file_size = garbage.size_bytes,
                        "Garbage removed"
                    );
                }
            }
            if round.len() < ROUND_MAX as usize {
                return Ok(removed);
            }
        }
    }

    async fn remove_garbage(&self, garbage: &Garbage) -> Result<Outcome> {
        if self.admit(deed_of(garbage), &garbage.path.bucket).is_err() {
            return Ok(Outcome::Waits);
        }
        if garbage.reason == GarbageReason::Multipart {
            return self.remove_multipart(garbage).await;
        }
        let Some(look) = self.look_at(&garbage.path).await? else {
            return Ok(Outcome::Moot);
        };
        if look.info.etag != garbage.etag {
            return Ok(Outcome::Moot);
        }
        if look.verdict != Verdict::Garbage(garbage.reason) {
            return self.leave_to_its_job(&look).await;
        }
        match garbage.reason {
            GarbageReason::Staging if !look.purged => self.reap_staged(garbage).await,
            GarbageReason::LeftObject if look.ahead => self.outdate_move(garbage, &look).await,
            _ => self.remove_object(garbage).await,
        }
    }

    async fn remove_object(&self, garbage: &Garbage) -> Result<Outcome> {
        self.objects.delete(&garbage.path).await?;
        Ok(Outcome::Removed)
    }

    async fn remove_multipart(&self, garbage: &Garbage) -> Result<Outcome> {
        let Some(upload) = self.standing_multipart(garbage).await? else {
            return Ok(Outcome::Moot);
        };
        let (verdict, _) = self.judge_multipart(&garbage.path, &upload).await?;
        if verdict != Verdict::Garbage(GarbageReason::Multipart) {
            return Ok(Outcome::Moot);
        }
        match self
            .objects
            .abort_multipart(&garbage.path, &garbage.upload_id)
            .await
        {
            Ok(()) => Ok(Outcome::Removed),
            Err(ObjectError::NoSuchUpload | ObjectError::NotFound) => Ok(Outcome::Moot),
            Err(error) => Err(error.into()),
        }
    }

    /// A staged object that was claimed by an earlier sweep is its row's, and goes with the row's job, which a crash may
    /// have kept from being enqueued.
    async fn leave_to_its_job(&self, look: &Look) -> Result<Outcome> {
        match &look.file {
            Some(file) if file.state == FileState::Reaping => {
                self.enqueue_reaping(file.id).await?;
                Ok(Outcome::Waits)
            }
            _ => Ok(Outcome::Moot),
        }
    }

    /// Claims a staged object that has no row, by making one: a row `reaping`, which conflicts with whoever inserts or
    /// adopts the same id. The bytes go with its job.
    async fn reap_staged(&self, garbage: &Garbage) -> Result<Outcome> {
        let Some(id) = garbage.file_id else {
            return Ok(Outcome::Moot);
        };
        match self.metadata.insert(self.reaping_row(id, garbage)).await {
            Ok(Inserted::New) => {
                self.enqueue_reaping(id).await?;
                Ok(Outcome::Removed)
            }
            // Somebody was first, or the file was purged just now: the next look tells.
            Ok(Inserted::Existing(_) | Inserted::QuotaExceeded(_)) | Err(MetadataError::Conflict) => {
                Ok(Outcome::Moot)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn enqueue_reaping(&self, id: FileId) -> Result<()> {
        let now = self.now();
        let job = NewJob {
            id: JobId(self.random.uuid_v7(now)),
            kind: JobKind::ReapUpload,
            file_id: id,
            run_at: now,
        };
        self.metadata.enqueue(&job).await?;
        Ok(())
    }

    fn reaping_row(&self, id: FileId, garbage: &Garbage) -> NewFile {
        let occasion = self.occasion(SWEEPER);
        let file = File {
            id,
            owner: SWEEPER.to_owned(),
            created_by_username: SWEEPER.to_owned(),
            created_by_full_name: None,
            collection: String::new(),
            bucket: garbage.path.bucket.clone(),
            state: FileState::Reaping,
            version: 1,
            epoch: 0,
            record: None,
            filename: "garbage".to_owned(),
            description: None,
            metadata: JsonObject::new(),
            declared: Declared {
                content_type: MediaType::octet_stream(),
                size_bytes: Some(garbage.size_bytes),
                sha256: None,
            },
            staged: None,
            verified: None,
            // Nothing of it was ever promoted.
            key: garbage.path.key.clone(),
            facts: JsonObject::new(),
            error: None,
            created_at: occasion.now,
            updated_at: occasion.now,
            uploaded_at: None,
            confirmed_at: None,
            processed_at: None,
            trash: None,
            hold: None,
            unarchived_at: None,
        };
        let mut event = occasion.event(&file, EventKind::Expired);
        event.data.insert("reason".to_owned(), "garbage".into());
        let upload = Upload {
            file_id: id,
            method: UploadMethod::Put,
            staging_key: garbage.path.key.clone(),
            expires_at: garbage.found_at,
            multipart_id: None,
            part_size_bytes: None,
            request_digest: None,
            reserved_bytes: 0,
        };
        NewFile {
            file,
            upload,
            event,
            record: None,
            quota_bytes: None,
        }
    }

    /// Has the row outlive a move that stands still: what was copied for it can then never be committed.
    async fn outdate_move(&self, garbage: &Garbage, look: &Look) -> Result<Outcome> {
        let Some(file) = &look.file else {
            return Ok(Outcome::Moot);
        };
        let transition = file.supersede(file.epoch, &self.occasion(SWEEPER))?;
        let outdated = Box::pin(self.commit_update(file, transition)).await;
        match outdated {
            Ok(_) => {}
            Err(error) if error.code() == ErrorCode::Conflict => {
                return Ok(Outcome::Waits);
            }
            Err(error) => return Err(error),
        }
        match self.look_at(&garbage.path).await? {
            Some(look)
                if !look.ahead
                    && look.info.etag == garbage.etag
                    && look.verdict == Verdict::Garbage(garbage.reason) =>
            {
                self.remove_object(garbage).await
            }
            Some(_) => Ok(Outcome::Waits),
            None => Ok(Outcome::Moot),
        }
    }
}

/// What removing it is to the mode of its store: leftovers of uploads go in every mode.
fn deed_of(garbage: &Garbage) -> StorageAction {
    match garbage.reason {
        GarbageReason::Staging | GarbageReason::Multipart => StorageAction::ReadMetadata,
        _ => StorageAction::Delete,
    }
}
