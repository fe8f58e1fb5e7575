//! The runner beside its limits: what is under way is shown, given back, and never all of a worker.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_core::file::FileState;
use cloakroom_core::id::{FileId, JobId, WorkerId};
use cloakroom_core::job::{Job, JobKind, JobState, NewJob, Stage};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::processor::{Processor, ProcessorError, ProcessorInput, ProcessorOutput};
use cloakroom_core::ports::random::Random as _;
use cloakroom_worker::{WorkerOptions, runner};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::app::{Process, Stores};

/// Works until it is let go.
struct Patient {
    go: Arc<Semaphore>,
}

#[async_trait]
impl Processor for Patient {
    fn name(&self) -> &'static str {
        "patient"
    }

    fn accepts(&self, _: &MediaType) -> bool {
        true
    }

    async fn process(&self, _: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        self.go.acquire().await.expect("open").forget();
        Ok(ProcessorOutput::default())
    }
}

fn start(stores: &Stores, go: &Arc<Semaphore>) -> Process {
    stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&stores.objects),
        vec![Arc::new(Patient { go: Arc::clone(go) })],
    )
}

struct Runner {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn run(process: &Process, change: impl FnOnce(&mut WorkerOptions)) -> Runner {
    let stop = CancellationToken::new();
    let mut options = WorkerOptions::new(WorkerId("w".to_owned()));
    options.poll = Duration::from_millis(50);
    options.grace = Duration::from_millis(50);
    change(&mut options);
    let (app, stopped) = (Arc::clone(&process.app), stop.clone());
    let task = tokio::spawn(async move { runner::run(app, &options, stopped).await });
    Runner { stop, task }
}

async fn job_of(stores: &Stores, id: FileId) -> Option<Job> {
    let found = stores.metadata.live_job(id, JobKind::ProcessFile).await;
    found.expect("the database answers")
}

/// Looks until it is so.
async fn until<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let found = tokio::time::timeout(Duration::from_mins(1), async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    found.await.expect("it happens within a minute")
}

#[tokio::test]
async fn a_drain_gives_back_what_is_under_way_uncounted() {
    let stores = Stores::new().await;
    let go = Arc::new(Semaphore::new(0));
    let process = start(&stores, &go);
    let id = process.upload(b"bytes").await;
    let runner = run(&process, |_| ());
    // How far it is can be seen from outside.
    until(async || {
        let progress = job_of(&stores, id).await?.progress?;
        (progress.stage == Stage::Processing("patient".to_owned())).then_some(())
    })
    .await;
    runner.stop.cancel();
    runner.task.await.expect("it drains");
    let job = job_of(&stores, id).await.expect("it waits");
    assert_eq!((job.state, job.attempt, job.failures), (JobState::Ready, 0, 0));
    assert_eq!((job.progress, job.turn_at, job.lease_owner), (None, None, None));
    assert_eq!(job.last_error.as_deref(), Some("the worker was stopped"));
    assert_eq!(stores.file(id).await.state, FileState::Processing);

    go.add_permits(1);
    start(&stores, &go).work().await;
    assert_eq!(stores.file(id).await.state, FileState::Ready);
    stores.assert_history(id).await;
}

#[tokio::test]
async fn light_work_goes_on_while_all_photos_wait() {
    let stores = Stores::new().await;
    let go = Arc::new(Semaphore::new(0));
    let process = start(&stores, &go);
    let mut photos = Vec::new();
    for n in 0..4_u8 {
        photos.push(process.upload(&[n; 5]).await);
    }
    let runner = run(&process, |options| options.concurrency = 3);
    let running = async || {
        let jobs = stores.metadata.jobs(Some(JobState::Running), None, 10).await;
        jobs.expect("jobs").items.len()
    };
    until(async || (running().await == 2).then_some(())).await;
    let now = process.app.now();
    let reap = NewJob {
        id: JobId(stores.random.uuid_v7(now)),
        kind: JobKind::DiscardStaging,
        file_id: FileId(stores.random.uuid_v7(now)),
        run_at: now,
    };
    assert!(stores.metadata.enqueue(&reap).await.expect("enqueue"));
    until(async || {
        let found = stores.metadata.live_job(reap.file_id, reap.kind).await;
        found.expect("the database answers").is_none().then_some(())
    })
    .await;
    assert_eq!(running().await, 2, "the third place is not for photos");
    go.add_permits(4);
    for id in photos {
        until(async || (stores.file(id).await.state == FileState::Ready).then_some(())).await;
    }
    runner.stop.cancel();
    runner.task.await.expect("it drains");
}

#[tokio::test]
async fn a_kind_keeps_to_its_limit() {
    let stores = Stores::new().await;
    let go = Arc::new(Semaphore::new(0));
    let process = start(&stores, &go);
    let (first, second) = (process.upload(b"first").await, process.upload(b"second").await);
    let runner = run(&process, |options| {
        options.concurrency = 8;
        options.limits.insert(JobKind::ProcessFile, 1);
    });
    let state = async |id| job_of(&stores, id).await.map(|job| job.state);
    until(async || (state(first).await == Some(JobState::Running)).then_some(())).await;
    // One more is let go than runs: had both been claimed, both would be ready at once.
    assert_eq!(state(second).await, Some(JobState::Ready));
    go.add_permits(1);
    until(async || state(first).await.is_none().then_some(())).await;
    until(async || (state(second).await == Some(JobState::Running)).then_some(())).await;
    go.add_permits(1);
    until(async || (stores.file(second).await.state == FileState::Ready).then_some(())).await;
    runner.stop.cancel();
    runner.task.await.expect("it drains");
}
