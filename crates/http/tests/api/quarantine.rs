//! What the scanner holds back: nobody reads it, its owner learns why, an administrator decides.

use http::Method;
use serde_json::json;

use crate::test_app::TestApp;

async fn held_back(app: &TestApp) -> String {
    let id = app
        .ready("ann", "a.txt", b"abc", json!({"collection": "files"}))
        .await;
    app.quarantine(&id).await;
    id
}

#[tokio::test]
async fn nobody_reads_it_and_its_owner_learns_why() {
    let app = TestApp::new().await;
    let id = held_back(&app).await;
    for user in ["ann", "olga", "ada"] {
        for path in ["download", "derivatives/thumbnail-256"] {
            let answer = app.get(user, &format!("/api/v1/files/{id}/{path}")).await;
            assert_eq!(
                answer.refusal(),
                (409, "file_quarantined".to_owned()),
                "{user} {path}"
            );
        }
    }
    let stranger = app.get("bob", &format!("/api/v1/files/{id}/download")).await;
    assert_eq!(stranger.refusal(), (404, "file_not_found".to_owned()));
    let status = app.get("ann", &format!("/api/v1/files/{id}/status")).await.json();
    assert_eq!(status["state"], "quarantined");
    assert_eq!(status["error"]["code"], "infected");
    assert_eq!(status["error"]["message"], "The scanner found Eicar-Signature.");
    let listed = app.get("ada", "/api/v1/files?state=quarantined").await.json();
    assert_eq!(listed["files"][0]["file_id"], id.as_str());
}

#[tokio::test]
async fn an_administrator_releases_it_and_the_audit_log_knows() {
    let app = TestApp::new().await;
    let id = held_back(&app).await;
    let path = format!("/api/v1/admin/files/{id}/release");
    let body = json!({"reason": "A false alarm."});
    for user in ["ann", "olga"] {
        let answer = app.call(user, Method::POST, &path, Some(body.clone())).await;
        assert_eq!(
            answer.refusal(),
            (403, "insufficient_permissions".to_owned()),
            "{user}"
        );
    }
    let unreasonable = app
        .call("ada", Method::POST, &path, Some(json!({"reason": " "})))
        .await;
    assert_eq!(unreasonable.refusal(), (422, "invalid_request".to_owned()));
    for _ in 0..2 {
        let answer = app.call("ada", Method::POST, &path, Some(body.clone())).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(
            answer.json()["state"],
            "quarantined",
            "until a worker has done it"
        );
    }
    app.work().await;
    let file = app.get("ann", &format!("/api/v1/files/{id}")).await.json();
    assert_eq!(
        (file["state"].as_str(), &file["error"]),
        (Some("ready"), &json!(null))
    );
    let answer = app.get("ann", &format!("/api/v1/files/{id}/download")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let audit = app.get("ada", "/api/v1/admin/audit").await.json();
    let entries = audit["entries"].as_array().expect("entries").clone();
    let released: Vec<_> = entries
        .iter()
        .filter(|entry| entry["action"] == "file.quarantine_released")
        .collect();
    assert_eq!(released.len(), 1, "{audit}");
    assert_eq!(released[0]["actor"], "ada");
    assert_eq!(released[0]["data"]["reason"], "A false alarm.");
    let again = app.call("ada", Method::POST, &path, Some(body)).await;
    assert_eq!(again.refusal(), (409, "invalid_state".to_owned()));
}

#[tokio::test]
async fn an_administrator_deletes_it_for_good() {
    let app = TestApp::new().await;
    let id = held_back(&app).await;
    let path = format!("/api/v1/admin/files/{id}");
    let answer = app.call("olga", Method::DELETE, &path, None).await;
    assert_eq!(answer.refusal(), (403, "insufficient_permissions".to_owned()));
    for _ in 0..2 {
        assert_eq!(app.call("ada", Method::DELETE, &path, None).await.status, 204);
    }
    app.work().await;
    let answer = app.get("ada", &format!("/api/v1/files/{id}")).await;
    assert_eq!(answer.status, 404);
    let ready = app
        .ready("ann", "b.txt", b"abc", json!({"collection": "files"}))
        .await;
    let answer = app
        .call(
            "ada",
            Method::DELETE,
            &format!("/api/v1/admin/files/{ready}"),
            None,
        )
        .await;
    assert_eq!(
        answer.refusal(),
        (409, "invalid_state".to_owned()),
        "only what is held back"
    );
}

#[tokio::test]
async fn in_the_trash_and_out_of_it_a_file_stays_held_back() {
    let app = TestApp::new().await;
    let id = held_back(&app).await;
    let path = format!("/api/v1/files/{id}");
    assert_eq!(app.call("ann", Method::DELETE, &path, None).await.status, 204);
    let restored = app
        .call("ann", Method::POST, &format!("{path}/restore"), None)
        .await;
    assert_eq!(restored.json()["state"], "quarantined", "{restored:?}");
    let answer = app.get("ann", &format!("{path}/download")).await;
    assert_eq!(answer.refusal(), (409, "file_quarantined".to_owned()));
    // From the trash it is deleted for good as well.
    assert_eq!(app.call("ann", Method::DELETE, &path, None).await.status, 204);
    let admin = format!("/api/v1/admin/files/{id}");
    assert_eq!(app.call("ada", Method::DELETE, &admin, None).await.status, 204);
    app.work().await;
    assert_eq!(app.get("ada", &path).await.status, 404);
}
