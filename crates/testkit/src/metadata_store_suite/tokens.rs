//! Service tokens, settings, counts, and whether the store is well.

use cloakroom_core::access::Role;
use cloakroom_core::file::FileState;
use cloakroom_core::id::ServiceTokenId;
use cloakroom_core::job::{JobKind, JobState};
use cloakroom_core::ports::metadata::{MetadataError, ServiceToken};
use cloakroom_core::ports::random::Random as _;
use jiff::SignedDuration;
use serde_json::json;

use super::stage::{Stage, Store};
use crate::fixtures::{SAMPLE_BYTES, object};

fn token(stage: &Stage, name: &str, secret: u8) -> ServiceToken {
    ServiceToken {
        id: ServiceTokenId(stage.random.uuid_v7(stage.now())),
        name: name.to_owned(),
        role: Role::User,
        collections: Some(vec!["photos".to_owned(), "жалобы \"1\"".to_owned()]),
        secret_sha256: [secret; 32],
        created_at: stage.now(),
        expires_at: Some(stage.now() + SignedDuration::from_hours(1)),
        revoked_at: None,
    }
}

/// By the digest of the secret, expired ones included: who decides is the caller.
pub async fn service_tokens_are_found_by_their_digest(store: Store) {
    let stage = Stage::new(store);
    let first = token(&stage, "bot", 1);
    stage.store.put_service_token(&first).await.expect("put");
    stage.pass(24 * 3600);
    let mut second = token(&stage, "bot", 2);
    (second.role, second.collections, second.expires_at) = (Role::Admin, None, None);
    stage.store.put_service_token(&second).await.expect("put");
    assert_eq!(
        stage.store.service_token(&[1; 32]).await.expect("token"),
        Some(first.clone())
    );
    assert_eq!(
        stage.store.service_token(&[2; 32]).await.expect("token"),
        Some(second.clone())
    );
    assert_eq!(stage.store.service_token(&[3; 32]).await.expect("token"), None);
    assert_eq!(
        stage.store.service_tokens().await.expect("tokens"),
        [second, first]
    );
    let same_secret = token(&stage, "thief", 1);
    let answer = stage.store.put_service_token(&same_secret).await;
    assert!(matches!(answer, Err(MetadataError::Conflict)), "{answer:?}");
}

/// Revoked once, and remembered.
pub async fn a_service_token_is_revoked_once(store: Store) {
    let stage = Stage::new(store);
    let kept = token(&stage, "bot", 1);
    stage.store.put_service_token(&kept).await.expect("put");
    let revoked_at = stage.pass(60);
    assert!(
        stage
            .store
            .revoke_service_token(kept.id, revoked_at)
            .await
            .expect("revoke")
    );
    let found = stage
        .store
        .service_token(&[1; 32])
        .await
        .expect("token")
        .expect("it is remembered");
    assert_eq!(
        found,
        ServiceToken {
            revoked_at: Some(revoked_at),
            ..kept.clone()
        }
    );
    assert!(
        !stage
            .store
            .revoke_service_token(kept.id, stage.pass(60))
            .await
            .expect("revoke")
    );
    assert_eq!(
        stage.store.service_token(&[1; 32]).await.expect("token"),
        Some(found)
    );
    let unknown = token(&stage, "x", 9);
    assert!(
        !stage
            .store
            .revoke_service_token(unknown.id, revoked_at)
            .await
            .expect("revoke")
    );
}

/// The last value stands.
pub async fn settings_are_replaced(store: Store) {
    let stage = Stage::new(store);
    assert_eq!(stage.store.setting("mode").await.expect("setting"), None);
    for value in [
        json!({ "mode": "rw" }),
        json!({}),
        json!({ "mode": "ro", "ж": [1, null] }),
    ] {
        stage
            .store
            .put_setting("mode", &object(value.clone()))
            .await
            .expect("put");
        assert_eq!(
            stage.store.setting("mode").await.expect("setting"),
            Some(object(value))
        );
    }
    stage
        .store
        .put_setting("other", &object(json!({ "a": 1 })))
        .await
        .expect("put");
    assert_eq!(
        stage
            .store
            .setting("mode")
            .await
            .expect("setting")
            .map(|value| value.len()),
        Some(2)
    );
}

/// Counts for metrics.
pub async fn statistics_count_files_jobs_and_bytes(store: Store) {
    let stage = Stage::new(store);
    let count = async |file: Option<FileState>, job: Option<JobState>| {
        let statistics = stage.store.statistics().await.expect("statistics");
        let files = statistics
            .files
            .iter()
            .find(|(state, _)| Some(*state) == file)
            .map_or(0, |(_, n)| *n);
        let jobs = statistics
            .jobs
            .iter()
            .find(|(state, _)| Some(*state) == job)
            .map_or(0, |(_, n)| *n);
        (files, jobs, statistics.stored_bytes)
    };
    assert_eq!(
        count(Some(FileState::Ready), Some(JobState::Ready)).await,
        (0, 0, 0)
    );
    stage.sign().await;
    stage.ready(stage.new_file()).await;
    stage.ready(stage.new_file()).await;
    assert_eq!(
        count(Some(FileState::Pending), Some(JobState::Running)).await,
        (1, 0, 2 * SAMPLE_BYTES)
    );
    assert_eq!(
        count(Some(FileState::Ready), Some(JobState::Ready)).await,
        (2, 2, 2 * SAMPLE_BYTES)
    );
    stage.enqueue(JobKind::ReapUpload).await;
    stage.claim("worker-1", 1).await;
    assert_eq!(count(None, Some(JobState::Ready)).await.1, 2);
    assert_eq!(count(None, Some(JobState::Running)).await.1, 1);
}

/// A store that works says so.
pub async fn ping_answers(store: Store) {
    store.ping().await.expect("ping");
}
