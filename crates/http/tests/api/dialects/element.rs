//! S3: upload, search, the element's configuration and mode, its cache.

use axum::body::Body;
use cloakroom_core::collection::Collection;
use cloakroom_core::key::KeyTemplate;
use cloakroom_core::operation::{OperationKind, OperationState};
use cloakroom_core::storage::StorageMode;
use cloakroom_http::Dialect;
use cloakroom_service::stores::{StoreDefinition, StoreRegistry};
use http::{Method, Request};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::modes::set_mode;
use crate::test_app::{Answer, BUCKET, Options, TestApp};

const SHA256_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A storage element whose store is in `edit` by the database's word.
async fn element() -> TestApp {
    let template = "{year}/{month}/{day}/{hour}/{stem}_{username}_{timestamp}_{uuid}.{ext}";
    let mut options = Options {
        stores: StoreRegistry::new([StoreDefinition::new("main", [BUCKET])]),
        collections: vec![Collection {
            key_template: KeyTemplate::parse(template).expect("a template"),
            ..Collection::new("documents", BUCKET)
        }],
        ..Options::default()
    };
    options.http.dialects = vec![Dialect::Element];
    let app = TestApp::with(options).await;
    assert_eq!(app.app.reconcile_stores().await.expect("an answer"), []);
    app
}

/// The document's form, with text fields before the file.
async fn send(app: &TestApp, user: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
    send_bytes(app, user, fields, headers, "abc").await
}

async fn send_bytes(
    app: &TestApp,
    user: &str,
    fields: &[(&str, &str)],
    headers: &[(&str, &str)],
    bytes: &str,
) -> Answer {
    let mut form = String::new();
    for (name, value) in fields {
        let part = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        form.push_str(&part);
    }
    form += "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"Отчёт май.txt\"\r\n\
             Content-Type: text/plain\r\n\r\n";
    form += bytes;
    form += "\r\n--b--\r\n";
    let mut request = Request::post("/api/v1/files/upload")
        .header("authorization", format!("Bearer {}", app.token(user, "user")))
        .header("x-request-id", "r-1")
        .header("content-type", "multipart/form-data; boundary=b");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send(request.body(Body::from(form)).expect("a request")).await
}

/// Uploads while the worker works.
async fn upload(app: &TestApp, user: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
    let sent = send(app, user, fields, headers);
    tokio::pin!(sent);
    loop {
        tokio::select! {
            biased;
            answer = &mut sent => return answer,
            () = app.work() => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn an_upload_is_answered_with_what_the_document_keeps_of_a_file() {
    let app = element().await;
    let fields = [
        ("description", "Quarterly"),
        ("metadata", "{\"year\":2026}"),
        ("unknown", "x"),
    ];
    let answer = upload(&app, "ann", &fields, &[]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = answer.json();
    let id = body["file_id"].as_str().expect("an id");
    let expected = json!({
        "state": "ready",
        "original_filename": "Отчёт май.txt",
        "file_size": 3,
        "content_type": "text/plain",
        "created_by_id": "ann",
        "created_by_username": "ann",
        "created_by_fullname": null,
        "description": "Quarterly",
        "checksum": SHA256_ABC,
        "metadata_json": {"year": 2026},
        "metadata": {"year": 2026},
        "collection": "documents",
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&body[name], value, "{name} of {body}");
    }
    let name = body["storage_filename"].as_str().expect("a name");
    assert!(
        name.contains("_ann_") && name.split_once(id).is_some_and(|(_, rest)| rest == ".txt"),
        "{name}"
    );
    let path = body["storage_path"].as_str().expect("a path");
    assert_eq!(path, format!("2026/01/02/03/{name}"));
    let got = app.get("ann", &format!("/api/v1/files/{id}")).await.json();
    for name in [
        "original_filename",
        "storage_path",
        "checksum",
        "version",
        "created_by_id",
    ] {
        assert_eq!(got[name], body[name], "{name}");
    }
    let listed = app.get("ann", "/api/v1/files").await.json();
    assert_eq!(listed["files"][0]["storage_filename"], body["storage_filename"]);
    let path = format!("/api/v1/files/{id}");
    let patch = app
        .call("ann", Method::PATCH, &path, Some(json!({"description": "new"})))
        .await;
    assert_eq!(patch.json()["storage_filename"], body["storage_filename"]);
}

#[tokio::test]
async fn an_upload_repeated_with_its_key_is_the_same_file() {
    let app = element().await;
    let headers = [("idempotency-key", "k-1"), ("prefer", "respond-async")];
    let first = send(&app, "ann", &[], &headers).await;
    let again = send(&app, "ann", &[], &headers).await;
    assert_eq!((first.status, again.status), (201, 200), "{first:?}, {again:?}");
    assert_eq!(first.json()["file_id"], again.json()["file_id"]);
    assert_eq!(
        (&first.json()["state"], &first.json()["checksum"]),
        (&json!("confirmed"), &Value::Null)
    );
}

/// The bytes are part of the request, whether the worker has seen the first ones by then or not.
#[tokio::test]
async fn a_key_that_comes_with_other_bytes_is_refused() {
    let app = element().await;
    let headers = [("idempotency-key", "k-1"), ("prefer", "respond-async")];
    let first = send_bytes(&app, "ann", &[], &headers, "abc").await;
    assert_eq!(first.status, 201, "{first:?}");
    for round in 0..2 {
        let other = send_bytes(&app, "ann", &[], &headers, "abd").await;
        assert_eq!(
            other.refusal(),
            (422, "idempotency_key_reused".to_owned()),
            "{round}"
        );
        let again = send_bytes(&app, "ann", &[], &headers, "abc").await;
        assert_eq!(
            (again.status, &again.json()["file_id"]),
            (200, &first.json()["file_id"])
        );
        app.work().await;
    }
    let path = format!(
        "/api/v1/files/{}",
        first.json()["file_id"].as_str().expect("an id")
    );
    let file = app.get("ann", &path).await.json();
    assert_eq!(
        (&file["state"], &file["checksum"]),
        (&json!("ready"), &json!(SHA256_ABC))
    );
}

/// Who is told that his file is kept has it, or sees that it failed: it is never the other one's.
#[tokio::test]
async fn two_at_the_same_time_with_one_key_and_other_bytes_get_one_file() {
    let app = element().await;
    let headers = [("idempotency-key", "k-1"), ("prefer", "respond-async")];
    let (one, other) = tokio::join!(
        send_bytes(&app, "ann", &[], &headers, "abc"),
        send_bytes(&app, "ann", &[], &headers, "abd"),
    );
    let (kept, refused) = if one.status == 201 {
        (&one, &other)
    } else {
        (&other, &one)
    };
    assert_eq!(kept.status, 201, "{one:?}, {other:?}");
    assert_eq!(refused.refusal(), (422, "idempotency_key_reused".to_owned()));
    app.work().await;
    let path = format!(
        "/api/v1/files/{}",
        kept.json()["file_id"].as_str().expect("an id")
    );
    let file = app.get("ann", &path).await.json();
    if file["state"] == "ready" {
        assert_eq!(file["checksum"] == SHA256_ABC, one.status == 201, "{file}");
    } else {
        assert_eq!(
            (&file["state"], &file["error"]["code"]),
            (&json!("failed"), &json!("checksum_mismatch"))
        );
    }
}

#[tokio::test]
async fn an_upload_of_other_bytes_than_announced_is_refused() {
    let app = element().await;
    let other = "0".repeat(64);
    let answer = upload(&app, "ann", &[("checksum", &other)], &[]).await;
    assert_eq!(answer.refusal(), (422, "checksum_mismatch".to_owned()));
    let answer = send(&app, "ann", &[("metadata", "[1]")], &[]).await;
    assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()));
}

#[tokio::test]
async fn search_finds_documents_alone_and_ones_own() {
    let app = element().await;
    let ours = upload(&app, "ann", &[("description", "Quarterly")], &[])
        .await
        .json();
    upload(&app, "bob", &[("description", "Quarterly")], &[]).await;
    app.ready("ann", "отчёт.txt", b"abc", json!({"collection": "files"}))
        .await;
    let found = async |user: &str, query: &str| {
        let answer = app.get(user, &format!("/api/v1/files/search{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let files = answer.json()["files"].as_array().cloned().expect("files");
        files
            .iter()
            .map(|file| file["file_id"].clone())
            .collect::<Vec<_>>()
    };
    let only = vec![ours["file_id"].clone()];
    // «отчет» finds «Отчёт»; the beginning of a word is enough.
    for query in [
        "",
        "?q=%D0%BE%D1%82%D1%87%D0%B5%D1%82",
        "?query=quart",
        "?collection=documents&q=may"
            .replace("may", "%D0%BC%D0%B0%D0%B9")
            .as_str(),
    ] {
        assert_eq!(found("ann", query).await, only, "{query}");
    }
    assert_eq!(found("ann", "?query=nothing").await, Vec::<Value>::new());
    assert_eq!(found("olga", "?query=quarterly").await.len(), 2);
    assert_eq!(found("olga", "?query=quarterly&created_by_id=ann").await, only);
    // A stranger's files are found by nobody who may not see them.
    let strangers = app.get("ann", "/api/v1/files/search?created_by_id=bob").await;
    assert_eq!(strangers.refusal().0, 403, "{strangers:?}");
    for bad in ["?collection=files", "?nope=1", "?limit=0"] {
        let answer = app.get("ann", &format!("/api/v1/files/search{bad}")).await;
        assert_eq!(answer.refusal(), (400, "invalid_parameter".to_owned()), "{bad}");
    }
    let body = app.get("ann", "/api/v1/files/search").await.json();
    assert_eq!(body["files"][0]["original_filename"], "Отчёт май.txt");
}

#[tokio::test]
async fn the_path_of_search_is_not_taken_for_a_file() {
    let app = element().await;
    let id = upload(&app, "ann", &[], &[]).await.json()["file_id"].clone();
    let path = format!("/api/v1/files/{}", id.as_str().expect("an id"));
    assert_eq!(app.get("ann", &path).await.status, 200);
    assert!(app.get("ann", "/api/v1/files/search").await.json()["files"].is_array());
    assert_eq!(app.get("ann", "/api/v1/files/upload").await.status, 405);
    let stranger = app.get("bob", &path).await;
    assert_eq!(stranger.refusal(), (404, "file_not_found".to_owned()));
    assert_eq!(app.call("ann", Method::DELETE, &path, None).await.status, 204);
    assert_eq!(
        app.get("ann", "/api/v1/files/search").await.json()["files"],
        json!([])
    );
}

#[tokio::test]
async fn the_configuration_tells_mode_totals_and_master() {
    let app = element().await;
    upload(&app, "ann", &[], &[]).await;
    let expected = json!({
        "id": 1,
        "current_mode": "edit",
        "mode_changed_at": "2026-01-02T03:04:05.000006Z",
        "mode_changed_by": "configuration",
        "draining_until": null,
        "next_modes": [],
        "is_master": false,
        "master": null,
        "master_elected_at": null,
        "total_files": 1,
        "total_size_bytes": 3,
        "last_cache_rebuild": null,
        "storage_type": "local",
        "store": "main",
        "capacity_bytes": null,
    });
    assert_eq!(app.get("ada", "/api/v1/admin/config").await.json(), expected);
}

#[tokio::test]
async fn modes_go_one_step_at_a_time_and_it_is_known_who_did_it() {
    let app = element().await;
    let change = async |body: Value| {
        app.call("ada", Method::PUT, "/api/v1/admin/mode", Some(body))
            .await
    };
    let refused = change(json!({"mode": "ro"})).await;
    assert_eq!(refused.refusal(), (409, "invalid_storage_mode".to_owned()));
    assert_eq!(change(json!({"mode": "open"})).await.refusal().0, 422);
    set_mode(&app, StorageMode::Rw, false).await;
    let refused = change(json!({"mode": "ar"})).await;
    assert_eq!(refused.refusal(), (409, "invalid_storage_mode".to_owned()));
    let closing = change(json!({"new_mode": "RO", "reason": "the year is over"})).await;
    assert_eq!(closing.status, 200, "{closing:?}");
    assert!(closing.json()["draining_until"].is_string(), "{closing:?}");
    let no_more = send(&app, "ann", &[], &[]).await;
    assert_eq!(no_more.refusal(), (409, "invalid_storage_mode".to_owned()));
    app.clock.advance(SignedDuration::from_mins(5));
    app.app.refresh_stores().await.expect("read");
    app.app.end_drains().await.expect("an answer");
    let closed = app.get("ada", "/api/v1/admin/config").await.json();
    assert_eq!(
        (&closed["current_mode"], &closed["draining_until"]),
        (&json!("ro"), &Value::Null)
    );
    let unconfirmed = change(json!({"mode": "rw"})).await;
    assert_eq!(unconfirmed.refusal(), (409, "confirmation_required".to_owned()));
    let open = change(json!({"mode": "rw", "confirm": true})).await.json();
    assert_eq!(
        (&open["current_mode"], &open["mode_changed_by"]),
        (&json!("rw"), &json!("ada"))
    );
    let wal = app
        .get("ada", "/api/v1/admin/wal?operation_type=MODE_CHANGE")
        .await
        .json();
    let last = &wal["transactions"][0];
    assert_eq!(
        (&last["status"], &last["user_id"]),
        (&json!("COMMITTED"), &json!("ada"))
    );
    assert_eq!(
        (&last["file_id"], &last["operation_data"]["mode"]),
        (&Value::Null, &json!("rw"))
    );
}

#[tokio::test]
async fn the_write_ahead_log_tells_of_every_file() {
    let app = element().await;
    let id = upload(&app, "ann", &[], &[]).await.json()["file_id"].clone();
    let path = format!("/api/v1/files/{}", id.as_str().expect("an id"));
    app.call("ann", Method::PATCH, &path, Some(json!({"description": "new"})))
        .await;
    app.work().await;
    let read = async |query: &str| {
        let answer = app.get("ada", &format!("/api/v1/admin/wal{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let all = read("").await["transactions"]
        .as_array()
        .cloned()
        .expect("a list");
    let types: Vec<&Value> = all.iter().map(|one| &one["operation_type"]).collect();
    assert!(
        types.contains(&&json!("FILE_CREATE")) && types.contains(&&json!("FILE_UPDATE")),
        "{types:?}"
    );
    let created = read("?operation_type=FILE_CREATE").await["transactions"][0].clone();
    assert_eq!(
        (&created["file_id"], &created["status"]),
        (&id, &json!("COMMITTED"))
    );
    for name in ["transaction_id", "started_at", "completed_at", "user_id"] {
        assert!(created[name].is_string(), "{name} of {created}");
    }
    assert!(
        created["duration_ms"].is_u64()
            && created["operation_data"].is_object()
            && created["error_message"].is_null()
    );
    assert_eq!(read("?status=PENDING").await["transactions"], json!([]));
    let mut seen = Vec::new();
    let mut query = "?limit=1".to_owned();
    loop {
        let page = read(&query).await;
        seen.extend(page["transactions"].as_array().cloned().expect("a list"));
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=1&cursor={next}");
    }
    assert_eq!(seen, all);
    for bad in [
        "?status=pending",
        "?operation_type=x",
        "?file_id=x",
        "?limit=0",
        "?a=1",
    ] {
        let answer = app.get("ada", &format!("/api/v1/admin/wal{bad}")).await;
        assert_eq!(answer.refusal(), (400, "invalid_parameter".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn the_cache_is_rebuilt_and_verified_by_operations() {
    let app = element().await;
    let rebuild = "/api/v1/admin/cache/rebuild";
    let started = app.call("ada", Method::POST, rebuild, None).await;
    assert_eq!(
        (started.status, &started.json()["kind"]),
        (202, &json!("rebuild"))
    );
    let again = app.call("ada", Method::POST, rebuild, Some(json!({}))).await;
    assert_eq!(again.refusal(), (409, "operation_running".to_owned()));
    let deep = Some(json!({"deep": true, "unknown": 1}));
    let verify = app
        .call("ada", Method::POST, "/api/v1/admin/cache/verify", deep)
        .await;
    assert_eq!(
        (verify.status, &verify.json()["options"]),
        (202, &json!({"deep": true}))
    );
    // When it is done, the configuration says when.
    let id = started.json()["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    let worker = cloakroom_core::id::WorkerId("w".to_owned());
    let administration = &app.app.administration;
    let claimed = administration
        .claim_operation_by_id(id, &worker, app.app.now(), SignedDuration::from_mins(1))
        .await
        .expect("an answer");
    let mut operation = claimed.expect("one waits");
    assert_eq!(operation.kind, OperationKind::Rebuild);
    operation.state = OperationState::Done;
    operation.finished_at = Some(app.app.now());
    administration
        .save_operation(&operation, &[])
        .await
        .expect("saved");
    let config = app.get("ada", "/api/v1/admin/config").await.json();
    assert_eq!(config["last_cache_rebuild"], json!(app.app.now().to_string()));
}

/// What an attacker would try: the administration without being an administrator, a refresh token, another's name.
#[tokio::test]
async fn nobody_does_more_than_they_may() {
    let app = element().await;
    let operations = [
        (Method::GET, "/api/v1/admin/config", None),
        (Method::PUT, "/api/v1/admin/mode", Some(json!({"mode": "ro"}))),
        (Method::POST, "/api/v1/admin/cache/rebuild", None),
        (Method::POST, "/api/v1/admin/cache/verify", None),
        (Method::GET, "/api/v1/admin/wal", None),
    ];
    for (method, path, body) in operations {
        for user in ["ann", "olga"] {
            let answer = app.call(user, method.clone(), path, body.clone()).await;
            assert_eq!(
                answer.refusal(),
                (403, "insufficient_permissions".to_owned()),
                "{user} {path}"
            );
        }
        let nobody = app.call_with("", method.clone(), path, body.clone(), &[]).await;
        assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()), "{path}");
    }
    let now = app.app.now().as_second();
    for claim in ["type", "token_type", "typ"] {
        let token = crate::test_app::sign(
            &json!({"sub": "ada", "role": "admin", "iat": now, "exp": now + 60, claim: "refresh"}),
        );
        let answer = app
            .call_with(&token, Method::GET, "/api/v1/admin/config", None, &[])
            .await;
        assert_eq!(answer.refusal(), (401, "invalid_token".to_owned()), "{claim}");
    }
    let claim = [("x-cloakroom-owner", "bob")];
    let as_bob = send(&app, "ann", &[], &claim).await;
    assert_eq!(as_bob.refusal(), (403, "insufficient_permissions".to_owned()));
    // A token of another collection.
    let request = json!({"name": "photos-bot", "collections": ["photos"]});
    let (_, secret) = app.service_token(request).await;
    let answer = app
        .call_with(&secret, Method::GET, "/api/v1/files/search", None, &[])
        .await;
    assert!(
        answer.status == 403 || answer.json()["files"] == json!([]),
        "{answer:?}"
    );
}

#[tokio::test]
async fn without_the_dialect_nothing_of_it_is_there() {
    let app = TestApp::new().await;
    for path in ["/api/v1/files/search", "/api/v1/admin/config"] {
        let status = app.get("ada", path).await.status;
        assert!(status == 404 || status == 400, "{path}: {status}");
    }
    let id = app
        .ready("ann", "a.txt", b"abc", json!({"collection": "files"}))
        .await;
    let body = app.get("ann", &format!("/api/v1/files/{id}")).await.json();
    assert!(body.get("storage_path").is_none(), "{body}");
    // Spoken, it adds nothing to files of other collections.
    let app = element().await;
    let id = app
        .ready("ann", "a.txt", b"abc", json!({"collection": "files"}))
        .await;
    let body = app.get("ann", &format!("/api/v1/files/{id}")).await.json();
    assert!(body.get("storage_path").is_none(), "{body}");
}

#[tokio::test]
async fn the_reference_may_be_for_debugging_alone() {
    let mut options = Options::default();
    options.http.docs = false;
    let app = TestApp::with(options).await;
    assert_eq!(app.get("", "/docs").await.status, 404);
    assert_eq!(app.get("", "/").await.json()["docs"], Value::Null);
    assert_eq!(app.get("", "/openapi.json").await.status, 200);
}
