//! Modes of stores and the audit log: each change with its entry, or neither.

use std::sync::Arc;

use cloakroom_core::audit::AuditEntry;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::storage::{StorageMode, StoreState};
use futures_util::future::join_all;
use jiff::SignedDuration;

use super::{Store, stage};
use crate::fixtures::sample_audit;
use crate::metadata_store_suite::stage::Stage;

fn state(stage: &Stage, name: &str, mode: StorageMode, epoch: u64) -> StoreState {
    StoreState {
        name: name.to_owned(),
        mode,
        epoch,
        draining_until: None,
        changed_at: stage.now(),
        changed_by: "ada \"é\"".to_owned(),
    }
}

fn entry(stage: &Stage, name: &str) -> AuditEntry {
    sample_audit("store.mode_changed", name, &stage.random, stage.pass(1))
}

async fn log(store: &Store) -> Vec<AuditEntry> {
    store.audit(None, 1000).await.expect("audit").items
}

/// Only from the epoch that was seen.
pub async fn a_store_changes_by_compare_and_set(store: Store) {
    let stage = stage(&store);
    assert_eq!(store.stores().await.expect("stores"), []);
    let first = state(&stage, "main", StorageMode::Rw, 1);
    let made = entry(&stage, "main");
    store.put_store(&first, None, &made).await.expect("put_store");
    assert_eq!(store.stores().await.expect("stores"), [first]);
    let next = StoreState {
        draining_until: Some(stage.now() + SignedDuration::from_mins(15)),
        changed_by: "command".to_owned(),
        ..state(&stage, "main", StorageMode::Ro, 2)
    };
    let changed = entry(&stage, "main");
    store
        .put_store(&next, Some(1), &changed)
        .await
        .expect("put_store");
    assert_eq!(store.stores().await.expect("stores"), [next]);
    assert_eq!(log(&store).await, [changed, made]);
}

/// Nor is the store changed.
pub async fn a_refused_change_is_not_in_the_log(store: Store) {
    let stage = stage(&store);
    let first = state(&stage, "main", StorageMode::Rw, 1);
    let made = entry(&stage, "main");
    store.put_store(&first, None, &made).await.expect("put_store");
    let next = state(&stage, "main", StorageMode::Ro, 2);
    for expected in [None, Some(0), Some(2)] {
        let answer = store.put_store(&next, expected, &entry(&stage, "main")).await;
        assert!(matches!(answer, Err(MetadataError::Conflict)), "{answer:?}");
    }
    let unknown = state(&stage, "other", StorageMode::Ro, 2);
    let answer = store.put_store(&unknown, Some(1), &entry(&stage, "other")).await;
    assert!(matches!(answer, Err(MetadataError::Conflict)), "{answer:?}");
    assert_eq!(store.stores().await.expect("stores"), [first]);
    assert_eq!(log(&store).await, [made]);
}

/// Several administrators, or nodes that start together.
pub async fn racing_changes_of_a_store_have_one_winner(store: Store) {
    let stage = stage(&store);
    for expected in [None, Some(1), Some(2), Some(3)] {
        let runs = (0..6).map(|n| {
            let next = StoreState {
                changed_by: format!("node-{n}"),
                ..state(&stage, "main", StorageMode::Ro, expected.unwrap_or(0) + 1)
            };
            let (store, entry) = (Arc::clone(&store), entry(&stage, "main"));
            tokio::spawn(async move {
                match store.put_store(&next, expected, &entry).await {
                    Ok(()) => Some((next, entry)),
                    Err(MetadataError::Conflict) => None,
                    Err(error) => panic!("{error}"),
                }
            })
        });
        let winners: Vec<_> = join_all(runs.collect::<Vec<_>>())
            .await
            .into_iter()
            .filter_map(|run| run.expect("no panic"))
            .collect();
        assert_eq!(winners.len(), 1, "{expected:?}");
        assert_eq!(store.stores().await.expect("stores"), [winners[0].0.clone()]);
        assert!(log(&store).await.contains(&winners[0].1));
    }
    assert_eq!(log(&store).await.len(), 4);
}

/// In the order of their bytes.
pub async fn stores_are_listed_by_name(store: Store) {
    let stage = stage(&store);
    for (n, name) in ["main", "Archive", "_cold", "архив"].into_iter().enumerate() {
        let one = state(&stage, name, StorageMode::ALL[n], 1);
        store
            .put_store(&one, None, &entry(&stage, name))
            .await
            .expect("put_store");
    }
    let names: Vec<String> = store
        .stores()
        .await
        .expect("stores")
        .into_iter()
        .map(|store| store.name)
        .collect();
    assert_eq!(names, ["Archive", "_cold", "main", "архив"]);
}

/// Page by page; one entry is kept once.
pub async fn the_log_is_read_newest_first(store: Store) {
    let stage = stage(&store);
    assert_eq!(log(&store).await, []);
    let mut entries = Vec::new();
    for n in 0..7 {
        let entry = entry(&stage, &format!("subject \u{0} {n}"));
        store.put_audit(&entry).await.expect("put_audit");
        entries.insert(0, entry);
    }
    store.put_audit(&entries[3]).await.expect("put_audit again");
    for limit in [1, 3, 7, 100] {
        let (mut met, mut before) = (Vec::new(), None);
        loop {
            let page = store.audit(before, limit).await.expect("audit");
            assert!(page.items.len() <= limit as usize);
            before = page.items.last().map(|entry| entry.id);
            met.extend(page.items);
            if !page.more {
                break;
            }
        }
        assert_eq!(met, entries, "by {limit}");
    }
}
