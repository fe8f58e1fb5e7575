//! The queue: claims with a lease, fenced completion, dead letters, one live job per kind and file.

use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome, JobProgress, JobState, NewJob};
use cloakroom_core::ports::metadata::{Claim, MetadataError, Page};
use cloakroom_core::ports::signals::Topic;
use futures_util::future::join;
use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connection::{Connection, Write, together};
use super::failure::{Failure, Outcome};
use super::row;
use super::values::{Json, Text, Time, json_text};
use crate::queue::{Candidate, Counted, Line, PLACED_MAX, choose, is_due_at_once, made_at};
use crate::row::Columns as _;

/// What enqueues a job; changes nothing when one of its kind waits or runs for that file. Whose file it is about is looked
/// up unless it is known.
pub(super) fn write<'a>(connection: &'a Connection, job: &'a NewJob, owner: Option<&'a str>) -> Write<'a> {
    Write {
        statement: &connection.sql().insert_job,
        values: vec![
            Box::new(job.id.0),
            Box::new(job.kind.as_str()),
            Box::new(job.file_id.0),
            Box::new(job.kind.priority()),
            Box::new(Time(job.run_at)),
            Box::new(Time(made_at(job))),
            Box::new(owner.map(Text)),
            Box::new(is_due_at_once(job)),
        ],
    }
}

/// Enqueues; `false` when one of its kind waits or runs for that file.
pub(super) async fn insert(connection: &Connection, job: &NewJob, owner: Option<&str>) -> Outcome<bool> {
    let inserted = connection.execute_all(&[write(connection, job, owner)]).await? != [0];
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

/// Looks who is first in line, decides, and takes so many of each kind: others look at the same time, and what one has
/// locked the next passes over.
pub(super) async fn claim(connection: Connection, claim: &Claim<'_>) -> Outcome<Vec<Job>> {
    let sql = connection.sql();
    let rooms = JobKind::ALL.iter().map(|kind| (*kind, claim.room(*kind)));
    let rooms: Vec<_> = rooms.filter(|(_, room)| *room > 0).collect();
    let lines = lines(&connection, claim.now, &rooms).await?;
    let (mut counts, mut lapsed) = (Vec::<(JobKind, i64)>::new(), Vec::new());
    for (kind, candidate) in choose(&lines, claim.limit) {
        if candidate.lapsed {
            lapsed.push(candidate.id.0);
        } else if let Some((_, count)) = counts.iter_mut().find(|(counted, _)| *counted == kind) {
            *count += 1;
        } else {
            counts.push((kind, 1));
        }
    }
    if counts.is_empty() && lapsed.is_empty() {
        return Ok(Vec::new());
    }
    let kinds: Vec<&str> = counts.iter().map(|(kind, _)| kind.as_str()).collect();
    let most: Vec<i64> = counts.iter().map(|(_, count)| *count).collect();
    let claimed = connection
        .query(
            &sql.claim_jobs,
            &[
                &Time(claim.now),
                &Text(&claim.worker.0),
                &Time(lease_end(claim)),
                &kinds,
                &most,
                &lapsed,
            ],
        )
        .await?;
    let mut claimed = row::all(&claimed, row::job)?;
    // RETURNING has no order.
    claimed.sort_by_key(|job| (std::cmp::Reverse(job.kind.priority()), job.turn_at, job.id));
    Ok(claimed)
}

/// Gives turns to jobs whose time has come, and looks who is first in line.
async fn lines(connection: &Connection, now: Timestamp, rooms: &[(JobKind, u32)]) -> Outcome<Vec<Line>> {
    let sql = connection.sql();
    let kinds: Vec<&str> = rooms.iter().map(|(kind, _)| kind.as_str()).collect();
    let most: Vec<i64> = rooms.iter().map(|(_, room)| i64::from(*room)).collect();
    connection.prepare(&[&sql.place_jobs, &sql.jobs_in_line]).await?;
    let now = Time(now);
    let placed_max = i64::from(PLACED_MAX);
    let parameters: [&(dyn ToSql + Sync); 3] = [&now, &kinds, &placed_max];
    let (placed, found) = join(connection.execute(&sql.place_jobs, &parameters), async {
        connection.query(&sql.jobs_in_line, &[&now, &kinds, &most]).await
    })
    .await;
    let (_, found) = (together([placed])?, found?);
    let found = row::all(&found, |row| {
        Ok((
            JobKind::parse(&row.text(0)?),
            Candidate {
                id: JobId(row.id(1)?),
                run_at: row.time(2)?,
                lapsed: row.try_get(3)?,
            },
        ))
    })?;
    let line = |(kind, room): &(JobKind, u32)| {
        let of_kind = found.iter().filter(|(found, _)| *found == Some(*kind));
        Line {
            kind: *kind,
            candidates: of_kind
                .map(|(_, candidate)| *candidate)
                .take(*room as usize)
                .collect(),
        }
    };
    Ok(rooms.iter().map(line).collect())
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
        Ok(JobLease {
            job_id: JobId(row.id(0)?),
            epoch: row.count(1)?,
        })
    })?;
    Ok(leases
        .iter()
        .filter(|lease| held.contains(lease))
        .copied()
        .collect())
}

/// Holds on to jobs, and keeps how far they are.
pub(super) async fn report(
    connection: Connection,
    reports: &[(JobLease, JobProgress)],
    until: Timestamp,
) -> Outcome<Vec<JobLease>> {
    let ids: Vec<Uuid> = reports.iter().map(|(lease, _)| lease.job_id.0).collect();
    let epochs: Vec<i64> = reports.iter().map(|(lease, _)| i64::from(lease.epoch)).collect();
    let progress = reports
        .iter()
        .map(|(_, progress)| Ok(Json(json_text(&progress.to_json())?)))
        .collect::<Outcome<Vec<_>>>()?;
    let reported = connection
        .query(
            &connection.sql().report_progress,
            &[&ids, &epochs, &Time(until), &progress],
        )
        .await?;
    row::all(&reported, |row| {
        connection.hint(Topic::File(FileId(row.id(2)?)));
        Ok(JobLease {
            job_id: JobId(row.id(0)?),
            epoch: row.count(1)?,
        })
    })
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
    let released = connection
        .first(
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
    let Some(released) = released else {
        return Err(MetadataError::Fenced.into());
    };
    if state == JobState::Ready {
        connection.hint(Topic::Jobs);
    }
    connection.hint(Topic::File(FileId(released.id(0)?)));
    Ok(())
}

/// The earliest time over the kinds that there are: each is two steps into an index.
pub(super) async fn next_at(connection: Connection, without: &[JobKind]) -> Outcome<Option<Timestamp>> {
    let kinds = JobKind::ALL.iter().filter(|kind| !without.contains(kind));
    let kinds: Vec<&str> = kinds.map(|kind| kind.as_str()).collect();
    let found = connection.first(&connection.sql().next_job_at, &[&kinds]).await?;
    Ok(found.map(|row| row.optional_time(0)).transpose()?.flatten())
}

pub(super) async fn live(connection: Connection, file_id: FileId, kind: JobKind) -> Outcome<Option<Job>> {
    let found = connection
        .first(&connection.sql().job_of_file, &[&file_id.0, &kind.as_str()])
        .await?;
    found.as_ref().map(row::job).transpose()
}

/// How many jobs of each kind there are in each state.
pub(super) async fn count(connection: &Connection) -> Outcome<Vec<Counted>> {
    let found = connection.query(&connection.sql().count_jobs, &[]).await?;
    row::all(&found, |row| {
        Ok(Counted {
            kind: JobKind::parse(&row.text(0)?),
            state: row.named(1, JobState::parse)?,
            count: row.size(2)?,
            oldest_run_at: row.optional_time(3)?,
        })
    })
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
    let (kind, file_id) = (dead.text(0)?, dead.id(1)?);
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
