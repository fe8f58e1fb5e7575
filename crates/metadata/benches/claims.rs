//! What claiming, finishing and enqueueing cost while very much waits.
//!
//! ```text
//! scripts/test-servers run cargo bench -p cloakroom-metadata --bench claims [-- JOBS]
//! ```
//!
//! Half of the waiting jobs are of one owner, the others of a hundred. Commits are not synced on SQLite, so that the
//! statements show and not the disk.

#[expect(dead_code, reason = "nobody inserts as fast as it can here")]
mod measure;

use std::time::{Duration, Instant};

use cloakroom_core::id::{FileId, JobId, WorkerId};
use cloakroom_core::job::{Job, JobKind, JobOutcome, JobState};
use cloakroom_core::ports::archive::{ArchivedRow, MetadataArchive};
use cloakroom_core::ports::metadata::{Claim, Inserted, MetadataStore};
use cloakroom_core::ports::random::Random as _;
use cloakroom_core::transition::Occasion;
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{sample_collection, sample_observed};
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers::{postgres_url, unique_table_prefix};
use jiff::SignedDuration;

use self::measure::{Measured, cpu_seconds, new_file};

const ROUNDS: usize = 500;

struct Bench<'a, S> {
    store: &'a S,
    clock: MockClock,
    random: SeededRandom,
}

impl<S: MetadataStore + MetadataArchive> Bench<'_, S> {
    async fn fill(&self, count: usize) {
        let mut rows = Vec::new();
        for n in 0..count {
            let now = self.clock.advance(SignedDuration::from_micros(1));
            rows.push(ArchivedRow::Job(Job {
                id: JobId(self.random.uuid_v7(now)),
                kind: JobKind::ProcessFile,
                file_id: FileId(self.random.uuid_v7(now)),
                state: JobState::Ready,
                run_at: now,
                attempt: 0,
                failures: 0,
                lease_epoch: 0,
                lease_owner: None,
                lease_until: None,
                last_error: None,
                created_at: now,
                owner: Some(if n % 2 == 0 {
                    "user-0".to_owned()
                } else {
                    format!("user-{}", n % 100)
                }),
                turn_at: Some(now),
                progress: None,
            }));
            if rows.len() == 1_000 {
                self.store.restore(&rows, now).await.expect("restore");
                rows.clear();
            }
        }
    }

    async fn timed<F: Future<Output = Vec<Duration>>>(&self, what: &str, work: F) {
        let (begun, cpu) = (Instant::now(), cpu_seconds());
        let latencies = work.await;
        let measured = Measured {
            latencies,
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - cpu,
        };
        measured.report(what);
    }

    /// Four at a time, each finished at once.
    async fn claims(&self) -> Vec<Duration> {
        let worker = WorkerId("w".to_owned());
        let mut latencies = Vec::new();
        for _ in 0..ROUNDS {
            let now = self.clock.advance(SignedDuration::from_millis(1));
            let claim = Claim {
                worker: &worker,
                now,
                lease: SignedDuration::from_secs(15),
                limit: 4,
                at_most: &[],
            };
            let begun = Instant::now();
            let claimed = self.store.claim(&claim).await.expect("claim");
            latencies.push(begun.elapsed());
            for job in claimed {
                let finished = self.store.finish(job.lease(), &JobOutcome::Done, now).await;
                finished.expect("finish");
            }
        }
        latencies
    }

    /// Each with the job that it makes.
    async fn confirms(&self) -> Vec<Duration> {
        let mut latencies = Vec::new();
        for _ in 0..ROUNDS {
            let new = new_file(&self.clock, &self.random);
            let (file, upload) = (new.file.clone(), new.upload.clone());
            assert_eq!(self.store.insert(new).await.expect("insert"), Inserted::New);
            let occasion = Occasion {
                now: self.clock.advance(SignedDuration::from_millis(1)),
                actor: "bench",
                random: &self.random,
            };
            let observed = sample_observed(&file);
            let confirmed = file.confirm(&upload, &observed, &sample_collection(), &occasion);
            let transition = confirmed.expect("it may be confirmed");
            let begun = Instant::now();
            self.store.apply(transition).await.expect("apply");
            latencies.push(begun.elapsed());
        }
        latencies
    }
}

async fn run<S: MetadataStore + MetadataArchive>(name: &str, store: &S, count: usize) {
    let bench = Bench {
        store,
        clock: MockClock::new(),
        random: SeededRandom::default(),
    };
    bench
        .timed(&format!("{name}: confirm, no queue"), bench.confirms())
        .await;
    bench.fill(count).await;
    bench
        .timed(&format!("{name}: claim 4 of {count}"), bench.claims())
        .await;
    bench
        .timed(&format!("{name}: confirm, {count} wait"), bench.confirms())
        .await;
}

fn main() {
    // `cargo bench` passes `--bench`.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let count = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000);
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let directory = tempfile::TempDir::new().expect("a directory");
    let options = SqliteOptions {
        synchronous_full: false,
        ..SqliteOptions::new(directory.path().join("claims.db"))
    };
    let sqlite = SqliteStore::open(options).expect("open");
    runtime.block_on(run("SQLite", &sqlite, count));
    runtime.block_on(async {
        let options = PostgresOptions {
            table_prefix: unique_table_prefix().parse().expect("a prefix"),
            ..PostgresOptions::new(postgres_url())
        };
        let postgres = PostgresStore::connect(options).await.expect("connect");
        run("PostgreSQL", &postgres, count).await;
    });
}
