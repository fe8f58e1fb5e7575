//! A store that closes, and processes that stand still meanwhile: whatever they were at is done before it is closed, or not at
//! all.

use std::sync::Arc;

use cloakroom_core::JsonObject;
use cloakroom_core::access::Role;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::file::{FilePatch, FileState};
use cloakroom_core::id::{AuditId, FileId};
use cloakroom_core::job::JobState;
use cloakroom_core::storage::{StorageMode, StoreState};
use cloakroom_service::stores::{SETTLED_AFTER, StoreDefinition, StoreRegistry};
use cloakroom_service::uploads::ConfirmUpload;
use cloakroom_testkit::crashes::{CrashPlan, CrashingAdministration, CrashingMetadata, CrashingObjects};
use jiff::SignedDuration;
use uuid::Uuid;

use crate::app::{Process, Stores, ann, person};

/// More points than any scenario here has; a scenario that reaches it never ends.
const POINTS_MAX: usize = 200;

/// A process to which the modes of its store are those of the database.
fn watching(stores: &Stores, mut process: Process) -> Process {
    let app = Arc::get_mut(&mut process.app).expect("nobody else has it");
    let definition = StoreDefinition::new("main", [stores.bucket.as_str()]);
    app.stores = Arc::new(StoreRegistry::new([definition]));
    process
}

async fn started(stores: &Stores) -> Process {
    let process = watching(stores, stores.start());
    assert_eq!(process.app.reconcile_stores().await.expect("an answer"), []);
    process
}

/// One that stands still at a point until the plan says so.
async fn sleeper(stores: &Stores, plan: &Arc<CrashPlan>) -> Process {
    let metadata = CrashingMetadata {
        inner: Arc::clone(&stores.metadata),
        crash: Arc::clone(plan),
    };
    let administration = CrashingAdministration {
        inner: Arc::clone(&stores.administration),
        crash: Arc::clone(plan),
    };
    let objects = CrashingObjects {
        inner: Arc::clone(&stores.objects),
        crash: Arc::clone(plan),
    };
    let process = stores.start_with(
        Arc::new(metadata),
        Arc::new(administration),
        Arc::new(objects),
        vec![],
    );
    let process = watching(stores, process);
    process.app.refresh_stores().await.expect("read");
    process
}

/// What the keeper of a process does every second.
async fn refresh(process: &Process) {
    process.app.refresh_stores().await.expect("read");
}

async fn state(stores: &Stores) -> StoreState {
    let mut states = stores.administration.stores().await.expect("an answer");
    states.remove(0)
}

/// Another mode at once, without waiting for anything.
async fn force(stores: &Stores, mode: StorageMode) {
    let before = state(stores).await;
    let changed = StoreState {
        mode,
        epoch: before.epoch + 1,
        draining_until: None,
        ..before.clone()
    };
    let audit = AuditEntry {
        id: AuditId(Uuid::now_v7()),
        at: before.changed_at,
        actor: "test".to_owned(),
        action: "store.mode_changed".to_owned(),
        subject: "main".to_owned(),
        data: JsonObject::new(),
    };
    let put = stores
        .administration
        .put_store(&changed, Some(before.epoch), &audit);
    put.await.expect("written");
}

/// Closes the store and lets an hour pass, with a leader that looks every now and then.
async fn close(leader: &Process, stores: &Stores) {
    let admin = person("ada", Role::Admin);
    let changed = leader
        .app
        .change_mode(&admin, "main", StorageMode::Ro, false)
        .await;
    changed.expect("closing");
    for _ in 0..6 {
        stores.clock.advance(SignedDuration::from_mins(10));
        leader.app.end_drains().await.expect("an answer");
    }
}

/// Runs `scenario` of one process up to a point, then `meanwhile`, then the rest; `None` when there is no such point.
async fn interrupted<T>(
    stores: &Stores,
    point: usize,
    scenario: impl AsyncFnOnce(&Process) -> T,
    meanwhile: impl AsyncFnOnce(),
) -> Option<T> {
    let plan = CrashPlan::pausing_at(point);
    let process = sleeper(stores, &plan).await;
    let running = scenario(&process);
    tokio::pin!(running);
    tokio::select! {
        _ = &mut running => return None,
        () = plan.crashed() => {}
    }
    meanwhile().await;
    plan.resume();
    Some(running.await)
}

#[tokio::test]
async fn a_store_does_not_close_before_what_came_in_is_verified() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let leader = started(&stores).await;
        force(&stores, StorageMode::Rw).await;
        refresh(&leader).await;
        let id = leader.upload(b"abc").await;
        let verified = async |id: FileId| stores.file(id).await.state == FileState::Ready;
        let paused = interrupted(
            &stores,
            point,
            async |process| process.work().await,
            async || {
                let was_verified = verified(id).await;
                close(&leader, &stores).await;
                let closed = state(&stores).await.mode == StorageMode::Ro;
                assert_eq!(closed, was_verified, "stood still at {point}");
            },
        )
        .await;
        if paused.is_none() {
            assert!(point > 4, "the scenario has points");
            return;
        }
        // Another worker takes over what was held for too long.
        refresh(&leader).await;
        leader.work().await;
        assert!(verified(id).await, "stood still at {point}");
        for _ in 0..2 {
            leader.app.end_drains().await.expect("an answer");
        }
        assert_eq!(
            state(&stores).await.mode,
            StorageMode::Ro,
            "stood still at {point}"
        );
        stores.assert_history(id).await;
    }
    panic!("the scenario never ends");
}

#[tokio::test]
async fn work_that_was_begun_before_a_store_was_closed_by_force_waits() {
    let mut refused = 0;
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let process = started(&stores).await;
        let id = process.upload(b"abc").await;
        let paused = interrupted(
            &stores,
            point,
            async |process| process.work().await,
            async || force(&stores, StorageMode::Ro).await,
        )
        .await;
        if paused.is_none() {
            assert!(refused > 3, "{refused} of {point} were refused");
            return;
        }
        refresh(&process).await;
        let file = stores.file(id).await;
        if file.state != FileState::Ready {
            refused += 1;
            let jobs = stores.metadata.jobs(Some(JobState::Dead), None, 10).await;
            assert_eq!(jobs.expect("jobs").items, [], "it waits, and is not given up");
            // Not even when it is tried again and again.
            for _ in 0..5 {
                stores.clock.advance(SignedDuration::from_mins(2));
                refresh(&process).await;
                process.work().await;
            }
            assert_ne!(
                stores.file(id).await.state,
                FileState::Ready,
                "stood still at {point}"
            );
            force(&stores, StorageMode::Rw).await;
            stores.clock.advance(SignedDuration::from_mins(2));
            refresh(&process).await;
            process.work().await;
        }
        assert_eq!(
            stores.file(id).await.state,
            FileState::Ready,
            "stood still at {point}"
        );
        stores.assert_history(id).await;
    }
    panic!("the scenario never ends");
}

#[tokio::test]
async fn a_confirm_that_stood_still_while_the_store_closed_comes_too_late() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let leader = started(&stores).await;
        force(&stores, StorageMode::Rw).await;
        refresh(&leader).await;
        let signed = leader.sign(b"abc").await;
        leader.send(&signed, b"abc").await;
        let id = signed.file.id;
        let confirmed = interrupted(
            &stores,
            point,
            async |process| {
                let ann = ann();
                let confirm = process.app.confirm_upload(&ann, id, ConfirmUpload::default());
                confirm.await.is_ok()
            },
            async || close(&leader, &stores).await,
        )
        .await;
        let Some(confirmed) = confirmed else {
            assert!(point > 0, "the scenario has points");
            return;
        };
        let file = stores.file(id).await;
        // An acknowledged confirm is kept (I3), so the store is still open for it; a late one was refused.
        let closed = state(&stores).await.mode == StorageMode::Ro;
        assert_eq!(confirmed, file.confirmed_at.is_some(), "stood still at {point}");
        assert_eq!(closed, !confirmed, "stood still at {point}: {:?}", file.state);
    }
    panic!("the scenario never ends");
}

#[tokio::test]
async fn the_trash_of_a_store_that_deletes_nothing_waits() {
    let stores = Stores::new().await;
    let process = started(&stores).await;
    let id = process.upload(b"abc").await;
    process.work().await;
    process.app.delete_file(&ann(), id).await.expect("trashed");
    force(&stores, StorageMode::Rw).await;
    stores.clock.advance(SignedDuration::from_hours(24 * 8));
    refresh(&process).await;
    assert_eq!(process.app.sweep_trash().await.expect("an answer"), 0);
    assert_eq!(stores.file(id).await.state, FileState::Trashed);
    // One that was claimed before: its job waits.
    force(&stores, StorageMode::Edit).await;
    refresh(&process).await;
    assert_eq!(process.app.sweep_trash().await.expect("an answer"), 1);
    force(&stores, StorageMode::Rw).await;
    refresh(&process).await;
    process.work().await;
    assert_eq!(stores.file(id).await.state, FileState::Purging);
    assert_eq!(stores.bytes(&stores.file(id).await.key).await, b"abc");
    force(&stores, StorageMode::Edit).await;
    stores.clock.advance(SignedDuration::from_mins(2));
    refresh(&process).await;
    process.work().await;
    assert!(
        stores.metadata.file(id).await.expect("an answer").is_none(),
        "purged"
    );
}

#[tokio::test]
async fn what_was_never_confirmed_goes_in_every_mode() {
    for mode in [StorageMode::Rw, StorageMode::Ro, StorageMode::Ar] {
        let stores = Stores::new().await;
        let process = started(&stores).await;
        let signed = process.sign(b"abc").await;
        process.send(&signed, b"abc").await;
        force(&stores, mode).await;
        stores.clock.advance(SignedDuration::from_hours(48));
        refresh(&process).await;
        assert_eq!(
            process.app.sweep_expired_uploads().await.expect("an answer"),
            1,
            "{mode:?}"
        );
        process.work().await;
        assert_eq!(
            stores.file(signed.file.id).await.state,
            FileState::Expired,
            "{mode:?}"
        );
        assert!(
            !stores.keys().await.contains(&signed.upload.staging_key),
            "{mode:?}"
        );
        let usage = stores.metadata.usage("ann").await.expect("usage");
        assert_eq!(usage.reserved_bytes, 0, "{mode:?}");
    }
}

#[tokio::test]
async fn a_change_of_metadata_that_stood_still_is_whole_or_refused() {
    for point in 0..POINTS_MAX {
        let stores = Stores::new().await;
        let leader = started(&stores).await;
        force(&stores, StorageMode::Rw).await;
        refresh(&leader).await;
        let id = leader.upload(b"abc").await;
        leader.work().await;
        let patch = || FilePatch {
            description: Some(Some("new".to_owned())),
            ..FilePatch::default()
        };
        let updated = interrupted(
            &stores,
            point,
            async |process| process.app.update_file(&ann(), id, patch(), None).await.is_ok(),
            async || close(&leader, &stores).await,
        )
        .await;
        let Some(updated) = updated else {
            assert!(point > 0, "the scenario has points");
            return;
        };
        leader.recover().await;
        let file = stores.file(id).await;
        assert_eq!(updated, file.description.is_some(), "stood still at {point}");
        let keys = stores.keys().await;
        let newest = keys.iter().filter(|key| key.ends_with(".attr.json")).max();
        let own = format!("{}.{}.attr.json", file.key, file.epoch);
        assert_eq!(newest, Some(&own), "stood still at {point}");
        // Whoever comes after the store was closed is refused.
        refresh(&leader).await;
        stores.clock.advance(SETTLED_AFTER);
        refresh(&leader).await;
        let late = leader.app.update_file(&ann(), id, patch(), None).await;
        assert_eq!(late.expect_err("closed").code().as_str(), "invalid_storage_mode");
    }
    panic!("the scenario never ends");
}
