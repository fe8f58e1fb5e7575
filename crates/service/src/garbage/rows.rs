//! The other way: rows whose object is gone, and rows whose job was lost.

use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{JobKind, NewJob};
use cloakroom_core::key::{move_of, sidecar_key};
use cloakroom_core::ports::objects::ObjectPath;
use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::SignedDuration;

use super::{REPAIRED, finding};
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

/// Rows read in one step.
const PAGE: u32 = 500;
/// Objects asked for at the same time.
const HEADS: usize = 16;
/// An open upload that is over for so much longer than it may be is one that the sweep does not get to.
const SWEPT_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// What is wrong with a row.
enum Wrong {
    ObjectMissing,
    UploadOverdue,
    JobLost(JobKind),
}

impl App {
    /// Every row after one; returns how many things were looked at in all.
    pub(super) async fn scan_rows(
        &self,
        run: &mut Run<'_>,
        mut done: u64,
        mut after: Option<FileId>,
    ) -> Result<u64> {
        loop {
            let page = self.administration.all_files(after, PAGE).await?;
            done += page.items.len() as u64;
            after = page.items.last().map(|file| file.id).or(after);
            let wrong: Vec<_> = stream::iter(page.items)
                .map(|file| self.examine(file))
                .buffered(HEADS)
                .try_collect()
                .await?;
            for (file, wrong) in wrong.into_iter().flatten() {
                report_row(run, &file, &wrong);
            }
            if !page.more {
                return Ok(done);
            }
            if let Some(id) = after {
                run.advance(done, format!("rows/{id}")).await?;
            }
        }
    }

    /// What is wrong with a row, after a second look.
    async fn examine(&self, file: File) -> Result<Option<(File, Wrong)>> {
        let Some(wrong) = self.wrong_with(&file).await? else {
            return Ok(None);
        };
        // Rows change meanwhile: what is said is said of the row as it is now.
        let now = self.metadata.file(file.id).await?;
        let same = now.is_some_and(|now| now.version == file.version);
        Ok(same.then_some((file, wrong)))
    }

    async fn wrong_with(&self, file: &File) -> Result<Option<Wrong>> {
        Ok(match file.state_below_trash() {
            FileState::Ready | FileState::Archived | FileState::Quarantined
                if file.state != FileState::Purging =>
            {
                let at = |key: &str| ObjectPath::new(&file.bucket, key);
                if !self.stands(&at(&file.key)).await? {
                    return Ok(Some(Wrong::ObjectMissing));
                }
                // What moved has its sidecar here from the job that removes the place it left.
                let unfinished = move_of(&file.key).is_some()
                    && !self.stands(&at(&sidecar_key(&file.key, file.epoch))).await?;
                if unfinished {
                    return self.regain(file, JobKind::RemoveMoved).await;
                }
                None
            }
            FileState::Pending | FileState::Uploading | FileState::Uploaded => {
                let Some(upload) = self.metadata.upload(file.id).await? else {
                    return Ok(None);
                };
                let over = self.now().duration_since(upload.expires_at);
                let allowed = self.grace_in(&file.collection).checked_add(SWEPT_WITHIN);
                allowed
                    .is_some_and(|allowed| over > allowed)
                    .then_some(Wrong::UploadOverdue)
            }
            _ => {
                let kind = match file.state {
                    FileState::Confirmed | FileState::Processing => JobKind::ProcessFile,
                    FileState::Reaping => JobKind::ReapUpload,
                    FileState::Purging => JobKind::PurgeFile,
                    _ => return Ok(None),
                };
                return self.regain(file, kind).await;
            }
        })
    }

    /// Enqueues a job that a row waits for. There is at most one of a kind: where this is new, there was none.
    async fn regain(&self, file: &File, kind: JobKind) -> Result<Option<Wrong>> {
        let now = self.now();
        let job = NewJob {
            id: JobId(self.random.uuid_v7(now)),
            kind,
            file_id: file.id,
            run_at: now,
        };
        Ok(self.metadata.enqueue(&job).await?.then_some(Wrong::JobLost(kind)))
    }
}

fn report_row(run: &mut Run<'_>, file: &File, wrong: &Wrong) {
    let path = ObjectPath::new(&file.bucket, &file.key);
    let state = file.state.as_str();
    let line = match wrong {
        Wrong::ObjectMissing => finding(
            "object_missing",
            Some(&path),
            Some(file.id),
            format!("The file is {state} and its object is gone."),
        ),
        Wrong::UploadOverdue => finding(
            "upload_overdue",
            None,
            Some(file.id),
            format!("The upload is {state} and over; the sweep takes it."),
        ),
        Wrong::JobLost(kind) => {
            let detail = format!("The file is {state} and had no job; {} waits now.", kind.as_str());
            let mut line = finding("job_lost", None, Some(file.id), detail);
            REPAIRED.clone_into(&mut line.action);
            line
        }
    };
    run.find(line);
}
