//! One drift after the other.

use cloakroom_core::derivative::DerivativeOutcome;
use cloakroom_core::file::{File, FilePatch};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::key::{confirm_note_key, record_documents_prefix, sidecar_key};
use cloakroom_core::operation::OperationKind;
use cloakroom_core::ports::objects::{ListOptions, ObjectPath};
use cloakroom_core::record::RecordKey;
use cloakroom_core::transition::Occasion;
use cloakroom_service::records::PutRecord;
use cloakroom_testkit::random::SeededRandom;
use serde_json::json;

use super::{fix, ready, remove, start, verify, verify_deep, write};
use crate::app::{Later, Stores, ann, object};

const CONTENT: &[u8] = b"the bytes of a bank";

fn sidecar(file: &File) -> String {
    sidecar_key(&file.key, file.epoch)
}

#[tokio::test]
async fn a_whole_instance_has_no_findings() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let file = ready(&stores, &process, CONTENT).await;
    let patch = FilePatch {
        description: Some(Some("жалоба".to_owned())),
        record: RecordKey::parse("message/1").ok().map(Some),
        ..FilePatch::default()
    };
    process
        .app
        .update_file(&ann(), file.id, patch, None)
        .await
        .expect("updated");
    let trashed = ready(&stores, &process, b"trashed").await;
    process
        .app
        .delete_file(&ann(), trashed.id)
        .await
        .expect("deleted");
    process.sign(CONTENT).await;
    process.upload(b"confirmed, not verified yet").await;
    let record = RecordKey::parse("message/2").expect("a key");
    let put = PutRecord {
        payload: Some(object(json!({"text": "hello"}))),
        ..PutRecord::default()
    };
    process
        .app
        .put_record(&ann(), &record, put)
        .await
        .expect("a record");
    for report in [verify(&process).await, verify_deep(&process).await] {
        assert_eq!(report.lines(), []);
        let counts = &report.operation.counts;
        assert_eq!((&counts["files"], &counts["records"]), (&json!(4), &json!(2)));
        assert_eq!(
            report.operation.done,
            report.operation.total.unwrap_or_default() + 2
        );
    }
}

#[tokio::test]
async fn a_missing_object_is_found_and_stays_missing() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let file = ready(&stores, &process, CONTENT).await;
    remove(&stores, &file.key).await;
    let expected = [("object_missing", file.key.as_str(), "reported")];
    assert_eq!(verify(&process).await.lines(), expected);
    let report = fix(&process).await;
    assert_eq!(report.lines(), expected);
    assert!(
        report.findings[0].detail.contains("backup"),
        "{report:?}",
        report = report.findings
    );
    // Brought back, it is whole again.
    write(&stores, &file.key, CONTENT).await;
    assert_eq!(verify_deep(&process).await.lines(), []);
}

#[tokio::test]
async fn a_confirmed_upload_that_is_gone_is_found() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let id = process.upload(CONTENT).await;
    let upload = stores
        .metadata
        .upload(id)
        .await
        .expect("an answer")
        .expect("an upload");
    remove(&stores, &upload.staging_key).await;
    // Its job still waits, and will say so itself.
    assert_eq!(verify(&process).await.lines(), []);
}

#[tokio::test]
async fn another_size_is_found_at_once_and_other_bytes_by_a_deep_look() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let longer = ready(&stores, &process, CONTENT).await;
    let other = ready(&stores, &process, CONTENT).await;
    write(&stores, &longer.key, b"the bytes of a bank, and more").await;
    write(&stores, &other.key, b"the bytes of a bonk").await;
    assert_eq!(
        verify(&process).await.lines(),
        [("size_differs", longer.key.as_str(), "reported")]
    );
    let report = fix(&process).await;
    assert_eq!(
        report.lines(),
        [
            ("checksum_differs", other.key.as_str(), "reported"),
            ("size_differs", longer.key.as_str(), "reported"),
        ]
    );
    assert!(report.operation.counts["bytes"].as_u64() >= Some(CONTENT.len() as u64));
}

#[tokio::test]
async fn a_missing_sidecar_is_written_again() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let file = ready(&stores, &process, CONTENT).await;
    let key = sidecar(&file);
    remove(&stores, &key).await;
    assert_eq!(
        verify(&process).await.lines(),
        [("sidecar_missing", key.as_str(), "reported")]
    );
    assert_eq!(
        fix(&process).await.lines(),
        [("sidecar_missing", key.as_str(), "repaired")]
    );
    assert_eq!(verify_deep(&process).await.lines(), []);
    let now = stores.file(file.id).await;
    assert!(stores.keys().await.contains(&sidecar(&now)));
    stores.assert_history(file.id).await;
}

#[tokio::test]
async fn a_sidecar_that_cannot_be_read_is_replaced() {
    for junk in [
        b"".to_vec(),
        b"{}".to_vec(),
        b"\xff\x00".to_vec(),
        vec![b' '; 5_000],
    ] {
        let stores = Stores::new().await;
        let process = start(&stores);
        let file = ready(&stores, &process, CONTENT).await;
        let key = sidecar(&file);
        write(&stores, &key, junk).await;
        let report = verify_deep(&process).await;
        assert_eq!(report.lines(), [("sidecar_invalid", key.as_str(), "reported")]);
        assert!(report.findings[0].detail.starts_with("invalid_attribute_file"));
        assert_eq!(
            fix(&process).await.lines(),
            [("sidecar_invalid", key.as_str(), "repaired")]
        );
        assert_eq!(verify_deep(&process).await.lines(), []);
    }
}

#[tokio::test]
async fn a_sidecar_that_says_something_else_is_replaced() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let file = ready(&stores, &process, CONTENT).await;
    let key = sidecar(&file);
    let mut other = SidecarV1::decode(&stores.bytes(&key).await).expect("a sidecar");
    "somebody".clone_into(&mut other.owner);
    other.description = Some("forged".to_owned());
    write(&stores, &key, other.encode().expect("it fits")).await;
    // A quick look reads no sidecars.
    assert_eq!(verify(&process).await.lines(), []);
    let report = verify_deep(&process).await;
    assert_eq!(report.lines(), [("sidecar_differs", key.as_str(), "reported")]);
    assert_eq!(
        report.findings[0].detail,
        "Other than the row: description, owner."
    );
    assert_eq!(
        fix(&process).await.lines(),
        [("sidecar_differs", key.as_str(), "repaired")]
    );
    assert_eq!(verify_deep(&process).await.lines(), []);
    let now = stores.file(file.id).await;
    assert_eq!((now.owner, now.description), (file.owner, file.description));
}

#[tokio::test]
async fn a_row_that_is_behind_its_sidecar_is_found() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let file = ready(&stores, &process, CONTENT).await;
    let mut newer = SidecarV1::decode(&stores.bytes(&sidecar(&file)).await).expect("a sidecar");
    newer.epoch = file.epoch + 1;
    newer.version = Some(file.version + 1);
    newer.description = Some("written after the backup".to_owned());
    let key = sidecar_key(&file.key, newer.epoch);
    write(&stores, &key, newer.encode().expect("it fits")).await;
    assert_eq!(
        verify(&process).await.lines(),
        [("sidecar_differs", key.as_str(), "reported")]
    );
    // The sidecar is the truth, so it is the row that changes.
    assert_eq!(
        fix(&process).await.lines(),
        [("sidecar_differs", key.as_str(), "adopted")]
    );
    assert_eq!(verify_deep(&process).await.lines(), []);
    let now = stores.file(file.id).await;
    assert_eq!(now.description.as_deref(), Some("written after the backup"));
}

#[tokio::test]
async fn a_file_whose_row_was_lost_comes_back() {
    let lost = Stores::new().await;
    let file = ready(&lost, &start(&lost), CONTENT).await;
    // Another database over the same objects: one that was lost and made anew.
    let mut fresh = Stores::new().await;
    fresh.objects = std::sync::Arc::clone(&lost.objects);
    fresh.bucket.clone_from(&lost.bucket);
    let process = start(&fresh);
    let key = sidecar(&file);
    assert_eq!(
        verify(&process).await.lines(),
        [("row_missing", key.as_str(), "reported")]
    );
    assert_eq!(
        fix(&process).await.lines(),
        [("row_missing", key.as_str(), "adopted")]
    );
    let back = fresh.file(file.id).await;
    assert_eq!((back.owner, back.verified), (file.owner, file.verified));
    assert_eq!(verify_deep(&process).await.lines(), []);
}

#[tokio::test]
async fn a_confirmed_upload_whose_row_was_lost_is_found() {
    let lost = Stores::new().await;
    let id = start(&lost).upload(CONTENT).await;
    let upload = lost
        .metadata
        .upload(id)
        .await
        .expect("an answer")
        .expect("an upload");
    let mut fresh = Stores::new().await;
    fresh.objects = std::sync::Arc::clone(&lost.objects);
    fresh.bucket.clone_from(&lost.bucket);
    let process = start(&fresh);
    let note = confirm_note_key(&upload.staging_key);
    let expected = [("row_missing", note.as_str(), "reported")];
    assert_eq!(verify(&process).await.lines(), expected);
    process.operate(OperationKind::Rebuild, json!({})).await;
    assert_eq!(verify_deep(&process).await.lines(), []);
    process.work().await;
    assert_eq!(fresh.bytes(&fresh.file(id).await.key).await, CONTENT);
}

#[tokio::test]
async fn a_derivative_is_as_the_row_says() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let file = ready(&stores, &process, CONTENT).await;
    let derivatives = stores.metadata.derivatives(file.id).await.expect("derivatives");
    let DerivativeOutcome::Made { key, .. } = &derivatives[0].outcome else {
        panic!("it was made: {derivatives:?}");
    };
    write(&stores, key, b"another size").await;
    assert_eq!(
        verify(&process).await.lines(),
        [("derivative_size_differs", key.as_str(), "reported")]
    );
    remove(&stores, key).await;
    assert_eq!(
        fix(&process).await.lines(),
        [("derivative_missing", key.as_str(), "reported")]
    );
}

#[tokio::test]
async fn what_is_not_ours_is_reported_and_left_alone() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let file = ready(&stores, &process, CONTENT).await;
    // A copy under a key that names a file that there is not.
    let stranger = file
        .key
        .replace(&file.id.to_string(), "01999999-9999-7999-8999-999999999999");
    assert_ne!(stranger, file.key);
    let foreign = ["backup.tar", "notes/readme.1.attr.json", stranger.as_str()];
    for key in foreign {
        write(&stores, key, b"whatever").await;
    }
    let mut expected: Vec<_> = foreign
        .iter()
        .map(|key| ("object_unknown", *key, "reported"))
        .collect();
    expected.sort_unstable();
    for _ in 0..2 {
        assert_eq!(fix(&process).await.lines(), expected);
    }
    for key in foreign {
        assert_eq!(stores.bytes(key).await, b"whatever");
    }
}

#[tokio::test]
async fn counters_are_exact_and_set_right() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let file = ready(&stores, &process, CONTENT).await;
    let totals = stores.administration.totals().await.expect("totals");
    assert_eq!((totals.files, totals.stored_bytes), (1, CONTENT.len() as u64));
    assert_eq!(verify(&process).await.lines(), []);
    // A defect of ours: a change that counts what it does not change.
    let pending = process.sign(CONTENT).await.file;
    let random = SeededRandom::new(5);
    let occasion = Occasion {
        now: stores.clock.now_plus(jiff::SignedDuration::ZERO),
        actor: "a defect",
        random: &random,
    };
    let patch = FilePatch {
        description: Some(Some("x".to_owned())),
        ..FilePatch::default()
    };
    let mut wrong = pending.update(patch, &occasion).expect("a transition");
    wrong.usage.stored_bytes = 1_000;
    wrong.usage.files = 2;
    stores.metadata.apply(wrong).await.expect("applied");
    let totals = stores.administration.totals().await.expect("totals");
    assert_eq!(
        (totals.files, totals.stored_bytes),
        (3, CONTENT.len() as u64 + 1_000)
    );
    let report = verify(&process).await;
    assert_eq!(report.lines(), [("counters_differ", "", "reported")]);
    assert_eq!(
        report.findings[0].detail,
        "Owner ann: 3 files are counted, the rows have 1; 1019 stored bytes are counted, the rows have 19."
    );
    assert_eq!(fix(&process).await.lines(), [("counters_differ", "", "repaired")]);
    assert_eq!(verify(&process).await.lines(), []);
    let totals = stores.administration.totals().await.expect("totals");
    assert_eq!(
        (totals.files, totals.stored_bytes),
        (1, file.verified.expect("verified").size_bytes)
    );
}

#[tokio::test]
async fn a_record_has_its_document() {
    let stores = Stores::new().await;
    let process = start(&stores);
    let key = RecordKey::parse("message/1 ж").expect("a key");
    let put = PutRecord {
        payload: Some(object(json!({"text": "hello"}))),
        ..PutRecord::default()
    };
    process.app.put_record(&ann(), &key, put).await.expect("a record");
    let prefix = record_documents_prefix(&key);
    let documents = async || {
        let options = ListOptions {
            prefix: prefix.clone(),
            limit: 10,
            ..ListOptions::default()
        };
        let page = stores
            .objects
            .list(&stores.bucket, &options)
            .await
            .expect("a list");
        page.objects
            .into_iter()
            .map(|object| ObjectPath::new(&stores.bucket, object.key))
            .collect::<Vec<_>>()
    };
    let document = documents().await.pop().expect("a document").key;
    write(&stores, &document, b"{}").await;
    assert_eq!(
        verify(&process).await.lines(),
        [("record_document_differs", document.as_str(), "reported")]
    );
    remove(&stores, &document).await;
    assert_eq!(
        verify(&process).await.lines(),
        [("record_document_missing", prefix.as_str(), "reported")]
    );
    assert_eq!(
        fix(&process).await.lines(),
        [("record_document_missing", prefix.as_str(), "repaired")]
    );
    assert_eq!(documents().await.len(), 1);
    assert_eq!(verify(&process).await.lines(), []);
}
