//! What a request leaves behind in the log and in the metrics, and what it does not (I7).

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use http::Method;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::test_app::TestApp;

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes everything that this thread logs, as the binary would write it.
    fn capture() -> (Self, DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("a log").clone()).expect("text")
    }

    /// The lines about answered requests.
    fn requests(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.filter(|line| line["event"] == "http_request").collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_request_is_one_line_with_its_span() {
    let app = TestApp::new().await;
    let (log, _guard) = Log::capture();
    let id = "01999999-9999-7999-8999-999999999999";
    let token = app.token("ann", "user");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let path = format!("/api/v1/files/{id}/download?inline=1&redirect=0");
    let answer = app
        .call_with(&token, Method::GET, &path, None, &[("traceparent", trace)])
        .await;
    assert_eq!(answer.status, 404);
    let lines = log.requests();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert_eq!((&line["level"], &line["status"]), (&json!("INFO"), &json!(404)));
    assert!(
        line["duration_ms"]
            .as_f64()
            .is_some_and(|duration| duration > 0.0),
        "{line}"
    );
    let span = &line["span"];
    assert_eq!(span["name"], "request");
    assert_eq!(span["request_id"], "r-1");
    assert_eq!(span["user_id"], "ann");
    assert_eq!(span["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span["span_id"].as_str().map(str::len), Some(16));
    assert_ne!(span["span_id"], "00f067aa0ba902b7");
    assert_eq!(span["method"], "GET");
    assert_eq!(span["path"], "/api/v1/files/{file_id}/download");
}

#[tokio::test]
async fn no_secret_gets_into_the_log() {
    let app = TestApp::new().await;
    let (log, _guard) = Log::capture();
    let token = app.token("ann", "user");
    let id = app.ready("ann", "a.txt", b"abc", json!({})).await;
    let download = app
        .get("ann", &format!("/api/v1/files/{id}/download?redirect=1"))
        .await;
    let (_, secret) = app.service_token(json!({"name": "bot"})).await;
    app.call_with(
        &secret,
        Method::GET,
        "/api/v1/me?access_token=query-secret",
        None,
        &[],
    )
    .await;
    app.call_with("broken.token.secret", Method::GET, "/api/v1/me", None, &[])
        .await;
    let text = log.text();
    assert!(log.requests().len() >= 6);
    let url = download.header("location").expect("a URL");
    for secret in [
        token.as_str(),
        secret.as_str(),
        url,
        "?signed",
        "query-secret",
        "broken.token.secret",
    ] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_failure_of_ours_is_logged_with_its_cause_and_answered_without_it() {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use cloakroom_http::observe::observe;
    use cloakroom_http::problem::Problem;
    use tower::ServiceExt;

    let app = TestApp::new().await;
    let (log, _guard) = Log::capture();
    let broken = get(async || Problem::internal("the table files is gone"));
    let router = Router::new()
        .route("/broken", broken)
        .layer(from_fn_with_state(app.state.clone(), observe));
    let request = http::Request::get("/broken")
        .header("x-request-id", "r-7")
        .body(axum::body::Body::empty());
    let answer = router
        .oneshot(request.expect("a request"))
        .await
        .expect("infallible");
    assert_eq!(answer.status(), 500);
    let text = log.text();
    let line = text
        .lines()
        .find(|line| line.contains("request_failed"))
        .expect("a line about the failure");
    let line: Value = serde_json::from_str(line).expect("JSON");
    assert_eq!(
        (&line["level"], &line["cause"]),
        (&json!("ERROR"), &json!("the table files is gone"))
    );
    assert_eq!(line["span"]["request_id"], "r-7");
}

#[tokio::test]
async fn requests_are_counted_by_route() {
    let app = TestApp::new().await;
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    app.get("ann", "/api/v1/me").await;
    app.get("ann", "/api/v1/files/01999999-9999-7999-8999-999999999999")
        .await;
    app.get("ann", "/what/ever/1").await;
    app.get("ann", "/what/ever/2").await;
    let text = handle.render();
    for line in [
        "http_requests_total{method=\"GET\",path=\"/api/v1/me\",status=\"200\"} 1",
        "http_requests_total{method=\"GET\",path=\"/api/v1/files/{file_id}\",status=\"404\"} 1",
        "http_requests_total{method=\"GET\",path=\"unmatched\",status=\"404\"} 2",
        "http_request_duration_seconds_count{method=\"GET\",path=\"/api/v1/me\"} 1",
        "http_requests_in_flight 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
