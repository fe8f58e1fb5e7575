//! The queue: claims with a lease, fenced completion, dead letters, one live job per kind and file.

use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome, JobState, NewJob};
use cloakroom_core::ports::metadata::{Claim, MetadataError, Page};
use cloakroom_core::ports::signals::Topic;
use jiff::Timestamp;
use uuid::Uuid;

use super::connection::{Connection, Write};
use super::failure::{Failure, Outcome};
use super::row::{self, Columns};
use super::values::{Text, Time};

/// When a job was made: its id says so.
fn made_at(job: &NewJob) -> Timestamp {
    let (seconds, nanos) = job.id.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
    i64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .and_then(|seconds| Timestamp::new(seconds, i32::try_from(nanos).ok()?).ok())
        .unwrap_or(job.run_at)
}

/// What enqueues a job; changes nothing when one of its kind waits or runs for that file.
pub(super) fn write<'a>(connection: &'a Connection, job: &'a NewJob) -> Write<'a> {
    Write {
        statement: &connection.sql().insert_job,
        values: vec![
            Box::new(job.id.0),
            Box::new(job.kind.as_str()),
            Box::new(job.file_id.0),
            Box::new(job.kind.priority()),
            Box::new(Time(job.run_at)),
            Box::new(Time(made_at(job))),
        ],
    }
}

/// Enqueues; `false` when one of its kind waits or runs for that file.
pub(super) async fn insert(connection: &Connection, job: &NewJob) -> Outcome<bool> {
    let inserted = connection.execute_all(&[write(connection, job)]).await? != [0];
    if inserted {
        connection.hint(Topic::Jobs);
    }
    Ok(inserted)
}

/// Whether the claim holds. If it does, it holds until the end of the transaction.
pub(super) async fn lease_holds(connection: &Connection, lease: JobLease) -> Outcome<bool> {
    connection
        .exists(
            &connection.sql().lease_holds,
            &[&lease.job_id.0, &i64::from(lease.epoch)],
        )
        .await
}

/// Takes a claimed job out of the queue.
pub(super) async fn complete(connection: &Connection, lease: JobLease) -> Outcome<()> {
    let completed = connection
        .execute(
            &connection.sql().complete_job,
            &[&lease.job_id.0, &i64::from(lease.epoch)],
        )
        .await?;
    match completed {
        0 => Err(MetadataError::Fenced.into()),
        _ => Ok(()),
    }
}

/// The end of a claim's lease.
pub(super) fn lease_end(claim: &Claim<'_>) -> Timestamp {
    claim.now.checked_add(claim.lease).unwrap_or(Timestamp::MAX)
}

pub(super) async fn claim(connection: Connection, claim: &Claim<'_>) -> Outcome<Vec<Job>> {
    let claimed = connection
        .query(
            &connection.sql().claim_jobs,
            &[
                &Time(claim.now),
                &Text(&claim.worker.0),
                &Time(lease_end(claim)),
                &i64::from(claim.limit),
            ],
        )
        .await?;
    let mut claimed = row::all(&claimed, row::job)?;
    // RETURNING has no order.
    claimed.sort_by_key(|job| (std::cmp::Reverse(job.kind.priority()), job.run_at, job.id));
    Ok(claimed)
}

pub(super) async fn extend(
    connection: Connection,
    leases: &[JobLease],
    until: Timestamp,
) -> Outcome<Vec<JobLease>> {
    let ids: Vec<Uuid> = leases.iter().map(|lease| lease.job_id.0).collect();
    let epochs: Vec<i64> = leases.iter().map(|lease| i64::from(lease.epoch)).collect();
    let extended = connection
        .query(&connection.sql().extend_leases, &[&ids, &epochs, &Time(until)])
        .await?;
    let held = row::all(&extended, |row| {
        let c = Columns(row);
        Ok(JobLease {
            job_id: JobId(c.id(0)?),
            epoch: c.count(1)?,
        })
    })?;
    Ok(leases
        .iter()
        .filter(|lease| held.contains(lease))
        .copied()
        .collect())
}

pub(super) async fn finish(connection: Connection, lease: JobLease, outcome: &JobOutcome) -> Outcome<()> {
    let (state, run_at, error) = match outcome {
        JobOutcome::Done => return complete(&connection, lease).await,
        JobOutcome::Retry { run_at, error } => (JobState::Ready, Some(*run_at), error),
        JobOutcome::Snooze { run_at, reason } => (JobState::Ready, Some(*run_at), reason),
        JobOutcome::Dead { error } => (JobState::Dead, None, error),
    };
    let uncounted = i64::from(matches!(outcome, JobOutcome::Snooze { .. }));
    let failed = i64::from(matches!(outcome, JobOutcome::Retry { .. }));
    let changed = connection
        .execute(
            &connection.sql().release_job,
            &[
                &lease.job_id.0,
                &i64::from(lease.epoch),
                &state.as_str(),
                &run_at.map(Time),
                &uncounted,
                &failed,
                &Text(error),
            ],
        )
        .await?;
    if changed == 0 {
        return Err(MetadataError::Fenced.into());
    }
    if state == JobState::Ready {
        connection.hint(Topic::Jobs);
    }
    Ok(())
}

/// The earliest time over the few priorities that there are: each is one step into an index.
pub(super) async fn next_at(connection: Connection) -> Outcome<Option<Timestamp>> {
    let mut priorities: Vec<i16> = JobKind::ALL.iter().map(|kind| kind.priority()).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let found = connection
        .first(&connection.sql().next_job_at, &[&priorities])
        .await?;
    Ok(found
        .map(|row| Columns(&row).optional_time(0))
        .transpose()?
        .flatten())
}

pub(super) async fn list(
    connection: Connection,
    state: Option<JobState>,
    after: Option<JobId>,
    limit: u32,
) -> Outcome<Page<Job>> {
    let sql = connection.sql();
    let after = after.map_or(Uuid::nil(), |id| id.0);
    let rows = i64::from(limit) + 1;
    let found = match state {
        None => connection.query(&sql.jobs, &[&after, &rows]).await?,
        Some(JobState::Dead) => connection.query(&sql.dead_jobs, &[&after, &rows]).await?,
        Some(state) => {
            connection
                .query(&sql.jobs_in_state, &[&after, &rows, &state.as_str()])
                .await?
        }
    };
    Ok(super::page(row::all(&found, row::job)?, limit))
}

/// Puts a dead job back. If another one of its kind is live for that file, that one does the work, and the dead
/// one goes like every other double.
pub(super) async fn retry(connection: Connection, id: JobId, now: Timestamp) -> Outcome<bool> {
    let sql = connection.sql();
    let Some(dead) = connection.first(&sql.dead_job, &[&id.0]).await? else {
        return Ok(false);
    };
    let c = Columns(&dead);
    let (kind, file_id) = (c.text(0)?, c.id(1)?);
    if connection.exists(&sql.live_job, &[&file_id, &kind]).await? {
        connection.execute(&sql.discard_job, &[&id.0]).await?;
        return Ok(true);
    }
    match connection.execute(&sql.revive_job, &[&id.0, &Time(now)]).await {
        Ok(_) => {
            connection.hint(Topic::Jobs);
            Ok(true)
        }
        // One of its kind was enqueued since the look.
        Err(failure) if failure.is_unique_violation() => Err(Failure::Overtaken),
        Err(failure) => Err(failure),
    }
}

pub(super) async fn discard(connection: Connection, id: JobId) -> Outcome<bool> {
    Ok(connection
        .execute(&connection.sql().discard_job, &[&id.0])
        .await?
        > 0)
}

/// Removes every job about a file.
pub(super) async fn remove_of_file(connection: &Connection, id: FileId) -> Outcome<()> {
    let sql = connection.sql();
    connection.execute(&sql.delete_live_jobs, &[&id.0]).await?;
    connection.execute(&sql.delete_dead_jobs, &[&id.0]).await?;
    Ok(())
}
