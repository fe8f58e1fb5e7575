//! I2, I3, I5: a process that stood still for so long that it was taken for dead, and then goes on, harms nothing;
//! nor does a client that exchanges its upload at any moment.

use cloakroom_core::event::EventKind;
use cloakroom_core::file::{FilePatch, FileState};
use cloakroom_core::id::FileId;
use cloakroom_service::uploads::ConfirmUpload;
use cloakroom_testkit::crashes::CrashPlan;
use jiff::SignedDuration;
use sha2::{Digest as _, Sha256};

use crate::app::{Stores, ann, object};
use crate::interruptions::{interrupted, planned};

/// More points than any scenario here has; a scenario that reaches it never ends.
const POINTS_MAX: usize = 200;

/// Two bodies of one size and one MD5 (the first published pair), so that a store which knows an object by its `ETag`
/// alone takes one for the other.
const TWINS: [[u8; 128]; 2] = twins();

const fn twins() -> [[u8; 128]; 2] {
    let common = *b"\xd1\x31\xdd\x02\xc5\xe6\xee\xc4\x69\x3d\x9a\x06\x98\xaf\xf9\x5c\
        \x2f\xca\xb5\x87\x12\x46\x7e\xab\x40\x04\x58\x3e\xb8\xfb\x7f\x89\
        \x55\xad\x34\x06\x09\xf4\xb3\x02\x83\xe4\x88\x83\x25\x71\x41\x5a\
        \x08\x51\x25\xe8\xf7\xcd\xc9\x9f\xd9\x1d\xbd\xf2\x80\x37\x3c\x5b\
        \xd8\x82\x3e\x31\x56\x34\x8f\x5b\xae\x6d\xac\xd4\x36\xc9\x19\xc6\
        \xdd\x53\xe2\xb4\x87\xda\x03\xfd\x02\x39\x63\x06\xd2\x48\xcd\xa0\
        \xe9\x9f\x33\x42\x0f\x57\x7e\xe8\xce\x54\xb6\x70\x80\xa8\x0d\x1e\
        \xc6\x98\x21\xbc\xb6\xa8\x83\x93\x96\xf9\x65\x2b\x6f\xf7\x2a\x70";
    let mut other = common;
    let differing = [19, 45, 59, 83, 109, 123];
    let mut index = 0;
    while index < differing.len() {
        other[differing[index]] ^= 0x80;
        index += 1;
    }
    [common, other]
}

async fn assert_whole(stores: &Stores, id: FileId, point: usize) {
    let file = stores.file(id).await;
    assert_eq!(file.state, FileState::Ready, "stood still at {point}");
    assert_eq!(stores.bytes(&file.key).await, TWINS[0], "stood still at {point}");
    stores.assert_history(id).await;
    stores.assert_quiet().await;
    let usage = stores.metadata.usage("ann").await.expect("usage");
    assert_eq!(
        (usage.files, usage.stored_bytes, usage.reserved_bytes),
        (1, 128, 0)
    );
    let keys = stores.keys().await;
    let newest = keys.iter().filter(|key| key.ends_with(".attr.json")).max();
    assert_eq!(
        newest,
        Some(&format!("{}.{}.attr.json", file.key, file.epoch)),
        "stood still at {point}: the row's own revision is the newest"
    );
    assert!(keys.contains(&file.key));
}

#[tokio::test]
async fn a_worker_that_was_taken_for_dead_harms_nothing() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let id = stores.start().upload(&TWINS[0]).await;
        let paused = interrupted(
            &stores,
            point,
            async |process| process.work().await,
            async || {
                stores.start().recover().await;
                assert_eq!(
                    stores.file(id).await.state,
                    FileState::Ready,
                    "taken over at {point}"
                );
            },
        )
        .await;
        stores.start().recover().await;
        assert_whole(&stores, id, point).await;
        if !paused {
            assert!(point > 8, "the scenario has changes to stand still at");
            return;
        }
    }
    panic!("the scenario never ended");
}

#[tokio::test]
async fn an_upload_that_is_exchanged_at_any_moment_is_not_served() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let client = stores.start();
        let signed = client.sign(&TWINS[0]).await;
        client.send(&signed, &TWINS[0]).await;
        let id = client.confirm(signed.file.id).await.id;
        let paused = interrupted(
            &stores,
            point,
            async |process| process.work().await,
            async || {
                stores.send_to(&signed.upload.staging_key, &TWINS[1]).await;
            },
        )
        .await;
        stores.start().recover().await;
        let file = stores.file(id).await;
        match file.state {
            FileState::Ready => {
                // A store that knows objects by `ETag` takes the twin for what was confirmed; then the twin was verified.
                let served: [u8; 32] = Sha256::digest(stores.bytes(&file.key).await).into();
                let verified = file.verified.expect("a ready file is verified");
                assert_eq!(served, verified.sha256.0, "exchanged at {point}");
            }
            FileState::Failed => {
                assert!(
                    !stores.keys().await.contains(&file.key),
                    "exchanged at {point}: nothing is kept"
                );
            }
            other => panic!("exchanged at {point}: {other:?}"),
        }
        stores.assert_quiet().await;
        if !paused {
            return;
        }
    }
    panic!("the scenario never ended");
}

#[tokio::test]
async fn a_change_of_metadata_that_stood_still_does_not_undo_a_later_one() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        let id = healthy.upload(&TWINS[0]).await;
        healthy.work().await;
        let named = |name: &str| FilePatch {
            filename: Some(name.to_owned()),
            metadata: Some(object(serde_json::json!({"name": name}))),
            ..FilePatch::default()
        };
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                // Refused or done: both are answers.
                let _ = process.app.update_file(&ann(), id, named("slow.bin"), None).await;
            },
            async || {
                healthy.recover().await;
                healthy
                    .app
                    .update_file(&ann(), id, named("quick.bin"), None)
                    .await
                    .expect("updated");
            },
        )
        .await;
        healthy.recover().await;
        let file = stores.file(id).await;
        assert_eq!(file.metadata["name"], file.filename.as_str());
        let keys = stores.keys().await;
        let newest = keys
            .iter()
            .filter(|key| key.ends_with(".attr.json"))
            .max()
            .expect("a sidecar");
        let sidecar = cloakroom_core::format::sidecar_v1::SidecarV1::decode(&stores.bytes(newest).await);
        assert_eq!(
            sidecar.expect("a sidecar").filename,
            file.filename,
            "stood still at {point}: sidecar and row agree ({keys:?})"
        );
        let events = stores
            .metadata
            .timeline(id, None, 100)
            .await
            .expect("events")
            .items;
        let hers = events
            .iter()
            .filter(|event| event.kind == EventKind::Updated && event.actor == "ann");
        assert!(
            hers.count() <= 2,
            "stood still at {point}: each change happens once: {events:#?}"
        );
        stores.assert_history(id).await;
        stores.assert_quiet().await;
        if !paused {
            return;
        }
    }
    panic!("the scenario never ended");
}

/// Whoever led the janitor and stood still in the middle of a recovery goes on when another has recovered long since, and
/// when somebody has changed the file again.
#[tokio::test]
async fn a_recovery_that_stood_still_does_not_undo_a_later_change() {
    let named = |name: &str| FilePatch {
        filename: Some(name.to_owned()),
        metadata: Some(object(serde_json::json!({"name": name}))),
        ..FilePatch::default()
    };
    for died_at in 0..POINTS_MAX {
        let mut died = false;
        for point in 0..POINTS_MAX {
            let stores = Stores::new().await;
            let healthy = stores.start();
            let id = healthy.upload(&TWINS[0]).await;
            healthy.work().await;
            let plan = CrashPlan::at(died_at);
            let doomed = planned(&stores, &plan);
            let owner = ann();
            died = tokio::select! {
                _ = doomed.app.update_file(&owner, id, named("dead.bin"), None) => false,
                () = plan.crashed() => true,
            };
            // The row goes on without the dead one's change.
            healthy.app.delete_file(&ann(), id).await.expect("deleted");
            healthy.app.restore_file(&ann(), id).await.expect("restored");
            stores.clock.advance(SignedDuration::from_secs(61));
            let paused = interrupted(
                &stores,
                point,
                async |process| {
                    process.app.recover_intents().await.expect("recovered");
                },
                async || {
                    healthy.recover().await;
                    healthy
                        .app
                        .update_file(&ann(), id, named("quick.bin"), None)
                        .await
                        .expect("updated");
                },
            )
            .await;
            healthy.recover().await;
            let file = stores.file(id).await;
            let keys = stores.keys().await;
            let newest = keys.iter().filter(|key| key.ends_with(".attr.json")).max();
            let newest =
                newest.unwrap_or_else(|| panic!("died at {died_at}, stood still at {point}: {keys:?}"));
            let sidecar = cloakroom_core::format::sidecar_v1::SidecarV1::decode(&stores.bytes(newest).await);
            assert_eq!(
                sidecar.expect("a sidecar").filename,
                file.filename,
                "died at {died_at}, stood still at {point}: sidecar and row agree ({keys:?})"
            );
            stores.assert_history(id).await;
            stores.assert_quiet().await;
            if !paused {
                break;
            }
        }
        if !died {
            return;
        }
    }
    panic!("the scenario never ended");
}

#[tokio::test]
async fn a_purge_that_stood_still_leaves_nothing() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        let id = healthy.upload(&TWINS[0]).await;
        healthy.work().await;
        healthy.app.delete_file(&ann(), id).await.expect("deleted");
        stores.clock.advance(SignedDuration::from_hours(24 * 8));
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                process.app.sweep_trash().await.expect("swept");
                process.work().await;
            },
            async || healthy.recover().await,
        )
        .await;
        healthy.recover().await;
        assert_eq!(
            stores.metadata.file(id).await.expect("an answer"),
            None,
            "stood still at {point}"
        );
        stores.clock.advance(SignedDuration::from_hours(25));
        healthy.recover().await;
        let keys = stores.keys().await;
        assert!(keys.is_empty(), "stood still at {point}: {keys:?}");
        let usage = stores.metadata.usage("ann").await.expect("usage");
        assert_eq!(
            (usage.files, usage.stored_bytes),
            (0, 0),
            "stood still at {point}"
        );
        if !paused {
            return;
        }
    }
    panic!("the scenario never ended");
}

/// Whoever confirmed and stood still goes on when another has confirmed, and the file is gone for good.
#[tokio::test]
async fn a_confirm_that_stood_still_until_the_file_was_purged_leaves_no_note() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        let signed = healthy.sign(&TWINS[0]).await;
        let id = signed.file.id;
        healthy.send(&signed, &TWINS[0]).await;
        let paused = interrupted(
            &stores,
            point,
            async |process| {
                // Too late or not: both are right, by when it goes on.
                let _ = process
                    .app
                    .confirm_upload(&ann(), id, ConfirmUpload::default())
                    .await;
            },
            async || {
                healthy.confirm(id).await;
                healthy.work().await;
                healthy.app.delete_file(&ann(), id).await.expect("deleted");
                for hours in [24 * 8, 25] {
                    stores.clock.advance(SignedDuration::from_hours(hours));
                    healthy.recover().await;
                }
                assert_eq!(stores.metadata.file(id).await.expect("an answer"), None);
            },
        )
        .await;
        if !paused {
            return;
        }
        let keys = stores.keys().await;
        assert!(keys.is_empty(), "stood still at {point}: {keys:?}");
    }
    panic!("the scenario never ended");
}
