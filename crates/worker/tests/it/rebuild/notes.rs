//! Confirm notes: what was acknowledged comes back, what was given up does not, whoever died in between.

use cloakroom_core::file::FileState;
use cloakroom_core::key::confirm_note_key;
use cloakroom_service::uploads::ConfirmUpload;
use jiff::SignedDuration;

use super::scene::{rebuild, start};
use crate::app::{Stores, ann};
use crate::interruptions::{POINTS_MAX, interrupted, run_doomed};

const CONTENT: &[u8] = b"the bytes of a bank";

/// Dies anywhere in a confirm; then the database is lost. What was acknowledged comes back.
#[tokio::test]
async fn an_acknowledged_confirm_outlives_its_database() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let signed = stores.start().sign(CONTENT).await;
        stores.start().send(&signed, CONTENT).await;
        let id = signed.file.id;
        let acknowledged = run_doomed(&stores, point, async |process| {
            process.confirm(id).await;
            process.work().await;
        })
        .await;
        let row = stores.file(id).await;
        let fresh = stores.with_fresh_database().await;
        let process = start(&fresh);
        rebuild(&process).await;
        process.work().await;
        match fresh.metadata.file(id).await.expect("an answer") {
            Some(file) => {
                assert_eq!(file.state, FileState::Ready, "died at {point}");
                assert_eq!(fresh.bytes(&file.key).await, CONTENT, "died at {point}");
            }
            None => assert!(
                row.state.is_open() && !acknowledged,
                "died at {point}: {:?}",
                row.state
            ),
        }
        if acknowledged {
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

/// A confirm died with its note written and its row not; then the client gives up, or nobody comes back.
#[tokio::test]
async fn what_was_given_up_does_not_come_back() {
    for by_client in [true, false] {
        for point in 0..POINTS_MAX {
            let stores = Stores::new().await;
            let healthy = stores.start();
            let signed = healthy.sign(CONTENT).await;
            healthy.send(&signed, CONTENT).await;
            let id = signed.file.id;
            let ended = run_doomed(&stores, point, async |process| {
                process.confirm(id).await;
            })
            .await;
            if !stores.file(id).await.state.is_open() {
                assert!(point > 0);
                break;
            }
            assert!(!ended);
            if by_client {
                healthy.app.abort_upload(&ann(), id).await.expect("aborted");
                let note = confirm_note_key(&signed.upload.staging_key);
                assert!(
                    !stores.keys().await.contains(&note),
                    "gone before it was acknowledged"
                );
            } else {
                stores.clock.advance(SignedDuration::from_hours(25));
                healthy.app.sweep_expired_uploads().await.expect("swept");
                healthy.work().await;
                assert!(stores.keys().await.is_empty());
            }
            let fresh = stores.with_fresh_database().await;
            rebuild(&start(&fresh)).await;
            assert_eq!(
                fresh.metadata.file(id).await.expect("an answer"),
                None,
                "died at {point}"
            );
        }
    }
}

/// A confirm stood still while another one won, was processed, or the upload was given up: its note tells no lies.
#[tokio::test]
async fn a_late_confirm_leaves_no_note() {
    for point in 0..POINTS_MAX {
        for gives_up in [true, false] {
            let stores = Stores::new().await;
            let healthy = stores.start();
            let signed = healthy.sign(CONTENT).await;
            healthy.send(&signed, CONTENT).await;
            let id = signed.file.id;
            let paused = interrupted(
                &stores,
                point,
                async |process| {
                    // Confirmed or refused: both are answers.
                    let _ = process
                        .app
                        .confirm_upload(&ann(), id, ConfirmUpload::default())
                        .await;
                },
                async || {
                    if gives_up {
                        // Too late, when the confirm was there before it stood still.
                        let _ = healthy.app.abort_upload(&ann(), id).await;
                    } else {
                        healthy.confirm(id).await;
                    }
                    healthy.work().await;
                },
            )
            .await;
            healthy.recover().await;
            let file = stores.file(id).await;
            assert!(
                matches!(file.state, FileState::Ready | FileState::Expired),
                "{:?}",
                file.state
            );
            let notes: Vec<_> = stores
                .keys()
                .await
                .into_iter()
                .filter(|key| key.starts_with("staging/"))
                .collect();
            assert!(notes.is_empty(), "stood still at {point}: {notes:?}");
            let fresh = stores.with_fresh_database().await;
            rebuild(&start(&fresh)).await;
            let back = fresh.metadata.file(id).await.expect("an answer");
            assert_eq!(
                back.map(|back| back.state),
                (file.state == FileState::Ready).then_some(FileState::Ready)
            );
            stores.assert_quiet().await;
            if !paused && !gives_up {
                return;
            }
        }
    }
    panic!("the scenario never ended");
}

/// Deleted while a worker was at the end of its work: whatever sidecar that worker leaves, the file stays in the trash.
#[tokio::test]
async fn a_deletion_during_processing_outlives_the_database() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let healthy = stores.start();
        let id = healthy.upload(CONTENT).await;
        let mut deleted_before_ready = false;
        let paused = interrupted(
            &stores,
            point,
            async |process| process.work().await,
            async || {
                deleted_before_ready = !stores.file(id).await.has_sidecar();
                healthy.app.delete_file(&ann(), id).await.expect("deleted");
            },
        )
        .await;
        if !paused {
            return;
        }
        assert_eq!(
            stores.file(id).await.state,
            FileState::Trashed,
            "stood still at {point}"
        );
        let fresh = stores.with_fresh_database().await;
        rebuild(&start(&fresh)).await;
        let file = fresh.file(id).await;
        assert_eq!(
            file.state,
            FileState::Trashed,
            "stood still at {point}, before ready: {deleted_before_ready}"
        );
        let back = start(&fresh);
        back.app.restore_file(&ann(), id).await.expect("restored");
        back.work().await;
        assert_eq!(
            fresh.file(id).await.state,
            FileState::Ready,
            "stood still at {point}"
        );
    }
    panic!("the scenario never ended");
}
