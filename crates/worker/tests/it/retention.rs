//! Files go by themselves when their collection says so, and not before.

use cloakroom_core::collection::{Collection, Retention};
use cloakroom_core::file::{File, FilePatch, FileState};
use cloakroom_core::record::RecordKey;
use jiff::SignedDuration;

use crate::app::{Process, Stores, ann};

const CONTENT: &[u8] = b"the bytes of a bank";
const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Stores with one more collection.
async fn stores(name: &str, retention: Retention) -> Stores {
    let mut stores = Stores::new().await;
    let collection = Collection {
        retention,
        ..Collection::new(name, &stores.bucket)
    };
    stores.collections.push(collection);
    stores
}

async fn ready(stores: &Stores, process: &Process, collection: &str) -> File {
    let signed = process.sign_in(collection, CONTENT).await;
    process.send(&signed, CONTENT).await;
    process.confirm(signed.file.id).await;
    process.work().await;
    stores.file(signed.file.id).await
}

#[tokio::test]
async fn every_collection_keeps_unconfirmed_uploads_for_a_time_of_its_own() {
    use FileState::{Expired, Pending};

    let mut stores = stores(
        "brief",
        Retention {
            temporary: true,
            ..Retention::default()
        },
    )
    .await;
    let long = Retention {
        unconfirmed_seconds: Some(3 * DAY_SECONDS),
        // An hour is for those that say nothing else.
        temporary: true,
        ..Retention::default()
    };
    stores.collections.push(Collection {
        retention: long,
        ..Collection::new("patient", &stores.bucket)
    });
    let process = stores.start();
    let mut ids = Vec::new();
    for collection in ["brief", "files", "patient"] {
        let signed = process.sign_in(collection, CONTENT).await;
        process.send(&signed, CONTENT).await;
        ids.push(signed.file.id);
    }
    let states = async || {
        let mut states = Vec::new();
        for id in &ids {
            states.push(stores.file(*id).await.state);
        }
        states
    };
    // Signatures end after a quarter of an hour; the sweeps themselves take some minutes.
    stores.clock.advance(SignedDuration::from_mins(60));
    process.recover().await;
    assert_eq!(
        states().await,
        [Pending, Pending, Pending],
        "never before the URL and its hour are over"
    );
    stores.clock.advance(SignedDuration::from_mins(15));
    process.recover().await;
    assert_eq!(states().await, [Expired, Pending, Pending]);
    stores.clock.advance(DAY);
    process.recover().await;
    assert_eq!(states().await, [Expired, Expired, Pending]);
    stores.clock.advance(DAY * 2);
    process.recover().await;
    assert_eq!(states().await, [Expired, Expired, Expired]);
    assert!(stores.keys().await.is_empty());
    stores.assert_quiet().await;
}

#[tokio::test]
async fn many_uploads_whose_time_is_not_over_do_not_hold_up_the_others() {
    let stores = stores(
        "patient",
        Retention {
            unconfirmed_seconds: Some(30 * DAY_SECONDS),
            ..Retention::default()
        },
    )
    .await;
    let process = stores.start();
    for _ in 0..250 {
        process.sign_in("patient", CONTENT).await;
    }
    stores.clock.advance(HOUR);
    let id = process.sign(CONTENT).await.file.id;
    stores.clock.advance(DAY * 2);
    assert_eq!(process.app.sweep_expired_uploads().await.expect("swept"), 1);
    assert_eq!(stores.file(id).await.state, FileState::Reaping);
}

#[tokio::test]
async fn files_expire_at_their_age_and_go_after_the_trash() {
    let stores = stores(
        "short",
        Retention {
            expire_seconds: Some(30 * DAY_SECONDS),
            ..Retention::default()
        },
    )
    .await;
    let process = stores.start();
    let (short, other) = (
        ready(&stores, &process, "short").await,
        ready(&stores, &process, "files").await,
    );
    stores.clock.advance(DAY * 29);
    process.recover().await;
    assert_eq!(stores.file(short.id).await.state, FileState::Ready);
    stores.clock.advance(DAY * 2);
    process.recover().await;
    let trashed = stores.file(short.id).await;
    assert_eq!(trashed.state, FileState::Trashed);
    let events = stores
        .metadata
        .timeline(short.id, None, 100)
        .await
        .expect("events");
    assert_eq!(
        events.items.last().map(|event| event.actor.as_str()),
        Some("retention")
    );
    stores.clock.advance(DAY * 8);
    process.recover().await;
    assert_eq!(stores.metadata.file(short.id).await.expect("an answer"), None);
    assert_eq!(
        stores.file(other.id).await.state,
        FileState::Ready,
        "of another collection"
    );
    stores.clock.advance(DAY * 2);
    process.recover().await;
    stores.assert_quiet().await;
}

#[tokio::test]
async fn a_restored_file_that_is_overdue_goes_again() {
    let stores = stores(
        "short",
        Retention {
            expire_seconds: Some(DAY_SECONDS),
            ..Retention::default()
        },
    )
    .await;
    let process = stores.start();
    let file = ready(&stores, &process, "short").await;
    stores.clock.advance(DAY * 2);
    process.recover().await;
    process.app.restore_file(&ann(), file.id).await.expect("restored");
    process.recover().await;
    assert_eq!(stores.file(file.id).await.state, FileState::Trashed);
}

#[tokio::test]
async fn what_hangs_on_no_record_goes_and_what_does_stays() {
    let stores = stores(
        "chat",
        Retention {
            unlinked_seconds: Some(7 * DAY_SECONDS),
            ..Retention::default()
        },
    )
    .await;
    let process = stores.start();
    let (linked, unlinked) = (
        ready(&stores, &process, "chat").await,
        ready(&stores, &process, "chat").await,
    );
    let link = |record: Option<RecordKey>| FilePatch {
        record: Some(record),
        ..FilePatch::default()
    };
    let message = RecordKey::parse("message/1").expect("a key");
    process
        .app
        .update_file(&ann(), linked.id, link(Some(message)), None)
        .await
        .expect("linked");
    stores.clock.advance(DAY * 8);
    process.recover().await;
    assert_eq!(stores.file(linked.id).await.state, FileState::Ready);
    assert_eq!(stores.file(unlinked.id).await.state, FileState::Trashed);
    process
        .app
        .update_file(&ann(), linked.id, link(None), None)
        .await
        .expect("unlinked");
    process.recover().await;
    assert_eq!(stores.file(linked.id).await.state, FileState::Trashed);
}
