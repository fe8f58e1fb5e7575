//! S4: the bot's flow, who may do what, and what the administrator sees.

use cloakroom_core::file::FileState;
use cloakroom_core::id::FileId;
use cloakroom_http::auth::ConfiguredToken;
use cloakroom_http::{AuthSettings, Dialect, HttpSettings};
use http::Method;
use serde_json::{Value, json};

use crate::test_app::{Answer, Options, TestApp};

/// The least that is a PNG to a sniffer.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
/// What the bot's environment holds, while it is changed.
const TOKENS: [&str; 2] = ["bot-token-of-the-backend", "bot-token-that-follows"];

async fn app() -> TestApp {
    let options = Options::default();
    let tokens = TOKENS.map(|text| ConfiguredToken::new(text, "backend", vec!["photos".to_owned()]));
    TestApp::with(Options {
        http: HttpSettings {
            dialects: vec![Dialect::Photos],
            ..options.http
        },
        auth: AuthSettings {
            service_tokens: tokens.to_vec(),
            ..options.auth
        },
        ..Options::default()
    })
    .await
}

async fn bot(app: &TestApp, method: Method, path: &str, body: Option<Value>) -> Answer {
    app.call_with(TOKENS[0], method, &format!("/api/v1/complaints{path}"), body, &[])
        .await
}

async fn presign(app: &TestApp, complaint: &str, body: Value) -> Answer {
    bot(
        app,
        Method::POST,
        &format!("/{complaint}/photos/presign"),
        Some(body),
    )
    .await
}

fn id(answer: &Answer) -> String {
    answer.json()["photo_id"].as_str().expect("an id").to_owned()
}

/// A photo of a complaint, sent and confirmed.
async fn confirmed(app: &TestApp, complaint: &str) -> String {
    let signed = presign(
        app,
        complaint,
        json!({"filename": "a.png", "content_length": PNG.len()}),
    )
    .await;
    assert_eq!(signed.status, 201, "{signed:?}");
    let photo = id(&signed);
    app.put_staged(&photo, PNG).await;
    let path = format!("/{complaint}/photos/confirm");
    let answer = bot(app, Method::POST, &path, Some(json!({"photo_id": photo}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    photo
}

#[tokio::test]
async fn the_flow_of_the_bot() {
    let app = app().await;
    let signed = presign(
        &app,
        "42",
        json!({"content_type": "image/png", "content_length": PNG.len(), "caption": "a pothole", "chat": "unknown fields are left alone"}),
    )
    .await;
    assert_eq!(signed.status, 201, "{signed:?}");
    let ticket = signed.json();
    assert_eq!(
        (&ticket["method"], &ticket["expires_in"]),
        (&json!("PUT"), &json!(900))
    );
    assert_eq!(ticket["headers"], json!({"content-type": "image/png"}));
    assert_eq!(
        (&ticket["complaint_id"], &ticket["bucket"]),
        (&json!("42"), &json!("bucket"))
    );
    assert!(
        ticket["upload_url"]
            .as_str()
            .is_some_and(|url| url.contains("staging"))
    );
    let photo = id(&signed);
    let path = format!("/42/photos/{photo}");
    let before = bot(&app, Method::GET, &path, None).await.json();
    assert_eq!(
        (&before["status"], &before["url"]),
        (&json!("pending"), &Value::Null)
    );

    let confirm = || async {
        let body = json!({"photo_id": photo, "file_size": PNG.len(), "width": 1, "metadata": {"floor": 3}});
        bot(&app, Method::POST, "/42/photos/confirm", Some(body)).await
    };
    assert_eq!(confirm().await.refusal(), (409, "upload_incomplete".to_owned()));
    app.put_staged(&photo, PNG).await;
    let first = confirm().await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["status"], "confirmed");
    assert_eq!(first.json()["metadata"], json!({"floor": 3, "width": 1}));
    assert_eq!(confirm().await.json(), first.json());
    app.work().await;

    let ready = bot(&app, Method::GET, &path, None).await;
    assert_eq!(ready.header("cache-control"), Some("private, no-cache"));
    let ready = ready.json();
    assert_eq!(
        (&ready["status"], &ready["caption"]),
        (&json!("ready"), &json!("a pothole"))
    );
    assert_eq!(ready["storage_provider"], "local");
    assert_eq!(ready["s3_key"], ticket["s3_key"]);
    assert_eq!(ready["checksum_sha256"].as_str().map(str::len), Some(64));
    assert!(ready["processed_at"].is_string() && ready["url_expires_at"].is_string());
    assert!(
        ready["url"]
            .as_str()
            .is_some_and(|url| url.ends_with("&disposition=inline"))
    );
    let list = bot(&app, Method::GET, "/42/photos?limit=1", None).await.json();
    assert_eq!(
        list,
        json!({"complaint_id": "42", "photos": [ready], "next_cursor": null})
    );

    assert_eq!(bot(&app, Method::DELETE, &path, None).await.status, 204);
    for (method, path) in [(Method::GET, &path), (Method::DELETE, &path)] {
        let gone = bot(&app, method, path, None).await;
        assert_eq!(gone.refusal(), (404, "file_not_found".to_owned()));
    }
    let list = bot(&app, Method::GET, "/42/photos", None).await.json();
    assert_eq!(list["photos"], json!([]));
}

#[tokio::test]
async fn the_same_key_is_the_same_photo() {
    let app = app().await;
    let send = async |body: Value| presign(&app, "7", body).await;
    let body = json!({"content_type": "image/jpeg", "idempotency_key": "update-1/photo-1"});
    let (first, again) = (send(body.clone()).await, send(body).await);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(id(&first), id(&again));
    let other = send(json!({"content_type": "image/png", "idempotency_key": "update-1/photo-1"})).await;
    assert_eq!(other.refusal(), (422, "idempotency_key_reused".to_owned()));
}

#[tokio::test]
async fn what_is_asked_for_is_checked() {
    let app = app().await;
    for (body, status, code) in [
        (json!({}), 422, "invalid_request"),
        (
            json!({"content_type": "application/zip"}),
            415,
            "content_type_not_allowed",
        ),
        (
            json!({"content_type": "image/jpeg", "content_length": 1_000_001}),
            413,
            "file_too_large",
        ),
        (
            json!({"content_type": "image/jpeg", "checksum_sha256": "xyz"}),
            422,
            "invalid_request",
        ),
    ] {
        let refused = presign(&app, "42", body.clone()).await.refusal();
        assert_eq!(refused.1, code, "{body}");
        assert!(
            (400..500).contains(&refused.0) && (refused.0 == status || code != "file_too_large"),
            "{refused:?}"
        );
    }
    let long = "x".repeat(201);
    assert_eq!(
        presign(&app, &long, json!({"filename": "a.jpg"})).await.status,
        400
    );
    let photo = confirmed(&app, "42").await;
    let body = json!({"photo_id": photo, "checksum_sha256": "0".repeat(64)});
    // What was confirmed stays so; a photo of another complaint is none of this one.
    assert_eq!(
        bot(&app, Method::POST, "/42/photos/confirm", Some(body.clone()))
            .await
            .status,
        200
    );
    let elsewhere = bot(&app, Method::POST, "/43/photos/confirm", Some(body)).await;
    assert_eq!(elsewhere.refusal(), (404, "file_not_found".to_owned()));
    for method in [Method::GET, Method::DELETE] {
        let elsewhere = bot(&app, method, &format!("/43/photos/{photo}"), None).await;
        assert_eq!(elsewhere.refusal(), (404, "file_not_found".to_owned()));
    }
    // Nor is a file of another collection that hangs on the complaint.
    let more = json!({"record": {"type": "complaint", "id": "42"}, "owner": "backend"});
    let file = app.ready("ada", "a.txt", b"text", more).await;
    let (secret, path) = (
        app.service_token(json!({"name": "all"})).await.1,
        format!("/api/v1/complaints/42/photos/{file}"),
    );
    for method in [Method::GET, Method::DELETE] {
        let other = app.call_with(&secret, method, &path, None, &[]).await;
        assert_eq!(other.refusal(), (404, "file_not_found".to_owned()));
    }
    let list = app
        .call_with(&secret, Method::GET, "/api/v1/complaints/42/photos", None, &[])
        .await;
    assert_eq!(
        list.json()["photos"].as_array().map(Vec::len),
        Some(1),
        "{list:?}"
    );
}

#[tokio::test]
async fn strangers_learn_nothing() {
    let app = app().await;
    let photo = confirmed(&app, "42").await;
    app.work().await;
    let paths = [
        (Method::GET, format!("/api/v1/complaints/42/photos/{photo}")),
        (Method::DELETE, format!("/api/v1/complaints/42/photos/{photo}")),
        (
            Method::GET,
            "/api/v1/complaints/42/photos/00000000-0000-7000-8000-000000000000".to_owned(),
        ),
    ];
    for (method, path) in paths {
        let refused = app.call("eve", method, &path, None).await;
        assert_eq!(refused.refusal(), (404, "file_not_found".to_owned()), "{path}");
    }
    // A foreign complaint and none are the same.
    let bodies = async |complaint: &str| {
        let answer = app
            .get("eve", &format!("/api/v1/complaints/{complaint}/photos"))
            .await;
        assert_eq!(answer.status, 404, "{answer:?}");
        answer.problem()["error_code"].clone()
    };
    assert_eq!(bodies("42").await, bodies("43").await);
    let steal = app
        .post(
            "eve",
            "/api/v1/complaints/42/photos/presign",
            json!({"filename": "a.png"}),
        )
        .await;
    assert_eq!(steal.refusal(), (404, "record_not_found".to_owned()));
    let confirm = app
        .post(
            "eve",
            "/api/v1/complaints/42/photos/confirm",
            json!({"photo_id": photo}),
        )
        .await;
    assert_eq!(confirm.refusal(), (404, "file_not_found".to_owned()));
    // A token of another application.
    let (_, secret) = app
        .service_token(json!({"name": "other", "collections": ["files"]}))
        .await;
    let path = format!("/api/v1/complaints/42/photos/{photo}");
    assert_eq!(
        app.call_with(&secret, Method::GET, &path, None, &[]).await.status,
        404
    );
    let body = Some(json!({"filename": "a.png"}));
    let presign = app
        .call_with(
            &secret,
            Method::POST,
            "/api/v1/complaints/42/photos/presign",
            body,
            &[],
        )
        .await;
    assert_eq!(presign.status, 403, "{presign:?}");
    let list = app
        .call_with(&secret, Method::GET, "/api/v1/complaints/42/photos", None, &[])
        .await;
    assert!(
        list.status == 404 || list.json()["photos"] == json!([]),
        "{list:?}"
    );
    let file = app
        .app
        .metadata
        .file(photo.parse::<FileId>().expect("an id"))
        .await;
    assert_eq!(file.expect("an answer").expect("a file").state, FileState::Ready);
}

#[tokio::test]
async fn the_token_of_the_environment() {
    let app = app().await;
    let path = "/api/v1/complaints/42/photos";
    for token in TOKENS {
        assert_eq!(
            app.call_with(token, Method::GET, path, None, &[]).await.status,
            200
        );
    }
    for wrong in ["bot-token-of-the-backenD", "bot-token", ""] {
        let refused = app.call_with(wrong, Method::GET, path, None, &[]).await;
        assert_eq!(refused.status, 401, "{refused:?}");
    }
    // Good for photos alone, and for nothing that takes a role.
    let upload = Some(json!({"filename": "a.txt", "collection": "files"}));
    let other = app
        .call_with(TOKENS[0], Method::POST, "/api/v1/uploads", upload, &[])
        .await;
    assert_eq!(other.status, 403, "{other:?}");
    for (method, path) in [
        (Method::GET, "/api/v1/admin/storage-health"),
        (Method::POST, "/api/v1/admin/purge"),
        (Method::GET, "/api/v1/admin/jobs"),
    ] {
        let refused = app.call_with(TOKENS[0], method, path, None, &[]).await;
        assert_eq!(
            refused.refusal(),
            (403, "insufficient_permissions".to_owned()),
            "{path}"
        );
    }
    let shown = format!("{:?}", ConfiguredToken::new(TOKENS[0], "backend", vec![]));
    assert!(!shown.contains(TOKENS[0]), "{shown}");
    let token = Some(json!({"content_type": "image/png", "owner": "telegram:7"}));
    let signed = app
        .call_with(
            TOKENS[1],
            Method::POST,
            "/api/v1/complaints/9/photos/presign",
            token,
            &[],
        )
        .await;
    assert_eq!(signed.status, 201, "{signed:?}");
    let mine = app
        .get(
            "telegram:7",
            &format!("/api/v1/complaints/9/photos/{}", id(&signed)),
        )
        .await;
    assert_eq!(mine.json()["owner"], "telegram:7");
}

#[tokio::test]
async fn the_storage_is_tried() {
    let app = app().await;
    let path = "/api/v1/admin/storage-health";
    for user in ["ann", "olga"] {
        assert_eq!(app.get(user, path).await.refusal().0, 403);
    }
    let health = app.get("ada", path).await;
    assert_eq!(health.status, 200, "{health:?}");
    let health = health.json();
    assert_eq!(
        (&health["status"], &health["denied"]),
        (&json!("healthy"), &json!([]))
    );
    let operations: Vec<_> = health["buckets"][0]["operations"]
        .as_array()
        .expect("operations")
        .iter()
        .map(|one| {
            (
                one["operation"].as_str(),
                one["permission"].as_str(),
                one["ok"].as_bool(),
            )
        })
        .collect();
    let expected = [
        ("put", "s3:PutObject"),
        ("head", "s3:GetObject"),
        ("get", "s3:GetObject"),
        ("list", "s3:ListBucket"),
        ("delete", "s3:DeleteObject"),
    ];
    assert_eq!(
        operations,
        expected.map(|(name, permission)| (Some(name), Some(permission), Some(true)))
    );
}
