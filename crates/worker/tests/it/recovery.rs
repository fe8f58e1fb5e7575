//! Sweeps are idempotent and race nobody.

use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{FilePatch, FileState};
use cloakroom_service::uploads::ConfirmUpload;
use cloakroom_worker::janitor;
use futures_util::future::{join, join_all};
use jiff::SignedDuration;

use crate::app::{Stores, ann};

#[tokio::test]
async fn every_sweep_twice_is_every_sweep_once() {
    let stores = Stores::new().await;
    let process = stores.start();
    let kept = process.upload(b"kept").await;
    process.work().await;
    let deleted = process.upload(b"deleted").await;
    process.work().await;
    process.app.delete_file(&ann(), deleted).await.expect("deleted");
    process.sign(b"never sent").await;
    stores.clock.advance(SignedDuration::from_hours(24 * 9));
    for _ in 0..2 {
        for sweep in janitor::SWEEPS {
            (sweep.run)(&process.app).await.expect("swept");
        }
        process.work().await;
    }
    for sweep in janitor::SWEEPS {
        let found = (sweep.run)(&process.app).await.expect("swept");
        assert!(
            found == 0 || sweep.name == "log",
            "{} found {found} things to do again",
            sweep.name
        );
    }
    assert_eq!(stores.file(kept).await.state, FileState::Ready);
    assert_eq!(stores.metadata.file(deleted).await.expect("an answer"), None);
}

#[tokio::test]
async fn a_confirm_at_the_last_moment_wins_or_is_told() {
    for _ in 0..20 {
        let stores = Stores::new().await;
        let process = stores.start();
        let signed = process.sign(b"late").await;
        process.send(&signed, b"late").await;
        stores.clock.advance(SignedDuration::from_hours(25));
        let id = signed.file.id;
        let (confirmed, swept) = join(
            process.app.confirm_upload(&ann(), id, ConfirmUpload::default()),
            process.app.sweep_expired_uploads(),
        )
        .await;
        swept.expect("swept");
        process.work().await;
        let state = stores.file(id).await.state;
        match confirmed {
            Ok(_) => assert_eq!(state, FileState::Ready),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::UploadExpired);
                assert_eq!(state, FileState::Expired);
                assert!(stores.keys().await.is_empty());
            }
        }
    }
}

#[tokio::test]
async fn changes_at_the_same_time_all_happen_one_after_the_other() {
    let stores = Stores::new().await;
    let process = stores.start();
    let id = process.upload(b"contended").await;
    process.work().await;
    let ann = ann();
    let patches = (0..6).map(|number| {
        let patch = FilePatch {
            filename: Some(format!("{number}.bin")),
            ..FilePatch::default()
        };
        process.app.update_file(&ann, id, patch, None)
    });
    let outcomes = join_all(patches).await;
    let changed = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(changed >= 1);
    for error in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(error.code(), ErrorCode::Conflict);
    }
    let file = stores.file(id).await;
    assert_eq!(file.epoch as usize, 1 + changed);
    process.recover().await;
    let keys = stores.keys().await;
    assert_eq!(
        keys,
        [file.key.clone(), format!("{}.{}.attr.json", file.key, file.epoch)]
    );
    stores.assert_history(id).await;
    stores.assert_quiet().await;
}

#[tokio::test]
async fn a_version_guards_against_overwriting() {
    let stores = Stores::new().await;
    let process = stores.start();
    let id = process.upload(b"guarded").await;
    process.work().await;
    let version = stores.file(id).await.version;
    let patch = || FilePatch {
        filename: Some("x".to_owned()),
        ..FilePatch::default()
    };
    process
        .app
        .update_file(&ann(), id, patch(), Some(version))
        .await
        .expect("updated");
    let stale = process
        .app
        .update_file(&ann(), id, patch(), Some(version))
        .await
        .expect_err("refused");
    assert_eq!(stale.code(), ErrorCode::PreconditionFailed);
}
