//! Quarantine: what the scanner holds back, what administrators do about it, and looking again.
//!
//! A file in quarantine keeps its bytes and its sidecar, so a rebuild brings it back into quarantine. Release and re-scan
//! are jobs about the file: the row says `quarantined` until everything that `ready` means has been done.

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{CLEARED_OF, File, FileState, RELEASED};
use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{Job, JobKind, NewJob};
use cloakroom_core::ports::metadata::{Cursor, FileQuery, MetadataError};
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::scanner::Holdup;
use cloakroom_core::storage::StorageAction;
use cloakroom_core::transition::Fence;
use jiff::{SignedDuration, Timestamp};

use crate::app::{App, Pause};
use crate::error::{Result, ServiceError};
use crate::holding::check_reason;
use crate::operations::Run;
use crate::processing::{Attempt, AttemptError, Progress, Unmeasured, WORKER};
use crate::stores::Deed;
use crate::tokens::require_admin;
use crate::uploads::RACES_MAX;

/// Files that a re-scan of a collection looks at.
const RESCANNED: &[FileState] = &[FileState::Ready, FileState::Quarantined];
/// Rows read in one step.
const PAGE: u32 = 500;

type Done<T> = std::result::Result<T, AttemptError>;

impl App {
    /// Has a quarantined file let go, whatever the scanner says: it becomes `ready` after its collection's processors have
    /// run. Asked again it changes nothing.
    ///
    /// # Errors
    /// `insufficient_permissions` for others than administrators, `invalid_state` for a file that is not quarantined.
    pub async fn release_quarantined(&self, principal: &Principal, id: FileId, reason: &str) -> Result<File> {
        check_reason(reason)?;
        let file = self.quarantined(principal, id, &[FileState::Quarantined]).await?;
        self.admit(StorageAction::Update, &file.bucket)?;
        if self.enqueue_about(id, JobKind::ReleaseFile).await? {
            self.audit_quarantine(principal, &file, "file.quarantine_released", Some(reason))
                .await?;
        }
        Ok(file)
    }

    /// Has a ready or quarantined file looked at by the scanner again. One that is found harmful, or not to be scanned
    /// whole, is quarantined; a quarantined one that is found clean becomes `ready`.
    ///
    /// # Errors
    /// As [`Self::release_quarantined`]; `invalid_state` also where no scanner is configured.
    pub async fn rescan_file_for(&self, principal: &Principal, id: FileId) -> Result<File> {
        let file = self.quarantined(principal, id, RESCANNED).await?;
        if self.scanner.is_none() {
            return Err(Refusal::new(
                ErrorCode::InvalidState,
                "There is no scanner; scan.address is not set.",
            )
            .into());
        }
        self.admit(StorageAction::ReadBytes, &file.bucket)
            .map_err(|refusal| refusal.with("file_id", id.to_string()))?;
        if self.enqueue_about(id, JobKind::RescanFile).await? {
            self.audit_quarantine(principal, &file, "file.rescan_asked", None)
                .await?;
        }
        Ok(file)
    }

    /// Removes a quarantined file for good, at once. Removing twice is removing once.
    ///
    /// # Errors
    /// As [`Self::release_quarantined`]; `legal_hold`.
    pub async fn purge_quarantined(&self, principal: &Principal, id: FileId) -> Result<()> {
        for _ in 0..RACES_MAX {
            require_admin(principal)?;
            let file = self.file_for(principal, Action::Read, id).await?;
            if file.state == FileState::Purging {
                return Ok(());
            }
            if file.state_below_trash() != FileState::Quarantined {
                return Err(not_in(&file));
            }
            self.admit(StorageAction::Delete, &file.bucket)?;
            match Box::pin(self.purge_at_once(&file, &principal.subject)).await {
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    return self
                        .audit_quarantine(principal, &file, "file.quarantine_deleted", None)
                        .await;
                }
            }
        }
        Err(MetadataError::Conflict.into())
    }

    async fn purge_at_once(&self, file: &File, actor: &str) -> Result<()> {
        let trashed = if file.state == FileState::Trashed {
            file.clone()
        } else {
            let transition = file.trash(SignedDuration::ZERO, &self.occasion(actor))?;
            self.commit_update(file, transition).await?
        };
        Ok(self.metadata.apply(trashed.purge(&self.occasion(actor))?).await?)
    }

    async fn quarantined(&self, principal: &Principal, id: FileId, states: &[FileState]) -> Result<File> {
        require_admin(principal)?;
        let file = self.file_for(principal, Action::Read, id).await?;
        if states.contains(&file.state) {
            return Ok(file);
        }
        Err(not_in(&file))
    }

    async fn enqueue_about(&self, file_id: FileId, kind: JobKind) -> Result<bool> {
        let now = self.now();
        let job = NewJob {
            id: JobId(self.random.uuid_v7(now)),
            kind,
            file_id,
            run_at: now,
        };
        Ok(self.metadata.enqueue(&job).await?)
    }

    async fn audit_quarantine(
        &self,
        principal: &Principal,
        file: &File,
        action: &str,
        reason: Option<&str>,
    ) -> Result<()> {
        let mut data = JsonObject::new();
        if let Some(reason) = reason {
            data.insert("reason".to_owned(), reason.into());
        }
        if let Some(error) = &file.error {
            data.insert("error_code".to_owned(), error.code.clone().into());
            data.insert("error".to_owned(), error.message.clone().into());
        }
        self.audit_entry(&principal.subject, action, &file.id.to_string(), data)
            .await
    }

    /// Lets a quarantined file go, under the claim of `job`.
    pub async fn release_file_from_quarantine(
        &self,
        job: &Job,
        pause: &Pause,
        progress: &Progress,
    ) -> Done<Attempt> {
        match self.metadata.file(job.file_id).await? {
            Some(file) if file.state == FileState::Quarantined => {
                self.clear(&file, job, true, pause, progress).await
            }
            _ => Ok(Attempt::NothingToDo),
        }
    }

    /// The collection's processors, then sidecar and row. A file that a required processor refuses stays where it is.
    async fn clear(
        &self,
        file: &File,
        job: &Job,
        released: bool,
        pause: &Pause,
        progress: &Progress,
    ) -> Done<Attempt> {
        let admission = self.job_admission(Deed::Act(StorageAction::Update), &file.bucket)?;
        let (Ok(collection), Some(verified)) = (self.collection(&file.collection), &file.verified) else {
            return Err(AttemptError::Retry(format!(
                "collection {} is not configured",
                file.collection
            )));
        };
        let target = ObjectPath::new(&file.bucket, &file.key);
        // What is made stands under the epoch that the commit gives.
        let next = File {
            epoch: file.epoch + 1,
            ..file.clone()
        };
        let (facts, derivatives) = self
            .run_processors(&next, collection, verified, &target, pause, progress)
            .await?
            .map_err(|error| {
                AttemptError::Retry(format!("a required processor refuses it: {}", error.message))
            })?;
        self.job_still_admitted(&admission).await?;
        let mut transition = file
            .clear(facts, derivatives, released, &self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        transition.fence = Some(Fence::Complete(job.lease()));
        let cleared = self.commit_update(file, transition).await.map_err(uncommitted)?;
        tracing::info!(event = "file_cleared", file_id = %cleared.id, user_id = %cleared.owner, released, "File out of quarantine");
        Ok(Attempt::Completed)
    }

    /// Has the scanner look again, under the claim of `job`.
    pub async fn rescan_file(&self, job: &Job, pause: &Pause, progress: &Progress) -> Done<Attempt> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(Attempt::NothingToDo);
        };
        let (true, Some(verified)) = (RESCANNED.contains(&file.state), file.verified.clone()) else {
            return Ok(Attempt::NothingToDo);
        };
        self.admit_job(StorageAction::ReadBytes, &file.bucket)?;
        let scanner = self
            .scanner_at_hand()
            .map_err(|error| AttemptError::from(Unmeasured::Scanner(error)))?;
        let target = ObjectPath::new(&file.bucket, &file.key);
        let measured = self.measure_with(&target, None, &**scanner, progress).await?;
        if measured.sha256() != verified.sha256 {
            return Err(AttemptError::Retry(
                "the bytes in the store are not those that were verified".to_owned(),
            ));
        }
        let Some(held) = measured.held() else {
            return match file.state {
                FileState::Quarantined => self.clear(&file, job, false, pause, progress).await,
                _ => Ok(Attempt::NothingToDo),
            };
        };
        if self.is_known(&file, held).await? {
            return Ok(Attempt::NothingToDo);
        }
        self.admit_job(StorageAction::Update, &file.bucket)?;
        let mut transition = file
            .quarantine(verified, held, &self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        transition.fence = Some(Fence::Complete(job.lease()));
        let held_back = self.commit_update(&file, transition).await.map_err(uncommitted)?;
        self.tell_quarantined(&held_back);
        Ok(Attempt::Completed)
    }

    /// Whether the file is quarantined for just this, or an administrator has released it from just this.
    async fn is_known(&self, file: &File, held: &Holdup) -> Done<bool> {
        let error = held.error();
        if file.state == FileState::Quarantined {
            return Ok(file.error.as_ref() == Some(&error));
        }
        let timeline = self.whole_timeline(file.id).await?;
        let cleared = timeline
            .iter()
            .rev()
            .find(|event| event.kind == EventKind::Cleared);
        Ok(cleared.is_some_and(|event| {
            event.data.get(RELEASED) == Some(&true.into())
                && event.data.get(CLEARED_OF) == Some(&error.message.into())
        }))
    }

    /// Has every ready or quarantined file of a collection looked at again: a job each. Option: `collection`.
    pub(crate) async fn run_rescan(&self, run: &mut Run<'_>) -> Result<()> {
        let Some(collection) = run.text("collection").map(str::to_owned) else {
            return Ok(());
        };
        self.collection(&collection)?;
        if self.scanner.is_none() {
            return Err(Refusal::new(
                ErrorCode::InvalidState,
                "There is no scanner; scan.address is not set.",
            )
            .into());
        }
        let mut query = FileQuery {
            collections: Some(vec![collection]),
            states: RESCANNED.to_vec(),
            after: run.place().and_then(read_place),
            limit: PAGE,
            ..FileQuery::default()
        };
        loop {
            let page = self.metadata.files(&query).await?;
            for file in &page.items {
                let new = self.enqueue_about(file.id, JobKind::RescanFile).await?;
                run.count(if new { "enqueued" } else { "enqueued_before" }, 1);
            }
            let Some(last) = page.items.last() else {
                return Ok(());
            };
            let place = format!("{}/{}", last.created_at, last.id);
            run.advance(run.done() + page.items.len() as u64, place).await?;
            if !page.more {
                return Ok(());
            }
            query.after = Some(Cursor {
                created_at: last.created_at,
                id: last.id,
            });
        }
    }
}

fn read_place(text: &str) -> Option<Cursor> {
    let (created_at, id) = text.split_once('/')?;
    Some(Cursor {
        created_at: created_at.parse::<Timestamp>().ok()?,
        id: id.parse::<FileId>().ok()?,
    })
}

fn not_in(file: &File) -> ServiceError {
    Refusal::new(
        ErrorCode::InvalidState,
        format!("The file is {}; that does not allow this.", file.state.as_str()),
    )
    .with("file_id", file.id.to_string())
    .with("state", file.state.as_str())
    .into()
}

/// A change of the row at the same time has the job begin again.
fn uncommitted(error: ServiceError) -> AttemptError {
    match error {
        error if error.code() == ErrorCode::Conflict => AttemptError::Overtaken,
        error => error.into(),
    }
}
