//! Garbage: known once, listed by path, removed at its deadline unless somebody wants it kept.

use std::sync::Arc;

use cloakroom_core::garbage::{Garbage, GarbageReason, GarbageState};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::random::Random as _;
use futures_util::future::join_all;
use jiff::SignedDuration;

use super::{Store, stage};
use crate::fixtures::sample_garbage;

async fn put(store: &Store, garbage: &[Garbage]) -> u64 {
    store.put_garbage(garbage).await.expect("put_garbage")
}

async fn list(store: &Store, state: Option<GarbageState>, limit: u32) -> Vec<Garbage> {
    let mut met: Vec<Garbage> = Vec::new();
    loop {
        let last = met.last().cloned();
        let after = last.as_ref().map(|last| (&last.path, last.upload_id.as_str()));
        let page = store.garbage(state, after, limit).await.expect("garbage");
        assert!(page.items.len() <= limit as usize);
        met.extend(page.items);
        if !page.more {
            return met;
        }
    }
}

/// Found again, it keeps its deadline and what was decided about it.
pub async fn known_garbage_stays_as_it_is(store: Store) {
    let stage = stage(&store);
    assert_eq!(put(&store, &[]).await, 0);
    let mut found = Vec::new();
    for (n, reason) in GarbageReason::ALL.iter().enumerate() {
        found.push(Garbage {
            reason: *reason,
            state: GarbageState::ALL[n % 2],
            file_id: n
                .is_multiple_of(2)
                .then(|| FileId(stage.random.uuid_v7(stage.now()))),
            ..sample_garbage("files", &format!("{n}"), stage.now())
        });
    }
    assert_eq!(put(&store, &found[..2]).await, 2);
    let later = stage.pass(60);
    let mut again = found.clone();
    for garbage in &mut again[..2] {
        garbage.found_at = later;
        garbage.purge_at = later + SignedDuration::from_hours(7);
        "other".clone_into(&mut garbage.etag);
        garbage.state = GarbageState::Trashed;
    }
    assert_eq!(put(&store, &again).await, found.len() as u64 - 2);
    assert_eq!(put(&store, &again).await, 0);
    assert_eq!(list(&store, None, 100).await, found);
}

/// Bucket, then key, then upload; all, or those in a state.
pub async fn garbage_is_listed_by_path(store: Store) {
    let stage = stage(&store);
    let mut found = Vec::new();
    for bucket in ["files", "photos"] {
        for n in 0..6 {
            found.push(Garbage {
                state: GarbageState::ALL[n % 2],
                ..sample_garbage(bucket, &format!("key-{n}"), stage.now())
            });
        }
    }
    let mut shuffled = found.clone();
    shuffled.reverse();
    shuffled.swap(2, 7);
    assert_eq!(put(&store, &shuffled).await, 12);
    for limit in [1, 5, 12, 100] {
        assert_eq!(list(&store, None, limit).await, found, "by {limit}");
        for state in GarbageState::ALL {
            let wanted: Vec<_> = found.iter().filter(|g| g.state == *state).cloned().collect();
            assert_eq!(list(&store, Some(*state), limit).await, wanted, "{state:?}");
        }
    }
}

/// The order of paths is that of their bytes, whatever the language.
pub async fn odd_keys_keep_their_order(store: Store) {
    let stage = stage(&store);
    let keys = [
        "", "A", "a", "a/", "a/b", "a\u{0}", "a b", "ä", "ж", "Ω", "_x", "%", "\u{1a}",
    ];
    let mut found: Vec<Garbage> = keys
        .iter()
        .filter(|key| !key.is_empty())
        .map(|key| sample_garbage("files", key, stage.now()))
        .collect();
    assert_eq!(put(&store, &found).await, found.len() as u64);
    found.sort_by(|a, b| a.path.key.cmp(&b.path.key));
    for limit in [1, 100] {
        let mut listed = list(&store, None, limit).await;
        // What an engine writes with an escape (NUL) may stand a little elsewhere, but is met once.
        listed.sort_by(|a, b| a.path.key.cmp(&b.path.key));
        assert_eq!(listed, found, "by {limit}");
    }
    let plain = |garbage: &&Garbage| !garbage.path.key.contains(['\u{0}', '\u{1a}']);
    let listed = list(&store, None, 3).await;
    let listed: Vec<_> = listed.iter().filter(plain).collect();
    let wanted: Vec<_> = found.iter().filter(plain).collect();
    assert_eq!(listed, wanted);
}

/// What is in the trash and over its time.
pub async fn purgeable_garbage_comes_oldest_first(store: Store) {
    let stage = stage(&store);
    let start = stage.now();
    let at = |minutes| start + SignedDuration::from_mins(minutes);
    let mut found = Vec::new();
    for (n, minutes) in [7, 3, 5, 3, 1].into_iter().enumerate() {
        found.push(Garbage {
            purge_at: at(minutes),
            ..sample_garbage("files", &format!("key-{n}"), start)
        });
    }
    found.push(Garbage {
        state: GarbageState::Kept,
        purge_at: at(0),
        ..sample_garbage("files", "kept", start)
    });
    put(&store, &found).await;
    let purgeable = async |minutes, limit| -> Vec<String> {
        let found = store.purgeable_garbage(at(minutes), limit).await;
        let found = found.expect("purgeable_garbage");
        found.into_iter().map(|garbage| garbage.path.key).collect()
    };
    assert_eq!(purgeable(0, 10).await, [""; 0]);
    assert_eq!(purgeable(1, 10).await, ["key-4"]);
    assert_eq!(purgeable(5, 10).await, ["key-4", "key-1", "key-3", "key-2"]);
    assert_eq!(purgeable(60, 2).await, ["key-4", "key-1"]);
    let path = &found[4].path;
    store.forget_garbage(path, "").await.expect("forget_garbage");
    store.forget_garbage(path, "").await.expect("forgotten already");
    assert_eq!(purgeable(60, 10).await.len(), 4);
}

/// An administrator's word, both ways.
pub async fn garbage_is_kept_and_trashed_again(store: Store) {
    let stage = stage(&store);
    let found = sample_garbage("files", "key", stage.now());
    let mark = async |path: &ObjectPath, state, purge_at| {
        store
            .mark_garbage(path, "", state, purge_at)
            .await
            .expect("mark_garbage")
    };
    let far = stage.now() + SignedDuration::from_hours(100);
    assert!(!mark(&found.path, GarbageState::Kept, far).await, "not known");
    put(&store, std::slice::from_ref(&found)).await;
    assert!(mark(&found.path, GarbageState::Kept, found.purge_at).await);
    assert_eq!(store.purgeable_garbage(far, 10).await.expect("purgeable"), []);
    let kept = Garbage {
        state: GarbageState::Kept,
        ..found.clone()
    };
    assert_eq!(list(&store, Some(GarbageState::Kept), 10).await, [kept]);
    assert!(mark(&found.path, GarbageState::Trashed, far).await);
    let trashed = Garbage {
        purge_at: far,
        ..found
    };
    assert_eq!(
        store.purgeable_garbage(far, 10).await.expect("purgeable"),
        [trashed]
    );
}

/// One key may have any number of unfinished uploads, and an object.
pub async fn uploads_of_one_key_are_apart(store: Store) {
    let stage = stage(&store);
    let found = ["", "upload-1", "upload-2"].map(|upload_id| Garbage {
        upload_id: upload_id.to_owned(),
        reason: GarbageReason::Multipart,
        ..sample_garbage("files", "key", stage.now())
    });
    assert_eq!(put(&store, &found).await, 3);
    assert_eq!(list(&store, None, 1).await, found);
    let path = &found[0].path;
    let kept = GarbageState::Kept;
    let marked = store.mark_garbage(path, "upload-1", kept, stage.now()).await;
    assert!(marked.expect("mark_garbage"));
    store.forget_garbage(path, "").await.expect("forget_garbage");
    let left = list(&store, None, 10).await;
    let left: Vec<_> = left.iter().map(|g| (g.upload_id.as_str(), g.state)).collect();
    assert_eq!(left, [("upload-1", kept), ("upload-2", GarbageState::Trashed)]);
}

/// Two scans find the same, in different orders.
pub async fn concurrent_scans_count_each_once(store: Store) {
    let stage = stage(&store);
    let found: Vec<Garbage> = (0..60)
        .map(|n| sample_garbage("files", &format!("key-{n:02}"), stage.now()))
        .collect();
    let runs = (0..6).map(|n| {
        let (store, mut found) = (Arc::clone(&store), found.clone());
        found.rotate_left(n * 7);
        if n % 2 == 1 {
            found.reverse();
        }
        tokio::spawn(async move { put(&store, &found).await })
    });
    let counts = join_all(runs.collect::<Vec<_>>()).await;
    let new: u64 = counts.into_iter().map(|count| count.expect("no panic")).sum();
    assert_eq!(new, 60);
    assert_eq!(list(&store, None, 1000).await, found);
}
