//! Uploads, and the lists that the sweepers work from.

use cloakroom_core::file::FileState;
use cloakroom_core::ports::metadata::MetadataError;
use jiff::SignedDuration;

use super::stage::{Stage, Store};
use crate::fixtures::SAMPLE_UPLOAD_TIME;

/// The upload changes with its file.
pub async fn a_transition_may_change_the_upload(store: Store) {
    let stage = Stage::new(store);
    let (file, mut upload) = stage.sign().await;
    upload.multipart_id = Some("2~x".to_owned());
    upload.part_size_bytes = Some(1 << 23);
    upload.expires_at += SignedDuration::from_mins(1);
    let mut transition = file.uploading(&stage.occasion()).expect("pending");
    transition.upload = Some(upload.clone());
    stage.apply(transition).await;
    assert_eq!(stage.store.upload(file.id).await.expect("upload"), Some(upload));
}

/// Changing the upload alone needs the file as it was read.
pub async fn update_upload_compares_the_version(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let mut changed = upload.clone();
    changed.multipart_id = Some("2~x".to_owned());
    let answer = stage.store.update_upload(&changed, file.version + 1).await;
    assert!(matches!(answer, Err(MetadataError::Conflict)), "{answer:?}");
    assert_eq!(
        stage.store.upload(file.id).await.expect("upload"),
        Some(upload.clone())
    );
    stage
        .store
        .update_upload(&changed, file.version)
        .await
        .expect("update");
    assert_eq!(
        stage.store.upload(file.id).await.expect("upload"),
        Some(changed.clone())
    );
    assert_eq!(stage.file(file.id).await, file, "the file itself is as it was");
    changed.file_id = stage.new_file().file.id;
    let answer = stage.store.update_upload(&changed, 1).await;
    assert!(matches!(answer, Err(MetadataError::Conflict)), "{answer:?}");
}

/// What the sweeper may claim: open, over, oldest first, no more than asked for.
pub async fn expired_uploads_are_open_ones_oldest_first(store: Store) {
    let stage = Stage::new(store);
    let (first, upload_of_first) = stage.sign().await;
    stage.pass(1);
    let (second, _) = stage.sign().await;
    let (settled, upload) = stage.sign().await;
    stage.confirm(&settled, &upload).await;
    stage.pass(1);
    let (third, upload_of_third) = stage.sign().await;

    let over = first.created_at + SAMPLE_UPLOAD_TIME;
    let moment = SignedDuration::from_micros(1);
    let expired = async |at, limit| {
        stage
            .store
            .expired_uploads(at, limit)
            .await
            .expect("expired uploads")
    };
    assert_eq!(expired(over - moment, 10).await, []);
    assert_eq!(expired(over, 10).await, [first.id]);
    let late = third.created_at + SAMPLE_UPLOAD_TIME;
    assert_eq!(expired(late, 10).await, [first.id, second.id, third.id]);
    assert_eq!(expired(late, 2).await, [first.id, second.id]);

    stage
        .apply(second.uploaded(&stage.occasion()).expect("open"))
        .await;
    assert_eq!(
        expired(late, 10).await,
        [first.id, second.id, third.id],
        "uploaded, and still nobody confirmed"
    );
    stage
        .apply(
            first
                .reap(&upload_of_first, "expired", &stage.occasion())
                .expect("open"),
        )
        .await;
    assert_eq!(expired(late, 10).await, [second.id, third.id]);

    let mut longer = upload_of_third;
    longer.expires_at += SignedDuration::from_hours(1);
    stage
        .store
        .update_upload(&longer, third.version)
        .await
        .expect("update");
    assert_eq!(expired(late, 10).await, [second.id]);
}

/// What the purge may claim.
pub async fn purgeable_files_are_trashed_ones_oldest_first(store: Store) {
    let stage = Stage::new(store);
    let mut trashed = Vec::new();
    for hours in [3, 1, 2] {
        let file = stage.ready(stage.new_file()).await;
        trashed.push(
            stage
                .apply(
                    file.trash(SignedDuration::from_hours(hours), &stage.occasion())
                        .expect("ready"),
                )
                .await,
        );
    }
    stage.ready(stage.new_file()).await;
    let now = stage.now();
    let purgeable = async |hours, limit| {
        stage
            .store
            .purgeable_files(now + SignedDuration::from_hours(hours), limit)
            .await
            .expect("purgeable files")
    };
    assert_eq!(purgeable(0, 10).await, []);
    assert_eq!(purgeable(1, 10).await, [trashed[1].id]);
    assert_eq!(
        purgeable(9, 10).await,
        [trashed[1].id, trashed[2].id, trashed[0].id]
    );
    assert_eq!(purgeable(9, 1).await, [trashed[1].id]);
    stage
        .apply(trashed[1].purge(&stage.occasion()).expect("trashed"))
        .await;
    assert_eq!(
        purgeable(9, 10).await,
        [trashed[2].id, trashed[0].id],
        "claimed ones are somebody's already"
    );
}

/// Undelete takes a file off the list.
pub async fn a_restored_file_is_not_purgeable(store: Store) {
    let stage = Stage::new(store);
    let file = stage.ready(stage.new_file()).await;
    let trashed = stage
        .apply(
            file.trash(SignedDuration::ZERO, &stage.occasion())
                .expect("ready"),
        )
        .await;
    assert_eq!(
        stage
            .store
            .purgeable_files(stage.now(), 10)
            .await
            .expect("purgeable"),
        [file.id]
    );
    let restored = stage
        .apply(trashed.restore(&stage.occasion()).expect("trashed"))
        .await;
    assert_eq!((restored.state, restored.trash), (FileState::Ready, None));
    assert_eq!(stage.file(file.id).await, restored);
    assert_eq!(
        stage
            .store
            .purgeable_files(stage.now(), 10)
            .await
            .expect("purgeable"),
        []
    );
}
