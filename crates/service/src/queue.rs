//! The queue as administrators see it: what waits, what is dead, and what becomes of that.

use cloakroom_core::access::Principal;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::JobId;
use cloakroom_core::job::{Job, JobKind, JobState};
use cloakroom_core::ports::metadata::Page;
use cloakroom_core::storage::StorageAction;

use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::processing::PROCESSING_FAILED;
use crate::tokens::require_admin;

/// Jobs that are looked at in one step.
const STEP: u32 = 1_000;
/// Dead jobs that one call handles: each is a few commits.
const HANDLED_MAX: u32 = 200;

/// What became of some dead jobs.
#[derive(Debug, Default)]
pub struct Handled {
    /// How many are dead no more.
    pub done: u64,
    /// Those that stay dead, and why.
    pub refused: Vec<(JobId, Refusal)>,
    /// After which job to go on; `None` when every dead job was looked at.
    pub next: Option<JobId>,
}

impl App {
    /// Jobs in a state and of a kind, or any.
    pub async fn jobs(
        &self,
        principal: &Principal,
        state: Option<JobState>,
        kind: Option<JobKind>,
        after: Option<JobId>,
        limit: u32,
    ) -> Result<Page<Job>> {
        require_admin(principal)?;
        let limit = limit.clamp(1, 1_000);
        let Some(kind) = kind else {
            return Ok(self.metadata.jobs(state, after, limit).await?);
        };
        let (mut items, mut after) = (Vec::new(), after);
        loop {
            let page = self.metadata.jobs(state, after, STEP).await?;
            after = page.items.last().map(|job| job.id);
            items.extend(page.items.into_iter().filter(|job| job.kind == kind));
            let full = items.len() > limit as usize;
            if full || !page.more {
                items.truncate(limit as usize);
                return Ok(Page { items, more: full });
            }
        }
    }

    /// The job that makes a confirmed file ready, while it is at it or waits for it.
    pub async fn processing_job(&self, file: &File) -> Result<Option<Job>> {
        if !matches!(file.state, FileState::Confirmed | FileState::Processing) {
            return Ok(None);
        }
        Ok(self.metadata.live_job(file.id, JobKind::ProcessFile).await?)
    }

    /// Has a dead job tried again, and its file with it.
    pub async fn retry_job(&self, principal: &Principal, id: JobId) -> Result<()> {
        require_admin(principal)?;
        let dead = self.dead_job(id).await?;
        self.revive(principal, &dead).await
    }

    /// Takes a dead job off the list.
    pub async fn discard_job(&self, principal: &Principal, id: JobId) -> Result<()> {
        require_admin(principal)?;
        if self.metadata.discard_job(id).await? {
            Ok(())
        } else {
            Err(no_such_job(id).into())
        }
    }

    /// Has dead jobs tried again, of one kind or of every kind: some of them, after a job.
    pub async fn retry_jobs(
        &self,
        principal: &Principal,
        kind: Option<JobKind>,
        after: Option<JobId>,
    ) -> Result<Handled> {
        let page = self
            .jobs(principal, Some(JobState::Dead), kind, after, HANDLED_MAX)
            .await?;
        let mut handled = Handled::to_go_on(&page);
        for job in page.items {
            match self.revive(principal, &job).await {
                Ok(()) => handled.done += 1,
                // Somebody else was faster.
                Err(ServiceError::Refused(refusal)) if refusal.code == ErrorCode::NotFound => {}
                Err(ServiceError::Refused(refusal)) => handled.refused.push((job.id, refusal)),
                Err(error) => return Err(error),
            }
        }
        Ok(handled)
    }

    /// Takes dead jobs off the list, of one kind or of every kind: some of them, after a job.
    pub async fn discard_jobs(
        &self,
        principal: &Principal,
        kind: Option<JobKind>,
        after: Option<JobId>,
    ) -> Result<Handled> {
        let page = self
            .jobs(principal, Some(JobState::Dead), kind, after, HANDLED_MAX)
            .await?;
        let mut handled = Handled::to_go_on(&page);
        for job in page.items {
            handled.done += u64::from(self.metadata.discard_job(job.id).await?);
        }
        Ok(handled)
    }

    async fn revive(&self, principal: &Principal, dead: &Job) -> Result<()> {
        if dead.kind == JobKind::ProcessFile
            && let Some(file) = self.metadata.file(dead.file_id).await?
            && file.state == FileState::Failed
            && file
                .error
                .as_ref()
                .is_some_and(|error| error.code == PROCESSING_FAILED)
        {
            self.admit(StorageAction::Create, &file.bucket)?;
            self.metadata
                .apply(file.reopen(&self.occasion(&principal.subject))?)
                .await?;
        }
        if self.metadata.retry_job(dead.id, self.now()).await? {
            Ok(())
        } else {
            Err(no_such_job(dead.id).into())
        }
    }

    async fn dead_job(&self, id: JobId) -> Result<Job> {
        let mut after = None;
        loop {
            let page = self.metadata.jobs(Some(JobState::Dead), after, STEP).await?;
            if let Some(job) = page.items.iter().find(|job| job.id == id) {
                return Ok(job.clone());
            }
            match (page.more, page.items.last()) {
                (true, Some(last)) => after = Some(last.id),
                _ => return Err(no_such_job(id).into()),
            }
        }
    }
}

impl Handled {
    fn to_go_on(page: &Page<Job>) -> Self {
        Self {
            next: page.items.last().filter(|_| page.more).map(|job| job.id),
            ..Self::default()
        }
    }
}

fn no_such_job(id: JobId) -> Refusal {
    Refusal::new(
        ErrorCode::NotFound,
        "There is no such job in the dead-letter list.",
    )
    .with("job_id", id.to_string())
}
