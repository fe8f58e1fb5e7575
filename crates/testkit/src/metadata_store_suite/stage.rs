//! What the cases are played on: a store, a clock, randomness, and the usual steps of a file's life.

use std::sync::Arc;

use cloakroom_core::JsonObject;
use cloakroom_core::derivative::Derivative;
use cloakroom_core::event::Event;
use cloakroom_core::file::File;
use cloakroom_core::id::{FileId, JobId, WorkerId};
use cloakroom_core::job::{Job, JobKind, NewJob};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{
    Claim, Cursor, FileQuery, Inserted, MetadataStore, NewFile, Page, Usage,
};
use cloakroom_core::ports::random::Random as _;
use cloakroom_core::transition::{Occasion, Transition};
use cloakroom_core::upload::Upload;
use jiff::{SignedDuration, Timestamp};

use crate::clock::MockClock;
use crate::fixtures::{sample_collection, sample_new_file, sample_observed, sample_verified};
use crate::random::SeededRandom;

/// The store under test.
pub type Store = Arc<dyn MetadataStore>;

/// How long a claim holds in the cases.
pub(crate) const LEASE: SignedDuration = SignedDuration::from_secs(30);

/// A store with a clock and randomness.
pub(crate) struct Stage {
    pub(crate) store: Store,
    pub(crate) clock: MockClock,
    pub(crate) random: SeededRandom,
}

/// Everything that an operation on a file may leave behind.
#[derive(Debug, PartialEq)]
pub(crate) struct Trace {
    pub(crate) file: Option<File>,
    pub(crate) upload: Option<Upload>,
    pub(crate) events: Vec<Event>,
    pub(crate) derivatives: Vec<Derivative>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) usage: Usage,
}

impl Stage {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            clock: MockClock::new(),
            random: SeededRandom::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, seconds: i64) -> Timestamp {
        self.clock.advance(SignedDuration::from_secs(seconds))
    }

    pub(crate) fn occasion(&self) -> Occasion<'_> {
        Occasion {
            now: self.now(),
            actor: "tester",
            random: &self.random,
        }
    }

    pub(crate) fn new_file(&self) -> NewFile {
        sample_new_file(&self.random, self.now())
    }

    /// A sample that differs in what `change` does.
    pub(crate) fn new_file_with(&self, change: impl FnOnce(&mut File)) -> NewFile {
        let mut new = self.new_file();
        change(&mut new.file);
        new.event.state = new.file.state;
        new
    }

    pub(crate) async fn insert(&self, new: NewFile) -> (File, Upload) {
        let (file, upload) = (new.file.clone(), new.upload.clone());
        assert_eq!(self.store.insert(new).await.expect("insert"), Inserted::New);
        (file, upload)
    }

    pub(crate) async fn sign(&self) -> (File, Upload) {
        self.insert(self.new_file()).await
    }

    pub(crate) async fn apply(&self, transition: Transition) -> File {
        let file = transition.file.clone();
        self.store.apply(transition).await.expect("apply");
        file
    }

    pub(crate) fn confirmation(&self, file: &File, upload: &Upload) -> Transition {
        file.confirm(
            upload,
            &sample_observed(file),
            &sample_collection(),
            &self.occasion(),
        )
        .expect("a sample may be confirmed")
    }

    pub(crate) async fn confirm(&self, file: &File, upload: &Upload) -> File {
        self.apply(self.confirmation(file, upload)).await
    }

    pub(crate) async fn process(&self, file: &File) -> File {
        self.apply(
            file.process(&self.occasion())
                .expect("a confirmed file may be processed"),
        )
        .await
    }

    pub(crate) fn readiness(&self, file: &File) -> Transition {
        file.ready(
            sample_verified(file),
            JsonObject::new(),
            Vec::new(),
            &self.occasion(),
        )
        .expect("a processed file may be ready")
    }

    /// From nothing to `ready`.
    pub(crate) async fn ready(&self, new: NewFile) -> File {
        let (file, upload) = self.insert(new).await;
        let file = self.confirm(&file, &upload).await;
        let file = self.process(&file).await;
        self.apply(self.readiness(&file)).await
    }

    /// A file whose processing somebody has claimed.
    pub(crate) async fn claimed(&self) -> (File, Job) {
        let (file, upload) = self.sign().await;
        let file = self.confirm(&file, &upload).await;
        let mut jobs = self.claim("worker-1", 10).await;
        assert_eq!(jobs.len(), 1, "one job waits");
        (file, jobs.remove(0))
    }

    pub(crate) async fn claim(&self, worker: &str, limit: u32) -> Vec<Job> {
        let worker = WorkerId(worker.to_owned());
        let claim = Claim {
            worker: &worker,
            now: self.now(),
            lease: LEASE,
            limit,
            at_most: &[],
        };
        self.store.claim(&claim).await.expect("claim")
    }

    pub(crate) fn new_job(&self, kind: JobKind, file_id: FileId) -> NewJob {
        let now = self.now();
        NewJob {
            id: JobId(self.random.uuid_v7(now)),
            kind,
            file_id,
            run_at: now,
        }
    }

    /// A job about a file of its own.
    pub(crate) async fn enqueue(&self, kind: JobKind) -> NewJob {
        let job = self.new_job(kind, FileId(self.random.uuid_v7(self.now())));
        assert!(
            self.store.enqueue(&job).await.expect("enqueue"),
            "nothing of this kind waits for a new file"
        );
        job
    }

    pub(crate) async fn job(&self, id: JobId) -> Option<Job> {
        let jobs = self.store.jobs(None, None, 1000).await.expect("jobs");
        jobs.items.into_iter().find(|job| job.id == id)
    }

    pub(crate) async fn file(&self, id: FileId) -> File {
        self.store
            .file(id)
            .await
            .expect("file")
            .expect("the file is there")
    }

    pub(crate) async fn events(&self, id: FileId) -> Vec<Event> {
        self.store.timeline(id, None, 1000).await.expect("timeline").items
    }

    pub(crate) async fn trace(&self, id: FileId, owner: &str) -> Trace {
        let jobs = self.store.jobs(None, None, 1000).await.expect("jobs").items;
        Trace {
            file: self.store.file(id).await.expect("file"),
            upload: self.store.upload(id).await.expect("upload"),
            events: self.events(id).await,
            derivatives: self.store.derivatives(id).await.expect("derivatives"),
            jobs: jobs.into_iter().filter(|job| job.file_id == id).collect(),
            usage: self.store.usage(owner).await.expect("usage"),
        }
    }

    pub(crate) async fn page(&self, query: &FileQuery) -> Page<File> {
        self.store.files(query).await.expect("files")
    }

    /// Ids of every file that a query finds, in order.
    pub(crate) async fn find(&self, query: FileQuery) -> Vec<FileId> {
        let page = self.page(&FileQuery { limit: 1000, ..query }).await;
        assert!(!page.more, "a case stays within a page");
        page.items.into_iter().map(|file| file.id).collect()
    }
}

/// Walks a query page by page, with something to do between pages.
pub(crate) async fn walk(stage: &Stage, query: &FileQuery, between: impl AsyncFn()) -> Vec<File> {
    let mut query = query.clone();
    let mut found = Vec::new();
    loop {
        let page = stage.page(&query).await;
        assert!(page.items.len() <= query.limit as usize);
        let Some(last) = page.items.last() else {
            assert!(!page.more, "a page with more to come is not empty");
            return found;
        };
        query.after = Some(Cursor {
            created_at: last.created_at,
            id: last.id,
        });
        found.extend(page.items.iter().cloned());
        if !page.more {
            return found;
        }
        between().await;
    }
}

pub(crate) fn ids(files: &[File]) -> Vec<FileId> {
    files.iter().map(|file| file.id).collect()
}

/// Newest first: the order of every list.
pub(crate) fn newest_first(mut files: Vec<File>) -> Vec<FileId> {
    files.sort_by_key(|file| std::cmp::Reverse((file.created_at, file.id)));
    ids(&files)
}

pub(crate) async fn ready_with(stage: &Stage, change: impl FnOnce(&mut File)) -> File {
    stage.ready(stage.new_file_with(change)).await
}
