//! S1: forms, confirm, what is told of an attachment, and addresses that need no token.

use cloakroom_core::collection::{Collection, Visibility};
use cloakroom_core::ports::limits::Rate;
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath};
use cloakroom_core::upload::UploadMethod;
use cloakroom_http::Dialect;
use cloakroom_service::variants::{SigningKey, VariantOptions, Variants};
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::test_app::{Answer, BUCKET, Options, TestApp};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";
const CDN: &str = "https://cdn.yourcompany.com";

fn collection(visibility: Visibility) -> Collection {
    Collection {
        content_types: ["image/jpeg", "image/png", "application/pdf"]
            .map(str::to_owned)
            .to_vec(),
        size_bytes_max: 100 * 1024 * 1024,
        size_bytes_min: 1,
        default_method: UploadMethod::Post,
        upload_expires_seconds: 600,
        success_action_status: 200,
        visibility,
        ..Collection::new("attachments", BUCKET)
    }
}

async fn chat_with(visibility: Visibility, cdn_url: Option<&str>) -> TestApp {
    let mut options = Options {
        collections: vec![collection(visibility)],
        variants: Variants::new(VariantOptions {
            key: Some(SigningKey::derived_from(b"secret")),
            ..VariantOptions::default()
        }),
        ..Options::default()
    };
    options.http.dialects = vec![Dialect::Attachments];
    options.http.cdn_url = cdn_url.map(str::to_owned);
    options.http.public_url = Some("https://files.test".to_owned());
    TestApp::with(options).await
}

async fn chat() -> TestApp {
    chat_with(Visibility::Private, None).await
}

/// The document's request, with a header or two.
async fn presign(app: &TestApp, user: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
    let path = "/api/v1/attachments/presigned";
    app.call_with(&app.token(user, "user"), Method::POST, path, Some(body), headers)
        .await
}

/// Confirms, while the worker works.
async fn confirm(app: &TestApp, user: &str, body: Value) -> Answer {
    let working = async {
        // Until the file is confirmed there is nothing to do.
        loop {
            app.work().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = app.post(user, "/api/v1/attachments/confirm", body) => answer,
        () = working => unreachable!("it works for ever"),
    }
}

/// An attachment that is ready.
async fn attached(app: &TestApp, user: &str, more: Value) -> Value {
    let mut request = json!({"filename": "test.png", "content_type": "image/png"});
    request
        .as_object_mut()
        .expect("an object")
        .extend(more.as_object().cloned().unwrap_or_default());
    let signed = presign(app, user, request, &[]).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let id = signed.json()["attachment_id"].as_str().expect("an id").to_owned();
    app.put_staged(&id, PNG).await;
    let confirmed = confirm(app, user, json!({"attachment_id": id})).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    confirmed.json()
}

/// The path and query of an address.
fn path_of(url: &Value, base: &str) -> String {
    let url = url.as_str().expect("a URL");
    url.strip_prefix(base)
        .unwrap_or_else(|| panic!("{url} is not at {base}"))
        .to_owned()
}

#[tokio::test]
async fn a_form_is_signed_and_the_answer_tells_everything() {
    let app = chat().await;
    let asked =
        json!({"filename": "test.jpg", "content_type": "image/jpeg", "a field of the client's own": 1});
    let signed = presign(&app, "7", asked.clone(), &[("idempotency-key", "k-1")]).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let body = signed.json();
    assert_eq!(body["id"], body["attachment_id"]);
    assert_eq!(body["method"], "POST");
    assert_eq!(body["expires_in"], 600);
    assert_eq!(body["max_size_bytes"], 100 * 1024 * 1024);
    assert_eq!(body["fields"]["Content-Type"], "image/jpeg");
    assert!(
        body["url"]
            .as_str()
            .expect("a URL")
            .starts_with("https://store.test/")
    );
    // The same key and body: the same answer, whenever; another body: refused.
    app.clock.advance(SignedDuration::from_secs(2));
    let again = presign(&app, "7", asked, &[("idempotency-key", "k-1")]).await;
    assert_eq!((again.status, again.json()), (200, body));
    let other = json!({"filename": "other.jpg", "content_type": "image/jpeg"});
    let other = presign(&app, "7", other, &[("idempotency-key", "k-1")]).await;
    assert_eq!(other.refusal(), (422, "idempotency_key_reused".to_owned()));
}

#[tokio::test]
async fn what_is_refused_is_named() {
    let app = chat().await;
    let exe = json!({"filename": "a.exe", "content_type": "application/x-msdownload"});
    let refused = presign(&app, "7", exe, &[]).await;
    assert_eq!(refused.refusal(), (415, "content_type_not_allowed".to_owned()));
    let message = refused.json()["message"].as_str().expect("a message").to_owned();
    assert!(
        message.contains("application/x-msdownload") && message.contains("image/jpeg"),
        "{message}"
    );
    let table = [
        (json!({"content_type": "image/png"}), 422),
        (
            json!({"filename": "a.png", "content_type": "image/png", "size_bytes": 104_857_601}),
            413,
        ),
        (
            json!({"filename": "a.png", "content_type": "image/png", "size_bytes": 6e12}),
            422,
        ),
        (
            json!({"filename": "a.png", "content_type": "image/png", "message_id": {"id": 1}}),
            422,
        ),
        (
            json!({"filename": "a.png", "content_type": "image/png", "message_id": "a/b"}),
            422,
        ),
        (
            json!({"filename": "a.png", "content_type": "image/png", "message_id": -1}),
            422,
        ),
        (
            json!({"filename": "x".repeat(256), "content_type": "image/png"}),
            422,
        ),
    ];
    for (body, status) in table {
        let answer = presign(&app, "7", body.clone(), &[]).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        answer.problem();
    }
    let path = "/api/v1/attachments/presigned";
    let body = json!({"filename": "a.png", "content_type": "image/png"});
    let stranger = app.call_with("", Method::POST, path, Some(body), &[]).await;
    assert_eq!(stranger.refusal(), (401, "unauthenticated".to_owned()));
    for body in [
        json!({}),
        json!({"id": uuid::Uuid::nil(), "attachment_id": uuid::Uuid::max()}),
    ] {
        let answer = app.post("7", "/api/v1/attachments/confirm", body).await;
        assert_eq!(answer.status, 422, "{answer:?}");
    }
}

#[tokio::test]
async fn confirm_answers_with_the_attachment_and_its_address() {
    let app = chat().await;
    let told = attached(&app, "7", json!({"message_id": 42, "metadata": {"alt": "a dot"}})).await;
    assert_eq!(told["user_id"], 7);
    assert_eq!(told["message_id"], 42);
    assert_eq!(told["state"], "ready");
    assert_eq!(told["content_type"], "image/png");
    assert_eq!(told["size_bytes"], PNG.len());
    assert_eq!(told["metadata"], json!({"alt": "a dot"}));
    assert_eq!(told["filename"], "test.png");
    assert!(
        told["download_url"]
            .as_str()
            .expect("a URL")
            .starts_with("https://store.test/")
    );
    let id = told["id"].as_str().expect("an id");
    let got = app.get("7", &format!("/api/v1/attachments/{id}")).await;
    assert_eq!((got.status, got.json()), (200, told.clone()));
    // Confirmed again, by any of the names of its id: the same answer.
    for name in ["attachment_id", "id", "file_id"] {
        let again = app
            .post("7", "/api/v1/attachments/confirm", json!({name: id}))
            .await;
        assert_eq!((again.status, again.json()), (200, told.clone()));
    }
}

#[tokio::test]
async fn what_did_not_arrive_is_not_confirmed() {
    let app = chat().await;
    let asked = json!({"filename": "a.png", "content_type": "image/png"});
    let signed = presign(&app, "7", asked, &[]).await.json();
    let confirmed = app
        .post(
            "7",
            "/api/v1/attachments/confirm",
            json!({"attachment_id": signed["id"]}),
        )
        .await;
    assert_eq!(confirmed.refusal(), (409, "upload_incomplete".to_owned()));
    let path = format!("/api/v1/attachments/{}", signed["id"].as_str().expect("an id"));
    let got = app.get("7", &path).await.json();
    assert_eq!(
        (&got["state"], &got["download_url"]),
        (&json!("pending"), &Value::Null)
    );
    assert_eq!(got["size_bytes"], Value::Null);
}

#[tokio::test]
async fn strangers_and_files_of_other_collections_get_the_answer_for_none() {
    let app = chat().await;
    let told = attached(&app, "7", json!({})).await;
    let id = told["id"].as_str().expect("an id").to_owned();
    let other = app.ready("7", "a.txt", b"of another collection", json!({})).await;
    let none = uuid::Uuid::nil().to_string();
    let mut answers = Vec::new();
    for (user, id) in [("8", &id), ("7", &other), ("7", &none)] {
        let got = app.get(user, &format!("/api/v1/attachments/{id}")).await;
        let confirmed = app
            .post(user, "/api/v1/attachments/confirm", json!({"id": id}))
            .await;
        for answer in [got, confirmed] {
            let mut body = answer.problem();
            body["details"]["file_id"] = json!("it");
            answers.push((answer.status, body));
        }
    }
    assert_eq!(answers[0].0, 404);
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    // A message of somebody else is nobody's to hang something on.
    attached(&app, "7", json!({"message_id": 1})).await;
    let asked = json!({"filename": "a.png", "content_type": "image/png", "message_id": 1});
    let refused = presign(&app, "8", asked, &[]).await;
    assert_eq!(refused.refusal(), (404, "record_not_found".to_owned()));
}

#[tokio::test]
async fn a_message_takes_its_attachments_along() {
    let app = chat().await;
    let told = attached(&app, "7", json!({"message_id": 5})).await;
    let path = format!("/api/v1/attachments/{}", told["id"].as_str().expect("an id"));
    let message = "/api/v1/records/message/5?purge_now=1";
    let deleted = app.call("ada", Method::DELETE, message, None).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(app.get("7", &path).await.status, 404);
    app.work().await;
    // The bytes as well as the row.
    let key = told["storage_key"].as_str().expect("a key");
    let object = ObjectPath::new(BUCKET, key);
    let left = app.app.objects.head(&object, &GetOptions::default()).await;
    assert!(matches!(left, Err(ObjectError::NotFound)), "{left:?}");
}

#[tokio::test]
async fn a_message_can_be_named_later() {
    let app = chat().await;
    let told = attached(&app, "7", json!({})).await;
    assert_eq!(told["message_id"], Value::Null);
    let confirm = json!({"attachment_id": told["id"], "message_id": "m-1"});
    let linked = app.post("7", "/api/v1/attachments/confirm", confirm).await;
    assert_eq!(
        (linked.status, &linked.json()["message_id"]),
        (200, &json!("m-1"))
    );
    let files = app.get("7", "/api/v1/records/message/m-1/files").await.json();
    assert_eq!(files["files"].as_array().map(Vec::len), Some(1), "{files}");
}

#[tokio::test]
async fn a_private_attachment_is_signed_for_the_cdn() {
    let app = chat_with(Visibility::Private, Some(CDN)).await;
    let told = attached(&app, "7", json!({"filename": "Отчёт 1.png"})).await;
    let path = path_of(&told["download_url"], CDN);
    let id = told["id"].as_str().expect("an id");
    let name = "%D0%9E%D1%82%D1%87%D1%91%D1%82%201.png";
    assert!(
        path.starts_with(&format!("/attachments/{id}/{name}?expires=")),
        "{path}"
    );
    let got = app.get("", &path).await;
    assert_eq!((got.status, got.bytes.as_ref()), (200, PNG));
    assert_eq!(got.header("content-type"), Some("image/png"));
    let kept = got
        .header("cache-control")
        .and_then(|text| text.strip_prefix("public, max-age="));
    let kept: u64 = kept.and_then(|text| text.parse().ok()).expect("an age");
    assert!((2700..=3600).contains(&kept), "until the address ends: {kept}");
    assert!(
        got.header("content-disposition")
            .expect("a name")
            .starts_with("attachment;")
    );
    let etag = got.header("etag").expect("a tag").to_owned();
    let call = async |headers: &[(&str, &str)]| app.call_with("", Method::GET, &path, None, headers).await;
    assert_eq!(call(&[("if-none-match", &etag)]).await.status, 304);
    let part = call(&[("range", "bytes=1-3")]).await;
    assert_eq!((part.status, part.bytes.as_ref()), (206, &PNG[1..4]));
    let size = PNG.len();
    assert_eq!(
        part.header("content-range"),
        Some(format!("bytes 1-3/{size}").as_str())
    );
    assert_eq!(
        call(&[("range", "bytes=1-3"), ("if-range", "\"old\"")])
            .await
            .status,
        200
    );
    let beyond = call(&[("range", "bytes=9999-")]).await;
    assert_eq!(beyond.refusal(), (416, "range_not_satisfiable".to_owned()));
    // Nothing of it can be changed, and it ends.
    let (plain, _) = path.split_once('?').expect("a query");
    let unsigned = app.get("", plain).await;
    assert_eq!(unsigned.refusal(), (404, "file_not_found".to_owned()));
    let other = path.replace(id, &uuid::Uuid::nil().to_string());
    let longer = path.replace("expires=1", "expires=2");
    let renamed = path.replace(name, "x.png");
    for tampered in [other, longer, renamed, path.replace("signature=", "signature=0")] {
        assert_eq!(
            app.get("", &tampered).await.refusal(),
            (403, "invalid_signature".to_owned()),
            "{tampered}"
        );
    }
    app.clock.advance(SignedDuration::from_hours(2));
    assert_eq!(
        app.get("", &path).await.refusal(),
        (410, "url_expired".to_owned())
    );
}

#[tokio::test]
async fn a_native_download_leads_to_the_cdn_as_well() {
    let app = chat_with(Visibility::Private, Some(CDN)).await;
    let id = app.ready("ann", "a.txt", b"of any collection", json!({})).await;
    let told = app
        .get("ann", &format!("/api/v1/files/{id}/download?inline=1"))
        .await
        .json();
    let path = path_of(&told["download_url"], CDN);
    assert!(
        path.starts_with(&format!("/api/v1/content/{id}/a.txt?inline=1&expires=")),
        "{path}"
    );
    let got = app.get("", &path).await;
    assert_eq!((got.status, got.bytes.as_ref()), (200, &b"of any collection"[..]));
    let moved = app
        .get("ann", &format!("/api/v1/files/{id}/download?redirect=1"))
        .await;
    assert_eq!(moved.status, 302);
    assert!(moved.header("location").expect("a place").starts_with(CDN));
    // Collections that have a network of their own do not lead there.
    let mut options = Options::default();
    options.http.cdn_url = Some(CDN.to_owned());
    options.http.cdn_not_for = vec!["files".to_owned()];
    options.variants = Variants::new(VariantOptions {
        key: Some(SigningKey::derived_from(b"secret")),
        ..VariantOptions::default()
    });
    let other = TestApp::with(options).await;
    let own = other.ready("ann", "a.txt", b"of any collection", json!({})).await;
    let told = other
        .get("ann", &format!("/api/v1/files/{own}/download"))
        .await
        .json();
    assert!(
        told["download_url"]
            .as_str()
            .expect("a URL")
            .starts_with("https://store.test/"),
        "{told}"
    );
    // Who may not read it gets no address.
    let foreign = app.get("bob", &format!("/api/v1/files/{id}/download")).await;
    assert_eq!(foreign.refusal(), (404, "file_not_found".to_owned()));
}

#[tokio::test]
async fn what_everybody_may_read_needs_no_token_and_nothing_else_is_shown() {
    let app = chat_with(Visibility::PublicRead, None).await;
    let told = attached(&app, "7", json!({})).await;
    let id = told["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        told["download_url"],
        format!("https://files.test/attachments/{id}/test.png")
    );
    let path = path_of(&told["download_url"], "https://files.test");
    let got = app.get("", &path).await;
    assert_eq!(got.status, 302, "{got:?}");
    assert!(
        got.header("location")
            .expect("a place")
            .starts_with("https://store.test/")
    );
    let native = app.get("", &format!("/api/v1/content/{id}/test.png")).await;
    assert_eq!(native.status, 302);
    // Its description stays its owner's.
    assert_eq!(
        app.get("", &format!("/api/v1/attachments/{id}")).await.status,
        401
    );
    assert_eq!(
        app.get("8", &format!("/api/v1/attachments/{id}")).await.status,
        404
    );
    // Not: sidecars, other names, what is not ready, what is private, what is held back, what is deleted.
    let asked = json!({"filename": "b.png", "content_type": "image/png"});
    let pending = presign(&app, "7", asked, &[]).await.json()["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let private = app.ready("7", "a.txt", b"private", json!({})).await;
    let held = attached(&app, "7", json!({})).await["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    app.quarantine(&held).await;
    let missing = [
        format!("/attachments/{id}/test.png.1.attr.json"),
        format!("/attachments/{id}/other.png"),
        format!("/attachments/{pending}/b.png"),
        format!("/attachments/{private}/a.txt"),
        format!("/api/v1/content/{private}/a.txt"),
        format!("/attachments/{held}/test.png"),
        format!("/attachments/{}/test.png", uuid::Uuid::nil()),
    ];
    for path in &missing {
        assert_eq!(
            app.get("", path).await.refusal(),
            (404, "file_not_found".to_owned()),
            "{path}"
        );
    }
    let deleted = app
        .call("7", Method::DELETE, &format!("/api/v1/files/{id}"), None)
        .await;
    assert!(deleted.status < 300, "{deleted:?}");
    assert_eq!(app.get("", &path).await.status, 404);
}

#[tokio::test]
async fn with_a_cdn_a_public_address_is_the_documents_own() {
    let app = chat_with(Visibility::PublicRead, Some(CDN)).await;
    let told = attached(&app, "7", json!({})).await;
    let id = told["id"].as_str().expect("an id");
    assert_eq!(told["download_url"], format!("{CDN}/attachments/{id}/test.png"));
    let got = app.get("", &path_of(&told["download_url"], CDN)).await;
    assert_eq!((got.status, got.bytes.as_ref()), (200, PNG));
}

#[tokio::test]
async fn health_is_in_the_documents_words() {
    let app = chat().await;
    let healthy = app.get("", "/health").await;
    assert_eq!(
        (healthy.status, healthy.json()),
        (200, json!({"status": "ok", "minio": "connected"}))
    );
    app.objects.set_away(true);
    app.clock.advance(SignedDuration::from_secs(3));
    let down = app.get("", "/health").await;
    assert_eq!(
        (down.status, down.json()),
        (503, json!({"status": "error", "minio": "unreachable"}))
    );
}

#[tokio::test]
async fn signing_is_limited_by_address() {
    let mut options = Options {
        collections: vec![collection(Visibility::Private)],
        ..Options::default()
    };
    options.http.dialects = vec![Dialect::Attachments];
    options.http.sign_limits.per_address = Some(Rate {
        count: 10,
        period: SignedDuration::from_mins(1),
    });
    let app = TestApp::with(options).await;
    let sign = async |user: &str| {
        let body = json!({"filename": "a.png", "content_type": "image/png"});
        let mut request = http::Request::post("/api/v1/attachments/presigned")
            .header("authorization", format!("Bearer {}", app.token(user, "user")))
            .header("content-type", "application/json")
            .body(axum::body::Body::from(body.to_string()))
            .expect("a request");
        let peer = cloakroom_http::client_address::Peer([192, 0, 2, 7].into());
        request.extensions_mut().insert(peer);
        app.send(request).await
    };
    for number in 0..10 {
        // Of whichever user: the address counts.
        assert_eq!(sign(&format!("user-{number}")).await.status, 200);
    }
    let refused = sign("another").await;
    assert_eq!(refused.refusal(), (429, "rate_limited".to_owned()));
    let wait: u32 = refused
        .header("retry-after")
        .expect("a time")
        .parse()
        .expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
}

#[tokio::test]
async fn health_asks_for_the_bucket() {
    let mut options = Options {
        collections: vec![Collection {
            bucket: "not-there".to_owned(),
            ..collection(Visibility::Private)
        }],
        ..Options::default()
    };
    options.http.dialects = vec![Dialect::Attachments];
    let app = TestApp::with(options).await;
    let answer = app.get("", "/health").await;
    let error = json!({"status": "error", "minio": "unreachable"});
    assert_eq!((answer.status, answer.json()), (503, error));
    assert_eq!(app.get("", "/health/ready").await.status, 200);
}
