//! The queue: claims with a lease, fenced completion, dead letters, one live job per kind and file.

use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome, JobState, NewJob};
use cloakroom_core::ports::metadata::{Claim, MetadataError, Page};
use cloakroom_core::ports::signals::Topic;
use jiff::Timestamp;
use rusqlite::params;
use uuid::Uuid;

use super::failure::Outcome;
use super::row::{self, Columns, micros};
use super::session::Session;
use super::statements::job_columns;

/// When a job was made: its id says so.
fn made_at(job: &NewJob) -> Timestamp {
    let (seconds, nanos) = job.id.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
    i64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .and_then(|seconds| Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok())
        .unwrap_or(job.run_at)
}

/// Enqueues; `false` when one of its kind waits or runs for that file.
pub(super) fn insert(session: &Session, job: &NewJob) -> Outcome<bool> {
    let inserted = session.execute(
        &session.sql.insert_job,
        params![
            job.id.0.as_bytes(),
            job.kind.as_str(),
            job.file_id.0.as_bytes(),
            job.kind.priority(),
            micros(job.run_at),
            micros(made_at(job)),
        ],
    )?;
    if inserted > 0 {
        session.hint(Topic::Jobs);
    }
    Ok(inserted > 0)
}

fn lease_parameters(lease: &JobLease) -> (&Uuid, u32) {
    (&lease.job_id.0, lease.epoch)
}

/// [`MetadataError::Fenced`] unless the claim holds.
pub(super) fn check_lease(session: &Session, lease: JobLease) -> Outcome<()> {
    let (id, epoch) = lease_parameters(&lease);
    if session.exists(&session.sql.lease_holds, params![id.as_bytes(), epoch])? {
        Ok(())
    } else {
        Err(MetadataError::Fenced.into())
    }
}

/// Takes a claimed job out of the queue.
pub(super) fn complete(session: &Session, lease: JobLease) -> Outcome<()> {
    let (id, epoch) = lease_parameters(&lease);
    match session.execute(&session.sql.complete_job, params![id.as_bytes(), epoch])? {
        0 => Err(MetadataError::Fenced.into()),
        _ => Ok(()),
    }
}

pub(super) fn claim(
    session: &Session,
    worker: &str,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
) -> Outcome<Vec<Job>> {
    let mut claimed = session.all(
        &session.sql.claim_jobs,
        params![micros(now), worker, micros(until), limit],
        row::job,
    )?;
    // RETURNING has no order.
    claimed.sort_by_key(|job| (std::cmp::Reverse(job.kind.priority()), job.run_at, job.id));
    Ok(claimed)
}

/// The end of a claim's lease.
pub(super) fn lease_end(claim: &Claim<'_>) -> Timestamp {
    claim.now.checked_add(claim.lease).unwrap_or(Timestamp::MAX)
}

pub(super) fn extend(session: &Session, leases: &[JobLease], until: Timestamp) -> Outcome<Vec<JobLease>> {
    let mut held = Vec::with_capacity(leases.len());
    for lease in leases {
        let (id, epoch) = lease_parameters(lease);
        if session.execute(
            &session.sql.extend_lease,
            params![id.as_bytes(), epoch, micros(until)],
        )? > 0
        {
            held.push(*lease);
        }
    }
    Ok(held)
}

pub(super) fn finish(session: &Session, lease: JobLease, outcome: &JobOutcome) -> Outcome<()> {
    let (state, run_at, error) = match outcome {
        JobOutcome::Done => return complete(session, lease),
        JobOutcome::Retry { run_at, error } => (JobState::Ready, Some(*run_at), error),
        JobOutcome::Snooze { run_at, reason } => (JobState::Ready, Some(*run_at), reason),
        JobOutcome::Dead { error } => (JobState::Dead, None, error),
    };
    let uncounted = u32::from(matches!(outcome, JobOutcome::Snooze { .. }));
    let failed = u32::from(matches!(outcome, JobOutcome::Retry { .. }));
    let (id, epoch) = lease_parameters(&lease);
    let changed = session.execute(
        &session.sql.release_job,
        params![
            id.as_bytes(),
            epoch,
            state.as_str(),
            run_at.map(micros),
            uncounted,
            failed,
            error
        ],
    )?;
    if changed == 0 {
        return Err(MetadataError::Fenced.into());
    }
    if state == JobState::Ready {
        session.hint(Topic::Jobs);
    }
    Ok(())
}

/// The earliest time over the few priorities that there are: each is one step into an index.
pub(super) fn next_at(session: &Session) -> Outcome<Option<Timestamp>> {
    let mut priorities: Vec<i16> = JobKind::ALL.iter().map(|kind| kind.priority()).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let mut earliest = None;
    for priority in priorities {
        let found = session
            .first(&session.sql.next_job_at, [priority], |row| {
                Columns(row).optional_time(0)
            })?
            .flatten();
        earliest = [earliest, found].into_iter().flatten().min();
    }
    Ok(earliest)
}

/// The statement of a list: states are spelled out, so that the indexes of single states apply.
pub(super) fn list_sql(session: &Session, state: Option<JobState>) -> String {
    let condition = match state {
        None => "",
        Some(JobState::Ready) => "AND state = 'ready'",
        Some(JobState::Running) => "AND state = 'running'",
        Some(JobState::Dead) => "AND state = 'dead'",
    };
    let columns = job_columns!();
    session.sql.prefix.render(&format!(
        "SELECT {columns} FROM {{p}}_jobs WHERE id > ?1 {condition} ORDER BY id LIMIT ?2"
    ))
}

pub(super) fn list(
    session: &Session,
    state: Option<JobState>,
    after: Option<JobId>,
    limit: u32,
) -> Outcome<Page<Job>> {
    let after = after.map_or(Uuid::nil(), |id| id.0);
    let items = session.all(
        &list_sql(session, state),
        params![after.as_bytes(), i64::from(limit) + 1],
        row::job,
    )?;
    Ok(super::page(items, limit))
}

/// Puts a dead job back. If another one of its kind is live for that file, that one does the work, and the dead
/// one goes like every other double.
pub(super) fn retry(session: &Session, id: JobId, now: Timestamp) -> Outcome<bool> {
    let dead = session.first(&session.sql.dead_job, [id.0.as_bytes()], |row| {
        let c = Columns(row);
        Ok((c.text(0)?, c.id(1)?))
    })?;
    let Some((kind, file_id)) = dead else {
        return Ok(false);
    };
    if session.exists(&session.sql.live_job, params![file_id.as_bytes(), kind])? {
        session.execute(&session.sql.discard_job, [id.0.as_bytes()])?;
    } else {
        session.execute(&session.sql.revive_job, params![id.0.as_bytes(), micros(now)])?;
        session.hint(Topic::Jobs);
    }
    Ok(true)
}

pub(super) fn discard(session: &Session, id: JobId) -> Outcome<bool> {
    Ok(session.execute(&session.sql.discard_job, [id.0.as_bytes()])? > 0)
}

/// Removes every job about a file.
pub(super) fn remove_of_file(session: &Session, id: FileId) -> Outcome<()> {
    session.execute(&session.sql.delete_live_jobs, [id.0.as_bytes()])?;
    session.execute(&session.sql.delete_dead_jobs, [id.0.as_bytes()])?;
    Ok(())
}
