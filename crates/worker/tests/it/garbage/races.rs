//! Scan and sweep against everybody else: whoever dies or stands still at any point, nothing is lost and nothing stays.

use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::key::sidecar_key;
use cloakroom_core::operation::OperationKind;
use cloakroom_core::ports::administration::Adoption;
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::transition::Occasion;
use cloakroom_core::upload::{Upload, UploadMethod};
use cloakroom_service::uploads::{ConfirmUpload, SignUpload};
use cloakroom_testkit::random::SeededRandom;
use jiff::SignedDuration;
use serde_json::json;
use uuid::Uuid;

use super::{CONTENT, DAY, abandoned, id, ready, renamed, scan, stores};
use crate::app::{Process, Stores, ann, settled};
use crate::interruptions::{POINTS_MAX, interrupted, run_doomed};

/// Whoever dies at any point of scan and sweep leaves what the next one finishes.
#[tokio::test]
async fn a_scan_and_a_sweep_may_die_anywhere() {
    for point in 0..POINTS_MAX {
        let stores = stores().await;
        let file = ready(&stores).await;
        for key in [abandoned(&stores, id(1)), format!("{}.1.preview.webp", file.key)] {
            stores.send_to(&key, CONTENT).await;
        }
        stores.clock.advance(SignedDuration::from_hours(2));
        let ended = run_doomed(&stores, point, async |process| {
            scan(process, true).await;
            stores.clock.advance(DAY * 8);
            process.app.sweep_garbage().await.expect("swept");
            process.work().await;
        })
        .await;
        let process = stores.start();
        for _ in 0..2 {
            process.recover().await;
            process.run_operations().await;
            stores.clock.advance(DAY * 8);
        }
        scan_whatever_runs(&process).await;
        stores.clock.advance(DAY * 8);
        process.recover().await;
        let sidecar = sidecar_key(&file.key, file.epoch);
        assert_eq!(stores.keys().await, [file.key, sidecar], "died at {point}");
        stores.assert_quiet().await;
        if ended {
            assert!(point > 8, "there are changes to die at");
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

/// Another scan, unless one is under way, which is then finished.
async fn scan_whatever_runs(process: &Process) {
    let ada = crate::app::person("ada", cloakroom_core::access::Role::Admin);
    let options = crate::app::object(json!({"trash": true}));
    // `operation_running` is as good.
    let _ = process
        .app
        .start_operation(&ada, OperationKind::Orphans, options)
        .await;
    process.run_operations().await;
}

/// A client that repeats its upload after the database was lost: its id is that of the garbage.
#[tokio::test]
async fn a_sweep_that_stood_still_loses_no_upload() {
    let mut acknowledged = 0;
    for point in 0..POINTS_MAX {
        let stores = stores().await;
        let healthy = stores.start();
        let id = FileId::from_idempotency_key("ann", "k");
        stores.send_to(&abandoned(&stores, id), b"from before").await;
        scan(&healthy, true).await;
        stores.clock.advance(DAY * 8);
        let mut confirmed = false;
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                process.app.sweep_garbage().await.expect("swept");
                process.work().await;
            },
            async || {
                confirmed = upload_again(&healthy, id).await;
            },
        )
        .await;
        healthy.recover().await;
        stores.clock.advance(DAY * 30);
        healthy.recover().await;
        let file = stores.file(id).await;
        if confirmed {
            acknowledged += 1;
            assert_eq!(file.state, FileState::Ready, "stood still at {point}");
            assert_eq!(stores.bytes(&file.key).await, CONTENT, "stood still at {point}");
        } else {
            assert_eq!(file.state, FileState::Expired, "stood still at {point}");
        }
        let staging = stores.keys().await;
        assert!(
            staging.iter().all(|key| !key.starts_with("staging/")),
            "stood still at {point}: {staging:?}"
        );
        stores.assert_history(id).await;
        stores.assert_quiet().await;
        if !paused {
            assert!(acknowledged > 0 && point > 3);
            return;
        }
    }
    panic!("the scenario never ended");
}

/// Whether the upload of this id was acknowledged.
async fn upload_again(process: &Process, id: FileId) -> bool {
    let request = SignUpload {
        collection: "files".to_owned(),
        filename: "a.bin".to_owned(),
        size_bytes: Some(CONTENT.len() as u64),
        idempotency_key: Some("k".to_owned()),
        ..SignUpload::default()
    };
    let Ok(signed) = process.app.sign_upload(&ann(), request).await else {
        return false;
    };
    assert_eq!(signed.file.id, id);
    process.send(&signed, CONTENT).await;
    let confirmed = process
        .app
        .confirm_upload(&ann(), id, ConfirmUpload::default())
        .await;
    process.work().await;
    confirmed.is_ok()
}

/// A rebuild that takes the file back, with its staged bytes, at any moment of the sweep.
#[tokio::test]
async fn a_sweep_that_stood_still_loses_nothing_that_is_taken_back() {
    let mut taken = 0;
    for point in 0..POINTS_MAX {
        let stores = stores().await;
        let healthy = stores.start();
        let key = abandoned(&stores, id(1));
        stores.send_to(&key, CONTENT).await;
        scan(&healthy, true).await;
        stores.clock.advance(DAY * 8);
        let mut adopted = false;
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                process.app.sweep_garbage().await.expect("swept");
                process.work().await;
            },
            async || {
                let there = stores.keys().await.contains(&key);
                if there && let Some(adoption) = adoption(&stores, &key).await {
                    adopted = stores.administration.adopt(&adoption).await.expect("an answer");
                }
            },
        )
        .await;
        healthy.recover().await;
        stores.clock.advance(DAY * 30);
        healthy.recover().await;
        let file = stores.file(id(1)).await;
        if adopted {
            taken += 1;
            assert_eq!(file.state, FileState::Ready, "stood still at {point}");
            assert_eq!(stores.bytes(&file.key).await, CONTENT, "stood still at {point}");
        } else {
            assert_eq!(file.state, FileState::Expired, "stood still at {point}");
        }
        assert!(!stores.keys().await.contains(&key), "stood still at {point}");
        stores.assert_quiet().await;
        if !paused {
            assert!(taken > 0 && point > 3);
            return;
        }
    }
    panic!("the scenario never ended");
}

/// The confirmed file whose bytes are at this key, as a rebuild would take it back.
async fn adoption(stores: &Stores, key: &str) -> Option<Adoption> {
    let template = stores.start().sign(CONTENT).await;
    let info = stores
        .objects
        .head(
            &ObjectPath::new(&stores.bucket, key),
            &cloakroom_core::ports::objects::GetOptions::default(),
        )
        .await
        .ok()?;
    let now = stores.clock.now();
    let file = File {
        id: id(1),
        state: FileState::Confirmed,
        key: template
            .file
            .key
            .replace(&template.file.id.to_string(), &id(1).to_string()),
        staged: Some(cloakroom_core::file::Staged {
            size_bytes: info.size_bytes,
            etag: info.etag,
            generation: info.generation,
        }),
        confirmed_at: Some(now),
        ..template.file
    };
    let random = SeededRandom::new(99);
    let occasion = Occasion {
        now,
        actor: "rebuild",
        random: &random,
    };
    let upload = Upload {
        file_id: file.id,
        method: UploadMethod::Put,
        staging_key: key.to_owned(),
        ..template.upload
    };
    let job = cloakroom_core::job::NewJob {
        id: cloakroom_core::id::JobId(Uuid::from_u128(4)),
        kind: cloakroom_core::job::JobKind::ProcessFile,
        file_id: file.id,
        run_at: now,
    };
    Some(Adoption {
        event: occasion.event(&file, EventKind::Confirmed),
        file,
        upload: Some(upload),
        derivatives: vec![],
        record: None,
        jobs: vec![job],
        replaces: None,
    })
}

/// Changes of a file at any moment of a sweep beside it.
#[tokio::test]
async fn a_sweep_that_stood_still_harms_no_change() {
    for point in 0..POINTS_MAX {
        let stores = stores().await;
        let healthy = stores.start();
        let file = ready(&stores).await;
        let old = stores.bytes(&sidecar_key(&file.key, file.epoch)).await;
        let update = async |name: &str| {
            let updated = healthy
                .app
                .update_file(&ann(), file.id, renamed(name), None)
                .await;
            updated.expect("updated");
        };
        update("b.bin").await;
        stores.send_to(&sidecar_key(&file.key, file.epoch), &old).await;
        stores
            .send_to(&format!("{}.1.preview.webp", file.key), CONTENT)
            .await;
        stores.clock.advance(SignedDuration::from_hours(2));
        assert_eq!(scan(&healthy, true).await.len(), 2);
        stores.clock.advance(DAY * 8);
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                process.app.sweep_garbage().await.expect("swept");
            },
            async || {
                update("c.bin").await;
                healthy.app.sweep_garbage().await.expect("swept");
                update("d.bin").await;
            },
        )
        .await;
        healthy.recover().await;
        let file = stores.file(file.id).await;
        let expected = [file.key.clone(), sidecar_key(&file.key, file.epoch)];
        assert_eq!(stores.keys().await, expected, "stood still at {point}");
        assert!(settled(file.state));
        stores.assert_quiet().await;
        if !paused {
            assert!(point > 3);
            return;
        }
    }
    panic!("the scenario never ended");
}
