//! What stores push: who may, what they may send, and what it changes.

use std::sync::OnceLock;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::file::FileState;
use cloakroom_core::id::FileId;
use cloakroom_http::HttpSettings;
use http::Request;
use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::test_app::{Answer, BUCKET_EVENTS_TOKEN, Options, TestApp};

const PATH: &str = "/api/v1/bucket-events";

async fn push(app: &TestApp, authorization: &str, payload: &[u8]) -> Answer {
    let mut request = Request::post(PATH)
        .header("x-request-id", "r-1")
        .header("content-type", "text/plain; charset=UTF-8");
    if !authorization.is_empty() {
        request = request.header("authorization", authorization);
    }
    let body = Body::from(payload.to_vec());
    app.send(request.body(body).expect("a request")).await
}

fn bearer() -> String {
    format!("Bearer {BUCKET_EVENTS_TOKEN}")
}

/// Signs and sends an upload to the collection; returns its id and what the store would push.
async fn sent(app: &TestApp, collection: &str) -> (FileId, Vec<u8>) {
    let id = app
        .upload("ann", "a.txt", b"abc", json!({"collection": collection}))
        .await;
    let id: FileId = id.parse().expect("an id");
    let upload = app
        .app
        .metadata
        .upload(id)
        .await
        .expect("an answer")
        .expect("an upload");
    let record = json!({
        "eventSource": "ceph:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "bucket"}, "object": {"key": upload.staging_key}},
    });
    (id, json!({ "Records": [record] }).to_string().into_bytes())
}

async fn state(app: &TestApp, id: FileId) -> FileState {
    let file = app.app.metadata.file(id).await.expect("an answer");
    file.expect("a file").state
}

#[tokio::test]
async fn a_pushed_event_brings_the_file_in() {
    let app = TestApp::new().await;
    for (collection, outcome, expected) in [
        ("scans", "confirmed", FileState::Confirmed),
        ("files", "uploaded", FileState::Uploaded),
    ] {
        let (id, payload) = sent(&app, collection).await;
        let answer = push(&app, &bearer(), &payload).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json(), json!({"outcomes": {outcome: 1}}));
        assert_eq!(state(&app, id).await, expected);
        assert_eq!(
            push(&app, &bearer(), &payload).await.json(),
            json!({"outcomes": {"settled": 1}})
        );
    }
}

#[tokio::test]
async fn only_who_shows_the_token_is_read() {
    let app = TestApp::new().await;
    let (id, payload) = sent(&app, "scans").await;
    let access_token = format!("Bearer {}", app.token("ada", "admin"));
    let as_user = format!("Basic {}", STANDARD.encode(format!("{BUCKET_EVENTS_TOKEN}:")));
    for authorization in ["", "Bearer", "Bearer other", "other", &access_token, &as_user] {
        let answer = push(&app, authorization, &payload).await;
        assert_eq!(answer.refusal(), (401, "unauthenticated".to_owned()));
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Basic realm=\"bucket events\", Bearer")
        );
    }
    let twice = Request::post(PATH)
        .header("x-request-id", "r-1")
        .header("authorization", bearer())
        .header("authorization", bearer())
        .body(Body::from(payload.clone()));
    assert_eq!(app.send(twice.expect("a request")).await.status, 401);
    let in_query = Request::post(format!("{PATH}?token={BUCKET_EVENTS_TOKEN}"))
        .header("x-request-id", "r-1")
        .body(Body::from(payload.clone()));
    assert_eq!(app.send(in_query.expect("a request")).await.status, 401);
    assert_eq!(state(&app, id).await, FileState::Pending);
    let password = STANDARD.encode(format!("ceph:{BUCKET_EVENTS_TOKEN}"));
    let answer = push(&app, &format!("Basic {password}"), &payload).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Nor is the token good for anything else.
    let me = app
        .call_with(BUCKET_EVENTS_TOKEN, http::Method::GET, "/api/v1/me", None, &[])
        .await;
    assert_eq!(me.status, 401);
}

#[tokio::test]
async fn without_a_token_there_is_no_such_route() {
    let app = TestApp::with(Options {
        http: HttpSettings::default(),
        ..Options::default()
    })
    .await;
    for authorization in ["", "Bearer ", &bearer()] {
        assert_eq!(
            push(&app, authorization, b"{}").await.refusal(),
            (404, "route_not_found".to_owned())
        );
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_reason() {
    let app = TestApp::new().await;
    let large = vec![b' '; 1024 * 1024 + 1];
    for (payload, status, code, words) in [
        (&b""[..], 400, "malformed_body", "not JSON"),
        (b"{}", 400, "malformed_body", "no bucket event"),
        (b"\xff", 400, "malformed_body", "not JSON"),
        (b"{\"Records\":[{}]}", 400, "malformed_body", "eventName"),
        (&large, 413, "body_too_large", "at most"),
    ] {
        let answer = push(&app, &bearer(), payload).await;
        assert_eq!(answer.refusal(), (status, code.to_owned()));
        let message = answer.problem()["message"].as_str().expect("text").to_owned();
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[tokio::test]
async fn while_the_store_is_away_the_sender_is_asked_to_try_again() {
    let app = TestApp::new().await;
    let (id, payload) = sent(&app, "scans").await;
    app.objects.set_away(true);
    let away = push(&app, &bearer(), &payload).await;
    assert_eq!(away.refusal(), (503, "unavailable".to_owned()));
    assert_eq!(away.header("retry-after"), Some("1"));
    assert_eq!(state(&app, id).await, FileState::Pending);
    app.objects.set_away(false);
    assert_eq!(push(&app, &bearer(), &payload).await.status, 200);
    assert_eq!(state(&app, id).await, FileState::Confirmed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_break_it(bytes in any::<Vec<u8>>(), place in 0_usize..200, byte in any::<u8>()) {
        static APP: OnceLock<(Runtime, TestApp)> = OnceLock::new();
        let (runtime, app) = APP.get_or_init(|| {
            let runtime = Runtime::new().expect("a runtime");
            let app = runtime.block_on(TestApp::new());
            (runtime, app)
        });
        runtime.block_on(async {
            let (id, mut payload) = sent(app, "scans").await;
            let answer = push(app, &bearer(), &bytes).await;
            assert!((400..500).contains(&answer.status) || answer.status == 200, "{answer:?}");
            assert_eq!(state(app, id).await, FileState::Pending);
            // One byte of a good payload changed: it is taken for what it then says, or refused whole.
            let place = place % payload.len();
            payload[place] = byte;
            let answer = push(app, &bearer(), &payload).await;
            let found = state(app, id).await;
            let confirmed = answer.status == 200 && answer.json()["outcomes"]["confirmed"] == 1;
            assert_eq!(found == FileState::Confirmed, confirmed, "{answer:?}");
            assert!(answer.status == 200 || answer.status == 400, "{answer:?}");
        });
    }
}
