//! An instance that goes on changing gives no false findings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cloakroom_core::file::FilePatch;
use serde_json::json;

use super::{start, verified};
use crate::app::{Process, Stores, ann};

/// Uploads, changes, deletes and restores until told to stop; returns how often.
async fn write_for_ever(process: Process, stop: Arc<AtomicBool>, rounds: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        let id = process.upload(format!("content {round}").as_bytes()).await;
        process.work().await;
        for step in 0..3 {
            let patch = FilePatch {
                metadata: Some(crate::app::object(json!({"round": round, "step": step}))),
                ..FilePatch::default()
            };
            // Another process may be verifying it: nobody is in the way of the other.
            let changed = process.app.update_file(&ann(), id, patch, None).await;
            changed.expect("changed");
        }
        process.app.delete_file(&ann(), id).await.expect("deleted");
        if !round.is_multiple_of(3) {
            process.app.restore_file(&ann(), id).await.expect("restored");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_are_no_drift() {
    let stores = Stores::new().await;
    let process = start(&stores);
    for content in 0..10 {
        process.upload(format!("before {content}").as_bytes()).await;
    }
    process.work().await;
    let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            tokio::spawn(write_for_ever(process.clone(), stop, rounds))
        })
        .collect();
    let mut looks = 0_u32;
    // Long enough for the writers to have been everywhere.
    while looks < 6 || rounds.load(Ordering::Relaxed) < 30 {
        let report = verified(&process, json!({"deep": looks.is_multiple_of(2)})).await;
        assert_eq!(report.lines(), [], "after {looks} looks");
        looks += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer");
    }
    process.work().await;
    assert_eq!(verified(&process, json!({"deep": true})).await.lines(), []);
}
