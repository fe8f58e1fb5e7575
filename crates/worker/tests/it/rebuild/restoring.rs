//! The same answers before and after; again and again; into a database that is in use.

use std::sync::Arc;

use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{FilePatch, FileState};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::id::FileId;
use cloakroom_core::intent::IntentKind;
use cloakroom_core::ports::metadata::FileQuery;
use cloakroom_service::uploads::SignUpload;
use cloakroom_testkit::outages::OutageObjects;
use jiff::SignedDuration;

use super::scene::{Scene, Snapshot, confirmed, count, ready, rebuild, start};
use crate::app::{Stores, ann, object};

#[tokio::test]
async fn a_lost_database_comes_back_field_by_field() {
    let scene = Scene::new().await;
    let before = scene.snapshot(&scene.stores).await;
    let keys = scene.stores.keys().await;
    let fresh = scene.stores.with_fresh_database().await;
    let process = start(&fresh);
    let report = rebuild(&process).await;
    scene.snapshot(&fresh).await.assert_is(&before, "rebuilt");
    assert_eq!(
        count(&report, "adopted"),
        scene.kept.len() as u64,
        "{:?}",
        report.operation.counts
    );
    assert_eq!(count(&report, "records_restored"), 2);
    for id in &scene.gone {
        assert_eq!(fresh.metadata.file(*id).await.expect("an answer"), None);
    }
    assert_eq!(fresh.keys().await, keys, "no object was touched");
    let foreign: Vec<_> = report
        .lines()
        .into_iter()
        .map(|(kind, key, _)| (kind, key))
        .collect();
    assert_eq!(foreign, [("invalid_attribute_file", "foreign/x.1.attr.json")]);
    let setting = fresh
        .metadata
        .setting("last_cache_rebuild")
        .await
        .expect("an answer");
    assert_eq!(setting.expect("a setting")["adopted"], scene.kept.len());

    // Found again by its words, and by the key that it was signed with.
    let found = FileQuery {
        words: cloakroom_core::search::words("after"),
        limit: 10,
        ..FileQuery::default()
    };
    assert_eq!(fresh.metadata.files(&found).await.expect("files").items.len(), 1);
    let request = SignUpload {
        collection: "files".to_owned(),
        filename: "plain.bin".to_owned(),
        description: Some("about plain.bin".to_owned()),
        metadata: object(serde_json::json!({"name": "plain.bin"})),
        size_bytes: Some("the bytes of plain.bin".len() as u64),
        idempotency_key: Some("key of plain.bin".to_owned()),
        ..SignUpload::default()
    };
    let again = process
        .app
        .sign_upload(&ann(), request.clone())
        .await
        .expect("answered");
    assert_eq!(
        (again.file.id, again.file.state),
        (scene.kept[0], FileState::Ready)
    );
    let other = SignUpload {
        filename: "other.bin".to_owned(),
        ..request
    };
    let refused = process.app.sign_upload(&ann(), other).await.expect_err("refused");
    assert_eq!(refused.code(), ErrorCode::IdempotencyKeyReused);

    // What was confirmed goes its way; what was trashed can be restored or goes at its time.
    process.work().await;
    let waiting = fresh.file(scene.kept[scene.kept.len() - 2]).await;
    assert_eq!(
        (waiting.filename.as_str(), waiting.state),
        ("waiting.bin", FileState::Ready)
    );
    fresh.clock.advance(SignedDuration::from_hours(24 * 8));
    process.recover().await;
    let left = fresh.keys().await;
    assert!(
        !left
            .iter()
            .any(|key| key.contains("trashed.bin") && !key.ends_with(".tomb.attr.json")),
        "{left:?}"
    );
    fresh.clock.advance(SignedDuration::from_hours(25));
    process.recover().await;
    fresh.assert_quiet().await;
}

#[tokio::test]
async fn a_second_rebuild_changes_nothing_and_reads_nothing() {
    let scene = Scene::new().await;
    let before = scene.snapshot(&scene.stores).await;
    let closed = OutageObjects::new(Arc::clone(&scene.stores.objects));
    let report = rebuild(&start(&scene.stores)).await;
    assert_eq!(
        count(&report, "adopted") + count(&report, "updated"),
        0,
        "{:?}",
        report.operation.counts
    );
    let unchanged = count(&report, "unchanged");
    assert_eq!(
        unchanged,
        scene.kept.len() as u64 - 2,
        "{:?}",
        report.operation.counts
    );
    scene.snapshot(&scene.stores).await.assert_is(&before, "in place");
    // A store whose documents cannot be read would make the operation wait: nothing of this instance is read.
    scene
        .stores
        .objects
        .delete(&cloakroom_core::ports::objects::ObjectPath::new(
            &scene.stores.bucket,
            "foreign/x.1.attr.json",
        ))
        .await
        .expect("deleted");
    let listing_alone = scene.stores.start_with(
        Arc::clone(&scene.stores.metadata),
        Arc::clone(&scene.stores.administration),
        Arc::new(super::damage::ListingAlone(closed)),
        vec![],
    );
    let report = rebuild(&listing_alone).await;
    assert_eq!(
        count(&report, "unchanged"),
        unchanged,
        "{:?}",
        report.operation.counts
    );
}

#[tokio::test]
async fn an_older_database_is_brought_up_to_date() {
    let stores = Stores::new().await;
    let process = start(&stores);
    // What the database knew when it was saved.
    let old = stores.with_fresh_database().await;
    let id = ready(&process, "a.bin", None).await;
    rebuild(&start(&old)).await;
    assert_eq!(old.file(id).await, normal(stores.file(id).await));
    // And what happened since.
    let patch = FilePatch {
        filename: Some("b.bin".to_owned()),
        ..FilePatch::default()
    };
    process
        .app
        .update_file(&ann(), id, patch, None)
        .await
        .expect("updated");
    process.app.delete_file(&ann(), id).await.expect("deleted");
    let later = ready(&process, "later.bin", None).await;
    let report = rebuild(&start(&old)).await;
    assert_eq!((count(&report, "updated"), count(&report, "adopted")), (1, 1));
    // The old database has an event of its own for that version, so the row goes beyond it.
    let mut expected = normal(stores.file(id).await);
    expected.version = old.file(id).await.version;
    assert!(expected.version >= stores.file(id).await.version);
    assert_eq!(old.file(id).await, expected);
    assert_eq!(old.file(later).await, normal(stores.file(later).await));
    let snapshot = Snapshot::of(&stores, &[]).await;
    Snapshot::of(&old, &[]).await.assert_is(&snapshot, "usage");
}

fn normal(mut file: cloakroom_core::file::File) -> cloakroom_core::file::File {
    if let Some(staged) = &mut file.staged {
        staged.generation.clone_from(&staged.etag);
    }
    file
}

/// Files are changed, deleted, restored and confirmed while rebuilds run beside, again and again.
#[tokio::test]
async fn a_rebuild_beside_changes_loses_none_of_them() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(ready(&process, &format!("{number}.bin"), Some("message/1")).await);
    }
    let changes = async {
        let mut last: Vec<(FileId, String, bool)> = Vec::new();
        for round in 0..6 {
            for (number, id) in ids.iter().enumerate() {
                let name = format!("{number}-{round}.bin");
                let patch = FilePatch {
                    filename: Some(name.clone()),
                    ..FilePatch::default()
                };
                process
                    .app
                    .update_file(&ann(), *id, patch, None)
                    .await
                    .expect("updated");
                process.app.delete_file(&ann(), *id).await.expect("deleted");
                if (number + round) % 2 == 0 || round < 5 {
                    process.app.restore_file(&ann(), *id).await.expect("restored");
                }
                last.retain(|(known, ..)| known != id);
                last.push((*id, name, (number + round) % 2 == 0 || round < 5));
            }
            confirmed(&process, &format!("more-{round}.bin"), None, &ann()).await;
            process.work().await;
        }
        last
    };
    let beside = start(&stores);
    let rebuilds = async {
        for _ in 0..8 {
            rebuild(&beside).await;
        }
    };
    let (last, ()) = tokio::join!(changes, rebuilds);
    process.recover().await;
    for (id, name, ready) in last {
        let file = stores.file(id).await;
        assert_eq!(file.filename, name);
        assert_eq!(file.state == FileState::Ready, ready, "{name}");
        let newest = cloakroom_core::key::sidecar_key(&file.key, file.epoch);
        let sidecar = SidecarV1::decode(&stores.bytes(&newest).await).expect("a sidecar");
        assert_eq!(
            (sidecar.filename.as_str(), sidecar.version),
            (name.as_str(), Some(file.version))
        );
        stores.assert_history(id).await;
    }
    stores.assert_quiet().await;
    assert!(
        stores
            .administration
            .check_usage(false)
            .await
            .expect("usage")
            .is_empty()
    );
}

#[tokio::test]
async fn the_log_brackets_a_rebuild() {
    let scene = Scene::new().await;
    let fresh = scene.stores.with_fresh_database().await;
    rebuild(&start(&fresh)).await;
    let far = jiff::Timestamp::MAX;
    let open = fresh.metadata.stale_intents(far, 100).await.expect("intents");
    assert!(
        !open.iter().any(|intent| intent.kind == IntentKind::CacheRebuild),
        "{open:?}"
    );
}
