//! What a store tells, over real stores: an event is a hint, and no sequence of events does harm.

use std::sync::Arc;

use cloakroom_core::error::ErrorCode;
use cloakroom_core::event::EventKind;
use cloakroom_core::file::FileState;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_service::uploads::{ConfirmUpload, Received, RecordOutcome};
use cloakroom_testkit::outages::OutageObjects;
use futures_util::future::{join, join_all};
use jiff::SignedDuration;
use serde_json::json;

use crate::app::{Process, Stores, ann};

fn event(name: &str, bucket: &str, key: &str) -> Vec<u8> {
    let record = json!({
        "eventSource": "aws:s3", "eventName": name,
        "s3": {"bucket": {"name": bucket}, "object": {"key": key}},
    });
    json!({ "Records": [record] }).to_string().into_bytes()
}

fn created(key: &str) -> Vec<u8> {
    event("ObjectCreated:Put", "bucket", key)
}

async fn receive(process: &Process, payload: &[u8]) -> Vec<RecordOutcome> {
    let received: Received = process
        .app
        .receive_bucket_events(payload)
        .await
        .expect("taken over");
    received.outcomes
}

async fn times(stores: &Stores, id: FileId, kind: EventKind) -> usize {
    let events = stores
        .metadata
        .timeline(id, None, 100)
        .await
        .expect("a timeline")
        .items;
    events.iter().filter(|event| event.kind == kind).count()
}

#[tokio::test]
async fn an_upload_that_a_store_tells_of_is_confirmed_where_the_collection_says_so() {
    let stores = Stores::new().await;
    let process = stores.start();
    for (collection, outcome, state) in [
        ("auto", RecordOutcome::Confirmed, FileState::Confirmed),
        ("files", RecordOutcome::Uploaded, FileState::Uploaded),
    ] {
        let signed = process.sign_in(collection, b"told").await;
        process.send(&signed, b"told").await;
        let key = &signed.upload.staging_key;
        let encoded = key.replace('/', "%2F");
        assert_eq!(receive(&process, &created(&encoded)).await, [outcome]);
        let file = stores.file(signed.file.id).await;
        assert_eq!(file.state, state);
        assert!(file.uploaded_at.is_some());
        // Again, spelled as Ceph does, and both in one message.
        for _ in 0..2 {
            assert_eq!(receive(&process, &created(key)).await, [RecordOutcome::Settled]);
        }
        assert_eq!(stores.file(signed.file.id).await, file);
        stores.assert_history(signed.file.id).await;
    }
    process.work().await;
    let ready = stores.metadata.statistics().await.expect("counts").files;
    assert!(ready.contains(&(FileState::Ready, 1)), "{ready:?}");
}

#[tokio::test]
async fn without_the_object_an_event_proves_nothing() {
    let stores = Stores::new().await;
    let process = stores.start();
    let signed = process.sign_in("auto", b"never sent").await;
    let key = &signed.upload.staging_key;
    assert_eq!(receive(&process, &created(key)).await, [RecordOutcome::Absent]);
    assert_eq!(stores.file(signed.file.id).await.state, FileState::Pending);
    stores.assert_history(signed.file.id).await;
}

#[tokio::test]
async fn what_arrived_wrong_stays_open_for_another_try() {
    let stores = Stores::new().await;
    let process = stores.start();
    let signed = process.sign_in("auto", b"right").await;
    let key = &signed.upload.staging_key;
    process.send(&signed, b"wrong size").await;
    assert_eq!(
        receive(&process, &created(key)).await,
        [RecordOutcome::Mismatched]
    );
    assert_eq!(receive(&process, &created(key)).await, [RecordOutcome::Settled]);
    assert_eq!(stores.file(signed.file.id).await.state, FileState::Uploaded);
    process.send(&signed, b"right").await;
    assert_eq!(receive(&process, &created(key)).await, [RecordOutcome::Confirmed]);
    process.work().await;
    assert_eq!(stores.file(signed.file.id).await.state, FileState::Ready);
    stores.assert_history(signed.file.id).await;
}

#[tokio::test]
async fn late_foreign_and_other_events_change_nothing() {
    let stores = Stores::new().await;
    let process = stores.start();
    let aborted = process.sign_in("auto", b"aborted").await;
    process.send(&aborted, b"aborted").await;
    process
        .app
        .abort_upload(&ann(), aborted.file.id)
        .await
        .expect("aborted");
    let ready = process.sign(b"ready").await;
    process.send(&ready, b"ready").await;
    process.confirm(ready.file.id).await;
    process.work().await;
    let open = process.sign_in("auto", b"open").await;
    process.send(&open, b"open").await;
    let key = &open.upload.staging_key;
    let other_name = key.replace("a.bin", "b.bin");
    let stranger = key.replace(&open.file.id.to_string(), "00000000-0000-7000-8000-000000000001");
    for (payload, outcome) in [
        (created(&aborted.upload.staging_key), RecordOutcome::Settled),
        (created(&ready.upload.staging_key), RecordOutcome::Settled),
        (
            event("ObjectCreated:Put", "elsewhere", key),
            RecordOutcome::Unknown,
        ),
        (created(&other_name), RecordOutcome::Unknown),
        (created(&stranger), RecordOutcome::Unknown),
        (created(&ready.file.key), RecordOutcome::Ignored),
        (
            event("ObjectRemoved:Delete", "bucket", key),
            RecordOutcome::Removed,
        ),
        (event("ObjectTagging:Put", "bucket", key), RecordOutcome::Ignored),
    ] {
        let text = String::from_utf8_lossy(&payload).into_owned();
        assert_eq!(receive(&process, &payload).await, [outcome], "{text}");
    }
    assert_eq!(stores.file(open.file.id).await, open.file);
    assert_eq!(stores.file(ready.file.id).await.state, FileState::Ready);
    assert_eq!(stores.file(aborted.file.id).await.state, FileState::Expired);
}

#[tokio::test]
async fn what_cannot_be_read_changes_nothing() {
    let stores = Stores::new().await;
    let process = stores.start();
    let signed = process.sign_in("auto", b"sent").await;
    process.send(&signed, b"sent").await;
    let good = json!({
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "bucket"}, "object": {"key": signed.upload.staging_key}},
    });
    // A good record beside one that cannot be read: none is done.
    let payload = json!({"Records": [good, {"eventName": "ObjectCreated:Put"}]}).to_string();
    let whole = json!({ "Records": [good] }).to_string();
    let mut payloads = vec![payload.into_bytes(), b"".to_vec(), b"{}".to_vec()];
    payloads.extend((0..whole.len()).map(|cut| whole.as_bytes()[..cut].to_vec()));
    for payload in payloads {
        let refused = process
            .app
            .receive_bucket_events(&payload)
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), ErrorCode::MalformedBody);
    }
    assert_eq!(stores.file(signed.file.id).await, signed.file);
}

#[tokio::test]
async fn an_outage_is_met_once_and_what_was_not_done_is_done_later() {
    let stores = Stores::new().await;
    let objects = OutageObjects::new(Arc::clone(&stores.objects));
    let process = stores.start_with(
        Arc::clone(&stores.metadata),
        Arc::clone(&stores.administration),
        Arc::clone(&objects) as _,
        vec![],
    );
    let mut sent = Vec::new();
    for _ in 0..3 {
        let signed = process.sign_in("auto", b"sent").await;
        process.send(&signed, b"sent").await;
        sent.push(signed);
    }
    let records: Vec<_> = sent
        .iter()
        .map(|signed| {
            json!({
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": "bucket"}, "object": {"key": signed.upload.staging_key}},
            })
        })
        .collect();
    let payload = json!({ "Records": records }).to_string().into_bytes();
    objects.set_away(true);
    let away = process.app.receive_bucket_events(&payload).await;
    assert_eq!(away.expect_err("away").code(), ErrorCode::Unavailable);
    assert_eq!(objects.refused(), 1, "one timeout, not one for each record");
    objects.set_away(false);
    assert_eq!(receive(&process, &payload).await, [RecordOutcome::Confirmed; 3]);
}

#[tokio::test]
async fn events_client_and_sweeper_at_the_same_time_make_one_transition() {
    for round in 0..20 {
        let stores = Stores::new().await;
        let process = stores.start();
        let signed = process.sign_in("auto", b"raced").await;
        process.send(&signed, b"raced").await;
        let id = signed.file.id;
        let payload = created(&signed.upload.staging_key);
        let events = join_all((0..=round % 4).map(|_| process.app.receive_bucket_events(&payload)));
        let ann = ann();
        let client = process.app.confirm_upload(&ann, id, ConfirmUpload::default());
        let sweeper = process.app.sweep_arrived_uploads();
        let (events, (client, swept)) = Box::pin(join(events, join(client, sweeper))).await;
        for received in events {
            received.expect("taken over");
        }
        client.expect("confirmed");
        swept.expect("swept");
        assert_eq!(times(&stores, id, EventKind::Confirmed).await, 1);
        process.work().await;
        assert_eq!(stores.file(id).await.state, FileState::Ready);
        stores.assert_history(id).await;
    }
}

#[tokio::test]
async fn the_sweeper_finds_what_no_event_told() {
    let stores = Stores::new().await;
    let process = stores.start();
    assert_eq!(process.app.sweep_arrived_uploads().await.expect("swept"), 0);
    let arrived = process.sign_in("auto", b"arrived").await;
    process.send(&arrived, b"arrived").await;
    let coming = process.sign_in("auto", b"coming").await;
    let wrong = process.sign_in("auto", b"wrong").await;
    process.send(&wrong, b"another size").await;
    let manual = process.sign_in("files", b"manual").await;
    process.send(&manual, b"manual").await;
    assert_eq!(process.app.sweep_arrived_uploads().await.expect("swept"), 1);
    assert_eq!(process.app.sweep_arrived_uploads().await.expect("swept"), 0);
    assert_eq!(stores.file(arrived.file.id).await.state, FileState::Confirmed);
    for open in [&coming, &wrong, &manual] {
        assert_eq!(stores.file(open.file.id).await.state, FileState::Pending);
    }
    process.send(&coming, b"coming").await;
    process.recover().await;
    assert_eq!(stores.file(coming.file.id).await.state, FileState::Ready);
    // The others wait for their client until their time is over, and go then.
    assert_eq!(stores.file(manual.file.id).await.state, FileState::Pending);
    stores.clock.advance(SignedDuration::from_hours(25));
    process.recover().await;
    for over in [&wrong, &manual] {
        assert_eq!(stores.file(over.file.id).await.state, FileState::Expired);
        let gone = ObjectPath::new("bucket", &over.upload.staging_key);
        assert!(!stores.keys().await.contains(&gone.key));
    }
    stores.assert_quiet().await;
}
