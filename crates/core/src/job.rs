//! Jobs: background work, enqueued in the transaction that makes it necessary.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::JsonObject;
use crate::id::{FileId, JobId, WorkerId};

/// What to do. The payload of every kind is the file it is about; what else the work needs is read from the
/// file's row, so a job never acts on stale facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Let a quarantined file go, by an administrator's order: the collection's processors, then `ready`.
    ReleaseFile,
    /// Have a ready or quarantined file looked at by the scanner again.
    RescanFile,
}

/// What a job must have waited longer than another one to make up for one point of priority.
pub const PRIORITY_STEP: SignedDuration = SignedDuration::from_mins(1);

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
        Self::ReleaseFile,
        Self::RescanFile,
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
            Self::ReleaseFile => "release_file",
            Self::RescanFile => "rescan_file",
        }
    }

    /// Reads a stable name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }

    /// Larger is claimed first. Each point is worth [`PRIORITY_STEP`] of waiting, so that nothing waits for ever.
    pub const fn priority(self) -> i16 {
        match self {
            Self::ProcessFile => 10,
            Self::UnarchiveFile | Self::ReleaseFile => 5,
            Self::ReapUpload
            | Self::PurgeFile
            | Self::RemoveTombstone
            | Self::DiscardStaging
            | Self::RemoveMoved => 0,
            Self::ArchiveFile | Self::RescanFile => -5,
        }
    }
}

/// What work asks of a worker. Neither lane may take the last place of the other: what frees space goes on while photos
/// are processed, and the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Reads or moves whole files.
    Heavy,
    /// A few calls to the store.
    Light,
}

impl Lane {
    /// Every lane.
    pub const ALL: &'static [Self] = &[Self::Heavy, Self::Light];
}

impl JobKind {
    /// The lane that it runs in.
    pub const fn lane(self) -> Lane {
        match self {
            Self::ProcessFile
            | Self::ArchiveFile
            | Self::UnarchiveFile
            | Self::ReleaseFile
            | Self::RescanFile => Lane::Heavy,
            Self::ReapUpload
            | Self::PurgeFile
            | Self::RemoveTombstone
            | Self::DiscardStaging
            | Self::RemoveMoved => Lane::Light,
        }
    }
}

/// Where a job that runs is in its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The scanner looks at the bytes.
    Scanning,
    /// The bytes are read and their digest computed.
    Verifying,
    /// The verified object is put in its final place.
    Promoting,
    /// A processor of this name works on the verified bytes.
    Processing(String),
}

impl Stage {
    /// The name on the wire and in the table.
    pub fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Scanning => "scanning".into(),
            Self::Verifying => "verifying".into(),
            Self::Promoting => "promoting".into(),
            Self::Processing(processor) => format!("processing:{processor}").into(),
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "scanning" => Some(Self::Scanning),
            "verifying" => Some(Self::Verifying),
            "promoting" => Some(Self::Promoting),
            other => {
                let processor = other.strip_prefix("processing:")?;
                Some(Self::Processing(processor.to_owned()))
            }
        }
    }
}

/// How far a running job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobProgress {
    /// Where it is.
    pub stage: Stage,
    /// Bytes of this stage that are done.
    pub done_bytes: u64,
    /// Bytes of this stage, where that is known before.
    pub total_bytes: Option<u64>,
}

impl JobProgress {
    /// As it is kept.
    pub fn to_json(&self) -> JsonObject {
        let mut object = JsonObject::new();
        object.insert("stage".to_owned(), self.stage.name().into());
        object.insert("done".to_owned(), self.done_bytes.into());
        if let Some(total) = self.total_bytes {
            object.insert("total".to_owned(), total.into());
        }
        object
    }

    /// Reads what was kept. `None` for what a newer version may have written: progress is shown, nothing depends on it.
    pub fn from_json(object: &JsonObject) -> Option<Self> {
        Some(Self {
            stage: Stage::parse(object.get("stage")?.as_str()?)?,
            done_bytes: object.get("done")?.as_u64()?,
            total_bytes: object.get("total").and_then(serde_json::Value::as_u64),
        })
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
    /// Whose file it is about; owners take turns. `None` in what an older version enqueued, until its turn is given.
    pub owner: Option<String>,
    /// Its turn among the jobs of its kind: each owner has one in each round, and rounds are a microsecond apart. `None`
    /// while it waits for its time.
    pub turn_at: Option<Timestamp>,
    /// How far the present attempt is, as its worker said last.
    pub progress: Option<JobProgress>,
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
    fn progress_is_read_as_it_was_written() {
        for stage in [
            Stage::Scanning,
            Stage::Verifying,
            Stage::Promoting,
            Stage::Processing("image".to_owned()),
        ] {
            for total_bytes in [None, Some(u64::MAX)] {
                let progress = JobProgress {
                    stage: stage.clone(),
                    done_bytes: 7,
                    total_bytes,
                };
                assert_eq!(JobProgress::from_json(&progress.to_json()), Some(progress));
            }
        }
        let mut newer = JsonObject::new();
        newer.insert("stage".to_owned(), "dreaming".into());
        newer.insert("done".to_owned(), 1.into());
        assert_eq!(JobProgress::from_json(&newer), None);
    }

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
