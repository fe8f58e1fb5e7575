//! I3, I4, I5, I11: a process may die before or after any change of any store, once or twice in a row; what was
//! acknowledged is kept, what was not is gone, and nothing is left over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use cloakroom_core::file::{FilePatch, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::job::{Job, JobState};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::processor::{Processor, ProcessorError, ProcessorInput, ProcessorOutput};
use cloakroom_service::uploads::ConfirmUpload;
use cloakroom_testkit::crashes::{CrashPlan, CrashingAdministration, CrashingMetadata, CrashingObjects};
use jiff::SignedDuration;

use crate::app::{Process, Stores, ann, object};

const CONTENT: &[u8] = b"the bytes of a bank";
/// More points than any scenario here has; a scenario that reaches it never ends.
const POINTS_MAX: usize = 200;

/// A process that dies at a point.
fn doomed(stores: &Stores, plan: &Arc<CrashPlan>) -> Process {
    stores.start_with(
        Arc::new(CrashingMetadata {
            inner: Arc::clone(&stores.metadata),
            crash: Arc::clone(plan),
        }),
        Arc::new(CrashingAdministration {
            inner: Arc::clone(&stores.administration),
            crash: Arc::clone(plan),
        }),
        Arc::new(CrashingObjects {
            inner: Arc::clone(&stores.objects),
            crash: Arc::clone(plan),
        }),
        vec![],
    )
}

/// Runs `scenario` until it ends or dies; `true` when it ended.
async fn run_doomed(stores: &Stores, point: usize, scenario: impl AsyncFnOnce(&Process)) -> bool {
    let plan = CrashPlan::at(point);
    let process = doomed(stores, &plan);
    tokio::select! {
        () = scenario(&process) => true,
        () = plan.crashed() => false,
    }
}

#[tokio::test]
async fn an_acknowledged_confirm_survives_death_at_every_point() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let id = stores.start().upload(CONTENT).await;
        let ended = run_doomed(&stores, point, async |process| process.work().await).await;
        stores.start().recover().await;
        assert_ready_and_clean(&stores, id, point).await;
        if ended {
            assert!(point > 8, "the scenario has changes to die at");
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn dying_twice_in_a_row_loses_nothing() {
    for first in (0..14).step_by(3) {
        for second in 0..POINTS_MAX {
            let stores = Stores::new().await;
            let id = stores.start().upload(CONTENT).await;
            run_doomed(&stores, first, async |process| process.work().await).await;
            let ended = run_doomed(&stores, second, async |process| process.recover().await).await;
            stores.start().recover().await;
            assert_ready_and_clean(&stores, id, first * 1_000 + second).await;
            if ended {
                break;
            }
        }
    }
}

async fn assert_ready_and_clean(stores: &Stores, id: FileId, point: usize) {
    let file = stores.file(id).await;
    assert_eq!(file.state, FileState::Ready, "died at {point}");
    assert_eq!(stores.bytes(&file.key).await, CONTENT, "died at {point}");
    stores.assert_history(id).await;
    stores.assert_quiet().await;
    let usage = stores.metadata.usage("ann").await.expect("usage");
    assert_eq!(
        (usage.files, usage.stored_bytes, usage.reserved_bytes),
        (1, CONTENT.len() as u64, 0)
    );
    let keys = stores.keys().await;
    let sidecar = format!("{}.{}.attr.json", file.key, file.epoch);
    assert_eq!(keys, [file.key.clone(), sidecar], "died at {point}");
}

/// Fails the first time, as if something were away for a moment.
#[derive(Default)]
struct FailsOnce(AtomicBool);

#[async_trait]
impl Processor for FailsOnce {
    fn name(&self) -> &'static str {
        "fails_once"
    }

    fn accepts(&self, _: &MediaType) -> bool {
        true
    }

    async fn process(&self, _: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        if self.0.swap(true, Ordering::Relaxed) {
            Ok(ProcessorOutput::default())
        } else {
            Err(ProcessorError::Retry("not now".to_owned()))
        }
    }
}

async fn only_job(stores: &Stores) -> Job {
    let mut jobs = stores.metadata.jobs(None, None, 10).await.expect("jobs").items;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs.remove(0)
}

/// As many attempts as a job has, and all but the last of them ended with the worker.
#[tokio::test]
async fn dead_workers_are_not_held_against_a_job() {
    let stores = Stores::new().await;
    let id = stores.start().upload(CONTENT).await;
    for _ in 0..2 {
        assert!(!run_doomed(&stores, 3, async |process| process.work().await).await);
        stores.clock.advance(SignedDuration::from_mins(1));
    }
    let process = stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&stores.objects),
        vec![Arc::new(FailsOnce::default())],
    );
    process.work().await;
    let job = only_job(&stores).await;
    assert_eq!(
        (job.state, job.attempt, job.failures),
        (JobState::Ready, 3, 1),
        "the first passing error is not the last"
    );
    let wait = job.run_at.duration_since(process.app.now());
    assert!(
        wait <= SignedDuration::from_millis(1_500),
        "the wait after one failure: {wait:#}"
    );
    stores.clock.advance(SignedDuration::from_mins(1));
    process.work().await;
    assert_eq!(stores.file(id).await.state, FileState::Ready);
    // What the dead ones had begun is ended by whoever sweeps.
    process.recover().await;
    assert_ready_and_clean(&stores, id, 3).await;
}

/// It is begun twenty times more than it may fail, and no more.
#[tokio::test]
async fn a_job_that_kills_every_worker_comes_to_an_end() {
    let stores = Stores::new().await;
    let id = stores.start().upload(CONTENT).await;
    for _ in 0..23 {
        assert!(!run_doomed(&stores, 3, async |process| process.work().await).await);
        stores.clock.advance(SignedDuration::from_mins(1));
    }
    stores.start().work().await;
    let file = stores.file(id).await;
    assert_eq!(file.state, FileState::Failed);
    let jobs = stores.metadata.jobs(Some(JobState::Dead), None, 10).await;
    let dead = jobs.expect("jobs").items;
    assert_eq!((dead.len(), dead[0].attempt, dead[0].failures), (1, 24, 0));
}

#[tokio::test]
async fn an_upload_that_dies_before_its_answer_can_be_repeated() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let signed = stores.start().sign(CONTENT).await;
        stores.start().send(&signed, CONTENT).await;
        let id = signed.file.id;
        let ended = run_doomed(&stores, point, async |process| {
            let confirmed = process
                .app
                .confirm_upload(&ann(), id, ConfirmUpload::default())
                .await;
            assert!(confirmed.is_ok());
        })
        .await;
        let again = stores.start();
        again.confirm(id).await;
        again.work().await;
        assert_eq!(stores.file(id).await.state, FileState::Ready);
        stores.assert_history(id).await;
        if ended {
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn a_change_of_metadata_happens_whole_or_not_at_all() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        let id = healthy.upload(CONTENT).await;
        healthy.work().await;
        let patch = FilePatch {
            filename: Some("new.bin".to_owned()),
            metadata: Some(object(serde_json::json!({"a": 1}))),
            ..FilePatch::default()
        };
        let ended = run_doomed(&stores, point, async |process| {
            process
                .app
                .update_file(&ann(), id, patch.clone(), None)
                .await
                .expect("updated");
        })
        .await;
        healthy.recover().await;
        let file = stores.file(id).await;
        let changed = file.filename == "new.bin";
        assert_eq!(changed, file.metadata.contains_key("a"), "died at {point}");
        assert!(changed || !ended, "an acknowledged change is kept");
        let keys = stores.keys().await;
        let newest = keys
            .iter()
            .filter(|key| key.ends_with(".attr.json"))
            .max()
            .expect("a sidecar");
        let sidecar = cloakroom_core::format::sidecar_v1::SidecarV1::decode(&stores.bytes(newest).await);
        assert_eq!(
            sidecar.expect("a sidecar").filename,
            file.filename,
            "died at {point}: sidecar and row agree"
        );
        stores.assert_history(id).await;
        stores.assert_quiet().await;
        if ended {
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn an_abandoned_upload_leaves_nothing() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let signed = stores.start().sign(CONTENT).await;
        stores.start().send(&signed, CONTENT).await;
        stores.clock.advance(SignedDuration::from_hours(25));
        let ended = run_doomed(&stores, point, async |process| {
            process.app.sweep_expired_uploads().await.expect("swept");
            process.work().await;
        })
        .await;
        stores.start().recover().await;
        let file = stores.file(signed.file.id).await;
        assert_eq!(file.state, FileState::Expired, "died at {point}");
        assert!(stores.keys().await.is_empty(), "died at {point}");
        let usage = stores.metadata.usage("ann").await.expect("usage");
        assert_eq!((usage.files, usage.stored_bytes, usage.reserved_bytes), (0, 0, 0));
        stores.assert_quiet().await;
        if ended {
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn a_purged_file_is_gone_whole() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        let id = healthy.upload(CONTENT).await;
        healthy.work().await;
        healthy.app.delete_file(&ann(), id).await.expect("deleted");
        stores.clock.advance(SignedDuration::from_hours(24 * 8));
        let ended = run_doomed(&stores, point, async |process| {
            process.app.sweep_trash().await.expect("swept");
            process.work().await;
        })
        .await;
        healthy.recover().await;
        assert_eq!(
            stores.metadata.file(id).await.expect("an answer"),
            None,
            "died at {point}"
        );
        let keys = stores.keys().await;
        assert!(
            keys.iter().all(|key| key.ends_with(".tomb.attr.json")),
            "died at {point}: {keys:?}"
        );
        stores.clock.advance(SignedDuration::from_hours(25));
        healthy.recover().await;
        assert!(
            stores.keys().await.is_empty(),
            "died at {point}: the tombstone goes too"
        );
        let usage = stores.metadata.usage("ann").await.expect("usage");
        assert_eq!((usage.files, usage.stored_bytes), (0, 0), "died at {point}");
        stores.assert_quiet().await;
        if ended {
            return;
        }
    }
    panic!("the scenario never ended by itself");
}
