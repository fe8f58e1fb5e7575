//! What both engines decide alike about the queue: which jobs have a turn from the start, and which of those first in
//! line are claimed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use cloakroom_core::id::JobId;
use cloakroom_core::job::{JobKind, JobState, NewJob, PRIORITY_STEP};
use cloakroom_core::ports::metadata::QueueDepth;
use jiff::{SignedDuration, Timestamp};

/// Jobs of a kind that are given their turn by one claim: many may come due at once, and the claim must stay short.
pub(crate) const PLACED_MAX: u32 = 500;

/// When a job was made: its id says so.
pub(crate) fn made_at(job: &NewJob) -> Timestamp {
    let (seconds, nanos) = job.id.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
    i64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .and_then(|seconds| Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok())
        .unwrap_or(job.run_at)
}

/// Whether it may run as soon as it is enqueued. Its id knows milliseconds only.
pub(crate) fn is_due_at_once(job: &NewJob) -> bool {
    job.run_at.duration_since(made_at(job)) <= SignedDuration::from_millis(1)
}

/// Jobs of a kind in a state. Kinds that only a newer version knows have no name here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) kind: Option<JobKind>,
    pub(crate) state: JobState,
    pub(crate) count: u64,
    pub(crate) oldest_run_at: Option<Timestamp>,
}

/// By state, with a zero for every state that no job has: a gauge that is not set any more keeps its last value.
pub(crate) fn by_state(counted: &[Counted]) -> Vec<(JobState, u64)> {
    let total = |state| {
        counted
            .iter()
            .filter(|row| row.state == state)
            .map(|row| row.count)
            .sum()
    };
    JobState::ALL
        .iter()
        .map(|state| (*state, total(*state)))
        .collect()
}

/// By kind, every kind.
pub(crate) fn by_kind(counted: &[Counted]) -> Vec<QueueDepth> {
    let depth = |kind| {
        let mut depth = QueueDepth::none(kind);
        for row in counted.iter().filter(|row| row.kind == Some(kind)) {
            match row.state {
                JobState::Ready => {
                    depth.ready = row.count;
                    depth.oldest_run_at = row.oldest_run_at;
                }
                JobState::Running => depth.running = row.count,
                JobState::Dead => depth.dead = row.count,
            }
        }
        depth
    };
    JobKind::ALL.iter().copied().map(depth).collect()
}

/// A job that may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) id: JobId,
    pub(crate) run_at: Timestamp,
    /// Whether its worker died: the job had its turn.
    pub(crate) lapsed: bool,
}

/// The jobs of one kind in the order of their turns, at most as many as may be claimed of it.
pub(crate) struct Line {
    pub(crate) kind: JobKind,
    pub(crate) candidates: Vec<Candidate>,
}

/// From when a job counts as waiting beside jobs of other kinds.
fn counts_from(kind: JobKind, run_at: Timestamp) -> Timestamp {
    let head_start = PRIORITY_STEP * i32::from(kind.priority());
    run_at.saturating_sub(head_start).unwrap_or(run_at)
}

/// Which jobs to claim, in order: of all first in line the one that waits longest, again and again.
pub(crate) fn choose(lines: &[Line], limit: u32) -> Vec<(JobKind, Candidate)> {
    let first = |line: usize, place: usize| {
        let candidate = *lines[line].candidates.get(place)?;
        let since = counts_from(lines[line].kind, candidate.run_at);
        Some(Reverse((since, candidate.id.0, line, place)))
    };
    let mut heads: BinaryHeap<_> = (0..lines.len()).filter_map(|line| first(line, 0)).collect();
    let mut chosen = Vec::new();
    while chosen.len() < limit as usize
        && let Some(Reverse((_, _, line, place))) = heads.pop()
    {
        chosen.push((lines[line].kind, lines[line].candidates[place]));
        heads.extend(first(line, place + 1));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn line(kind: JobKind, times: &[i64]) -> Line {
        let candidates = times.iter().enumerate().map(|(n, seconds)| Candidate {
            id: JobId(Uuid::from_u128(n as u128)),
            run_at: at(*seconds),
            lapsed: false,
        });
        Line {
            kind,
            candidates: candidates.collect(),
        }
    }

    fn kinds(lines: &[Line], limit: u32) -> Vec<JobKind> {
        choose(lines, limit).into_iter().map(|(kind, _)| kind).collect()
    }

    #[test]
    fn a_kind_of_higher_priority_comes_first_until_the_other_has_waited_long() {
        use JobKind::{ProcessFile, PurgeFile};
        let lines = |purge| [line(ProcessFile, &[700, 700]), line(PurgeFile, &[purge])];
        assert_eq!(kinds(&lines(200), 3), [ProcessFile, ProcessFile, PurgeFile]);
        assert_eq!(kinds(&lines(99), 3), [PurgeFile, ProcessFile, ProcessFile]);
        assert_eq!(kinds(&lines(99), 1), [PurgeFile]);
        assert_eq!(kinds(&[], 1), []);
    }

    #[test]
    fn the_order_of_a_line_is_kept_whatever_its_times() {
        let lines = [
            line(JobKind::ProcessFile, &[5, 1, 9]),
            line(JobKind::PurgeFile, &[0]),
        ];
        let chosen = choose(&lines, 10);
        let times: Vec<_> = chosen
            .iter()
            .filter(|(kind, _)| *kind == JobKind::ProcessFile)
            .map(|(_, candidate)| candidate.run_at)
            .collect();
        assert_eq!(times, [at(5), at(1), at(9)]);
        assert_eq!(chosen.len(), 4);
    }
}
