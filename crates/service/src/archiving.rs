//! The archive: a ready file moves to the archive bucket of its collection and is no longer readable, or comes back.
//!
//! A move copies the object and its derivatives to a place of its own, unique to the version that the move makes, while it
//! checks every byte against the SHA-256 of the file. Then it is committed as every change of a verified file: intent,
//! sidecar, row. That sidecar revision stands at the old place, where any other change would have to write its own, so of
//! two changes at the same time one wins; it says where the file is from then on. What is left at the old place goes by a
//! job, after the sidecar stands at the new one.
//!
//! | a crash after | leaves | and then |
//! |---|---|---|
//! | the copies | bytes at a place that no row names | the job copies again; when it never does, they are garbage |
//! | the intent | the same | recovery rolls back |
//! | the sidecar | a revision ahead of the row | recovery rolls forward; if the row was changed since, the row outlives the revision |
//! | the row | two places with bytes, one of them counts | the job removes the old one |

mod copying;
mod moving;

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{Job, JobKind, NewJob};
use cloakroom_core::ports::objects::ObjectPath;

use crate::app::App;
use crate::error::Result;
use crate::holding::require_operator;
use crate::processing::{Attempt, AttemptError};

/// Where a move goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// Into the archive.
    There,
    /// Out of it.
    Back,
}

impl Direction {
    /// The state that a file must have to go there, and the one that it has then.
    const fn states(self) -> (FileState, FileState) {
        match self {
            Self::There => (FileState::Ready, FileState::Archived),
            Self::Back => (FileState::Archived, FileState::Ready),
        }
    }

    const fn job(self) -> JobKind {
        match self {
            Self::There => JobKind::ArchiveFile,
            Self::Back => JobKind::UnarchiveFile,
        }
    }
}

impl App {
    /// Has a ready file moved to the archive of its collection. Asked again it changes nothing.
    ///
    /// # Errors
    /// `invalid_state` for a file that is not ready, or whose collection has no archive; `invalid_storage_mode`.
    pub async fn archive_file(&self, principal: &Principal, id: FileId) -> Result<File> {
        self.ask_to_move(principal, id, Direction::There, "file.archive_asked")
            .await
    }

    /// Has an archived file brought back, so that it can be read. Asked again it changes nothing.
    ///
    /// # Errors
    /// `invalid_state` for a file that is neither archived nor ready; `invalid_storage_mode`.
    pub async fn unarchive_file(&self, principal: &Principal, id: FileId) -> Result<File> {
        self.ask_to_move(principal, id, Direction::Back, "file.unarchive_asked")
            .await
    }

    async fn ask_to_move(
        &self,
        principal: &Principal,
        id: FileId,
        direction: Direction,
        action: &str,
    ) -> Result<File> {
        let file = self.file_for(principal, Action::Read, id).await?;
        require_operator(principal)?;
        let (from, to) = direction.states();
        if file.state == to {
            return Ok(file);
        }
        if file.state != from {
            return Err(Refusal::new(
                ErrorCode::InvalidState,
                format!("The file is {}; that does not allow this.", file.state.as_str()),
            )
            .with("file_id", id.to_string())
            .with("state", file.state.as_str())
            .into());
        }
        let bucket = self.bucket_of_move(&file, direction)?;
        self.admit_move(&file, &bucket, direction)?;
        if self.enqueue_move(id, direction).await? {
            self.audit_entry(&principal.subject, action, &id.to_string(), JsonObject::new())
                .await?;
        }
        Ok(file)
    }

    /// Enqueues a move; `false` when one waits or runs already.
    async fn enqueue_move(&self, id: FileId, direction: Direction) -> Result<bool> {
        let now = self.now();
        let job = NewJob {
            id: JobId(self.random.uuid_v7(now)),
            kind: direction.job(),
            file_id: id,
            run_at: now,
        };
        Ok(self.metadata.enqueue(&job).await?)
    }

    /// Enqueues the move of a file whose time in the hot store is over; `false` when that cannot be now.
    pub(crate) async fn archive_in_time(&self, file: &File) -> Result<bool> {
        let Ok(bucket) = self.bucket_of_move(file, Direction::There) else {
            return Ok(false);
        };
        if self.admit_move(file, &bucket, Direction::There).is_err() {
            return Ok(false);
        }
        self.enqueue_move(file.id, Direction::There).await
    }

    fn bucket_of_move(&self, file: &File, direction: Direction) -> std::result::Result<String, Refusal> {
        let collection = self.collection(&file.collection)?;
        match (direction, &collection.retention.archive_bucket) {
            (Direction::Back, _) => Ok(collection.bucket.clone()),
            (Direction::There, Some(bucket)) => Ok(bucket.clone()),
            (Direction::There, None) => Err(Refusal::new(
                ErrorCode::InvalidState,
                format!("Collection {} has no archive_bucket.", collection.name),
            )
            .with("collection", collection.name.clone())),
        }
    }

    fn admit_move(
        &self,
        file: &File,
        bucket: &str,
        direction: Direction,
    ) -> std::result::Result<(), Refusal> {
        match direction {
            Direction::There => self.admit_archiving(&file.bucket, bucket),
            Direction::Back => self.admit_unarchiving(&file.bucket, bucket),
        }
    }

    /// Moves one file to its archive, under the claim of `job`.
    pub async fn move_to_archive(&self, job: &Job) -> std::result::Result<Attempt, AttemptError> {
        Box::pin(self.move_file(job, Direction::There)).await
    }

    /// Brings one file back from its archive, under the claim of `job`.
    pub async fn move_from_archive(&self, job: &Job) -> std::result::Result<Attempt, AttemptError> {
        Box::pin(self.move_file(job, Direction::Back)).await
    }

    async fn move_file(&self, job: &Job, direction: Direction) -> std::result::Result<Attempt, AttemptError> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(Attempt::NothingToDo);
        };
        if file.state != direction.states().0 {
            return Ok(Attempt::NothingToDo);
        }
        let refused = |refusal: Refusal| AttemptError::Retry(refusal.to_string());
        let bucket = self.bucket_of_move(&file, direction).map_err(refused)?;
        self.admit_move(&file, &bucket, direction)
            .map_err(AttemptError::from_mode)?;
        let key = cloakroom_core::key::moved_key(&file.key, file.version + 1);
        let place = ObjectPath::new(bucket, key);
        let derivatives = self.copy_file(&file, &place).await?;
        // The mode may have changed while bytes were on their way.
        self.admit_move(&file, &place.bucket, direction)
            .map_err(AttemptError::from_mode)?;
        Box::pin(self.commit_move(&file, job, direction, place, derivatives)).await
    }
}
