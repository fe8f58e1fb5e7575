//! Sweeps are idempotent and race nobody.

use cloakroom_core::access::Role;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{FilePatch, FileState};
use cloakroom_service::uploads::{ConfirmUpload, SignUpload};
use cloakroom_worker::janitor;
use futures_util::future::{join, join_all};
use jiff::SignedDuration;

use crate::app::{Stores, ann, person};

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
        let (confirmed, swept) = Box::pin(join(
            process.app.confirm_upload(&ann(), id, ConfirmUpload::default()),
            process.app.sweep_expired_uploads(),
        ))
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

#[tokio::test]
async fn an_idempotency_key_names_one_upload_for_ever() {
    let stores = Stores::new().await;
    let process = stores.start();
    let request = || SignUpload {
        collection: "files".to_owned(),
        filename: "a.bin".to_owned(),
        size_bytes: Some(4),
        idempotency_key: Some("key-1".to_owned()),
        ..SignUpload::default()
    };
    let sign = async || process.app.sign_upload(&ann(), request()).await;
    let first = sign().await.expect("signed");
    assert!(!first.repeated);

    // The first signature has expired, the upload is still open: a fresh one.
    stores.clock.advance(SignedDuration::from_hours(1));
    let again = sign().await.expect("signed again");
    assert!(again.repeated);
    assert_eq!(again.file.id, first.file.id);
    assert!(again.upload.expires_at > first.upload.expires_at);
    assert_eq!(again.upload.staging_key, first.upload.staging_key);

    // Somebody else's equal key is another upload.
    let bob = process
        .app
        .sign_upload(&person("bob", Role::User), request())
        .await
        .expect("signed");
    assert_ne!(bob.file.id, first.file.id);

    process.send(&first, b"data").await;
    process.confirm(first.file.id).await;
    process.work().await;
    assert_eq!(sign().await.expect("answered").file.state, FileState::Ready);

    process
        .app
        .delete_file(&ann(), first.file.id)
        .await
        .expect("deleted");
    stores.clock.advance(SignedDuration::from_hours(24 * 8));
    process.recover().await;
    assert_eq!(
        sign().await.expect_err("refused").code(),
        ErrorCode::IdempotencyKeyReused
    );

    let abandoned = || SignUpload {
        idempotency_key: Some("key-2".to_owned()),
        ..request()
    };
    process
        .app
        .sign_upload(&ann(), abandoned())
        .await
        .expect("signed");
    stores.clock.advance(SignedDuration::from_hours(25));
    process.recover().await;
    let late = process
        .app
        .sign_upload(&ann(), abandoned())
        .await
        .expect_err("refused");
    assert_eq!(late.code(), ErrorCode::UploadExpired);
}

#[tokio::test]
async fn a_batch_is_all_or_each_for_itself() {
    let stores = Stores::new().await;
    let process = stores.start();
    let good = || SignUpload {
        collection: "files".to_owned(),
        filename: "a".to_owned(),
        ..SignUpload::default()
    };
    let bad = || SignUpload {
        filename: "a/b".to_owned(),
        ..good()
    };
    let each = process
        .app
        .sign_batch(&ann(), vec![good(), bad(), good()], false)
        .await
        .expect("answers");
    assert_eq!(
        each.iter().map(Result::is_ok).collect::<Vec<_>>(),
        [true, false, true]
    );
    let before = stores.metadata.statistics().await.expect("statistics");
    let all = process
        .app
        .sign_batch(&ann(), vec![good(), bad()], true)
        .await
        .expect_err("refused");
    assert_eq!(all.code(), ErrorCode::InvalidRequest);
    assert_eq!(
        stores.metadata.statistics().await.expect("statistics"),
        before,
        "nothing was signed"
    );
    assert!(process.app.sign_batch(&ann(), vec![], false).await.is_err());
}
