//! Durable inserts per second: what grouping commits is worth.
//!
//! ```text
//! cargo bench -p cloakroom-metadata [-- SECONDS [DIRECTORY]]
//! ```
//!
//! Every insert is durable when it is counted (WAL, `synchronous=FULL`) and writes a file, its upload, its event and
//! the owner's usage, under a quota. Beside it, on the same disk in the same run: rusqlite with one transaction for
//! each insert of one small row, which is what a plain program would do. Times of the first second are not counted.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloakroom_core::ports::metadata::{Inserted, MetadataStore, NewFile};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::sample_new_file;
use cloakroom_testkit::random::SeededRandom;
use jiff::SignedDuration;
use rusqlite::{Connection, params};

const WARM_UP: Duration = Duration::from_secs(1);
const OWNERS: u64 = 1000;

struct Measured {
    latencies: Vec<Duration>,
    seconds: f64,
    cpu_seconds: f64,
}

impl Measured {
    fn report(mut self, what: &str) -> f64 {
        self.latencies.sort_unstable();
        let rate = self.latencies.len() as f64 / self.seconds;
        let at = |per_mille: usize| {
            let index = (self.latencies.len() * per_mille / 1000).min(self.latencies.len().saturating_sub(1));
            self.latencies
                .get(index)
                .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let cpu_micros = self.cpu_seconds * 1e6 / self.latencies.len() as f64;
        println!(
            "{what:<44} {rate:>8.0}/s   p50 {:>6.2} ms   p99 {:>6.2} ms   max {:>7.2} ms   {cpu_micros:>5.0} us CPU",
            at(500),
            at(990),
            at(1000),
        );
        rate
    }
}

/// User and system time of this process so far: fields 14 and 15 of `/proc/self/stat`, in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn raw(path: &Path, duration: Duration) -> Measured {
    let connection = Connection::open(path).expect("open");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE files (id BLOB PRIMARY KEY, owner TEXT, collection TEXT, key TEXT, metadata TEXT, created_at INTEGER);
             CREATE INDEX files_owner ON files (owner, created_at);",
        )
        .expect("schema");
    let (clock, random) = (MockClock::new(), SeededRandom::default());
    let mut insert = connection
        .prepare("INSERT INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .expect("prepare");
    let mut once = || {
        let file = new_file(&clock, &random).file;
        let begun = Instant::now();
        insert
            .execute(params![
                file.id.0.as_bytes(),
                file.owner,
                file.collection,
                file.key,
                "{\"project\":\"north\"}",
                file.created_at.as_microsecond()
            ])
            .expect("insert");
        begun.elapsed()
    };
    let begun = Instant::now();
    while begun.elapsed() < WARM_UP {
        once();
    }
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let mut latencies = Vec::new();
    while begun.elapsed() < duration {
        latencies.push(once());
    }
    Measured {
        latencies,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds() - cpu,
    }
}

fn new_file(clock: &MockClock, random: &SeededRandom) -> NewFile {
    let mut new = sample_new_file(random, clock.advance(SignedDuration::from_micros(1)));
    new.file.owner = format!("user-{}", random.next_u64() % OWNERS);
    new.quota_bytes = Some(1 << 50);
    new
}

async fn grouped(path: &Path, callers: usize, duration: Duration) -> Measured {
    let store = Arc::new(SqliteStore::open(SqliteOptions::new(path)).expect("open"));
    let (clock, random) = (Arc::new(MockClock::new()), Arc::new(SeededRandom::default()));
    let (counting, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, clock, random) = (Arc::clone(&store), Arc::clone(&clock), Arc::clone(&random));
            let (counting, stop) = (Arc::clone(&counting), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let new = new_file(&clock, &random);
                    let begun = Instant::now();
                    assert_eq!(store.insert(new).await.expect("insert"), Inserted::New);
                    if counting.load(Ordering::Relaxed) {
                        latencies.push(begun.elapsed());
                    }
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let (seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("no panic"));
    }
    Measured {
        latencies,
        seconds,
        cpu_seconds,
    }
}

fn main() {
    // `cargo bench` passes `--bench`.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let duration = Duration::from_secs(seconds);
    let directory = match arguments.next() {
        Some(parent) => tempfile::TempDir::new_in(parent),
        None => tempfile::TempDir::new(),
    }
    .expect("a directory for the databases");
    let plain = raw(&directory.path().join("raw.db"), duration).report("rusqlite, one transaction per row");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    for callers in [1, 64, 256] {
        let path = directory.path().join(format!("{callers}.db"));
        let measured = runtime.block_on(grouped(&path, callers, duration));
        let rate = measured.report(&format!("SqliteStore::insert, {callers} callers"));
        println!("{:<44} {:>8.2} x", "", rate / plain);
    }
}
