//! Files that wait for work which nobody will do: a net under the queue.
//!
//! A change of state enqueues its work in the same commit, but the queue holds one job of a kind per file: what is
//! enqueued while a worker is just about to find that there is nothing to do is dropped, and then the worker ends its
//! job. So whoever ends a job without a change looks again, and a sweep looks for what a crash left even then.

use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{JobKind, NewJob};
use cloakroom_core::ports::metadata::{Cursor, FileQuery};

use crate::app::App;
use crate::error::Result;

/// States in which something must happen to a file, and what.
const AWAITED: &[(FileState, JobKind)] = &[
    (FileState::Confirmed, JobKind::ProcessFile),
    (FileState::Processing, JobKind::ProcessFile),
    (FileState::Reaping, JobKind::ReapUpload),
    (FileState::Purging, JobKind::PurgeFile),
];
/// Rows of one page.
const PAGE_ROWS: u32 = 1_000;
/// Pages that one sweep looks at: with more files under way than that, the queue is long, not lost.
const PAGES_MAX: usize = 50;

impl App {
    /// Sees that a file which waits for work has a job. `true` when it had none.
    pub async fn requeue_file(&self, id: FileId) -> Result<bool> {
        match self.metadata.file(id).await? {
            Some(file) => self.requeue_awaited(&file).await,
            None => Ok(false),
        }
    }

    /// Files that have waited for a while without a job get one. Returns how many.
    pub async fn sweep_stranded(&self) -> Result<u32> {
        let before = self
            .now()
            .checked_sub(self.policy.intent_lease)
            .unwrap_or(self.now());
        let mut found = 0;
        for (state, _) in AWAITED {
            let mut query = FileQuery {
                states: vec![*state],
                limit: PAGE_ROWS,
                ..FileQuery::default()
            };
            for _ in 0..PAGES_MAX {
                let page = self.metadata.files(&query).await?;
                for file in page.items.iter().filter(|file| file.updated_at <= before) {
                    found += u32::from(self.requeue_awaited(file).await?);
                }
                let Some(last) = page.items.last().filter(|_| page.more) else {
                    break;
                };
                query.after = Some(Cursor {
                    created_at: last.created_at,
                    id: last.id,
                });
            }
        }
        Ok(found)
    }

    async fn requeue_awaited(&self, file: &File) -> Result<bool> {
        let Some((_, kind)) = AWAITED.iter().find(|(state, _)| *state == file.state) else {
            return Ok(false);
        };
        let now = self.now();
        let job = NewJob {
            id: JobId(self.random.uuid_v7(now)),
            kind: *kind,
            file_id: file.id,
            run_at: now,
        };
        let stranded = self.metadata.enqueue(&job).await?;
        if stranded {
            tracing::warn!(event = "file_stranded", file_id = %file.id, state = file.state.as_str(), "A file waited without a job");
        }
        Ok(stranded)
    }
}
