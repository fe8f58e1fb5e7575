//! `/admin/stores`: what administrators see of stores, and how they close and open them.

use std::sync::Arc;

use cloakroom_core::format::mode_v1::{MODE_KEY, ModeV1};
use cloakroom_core::ports::objects::{GetOptions, ObjectPath, ObjectStore as _};
use cloakroom_core::storage::{StorageMode, StoreState};
use cloakroom_service::App;
use cloakroom_service::stores::{SETTLED_AFTER, StoreDefinition, StoreRegistry, Take};
use futures_util::StreamExt as _;
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::modes::{set_mode, watched};
use crate::test_app::{Answer, BUCKET, TestApp};

async fn change(app: &TestApp, body: Value) -> Answer {
    let path = "/api/v1/admin/stores/main/mode";
    app.call("ada", Method::PUT, path, Some(body)).await
}

/// The document beside the data.
async fn beside(app: &TestApp) -> Option<StoreState> {
    let path = ObjectPath::new(BUCKET, MODE_KEY);
    let mut read = app.app.objects.get(&path, &GetOptions::default()).await.ok()?;
    let mut bytes = Vec::new();
    while let Some(piece) = read.body.next().await {
        bytes.extend_from_slice(&piece.expect("bytes"));
    }
    Some(ModeV1::decode(&bytes).expect("readable"))
}

async fn in_database(app: &TestApp) -> StoreState {
    let mut states = app.app.administration.stores().await.expect("an answer");
    assert_eq!(states.len(), 1);
    states.remove(0)
}

/// Another process on the same stores.
fn beside_process(app: &TestApp) -> App {
    let one = &app.app;
    App {
        metadata: Arc::clone(&one.metadata),
        administration: Arc::clone(&one.administration),
        objects: Arc::clone(&one.objects),
        stores: Arc::new(StoreRegistry::new([StoreDefinition::new("main", [BUCKET])])),
        signer: Arc::clone(&one.signer),
        clock: Arc::clone(&one.clock),
        random: Arc::clone(&one.random),
        signals: Arc::clone(&one.signals),
        collections: one.collections.clone(),
        scanner: one.scanner.clone(),
        alerts: Arc::clone(&one.alerts),
        processors: one.processors.clone(),
        variants: one.variants.clone(),
        policy: one.policy.clone(),
    }
}

#[tokio::test]
async fn stores_are_shown_to_administrators() {
    let app = watched().await;
    let listed = app.get("ada", "/api/v1/admin/stores").await;
    assert_eq!(listed.status, 200, "{listed:?}");
    let store = json!({
        "name": "main", "kind": "local", "address": null, "buckets": ["bucket"], "mode": "edit", "epoch": 1,
        "draining_until": null, "changed_at": "2026-01-02T03:04:05.000006Z", "changed_by": "configuration",
        "configured_mode": null, "next_modes": [], "capacity_bytes": null,
    });
    assert_eq!(
        listed.json(),
        json!({
            "stores": [store],
            "leader": {"name": null, "elected_at": null, "is_leader": false},
        })
    );
    assert_eq!(app.get("ada", "/api/v1/admin/stores/main").await.json(), store);
    let none = app.get("ada", "/api/v1/admin/stores/cellar").await;
    assert_eq!(none.refusal(), (404, "not_found".to_owned()));
    assert_eq!(none.problem()["details"]["known"], json!(["main"]));
    for user in ["ann", "olga"] {
        for path in ["/api/v1/admin/stores", "/api/v1/admin/stores/main"] {
            assert_eq!(app.get(user, path).await.status, 403, "{user} {path}");
        }
        let path = "/api/v1/admin/stores/main/mode";
        let answer = app
            .call(user, Method::PUT, path, Some(json!({"mode": "ro"})))
            .await;
        assert_eq!(answer.status, 403, "{user}");
    }
    let ready = app.get("", "/health/ready").await.json();
    assert_eq!(
        ready,
        json!({"status": "ok", "stores": [{"name": "main", "mode": "edit", "draining": false}]})
    );
}

#[tokio::test]
async fn a_step_that_is_not_in_the_table_changes_nothing() {
    let app = watched().await;
    let table = [
        (StorageMode::Edit, json!({"mode": "ro"}), "invalid_storage_mode"),
        (
            StorageMode::Edit,
            json!({"mode": "rw", "confirm": true}),
            "invalid_storage_mode",
        ),
        (StorageMode::Rw, json!({"mode": "ar"}), "invalid_storage_mode"),
        (StorageMode::Rw, json!({"mode": "rw"}), "invalid_storage_mode"),
        (StorageMode::Ro, json!({"mode": "rw"}), "confirmation_required"),
        (
            StorageMode::Ro,
            json!({"mode": "rw", "confirm": false}),
            "confirmation_required",
        ),
        (
            StorageMode::Ar,
            json!({"mode": "ro", "confirm": true}),
            "invalid_storage_mode",
        ),
    ];
    for (mode, body, code) in table {
        set_mode(&app, mode, false).await;
        let before = in_database(&app).await;
        let answer = change(&app, body.clone()).await;
        assert_eq!(answer.refusal(), (409, code.to_owned()), "{mode:?} {body}");
        assert_eq!(in_database(&app).await, before, "{mode:?} {body}");
    }
    for (body, status) in [
        (json!({"mode": "wo"}), 422),
        (json!({}), 422),
        (json!({"mode": "ro", "confirm": "yes"}), 422),
        (json!({"mode": "ro", "colour": "red"}), 422),
    ] {
        assert_eq!(change(&app, body.clone()).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn a_store_closes_when_what_was_promised_is_kept() {
    let app = watched().await;
    set_mode(&app, StorageMode::Rw, false).await;
    let id = app
        .upload("ann", "a.txt", b"abc", json!({"collection": "files"}))
        .await;
    let late = app
        .upload("ann", "b.txt", b"abc", json!({"collection": "files"}))
        .await;
    let file_id = id.parse().expect("an id");
    let upload = app
        .app
        .metadata
        .upload(file_id)
        .await
        .expect("an answer")
        .expect("an upload");

    let closing = change(&app, json!({"mode": "ro"})).await;
    assert_eq!(closing.status, 200, "{closing:?}");
    let body = closing.json();
    assert_eq!(
        (&body["mode"], &body["changed_by"]),
        (&json!("rw"), &json!("ada"))
    );
    assert_eq!(body["draining_until"], upload.expires_at.to_string());
    assert_eq!(body["next_modes"], json!(["rw"]));
    // Asked for again, nothing changes.
    assert_eq!(change(&app, json!({"mode": "ro"})).await.json(), body);
    let refused = change(&app, json!({"mode": "ar"})).await;
    assert_eq!(refused.refusal().1, "invalid_storage_mode");
    assert_eq!(beside(&app).await, Some(in_database(&app).await));

    let request = json!({"collection": "files", "filename": "c.txt"});
    let refused = app.post("ann", "/api/v1/uploads", request).await;
    assert_eq!(refused.refusal(), (409, "invalid_storage_mode".to_owned()));
    assert_eq!(
        refused.problem()["details"]["draining_until"],
        body["draining_until"]
    );
    let path = format!("/api/v1/uploads/{id}/confirm");
    let confirmed = app.call("ann", Method::POST, &path, None).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");

    assert_eq!(
        app.app.end_drains().await.expect("an answer"),
        0,
        "a ticket is out"
    );
    app.clock.advance(SignedDuration::from_hours(1));
    app.app.refresh_stores().await.expect("read");
    // Late: its time is over, though within the grace.
    let path = format!("/api/v1/uploads/{late}/confirm");
    let refused = app.call("ann", Method::POST, &path, None).await;
    assert_eq!(refused.refusal().1, "invalid_storage_mode");
    assert_eq!(
        app.app.end_drains().await.expect("an answer"),
        0,
        "the late one is claimed first"
    );
    assert_eq!(
        app.app.end_drains().await.expect("an answer"),
        0,
        "the other one is not verified"
    );
    app.work().await;
    assert_eq!(app.app.end_drains().await.expect("an answer"), 1);
    assert_eq!(app.app.end_drains().await.expect("an answer"), 0);

    let closed = in_database(&app).await;
    assert_eq!((closed.mode, closed.draining_until), (StorageMode::Ro, None));
    assert_eq!(beside(&app).await, Some(closed));
    let state = |id: String| {
        let app = &app;
        async move { app.get("ann", &format!("/api/v1/files/{id}")).await.json()["state"].clone() }
    };
    assert_eq!(
        (state(id).await, state(late).await),
        (json!("ready"), json!("expired"))
    );
    assert_drain_is_on_record(&app).await;
}

/// Who did what, newest first.
async fn assert_drain_is_on_record(app: &TestApp) {
    let audit = app.get("ada", "/api/v1/admin/audit").await.json();
    let entries: Vec<(&str, &str)> = audit["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["actor"] != "test")
        .map(|entry| {
            (
                entry["action"].as_str().expect("text"),
                entry["actor"].as_str().expect("text"),
            )
        })
        .collect();
    assert_eq!(
        entries,
        [
            ("store.mode_changed", "leader"),
            ("store.drain_started", "ada"),
            ("store.registered", "configuration"),
        ]
    );
}

#[tokio::test]
async fn a_store_that_closes_is_called_back_with_a_confirmation() {
    let app = watched().await;
    set_mode(&app, StorageMode::Rw, false).await;
    assert_eq!(change(&app, json!({"mode": "ro"})).await.status, 200);
    let refused = change(&app, json!({"mode": "rw"})).await;
    assert_eq!(refused.refusal().1, "confirmation_required");
    let back = change(&app, json!({"mode": "rw", "confirm": true})).await.json();
    assert_eq!(
        (&back["mode"], &back["draining_until"]),
        (&json!("rw"), &Value::Null)
    );
    app.clock.advance(SignedDuration::from_hours(1));
    assert_eq!(app.app.end_drains().await.expect("an answer"), 0);
    app.app.refresh_stores().await.expect("read");
    let request = json!({"collection": "files", "filename": "c.txt"});
    assert_eq!(app.post("ann", "/api/v1/uploads", request).await.status, 201);
}

#[tokio::test]
async fn the_way_of_a_store_to_the_archive() {
    let app = watched().await;
    let id = app
        .ready("ann", "a.txt", b"abc", json!({"collection": "files"}))
        .await;
    set_mode(&app, StorageMode::Rw, false).await;
    assert_eq!(change(&app, json!({"mode": "ro"})).await.status, 200);
    // Nothing was signed, so it takes no longer than until everybody knows.
    app.clock.advance(SETTLED_AFTER + SignedDuration::from_millis(1));
    assert_eq!(app.app.end_drains().await.expect("an answer"), 1);
    let archived = change(&app, json!({"mode": "ar"})).await.json();
    assert_eq!(
        (&archived["mode"], &archived["next_modes"]),
        (&json!("ar"), &json!([]))
    );
    let refused = app.get("ann", &format!("/api/v1/files/{id}/download")).await;
    assert_eq!(refused.refusal(), (409, "archived_file".to_owned()));
    let details = &refused.problem()["details"];
    assert_eq!(details["restore"], "POST /api/v1/files/{file_id}/unarchive");
    assert_eq!(details["file_id"], id.as_str());
}

#[tokio::test]
async fn a_crash_between_the_row_and_the_document_is_rolled_forward() {
    let app = watched().await;
    set_mode(&app, StorageMode::Ro, false).await;
    app.app.reconcile_stores().await.expect("an answer");
    let path = ObjectPath::new(BUCKET, MODE_KEY);
    let before = in_database(&app).await;
    // The documents of the modes that a test set behind the service's back.
    app.app
        .take_mode("main", Take::Database, true, "test")
        .await
        .expect("agreed");
    app.objects.set_away(true);
    let answer = change(&app, json!({"mode": "ar"})).await;
    assert_eq!(answer.refusal(), (503, "unavailable".to_owned()));
    app.objects.set_away(false);
    let changed = in_database(&app).await;
    assert_eq!(changed.mode, StorageMode::Ar, "the row decides");
    assert!(changed.epoch > before.epoch);
    assert_eq!(
        beside(&app).await.expect("a document").mode,
        StorageMode::Ro,
        "and the document is behind"
    );
    // A start finds the change unfinished, and no disagreement.
    let other = beside_process(&app);
    assert_eq!(other.reconcile_stores().await.expect("an answer"), []);
    assert_eq!(beside(&app).await, Some(changed.clone()));
    // So does recovery, when the author is taken for dead; whoever finds it first.
    app.objects.delete(&path).await.expect("removed");
    app.clock.advance(SignedDuration::from_mins(2));
    assert_eq!(app.app.recover_intents().await.expect("an answer"), 1);
    assert_eq!(beside(&app).await, Some(changed));
    assert_eq!(app.app.recover_intents().await.expect("an answer"), 0);
}

#[tokio::test]
async fn a_lost_database_takes_the_mode_from_beside_the_data() {
    let app = watched().await;
    set_mode(&app, StorageMode::Ro, false).await;
    app.app
        .take_mode("main", Take::Database, true, "test")
        .await
        .expect("agreed");
    assert_eq!(change(&app, json!({"mode": "ar"})).await.status, 200);
    let closed = beside(&app).await.expect("a document");

    let after = watched_over(&app).await;
    assert_eq!(after.reconcile_stores().await.expect("an answer"), []);
    let states = after.administration.stores().await.expect("an answer");
    assert_eq!(states, [closed]);
}

/// A process with an empty database and the stores of another instance.
async fn watched_over(app: &TestApp) -> App {
    let fresh = TestApp::new().await;
    let mut process = beside_process(&fresh);
    process.objects = Arc::clone(&app.app.objects);
    process
}

#[tokio::test]
async fn a_disagreement_is_told_and_ended() {
    let app = watched().await;
    set_mode(&app, StorageMode::Rw, false).await;
    let other = beside_process(&app);
    let found = other.reconcile_stores().await.expect("an answer");
    assert_eq!(found.len(), 1);
    let words = found[0].to_string();
    for part in [
        "main",
        "rw (epoch 2",
        "edit (epoch 1",
        "bucket/_cloakroom/mode.json",
        "storage.mode",
        "reconcile main",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    let opening = other.take_mode("main", Take::File, false, "command-line").await;
    assert_eq!(
        opening.expect_err("refused").code().as_str(),
        "confirmation_required"
    );
    let taken = other
        .take_mode("main", Take::Database, false, "command-line")
        .await
        .expect("taken");
    assert!(taken.changed);
    assert_eq!((taken.state.mode, taken.state.epoch), (StorageMode::Rw, 3));
    assert_eq!(other.reconcile_stores().await.expect("an answer"), []);
    assert_eq!(beside(&app).await, Some(taken.state));
    let again = other
        .take_mode("main", Take::Database, false, "command-line")
        .await
        .expect("taken");
    assert!(!again.changed);
    let nothing = other
        .take_mode("main", Take::Configuration, true, "command-line")
        .await;
    assert_eq!(nothing.expect_err("refused").code().as_str(), "not_found");
}

#[tokio::test]
async fn another_process_sees_a_change_or_believes_nothing() {
    let app = watched().await;
    set_mode(&app, StorageMode::Rw, false).await;
    let other = beside_process(&app);
    other.refresh_stores().await.expect("read");
    let create = |app: &App| {
        let admitted = app.admit(cloakroom_core::storage::StorageAction::Create, BUCKET);
        admitted.err().map(|refusal| refusal.code.as_str())
    };
    assert_eq!(create(&other), None);
    assert_eq!(change(&app, json!({"mode": "ro"})).await.status, 200);
    assert_eq!(
        create(&app.app),
        Some("invalid_storage_mode"),
        "at once where it was changed"
    );
    assert_eq!(create(&other), None, "a moment later elsewhere");
    // A process that stood still trusts nothing that it knew when the store may have been closed.
    app.clock.advance(SETTLED_AFTER);
    assert_eq!(app.app.end_drains().await.expect("an answer"), 0);
    assert_eq!(create(&other), Some("unavailable"));
    app.clock.advance(SignedDuration::from_millis(1));
    assert_eq!(app.app.end_drains().await.expect("an answer"), 1);
    other.refresh_stores().await.expect("read");
    assert_eq!(create(&other), Some("invalid_storage_mode"));
}
