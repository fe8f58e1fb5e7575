//! The runner: claims jobs, runs them, holds on to their leases, and says what became of them.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::id::JobId;
use cloakroom_core::job::{Job, JobKind, JobLease, JobOutcome};
use cloakroom_core::ports::metadata::{Claim, MetadataError};
use cloakroom_core::ports::signals::Topic;
use cloakroom_service::App;
use cloakroom_service::processing::{Attempt, AttemptError, Progress};
use futures_util::FutureExt;
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::WorkerOptions;
use crate::room::Room;

/// Wait before work that an unreachable database or store held up is tried again.
const UNAVAILABLE_WAIT: SignedDuration = SignedDuration::from_secs(5);
/// Wait before work is tried again that the mode of its store does not allow.
const CLOSED_WAIT: SignedDuration = SignedDuration::from_mins(1);
/// A job that was begun so often beyond its attempts without a verdict kills whoever runs it: crashes count as attempts
/// begun but not as failures, so they are not held against a job until then.
const CRASHES_MAX: u32 = 20;

/// How often progress is kept, at most.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Jobs that are running here, so that their leases are held.
type Running = Arc<Mutex<HashMap<JobId, Held>>>;

struct Held {
    lease: JobLease,
    /// The lease was gone at the last beat.
    gone: bool,
    kind: JobKind,
    progress: Progress,
    lost: CancellationToken,
}

/// Runs jobs until told to stop; then claims no more, lets running ones end, and gives back what does not end in
/// time.
pub async fn run(app: Arc<App>, options: &WorkerOptions, shutdown: CancellationToken) {
    let running: Running = Arc::default();
    let mut tasks: JoinSet<()> = JoinSet::new();
    let mut wake = app.signals.subscribe(Topic::Jobs);
    let heartbeat = tokio::spawn(hold_leases(Arc::clone(&app), Arc::clone(&running), options.lease));
    while !shutdown.is_cancelled() {
        while tasks.try_join_next().is_some() {}
        let free = options.concurrency.saturating_sub(tasks.len());
        if free == 0 {
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = tasks.join_next() => {}
            }
            continue;
        }
        let room = Room::beside(options, free, lock(&running).values().map(|held| held.kind));
        let claimed = claim(&app, options, &room).await;
        if claimed.is_empty() {
            let wait = until_next(&app, options.poll, &room.closed()).await;
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = wake.wait(wait) => {}
                Some(_) = tasks.join_next() => {}
            }
            continue;
        }
        for job in claimed {
            let (lost, progress) = (CancellationToken::new(), Progress::default());
            lock(&running).insert(
                job.id,
                Held {
                    lease: job.lease(),
                    gone: false,
                    kind: job.kind,
                    progress: progress.clone(),
                    lost: lost.clone(),
                },
            );
            tasks.spawn(attend(
                Arc::clone(&app),
                job,
                Arc::clone(&running),
                progress,
                lost,
            ));
        }
    }
    drain(&app, tasks, &running, options.grace).await;
    heartbeat.abort();
}

/// Runs what is due now, one job after the other, and returns how many were run: one round without a runner.
pub async fn run_due(app: &Arc<App>, options: &WorkerOptions) -> usize {
    let running: Running = Arc::default();
    let mut count = 0;
    while let Some(job) = claim(app, options, &Room::for_one()).await.pop() {
        attend(
            Arc::clone(app),
            job,
            Arc::clone(&running),
            Progress::default(),
            CancellationToken::new(),
        )
        .await;
        count += 1;
    }
    count
}

async fn claim(app: &App, options: &WorkerOptions, room: &Room) -> Vec<Job> {
    let lease = SignedDuration::try_from(options.lease).unwrap_or(SignedDuration::from_secs(15));
    let claim = Claim {
        worker: &options.id,
        now: app.now(),
        lease,
        limit: room.limit,
        at_most: &room.at_most,
    };
    match app.metadata.claim(&claim).await {
        Ok(jobs) => jobs,
        Err(error) => {
            tracing::warn!(event = "claim_error", %error, "no jobs could be claimed for now");
            Vec::new()
        }
    }
}

/// How long to wait unless woken: until the next job is due of a kind that may be claimed, but not longer than the poll.
async fn until_next(app: &App, poll: Duration, closed: &[JobKind]) -> Duration {
    let next = app.metadata.next_job_at(closed).await.ok().flatten();
    let due_in = next.and_then(|at| Duration::try_from(at.duration_since(app.now())).ok());
    // A due job that could not be claimed must not spin.
    due_in.unwrap_or(poll).clamp(Duration::from_millis(20), poll)
}

/// Runs one job to its outcome, unless its lease is lost.
async fn attend(app: Arc<App>, job: Job, running: Running, progress: Progress, lost: CancellationToken) {
    let started_at = app.now();
    let work = AssertUnwindSafe(Box::pin(perform(&app, &job, &progress))).catch_unwind();
    let result = tokio::select! {
        () = lost.cancelled() => Err(AttemptError::Lost),
        result = work => result.unwrap_or_else(|_| Err(AttemptError::Retry("the job panicked".to_owned()))),
    };
    conclude(&app, &job, result).await;
    lock(&running).remove(&job.id);
    let seconds = app.now().duration_since(started_at).as_secs_f64();
    metrics::histogram!("cloakroom_job_duration_seconds", "kind" => job.kind.as_str()).record(seconds);
}

/// Whether a job was begun so often that it is at fault for the ends of its workers.
fn kills_workers(app: &App, job: &Job) -> bool {
    job.attempt > app.policy.retry.attempts_max.saturating_add(CRASHES_MAX)
}

async fn perform(app: &App, job: &Job, progress: &Progress) -> Result<Attempt, AttemptError> {
    if kills_workers(app, job) {
        return Err(AttemptError::Retry("its workers died again and again".to_owned()));
    }
    let pause = |time| tokio::time::sleep(time).boxed();
    match job.kind {
        JobKind::ProcessFile => app.process_file(job, &pause, progress).await,
        JobKind::ReleaseFile => app.release_file_from_quarantine(job, &pause, progress).await,
        JobKind::RescanFile => app.rescan_file(job, &pause, progress).await,
        JobKind::ReapUpload => app.reap_upload(job).await,
        JobKind::PurgeFile => app.purge_file(job).await,
        JobKind::RemoveTombstone => app.remove_tombstone(job).await,
        JobKind::DiscardStaging => app.discard_staging(job).await,
        JobKind::ArchiveFile => app.move_to_archive(job).await,
        JobKind::UnarchiveFile => app.move_from_archive(job).await,
        JobKind::RemoveMoved => app.remove_moved(job).await,
    }
}

async fn conclude(app: &App, job: &Job, result: Result<Attempt, AttemptError>) {
    let now = app.now();
    let after = |wait: SignedDuration| now.checked_add(wait).unwrap_or(Timestamp::MAX);
    // With this attempt, should it have failed.
    let failures = job.failures.saturating_add(1);
    let outcome = match result {
        Ok(Attempt::Completed) => return count(job, "completed"),
        Ok(Attempt::NothingToDo) => JobOutcome::Done,
        Err(AttemptError::Lost) => {
            tracing::warn!(event = "job_lost", file_id = %job.file_id, operation = job.kind.as_str(), "the claim was lost");
            return count(job, "lost");
        }
        Err(AttemptError::Overtaken) => JobOutcome::Snooze {
            run_at: now,
            reason: "the file was changed at the same time".to_owned(),
        },
        Err(AttemptError::Unavailable(reason)) => {
            app.alert_job_waits(job, &reason);
            JobOutcome::Snooze {
                run_at: after(UNAVAILABLE_WAIT),
                reason,
            }
        }
        Err(AttemptError::Away { reason, wait }) => {
            app.alert_job_waits(job, &reason);
            JobOutcome::Snooze {
                run_at: after(SignedDuration::try_from(wait).unwrap_or(UNAVAILABLE_WAIT)),
                reason,
            }
        }
        Err(AttemptError::Closed(reason)) => JobOutcome::Snooze {
            run_at: after(CLOSED_WAIT),
            reason,
        },
        Err(AttemptError::Retry(error))
            if failures >= app.policy.retry.attempts_max || kills_workers(app, job) =>
        {
            tracing::error!(event = "job_dead", file_id = %job.file_id, operation = job.kind.as_str(), %error, "a job went to the dead-letter list");
            app.alert_job_dead(job, &error);
            if job.kind == JobKind::ProcessFile
                && let Err(error) = app.give_up_processing(job, &error).await
            {
                // Without its verdict the job must not end (I3): it stays claimed and is taken over.
                tracing::error!(file_id = %job.file_id, %error, "the file's failure could not be written; trying again");
                return count(job, "error");
            }
            JobOutcome::Dead { error }
        }
        Err(AttemptError::Retry(error)) => {
            tracing::warn!(event = "job_retry", file_id = %job.file_id, operation = job.kind.as_str(), attempt = job.attempt, failures, %error, "a job will be tried again");
            JobOutcome::Retry {
                run_at: after(app.policy.retry.delay_after(failures, app.random.unit())),
                error,
            }
        }
    };
    let name = match &outcome {
        JobOutcome::Done => "done",
        JobOutcome::Retry { .. } => "retry",
        JobOutcome::Snooze { .. } => "snooze",
        JobOutcome::Dead { .. } => "dead",
    };
    match app.metadata.finish(job.lease(), &outcome, now).await {
        Ok(()) => {
            // What was enqueued since this job looked was dropped, as the job was there.
            if outcome == JobOutcome::Done
                && let Err(error) = app.requeue_file(job.file_id).await
            {
                tracing::warn!(file_id = %job.file_id, %error, "the sweep looks again whether the file waits");
            }
            count(job, name);
        }
        Err(MetadataError::Fenced) => count(job, "lost"),
        // Nobody knows of the outcome: when the lease ends the job is run again, which is safe.
        Err(error) => tracing::error!(file_id = %job.file_id, %error, "a job's outcome could not be written"),
    }
}

fn count(job: &Job, outcome: &'static str) {
    metrics::counter!("cloakroom_jobs_total", "kind" => job.kind.as_str(), "outcome" => outcome).increment(1);
}

/// Extends the leases of running jobs, keeps how far they are, and stops jobs whose lease went to somebody else.
async fn hold_leases(app: Arc<App>, running: Running, lease: Duration) {
    let every = lease / 3;
    let mut ticks = tokio::time::interval(every.min(REPORT_EVERY));
    let mut extended_at = Instant::now();
    loop {
        ticks.tick().await;
        let mut reports = Vec::new();
        let mut others = Vec::new();
        for held in lock(&running).values() {
            match held.progress.take_change() {
                Some(progress) => reports.push((held.lease, progress)),
                None => others.push(held.lease),
            }
        }
        let until = app
            .now()
            .checked_add(SignedDuration::try_from(lease).unwrap_or_default())
            .unwrap_or(Timestamp::MAX);
        if !reports.is_empty() {
            let leases: Vec<JobLease> = reports.iter().map(|(lease, _)| *lease).collect();
            keep(
                &running,
                &leases,
                app.metadata.report_progress(&reports, until).await,
            );
        }
        // A tick may come a little early.
        if extended_at.elapsed() + ticks.period() / 2 >= every {
            extended_at = Instant::now();
            if !others.is_empty() {
                keep(&running, &others, app.metadata.extend(&others, until).await);
            }
        }
    }
}

/// Stops those of these jobs that are no longer held.
fn keep(running: &Running, asked: &[JobLease], kept: Result<Vec<JobLease>, MetadataError>) {
    match kept {
        Ok(kept) => {
            stop_the_lost(&mut lock(running), asked, &kept);
        }
        Err(error) => {
            tracing::warn!(event = "lease_error", %error, "leases could not be extended for now");
        }
    }
}

/// Stops jobs whose lease was not there to be extended, and not at the beat before either. A job that has just committed has
/// no lease any more and still tidies up, so one beat says nothing; and one that was lost commits nothing meanwhile, for it is
/// fenced.
fn stop_the_lost(running: &mut HashMap<JobId, Held>, asked: &[JobLease], kept: &[JobLease]) {
    for held in running.values_mut().filter(|held| asked.contains(&held.lease)) {
        let gone = !kept.contains(&held.lease);
        if std::mem::replace(&mut held.gone, gone) && gone {
            held.lost.cancel();
        }
    }
}

/// Waits for running jobs; what does not end within `grace` is given back, its attempt not counted.
async fn drain(app: &App, mut tasks: JoinSet<()>, running: &Running, grace: Duration) {
    let ended = tokio::time::timeout(grace, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_ok() {
        return;
    }
    tasks.shutdown().await;
    let leases: Vec<JobLease> = lock(running).drain().map(|(_, held)| held.lease).collect();
    for lease in leases {
        let now = app.now();
        let outcome = JobOutcome::Snooze {
            run_at: now,
            reason: "the worker was stopped".to_owned(),
        };
        if let Err(error) = app.metadata.finish(lease, &outcome, now).await {
            tracing::warn!(%error, "a job was not given back; it is taken over when its lease ends");
        }
    }
}

fn lock(running: &Running) -> std::sync::MutexGuard<'_, HashMap<JobId, Held>> {
    // Nothing is left half changed when a holder panics: every change is one insert or remove.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_stopped_when_its_lease_is_gone_for_two_beats() {
        let lease = JobLease {
            job_id: JobId(uuid::Uuid::from_u128(1)),
            epoch: 1,
        };
        let lost = CancellationToken::new();
        let held = Held {
            lease,
            gone: false,
            kind: JobKind::ProcessFile,
            progress: Progress::default(),
            lost: lost.clone(),
        };
        let mut running = HashMap::from([(lease.job_id, held)]);
        let mut beat = |asked: &[JobLease], kept: &[JobLease]| {
            stop_the_lost(&mut running, asked, kept);
            lost.is_cancelled()
        };
        assert!(!beat(&[lease], &[]), "it may have committed a moment ago");
        assert!(!beat(&[lease], &[lease]), "the database had not answered for it");
        assert!(!beat(&[], &[]), "claimed after the leases were asked for");
        assert!(!beat(&[lease], &[]));
        assert!(beat(&[lease], &[]), "somebody else has it");
    }
}
