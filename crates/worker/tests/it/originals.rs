//! Thumbnails of originals stand in a directory of their own (S4), and all that goes with a file goes with them too:
//! rebuild, verification, the search for garbage, purge.

use cloakroom_core::collection::Collection;
use cloakroom_core::derivative::DerivativeOutcome;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::key::{KeyTemplate, sidecar_key};
use cloakroom_core::operation::OperationKind;
use cloakroom_core::ports::clock::Clock;
use cloakroom_testkit::clock::WallClock;
use jiff::SignedDuration;
use serde_json::json;

use crate::app::{Stores, ann};
use crate::rebuild::scene::{ready, start};

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Stores whose files are originals.
pub async fn stores_of_originals() -> Stores {
    let mut stores = Stores::new().await;
    stores.collections.push(originals(&stores));
    stores
}

/// The collection of every test's files, with another layout.
pub fn originals(stores: &Stores) -> Collection {
    Collection {
        processors: vec!["thumbnails".to_owned()],
        key_template: KeyTemplate::parse("complaints/{record_id}/originals/{file_id}.{ext}")
            .expect("a template"),
        ..Collection::new("files", &stores.bucket)
    }
}

async fn thumbnail(stores: &Stores, file: &File) -> String {
    let made = stores.metadata.derivatives(file.id).await.expect("derivatives");
    match &made[0].outcome {
        DerivativeOutcome::Made { key, .. } => key.clone(),
        DerivativeOutcome::Failed { error } => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_thumbnail_goes_where_its_original_goes() {
    let stores = stores_of_originals().await;
    // Objects have the age that the file system or the server says.
    stores.clock.set(WallClock.now());
    let process = start(&stores);
    let id = ready(&process, "a.bin", Some("complaint/42")).await;
    let file = stores.file(id).await;
    let small = thumbnail(&stores, &file).await;
    assert_eq!(file.key, format!("complaints/42/originals/{id}.bin"));
    let begin = format!("complaints/42/thumbnails/{id}.bin.{}.thumbnail-256-", file.epoch);
    assert!(small.starts_with(&begin), "{small}");
    let sidecar = sidecar_key(&file.key, file.epoch);
    let expected = [file.key.clone(), sidecar.clone(), small.clone()];
    assert_eq!(stores.keys().await, expected);

    // Nothing is amiss, and nothing is garbage but what no row names.
    for (kind, options) in [
        (OperationKind::Verify, json!({"deep": true})),
        (OperationKind::Orphans, json!({})),
    ] {
        stores.clock.advance(DAY);
        let report = process.operate(kind, options).await;
        assert!(report.findings.is_empty(), "{:?}", report.lines());
    }
    let stray = format!("complaints/42/thumbnails/{id}.bin.1.other.webp");
    stores.send_to(&stray, b"left by a dead worker").await;
    let strangers = [
        format!("complaints/42/thumbnails/{id}.bin"),
        format!("complaints/42/thumbnails/{id}.bin.1.attr.json"),
    ];
    for stranger in &strangers {
        stores.send_to(stranger, b"not ours").await;
    }
    stores.clock.advance(DAY);
    let report = process
        .operate(OperationKind::Orphans, json!({"trash": true}))
        .await;
    let lines: Vec<_> = report
        .lines()
        .into_iter()
        .map(|(kind, key, _)| (kind, key))
        .collect();
    assert_eq!(
        lines,
        [
            ("foreign", strangers[0].as_str()),
            ("foreign", &strangers[1]),
            ("unlisted_derivative", &stray)
        ]
    );

    // Without its thumbnail the file is not whole; without its row it is told by its sidecar.
    let path = cloakroom_core::ports::objects::ObjectPath::new(&stores.bucket, &small);
    let bytes = stores.bytes(&small).await;
    stores.objects.delete(&path).await.expect("deleted");
    let report = process.operate(OperationKind::Verify, json!({})).await;
    assert!(
        report
            .lines()
            .iter()
            .any(|(kind, key, _)| (*kind, *key) == ("derivative_missing", &small)),
        "{:?}",
        report.lines()
    );
    stores.send_to(&small, &bytes).await;
    let fresh = stores.with_fresh_database().await;
    stores.clock.advance(DAY);
    let report = start(&fresh).operate(OperationKind::Orphans, json!({})).await;
    let lines = report.lines();
    assert!(
        lines
            .iter()
            .any(|(kind, key, _)| (*kind, *key) == ("row_missing", &small)),
        "{lines:?}"
    );

    assert_goes_for_good(&stores, id, &[&file.key, &sidecar, &small], &strangers).await;
}

/// Deleted, it goes for good, and what is not of it stays.
async fn assert_goes_for_good(stores: &Stores, id: FileId, keys: &[&String; 3], strangers: &[String]) {
    let process = start(stores);
    process.app.delete_file(&ann(), id).await.expect("deleted");
    stores.clock.advance(DAY * 8);
    process.recover().await;
    assert_eq!(stores.metadata.file(id).await.expect("an answer"), None);
    let left = stores.keys().await;
    for gone in keys {
        assert!(!left.contains(*gone), "{left:?}");
    }
    for stranger in strangers {
        assert!(left.contains(stranger), "{left:?}");
    }
    // A late worker's is garbage, whatever became of the tombstone.
    let small = keys[2];
    stores.send_to(small, b"late").await;
    stores.clock.advance(DAY);
    process.run_operations().await;
    let report = process.operate(OperationKind::Orphans, json!({})).await;
    assert!(
        report
            .lines()
            .iter()
            .any(|(kind, key, _)| (*kind, *key) == ("left_object", small.as_str())),
        "{:?}",
        report.lines()
    );
}

#[tokio::test]
async fn a_trash_that_keeps_nothing_is_empty_at_once() {
    let mut stores = stores_of_originals().await;
    let eager = Collection {
        trash_seconds: 0,
        ..originals(&stores)
    };
    stores.collections.push(eager);
    let process = start(&stores);
    let id = ready(&process, "a.bin", Some("complaint/42")).await;
    process.app.delete_file(&ann(), id).await.expect("deleted");
    assert_eq!(stores.file(id).await.state, FileState::Purging);
    process.work().await;
    assert_eq!(stores.metadata.file(id).await.expect("an answer"), None);
    let left = stores.keys().await;
    assert!(
        left.iter().all(|key| key.ends_with(".tomb.attr.json")),
        "{left:?}"
    );
}
