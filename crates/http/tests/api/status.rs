//! Following a file.

use std::time::Duration;

use axum::body::Body;
use cloakroom_http::HttpSettings;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::test_app::{Options, TestApp};

/// Opens a stream.
async fn open(app: &TestApp, user: &str, id: &str, last_event_id: Option<&str>) -> Response<Body> {
    let mut request = Request::get(format!("/api/v1/files/{id}/status"))
        .header("authorization", format!("Bearer {}", app.token(user, "user")))
        .header("accept", "text/event-stream");
    if let Some(version) = last_event_id {
        request = request.header("last-event-id", version);
    }
    app.router
        .clone()
        .oneshot(request.body(Body::empty()).expect("a request"))
        .await
        .expect("infallible")
}

/// The next event of a stream: id and data. `None` at the end.
async fn next(body: &mut Body) -> Option<(String, Value)> {
    loop {
        let frame = tokio::time::timeout(Duration::from_secs(30), body.frame())
            .await
            .expect("in time")?;
        let bytes = frame.expect("a frame").into_data().expect("data");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        let line = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        if let (Some("status"), Some(id), Some(data)) = (line("event:"), line("id:"), line("data:")) {
            return Some((id.to_owned(), serde_json::from_str(data).expect("JSON")));
        }
    }
}

#[tokio::test]
async fn a_status_is_told_once() {
    let app = TestApp::new().await;
    let id = app.upload("ann", "a.txt", b"abc", json!({})).await;
    let path = format!("/api/v1/files/{id}/status");
    let time = "2026-01-02T03:04:05.000006Z";
    let expected = |state: &str, step: u8, version: u8| {
        json!({
            "file_id": id, "state": state, "error": null, "progress": {"step": step, "steps": 4},
            "processing": (state == "confirmed").then(|| json!({
                "stage": "waiting", "done_bytes": 0, "total_bytes": null, "attempt": 0, "next_attempt_at": null,
                "reason": null,
            })),
            "updated_at": time, "version": version,
        })
    };
    assert_eq!(app.get("ann", &path).await.json(), expected("pending", 0, 1));
    assert_eq!(
        app.call(
            "ann",
            Method::POST,
            &format!("/api/v1/uploads/{id}/confirm"),
            None
        )
        .await
        .status,
        200
    );
    assert_eq!(app.get("ann", &path).await.json(), expected("confirmed", 2, 2));
    app.work().await;
    assert_eq!(app.get("ann", &path).await.json(), expected("ready", 4, 4));
    assert_eq!(
        app.call("ann", Method::DELETE, &format!("/api/v1/files/{id}"), None)
            .await
            .status,
        204
    );
    assert_eq!(app.get("ann", &path).await.json()["progress"], Value::Null);
}

#[tokio::test]
async fn a_failed_file_says_why() {
    let app = TestApp::new().await;
    let id = app.upload("ann", "a.png", b"no picture", json!({})).await;
    assert_eq!(
        app.call(
            "ann",
            Method::POST,
            &format!("/api/v1/uploads/{id}/confirm"),
            None
        )
        .await
        .status,
        200
    );
    app.work().await;
    let status = app.get("ann", &format!("/api/v1/files/{id}/status")).await.json();
    assert_eq!(
        (&status["state"], &status["error"]["code"]),
        (&json!("failed"), &json!("content_type_mismatch"))
    );
}

#[tokio::test]
async fn a_stream_follows_a_file_until_it_is_settled() {
    let app = TestApp::new().await;
    let id = app.upload("ann", "a.txt", b"abc", json!({})).await;
    let response = open(&app, "ann", &id, None).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let (version, status) = next(&mut body).await.expect("the present");
    assert_eq!((version.as_str(), &status["state"]), ("1", &json!("pending")));
    assert_eq!(
        app.call(
            "ann",
            Method::POST,
            &format!("/api/v1/uploads/{id}/confirm"),
            None
        )
        .await
        .status,
        200
    );
    let (version, status) = next(&mut body).await.expect("a change");
    assert_eq!((version.as_str(), &status["state"]), ("2", &json!("confirmed")));
    app.work().await;
    let mut last = None;
    while let Some((version, status)) = next(&mut body).await {
        last = Some((version, status["state"].clone()));
    }
    assert_eq!(last, Some(("4".to_owned(), json!("ready"))));
    assert_eq!(app.state.streams.open(), 0);
}

#[tokio::test]
async fn a_client_that_comes_again_goes_on_where_it_was() {
    let app = TestApp::new().await;
    let id = app.ready("ann", "a.txt", b"abc", json!({})).await;
    let mut body = open(&app, "ann", &id, Some("2")).await.into_body();
    assert_eq!(next(&mut body).await.expect("what was missed").0, "4");
    assert_eq!(next(&mut body).await, None);
    // Nothing more will come: an EventSource stops for good on 204.
    assert_eq!(open(&app, "ann", &id, Some("4")).await.status(), 204);
    let mut body = open(&app, "ann", &id, Some("nonsense")).await.into_body();
    assert_eq!(next(&mut body).await.expect("the present").0, "4");
}

#[tokio::test]
async fn streams_are_bounded_and_given_back() {
    let http = HttpSettings {
        status_streams_max: 2,
        ..HttpSettings::default()
    };
    let app = TestApp::with(Options {
        http,
        ..Options::default()
    })
    .await;
    let id = app.upload("ann", "a.txt", b"abc", json!({})).await;
    let first = open(&app, "ann", &id, None).await;
    let _second = open(&app, "ann", &id, None).await;
    let third = open(&app, "ann", &id, None).await;
    assert_eq!(third.status(), 429);
    assert_eq!(third.headers()["retry-after"], "5");
    // Polling is not bounded by it.
    assert_eq!(
        app.get("ann", &format!("/api/v1/files/{id}/status")).await.status,
        200
    );
    drop(first);
    assert_eq!(open(&app, "ann", &id, None).await.status(), 200);
}

#[tokio::test]
async fn a_draining_server_ends_its_streams() {
    let app = TestApp::new().await;
    let id = app.upload("ann", "a.txt", b"abc", json!({})).await;
    let mut body = open(&app, "ann", &id, None).await.into_body();
    assert!(next(&mut body).await.is_some());
    app.draining.cancel();
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn a_stream_of_a_foreign_file_is_not_begun() {
    let app = TestApp::new().await;
    let id = app.upload("ann", "a.txt", b"abc", json!({})).await;
    assert_eq!(open(&app, "bob", &id, None).await.status(), 404);
    assert_eq!(app.state.streams.open(), 0);
}
