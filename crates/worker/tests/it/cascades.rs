//! I5, I11: deleting a record, or an owner, takes everything along, wherever whoever does it dies.

use cloakroom_core::JsonObject;
use cloakroom_core::access::Role;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{FilePatch, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::operation::{OperationKind, OperationState};
use cloakroom_core::record::RecordKey;
use cloakroom_service::cascading::Deletion;
use cloakroom_service::records::PutRecord;
use cloakroom_service::uploads::{ConfirmUpload, SignUpload};
use jiff::SignedDuration;
use serde_json::json;

use crate::app::{Process, Stores, ann, object, person};
use crate::interruptions::{POINTS_MAX, interrupted, points, run_doomed};

const CONTENT: &[u8] = b"the bytes of a bank";
const NOW: Deletion = Deletion { purge_now: true };

fn key(text: &str) -> RecordKey {
    RecordKey::parse(text).expect("a key")
}

async fn record(process: &Process, text: &str, parent: Option<&str>) {
    let put = PutRecord {
        parent: Some(parent.map(key)),
        payload: Some(object(json!({"of": text}))),
        ..PutRecord::default()
    };
    process
        .app
        .put_record(&ann(), &key(text), put)
        .await
        .expect("put");
}

async fn link(process: &Process, id: FileId, text: &str) {
    let patch = FilePatch {
        record: Some(Some(key(text))),
        ..FilePatch::default()
    };
    process
        .app
        .update_file(&ann(), id, patch, None)
        .await
        .expect("linked");
}

/// `session/1` with `artifact/1` below it; a file on each, an open upload and one in the trash.
struct Family {
    ready: [FileId; 2],
    trashed: FileId,
    open: FileId,
}

async fn family(stores: &Stores) -> Family {
    let process = stores.start();
    record(&process, "session/1", None).await;
    record(&process, "artifact/1", Some("session/1")).await;
    let ready = [process.upload(CONTENT).await, process.upload(CONTENT).await];
    let trashed = process.upload(CONTENT).await;
    process.work().await;
    let open = process.sign(CONTENT).await;
    process.send(&open, CONTENT).await;
    link(&process, ready[0], "session/1").await;
    link(&process, ready[1], "artifact/1").await;
    link(&process, trashed, "artifact/1").await;
    link(&process, open.file.id, "artifact/1").await;
    process.app.delete_file(&ann(), trashed).await.expect("deleted");
    Family {
        ready,
        trashed,
        open: open.file.id,
    }
}

async fn assert_no_records(stores: &Stores, point: usize) {
    for gone in ["session/1", "artifact/1"] {
        let record = stores.metadata.record(&key(gone)).await.expect("an answer");
        assert_eq!(record, None, "at {point}");
    }
}

/// Nothing is left of anything, once deadlines are over.
async fn assert_nothing_left(stores: &Stores, point: usize) {
    let process = stores.start();
    for _ in 0..2 {
        stores.clock.advance(SignedDuration::from_hours(25));
        process.recover().await;
    }
    let keys = stores.keys().await;
    let files: Vec<_> = keys
        .iter()
        .filter(|key| !key.starts_with("_cloakroom/"))
        .collect();
    assert!(files.is_empty(), "at {point}: {files:?}");
    let usage = stores.metadata.usage("ann").await.expect("usage");
    assert_eq!(
        (usage.files, usage.stored_bytes, usage.reserved_bytes),
        (0, 0, 0),
        "at {point}"
    );
    stores.assert_quiet().await;
}

#[tokio::test]
async fn a_record_takes_its_files_along() {
    let stores = Stores::new().await;
    let process = stores.start();
    let family = family(&stores).await;
    process
        .app
        .delete_record(&ann(), &key("session/1"), Deletion::default())
        .await
        .expect("deleted");
    assert_no_records(&stores, 0).await;
    for id in family.ready {
        assert_eq!(stores.file(id).await.state, FileState::Trashed);
    }
    assert_eq!(stores.file(family.trashed).await.state, FileState::Trashed);
    assert_eq!(stores.file(family.open).await.state, FileState::Reaping);
    let restored = process
        .app
        .restore_file(&ann(), family.ready[0])
        .await
        .expect("restored");
    assert_eq!(restored.state, FileState::Ready, "until its deadline");
    process
        .app
        .delete_file(&ann(), restored.id)
        .await
        .expect("deleted");
    stores.clock.advance(SignedDuration::from_hours(24 * 8));
    process.recover().await;
    assert_nothing_left(&stores, 0).await;
}

async fn put_as(process: &Process, who: &str, text: &str) {
    let who = person(who, Role::User);
    process
        .app
        .put_record(&who, &key(text), PutRecord::default())
        .await
        .expect("put");
}

/// Ann's file is in the trash with its record gone, and Bob has made one of that name.
async fn overtaken(stores: &Stores) -> (Process, FileId) {
    let process = stores.start();
    let id = process.upload(CONTENT).await;
    process.work().await;
    record(&process, "message/1", None).await;
    link(&process, id, "message/1").await;
    process
        .app
        .delete_record(&ann(), &key("message/1"), Deletion::default())
        .await
        .expect("deleted");
    stores.clock.advance(SignedDuration::from_secs(1));
    put_as(&process, "bob", "message/1").await;
    (process, id)
}

/// Names of records are the application's, and come again; nobody's deletion reaches somebody else's file by that.
#[tokio::test]
async fn a_restored_file_does_not_hang_on_a_strangers_record() {
    let stores = Stores::new().await;
    let (process, id) = overtaken(&stores).await;
    let restored = process.app.restore_file(&ann(), id).await.expect("restored");
    assert_eq!((restored.state, restored.record), (FileState::Ready, None));
    for (who, deletion) in [("bob", Deletion::default()), ("ada", NOW)] {
        let role = if who == "ada" { Role::Admin } else { Role::User };
        put_as(&process, "bob", "message/1").await;
        process
            .app
            .delete_record(&person(who, role), &key("message/1"), deletion)
            .await
            .expect("deleted");
        assert_eq!(stores.file(id).await.state, FileState::Ready, "{who}");
    }
    stores.assert_quiet().await;
}

#[tokio::test]
async fn what_is_in_the_trash_goes_with_its_own_record_alone() {
    let stores = Stores::new().await;
    let (process, id) = overtaken(&stores).await;
    // A hold on it does not hold up a stranger either.
    let ada = person("ada", Role::Admin);
    process.app.hold_file(&ada, id, "court").await.expect("held");
    process
        .app
        .delete_record(&ada, &key("message/1"), NOW)
        .await
        .expect("deleted");
    assert_eq!(stores.file(id).await.state, FileState::Trashed);
    process
        .app
        .release_file(&ada, id, "over")
        .await
        .expect("released");
    // The name is free again: it is made anew for who restores.
    let restored = process.app.restore_file(&ann(), id).await.expect("restored");
    assert_eq!(restored.record, Some(key("message/1")));
    let made = stores
        .metadata
        .record(&key("message/1"))
        .await
        .expect("an answer");
    assert_eq!(made.map(|record| record.owner).as_deref(), Some("ann"));
    stores.assert_quiet().await;
}

/// What the stores say of both is true: the one's file was linked, and the other's record has its name.
#[tokio::test]
async fn a_rebuild_gives_each_his_own() {
    let stores = Stores::new().await;
    let (_, id) = overtaken(&stores).await;
    let lost = stores.with_fresh_database().await;
    let process = lost.start();
    let report = process.operate(OperationKind::Rebuild, json!({})).await;
    assert_eq!(report.operation.state, OperationState::Done);
    assert_eq!(lost.file(id).await.state, FileState::Trashed);
    let record = lost.metadata.record(&key("message/1")).await.expect("an answer");
    assert_eq!(record.map(|record| record.owner).as_deref(), Some("bob"));
    let restored = process.app.restore_file(&ann(), id).await.expect("restored");
    assert_eq!((restored.state, restored.record), (FileState::Ready, None));
}

/// Whoever finishes the deletion of a dead process leaves a record alone that was made after it.
#[tokio::test]
async fn a_cascade_that_died_takes_no_later_record() {
    let mut later = 0;
    for point in points() {
        let stores = Stores::new().await;
        let process = stores.start();
        let id = process.upload(CONTENT).await;
        process.work().await;
        record(&process, "message/1", None).await;
        link(&process, id, "message/1").await;
        let ended = run_doomed(&stores, point, async |process| {
            let deletion = Deletion::default();
            let deleted = process
                .app
                .delete_record(&ann(), &key("message/1"), deletion)
                .await;
            assert!(deleted.is_ok());
        })
        .await;
        stores.clock.advance(SignedDuration::from_secs(1));
        let gone = stores
            .metadata
            .record(&key("message/1"))
            .await
            .expect("an answer");
        if gone.is_none() {
            let process = stores.start();
            put_as(&process, "bob", "message/1").await;
            process.recover().await;
            let kept = stores
                .metadata
                .record(&key("message/1"))
                .await
                .expect("an answer");
            assert!(
                kept.is_some_and(|record| record.owner == "bob"),
                "died at {point}"
            );
            later += u32::from(!ended);
        }
        if ended {
            assert!(
                later > 0,
                "some died between the record and the end of the intent"
            );
            return;
        }
    }
    panic!("it never ended by itself");
}

#[tokio::test]
async fn only_administrators_skip_the_trash() {
    let stores = Stores::new().await;
    let process = stores.start();
    let family = family(&stores).await;
    let refused = process.app.delete_record(&ann(), &key("session/1"), NOW).await;
    assert_eq!(
        refused.expect_err("refused").code(),
        ErrorCode::InsufficientPermissions
    );
    let ada = person("ada", Role::Admin);
    process
        .app
        .delete_record(&ada, &key("session/1"), NOW)
        .await
        .expect("deleted");
    process.work().await;
    for id in [family.ready[0], family.ready[1], family.trashed] {
        assert_eq!(stores.metadata.file(id).await.expect("an answer"), None);
    }
    assert_nothing_left(&stores, 0).await;
}

#[tokio::test]
async fn a_cascade_that_dies_anywhere_is_finished() {
    for point in points() {
        let stores = Stores::new().await;
        let family = family(&stores).await;
        let began = async || {
            let record = stores
                .metadata
                .record(&key("session/1"))
                .await
                .expect("an answer");
            let intents = stores
                .metadata
                .stale_intents(jiff::Timestamp::MAX, 10)
                .await
                .expect("intents");
            record.is_none() || !intents.is_empty()
        };
        let ended = run_doomed(&stores, point, async |process| {
            let ada = person("ada", Role::Admin);
            let deleted = process.app.delete_record(&ada, &key("session/1"), NOW).await;
            assert!(deleted.is_ok());
        })
        .await;
        let began = began().await;
        stores.start().recover().await;
        if began {
            assert_no_records(&stores, point).await;
            assert_nothing_left(&stores, point).await;
        } else {
            for id in family.ready {
                assert_eq!(stores.file(id).await.state, FileState::Ready, "died at {point}");
            }
        }
        if ended {
            assert!(point > 20 && began);
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn a_file_that_is_linked_meanwhile_goes_too_or_not_at_all() {
    for point in (0..POINTS_MAX).step_by(3) {
        let stores = Stores::new().await;
        family(&stores).await;
        let healthy = stores.start();
        let late = healthy.upload(CONTENT).await;
        healthy.work().await;
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                let ada = person("ada", Role::Admin);
                process
                    .app
                    .delete_record(&ada, &key("session/1"), Deletion::default())
                    .await
                    .expect("deleted");
            },
            async || link(&healthy, late, "artifact/1").await,
        )
        .await;
        healthy.recover().await;
        let file = stores.file(late).await;
        let record = stores
            .metadata
            .record(&key("artifact/1"))
            .await
            .expect("an answer");
        match file.state {
            // Linking makes the record anew when it came after its deletion.
            FileState::Ready if paused => assert!(record.is_some(), "stood still at {point}"),
            FileState::Ready => assert_eq!(file.record, None),
            state => assert_eq!(
                (state, record),
                (FileState::Trashed, None),
                "stood still at {point}"
            ),
        }
        stores.assert_quiet().await;
        if !paused {
            return;
        }
    }
    panic!("the scenario never ended");
}

#[tokio::test]
async fn a_held_file_keeps_its_record() {
    let stores = Stores::new().await;
    let process = stores.start();
    let family = family(&stores).await;
    let olga = person("olga", Role::Operator);
    process
        .app
        .hold_file(&olga, family.ready[1], "Case 118.")
        .await
        .expect("held");
    let refused = process
        .app
        .delete_record(&ann(), &key("session/1"), Deletion::default())
        .await;
    let refusal = match refused.expect_err("refused") {
        cloakroom_service::ServiceError::Refused(refusal) => refusal,
        other => panic!("{other}"),
    };
    assert_eq!(refusal.code, ErrorCode::LegalHold);
    assert_eq!(
        refusal.details["file_id"],
        family.ready[1].to_string(),
        "it says which"
    );
    assert_eq!(
        stores.file(family.ready[0]).await.state,
        FileState::Ready,
        "before anything"
    );
    process
        .app
        .release_file(&olga, family.ready[1], "over")
        .await
        .expect("released");
    process
        .app
        .delete_record(&ann(), &key("session/1"), Deletion::default())
        .await
        .expect("deleted");
    assert_no_records(&stores, 0).await;
}

async fn owners_family(stores: &Stores) -> (Family, FileId) {
    let family = family(stores).await;
    let process = stores.start();
    let unlinked = process.upload(CONTENT).await;
    process.work().await;
    (family, unlinked)
}

#[tokio::test]
async fn an_owner_goes_whole_and_what_is_held_is_named() {
    let stores = Stores::new().await;
    let process = stores.start();
    let (family, unlinked) = owners_family(&stores).await;
    let olga = person("olga", Role::Operator);
    process
        .app
        .hold_file(&olga, family.ready[0], "Case 118.")
        .await
        .expect("held");
    let options = || json!({"owner": "ann", "purge_now": true});
    let report = process.operate(OperationKind::DeleteOwner, options()).await;
    assert_eq!(report.operation.state, OperationState::Done);
    let kinds: Vec<_> = report
        .lines()
        .iter()
        .map(|line| (line.0.to_owned(), line.2.to_owned()))
        .collect();
    let kept = |kind: &str| (kind.to_owned(), "kept".to_owned());
    assert_eq!(kinds, [kept("legal_hold"), kept("record_kept")]);
    process.work().await;
    assert_eq!(stores.file(family.ready[0]).await.state, FileState::Ready);
    for id in [family.ready[1], family.trashed, unlinked] {
        assert_eq!(stores.metadata.file(id).await.expect("an answer"), None);
    }
    process
        .app
        .release_file(&olga, family.ready[0], "over")
        .await
        .expect("released");
    let report = process.operate(OperationKind::DeleteOwner, options()).await;
    assert_eq!(report.findings.len(), 0);
    process.work().await;
    assert_no_records(&stores, 0).await;
    assert_nothing_left(&stores, 0).await;
}

#[tokio::test]
async fn an_owner_deletion_that_dies_anywhere_is_finished() {
    for point in points() {
        let stores = Stores::new().await;
        owners_family(&stores).await;
        let bob = bobs_file(&stores).await;
        let mut ended = true;
        let mut started = None;
        ended &= run_doomed(&stores, point, async |process| {
            let options: JsonObject = object(json!({"owner": "ann", "purge_now": true}));
            let ada = person("ada", Role::Admin);
            let operation = process
                .app
                .start_operation(&ada, OperationKind::DeleteOwner, options)
                .await;
            started = Some(operation.expect("begun").id);
            process.run_operations().await;
        })
        .await;
        let process = stores.start();
        let asked = stores
            .administration
            .operations(None, 10)
            .await
            .expect("operations")
            .items;
        stores.clock.advance(SignedDuration::from_secs(61));
        process.run_operations().await;
        process.recover().await;
        if asked.is_empty() {
            assert!(!ended && started.is_none());
        } else {
            let report = process.report(asked[0].id).await;
            assert_eq!(report.operation.state, OperationState::Done, "died at {point}");
            stores.clock.advance(SignedDuration::from_hours(25));
            process.recover().await;
            assert_no_records(&stores, point).await;
            let usage = stores.metadata.usage("ann").await.expect("usage");
            assert_eq!((usage.files, usage.stored_bytes, usage.reserved_bytes), (0, 0, 0));
            stores.assert_quiet().await;
        }
        assert_eq!(stores.file(bob).await.state, FileState::Ready, "another's stays");
        if ended {
            assert!(point > 20);
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

async fn bobs_file(stores: &Stores) -> FileId {
    let process = stores.start();
    let request = SignUpload {
        collection: "files".to_owned(),
        filename: "b.bin".to_owned(),
        size_bytes: Some(CONTENT.len() as u64),
        ..SignUpload::default()
    };
    let bob = person("bob", Role::User);
    let signed = process.app.sign_upload(&bob, request).await.expect("signed");
    process.send(&signed, CONTENT).await;
    process
        .app
        .confirm_upload(&bob, signed.file.id, ConfirmUpload::default())
        .await
        .expect("confirmed");
    process.work().await;
    signed.file.id
}
