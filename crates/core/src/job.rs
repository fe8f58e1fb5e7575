//! Jobs: background work, enqueued in the transaction that makes it necessary.

use jiff::{SignedDuration, Timestamp};

use crate::id::{FileId, JobId, WorkerId};

/// What to do. The payload of every kind is the file it is about; what else the work needs is read from the
/// file's row, so a job never acts on stale facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// Verify a confirmed file and promote it.
    ProcessFile,
    /// Remove what an expired or aborted upload left in staging, after its row was claimed.
    ReapUpload,
    /// Remove the bytes of a trashed file whose time is over.
    PurgeFile,
    /// Remove the tombstone of a purged file, when no late writer can be alive any more.
    RemoveTombstone,
    /// Remove the bytes of a file that failed verification or a required processor.
    DiscardStaging,
    /// Move a file to the archive of its collection.
    ArchiveFile,
    /// Bring an archived file back.
    UnarchiveFile,
    /// Remove what a moved file left where it was.
    RemoveMoved,
}

impl JobKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::ProcessFile,
        Self::ReapUpload,
        Self::PurgeFile,
        Self::RemoveTombstone,
        Self::DiscardStaging,
        Self::ArchiveFile,
        Self::UnarchiveFile,
        Self::RemoveMoved,
    ];

    /// The stable name in the queue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProcessFile => "process_file",
            Self::ReapUpload => "reap_upload",
            Self::PurgeFile => "purge_file",
            Self::RemoveTombstone => "remove_tombstone",
            Self::DiscardStaging => "discard_staging",
            Self::ArchiveFile => "archive_file",
            Self::UnarchiveFile => "unarchive_file",
            Self::RemoveMoved => "remove_moved",
        }
    }

    /// Reads a stable name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }

    /// Larger is claimed first.
    pub const fn priority(self) -> i16 {
        match self {
            Self::ProcessFile => 10,
            Self::UnarchiveFile => 5,
            Self::ReapUpload
            | Self::PurgeFile
            | Self::RemoveTombstone
            | Self::DiscardStaging
            | Self::RemoveMoved => 0,
            Self::ArchiveFile => -5,
        }
    }
}

/// How often and how long to try (S2 `RETRY_CONFIG`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts that may end with an error, the first one included.
    pub attempts_max: u32,
    /// Wait after the first failure.
    pub initial_delay: SignedDuration,
    /// Longest wait.
    pub delay_max: SignedDuration,
    /// Growth of the wait with each failure.
    pub exponential_base: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 3,
            initial_delay: SignedDuration::from_secs(1),
            delay_max: SignedDuration::from_secs(30),
            exponential_base: 2.0,
        }
    }
}

impl RetryPolicy {
    /// How long to wait after the failure numbered `failure` (from 1). `jitter` is drawn from 0..1 by the
    /// caller and spreads the wait over 0.5 to 1.5 times its length, never above the longest wait.
    pub fn delay_after(&self, failure: u32, jitter: f64) -> SignedDuration {
        let exponent = f64::from(failure.saturating_sub(1).min(63));
        let seconds = self.initial_delay.as_secs_f64() * self.exponential_base.powf(exponent);
        let spread = seconds * (0.5 + jitter.clamp(0.0, 1.0));
        SignedDuration::from_secs_f64(spread.min(self.delay_max.as_secs_f64()))
    }
}

/// A job to enqueue.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What to do.
    pub kind: JobKind,
    /// To which file. At most one job of a kind waits or runs per file; a second one is dropped.
    pub file_id: FileId,
    /// Not before.
    pub run_at: Timestamp,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Waiting for its time.
    Ready,
    /// Claimed; if its lease ends it is claimed again.
    Running,
    /// Tried as often as allowed, or refused for good: the dead-letter list.
    Dead,
}

impl JobState {
    /// Every state. Finished jobs leave the table; their file's timeline remembers.
    pub const ALL: &'static [Self] = &[Self::Ready, Self::Running, Self::Dead];

    /// The name on the wire and in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }
}

/// A job as it stands in the queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What to do.
    pub kind: JobKind,
    /// To which file.
    pub file_id: FileId,
    /// Where it stands.
    pub state: JobState,
    /// Not before.
    pub run_at: Timestamp,
    /// Attempts begun so far: those that failed, those whose worker died, and the one that runs.
    pub attempt: u32,
    /// Attempts that ended with [`JobOutcome::Retry`]. A worker that dies says nothing about the job, so this and not
    /// the number of attempts decides when to give up, and how long to wait.
    pub failures: u32,
    /// The fencing token: grows with every claim.
    pub lease_epoch: u32,
    /// Who holds it.
    pub lease_owner: Option<WorkerId>,
    /// Until when.
    pub lease_until: Option<Timestamp>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When it was enqueued.
    pub created_at: Timestamp,
}

impl Job {
    /// The proof of holding this job, to be shown when finishing it.
    pub fn lease(&self) -> JobLease {
        JobLease {
            job_id: self.id,
            epoch: self.lease_epoch,
        }
    }
}

/// Proof of a claim. A worker that lost its lease cannot commit with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobLease {
    /// The job.
    pub job_id: JobId,
    /// The claim's fencing token.
    pub epoch: u32,
}

/// What became of one attempt, where it was not completed by a transition.
#[derive(Clone, Debug, PartialEq)]
pub enum JobOutcome {
    /// Nothing (more) to do: the job leaves the queue.
    Done,
    /// Failed, which is counted; try again then.
    Retry {
        /// Not before.
        run_at: Timestamp,
        /// Why.
        error: String,
    },
    /// Cannot be done now through no fault of the job (an unreachable store): try again then, attempt not counted.
    Snooze {
        /// Not before.
        run_at: Timestamp,
        /// Why.
        reason: String,
    },
    /// To the dead-letter list.
    Dead {
        /// Why.
        error: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_the_longest() {
        let policy = RetryPolicy::default();
        let seconds = |failure, jitter| policy.delay_after(failure, jitter).as_secs_f64();
        assert!((seconds(1, 0.5) - 1.0).abs() < 1e-9);
        assert!((seconds(2, 0.5) - 2.0).abs() < 1e-9);
        assert!((seconds(1, 0.0) - 0.5).abs() < 1e-9);
        assert!((seconds(40, 1.0) - 30.0).abs() < 1e-9);
        assert!((seconds(u32::MAX, 1.0) - 30.0).abs() < 1e-9);
    }
}
