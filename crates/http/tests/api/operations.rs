//! Health, metrics, documentation, and the server itself.

use std::time::Duration;

use cloakroom_http::serve;
use http::Method;
use jiff::SignedDuration;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::test_app::TestApp;

#[tokio::test]
async fn the_service_says_what_it_is() {
    let app = TestApp::new().await;
    assert_eq!(
        app.get("", "/").await.json(),
        json!({"name": "cloakroom", "version": "1.2.3", "api": "/api/v1", "openapi": "/openapi.json", "docs": "/docs"})
    );
    assert_eq!(app.get("", "/health/live").await.json(), json!({"status": "ok"}));
    let stores = json!([{"name": "main", "mode": "edit", "draining": false}]);
    assert_eq!(
        app.get("", "/health/ready").await.json(),
        json!({"status": "ok", "stores": stores})
    );
}

#[tokio::test]
async fn readiness_follows_the_store_and_is_asked_only_now_and_then() {
    let app = TestApp::new().await;
    assert_eq!(app.get("", "/health/ready").await.status, 200);
    std::fs::remove_dir_all(app.directory.path().join("objects")).expect("removed");
    assert_eq!(
        app.get("", "/health/ready").await.status,
        200,
        "remembered for two seconds"
    );
    app.clock.advance(SignedDuration::from_secs(2));
    let down = app.get("", "/health/ready").await;
    assert_eq!(down.refusal(), (503, "unavailable".to_owned()));
    assert_eq!(down.problem()["details"], json!({"failing": ["store"]}));
    assert_eq!(down.header("retry-after"), Some("1"));
    assert_eq!(app.get("", "/health/live").await.status, 200);
}

#[tokio::test]
async fn a_draining_server_is_not_ready() {
    let app = TestApp::new().await;
    app.draining.cancel();
    assert_eq!(
        app.get("", "/health/ready").await.refusal(),
        (503, "unavailable".to_owned())
    );
    assert_eq!(app.get("", "/health/live").await.status, 200);
}

#[tokio::test]
async fn metrics_count_files_by_state() {
    let app = TestApp::new().await;
    app.ready("ann", "a.txt", b"abc", json!({})).await;
    let answer = app.get("", "/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = String::from_utf8(answer.bytes.to_vec()).expect("text");
    for line in [
        "cloakroom_files{state=\"ready\"} 1",
        "cloakroom_stored_bytes 3",
        "cloakroom_jobs{state=\"dead\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[tokio::test]
async fn the_reference_is_self_contained() {
    let app = TestApp::new().await;
    let page = app.get("", "/docs").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let text = String::from_utf8(page.bytes.to_vec()).expect("text");
    assert!(
        !text.contains("//cdn") && !text.contains("src=\"http") && !text.contains("href=\"http"),
        "{text}"
    );
    assert!(!text.contains("/*script*/") && text.contains("openapi.json"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'sha256-"),
        "{policy}"
    );
}

async fn start(app: &TestApp) -> (std::net::SocketAddr, tokio::task::JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = app.draining.clone();
    let server = serve(
        listener,
        app.router.clone(),
        async move { stop.cancelled().await },
    );
    (address, tokio::spawn(server))
}

#[tokio::test]
async fn a_stopping_server_finishes_what_is_under_way() {
    let app = TestApp::new().await;
    let (address, server) = start(&app).await;
    let mut client = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "POST /api/v1/uploads HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: 20\r\n\r\n",
        app.token("ann", "user")
    );
    client.write_all(head.as_bytes()).await.expect("sent");
    // The server asks for the body: the handler is at work.
    let mut buffer = [0; 25];
    client.read_exact(&mut buffer).await.expect("a go-ahead");
    assert_eq!(&buffer, b"HTTP/1.1 100 Continue\r\n\r\n");
    app.draining.cancel();
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    client.write_all(b"{\"filename\":\"a.txt\"}").await.expect("sent");
    let mut answer = String::new();
    client
        .read_to_string(&mut answer)
        .await
        .expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    assert!(answer.contains("server: cloakroom\r\n"), "{answer}");
    server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn a_client_that_never_finishes_its_head_is_cut_off() {
    let app = TestApp::new().await;
    let (address, server) = start(&app).await;
    let mut client = TcpStream::connect(address).await.expect("connected");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n")
        .await
        .expect("sent");
    // A later connection is answered, so this one is taken: from now on time passes when nobody has anything to do.
    let mut later = TcpStream::connect(address).await.expect("connected");
    let request = b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    later.write_all(request).await.expect("sent");
    later.read_to_end(&mut Vec::new()).await.expect("an answer");
    tokio::time::pause();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(Duration::from_mins(1), client.read_to_end(&mut answer)).await;
    assert!(end.is_ok(), "still open after a minute");
    tokio::time::resume();
    app.draining.cancel();
    server.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn methods_of_a_path_are_named() {
    let app = TestApp::new().await;
    let wrong = app.call("ann", Method::PUT, "/api/v1/files", None).await;
    assert_eq!(wrong.refusal(), (405, "method_not_allowed".to_owned()));
    assert_eq!(wrong.header("allow"), Some("GET,HEAD,POST"));
    let nowhere = app.call("ann", Method::GET, "/api/v1/nope", None).await;
    assert_eq!(nowhere.refusal(), (404, "route_not_found".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_still_sending_gets_its_refusal() {
    let app = TestApp::new().await;
    let (address, server) = start(&app).await;
    let token = app.token("ann", "user");
    let boundary = "--b\r\nContent-Disposition: form-data; name=\"nonsense\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; \
                    name=\"file\"; filename=\"a.bin\"\r\n\r\n";
    let cases = [
        (
            "no token",
            "/api/v1/files",
            "multipart/form-data; boundary=b",
            "",
            401,
        ),
        (
            "a field that is not known",
            "/api/v1/files",
            "multipart/form-data; boundary=b",
            token.as_str(),
            422,
        ),
        (
            "too large",
            "/api/v1/uploads",
            "application/json",
            token.as_str(),
            413,
        ),
        ("nowhere", "/api/v1/nope", "application/json", token.as_str(), 404),
    ];
    for (what, path, content_type, token, status) in cases {
        let body = [boundary.as_bytes(), &vec![b'x'; 8 * 1024 * 1024]].concat();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {content_type}\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut client = TcpStream::connect(address).await.expect("connected");
        client.write_all(head.as_bytes()).await.expect("sent");
        // A simple client: it sends everything before it reads anything.
        client
            .write_all(&body)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{what}: {answer}"
        );
    }
    app.draining.cancel();
    server.await.expect("no panic").expect("a clean end");
}
