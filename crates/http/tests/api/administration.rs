//! Operations and their reports, garbage, the audit log, totals.

use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::garbage::{Garbage, GarbageReason, GarbageState};
use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::objects::{ObjectPath, PutBody, PutOptions};
use cloakroom_worker::{WorkerOptions, operations};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::test_app::{BUCKET, TestApp};

const OPERATIONS: &str = "/api/v1/admin/operations";

async fn start(app: &TestApp, request: Value) -> Value {
    let answer = app.post("ada", OPERATIONS, request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()
}

async fn run(app: &TestApp) {
    let options = WorkerOptions::new(WorkerId("w".to_owned()));
    operations::run_due(&app.app, &options).await;
}

async fn write(app: &TestApp, key: &str, bytes: &[u8]) {
    let path = ObjectPath::new(BUCKET, key);
    let body = PutBody::from_bytes(bytes.to_vec());
    let written = app.app.objects.put(&path, PutOptions::default(), body).await;
    written.expect("written");
}

#[tokio::test]
async fn an_operation_is_started_run_and_reported() {
    let app = TestApp::new().await;
    let started = start(&app, json!({"kind": "verify", "options": {"deep": true}})).await;
    let id = started["id"].as_str().expect("an id").to_owned();
    let time = "2026-01-02T03:04:05.000006Z";
    assert_eq!(
        started,
        json!({
            "id": id, "kind": "verify", "state": "waiting", "options": {"deep": true}, "done": 0, "total": null,
            "counts": {}, "error": null, "actor": "ada", "created_at": time, "updated_at": time, "finished_at": null,
            "lease_owner": null, "lease_until": null,
        })
    );
    let again = app.post("ada", OPERATIONS, json!({"kind": "verify"})).await;
    assert_eq!(again.refusal(), (409, "operation_running".to_owned()));
    write(&app, "foreign.bin", b"x").await;
    run(&app).await;
    let over = app.get("ada", &format!("{OPERATIONS}/{id}")).await.json();
    assert_eq!(
        (&over["state"], &over["counts"], &over["finished_at"]),
        (
            &json!("done"),
            &json!({"object_unknown": 1, "objects": 1}),
            &json!(time)
        )
    );
    let report = app
        .get("ada", &format!("{OPERATIONS}/{id}/findings"))
        .await
        .json();
    assert_eq!(
        report,
        json!({
            "findings": [{
                "kind": "object_unknown", "action": "reported", "bucket": BUCKET, "key": "foreign.bin", "file_id": null,
                "detail": "1 bytes that are not ours.",
            }],
            "next_cursor": null,
        })
    );
    // Over, so there may be another one; both are listed, and the audit log tells of them.
    app.clock.advance(SignedDuration::from_secs(1));
    start(&app, json!({"kind": "verify"})).await;
    let listed = app.get("ada", OPERATIONS).await.json();
    assert_eq!(listed["operations"].as_array().map(Vec::len), Some(2));
    assert_eq!(listed["operations"][1], over);
    let audit = app.get("ada", "/api/v1/admin/audit?limit=1").await.json();
    assert_eq!(audit["entries"][0]["action"], "operation.started");
    let next = audit["next_cursor"].as_str().expect("a second entry");
    let audit = app
        .get("ada", &format!("/api/v1/admin/audit?cursor={next}"))
        .await
        .json();
    assert_eq!(
        audit,
        json!({
            "entries": [{
                "id": audit["entries"][0]["id"], "at": time, "actor": "ada", "action": "operation.started", "subject": id,
                "data": {"kind": "verify", "options": {"deep": true}},
            }],
            "next_cursor": null,
        })
    );
}

#[tokio::test]
async fn operations_are_paged_and_cancelled() {
    let app = TestApp::new().await;
    let mut ids = Vec::new();
    for kind in ["verify", "orphans", "purge"] {
        let started = start(&app, json!({"kind": kind})).await;
        ids.push(started["id"].as_str().expect("an id").to_owned());
        app.clock.advance(SignedDuration::from_secs(1));
    }
    let page = app.get("ada", &format!("{OPERATIONS}?limit=2")).await.json();
    let shown = |page: &Value| -> Vec<String> {
        let operations = page["operations"].as_array().expect("operations");
        let ids = operations
            .iter()
            .map(|operation| operation["id"].as_str().expect("an id").to_owned());
        ids.collect()
    };
    assert_eq!(shown(&page), [ids[2].clone(), ids[1].clone()]);
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let page = app
        .get("ada", &format!("{OPERATIONS}?limit=2&cursor={cursor}"))
        .await
        .json();
    assert_eq!(
        (shown(&page), &page["next_cursor"]),
        (vec![ids[0].clone()], &Value::Null)
    );
    let path = format!("{OPERATIONS}/{}", ids[0]);
    for _ in 0..2 {
        let cancelled = app.call("ada", Method::DELETE, &path, None).await;
        assert_eq!(
            (cancelled.status, &cancelled.json()["state"]),
            (200, &json!("cancelled"))
        );
    }
    run(&app).await;
    assert_eq!(app.get("ada", &path).await.json()["state"], "cancelled");
    let audit = app.get("ada", "/api/v1/admin/audit").await.json();
    let actions: Vec<_> = audit["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .filter(|entry| entry["subject"] == ids[0].as_str())
        .map(|entry| entry["action"].clone())
        .collect();
    assert_eq!(actions, ["operation.cancelled", "operation.started"]);
}

#[tokio::test]
async fn a_report_is_csv_for_whoever_asks_for_it() {
    let app = TestApp::new().await;
    for key in ["=cmd|' \"C\"!A0.bin", "a,b.bin", "+1.bin"] {
        write(&app, key, b"x").await;
    }
    let started = start(&app, json!({"kind": "verify"})).await;
    let path = format!("{OPERATIONS}/{}/findings", started["id"].as_str().expect("an id"));
    run(&app).await;
    let expected = "\"kind\",\"action\",\"bucket\",\"key\",\"file_id\",\"detail\"\r\n\
        \"object_unknown\",\"reported\",\"bucket\",\"'+1.bin\",\"\",\"1 bytes that are not ours.\"\r\n\
        \"object_unknown\",\"reported\",\"bucket\",\"'=cmd|' \"\"C\"\"!A0.bin\",\"\",\"1 bytes that are not ours.\"\r\n\
        \"object_unknown\",\"reported\",\"bucket\",\"a,b.bin\",\"\",\"1 bytes that are not ours.\"\r\n";
    for (query, accept) in [("?format=csv", "*/*"), ("", "text/csv, application/json;q=0.5")] {
        let token = app.token("ada", "admin");
        let answer = app
            .call_with(
                &token,
                Method::GET,
                &format!("{path}{query}"),
                None,
                &[("accept", accept)],
            )
            .await;
        assert_eq!(String::from_utf8_lossy(&answer.bytes), expected);
        assert_eq!(
            answer.header("content-type"),
            Some("text/csv; charset=utf-8; header=present")
        );
        let disposition = answer.header("content-disposition");
        assert_eq!(disposition, Some("attachment; filename=\"findings.csv\""));
    }
    let page = app.get("ada", &format!("{path}?limit=2")).await.json();
    assert_eq!(page["findings"].as_array().map(Vec::len), Some(2));
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let page = app
        .get("ada", &format!("{path}?limit=2&cursor={cursor}"))
        .await
        .json();
    assert_eq!(
        (&page["findings"][0]["key"], &page["next_cursor"]),
        (&json!("a,b.bin"), &Value::Null)
    );
    let nowhere = format!("{OPERATIONS}/01999999-9999-7999-8999-999999999999/findings?format=csv");
    assert_eq!(
        app.get("ada", &nowhere).await.refusal(),
        (404, "not_found".to_owned())
    );
}

#[tokio::test]
async fn operations_that_make_no_sense_are_refused() {
    let app = TestApp::new().await;
    for body in [
        json!({}),
        json!({"kind": "Verify"}),
        json!({"kind": "verify", "options": {"trash": true}}),
        json!({"kind": "verify", "options": {"deep": 1}}),
        json!({"kind": "verify", "options": []}),
        json!({"kind": "delete_owner"}),
        json!({"kind": "verify", "state": "done"}),
    ] {
        let answer = app.post("ada", OPERATIONS, body.clone()).await;
        assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()), "{body}");
    }
    for (path, refusal) in [
        ("x", (400, "invalid_parameter")),
        ("01999999-9999-7999-8999-999999999999", (404, "not_found")),
        (
            "01999999-9999-7999-8999-999999999999/findings?format=xml",
            (400, "invalid_parameter"),
        ),
    ] {
        let answer = app.get("ada", &format!("{OPERATIONS}/{path}")).await;
        assert_eq!(answer.refusal(), (refusal.0, refusal.1.to_owned()), "{path}");
    }
    assert_eq!(app.get("ada", OPERATIONS).await.json()["operations"], json!([]));
}

fn garbage(key: &str, upload_id: &str) -> Garbage {
    let found_at = "2026-01-02T03:04:05.000006Z".parse().expect("a time");
    Garbage {
        path: ObjectPath::new(BUCKET, key),
        upload_id: upload_id.to_owned(),
        reason: GarbageReason::Multipart,
        state: GarbageState::Trashed,
        etag: "e".to_owned(),
        size_bytes: 7,
        file_id: None,
        found_at,
        purge_at: found_at,
    }
}

#[tokio::test]
async fn garbage_is_listed_kept_and_let_go() {
    let app = TestApp::new().await;
    let all = [
        garbage("staging/a ж", "1"),
        garbage("staging/a ж", "2"),
        garbage("staging/b", ""),
    ];
    assert_eq!(app.app.administration.put_garbage(&all).await.ok(), Some(3));
    let page = app.get("ada", "/api/v1/admin/garbage?limit=1").await.json();
    assert_eq!(
        page["garbage"],
        json!([{
            "bucket": BUCKET, "key": "staging/a ж", "upload_id": "1", "reason": "multipart", "state": "trashed",
            "size_bytes": 7, "file_id": null, "found_at": "2026-01-02T03:04:05.000006Z",
            "purge_at": "2026-01-02T03:04:05.000006Z",
        }])
    );
    let cursor = page["next_cursor"].as_str().expect("a cursor");
    let page = app
        .get("ada", &format!("/api/v1/admin/garbage?cursor={cursor}"))
        .await
        .json();
    assert_eq!(page["garbage"].as_array().map(Vec::len), Some(2));
    assert_eq!(page["garbage"][1]["upload_id"], Value::Null);
    let name = json!({"bucket": BUCKET, "key": "staging/a ж", "upload_id": "2"});
    let kept = app.post("ada", "/api/v1/admin/garbage/keep", name.clone()).await;
    assert_eq!(kept.status, 204);
    let page = app.get("ada", "/api/v1/admin/garbage?state=kept").await.json();
    assert_eq!(page["garbage"][0]["upload_id"], "2");
    let trashed = app.post("ada", "/api/v1/admin/garbage/trash", name).await;
    assert_eq!(trashed.status, 204);
    let page = app.get("ada", "/api/v1/admin/garbage?state=kept").await.json();
    assert_eq!(page["garbage"], json!([]));
    let unknown = json!({"bucket": BUCKET, "key": "nothing"});
    for verb in ["keep", "trash"] {
        let path = format!("/api/v1/admin/garbage/{verb}");
        let answer = app.post("ada", &path, unknown.clone()).await;
        assert_eq!(answer.refusal(), (404, "not_found".to_owned()));
        let answer = app
            .post("ada", &path, json!({"bucket": "b", "key": "a\u{0}"}))
            .await;
        assert_eq!(answer.problem()["status"], 422);
    }
    for query in ["state=gone", "cursor=AA", "cursor=YgA", "limit=0"] {
        let answer = app.get("ada", &format!("/api/v1/admin/garbage?{query}")).await;
        assert_eq!(answer.refusal(), (400, "invalid_parameter".to_owned()), "{query}");
    }
}

#[tokio::test]
async fn totals_are_exact() {
    let app = TestApp::new().await;
    app.ready("ann", "a.txt", b"abc", json!({})).await;
    app.ready("bob", "b.txt", b"defgh", json!({})).await;
    app.upload("bob", "c.txt", b"not confirmed", json!({})).await;
    let totals = app.get("ada", "/api/v1/admin/totals").await.json();
    assert_eq!(totals, json!({"total_files": 2, "total_size_bytes": 8}));
    let metrics = app.get("", "/metrics").await;
    let text = String::from_utf8_lossy(&metrics.bytes).into_owned();
    for line in ["\ncloakroom_total_files 2\n", "\ncloakroom_total_size_bytes 8\n"] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn an_operation_needs_an_administrator_in_the_use_case_too() {
    let app = TestApp::new().await;
    let olga = Principal {
        subject: "olga".to_owned(),
        role: Role::Operator,
        credential: Credential::AccessToken,
        username: "olga".to_owned(),
        full_name: None,
    };
    let kind = cloakroom_core::operation::OperationKind::Verify;
    let started = app.app.start_operation(&olga, kind, serde_json::Map::new()).await;
    let code = started.err().map(|error| error.code().as_str());
    assert_eq!(code, Some("insufficient_permissions"));
}
