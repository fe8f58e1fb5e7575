//! What is on legal hold is removed by nobody, at no moment.

use cloakroom_core::access::Role;
use cloakroom_core::collection::{Collection, Retention};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{FilePatch, FileState};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::key::sidecar_key;
use cloakroom_core::operation::OperationKind;
use jiff::SignedDuration;
use serde_json::json;

use crate::app::{Process, Stores, ann, person};
use crate::interruptions::{POINTS_MAX, interrupted, run_doomed};

const CONTENT: &[u8] = b"the bytes of a bank";
const DAY: SignedDuration = SignedDuration::from_hours(24);

fn olga() -> cloakroom_core::access::Principal {
    person("olga", Role::Operator)
}

async fn hold(process: &Process, id: cloakroom_core::id::FileId) {
    process
        .app
        .hold_file(&olga(), id, "Case 118.")
        .await
        .expect("held");
}

#[tokio::test]
async fn what_is_held_is_not_deleted() {
    let stores = Stores::new().await;
    let process = stores.start();
    let id = process.upload(CONTENT).await;
    process.work().await;
    let refused = process.app.hold_file(&ann(), id, "mine").await;
    assert_eq!(
        refused.expect_err("refused").code(),
        ErrorCode::InsufficientPermissions
    );
    let empty = process.app.hold_file(&olga(), id, " ").await;
    assert_eq!(empty.expect_err("refused").code(), ErrorCode::InvalidRequest);

    let held = process
        .app
        .hold_file(&olga(), id, "Case 118.")
        .await
        .expect("held");
    let again = process
        .app
        .hold_file(&olga(), id, "Case 118.")
        .await
        .expect("held");
    assert_eq!(again.version, held.version, "once is enough");
    let sidecar = stores.bytes(&sidecar_key(&held.key, held.epoch)).await;
    let sidecar = SidecarV1::decode(&sidecar).expect("a sidecar");
    assert_eq!(sidecar.hold.map(|hold| hold.reason).as_deref(), Some("Case 118."));

    let refused = process.app.delete_file(&ann(), id).await;
    assert_eq!(refused.expect_err("refused").code(), ErrorCode::LegalHold);
    let renamed = FilePatch {
        filename: Some("b.bin".to_owned()),
        ..FilePatch::default()
    };
    let updated = process
        .app
        .update_file(&ann(), id, renamed, None)
        .await
        .expect("updated");
    assert!(updated.hold.is_some(), "metadata may change");

    stores.clock.advance(SignedDuration::from_secs(1));
    process
        .app
        .release_file(&olga(), id, "settled")
        .await
        .expect("released");
    process.app.delete_file(&ann(), id).await.expect("deleted");
    let kinds: Vec<EventKind> = stores
        .metadata
        .timeline(id, None, 100)
        .await
        .expect("events")
        .items
        .iter()
        .map(|event| event.kind)
        .collect();
    assert!(kinds.contains(&EventKind::Held) && kinds.contains(&EventKind::Released));
    let audit = stores
        .administration
        .audit(None, 10)
        .await
        .expect("the log")
        .items;
    let actions: Vec<_> = audit
        .iter()
        .map(|entry| (entry.actor.as_str(), entry.action.as_str()))
        .collect();
    assert_eq!(actions, [("olga", "file.released"), ("olga", "file.held")]);
    stores.assert_history(id).await;
}

#[tokio::test]
async fn what_is_held_in_the_trash_stays_there() {
    let stores = Stores::new().await;
    let process = stores.start();
    let id = process.upload(CONTENT).await;
    process.work().await;
    process.app.delete_file(&ann(), id).await.expect("deleted");
    hold(&process, id).await;
    stores.clock.advance(DAY * 30);
    process.recover().await;
    assert_eq!(stores.file(id).await.state, FileState::Trashed);
    let report = process.operate(OperationKind::Purge, json!({})).await;
    let key = stores.file(id).await.key;
    assert_eq!(report.lines(), [("legal_hold", key.as_str(), "kept")]);
    assert_eq!(stores.bytes(&key).await, CONTENT);
    process.app.release_file(&olga(), id, "").await.expect("released");
    process.recover().await;
    assert_eq!(stores.metadata.file(id).await.expect("an answer"), None);
}

#[tokio::test]
async fn what_is_held_does_not_expire() {
    let mut stores = Stores::new().await;
    let retention = Retention {
        expire_seconds: Some(24 * 60 * 60),
        ..Retention::default()
    };
    stores.collections.push(Collection {
        retention,
        ..Collection::new("short", &stores.bucket)
    });
    let process = stores.start();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let signed = process.sign_in("short", CONTENT).await;
        process.send(&signed, CONTENT).await;
        ids.push(process.confirm(signed.file.id).await.id);
    }
    process.work().await;
    hold(&process, ids[0]).await;
    stores.clock.advance(DAY * 2);
    process.recover().await;
    assert_eq!(stores.file(ids[0]).await.state, FileState::Ready);
    assert_eq!(stores.file(ids[1]).await.state, FileState::Trashed);
    process
        .app
        .release_file(&olga(), ids[0], "")
        .await
        .expect("released");
    process.recover().await;
    assert_eq!(
        stores.file(ids[0]).await.state,
        FileState::Trashed,
        "it was overdue"
    );
}

#[tokio::test]
async fn the_bytes_of_a_held_file_outlive_its_failure() {
    let stores = Stores::new().await;
    let process = stores.start();
    let request = cloakroom_service::uploads::SignUpload {
        collection: "files".to_owned(),
        filename: "a.png".to_owned(),
        content_type: Some(cloakroom_core::media::MediaType::parse("image/png").expect("a type")),
        size_bytes: Some(CONTENT.len() as u64),
        ..Default::default()
    };
    let signed = process.app.sign_upload(&ann(), request).await.expect("signed");
    let path = cloakroom_core::ports::objects::ObjectPath::new(&stores.bucket, &signed.upload.staging_key);
    let options = cloakroom_core::ports::objects::PutOptions {
        attributes: cloakroom_core::ports::objects::ObjectAttributes {
            content_type: Some("image/png".to_owned()),
            ..Default::default()
        },
        ..Default::default()
    };
    let body = cloakroom_core::ports::objects::PutBody::from_bytes(b"%PDF-1.7 no picture".to_vec());
    stores.objects.put(&path, options, body).await.expect("stored");
    let id = signed.file.id;
    process.confirm(id).await;
    hold(&process, id).await;
    process.work().await;
    assert_eq!(stores.file(id).await.state, FileState::Failed);
    process.recover().await;
    assert!(stores.keys().await.contains(&path.key), "kept while it is held");
    process.app.release_file(&olga(), id, "").await.expect("released");
    process.recover().await;
    assert!(!stores.keys().await.contains(&path.key));
}

#[tokio::test]
async fn a_hold_that_dies_anywhere_is_whole_or_not_at_all() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        let id = healthy.upload(CONTENT).await;
        healthy.work().await;
        let ended = run_doomed(&stores, point, async |process| hold(process, id).await).await;
        healthy.recover().await;
        let file = stores.file(id).await;
        let sidecar = stores.bytes(&sidecar_key(&file.key, file.epoch)).await;
        let sidecar = SidecarV1::decode(&sidecar).expect("a sidecar");
        assert_eq!(
            sidecar.hold.is_some(),
            file.hold.is_some(),
            "died at {point}: sidecar and row agree"
        );
        assert!(file.hold.is_some() || !ended);
        stores.assert_history(id).await;
        stores.assert_quiet().await;
        if ended {
            assert!(point > 4);
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn a_deletion_that_stood_still_does_not_pass_a_hold() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        let id = healthy.upload(CONTENT).await;
        healthy.work().await;
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                // Refused or done: both are answers.
                let _ = process.app.delete_file(&ann(), id).await;
                process.app.sweep_trash().await.expect("swept");
                process.work().await;
            },
            async || {
                let held = healthy.app.hold_file(&olga(), id, "Case 118.").await;
                assert!(held.is_ok() || held.is_err_and(|error| error.code() == ErrorCode::Conflict));
            },
        )
        .await;
        healthy.recover().await;
        for _ in 0..2 {
            stores.clock.advance(DAY * 30);
            healthy.recover().await;
        }
        let file = stores.metadata.file(id).await.expect("an answer");
        if let Some(file) = file {
            assert!(file.hold.is_some(), "stood still at {point}");
            assert_eq!(stores.bytes(&file.key).await, CONTENT, "stood still at {point}");
        }
        stores.assert_quiet().await;
        if !paused {
            return;
        }
    }
    panic!("the scenario never ended");
}
