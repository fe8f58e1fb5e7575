//! Jobs and service tokens.

use cloakroom_core::id::{FileId, WorkerId};
use cloakroom_core::job::{JobKind, JobOutcome};
use cloakroom_core::ports::metadata::Claim;
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::test_app::TestApp;

/// A job in the dead-letter list; returns its id.
pub async fn dead_job(app: &TestApp, filename: &str) -> (String, String) {
    let file = app.upload("ann", filename, b"abc", json!({})).await;
    assert_eq!(
        app.call(
            "ann",
            Method::POST,
            &format!("/api/v1/uploads/{file}/confirm"),
            None
        )
        .await
        .status,
        200
    );
    let worker = WorkerId("w".to_owned());
    let claim = Claim {
        worker: &worker,
        now: app.app.now(),
        lease: SignedDuration::from_secs(15),
        limit: 1,
        at_most: &[],
    };
    let job = app
        .app
        .metadata
        .claim(&claim)
        .await
        .expect("a database")
        .pop()
        .expect("a job");
    assert_eq!(
        (job.kind, job.file_id),
        (JobKind::ProcessFile, file.parse::<FileId>().expect("an id"))
    );
    let outcome = JobOutcome::Dead {
        error: "the disk is on fire".to_owned(),
    };
    app.app
        .metadata
        .finish(job.lease(), &outcome, app.app.now())
        .await
        .expect("finished");
    (job.id.to_string(), file)
}

#[tokio::test]
async fn dead_jobs_are_listed_and_tried_again() {
    let app = TestApp::new().await;
    let (job, file) = dead_job(&app, "a.txt").await;
    let time = "2026-01-02T03:04:05.000006Z";
    let listed = app.get("ada", "/api/v1/admin/jobs?state=dead").await.json();
    assert_eq!(
        listed,
        json!({
            "jobs": [{
                "id": job, "kind": "process_file", "file_id": file, "state": "dead", "run_at": time, "attempt": 1,
                "failures": 0, "lease_owner": null, "lease_until": null, "last_error": "the disk is on fire",
                // The time of its id, which has milliseconds.
                "created_at": "2026-01-02T03:04:05Z", "owner": "ann", "progress": null,
            }],
            "next_cursor": null,
        })
    );
    let retry = format!("/api/v1/admin/jobs/{job}/retry");
    assert_eq!(app.call("ada", Method::POST, &retry, None).await.status, 204);
    assert_eq!(
        app.call("ada", Method::POST, &retry, None).await.refusal(),
        (404, "not_found".to_owned())
    );
    app.work().await;
    assert_eq!(
        app.get("ann", &format!("/api/v1/files/{file}")).await.json()["state"],
        "ready"
    );
}

#[tokio::test]
async fn dead_jobs_are_paged_and_thrown_away() {
    let app = TestApp::new().await;
    let (first, _) = dead_job(&app, "a.txt").await;
    app.clock.advance(SignedDuration::from_secs(1));
    let (second, _) = dead_job(&app, "b.txt").await;
    let page = app.get("ada", "/api/v1/admin/jobs?limit=1").await.json();
    assert_eq!(page["jobs"][0]["id"], first.as_str());
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let page = app
        .get("ada", &format!("/api/v1/admin/jobs?limit=1&cursor={cursor}"))
        .await
        .json();
    assert_eq!(
        (&page["jobs"][0]["id"], &page["next_cursor"]),
        (&json!(second), &Value::Null)
    );
    let discard = format!("/api/v1/admin/jobs/{first}");
    assert_eq!(app.call("ada", Method::DELETE, &discard, None).await.status, 204);
    assert_eq!(app.call("ada", Method::DELETE, &discard, None).await.status, 404);
    assert_eq!(
        app.get("ada", "/api/v1/admin/jobs?state=lost").await.refusal(),
        (400, "invalid_parameter".to_owned())
    );
}

#[tokio::test]
async fn dead_jobs_are_handled_together() {
    let app = TestApp::new().await;
    let mut files = Vec::new();
    for name in ["a.txt", "b.txt", "c.txt"] {
        files.push(dead_job(&app, name).await.1);
    }
    let other = app
        .get("ada", "/api/v1/admin/jobs?state=dead&kind=purge_file")
        .await;
    assert_eq!(other.json(), json!({"jobs": [], "next_cursor": null}));
    let refused = app.get("ada", "/api/v1/admin/jobs?kind=dream").await;
    assert_eq!(refused.refusal(), (400, "invalid_parameter".to_owned()));

    let retry = async |who, body| app.post(who, "/api/v1/admin/jobs/retry", body).await;
    assert_eq!(retry("ann", json!({})).await.status, 403);
    assert_eq!(retry("ada", json!({"kind": "dream"})).await.status, 400);
    let none = json!({"done": 0, "refused": [], "next_cursor": null});
    assert_eq!(retry("ada", json!({"kind": "purge_file"})).await.json(), none);
    let done = json!({"done": 3, "refused": [], "next_cursor": null});
    assert_eq!(retry("ada", json!({"kind": "process_file"})).await.json(), done);
    assert_eq!(retry("ada", json!({})).await.json(), none);
    let status = app
        .get("ann", &format!("/api/v1/files/{}/status", files[0]))
        .await
        .json();
    assert_eq!(
        status["processing"],
        json!({"stage": "waiting", "done_bytes": 0, "total_bytes": null, "attempt": 0, "next_attempt_at": null,
            "reason": null})
    );
    app.work().await;
    for file in files {
        let status = app
            .get("ann", &format!("/api/v1/files/{file}/status"))
            .await
            .json();
        assert_eq!(
            (&status["state"], &status["processing"]),
            (&json!("ready"), &Value::Null)
        );
    }
    dead_job(&app, "d.txt").await;
    let discarded = app.post("ada", "/api/v1/admin/jobs/discard", json!({})).await;
    assert_eq!(discarded.json()["done"], 1);
}

#[tokio::test]
async fn a_service_token_shows_its_secret_once() {
    let app = TestApp::new().await;
    let request = json!({"name": "billing", "role": "operator", "collections": ["files"], "expires_at": "2027-01-01T00:00:00Z"});
    let made = app.post("ada", "/api/v1/admin/service-tokens", request).await;
    assert_eq!(made.status, 201);
    let body = made.json();
    let (id, secret) = (
        body["id"].as_str().expect("an id"),
        body["secret"].as_str().expect("a secret"),
    );
    assert!(secret.starts_with("clk_") && secret.len() == 47, "{secret}");
    let mut shown = json!({
        "id": id, "name": "billing", "role": "operator", "collections": ["files"],
        "created_at": "2026-01-02T03:04:05.000006Z", "expires_at": "2027-01-01T00:00:00Z", "revoked_at": null,
    });
    let list = async || app.get("ada", "/api/v1/admin/service-tokens").await.json();
    assert_eq!(list().await, json!({"service_tokens": [shown]}));
    let path = format!("/api/v1/admin/service-tokens/{id}");
    assert_eq!(app.call("ada", Method::DELETE, &path, None).await.status, 204);
    assert_eq!(
        app.call("ada", Method::DELETE, &path, None).await.refusal(),
        (404, "not_found".to_owned())
    );
    shown["revoked_at"] = json!("2026-01-02T03:04:05.000006Z");
    assert_eq!(list().await, json!({"service_tokens": [shown]}));
}

#[tokio::test]
async fn service_tokens_that_make_no_sense_are_refused() {
    let app = TestApp::new().await;
    for (body, status) in [
        (json!({}), 422),
        (json!({"name": ""}), 422),
        (json!({"name": "x".repeat(101)}), 422),
        (json!({"name": "a\u{0}"}), 422),
        (json!({"name": "ж"}), 422),
        (json!({"name": "a", "role": "Admin"}), 422),
        (json!({"name": "a", "expires_at": "tomorrow"}), 422),
        (json!({"name": "a", "collections": ["nope"]}), 404),
        (json!({"name": "a", "secret": "clk_mine"}), 422),
    ] {
        let answer = app
            .post("ada", "/api/v1/admin/service-tokens", body.clone())
            .await;
        assert_eq!(answer.problem()["status"], status, "{body}");
    }
}
