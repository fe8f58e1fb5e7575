//! Reading, changing, listing and handing out files.

use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::test_app::TestApp;

#[tokio::test]
async fn a_file_is_described_whole() {
    let app = TestApp::new().await;
    let more = json!({
        "description": "Our holiday", "metadata": {"album": 7},
        "record": {"type": "complaint", "id": "42"}, "content_type": "text/plain; charset=utf-8",
    });
    let id = app.ready("ann", "holiday.txt", b"abc", more).await;
    let answer = app.get("ann", &format!("/api/v1/files/{id}")).await;
    let time = "2026-01-02T03:04:05.000006Z";
    assert_eq!(
        answer.json(),
        json!({
            "file_id": id,
            "state": "ready",
            "filename": "holiday.txt",
            "description": "Our holiday",
            "content_type": "text/plain",
            "declared_content_type": "text/plain",
            "size_bytes": 3,
            "checksum_sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "collection": "files",
            "owner": "ann",
            "record": {"type": "complaint", "id": "42"},
            "metadata": {"album": 7},
            "facts": {},
            "error": null,
            "version": 4,
            "created_at": time,
            "updated_at": time,
            "uploaded_at": time,
            "confirmed_at": time,
            "processed_at": time,
            "trashed_at": null,
            "purge_at": null,
            "derivatives": [],
        })
    );
    assert_eq!(answer.header("etag"), Some("\"4\""));
    let token = app.token("ann", "user");
    let path = format!("/api/v1/files/{id}");
    let known = app
        .call_with(&token, Method::GET, &path, None, &[("if-none-match", "\"4\"")])
        .await;
    assert_eq!(
        (known.status, known.bytes.len(), known.header("etag")),
        (304, 0, Some("\"4\""))
    );
    let stale = app
        .call_with(&token, Method::GET, &path, None, &[("if-none-match", "\"3\"")])
        .await;
    assert_eq!(stale.status, 200);
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let app = TestApp::new().await;
    let id = app
        .ready(
            "ann",
            "a.txt",
            b"abc",
            json!({"description": "old", "metadata": {"a": 1}}),
        )
        .await;
    let path = format!("/api/v1/files/{id}");
    let patch = async |body: Value| app.call("ann", Method::PATCH, &path, Some(body)).await;
    let renamed = patch(json!({"filename": "b.txt"})).await;
    assert_eq!(renamed.status, 200, "{renamed:?}");
    let file = renamed.json();
    assert_eq!(
        (&file["filename"], &file["description"], &file["metadata"]),
        (&json!("b.txt"), &json!("old"), &json!({"a": 1}))
    );
    assert_eq!(
        renamed.header("etag"),
        Some(format!("\"{}\"", file["version"]).as_str())
    );
    let cleared =
        patch(json!({"description": null, "metadata": {}, "record": {"type": "message", "id": "1"}}))
            .await
            .json();
    assert_eq!(
        (&cleared["description"], &cleared["metadata"]),
        (&Value::Null, &json!({}))
    );
    assert_eq!(cleared["record"], json!({"type": "message", "id": "1"}));
    assert_eq!(patch(json!({"record": null})).await.json()["record"], Value::Null);
    let unchanged = patch(json!({})).await.json();
    assert_eq!(unchanged["version"], 7);
    for bad in [
        json!({"filename": null}),
        json!({"filename": ""}),
        json!({"metadata": null}),
        json!({"state": "ready"}),
        json!({"owner": "bob"}),
        json!([]),
        Value::Null,
    ] {
        assert_eq!(
            patch(bad.clone()).await.refusal(),
            (422, "invalid_request".to_owned()),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn if_match_guards_against_a_change_not_seen() {
    let app = TestApp::new().await;
    let id = app.ready("ann", "a.txt", b"abc", json!({})).await;
    let token = app.token("ann", "user");
    let path = format!("/api/v1/files/{id}");
    let patch = async |tag: &str| {
        let body = Some(json!({"description": "x"}));
        app.call_with(&token, Method::PATCH, &path, body, &[("if-match", tag)])
            .await
    };
    assert_eq!(patch("\"4\"").await.status, 200);
    let stale = patch("\"4\"").await;
    assert_eq!(stale.refusal(), (412, "precondition_failed".to_owned()));
    assert_eq!(stale.problem()["details"]["version"], 5);
    assert_eq!(patch("\"other\"").await.status, 412);
    assert_eq!(
        patch("other").await.refusal(),
        (400, "invalid_parameter".to_owned())
    );
    assert_eq!(patch("*").await.status, 200);
}

#[tokio::test]
async fn a_deleted_file_waits_in_the_trash() {
    let app = TestApp::new().await;
    let id = app.ready("ann", "a.txt", b"abc", json!({})).await;
    let path = format!("/api/v1/files/{id}");
    let delete = async |user: &str| app.call(user, Method::DELETE, &path, None).await.status;
    assert_eq!(
        (delete("ann").await, delete("ann").await, delete("bob").await),
        (204, 204, 404)
    );
    let file = app.get("ann", &path).await.json();
    assert_eq!(
        (&file["state"], &file["purge_at"]),
        (&json!("trashed"), &json!("2026-01-09T03:04:05.000006Z"))
    );
    assert_eq!(file["trashed_at"], "2026-01-02T03:04:05.000006Z");
    let names = async |query: &str| {
        let list = app.get("ann", &format!("/api/v1/files{query}")).await.json();
        list["files"].as_array().map(Vec::len)
    };
    assert_eq!(
        (names("").await, names("?state=trashed,ready").await),
        (Some(0), Some(1))
    );
    let download = app.get("ann", &format!("{path}/download")).await;
    assert_eq!(download.refusal(), (409, "file_not_ready".to_owned()));
    let restored = app
        .call("ann", Method::POST, &format!("{path}/restore"), None)
        .await;
    assert_eq!(
        (restored.status, &restored.json()["state"]),
        (200, &json!("ready"))
    );
    let again = app
        .call("ann", Method::POST, &format!("{path}/restore"), None)
        .await;
    assert_eq!(again.refusal(), (409, "invalid_state".to_owned()));
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let app = TestApp::new().await;
    for number in 0..5 {
        app.clock.advance(SignedDuration::from_secs(1));
        app.upload("ann", &format!("{number}.txt"), b"", json!({})).await;
    }
    let (mut names, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = app.get("ann", &format!("/api/v1/files{query}")).await.json();
        let files = page["files"].as_array().expect("files").clone();
        assert!(files.len() <= 2);
        names.extend(
            files
                .iter()
                .map(|file| file["filename"].as_str().expect("a name").to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(names, ["4.txt", "3.txt", "2.txt", "1.txt", "0.txt"]);
}

#[tokio::test]
async fn filters_hold_together() {
    let app = TestApp::new().await;
    let confirmed = async |filename: &str, more: Value| {
        let id = app.upload("ann", filename, b"x", more).await;
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
    };
    confirmed(
        "Отчёт май.csv",
        json!({"metadata": {"n": 5, "t": "5"}, "record": {"type": "m", "id": "1"}}),
    )
    .await;
    app.clock.advance(SignedDuration::from_secs(10));
    confirmed("b.png", json!({"collection": "photos", "metadata": {"n": "5"}})).await;
    let count = async |query: &str| {
        let answer = app.get("ann", &format!("/api/v1/files?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer.json()["files"].as_array().map_or(0, Vec::len)
    };
    for (query, expected) in [
        ("q=%D0%BE%D1%82%D1%87%D0%B5%D1%82", 1),
        ("q=nothing", 0),
        ("collection=photos", 1),
        ("record=m/1", 1),
        ("record=m%2F2", 0),
        ("state=confirmed,pending", 2),
        ("state=ready", 0),
        ("content_type=image/*", 1),
        ("content_type=text/csv", 1),
        ("owner=ann", 2),
        ("metadata.n=5", 1),
        ("metadata.n=%225%22", 1),
        ("metadata.n=5&collection=photos", 0),
        ("created_from=2026-01-02T03:04:10Z", 1),
        ("created_before=2026-01-02T03:04:10Z", 1),
        ("created_from=2026-01-02T06:04:10%2B03:00", 1),
    ] {
        assert_eq!(count(query).await, expected, "{query}");
    }
    for bad in [
        "stat=ready",
        "limit=0",
        "limit=1001",
        "limit=1&limit=2",
        "state=gone",
        "cursor=abc",
        "q=%ff",
        "q=%00",
    ] {
        let answer = app.get("ann", &format!("/api/v1/files?{bad}")).await;
        assert_eq!(answer.refusal(), (400, "invalid_parameter".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn a_download_is_a_url_or_a_redirect_to_it() {
    let app = TestApp::new().await;
    let id = app.ready("ann", "a.txt", b"abc", json!({})).await;
    let path = format!("/api/v1/files/{id}/download");
    let body = app.get("ann", &path).await.json();
    let url = body["download_url"].as_str().expect("a URL").to_owned();
    assert!(
        url.starts_with("https://store.test/bucket/files") && url.ends_with("disposition=attachment"),
        "{url}"
    );
    assert_eq!(body["expires_at"], "2026-01-02T04:04:05.000006Z");
    let redirect = app.get("ann", &format!("{path}?redirect=1&inline=true")).await;
    assert_eq!(redirect.status, 302);
    assert_eq!(
        redirect.header("location"),
        Some(url.replace("attachment", "inline").as_str())
    );
    assert_eq!(redirect.header("cache-control"), Some("private, max-age=1800"));
    assert_eq!(app.get("ann", &format!("{path}?redirect=yes")).await.status, 400);
    let pending = app.upload("ann", "b.txt", b"abc", json!({})).await;
    let early = app.get("ann", &format!("/api/v1/files/{pending}/download")).await;
    assert_eq!(early.refusal(), (409, "file_not_ready".to_owned()));
    let none = app
        .get("ann", &format!("/api/v1/files/{id}/derivatives/thumbnail"))
        .await;
    assert_eq!(none.refusal(), (404, "derivative_not_found".to_owned()));
}

#[tokio::test]
async fn the_timeline_tells_what_happened() {
    let app = TestApp::new().await;
    let id = app.ready("ann", "a.txt", b"abc", json!({})).await;
    let page = async |query: &str| {
        app.get("ann", &format!("/api/v1/files/{id}/timeline{query}"))
            .await
            .json()
    };
    let all = page("").await;
    let kinds: Vec<_> = all["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(
        kinds,
        ["file.signed", "file.confirmed", "file.processing", "file.ready"]
    );
    let first = &all["events"][0];
    assert_eq!(
        (&first["version"], &first["actor"], &first["state"]),
        (&json!(1), &json!("ann"), &json!("pending"))
    );
    assert_eq!(all["next_cursor"], Value::Null);
    let two = page("?limit=2").await;
    let rest = page(&format!(
        "?cursor={}",
        two["next_cursor"].as_str().expect("a cursor")
    ))
    .await;
    assert_eq!(rest["events"].as_array().map(Vec::len), Some(2));
    assert_eq!(rest["events"][0]["type"], "file.processing");
}

#[tokio::test]
async fn ids_have_one_spelling() {
    let app = TestApp::new().await;
    let id = app.ready("ann", "a.txt", b"abc", json!({})).await;
    for bad in [
        "x",
        "null",
        &id.replace('-', ""),
        &format!("{{{id}}}"),
        "%ff",
        "%00",
    ] {
        let bad = bad.replace('{', "%7B").replace('}', "%7D");
        let answer = app.get("ann", &format!("/api/v1/files/{bad}")).await;
        assert_eq!(answer.refusal(), (400, "invalid_parameter".to_owned()), "{bad}");
    }
}
