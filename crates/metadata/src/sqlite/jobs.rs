//! The queue: claims with a lease, fenced completion, dead letters, one live job per kind and file.

use cloakroom_core::id::{FileId, JobId};
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome, JobProgress, JobState, NewJob};
use cloakroom_core::ports::metadata::{Claim, MetadataError, Page};
use cloakroom_core::ports::signals::Topic;
use jiff::Timestamp;
use rusqlite::{Row, params};
use uuid::Uuid;

use super::failure::Outcome;
use super::row::{self, json_text, micros};
use super::session::Session;
use super::statements::job_columns;
use crate::queue::{Candidate, Counted, Line, PLACED_MAX, choose, is_due_at_once, made_at};
use crate::row::Columns as _;

/// Enqueues; `false` when one of its kind waits or runs for that file. Whose file it is about is looked up unless it is
/// known.
pub(super) fn insert(session: &Session, job: &NewJob, owner: Option<&str>) -> Outcome<bool> {
    let owner = match owner {
        Some(owner) => owner.to_owned(),
        None => owner_of(session, job.file_id)?,
    };
    let inserted = session.execute(
        &session.sql.insert_job,
        params![
            job.id.0.as_bytes(),
            job.kind.as_str(),
            job.file_id.0.as_bytes(),
            job.kind.priority(),
            micros(job.run_at),
            micros(made_at(job)),
            owner,
            is_due_at_once(job),
        ],
    )?;
    if inserted > 0 {
        session.hint(Topic::Jobs);
    }
    Ok(inserted > 0)
}

/// Whose file it is. Files whose row is gone take turns as if they were nobody's.
fn owner_of(session: &Session, id: FileId) -> Outcome<String> {
    let found = session.first(&session.sql.owner_of_file, [id.0.as_bytes()], |row| row.text(0))?;
    Ok(found.unwrap_or_default())
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

/// What to claim, on the way to the writer's thread.
pub(super) struct Wanted {
    worker: String,
    now: Timestamp,
    until: Timestamp,
    limit: u32,
    rooms: Vec<(JobKind, u32)>,
}

impl From<&Claim<'_>> for Wanted {
    fn from(claim: &Claim<'_>) -> Self {
        let rooms = JobKind::ALL.iter().map(|kind| (*kind, claim.room(*kind)));
        Self {
            worker: claim.worker.0.clone(),
            now: claim.now,
            until: lease_end(claim),
            limit: claim.limit,
            rooms: rooms.filter(|(_, room)| *room > 0).collect(),
        }
    }
}

pub(super) fn claim(session: &Session, wanted: &Wanted) -> Outcome<Vec<Job>> {
    let lapsed = lapsed(session, wanted.now)?;
    let mut lines = Vec::with_capacity(wanted.rooms.len());
    for (kind, room) in &wanted.rooms {
        place(session, *kind, wanted.now)?;
        let of_kind = lapsed.iter().filter(|(found, _)| found == kind);
        let mut candidates: Vec<Candidate> = of_kind.map(|(_, candidate)| *candidate).collect();
        candidates.extend(session.all(
            &session.sql.jobs_in_line,
            params![kind.as_str(), micros(wanted.now), room],
            |row| candidate(row, 0, false),
        )?);
        candidates.truncate(*room as usize);
        lines.push(Line {
            kind: *kind,
            candidates,
        });
    }
    let mut claimed = Vec::new();
    for (_, candidate) in choose(&lines, wanted.limit) {
        claimed.extend(session.first(
            &session.sql.claim_job,
            params![candidate.id.0.as_bytes(), wanted.worker, micros(wanted.until)],
            row::job,
        )?);
    }
    Ok(claimed)
}

fn candidate(row: &Row<'_>, first: usize, lapsed: bool) -> Outcome<Candidate> {
    Ok(Candidate {
        id: JobId(row.id(first)?),
        run_at: row.time(first + 1)?,
        lapsed,
    })
}

/// Jobs whose worker died. Those of a kind that only a newer version knows are left to it.
fn lapsed(session: &Session, now: Timestamp) -> Outcome<Vec<(JobKind, Candidate)>> {
    let found = session.all(&session.sql.lapsed_jobs, [micros(now)], |row| {
        let kind = JobKind::parse(&row.text(0)?);
        Ok((kind, candidate(row, 1, true)?))
    })?;
    let known = found
        .into_iter()
        .filter_map(|(kind, candidate)| Some((kind?, candidate)));
    Ok(known.collect())
}

/// Gives jobs whose time has come their turn, those that waited longest first.
fn place(session: &Session, kind: JobKind, now: Timestamp) -> Outcome<()> {
    let due = session.all(
        &session.sql.due_jobs,
        params![kind.as_str(), micros(now), PLACED_MAX],
        |row| Ok((row.id(0)?, FileId(row.id(1)?), row.get::<_, Option<String>>(2)?)),
    )?;
    for (id, file_id, owner) in due {
        let owner = match owner {
            Some(owner) => owner,
            // An older version enqueued it.
            None => owner_of(session, file_id)?,
        };
        session.execute(
            &session.sql.place_job,
            params![id.as_bytes(), kind.as_str(), owner, micros(now)],
        )?;
    }
    Ok(())
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

/// Holds on to jobs, and keeps how far they are.
pub(super) fn report(
    session: &Session,
    reports: &[(JobLease, JobProgress)],
    until: Timestamp,
) -> Outcome<Vec<JobLease>> {
    let mut held = Vec::with_capacity(reports.len());
    for (lease, progress) in reports {
        let (id, epoch) = lease_parameters(lease);
        let file_id = session.first(
            &session.sql.report_progress,
            params![
                id.as_bytes(),
                epoch,
                micros(until),
                json_text(&progress.to_json())?
            ],
            |row| row.id(0),
        )?;
        if let Some(file_id) = file_id {
            session.hint(Topic::File(FileId(file_id)));
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
    let file_id = session.first(
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
        |row| row.id(0),
    )?;
    let Some(file_id) = file_id else {
        return Err(MetadataError::Fenced.into());
    };
    if state == JobState::Ready {
        session.hint(Topic::Jobs);
    }
    session.hint(Topic::File(FileId(file_id)));
    Ok(())
}

/// The earliest time over the kinds that there are: each is two steps into an index.
pub(super) fn next_at(session: &Session, without: &[JobKind]) -> Outcome<Option<Timestamp>> {
    let mut earliest = None;
    for kind in JobKind::ALL.iter().filter(|kind| !without.contains(kind)) {
        for sql in [&session.sql.next_turn_at, &session.sql.next_due_at] {
            let found = session.first(sql, [kind.as_str()], |row| row.time(0))?;
            earliest = [earliest, found].into_iter().flatten().min();
        }
    }
    Ok(earliest)
}

pub(super) fn live(session: &Session, file_id: FileId, kind: JobKind) -> Outcome<Option<Job>> {
    session.first(
        &session.sql.job_of_file,
        params![file_id.0.as_bytes(), kind.as_str()],
        row::job,
    )
}

/// How many jobs of each kind there are in each state.
pub(super) fn count(session: &Session) -> Outcome<Vec<Counted>> {
    session.all(&session.sql.count_jobs, [], |row| {
        Ok(Counted {
            kind: JobKind::parse(&row.text(0)?),
            state: row.named(1, JobState::parse)?,
            count: row.size(2)?,
            oldest_run_at: row.optional_time(3)?,
        })
    })
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
        Ok((row.text(0)?, row.id(1)?))
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
