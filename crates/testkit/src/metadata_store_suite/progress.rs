//! How far a job is, and how deep the queue.

use cloakroom_core::job::{JobKind, JobOutcome, JobProgress, JobState, Stage as WorkStage};
use cloakroom_core::ports::metadata::QueueDepth;
use jiff::SignedDuration;

use super::stage::{LEASE, Stage, Store};

fn progress(stage: WorkStage, done_bytes: u64) -> JobProgress {
    JobProgress {
        stage,
        done_bytes,
        total_bytes: Some(1 << 40),
    }
}

/// It is kept with the lease, only under the claim, and ends with the attempt.
pub async fn progress_is_kept_with_the_lease(store: Store) {
    let stage = Stage::new(store);
    let (file, job) = stage.claimed().await;
    let live = async || {
        let found = stage.store.live_job(file.id, JobKind::ProcessFile).await;
        found.expect("live_job")
    };
    assert_eq!(live().await, Some(job.clone()));
    stage.pass(10);
    let until = stage.now() + LEASE;
    for (n, told) in [
        progress(WorkStage::Verifying, 5),
        progress(WorkStage::Processing("image".to_owned()), 0),
    ]
    .into_iter()
    .enumerate()
    {
        let reports = [(job.lease(), told.clone())];
        let kept = stage.store.report_progress(&reports, until).await;
        assert_eq!(kept.expect("report"), [job.lease()], "{n}");
        let found = live().await.expect("it runs");
        assert_eq!((found.progress, found.lease_until), (Some(told), Some(until)));
        assert_eq!(found.state, JobState::Running);
    }
    stage.clock.advance(LEASE);
    assert_eq!(stage.claim("other", 1).await, [], "the lease was extended");
    stage.clock.advance(SignedDuration::from_micros(1));
    let second = stage.claim("other", 1).await.remove(0);
    assert_eq!(second.progress, None, "another attempt begins anew");
    let late = [(job.lease(), progress(WorkStage::Promoting, 1))];
    assert_eq!(
        stage.store.report_progress(&late, until).await.expect("report"),
        []
    );
    assert_eq!(stage.store.report_progress(&[], until).await.expect("report"), []);
    assert_eq!(live().await, Some(second.clone()));

    let reports = [(second.lease(), progress(WorkStage::Scanning, 1))];
    stage
        .store
        .report_progress(&reports, until)
        .await
        .expect("report");
    let snooze = JobOutcome::Snooze {
        run_at: stage.now(),
        reason: "the worker was stopped".to_owned(),
    };
    let finished = stage.store.finish(second.lease(), &snooze, stage.now()).await;
    finished.expect("finish");
    let waiting = live().await.expect("it waits");
    assert_eq!(
        (waiting.state, waiting.progress, waiting.turn_at),
        (JobState::Ready, None, None)
    );
    assert_eq!(
        (waiting.attempt, waiting.failures),
        (second.attempt - 1, 0),
        "uncounted"
    );
    assert_eq!(waiting.last_error.as_deref(), Some("the worker was stopped"));
    let third = stage.claim("w", 1).await.remove(0);
    let dead = JobOutcome::Dead {
        error: "no".to_owned(),
    };
    let finished = stage.store.finish(third.lease(), &dead, stage.now()).await;
    finished.expect("finish");
    assert_eq!(live().await, None, "it is dead");
}

/// How many wait, run and are dead of each kind, and since when the oldest waits.
pub async fn the_queue_is_counted_by_kind(store: Store) {
    let stage = Stage::new(store);
    let queue = async || stage.store.statistics().await.expect("statistics").queue;
    let empty: Vec<_> = JobKind::ALL.iter().map(|kind| QueueDepth::none(*kind)).collect();
    assert_eq!(queue().await, empty);
    for _ in 0..3 {
        stage.enqueue(JobKind::ReapUpload).await;
    }
    stage.pass(60);
    let oldest = stage.now();
    stage.enqueue(JobKind::PurgeFile).await;
    stage.pass(60);
    stage.enqueue(JobKind::PurgeFile).await;
    let claimed = stage.claim("w", 2).await;
    let dead = JobOutcome::Dead {
        error: "no".to_owned(),
    };
    let finished = stage.store.finish(claimed[0].lease(), &dead, stage.now()).await;
    finished.expect("finish");
    let found = queue().await;
    let of = |kind| *found.iter().find(|depth| depth.kind == kind).expect("every kind");
    let reaps = of(JobKind::ReapUpload);
    assert_eq!((reaps.ready, reaps.running, reaps.dead), (1, 1, 1));
    let purges = of(JobKind::PurgeFile);
    assert_eq!((purges.ready, purges.oldest_run_at), (2, Some(oldest)));
    assert_eq!(found.len(), JobKind::ALL.len());
    assert_eq!(of(JobKind::ProcessFile), QueueDepth::none(JobKind::ProcessFile));
}
