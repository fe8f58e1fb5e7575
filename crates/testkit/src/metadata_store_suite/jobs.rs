//! The queue: exclusive claims with a lease, a fence for late workers, one live job of a kind per file.

use std::collections::HashSet;
use std::sync::Arc;

use cloakroom_core::id::WorkerId;
use cloakroom_core::job::{JobKind, JobOutcome, JobState};
use cloakroom_core::ports::metadata::{Claim, MetadataError};
use cloakroom_core::transition::Fence;
use futures_util::future::join_all;
use jiff::SignedDuration;

use super::stage::{LEASE, Stage, Store};
use crate::fixtures::SAMPLE_OWNER;

fn retry(stage: &Stage, seconds: i64) -> JobOutcome {
    JobOutcome::Retry {
        run_at: stage.now() + SignedDuration::from_secs(seconds),
        error: "no luck".to_owned(),
    }
}

/// Larger priorities first, then what waits longest.
pub async fn claims_go_by_priority_and_time(store: Store) {
    let stage = Stage::new(store);
    let low_old = stage.enqueue(JobKind::ReapUpload).await;
    stage.pass(1);
    let high_old = stage.enqueue(JobKind::ProcessFile).await;
    stage.pass(1);
    let high_new = stage.enqueue(JobKind::ProcessFile).await;
    let low_new = stage.enqueue(JobKind::PurgeFile).await;
    let first: Vec<_> = stage.claim("w", 3).await.iter().map(|job| job.id).collect();
    assert_eq!(first, [high_old.id, high_new.id, low_old.id]);
    let rest: Vec<_> = stage.claim("w", 3).await.iter().map(|job| job.id).collect();
    assert_eq!(rest, [low_new.id]);
    assert_eq!(stage.claim("w", 3).await, []);
}

/// Not before `run_at`; what is claimed says by whom, until when, and for which time.
pub async fn claims_wait_for_their_time(store: Store) {
    let stage = Stage::new(store);
    let mut job = stage.new_job(JobKind::ProcessFile, stage.new_file().file.id);
    job.run_at = stage.now() + SignedDuration::from_secs(10);
    assert!(stage.store.enqueue(&job).await.expect("enqueue"));
    stage.clock.advance(SignedDuration::from_micros(9_999_999));
    assert_eq!(stage.claim("w", 10).await, []);
    stage.clock.advance(SignedDuration::from_micros(1));
    let claimed = stage.claim("w", 10).await.remove(0);
    assert_eq!(
        (claimed.id, claimed.kind, claimed.file_id),
        (job.id, job.kind, job.file_id)
    );
    assert_eq!(
        (claimed.state, claimed.attempt, claimed.lease_epoch),
        (JobState::Running, 1, 1)
    );
    assert_eq!(claimed.lease_owner, Some(WorkerId("w".to_owned())));
    assert_eq!(claimed.lease_until, Some(stage.now() + LEASE));
    assert_eq!(
        (claimed.run_at, claimed.last_error.as_deref()),
        (job.run_at, None)
    );
    assert_eq!(stage.job(job.id).await, Some(claimed));
}

/// Many workers, one queue: no job twice, none left behind.
pub async fn claims_are_exclusive(store: Store) {
    let stage = Stage::new(store);
    let mut wanted = HashSet::new();
    for _ in 0..60 {
        wanted.insert(stage.enqueue(JobKind::ProcessFile).await.id);
    }
    let now = stage.now();
    let workers: Vec<_> = (0..12)
        .map(|n| {
            let store = Arc::clone(&stage.store);
            tokio::spawn(async move {
                let worker = WorkerId(format!("worker-{n}"));
                let mut claimed = Vec::new();
                loop {
                    let claim = Claim {
                        worker: &worker,
                        now,
                        lease: LEASE,
                        limit: 1 + n % 3,
                        at_most: &[],
                    };
                    let jobs = store.claim(&claim).await.expect("claim");
                    if jobs.is_empty() {
                        return claimed;
                    }
                    for job in jobs {
                        assert_eq!(job.lease_owner.as_ref(), Some(&worker));
                        store
                            .finish(job.lease(), &JobOutcome::Done, now)
                            .await
                            .expect("the claim is held");
                        claimed.push(job.id);
                    }
                }
            })
        })
        .collect();
    let mut claimed = Vec::new();
    for worker in join_all(workers).await {
        claimed.extend(worker.expect("no panic"));
    }
    assert_eq!(claimed.len(), 60, "each once");
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), wanted);
    assert_eq!(
        stage.store.jobs(None, None, 10).await.expect("jobs").items,
        [],
        "finished jobs leave the queue"
    );
}

/// A slow writer with an earlier number: on PostgreSQL a transaction may take its id or sequence number first and
/// commit last. Delivery by "everything after the last number seen" skips it; claiming rows does not.
pub async fn a_job_that_commits_late_is_still_claimed(store: Store) {
    let stage = Stage::new(store);
    let slow = stage.new_job(JobKind::ProcessFile, stage.new_file().file.id);
    stage.pass(1);
    let fast = stage.enqueue(JobKind::ProcessFile).await;
    let claimed = stage.claim("w", 10).await.remove(0);
    assert_eq!(claimed.id, fast.id);
    stage
        .store
        .finish(claimed.lease(), &JobOutcome::Done, stage.now())
        .await
        .expect("finish");
    assert!(slow.id < fast.id && slow.run_at < fast.run_at);
    assert!(stage.store.enqueue(&slow).await.expect("enqueue"));
    let claimed: Vec<_> = stage.claim("w", 10).await.iter().map(|job| job.id).collect();
    assert_eq!(claimed, [slow.id]);
}

/// A second one is dropped while the first waits or runs; other kinds, other files and dead ones do not count.
pub async fn one_job_of_a_kind_lives_per_file(store: Store) {
    let stage = Stage::new(store);
    let first = stage.enqueue(JobKind::ProcessFile).await;
    let enqueue = async |kind| {
        stage
            .store
            .enqueue(&stage.new_job(kind, first.file_id))
            .await
            .expect("enqueue")
    };
    assert!(!enqueue(JobKind::ProcessFile).await, "one waits");
    assert!(enqueue(JobKind::DiscardStaging).await, "another kind");
    let claimed = stage.claim("w", 1).await.remove(0);
    assert_eq!(claimed.id, first.id);
    assert!(!enqueue(JobKind::ProcessFile).await, "one runs");
    let dead = JobOutcome::Dead {
        error: "no".to_owned(),
    };
    stage
        .store
        .finish(claimed.lease(), &dead, stage.now())
        .await
        .expect("finish");
    assert!(enqueue(JobKind::ProcessFile).await, "the first one is dead");

    // Within a transition the double is dropped silently, and the rest is committed.
    let (file, upload) = stage.sign().await;
    let mut transition = stage.confirmation(&file, &upload);
    transition.enqueue(JobKind::ProcessFile, stage.now(), &stage.occasion());
    let confirmed = stage.apply(transition).await;
    assert_eq!(stage.file(file.id).await, confirmed);
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await.jobs.len(), 1);
}

/// A worker that died is replaced when its lease is over, under a higher epoch and one attempt later.
pub async fn a_lapsed_lease_goes_to_another_worker(store: Store) {
    let stage = Stage::new(store);
    stage.enqueue(JobKind::ProcessFile).await;
    let first = stage.claim("worker-1", 1).await.remove(0);
    stage.clock.advance(LEASE);
    assert_eq!(
        stage.claim("worker-2", 1).await,
        [],
        "the lease holds to its last moment"
    );
    stage.clock.advance(SignedDuration::from_micros(1));
    let second = stage.claim("worker-2", 1).await.remove(0);
    assert_eq!(second.id, first.id);
    assert_eq!((second.lease_epoch, second.attempt), (first.lease_epoch + 1, 2));
    assert_eq!(
        (first.failures, second.failures),
        (0, 0),
        "nobody said that it failed"
    );
    assert_eq!(second.lease_owner, Some(WorkerId("worker-2".to_owned())));
    assert_eq!(stage.claim("worker-3", 1).await, []);
}

/// What it did is thrown away: no row, no event, no job, and the winner is not disturbed.
pub async fn a_late_worker_cannot_commit(store: Store) {
    let stage = Stage::new(store);
    let (file, late) = stage.claimed().await;
    stage.clock.advance(LEASE + SignedDuration::from_micros(1));
    let winner = stage.claim("worker-2", 1).await.remove(0);
    let before = stage.trace(file.id, SAMPLE_OWNER).await;
    for fence in [Fence::Hold(late.lease()), Fence::Complete(late.lease())] {
        let mut transition = file.process(&stage.occasion()).expect("confirmed");
        transition.fence = Some(fence);
        let answer = stage.store.apply(transition).await;
        assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");
    }
    for outcome in [JobOutcome::Done, retry(&stage, 1)] {
        let answer = stage.store.finish(late.lease(), &outcome, stage.now()).await;
        assert!(matches!(answer, Err(MetadataError::Fenced)), "{answer:?}");
    }
    let until = stage.now() + LEASE;
    assert_eq!(
        stage.store.extend(&[late.lease()], until).await.expect("extend"),
        []
    );
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);

    let mut transition = file.process(&stage.occasion()).expect("confirmed");
    transition.fence = Some(Fence::Complete(winner.lease()));
    let file = stage.apply(transition).await;
    // The row has moved on as well; being fenced is what the late one has to hear.
    let mut transition = file.process(&stage.occasion()).expect("processing");
    transition.from_version -= 1;
    transition.fence = Some(Fence::Complete(late.lease()));
    assert!(matches!(
        stage.store.apply(transition).await,
        Err(MetadataError::Fenced)
    ));
}

/// A job that ends in the transition which makes the next one of its kind necessary does not count as a double.
pub async fn a_completed_job_makes_room_for_the_next_of_its_kind(store: Store) {
    let stage = Stage::new(store);
    let (file, job) = stage.claimed().await;
    let mut transition = file.process(&stage.occasion()).expect("confirmed");
    transition.fence = Some(Fence::Complete(job.lease()));
    transition.enqueue(JobKind::ProcessFile, stage.now(), &stage.occasion());
    let next = transition.jobs[0].id;
    stage.apply(transition).await;
    let jobs = stage.trace(file.id, SAMPLE_OWNER).await.jobs;
    assert_eq!(
        jobs.iter().map(|job| (job.id, job.state)).collect::<Vec<_>>(),
        [(next, JobState::Ready)]
    );
}

/// `Hold` commits under the claim and keeps it.
pub async fn a_held_claim_stays(store: Store) {
    let stage = Stage::new(store);
    let (file, job) = stage.claimed().await;
    let mut transition = file.process(&stage.occasion()).expect("confirmed");
    transition.fence = Some(Fence::Hold(job.lease()));
    stage.apply(transition).await;
    assert_eq!(stage.job(job.id).await, Some(job.clone()));
    stage
        .store
        .finish(job.lease(), &JobOutcome::Done, stage.now())
        .await
        .expect("finish");
    let answer = stage
        .store
        .finish(job.lease(), &JobOutcome::Done, stage.now())
        .await;
    assert!(
        matches!(answer, Err(MetadataError::Fenced)),
        "a second time: {answer:?}"
    );
}

/// A failure spends an attempt and is counted; an unreachable store does neither.
pub async fn retries_count_and_snoozes_do_not(store: Store) {
    let stage = Stage::new(store);
    let id = stage.enqueue(JobKind::ProcessFile).await.id;
    let first = stage.claim("w", 1).await.remove(0);
    stage
        .store
        .finish(first.lease(), &retry(&stage, 10), stage.now())
        .await
        .expect("finish");
    let waiting = stage.job(id).await.expect("it waits");
    assert_eq!(
        (waiting.state, waiting.attempt, waiting.failures),
        (JobState::Ready, 1, 1)
    );
    assert_eq!((waiting.lease_owner.as_ref(), waiting.lease_until), (None, None));
    assert_eq!(waiting.last_error.as_deref(), Some("no luck"));
    assert_eq!(waiting.run_at, stage.now() + SignedDuration::from_secs(10));
    assert_eq!(stage.claim("w", 1).await, []);

    stage.pass(10);
    let second = stage.claim("w", 1).await.remove(0);
    assert_eq!((second.attempt, second.failures, second.lease_epoch), (2, 1, 2));
    let snooze = JobOutcome::Snooze {
        run_at: stage.now(),
        reason: "the store is away".to_owned(),
    };
    stage
        .store
        .finish(second.lease(), &snooze, stage.now())
        .await
        .expect("finish");
    let snoozed = stage.job(id).await.expect("it waits");
    assert_eq!((snoozed.attempt, snoozed.failures), (1, 1));
    let third = stage.claim("w", 1).await.remove(0);
    assert_eq!(
        (third.attempt, third.failures, third.lease_epoch),
        (2, 1, 3),
        "the fence grows with every claim"
    );
    assert_eq!(third.last_error.as_deref(), Some("the store is away"));
}

/// The dead-letter list: kept, never claimed, retried or removed by hand.
pub async fn dead_jobs_wait_for_a_person(store: Store) {
    let stage = Stage::new(store);
    let id = stage.enqueue(JobKind::ProcessFile).await.id;
    let gone = stage.enqueue(JobKind::ProcessFile).await.id;
    assert!(
        !stage.store.retry_job(id, stage.now()).await.expect("retry"),
        "it is not dead"
    );
    assert!(
        !stage.store.discard_job(id).await.expect("discard"),
        "it is not dead"
    );
    for job in stage.claim("w", 2).await {
        stage
            .store
            .finish(job.lease(), &retry(&stage, 0), stage.now())
            .await
            .expect("finish");
    }
    for job in stage.claim("w", 2).await {
        let dead = JobOutcome::Dead {
            error: "gave up".to_owned(),
        };
        stage
            .store
            .finish(job.lease(), &dead, stage.now())
            .await
            .expect("finish");
    }
    stage.pass(24 * 3600);
    assert_eq!(stage.claim("w", 10).await, []);
    let dead = stage
        .store
        .jobs(Some(JobState::Dead), None, 10)
        .await
        .expect("jobs")
        .items;
    let found: HashSet<_> = dead
        .iter()
        .map(|job| (job.id, job.last_error.as_deref()))
        .collect();
    assert_eq!(
        found,
        HashSet::from([(id, Some("gave up")), (gone, Some("gave up"))])
    );
    assert!(dead.iter().all(|job| (job.attempt, job.failures) == (2, 1)));

    assert!(stage.store.discard_job(gone).await.expect("discard"));
    assert!(!stage.store.discard_job(gone).await.expect("discard"));
    assert!(stage.store.retry_job(id, stage.now()).await.expect("retry"));
    assert!(
        !stage.store.retry_job(id, stage.now()).await.expect("retry"),
        "it is not dead any more"
    );
    let revived = stage.claim("w", 10).await.remove(0);
    assert_eq!((revived.id, revived.lease_epoch), (id, 3));
    assert_eq!((revived.attempt, revived.failures), (1, 0), "counted anew");
}

/// If one of its kind was enqueued for the file meanwhile, that one does the work.
pub async fn a_revived_job_does_not_double_a_living_one(store: Store) {
    let stage = Stage::new(store);
    let dead = stage.enqueue(JobKind::ProcessFile).await;
    let claimed = stage.claim("w", 1).await.remove(0);
    let outcome = JobOutcome::Dead {
        error: "gave up".to_owned(),
    };
    stage
        .store
        .finish(claimed.lease(), &outcome, stage.now())
        .await
        .expect("finish");
    let living = stage.new_job(JobKind::ProcessFile, dead.file_id);
    assert!(stage.store.enqueue(&living).await.expect("enqueue"));
    assert!(stage.store.retry_job(dead.id, stage.now()).await.expect("retry"));
    let jobs = stage.store.jobs(None, None, 10).await.expect("jobs").items;
    assert_eq!(
        jobs.iter().map(|job| (job.id, job.state)).collect::<Vec<_>>(),
        [(living.id, JobState::Ready)]
    );
}

/// Heartbeats: those that still hold come back, the others are lost.
pub async fn leases_are_extended_while_they_hold(store: Store) {
    let stage = Stage::new(store);
    for _ in 0..3 {
        stage.enqueue(JobKind::ProcessFile).await;
    }
    let jobs = stage.claim("w", 3).await;
    stage
        .store
        .finish(jobs[0].lease(), &JobOutcome::Done, stage.now())
        .await
        .expect("finish");
    let until = stage.now() + LEASE + LEASE;
    let leases: Vec<_> = jobs.iter().map(cloakroom_core::job::Job::lease).collect();
    assert_eq!(
        stage.store.extend(&leases, until).await.expect("extend"),
        leases[1..]
    );
    assert_eq!(stage.store.extend(&[], until).await.expect("extend"), []);
    stage.clock.advance(LEASE + SignedDuration::from_micros(1));
    assert_eq!(
        stage.claim("other", 3).await,
        [],
        "extended, so nobody takes over"
    );
    stage.clock.advance(LEASE);
    assert_eq!(stage.claim("other", 3).await.len(), 2);
}

/// So that a worker knows how long to sleep.
pub async fn the_next_time_is_known(store: Store) {
    let stage = Stage::new(store);
    let next = async || stage.store.next_job_at(&[]).await.expect("next");
    assert_eq!(next().await, None);
    let now = stage.now();
    let mut wanted = Vec::new();
    for (kind, seconds) in [
        (JobKind::ProcessFile, 20),
        (JobKind::ReapUpload, 10),
        (JobKind::PurgeFile, 30),
    ] {
        let mut job = stage.new_job(kind, stage.new_file().file.id);
        job.run_at = now + SignedDuration::from_secs(seconds);
        assert!(stage.store.enqueue(&job).await.expect("enqueue"));
        wanted.push(job.run_at);
    }
    assert_eq!(next().await, Some(wanted[1]));
    stage.pass(20);
    assert_eq!(stage.claim("w", 10).await.len(), 2);
    assert_eq!(next().await, Some(wanted[2]), "running ones do not wait");
}

/// By id, in pages, in one state or in any.
pub async fn jobs_are_listed_oldest_first(store: Store) {
    let stage = Stage::new(store);
    let mut ids = Vec::new();
    for n in 0..5 {
        stage.pass(n);
        ids.push(stage.enqueue(JobKind::ReapUpload).await.id);
    }
    ids.sort_unstable();
    let claimed = stage.claim("w", 2).await;
    let list = async |state, after, limit| {
        let page = stage.store.jobs(state, after, limit).await.expect("jobs");
        (page.items.iter().map(|job| job.id).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(list(None, None, 3).await, (ids[..3].to_vec(), true));
    assert_eq!(list(None, Some(ids[2]), 3).await, (ids[3..].to_vec(), false));
    assert_eq!(list(None, None, 5).await, (ids.clone(), false));
    let mut running: Vec<_> = claimed.iter().map(|job| job.id).collect();
    running.sort_unstable();
    assert_eq!(
        list(Some(JobState::Running), None, 10).await,
        (running.clone(), false)
    );
    let ready: Vec<_> = ids.iter().copied().filter(|id| !running.contains(id)).collect();
    assert_eq!(
        list(Some(JobState::Ready), None, 2).await,
        (ready[..2].to_vec(), true)
    );
    assert_eq!(
        list(Some(JobState::Ready), Some(ready[1]), 2).await,
        (ready[2..].to_vec(), false)
    );
    assert_eq!(list(Some(JobState::Dead), None, 2).await, (Vec::new(), false));
}
