//! S2: both ways to upload, confirm and link, every state, and whether the storage works.

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::ports::limits::Rate;
use cloakroom_core::upload::UploadMethod;
use cloakroom_http::{Dialect, SignLimits};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::test_app::{Answer, BUCKET, Options, TestApp};

const ONE: &str = "6f1f0f3b-0000-4000-8000-000000000001";
const OTHER: &str = "6f1f0f3b-0000-4000-8000-000000000002";
const TABLE: &[u8] = b"date,amount\n2026-01-01,5\n";

fn options() -> Options {
    let tables = Collection {
        content_types: vec![
            "text/csv".to_owned(),
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet".to_owned(),
        ],
        extensions: vec!["csv".to_owned(), "xlsx".to_owned()],
        size_bytes_max: 100 * 1024 * 1024,
        size_bytes_min: 1,
        default_method: UploadMethod::Post,
        upload_expires_seconds: 3600,
        ..Collection::new("reconciliation", BUCKET)
    };
    let mut options = Options {
        collections: vec![tables],
        ..Options::default()
    };
    options.http.dialects = vec![Dialect::Reconciliation];
    options
}

async fn matchbot() -> TestApp {
    TestApp::with(options()).await
}

async fn sign(app: &TestApp, user: &str, more: Value) -> Answer {
    let mut request = json!({"filename": "transactions.csv", "file_type": "source"});
    let fields = request.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().expect("an object"));
    app.post(user, "/files/sign_upload", request).await
}

/// A signed upload whose bytes have arrived.
async fn uploaded(app: &TestApp, more: Value) -> Value {
    let signed = sign(app, "ann", more).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let signed = signed.json();
    app.put_staged(signed["file_id"].as_str().expect("an id"), TABLE)
        .await;
    signed
}

async fn confirm(app: &TestApp, user: &str, signed: &Value, more: Value) -> Answer {
    let mut request = json!({"file_id": signed["file_id"]});
    let fields = request.as_object_mut().expect("an object");
    fields.extend(more.as_object().cloned().expect("an object"));
    app.post(user, "/files/confirm", request).await
}

async fn status(app: &TestApp, user: &str, signed: &Value) -> Answer {
    let id = signed["file_id"].as_str().expect("an id");
    app.get(user, &format!("/files/{id}/status")).await
}

#[tokio::test]
async fn without_a_size_there_is_a_form_and_with_type_and_size_a_put() {
    let app = matchbot().await;
    let form = sign(&app, "ann", json!({})).await.json();
    assert_eq!(form["method"], "POST");
    assert_eq!(form["upload_url"], format!("https://store.test/{BUCKET}"));
    assert_eq!(form["form_fields"]["key"], form["object_name"]);
    assert_eq!(form["form_fields"]["Content-Type"], "text/csv");
    assert_eq!(form["bucket_name"], BUCKET);
    let whole = json!({"content_type": "text/csv", "file_size_bytes": 1_048_576, "reconciliation_id": ONE});
    let put = sign(&app, "ann", whole).await.json();
    assert_eq!(
        (&put["method"], &put["form_fields"]),
        (&json!("PUT"), &Value::Null)
    );
    assert_eq!(put["headers"]["content-type"], "text/csv");
    assert!(put["expires_at"].as_str().expect("a time").ends_with('Z'));
    for (asked, given) in [("POST", "POST"), ("PUT", "PUT"), ("put", "PUT")] {
        let one = sign(
            &app,
            "ann",
            json!({"method": asked, "content_type": "text/csv", "file_size_bytes": 5}),
        );
        assert_eq!(one.await.json()["method"], given, "{asked}");
    }
}

#[tokio::test]
async fn only_tables_of_the_document_come_in() {
    let app = matchbot().await;
    for (more, refusal) in [
        (json!({"file_type": "target"}), (422, "invalid_request")),
        (json!({"file_type": null}), (422, "invalid_request")),
        (json!({"method": "PATCH"}), (422, "invalid_request")),
        (json!({"filename": "a.pdf"}), (422, "content_type_not_allowed")),
        (
            json!({"filename": "a.csv.exe"}),
            (422, "content_type_not_allowed"),
        ),
        (
            json!({"content_type": "text/html"}),
            (422, "content_type_not_allowed"),
        ),
        (json!({"file_size_bytes": 104_857_601}), (413, "file_too_large")),
        (json!({"file_size_bytes": 0}), (422, "file_too_small")),
        (json!({"reconciliation_id": "mine"}), (422, "invalid_request")),
    ] {
        let (status, code) = sign(&app, "ann", more.clone()).await.refusal();
        assert_eq!((status, code.as_str()), refusal, "{more}");
    }
    for (more, allowed) in [
        (
            json!({"filename": "a.pdf", "content_type": "text/csv"}),
            json!(["csv", "xlsx"]),
        ),
        (
            json!({"content_type": "text/html"}),
            json!([
                "text/csv",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
            ]),
        ),
    ] {
        let refused = sign(&app, "ann", more).await.problem();
        assert_eq!(refused["details"]["allowed"], allowed);
    }
    for more in [
        json!({"filename": "A.CSV"}),
        json!({"filename": "b.XlSx"}),
        json!({"extra": 1}),
    ] {
        assert_eq!(sign(&app, "ann", more).await.status, 200);
    }
    let anonymous = app.call_with("", Method::POST, "/files/sign_upload", Some(json!({})), &[]);
    assert_eq!(anonymous.await.status, 401);
}

#[tokio::test]
async fn what_windows_calls_a_csv_is_one() {
    let app = matchbot().await;
    let excel = json!({"filename": "Bank.CSV", "content_type": "application/vnd.ms-excel"});
    let form = sign(&app, "ann", excel.clone()).await.json();
    assert_eq!(form["form_fields"]["Content-Type"], "text/csv");
    let mut put = excel;
    put["file_size_bytes"] = json!(TABLE.len());
    let put = sign(&app, "ann", put).await.json();
    assert_eq!(put["headers"]["content-type"], "text/csv");
    let old = json!({"filename": "bank.xlsx", "content_type": "application/vnd.ms-excel"});
    let refused = sign(&app, "ann", old).await;
    assert_eq!(refused.refusal(), (422, "content_type_not_allowed".to_owned()));
}

#[tokio::test]
async fn what_failed_is_not_linked_any_more() {
    let app = matchbot().await;
    let signed = uploaded(&app, json!({})).await;
    let wrong = json!({"metadata": {"file_hash": "0".repeat(64)}});
    assert_eq!(confirm(&app, "ann", &signed, wrong).await.status, 200);
    app.work().await;
    assert_eq!(status(&app, "ann", &signed).await.json()["status"], "failed");
    let again = confirm(&app, "ann", &signed, json!({})).await;
    assert_eq!(
        (again.status, &again.json()["processing_status"]),
        (200, &json!("failed"))
    );
    let linked = confirm(&app, "ann", &signed, json!({"reconciliation_id": ONE})).await;
    assert_eq!(linked.refusal(), (409, "invalid_state".to_owned()));
    assert_eq!(linked.problem()["details"]["state"], "failed");
    assert_eq!(
        status(&app, "ann", &signed).await.json()["reconciliation_id"],
        Value::Null
    );
}

#[tokio::test]
async fn a_confirmed_table_is_queued_and_ends_ready() {
    let app = matchbot().await;
    let signed = uploaded(&app, json!({})).await;
    assert_eq!(status(&app, "ann", &signed).await.json()["status"], "pending");
    let size = TABLE.len();
    let said = json!({
        "object_name": signed["object_name"], "bucket_name": signed["bucket_name"], "reconciliation_id": ONE,
        "metadata": {"original_filename": "transactions.csv", "size": size, "type": ""},
    });
    let confirmed = confirm(&app, "ann", &signed, said.clone()).await;
    assert_eq!(
        confirmed.json(),
        json!({
            "status": "confirmed", "file_ingestion_id": signed["file_id"], "file_id": signed["file_id"],
            "processing_status": "queued",
        })
    );
    assert_eq!(status(&app, "ann", &signed).await.json()["status"], "confirmed");
    app.work().await;
    let ready = status(&app, "ann", &signed).await.json();
    assert_eq!(
        (&ready["status"], &ready["processing_status"]),
        (&json!("ready"), &json!("completed"))
    );
    assert_eq!(
        (&ready["error"], &ready["error_message"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(ready["file_size_bytes"], size);
    assert_eq!(ready["reconciliation_id"], ONE);
    assert_eq!(ready["file_type"], "source");
    assert!(ready["uploaded_at"].is_string() && ready["processed_at"].is_string());
    let again = confirm(&app, "ann", &signed, said).await.json();
    assert_eq!(
        (&again["status"], &again["processing_status"]),
        (&json!("confirmed"), &json!("completed"))
    );
}

#[tokio::test]
async fn what_the_client_says_is_checked_and_never_believed() {
    let app = matchbot().await;
    let signed = uploaded(&app, json!({})).await;
    let wrong = "0".repeat(64);
    for (said, refusal) in [
        (json!({"object_name": "staging/other"}), (422, "invalid_request")),
        (json!({"bucket_name": "other"}), (422, "invalid_request")),
        (json!({"metadata": {"size": 5}}), (422, "size_mismatch")),
        (
            json!({"metadata": {"file_hash": "abc"}}),
            (422, "invalid_request"),
        ),
        (json!({"metadata": {"row_count": -1}}), (422, "invalid_request")),
        (json!({"metadata": []}), (422, "invalid_request")),
    ] {
        let (status, code) = confirm(&app, "ann", &signed, said.clone()).await.refusal();
        assert_eq!((status, code.as_str()), refusal, "{said}");
    }
    // The upload is still open, and a hash that the store does not know is checked by the worker.
    let accepted = confirm(&app, "ann", &signed, json!({"metadata": {"file_hash": wrong}})).await;
    assert_eq!(accepted.status, 200, "{accepted:?}");
    app.work().await;
    let failed = status(&app, "ann", &signed).await.json();
    assert_eq!(
        (&failed["status"], &failed["processing_status"]),
        (&json!("failed"), &json!("failed"))
    );
    assert!(
        failed["error_message"]
            .as_str()
            .expect("a reason")
            .contains("SHA-256"),
        "{failed}"
    );
    assert_eq!(failed["error"], failed["error_message"]);

    let right = uploaded(&app, json!({})).await;
    let hash = format!("sha256:{}", Sha256Digest(Sha256::digest(TABLE).into()));
    let said = json!({"metadata": {"file_hash": hash, "row_count": 1, "columns": ["date", "amount"]}});
    assert_eq!(confirm(&app, "ann", &right, said).await.status, 200);
    app.work().await;
    assert_eq!(status(&app, "ann", &right).await.json()["status"], "ready");
}

#[tokio::test]
async fn many_columns_do_not_keep_a_table_out() {
    let app = matchbot().await;
    let signed = uploaded(&app, json!({})).await;
    let columns: Vec<String> = (0..500).map(|n| format!("a column of the table, {n}")).collect();
    let said = json!({"metadata": {"columns": columns, "row_count": 1}});
    assert_eq!(confirm(&app, "ann", &signed, said).await.status, 200);
    let id = signed["file_id"].as_str().expect("an id");
    let file = app.get("ann", &format!("/api/v1/files/{id}")).await.json();
    assert_eq!(
        file["metadata"],
        json!({"file_type": "source", "column_count": 500, "row_count": 1})
    );
}

#[tokio::test]
async fn a_reconciliation_belongs_to_who_linked_first() {
    let app = matchbot().await;
    assert_eq!(
        sign(&app, "ann", json!({"reconciliation_id": ONE})).await.status,
        200
    );
    let foreign = sign(&app, "bob", json!({"reconciliation_id": ONE})).await;
    assert_eq!(foreign.refusal(), (404, "record_not_found".to_owned()));
    // Bob's own upload is not linked to it when he confirms, nor later.
    let signed = sign(&app, "bob", json!({})).await.json();
    app.put_staged(signed["file_id"].as_str().expect("an id"), TABLE)
        .await;
    let foreign = confirm(&app, "bob", &signed, json!({"reconciliation_id": ONE})).await;
    assert_eq!(foreign.refusal(), (404, "record_not_found".to_owned()));
    assert_eq!(confirm(&app, "bob", &signed, json!({})).await.status, 200);
    let later = confirm(&app, "bob", &signed, json!({"reconciliation_id": ONE})).await;
    assert_eq!(later.refusal(), (404, "record_not_found".to_owned()));
}

#[tokio::test]
async fn a_table_is_linked_later_and_once() {
    let app = matchbot().await;
    let signed = uploaded(&app, json!({})).await;
    assert_eq!(confirm(&app, "ann", &signed, json!({})).await.status, 200);
    app.work().await;
    for _ in 0..2 {
        let linked = confirm(&app, "ann", &signed, json!({"reconciliation_id": ONE})).await;
        assert_eq!(linked.status, 200, "{linked:?}");
    }
    assert_eq!(
        status(&app, "ann", &signed).await.json()["reconciliation_id"],
        ONE
    );
    let files = app
        .get("ann", &format!("/api/v1/records/reconciliation/{ONE}/files"))
        .await
        .json();
    assert_eq!(files["files"][0]["file_id"], signed["file_id"]);
    let moved = confirm(&app, "ann", &signed, json!({"reconciliation_id": OTHER})).await;
    assert_eq!(moved.refusal(), (409, "invalid_state".to_owned()));
}

#[tokio::test]
async fn a_stranger_learns_nothing_and_confirms_nothing() {
    let app = matchbot().await;
    let signed = uploaded(&app, json!({})).await;
    let missing = json!({"file_id": ONE});
    let same = |mut answer: Value| {
        answer["details"]
            .as_object_mut()
            .expect("details")
            .remove("file_id");
        answer
    };
    let foreign = confirm(&app, "bob", &signed, json!({})).await;
    assert_eq!(foreign.refusal(), (404, "file_not_found".to_owned()));
    assert_eq!(
        same(foreign.problem()),
        same(confirm(&app, "bob", &missing, json!({})).await.problem())
    );
    let foreign = status(&app, "bob", &signed).await;
    assert_eq!(foreign.status, 404);
    assert_eq!(
        same(foreign.problem()),
        same(status(&app, "bob", &missing).await.problem())
    );
    assert_eq!(status(&app, "ann", &signed).await.json()["status"], "pending");
    // A file of another collection is none of this document.
    let id = app.upload("ann", "a.csv", TABLE, json!({})).await;
    let other = json!({"file_id": id});
    assert_eq!(status(&app, "ann", &other).await.status, 404);
    assert_eq!(confirm(&app, "ann", &other, json!({})).await.status, 404);
}

#[tokio::test]
async fn a_service_token_of_other_collections_does_not_get_in() {
    let app = matchbot().await;
    let (_, token) = app
        .service_token(json!({"name": "bot", "collections": ["files"]}))
        .await;
    let request = json!({"filename": "a.csv", "file_type": "source"});
    let refused = app
        .call_with(&token, Method::POST, "/files/sign_upload", Some(request), &[])
        .await;
    assert_eq!(refused.refusal(), (403, "insufficient_permissions".to_owned()));
}

#[tokio::test]
async fn signing_is_limited() {
    let mut options = options();
    options.http.sign_limits = SignLimits {
        per_user: Some(Rate {
            count: 10,
            period: SignedDuration::from_mins(1),
        }),
        per_address: None,
    };
    let app = TestApp::with(options).await;
    for path in [
        "/files/sign_upload",
        "/api/files/sign_upload",
        "/api/v1/files/sign_upload",
    ]
    .iter()
    .cycle()
    .take(10)
    {
        let signed = app
            .post("ann", path, json!({"filename": "a.csv", "file_type": "source"}))
            .await;
        assert_eq!(signed.status, 200, "{path}");
    }
    let refused = sign(&app, "ann", json!({})).await;
    assert_eq!(refused.refusal(), (429, "rate_limited".to_owned()));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(sign(&app, "bob", json!({})).await.status, 200);
}

#[tokio::test]
async fn all_paths_do_the_same_and_the_native_status_has_the_fields_beside_its_own() {
    let app = matchbot().await;
    for prefix in ["", "/api", "/api/v1"] {
        let request = json!({"filename": "a.csv", "file_type": "comparison"});
        let signed = app
            .post("ann", &format!("{prefix}/files/sign_upload"), request)
            .await
            .json();
        let id = signed["file_id"].as_str().expect("an id").to_owned();
        app.put_staged(&id, TABLE).await;
        let confirmed = app
            .post("ann", &format!("{prefix}/files/confirm"), json!({"file_id": id}))
            .await;
        assert_eq!(confirmed.json()["status"], "confirmed", "{prefix}");
        app.work().await;
        let told = app
            .get("ann", &format!("{prefix}/files/{id}/status"))
            .await
            .json();
        let size = TABLE.len();
        assert_eq!(
            (&told["status"], &told["filename"]),
            (&json!("ready"), &json!("a.csv")),
            "{prefix}"
        );
        assert_eq!(
            (&told["file_size_bytes"], &told["file_id"]),
            (&json!(size), &json!(id)),
            "{prefix}"
        );
        for field in ["row_count", "error_message", "error"] {
            assert_eq!(told.get(field), Some(&Value::Null), "{prefix} {field}");
        }
        assert_eq!(told.get("state").is_some(), prefix == "/api/v1");
    }
    // Other collections are told of as ever.
    let id = app.upload("ann", "a.csv", TABLE, json!({})).await;
    let native = app.get("ann", &format!("/api/v1/files/{id}/status")).await.json();
    assert!(native.get("status").is_none(), "{native}");
}

#[tokio::test]
async fn an_upload_that_is_over_has_failed() {
    let app = matchbot().await;
    let signed = uploaded(&app, json!({})).await;
    app.clock.advance(SignedDuration::from_hours(26));
    app.app.sweep_expired_uploads().await.expect("swept");
    app.work().await;
    let over = status(&app, "ann", &signed).await.json();
    assert_eq!(over["status"], "failed");
    assert!(over["error_message"].is_string());
    let refused = confirm(&app, "ann", &signed, json!({})).await;
    assert_eq!(refused.refusal(), (410, "upload_expired".to_owned()));
}

#[tokio::test]
async fn the_storage_is_tried_and_nothing_of_it_stays() {
    let app = matchbot().await;
    let healthy = app.get("", "/health/storage").await;
    assert_eq!(healthy.status, 200, "{healthy:?}");
    let body = healthy.json();
    assert_eq!(
        (
            &body["status"],
            &body["storage_backend"],
            &body["errors"],
            &body["buckets_accessible"]
        ),
        (&json!("healthy"), &json!("local"), &json!([]), &json!([BUCKET]))
    );
    assert!(body["response_time_ms"].is_u64() && body["threshold_ms"] == 1000 && body["circuit"] == "closed");
    let left: Vec<_> = std::fs::read_dir(
        app.directory
            .path()
            .join("objects")
            .join(BUCKET)
            .join("_cloakroom/health"),
    )
    .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
    .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");

    // It is not tried again at once, whoever asks.
    app.objects.set_away(true);
    assert_eq!(app.get("", "/health/storage").await.status, 200);
    app.clock.advance(SignedDuration::from_secs(10));
    let down = app.get("", "/health/storage").await;
    assert_eq!(down.status, 503);
    let body = down.json();
    assert_eq!(
        (&body["status"], &body["buckets_accessible"]),
        (&json!("unhealthy"), &json!([]))
    );
    let errors: Vec<_> = body["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(errors.contains(&"list_buckets: unavailable"), "{errors:?}");
    assert!(
        errors.contains(&format!("{BUCKET}: put: unavailable").as_str()),
        "{errors:?}"
    );
    app.objects.set_away(false);
    app.clock.advance(SignedDuration::from_secs(10));
    assert_eq!(app.get("", "/health/storage").await.status, 200);
}

#[tokio::test]
async fn a_slow_storage_is_degraded() {
    let mut options = options();
    options.http.storage_slow_after = SignedDuration::ZERO;
    let app = TestApp::with(options).await;
    let slow = app.get("", "/health/storage").await;
    assert_eq!((slow.status, &slow.json()["status"]), (200, &json!("degraded")));
}
