//! Legal hold, the archive, and deletions that take everything along.

use http::Method;
use serde_json::json;

use crate::test_app::TestApp;

fn code(code: u16, name: &str) -> (u16, String) {
    (code, name.to_owned())
}

#[tokio::test]
async fn a_hold_is_ordered_shown_and_ended() {
    let app = TestApp::new().await;
    let id = app.ready("ann", "a.txt", b"abc", json!({})).await;
    let (file, hold) = (format!("/api/v1/files/{id}"), format!("/api/v1/files/{id}/hold"));
    let reason = || Some(json!({"reason": "Case 118."}));

    let refused = app.call("ann", Method::PUT, &hold, reason()).await;
    assert_eq!(refused.refusal(), code(403, "insufficient_permissions"));
    let stranger = app.call("bob", Method::PUT, &hold, reason()).await;
    assert_eq!(stranger.refusal(), code(404, "file_not_found"));
    for bad in [
        json!({}),
        json!({"reason": ""}),
        json!({"reason": "a\nb"}),
        json!({"why": "x"}),
    ] {
        let refused = app.call("olga", Method::PUT, &hold, Some(bad)).await;
        assert_eq!(refused.refusal(), code(422, "invalid_request"));
    }
    let held = app.call("olga", Method::PUT, &hold, reason()).await;
    assert_eq!(held.status, 200);
    let expected = json!({"by": "olga", "at": "2026-01-02T03:04:05.000006Z", "reason": "Case 118."});
    assert_eq!(held.json()["hold"], expected);
    assert_eq!(app.get("olga", &file).await.json()["hold"], expected);
    assert_eq!(
        app.get("ann", &file).await.json().get("hold"),
        None,
        "not the owner's to read"
    );
    let timeline = app.get("ann", &format!("{file}/timeline")).await;
    assert!(
        !String::from_utf8_lossy(&timeline.bytes).contains("118"),
        "{timeline:?}"
    );

    let deleted = app.call("ann", Method::DELETE, &file, None).await;
    assert_eq!(deleted.refusal(), code(409, "legal_hold"));
    assert_eq!(deleted.json()["details"]["file_id"], id.as_str());

    let released = app
        .call("olga", Method::DELETE, &format!("{hold}?reason=settled"), None)
        .await;
    assert_eq!((released.status, released.json().get("hold")), (200, None));
    let again = app.call("olga", Method::DELETE, &hold, None).await;
    assert_eq!(again.refusal(), code(409, "invalid_state"));
    assert_eq!(app.call("ann", Method::DELETE, &file, None).await.status, 204);
    let audit = app.get("ada", "/api/v1/admin/audit").await.json();
    let text = audit.to_string();
    assert!(text.contains("file.held") && text.contains("settled"), "{text}");
}

#[tokio::test]
async fn a_file_is_archived_and_brought_back() {
    let app = TestApp::new().await;
    let id = app
        .ready("ann", "a.txt", b"abc", json!({"collection": "scans"}))
        .await;
    let path = |what: &str| format!("/api/v1/files/{id}/{what}");
    let state = async || app.get("ann", &format!("/api/v1/files/{id}")).await.json()["state"].clone();
    let refused = app.call("ann", Method::POST, &path("archive"), None).await;
    assert_eq!(refused.refusal(), code(403, "insufficient_permissions"));
    let asked = app.call("olga", Method::POST, &path("archive"), None).await;
    assert_eq!((asked.status, &asked.json()["state"]), (202, &json!("ready")));
    app.work().await;
    assert_eq!(state().await, "archived");
    let refused = app.get("ann", &path("download")).await;
    assert_eq!(refused.refusal(), code(409, "archived_file"));
    let asked = app.call("olga", Method::POST, &path("unarchive"), None).await;
    assert_eq!(asked.status, 202);
    app.work().await;
    assert_eq!(state().await, "ready");
    assert_eq!(app.get("ann", &path("download")).await.status, 200);

    let elsewhere = app.ready("ann", "b.txt", b"abc", json!({})).await;
    let refused = app
        .call(
            "olga",
            Method::POST,
            &format!("/api/v1/files/{elsewhere}/archive"),
            None,
        )
        .await;
    assert_eq!(refused.refusal(), code(409, "invalid_state"), "no archive");
}

#[tokio::test]
async fn a_record_may_go_at_once_with_all_that_is_on_it() {
    let app = TestApp::new().await;
    let more = json!({"record": {"type": "message", "id": "7"}});
    let id = app.ready("ann", "a.txt", b"abc", more).await;
    let record = "/api/v1/records/message/7";
    let at_once = format!("{record}?purge_now=1");
    let refused = app.call("ann", Method::DELETE, &at_once, None).await;
    assert_eq!(refused.refusal(), code(403, "insufficient_permissions"));
    let unknown = app
        .call("ada", Method::DELETE, &format!("{record}?purge=1"), None)
        .await;
    assert_eq!(unknown.refusal(), code(400, "invalid_parameter"));

    let hold = format!("/api/v1/files/{id}/hold");
    app.call("olga", Method::PUT, &hold, Some(json!({"reason": "Case 118."})))
        .await;
    let held = app.call("ada", Method::DELETE, &at_once, None).await;
    assert_eq!(held.refusal(), code(409, "legal_hold"));
    assert_eq!(held.json()["details"]["file_id"], id.as_str());
    app.call("olga", Method::DELETE, &hold, None).await;

    assert_eq!(app.call("ada", Method::DELETE, &at_once, None).await.status, 204);
    app.work().await;
    let gone = app.get("ann", &format!("/api/v1/files/{id}")).await;
    assert_eq!(gone.refusal(), code(404, "file_not_found"));
    let usage = app.get("ann", "/api/v1/me/usage").await.json();
    assert_eq!((&usage["files"], &usage["stored_bytes"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn an_owner_is_deleted_by_an_operation() {
    let app = TestApp::new().await;
    app.ready("ann", "a.txt", b"abc", json!({})).await;
    let path = "/api/v1/admin/owners/ann?purge_now=true";
    let refused = app.call("olga", Method::DELETE, path, None).await;
    assert_eq!(refused.refusal(), code(403, "insufficient_permissions"));
    let asked = app.call("ada", Method::DELETE, path, None).await;
    assert_eq!(asked.status, 202);
    let body = asked.json();
    assert_eq!(body["kind"], "delete_owner");
    assert_eq!(body["options"], json!({"owner": "ann", "purge_now": true}));
    let again = app.call("ada", Method::DELETE, path, None).await;
    assert_eq!(again.refusal(), code(409, "operation_running"));
    let options = cloakroom_worker::WorkerOptions::new(cloakroom_core::id::WorkerId("test".to_owned()));
    cloakroom_worker::operations::run_due(&app.app, &options).await;
    app.work().await;
    let listed = app.get("ada", "/api/v1/files?owner=ann").await.json();
    assert_eq!(listed["files"], json!([]));
}
