//! Records come back from their documents, at every point of every change; deleted ones stay deleted.

use cloakroom_core::record::Record;
use cloakroom_service::cascading::Deletion;
use cloakroom_service::records::PutRecord;
use serde_json::json;

use super::scene::{key, ready, rebuild, start};
use crate::app::{Process, Stores, ann, object};
use crate::interruptions::{POINTS_MAX, interrupted, run_doomed};

fn payload(number: u64) -> PutRecord {
    PutRecord {
        payload: Some(object(json!({"number": number}))),
        ..PutRecord::default()
    }
}

async fn put(process: &Process, number: u64) -> Record {
    let put = process
        .app
        .put_record(&ann(), &key("case/7"), payload(number))
        .await;
    put.expect("a record").0
}

async fn record(stores: &Stores) -> Option<Record> {
    stores.metadata.record(&key("case/7")).await.expect("an answer")
}

async fn documents(stores: &Stores) -> Vec<String> {
    let keys = stores.keys().await;
    keys.into_iter()
        .filter(|key| key.starts_with("_cloakroom/records/"))
        .collect()
}

#[tokio::test]
async fn a_record_is_written_whole_or_not_at_all() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        put(&healthy, 1).await;
        let ended = run_doomed(&stores, point, async |process| {
            put(process, 2).await;
        })
        .await;
        healthy.recover().await;
        let now = record(&stores).await.expect("a record");
        assert!(
            !ended || now.payload["number"] == 2,
            "an acknowledged change is kept"
        );
        assert_eq!(documents(&stores).await.len(), 1, "died at {point}");
        let fresh = stores.with_fresh_database().await;
        rebuild(&start(&fresh)).await;
        assert_eq!(record(&fresh).await, Some(now), "died at {point}");
        stores.assert_quiet().await;
        if ended {
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn a_deleted_record_stays_deleted() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        put(&healthy, 1).await;
        ready(&healthy, "a.bin", Some("case/7")).await;
        let ended = run_doomed(&stores, point, async |process| {
            process
                .app
                .delete_record(&ann(), &key("case/7"), Deletion::default())
                .await
                .expect("deleted");
        })
        .await;
        healthy.recover().await;
        let now = record(&stores).await;
        assert!(!ended || now.is_none(), "an acknowledged deletion is kept");
        let fresh = stores.with_fresh_database().await;
        rebuild(&start(&fresh)).await;
        assert_eq!(record(&fresh).await, now, "died at {point}");
        stores.assert_quiet().await;
        if ended {
            // Made again it goes beyond its deletion.
            let again = put(&healthy, 3).await;
            let fresh = stores.with_fresh_database().await;
            rebuild(&start(&fresh)).await;
            assert_eq!(record(&fresh).await, Some(again));
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test]
async fn a_change_that_stood_still_does_not_undo_a_later_one() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        put(&healthy, 1).await;
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                // Refused or done: both are answers.
                let _ = process.app.put_record(&ann(), &key("case/7"), payload(2)).await;
            },
            async || {
                healthy.recover().await;
                put(&healthy, 3).await;
            },
        )
        .await;
        healthy.recover().await;
        let now = record(&stores).await.expect("a record");
        assert_eq!(documents(&stores).await.len(), 1, "stood still at {point}");
        let fresh = stores.with_fresh_database().await;
        rebuild(&start(&fresh)).await;
        assert_eq!(record(&fresh).await, Some(now), "stood still at {point}");
        stores.assert_quiet().await;
        if !paused {
            return;
        }
    }
    panic!("the scenario never ended");
}
