//! Durable inserts per second: what grouping commits is worth.
//!
//! ```text
//! cargo bench -p cloakroom-metadata [-- SECONDS [DIRECTORY]]
//! ```
//!
//! Every insert is durable when it is counted (WAL, `synchronous=FULL`) and writes a file, its upload, its event and
//! the owner's usage, under a quota. Beside it, on the same disk in the same run: rusqlite with one transaction for
//! each insert of one small row, which is what a plain program would do. Times of the first second are not counted.

mod measure;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::random::SeededRandom;
use rusqlite::{Connection, params};

use self::measure::{Measured, WARM_UP, callers, cpu_seconds, new_file};

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
    for count in [1, 64, 256] {
        let path = directory.path().join(format!("{count}.db"));
        let store = Arc::new(SqliteStore::open(SqliteOptions::new(path)).expect("open"));
        let measured = runtime.block_on(callers(store, count, duration));
        let rate = measured.report(&format!("SqliteStore::insert, {count} callers"));
        println!("{:<44} {:>8.2} x", "", rate / plain);
    }
}
