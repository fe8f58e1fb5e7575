//! Bad input costs the sender (I12): whatever comes is answered with a clear 4xx.

use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use cloakroom_http::HttpSettings;
use cloakroom_http::observe::observe;
use http::{HeaderValue, Method, Request};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::test_app::{Answer, Options, TestApp};

const SIGN: &str = "/api/v1/uploads";

async fn send(app: &TestApp, content_type: Option<&str>, body: Vec<u8>) -> Answer {
    let mut request = Request::post(SIGN)
        .header("authorization", format!("Bearer {}", app.token("ann", "user")))
        .header("x-request-id", "r-1");
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    app.send(request.body(Body::from(body)).expect("a request")).await
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let app = TestApp::new().await;
    let json_type = Some("application/json");
    let good = br#"{"filename":"a.txt"}"#.to_vec();
    let table: Vec<(Option<&str>, Vec<u8>, u16, &str)> = vec![
        (json_type, b"".to_vec(), 400, "malformed_body"),
        (json_type, b"{".to_vec(), 400, "malformed_body"),
        (json_type, b"\xff\xfe\x00".to_vec(), 400, "malformed_body"),
        (
            json_type,
            br#"{"filename":"\ud800"}"#.to_vec(),
            400,
            "malformed_body",
        ),
        (
            json_type,
            br#"{"filename":"a"}{}"#.to_vec(),
            400,
            "malformed_body",
        ),
        (json_type, b"[]".to_vec(), 422, "invalid_request"),
        (
            json_type,
            br#"["files","a.txt"]"#.to_vec(),
            422,
            "invalid_request",
        ),
        (
            json_type,
            br#"{"filename":"a","filename":"b"}"#.to_vec(),
            422,
            "invalid_request",
        ),
        (
            json_type,
            br#"{"filename":"a","size_bytes":1e999}"#.to_vec(),
            422,
            "invalid_request",
        ),
        (json_type, vec![b' '; 1024 * 1024 + 1], 413, "body_too_large"),
        (Some("text/plain"), good.clone(), 415, "unsupported_media_type"),
        (
            Some("application/x-www-form-urlencoded"),
            good.clone(),
            415,
            "unsupported_media_type",
        ),
        (None, good.clone(), 415, "unsupported_media_type"),
    ];
    for (content_type, body, status, code) in table {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = send(&app, content_type, body).await;
        assert_eq!(
            answer.refusal(),
            (status, code.to_owned()),
            "{content_type:?} {shown}"
        );
    }
    for content_type in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.api+json",
    ] {
        assert_eq!(
            send(&app, Some(content_type), good.clone()).await.status,
            201,
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_read() {
    let app = TestApp::new().await;
    // Not a byte of it ever comes.
    let body = Body::from_stream(futures_util::stream::pending::<std::io::Result<bytes::Bytes>>());
    let request = Request::post(SIGN)
        .header("authorization", format!("Bearer {}", app.token("ann", "user")))
        .header("content-type", "application/json")
        .header("content-length", "1048577")
        .body(body)
        .expect("a request");
    assert_eq!(
        app.send(request).await.refusal(),
        (413, "body_too_large".to_owned())
    );
}

#[tokio::test]
async fn request_ids_are_taken_or_given() {
    let app = TestApp::new().await;
    let ask = async |id: &'static str| {
        let request = Request::get("/nope").header("x-request-id", HeaderValue::from_static(id));
        app.send(request.body(Body::empty()).expect("a request")).await
    };
    assert_eq!(ask("mine-1").await.problem()["request_id"], "mine-1");
    let given = ask("not plain").await.problem()["request_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(given.len(), 36, "{given}");
}

#[tokio::test]
async fn every_answer_has_its_headers() {
    let app = TestApp::new().await;
    for path in ["/", "/nope", "/api/v1/me"] {
        let answer = app.get("", path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.header("server"), Some("cloakroom"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-request-id"), Some("r-1"), "{path}");
    }
}

#[tokio::test]
async fn configured_origins_may_call() {
    let http = HttpSettings {
        cors_origins: vec!["https://app.test".to_owned()],
        ..HttpSettings::default()
    };
    let app = TestApp::with(Options {
        http,
        ..Options::default()
    })
    .await;
    let ask = async |origin: &'static str| {
        let request = Request::options(SIGN)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,idempotency-key");
        app.send(request.body(Body::empty()).expect("a request")).await
    };
    let ours = ask("https://app.test").await;
    assert_eq!(
        (ours.status, ours.header("access-control-allow-origin")),
        (200, Some("https://app.test"))
    );
    assert!(
        ours.header("access-control-allow-headers")
            .expect("headers")
            .contains("idempotency-key")
    );
    assert_eq!(
        ask("https://evil.test")
            .await
            .header("access-control-allow-origin"),
        None
    );
    // A refusal must be readable by the page, too.
    let token = app.token("ann", "user");
    let refused = app
        .call_with(
            &token,
            Method::GET,
            "/api/v1/nope",
            None,
            &[("origin", "https://app.test")],
        )
        .await;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("https://app.test")
    );
}

#[tokio::test]
async fn a_panic_is_answered_and_the_next_request_too() {
    let app = TestApp::new().await;
    let boom = get(async || -> String { panic!("with a secret") });
    let router = Router::new()
        .route("/boom", boom)
        .layer(from_fn_with_state(app.state.clone(), observe));
    for _ in 0..2 {
        let request = Request::get("/boom")
            .header("x-request-id", "r-1")
            .body(Body::empty())
            .expect("a request");
        let (parts, body) = router
            .clone()
            .oneshot(request)
            .await
            .expect("infallible")
            .into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let answer = Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            bytes,
        };
        assert_eq!(answer.refusal(), (500, "internal_error".to_owned()));
        assert!(!String::from_utf8_lossy(&answer.bytes).contains("secret"));
    }
}

#[tokio::test]
async fn a_database_that_is_gone_is_told_without_details() {
    let app = TestApp::new().await;
    std::fs::remove_dir_all(app.directory.path().join("objects")).expect("removed");
    let id = app.post("ann", SIGN, json!({"filename": "a.txt"})).await.json()["file_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let answer = app
        .call(
            "ann",
            Method::POST,
            &format!("/api/v1/uploads/{id}/confirm"),
            None,
        )
        .await;
    let (status, _) = answer.refusal();
    assert!(status == 409 || status == 503, "{answer:?}");
    assert!(
        !String::from_utf8_lossy(&answer.bytes).contains("objects"),
        "{answer:?}"
    );
}

/// One application for all random cases: starting one per case would take the time.
fn shared() -> &'static (Runtime, TestApp) {
    static SHARED: OnceLock<(Runtime, TestApp)> = OnceLock::new();
    SHARED.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let app = runtime.block_on(TestApp::new());
        (runtime, app)
    })
}

/// Asks, and checks that the answer is no failure of ours.
fn check(method: &str, target: &str, headers: &[(&str, &[u8])], body: Vec<u8>) -> Result<(), TestCaseError> {
    let (runtime, app) = shared();
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("authorization", format!("Bearer {}", app.token("ann", "user")));
    for (name, value) in headers {
        let Ok(value) = HeaderValue::from_bytes(value) else {
            return Ok(());
        };
        request = request.header(*name, value);
    }
    // What cannot be a request at all never gets here.
    let Ok(request) = request.body(Body::from(body)) else {
        return Ok(());
    };
    let answer = runtime.block_on(app.send(request));
    prop_assert!(answer.status < 500, "{method} {target}: {answer:?}");
    if answer.status >= 400 && method != "HEAD" {
        prop_assert!(!answer.problem()["error_code"].is_null());
    }
    Ok(())
}

const POSTS: &[&str] = &[
    "/api/v1/uploads",
    "/api/v1/uploads/batch",
    "/api/v1/files",
    "/api/v1/admin/service-tokens",
];

/// JSON of any shape, with names that the endpoints know.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let names = prop_oneof![
        Just("filename".to_owned()),
        Just("collection".to_owned()),
        Just("size_bytes".to_owned()),
        Just("metadata".to_owned()),
        Just("record".to_owned()),
        Just("type".to_owned()),
        Just("id".to_owned()),
        Just("uploads".to_owned()),
        Just("method".to_owned()),
        Just("content_type".to_owned()),
        Just("description".to_owned()),
        any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<f64>().prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
        Just(json!("files")),
        Just(json!("a.txt")),
        Just(json!("multipart")),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|pairs| serde_json::Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_as_a_body(at in 0..POSTS.len(), body in prop::collection::vec(any::<u8>(), 0..200), json in any::<bool>()) {
        let content_type: &[u8] = if json { b"application/json" } else { b"multipart/form-data; boundary=x" };
        check("POST", POSTS[at], &[("content-type", content_type)], body)?;
    }

    #[test]
    fn any_json_as_a_body(at in 0..POSTS.len(), body in any_json()) {
        check("POST", POSTS[at], &[("content-type", b"application/json")], body.to_string().into_bytes())?;
    }

    #[test]
    fn any_json_with_a_name(mut body in any_json(), put in any::<bool>()) {
        if let Some(object) = body.as_object_mut() {
            object.insert("filename".to_owned(), json!("a.txt"));
        }
        let (method, path) = if put { ("PUT", "/api/v1/records/message/1") } else { ("POST", "/api/v1/uploads") };
        check(method, path, &[("content-type", b"application/json")], body.to_string().into_bytes())?;
    }

    #[test]
    fn any_query(query in "[!-~]{0,80}", name in "(q|state|record|cursor|limit|owner|metadata\\.x|created_from)", value in "\\PC{0,40}") {
        check("GET", &format!("/api/v1/files?{query}"), &[], Vec::new())?;
        let value = percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC);
        check("GET", &format!("/api/v1/me/files?{name}={value}"), &[], Vec::new())?;
    }

    #[test]
    fn any_path(path in "[!-~]{0,60}", method in "(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|BREW)") {
        check(&method, &format!("/{path}"), &[], Vec::new())?;
        check(&method, &format!("/api/v1/files/{path}"), &[], Vec::new())?;
        check(&method, &format!("/api/v1/records/{path}"), &[], Vec::new())?;
    }

    #[test]
    fn any_header(name in "(if-match|if-none-match|idempotency-key|x-cloakroom-owner|x-request-id|traceparent|accept|last-event-id|content-type|range)", value in prop::collection::vec(any::<u8>(), 0..60)) {
        for (method, path) in [("GET", "/api/v1/files"), ("POST", SIGN), ("PATCH", "/api/v1/files/01999999-9999-7999-8999-999999999999")] {
            check(method, path, &[(name.as_str(), value.as_slice())], b"{}".to_vec())?;
        }
    }

    #[test]
    fn any_credentials(value in prop::collection::vec(any::<u8>(), 0..80), bearer in any::<bool>()) {
        let (runtime, app) = shared();
        let value = if bearer { [b"Bearer ".as_slice(), &value].concat() } else { value };
        let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
        let request = Request::get("/api/v1/me").header("authorization", value).body(Body::empty()).expect("a request");
        let answer = runtime.block_on(app.send(request));
        prop_assert_eq!(answer.status, 401);
    }
}
