//! What a stranger may not learn (I8), asked of every route that the document knows.

use http::Method;
use serde_json::{Value, json};

use crate::test_app::{Answer, TestApp};

/// Routes that anybody may call. To grow this list is a decision.
const OPEN: &[&str] = &[
    "GET /",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /openapi.json",
    "GET /docs",
];

/// Routes whose addresses are signed, and need no token.
const SIGNED: &[&str] = &["GET /api/v1/variants/{file_id}"];

/// Routes that show everybody what everybody may read, and nothing else.
const PUBLIC: &[&str] = &["GET /api/v1/content/{file_id}/{filename}"];

/// `(METHOD, path)` of every operation.
pub async fn operations(app: &TestApp) -> Vec<(String, String)> {
    let document = app.get("", "/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths").clone();
    let operations = paths.into_iter().flat_map(|(path, item)| {
        let methods: Vec<String> = item
            .as_object()
            .expect("operations")
            .keys()
            .map(|name| name.to_uppercase())
            .collect();
        methods.into_iter().map(move |method| (method, path.clone()))
    });
    operations.collect()
}

fn fill(path: &str, file_id: &str) -> String {
    path.replace("{file_id}", file_id)
        .replace("{job_id}", file_id)
        .replace("{token_id}", file_id)
        .replace("{operation_id}", file_id)
        .replace("{owner}", "ann")
        .replace("{type}", "message")
        .replace("{id}", "1")
        .replace("{name}", "thumbnail")
        .replace("{filename}", "b.txt")
}

const NOWHERE: &str = "01999999-9999-7999-8999-999999999999";

#[tokio::test]
async fn every_route_asks_for_a_token() {
    let app = TestApp::new().await;
    let mut open = Vec::new();
    for (method, path) in operations(&app).await {
        let method_parsed: Method = method.parse().expect("a method");
        // A body that fits nothing: the token is asked for before anything else is looked at.
        let answer = app
            .call_with(
                "",
                method_parsed,
                &fill(&path, NOWHERE),
                Some(json!(["junk"])),
                &[],
            )
            .await;
        let route = format!("{method} {path}");
        if SIGNED.contains(&route.as_str()) {
            assert_eq!(answer.refusal(), (403, "invalid_signature".to_owned()));
        } else if PUBLIC.contains(&route.as_str()) {
            assert_eq!(answer.refusal(), (404, "file_not_found".to_owned()));
        } else if answer.status == 401 {
            assert_eq!(answer.refusal().1, "unauthenticated", "{method} {path}");
        } else {
            assert_eq!(answer.status, 200, "{method} {path}");
            open.push(format!("{method} {path}"));
        }
    }
    open.sort_unstable();
    let mut allowed: Vec<_> = OPEN.to_vec();
    allowed.sort_unstable();
    assert_eq!(open, allowed);
}

#[tokio::test]
async fn administrators_alone_get_into_admin() {
    let app = TestApp::new().await;
    let mut seen = 0;
    for (method, path) in operations(&app)
        .await
        .into_iter()
        .filter(|(_, path)| path.starts_with("/api/v1/admin/"))
    {
        for user in ["ann", "olga"] {
            let body = match method.as_str() {
                "POST" => Some(json!({"name": "x"})),
                "PUT" => Some(json!({"mode": "ro"})),
                _ => None,
            };
            let answer = app
                .call(
                    user,
                    method.parse().expect("a method"),
                    &fill(&path, NOWHERE),
                    body,
                )
                .await;
            assert_eq!(
                answer.refusal(),
                (403, "insufficient_permissions".to_owned()),
                "{user} {method} {path}"
            );
        }
        seen += 1;
    }
    assert_eq!(seen, 26);
}

/// The body without what names the request.
fn shape(answer: &Answer, id: &str) -> (u16, Value) {
    let text = String::from_utf8(answer.bytes.to_vec())
        .expect("text")
        .replace(id, "ID");
    (
        answer.status,
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {answer:?}")),
    )
}

#[tokio::test]
async fn a_foreign_file_and_a_missing_one_are_answered_alike() {
    let app = TestApp::new().await;
    let pending = app
        .upload("ann", "a.txt", b"abc", json!({"method": "multipart"}))
        .await;
    let ready = app.ready("ann", "b.txt", b"abc", json!({})).await;
    let trashed = app.ready("ann", "c.txt", b"abc", json!({})).await;
    assert_eq!(
        app.call("ann", Method::DELETE, &format!("/api/v1/files/{trashed}"), None)
            .await
            .status,
        204
    );
    let mut seen = 0;
    for (method, path) in operations(&app)
        .await
        .into_iter()
        // Those of administrators refuse before they look, and so do those that are signed.
        .filter(|(_, path)| path.contains("{file_id}") && !path.contains("/admin/"))
        .filter(|(method, path)| !SIGNED.contains(&format!("{method} {path}").as_str()))
    {
        let body = match (method.as_str(), path.rsplit('/').next()) {
            ("POST", Some("parts")) => Some(json!({"part_numbers": [1]})),
            ("POST", Some("variants")) => Some(json!({"w": 320})),
            ("PATCH", _) => Some(json!({"description": "mine now"})),
            ("PUT" | "DELETE", Some("hold")) => Some(json!({"reason": "mine now"})),
            _ => None,
        };
        let ask = async |id: &str| {
            let answer = app
                .call(
                    "bob",
                    method.parse().expect("a method"),
                    &fill(&path, id),
                    body.clone(),
                )
                .await;
            shape(&answer, id)
        };
        let missing = ask(NOWHERE).await;
        assert_eq!(missing.0, 404, "{method} {path}: {}", missing.1);
        for foreign in [&pending, &ready, &trashed] {
            assert_eq!(ask(foreign).await, missing, "{method} {path}");
        }
        seen += 1;
    }
    assert_eq!(seen, 19);
    assert_eq!(
        app.get("ann", &format!("/api/v1/files/{ready}")).await.json()["description"],
        Value::Null
    );
}

#[tokio::test]
async fn a_foreign_record_and_a_missing_one_are_answered_alike() {
    let app = TestApp::new().await;
    let put = app
        .call("ann", Method::PUT, "/api/v1/records/message/1", Some(json!({})))
        .await;
    assert_eq!(put.status, 201);
    for (method, path) in [(Method::GET, ""), (Method::DELETE, ""), (Method::GET, "/files")] {
        let ask = async |id: &str| {
            let answer = app
                .call(
                    "bob",
                    method.clone(),
                    &format!("/api/v1/records/message/{id}{path}"),
                    None,
                )
                .await;
            shape(&answer, &format!("message/{id}"))
        };
        let missing = ask("2").await;
        assert_eq!(missing.0, 404);
        assert_eq!(ask("1").await, missing, "{method} {path}");
    }
    // Linking to a stranger's record is linking to one that does not exist for them.
    let link = app
        .post(
            "bob",
            "/api/v1/uploads",
            json!({"filename": "a", "record": {"type": "message", "id": "1"}}),
        )
        .await;
    assert_eq!(link.refusal(), (404, "record_not_found".to_owned()));
    let theirs = app
        .call(
            "bob",
            Method::PUT,
            "/api/v1/records/message/1",
            Some(json!({"payload": {"a": 1}})),
        )
        .await;
    assert_eq!(theirs.refusal(), (404, "record_not_found".to_owned()));
}

#[tokio::test]
async fn lists_show_only_what_the_caller_may_see() {
    let app = TestApp::new().await;
    app.upload("ann", "a.txt", b"abc", json!({})).await;
    app.upload("bob", "b.txt", b"abc", json!({})).await;
    let names = async |user: &str, query: &str| {
        let answer = app.get(user, &format!("/api/v1/files{query}")).await;
        let files = answer.json()["files"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<_> = files
            .iter()
            .map(|file| file["filename"].as_str().expect("a name").to_owned())
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names("ann", "").await, ["a.txt"]);
    assert_eq!(names("olga", "").await, ["a.txt", "b.txt"]);
    assert_eq!(names("ada", "?owner=bob").await, ["b.txt"]);
    let foreign = app.get("ann", "/api/v1/files?owner=bob").await;
    assert_eq!(foreign.refusal(), (403, "insufficient_permissions".to_owned()));
}
