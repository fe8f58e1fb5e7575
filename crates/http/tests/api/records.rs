//! Records, the caller and collections.

use http::Method;
use serde_json::{Value, json};

use crate::test_app::TestApp;

#[tokio::test]
async fn a_record_is_made_changed_and_deleted_with_its_files() {
    let app = TestApp::new().await;
    let path = "/api/v1/records/complaint/42";
    let put = async |body: Option<Value>| app.call("ann", Method::PUT, path, body).await;
    let made = put(Some(json!({"payload": {"a": 1}, "meta": {"doc_id": "x"}}))).await;
    assert_eq!(made.status, 201);
    let time = "2026-01-02T03:04:05.000006Z";
    let expected = json!({
        "type": "complaint", "id": "42", "owner": "ann", "parent": null, "payload": {"a": 1}, "meta": {"doc_id": "x"},
        "version": 1, "created_at": time, "updated_at": time,
    });
    assert_eq!(made.json(), expected);
    assert_eq!(app.get("ann", path).await.json(), expected);
    let changed = put(Some(json!({"payload": {}}))).await;
    assert_eq!((changed.status, &changed.json()["version"]), (200, &json!(2)));
    assert_eq!(changed.json()["meta"], json!({"doc_id": "x"}));
    assert_eq!(put(None).await.status, 200);

    let child = app
        .call(
            "ann",
            Method::PUT,
            "/api/v1/records/message/7",
            Some(json!({"parent": {"type": "complaint", "id": "42"}})),
        )
        .await;
    assert_eq!(child.json()["parent"], json!({"type": "complaint", "id": "42"}));
    let loops = put(Some(json!({"parent": {"type": "message", "id": "7"}}))).await;
    assert_eq!(loops.refusal(), (422, "invalid_request".to_owned()));

    let file = app
        .ready(
            "ann",
            "a.txt",
            b"abc",
            json!({"record": {"type": "message", "id": "7"}}),
        )
        .await;
    let listed = app.get("ann", "/api/v1/records/message/7/files").await.json();
    assert_eq!(listed["files"][0]["file_id"], file.as_str());
    assert_eq!(app.call("ann", Method::DELETE, path, None).await.status, 204);
    assert_eq!(
        app.get("ann", path).await.refusal(),
        (404, "record_not_found".to_owned())
    );
    assert_eq!(app.get("ann", "/api/v1/records/message/7").await.status, 404);
    assert_eq!(
        app.get("ann", &format!("/api/v1/files/{file}")).await.json()["state"],
        "trashed"
    );
}

#[tokio::test]
async fn record_paths_are_checked() {
    let app = TestApp::new().await;
    for bad in ["Complaint/1", "c/%00", "c/a%2Fb", "c/%ff", "c/%2E%2E"] {
        let answer = app.get("ann", &format!("/api/v1/records/{bad}")).await;
        assert_eq!(answer.refusal(), (400, "invalid_parameter".to_owned()), "{bad}");
    }
    let unicode = app
        .call(
            "ann",
            Method::PUT,
            "/api/v1/records/complaint/%D0%B6%201",
            Some(json!({})),
        )
        .await;
    assert_eq!((unicode.status, &unicode.json()["id"]), (201, &json!("ж 1")));
}

#[tokio::test]
async fn an_owner_can_be_named_for_a_new_record() {
    let app = TestApp::new().await;
    let token = app.token("ada", "admin");
    let put = async |owner: &str| {
        let headers = [("x-cloakroom-owner", owner)];
        app.call_with(
            &token,
            Method::PUT,
            "/api/v1/records/message/1",
            Some(json!({})),
            &headers,
        )
        .await
    };
    assert_eq!(put("ann").await.json()["owner"], "ann");
    assert_eq!(put("bob").await.refusal(), (422, "invalid_request".to_owned()));
}

#[tokio::test]
async fn usage_follows_the_files() {
    let app = TestApp::new().await;
    app.ready("ann", "a.txt", b"abc", json!({})).await;
    app.upload("ann", "b.txt", b"12345", json!({})).await;
    let usage = app.get("ann", "/api/v1/me/usage").await.json();
    assert_eq!(
        usage,
        json!({"files": 1, "stored_bytes": 3, "reserved_bytes": 5, "quota_bytes": null})
    );
    let none = app.get("bob", "/api/v1/me/usage").await.json();
    assert_eq!(
        none,
        json!({"files": 0, "stored_bytes": 0, "reserved_bytes": 0, "quota_bytes": null})
    );
}

#[tokio::test]
async fn collections_say_what_they_take() {
    let app = TestApp::new().await;
    let photos = app.get("ann", "/api/v1/collections/photos").await.json();
    assert_eq!(
        photos,
        json!({
            "name": "photos",
            "description": "Photos of complaints.",
            "content_types": ["image/jpeg", "image/png"],
            "extensions": ["jpg", "jpeg", "png"],
            "size_bytes_min": 1,
            "size_bytes_max": 1_000_000,
            "methods": ["put", "post", "multipart", "stream"],
            "default_method": "put",
            "upload_expires_seconds": 900,
            "download_expires_seconds": 3600,
            "trash_seconds": 604_800,
            "auto_confirm": false,
            "visibility": "private",
            "thumbnails": [{"name": "thumbnail-256", "width": 256, "height": 256, "fit": "contain"}],
            "variants": true,
        })
    );
    let names = async |token: &str| {
        let list = app
            .call_with(token, Method::GET, "/api/v1/collections", None, &[])
            .await
            .json();
        let names = list["collections"]
            .as_array()
            .expect("collections")
            .iter()
            .map(|one| one["name"].clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(
        names(&app.token("ann", "user")).await,
        ["files", "photos", "scans"]
    );
    let (_, secret) = app
        .service_token(json!({"name": "bot", "collections": ["photos"]}))
        .await;
    assert_eq!(names(&secret).await, ["photos"]);
    assert_eq!(
        app.get("ann", "/api/v1/collections/nope").await.refusal(),
        (404, "collection_not_found".to_owned())
    );
}
