//! The queue between owners and between kinds: whose job is next, and that nobody waits for ever.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use cloakroom_core::file::File;
use cloakroom_core::id::{FileId, WorkerId};
use cloakroom_core::job::{Job, JobKind, JobOutcome, NewJob};
use cloakroom_core::ports::metadata::Claim;
use cloakroom_core::ports::random::Random as _;
use cloakroom_core::upload::Upload;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;

use super::stage::{LEASE, Stage, Store};

/// Jobs of an owner who has very many.
const MANY: usize = 1_000;

async fn file_of(stage: &Stage, owner: &str) -> (File, Upload) {
    stage
        .insert(stage.new_file_with(|file| owner.clone_into(&mut file.owner)))
        .await
}

/// A job about a file of this owner.
async fn enqueue_for(stage: &Stage, kind: JobKind, owner: &str) -> NewJob {
    let job = stage.new_job(kind, file_of(stage, owner).await.0.id);
    assert!(stage.store.enqueue(&job).await.expect("enqueue"));
    job
}

async fn enqueue_many(stage: &Stage, kind: JobKind, owner: &str, count: usize) {
    let jobs = stream::iter(0..count).map(|_| enqueue_for(stage, kind, owner));
    jobs.buffer_unordered(32).count().await;
}

const NAMES: [&str; 3] = ["anna", "ben", "cleo"];

fn owners(jobs: &[Job]) -> Vec<&'static str> {
    let name = |job: &Job| {
        let owner = job.owner.as_deref();
        let known = NAMES.into_iter().find(|name| Some(*name) == owner);
        known.unwrap_or_else(|| panic!("{owner:?} is nobody's name"))
    };
    jobs.iter().map(name).collect()
}

async fn claim_within(stage: &Stage, limit: u32, at_most: &[(JobKind, u32)]) -> Vec<Job> {
    let worker = WorkerId("w".to_owned());
    let claim = Claim {
        worker: &worker,
        now: stage.now(),
        lease: LEASE,
        limit,
        at_most,
    };
    stage.store.claim(&claim).await.expect("claim")
}

async fn finish(stage: &Stage, job: &Job, outcome: &JobOutcome) {
    let finished = stage.store.finish(job.lease(), outcome, stage.now()).await;
    finished.expect("the claim is held");
}

/// Whoever comes with one job beside somebody who has very many is in the first handful.
pub async fn many_jobs_of_one_owner_do_not_hold_up_another(store: Store) {
    let stage = Stage::new(store);
    // One after the other: what is enqueued at the same moment may share a turn, and the share below would not be exact.
    for _ in 0..MANY {
        enqueue_for(&stage, JobKind::ProcessFile, "anna").await;
    }
    stage.pass(1);
    enqueue_for(&stage, JobKind::ProcessFile, "ben").await;
    let claimed = stage.claim("w", 4).await;
    assert_eq!(claimed.len(), 4);
    assert!(owners(&claimed).contains(&"ben"), "{claimed:#?}");
    for job in claimed {
        finish(&stage, &job, &JobOutcome::Done).await;
    }

    // And so it is when much of it was worked off, and whoever comes has many as well.
    for _ in 0..10 {
        for job in stage.claim("w", 20).await {
            finish(&stage, &job, &JobOutcome::Done).await;
        }
    }
    stage.pass(3600);
    for _ in 0..30 {
        enqueue_for(&stage, JobKind::ProcessFile, "cleo").await;
    }
    let claimed = stage.claim("w", 40).await;
    let of_cleo = owners(&claimed)
        .into_iter()
        .filter(|owner| *owner == "cleo")
        .count();
    assert!((19..=21).contains(&of_cleo), "{of_cleo} of 40");
}

/// One each, round after round, whoever began; jobs that a transition makes are no different.
pub async fn owners_take_turns(store: Store) {
    let stage = Stage::new(store);
    for _ in 0..3 {
        let (file, upload) = file_of(&stage, "anna").await;
        stage.confirm(&file, &upload).await;
        stage.pass(1);
    }
    enqueue_for(&stage, JobKind::ProcessFile, "anna").await;
    for _ in 0..2 {
        enqueue_for(&stage, JobKind::ProcessFile, "ben").await;
    }
    stage.pass(1);
    enqueue_for(&stage, JobKind::ProcessFile, "cleo").await;
    let mut order = Vec::new();
    for _ in 0..7 {
        order.extend(owners(&stage.claim("w", 1).await));
    }
    assert_eq!(order, ["anna", "anna", "ben", "cleo", "anna", "ben", "anna"]);
    assert_eq!(stage.claim("w", 1).await, []);
}

/// New owners come as fast as jobs are done, and those who wait are not passed over for ever.
pub async fn newcomers_do_not_overtake_for_ever(store: Store) {
    let stage = Stage::new(store);
    enqueue_many(&stage, JobKind::ProcessFile, "anna", 4).await;
    let mut waiting = 4;
    for n in 0..40 {
        enqueue_for(&stage, JobKind::ProcessFile, &format!("newcomer {n}")).await;
        stage.pass(1);
        for job in stage.claim("w", 1).await {
            waiting -= i32::from(job.owner.as_deref() == Some("anna"));
            finish(&stage, &job, &JobOutcome::Done).await;
        }
    }
    assert_eq!(waiting, 0);
}

/// Whatever is enqueued, retried and snoozed: of two owners who both have jobs in line all the while, neither gets more
/// than two ahead of the other.
pub async fn turns_are_fair_whatever_happens(store: Store) {
    let stage = Stage::new(store);
    // One after the other: what is enqueued at the same moment may share a turn.
    for name in [NAMES, NAMES].concat() {
        enqueue_for(&stage, JobKind::ProcessFile, name).await;
    }
    let mut served: BTreeMap<&str, i32> = NAMES.into_iter().map(|name| (name, 0)).collect();
    for step in 0..240 {
        let dice = stage.random.next_u64();
        // Nobody runs out, and one has ever more.
        enqueue_for(&stage, JobKind::ProcessFile, "anna").await;
        if step % 3 == 0 {
            enqueue_for(&stage, JobKind::ProcessFile, "ben").await;
            enqueue_for(&stage, JobKind::ProcessFile, "cleo").await;
        }
        stage.pass(1);
        for job in stage.claim("w", 1).await {
            let name = owners(std::slice::from_ref(&job))[0];
            *served.get_mut(name).expect("a name") += 1;
            let later = stage.now() + SignedDuration::from_secs((dice % 7).cast_signed());
            let outcome = match dice % 5 {
                0 => JobOutcome::Retry {
                    run_at: later,
                    error: "no luck".to_owned(),
                },
                1 => JobOutcome::Snooze {
                    run_at: later,
                    reason: "not now".to_owned(),
                },
                _ => JobOutcome::Done,
            };
            finish(&stage, &job, &outcome).await;
        }
        let (least, most) = (served.values().min(), served.values().max());
        assert!(
            most.zip(least).is_some_and(|(most, least)| most - least <= 2),
            "{served:?}"
        );
    }
}

/// Ten thousand files wait for the scanner, which comes back: what comes due together does not stand before the one job
/// of somebody else.
pub async fn jobs_that_come_due_together_do_not_hold_up_another(store: Store) {
    let stage = Stage::new(store);
    enqueue_many(&stage, JobKind::ProcessFile, "anna", 60).await;
    let claimed = stage.claim("w", 60).await;
    assert_eq!(claimed.len(), 60);
    for job in claimed {
        let outcome = JobOutcome::Snooze {
            run_at: stage.now() + SignedDuration::from_secs(5),
            reason: "no scanner".to_owned(),
        };
        finish(&stage, &job, &outcome).await;
        let waiting = stage.job(job.id).await.expect("it waits");
        assert_eq!((waiting.turn_at, waiting.owner.as_deref()), (None, Some("anna")));
    }
    stage.pass(6);
    enqueue_for(&stage, JobKind::ProcessFile, "ben").await;
    assert!(owners(&stage.claim("w", 4).await).contains(&"ben"));
}

/// A claim leaves out kinds that are full, and goes on with the others.
pub async fn full_kinds_are_left_out(store: Store) {
    let stage = Stage::new(store);
    enqueue_many(&stage, JobKind::ProcessFile, "anna", 5).await;
    enqueue_many(&stage, JobKind::PurgeFile, "anna", 3).await;
    let kinds = |jobs: Vec<Job>| jobs.iter().map(|job| job.kind).collect::<Vec<_>>();
    let (photo, purge) = (JobKind::ProcessFile, JobKind::PurgeFile);
    assert_eq!(
        kinds(claim_within(&stage, 3, &[(photo, 1)]).await),
        [photo, purge, purge]
    );
    assert_eq!(kinds(claim_within(&stage, 3, &[(photo, 0)]).await), [purge]);
    assert_eq!(kinds(claim_within(&stage, 3, &[(photo, 0)]).await), []);
    let next = stage.store.next_job_at(&[photo]).await.expect("next");
    assert_eq!(next, None, "nothing waits that may be claimed");
    assert_eq!(
        stage.store.next_job_at(&[purge]).await.expect("next"),
        Some(stage.now())
    );
    assert_eq!(kinds(claim_within(&stage, 9, &[(photo, 9)]).await), [photo; 4]);

    // Those that a dead worker held are within the bounds too.
    stage.clock.advance(LEASE + SignedDuration::from_micros(1));
    assert_eq!(
        kinds(claim_within(&stage, 9, &[(photo, 2), (purge, 1)]).await),
        [photo, photo, purge]
    );
    assert_eq!(kinds(claim_within(&stage, 9, &[]).await).len(), 5);
}

/// What is less urgent comes first when it has waited long enough, however much of the other there is.
pub async fn waiting_makes_up_for_priority(store: Store) {
    let stage = Stage::new(store);
    let archive = enqueue_for(&stage, JobKind::ArchiveFile, "anna").await;
    stage.pass(14 * 60);
    enqueue_many(&stage, JobKind::ProcessFile, "ben", 2).await;
    let first = stage.claim("w", 1).await.remove(0);
    assert_eq!(first.kind, JobKind::ProcessFile);
    finish(&stage, &first, &JobOutcome::Done).await;
    stage.pass(2 * 60);
    enqueue_many(&stage, JobKind::ProcessFile, "cleo", 3).await;
    let claimed: Vec<_> = stage.claim("w", 2).await.iter().map(|job| job.id).collect();
    assert!(claimed.contains(&archive.id));
}

/// Claimers at the same time: none gets what another has, and the turns hold for all of them together.
pub async fn turns_hold_among_concurrent_claimers(store: Store) {
    let stage = Stage::new(store);
    // One after the other: what is enqueued at the same moment may share a turn, and rounds would be longer.
    for (owner, count) in [("anna", 100), ("ben", 4)] {
        for _ in 0..count {
            enqueue_for(&stage, JobKind::ProcessFile, owner).await;
        }
    }
    let now = stage.now();
    let claimers = (0..6).map(|n| {
        let store = Arc::clone(&stage.store);
        tokio::spawn(async move {
            let worker = WorkerId(format!("worker-{n}"));
            let claim = Claim {
                worker: &worker,
                now,
                lease: LEASE,
                limit: 3,
                at_most: &[],
            };
            store.claim(&claim).await.expect("claim")
        })
    });
    let mut claimed = Vec::new();
    for jobs in join_all(claimers).await {
        claimed.extend(jobs.expect("no panic"));
    }
    let ids: HashSet<_> = claimed.iter().map(|job| job.id).collect();
    assert_eq!((claimed.len(), ids.len()), (18, 18), "each has its own");
    let of_ben = owners(&claimed)
        .into_iter()
        .filter(|owner| *owner == "ben")
        .count();
    assert_eq!(of_ben, 4, "eighteen are more than four rounds");
}

/// Files whose row is gone (tombstones) have jobs as well.
pub async fn jobs_without_a_file_are_claimed(store: Store) {
    let stage = Stage::new(store);
    let job = stage.new_job(
        JobKind::RemoveTombstone,
        FileId(stage.random.uuid_v7(stage.now())),
    );
    assert!(stage.store.enqueue(&job).await.expect("enqueue"));
    let claimed = stage.claim("w", 1).await;
    assert_eq!((claimed[0].id, claimed[0].owner.as_deref()), (job.id, Some("")));
}
