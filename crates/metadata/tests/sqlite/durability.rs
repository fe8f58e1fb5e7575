//! What was acknowledged is there after `kill -9`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::str::FromStr as _;
use std::sync::Arc;

use cloakroom_core::id::FileId;
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{FileQuery, Inserted, MetadataStore as _};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{
    SAMPLE_BYTES, SAMPLE_OWNER, sample_collection, sample_new_file, sample_observed,
};
use cloakroom_testkit::random::SeededRandom;
use futures_util::future::select_all;
use tempfile::TempDir;

/// Set in the child: the database that it fills until it is killed.
const CHILD_DATABASE: &str = "CLOAKROOM_TEST_CHILD_DATABASE";
/// Set in the child: its seed, so that no two draw the same ids.
const CHILD_SEED: &str = "CLOAKROOM_TEST_CHILD_SEED";
const CALLERS: u64 = 8;

fn variable(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how the test tells its child what it is"
    )]
    std::env::var(name).ok()
}

/// Inserts and confirms as fast as it can and writes the id of each acknowledged change to its output.
#[tokio::main]
async fn fill_until_killed(path: PathBuf, seed: u64) {
    let store = Arc::new(SqliteStore::open(SqliteOptions::new(path)).unwrap());
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (clock, random) = (MockClock::new(), SeededRandom::new(seed * CALLERS + caller));
                loop {
                    let new = sample_new_file(&random, clock.now());
                    let (file, upload) = (new.file.clone(), new.upload.clone());
                    assert_eq!(store.insert(new).await.unwrap(), Inserted::New);
                    acknowledge("inserted", file.id);
                    let occasion = cloakroom_core::transition::Occasion {
                        now: clock.now(),
                        actor: "tester",
                        random: &random,
                    };
                    let confirm = file
                        .confirm(&upload, &sample_observed(&file), &sample_collection(), &occasion)
                        .unwrap();
                    store.apply(confirm).await.unwrap();
                    acknowledge("confirmed", file.id);
                }
            })
        })
        .collect();
    let Err(panic) = select_all(tasks).await.0;
    panic!("a caller ended: {panic}");
}

fn acknowledge(what: &str, id: FileId) {
    // One write for a line: a line is whole or not there.
    let _ = std::io::stdout().write_all(format!("{what} {id}\n").as_bytes());
}

fn start_child(path: &std::path::Path, seed: u64) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "durability::acknowledged_changes_survive_a_kill",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD_DATABASE, path)
        .env(CHILD_SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

#[test]
fn acknowledged_changes_survive_a_kill() {
    if let Some(path) = variable(CHILD_DATABASE) {
        return fill_until_killed(path.into(), variable(CHILD_SEED).unwrap().parse().unwrap());
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let (mut inserted, mut confirmed) = (Vec::new(), Vec::new());
    for round in 1..=5 {
        let (mut child, output) = start_child(&path, round);
        let mut acknowledged = 0;
        for line in output.lines() {
            let line = line.unwrap();
            let Some((what, id)) = line.split_once(' ') else {
                continue;
            };
            match (what, FileId::from_str(id)) {
                ("inserted", Ok(id)) => inserted.push(id),
                ("confirmed", Ok(id)) => confirmed.push(id),
                _ => continue,
            }
            acknowledged += 1;
            if acknowledged == 200 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(
            acknowledged >= 200 * round,
            "the child was killed in the middle of its work"
        );
    }
    check(&path, &inserted, &confirmed);
}

/// Every acknowledged change is there, and nothing is there by halves.
#[tokio::main]
async fn check(path: &std::path::Path, inserted: &[FileId], confirmed: &[FileId]) {
    let store = SqliteStore::open(SqliteOptions::new(path)).unwrap();
    for id in inserted {
        assert!(
            store.file(*id).await.unwrap().is_some(),
            "{id} was acknowledged and is lost"
        );
        assert!(store.upload(*id).await.unwrap().is_some(), "{id}");
    }
    for id in confirmed {
        assert!(
            store.file(*id).await.unwrap().unwrap().confirmed_at.is_some(),
            "{id} was confirmed and is not"
        );
    }
    let (mut query, mut open, mut settled) = (
        FileQuery {
            limit: 1000,
            ..FileQuery::default()
        },
        0,
        0,
    );
    loop {
        let page = store.files(&query).await.unwrap();
        for file in &page.items {
            let events = store.timeline(file.id, None, 10).await.unwrap().items;
            assert_eq!(
                events.len() as u64,
                file.version,
                "one event for each version of {}",
                file.id
            );
            if file.state.is_open() {
                open += 1;
            } else {
                settled += 1;
            }
        }
        if !page.more {
            break;
        }
        query.after = page
            .items
            .last()
            .map(|last| cloakroom_core::ports::metadata::Cursor {
                created_at: last.created_at,
                id: last.id,
            });
    }
    assert!(open + settled >= inserted.len() as u64 && settled >= confirmed.len() as u64);
    let usage = store.usage(SAMPLE_OWNER).await.unwrap();
    assert_eq!(
        (usage.reserved_bytes, usage.stored_bytes),
        (open * SAMPLE_BYTES, settled * SAMPLE_BYTES)
    );
    assert_eq!(usage.files, settled);
    let statistics = store.statistics().await.unwrap();
    assert_eq!(
        statistics.jobs.iter().map(|(_, count)| count).sum::<u64>(),
        settled,
        "one job for each confirm"
    );
}
