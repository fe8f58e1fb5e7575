//! What the local store leaves when the power fails (I3, I5), as far as a process can show it: the store works under
//! `strace`, every call that changes the file system is replayed onto a disk that keeps only what was synced, and at each
//! acknowledged write the store is opened over what that disk would hold.
//!
//! The disk is the worst one that POSIX allows: bytes count from the `fsync` of their file, names from the `fsync` of their
//! directory, and nothing else does. A file that gets a name before its bytes are synced may be seen torn, so that is an
//! error too, whether or not anybody was told of it.

mod disk;
mod trace;

use std::path::{Path, PathBuf};
use std::process::Command;

use cloakroom_core::ports::objects::{
    CompletedPart, GetOptions, MultipartOptions, ObjectAttributes, ObjectPath, ObjectStore, PutBody,
    PutOptions, WriteConditions,
};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use futures_util::StreamExt;

use crate::disk::Disk;
use crate::trace::{Event, events};

/// Set for the process that is watched: the directory of its store.
const WATCHED: &str = "CLOAKROOM_POWER_LOSS_STORE";
const BUCKET: &str = "bucket";
/// The last part may be small, the others may not.
const PART_BYTES: usize = 5 * 1024 * 1024;

fn content(number: usize) -> Vec<u8> {
    format!("the bytes of object {number} ")
        .repeat(1 + number * 50)
        .into_bytes()
}

/// Says that something was acknowledged, in a call that the trace shows.
fn acknowledge(key: &str) {
    use std::io::Write as _;
    // In one call: the trace is read line by line.
    let line = format!("ACKNOWLEDGED {key}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error");
}

async fn put(store: &LocalStore, key: &str, bytes: Vec<u8>) {
    let path = ObjectPath::new(BUCKET, key);
    let stored = store
        .put(&path, PutOptions::default(), PutBody::from_bytes(bytes))
        .await;
    stored.expect("stored");
    acknowledge(key);
}

/// What the watched process does: every way in which an object gets its name.
async fn work(root: &Path) {
    let store = LocalStore::open(&LocalOptions::new(root)).expect("a store");
    store.create_bucket(BUCKET).await.expect("a bucket");
    for number in 0..8 {
        // Now a directory of its own, now one that stands.
        put(&store, &format!("a/{}/{number}.bin", number / 2), content(number)).await;
    }
    for number in 8..12 {
        let staged = ObjectPath::new(BUCKET, format!("staging/{number}/x.bin"));
        let info = store
            .put(
                &staged,
                PutOptions::default(),
                PutBody::from_bytes(content(number)),
            )
            .await
            .expect("stored");
        let key = format!("files/{number}/x.bin");
        let target = ObjectPath::new(BUCKET, &key);
        store
            .promote(&staged, &info.generation, &target, ObjectAttributes::default())
            .await
            .expect("promoted");
        acknowledge(&key);
    }
    let path = ObjectPath::new(BUCKET, "parts/12.bin");
    let upload = store
        .begin_multipart(&path, MultipartOptions::default())
        .await
        .expect("begun");
    let mut parts = Vec::new();
    for (number, bytes) in [(1, vec![1; PART_BYTES]), (2, content(12))] {
        let part = store
            .put_part(&path, &upload, number, PutBody::from_bytes(bytes))
            .await
            .expect("a part");
        parts.push(CompletedPart {
            number,
            etag: part.etag,
            ..CompletedPart::default()
        });
    }
    store
        .complete_multipart(&path, &upload, &parts, WriteConditions::default())
        .await
        .expect("completed");
    acknowledge(&path.key);
}

/// What an object must hold.
fn expected(key: &str) -> Vec<u8> {
    let digits: String = key.chars().filter(char::is_ascii_digit).collect();
    let number = |text: &str| text.parse::<usize>().expect("a number");
    if key.starts_with("parts/") {
        return [vec![1; PART_BYTES], content(12)].concat();
    }
    if key.starts_with("a/") {
        content(number(&digits[1..]))
    } else {
        content(number(&digits))
    }
}

/// Opens the store over what the disk would hold, and reads everything that was acknowledged.
async fn read_after_power_loss(root: &Path, acknowledged: &[String]) {
    let store = LocalStore::open(&LocalOptions::new(root)).expect("the store opens");
    for key in acknowledged {
        let path = ObjectPath::new(BUCKET, key);
        let mut read = store
            .get(&path, &GetOptions::default())
            .await
            .unwrap_or_else(|error| panic!("{key} was acknowledged and is lost: {error}"));
        let mut bytes = Vec::new();
        while let Some(piece) = read.body.next().await {
            bytes.extend_from_slice(&piece.expect("a piece"));
        }
        assert!(
            bytes == expected(key),
            "{key} has other bytes after the power loss"
        );
    }
}

/// Runs this test again, watched; the trace, and what the store holds at last.
fn watch(directory: &Path) -> (PathBuf, PathBuf) {
    let (root, trace) = (directory.join("objects"), directory.join("trace"));
    let watched = Command::new("strace")
        .args(["-f", "-y", "-s", "200", "-e", "signal=none", "-e"])
        .arg(format!("trace={}", trace::CALLS))
        .arg("-o")
        .arg(&trace)
        .arg(std::env::current_exe().expect("this program"))
        .args([
            "--exact",
            "what_was_acknowledged_survives_power_loss",
            "--nocapture",
        ])
        .env(WATCHED, &root)
        .output()
        .expect("strace is installed (make test-env)");
    assert!(
        watched.status.success(),
        "{}",
        String::from_utf8_lossy(&watched.stderr)
    );
    (root, trace)
}

#[tokio::test]
async fn what_was_acknowledged_survives_power_loss() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how a test tells itself that it is watched"
    )]
    let watched = std::env::var_os(WATCHED);
    if let Some(root) = watched {
        work(Path::new(&root)).await;
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (root, trace) = watch(directory.path());
    let text = std::fs::read_to_string(trace).expect("a trace");
    let mut disk = Disk::new(&root);
    let mut acknowledged = Vec::new();
    for event in events(&text) {
        let Event::Acknowledged(key) = event else {
            disk.apply(&event);
            continue;
        };
        acknowledged.push(key);
        let after = directory.path().join(format!("after-{}", acknowledged.len()));
        disk.write_out(&after);
        read_after_power_loss(&after, &acknowledged).await;
    }
    assert_eq!(acknowledged.len(), 13, "everything was watched");
    assert!(
        disk.torn().is_empty(),
        "named before their bytes were synced: {:?}",
        disk.torn()
    );
    assert!(disk.syncs() > 13, "syncs were seen");
}
