//! `POST /files`: a form with a file, streamed.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Request;
use serde_json::{Value, json};

use crate::test_app::{Answer, TestApp};

const BOUNDARY: &str = "boundary-7";

/// A text field.
fn field(name: &str, value: &str) -> String {
    format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// The file part.
fn file(name: &str, content_type: &str, bytes: &str) -> String {
    format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: {content_type}\r\n\r\n{bytes}\r\n"
    )
}

fn end() -> String {
    format!("--{BOUNDARY}--\r\n")
}

async fn send(app: &TestApp, parts: &[String], headers: &[(&str, &str)]) -> Answer {
    // In small pieces, as a network would.
    let bytes = parts.concat().into_bytes();
    let pieces: Vec<_> = bytes
        .chunks(7)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let mut request = Request::post("/api/v1/files")
        .header("authorization", format!("Bearer {}", app.token("ann", "user")))
        .header("x-request-id", "r-1")
        .header(
            "content-type",
            format!("multipart/form-data; boundary={BOUNDARY}"),
        );
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app.send(
        request
            .body(Body::from_stream(stream::iter(pieces)))
            .expect("a request"),
    )
    .await
}

async fn stored(app: &TestApp) -> usize {
    let list = app.get("ann", "/api/v1/files").await.json();
    list["files"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_form_becomes_a_confirmed_file() {
    let app = TestApp::new().await;
    let parts = [
        field("description", "Our holiday"),
        field("metadata", "{\"a\":1}"),
        field("record", "message/1"),
        field(
            "checksum_sha256",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        file("a.txt", "text/plain", "abc"),
        end(),
    ];
    let answer = send(&app, &parts, &[("idempotency-key", "k")]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let body = answer.json();
    assert_eq!(
        (&body["state"], &body["filename"]),
        (&json!("confirmed"), &json!("a.txt"))
    );
    assert_eq!(
        (&body["content_type"], &body["size_bytes"]),
        (&json!("text/plain"), &json!(3))
    );
    assert_eq!(
        (&body["metadata"], &body["record"]),
        (&json!({"a": 1}), &json!({"type": "message", "id": "1"}))
    );
    let again = send(&app, &parts, &[("idempotency-key", "k")]).await;
    assert_eq!((again.status, &again.json()["file_id"]), (200, &body["file_id"]));
    app.work().await;
    let file = app
        .get(
            "ann",
            &format!("/api/v1/files/{}", body["file_id"].as_str().expect("an id")),
        )
        .await
        .json();
    assert_eq!((&file["state"], &file["error"]), (&json!("ready"), &Value::Null));
}

#[tokio::test]
async fn fields_name_the_file_when_the_part_does_not() {
    let app = TestApp::new().await;
    let part = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nabc\r\n");
    let named = [
        field("filename", "b.csv"),
        field("content_type", "text/csv"),
        part.clone(),
        end(),
    ];
    let body = send(&app, &named, &[]).await.json();
    assert_eq!(
        (&body["filename"], &body["content_type"]),
        (&json!("b.csv"), &json!("text/csv"))
    );
    let nameless = send(&app, &[part, end()], &[]).await;
    assert_eq!(nameless.refusal(), (422, "invalid_request".to_owned()));
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn damaged_forms_are_refused_and_nothing_is_kept() {
    let app = TestApp::new().await;
    let text = || file("a.txt", "text/plain", "abc");
    let table: Vec<(&str, Vec<String>, u16, &str)> = vec![
        (
            "a field after the file",
            vec![text(), field("description", "late"), end()],
            400,
            "malformed_body",
        ),
        ("two files", vec![text(), text(), end()], 400, "malformed_body"),
        ("no end", vec![text()], 400, "malformed_body"),
        ("cut off", vec![text()[..80].to_owned()], 400, "malformed_body"),
        ("empty", vec![], 400, "malformed_body"),
        ("not a form", vec!["{}".to_owned()], 400, "malformed_body"),
        (
            "no file",
            vec![field("description", "x"), end()],
            422,
            "invalid_request",
        ),
        (
            "unknown field",
            vec![field("colour", "x"), text(), end()],
            422,
            "invalid_request",
        ),
        (
            "field twice",
            vec![field("record", "a/1"), field("record", "a/1"), text(), end()],
            422,
            "invalid_request",
        ),
        (
            "metadata is no object",
            vec![field("metadata", "[1]"), text(), end()],
            422,
            "invalid_request",
        ),
        (
            "bad record",
            vec![field("record", "message"), text(), end()],
            422,
            "invalid_request",
        ),
        (
            "bad checksum",
            vec![field("checksum_sha256", "x"), text(), end()],
            422,
            "invalid_request",
        ),
        (
            "another checksum",
            vec![field("checksum_sha256", &"0".repeat(64)), text(), end()],
            422,
            "checksum_mismatch",
        ),
        (
            "owner",
            vec![field("owner", "bob"), text(), end()],
            403,
            "insufficient_permissions",
        ),
        (
            "long field",
            vec![field("description", &"x".repeat(70_000)), text(), end()],
            413,
            "body_too_large",
        ),
        (
            "too large",
            vec![
                field("collection", "photos"),
                file("a.png", "image/png", &"x".repeat(1_000_001)),
                end(),
            ],
            413,
            "file_too_large",
        ),
    ];
    for (what, parts, status, code) in table {
        let answer = send(&app, &parts, &[]).await;
        if what == "another checksum" && answer.status == 201 {
            // The store did not know the checksum: processing finds out.
            app.work().await;
            let path = format!(
                "/api/v1/files/{}",
                answer.json()["file_id"].as_str().expect("an id")
            );
            let file = app.get("ann", &path).await.json();
            assert_eq!(file["error"]["code"], code, "{what}");
            assert_eq!(
                app.call("ann", http::Method::DELETE, &path, None).await.status,
                204
            );
            continue;
        }
        assert_eq!(answer.refusal(), (status, code.to_owned()), "{what}");
        assert_eq!(stored(&app).await, 0, "{what}");
    }
}

#[tokio::test]
async fn the_content_type_must_be_a_form() {
    let app = TestApp::new().await;
    for (content_type, status, code) in [
        ("application/json", 415, "unsupported_media_type"),
        ("multipart/mixed; boundary=x", 415, "unsupported_media_type"),
        ("multipart/form-data", 400, "malformed_body"),
        ("\u{ff}", 415, "unsupported_media_type"),
    ] {
        let value = http::HeaderValue::from_bytes(content_type.as_bytes()).expect("a header value");
        let request = Request::post("/api/v1/files")
            .header("authorization", format!("Bearer {}", app.token("ann", "user")))
            .header("content-type", value)
            .body(Body::from("x"))
            .expect("a request");
        assert_eq!(
            app.send(request).await.refusal(),
            (status, code.to_owned()),
            "{content_type}"
        );
    }
}
