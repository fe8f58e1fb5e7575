//! Signing, parts, confirming.

use cloakroom_core::ports::objects::{ObjectPath, PutBody};
use cloakroom_service::app::Policy;
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::test_app::{Options, TestApp};

const SIGN: &str = "/api/v1/uploads";

#[tokio::test]
async fn a_put_says_what_to_send_where() {
    let app = TestApp::new().await;
    let answer = app
        .post("ann", SIGN, json!({"filename": "holiday.jpg", "size_bytes": 3}))
        .await;
    assert_eq!(answer.status, 201);
    let body = answer.json();
    let id = body["file_id"].as_str().expect("an id");
    let object = format!("staging/20260102T0319Z/{id}/holiday.jpg");
    let encoded = percent_encoding::utf8_percent_encode(&object, percent_encoding::NON_ALPHANUMERIC);
    assert_eq!(
        body,
        json!({
            "file_id": id,
            "method": "put",
            "upload_url": format!("https://store.test/bucket/{encoded}?signed"),
            "headers": {"content-type": "image/jpeg"},
            "form_fields": null,
            "upload_id": null,
            "part_size_bytes": null,
            "parts": null,
            "object_name": object,
            "bucket_name": "bucket",
            "expires_at": "2026-01-02T03:19:05.000006Z",
        })
    );
}

#[tokio::test]
async fn a_post_has_its_fields_in_order() {
    let app = TestApp::new().await;
    let answer = app
        .post("ann", SIGN, json!({"filename": "a.txt", "method": "post"}))
        .await;
    let body = answer.json();
    let key = &body["object_name"];
    assert_eq!(
        body["form_fields"],
        json!({"key": key, "Content-Type": "text/plain", "a": "1"})
    );
    assert_eq!(body["upload_url"], "https://store.test/bucket");
    let text = String::from_utf8(answer.bytes.to_vec()).expect("text");
    let place = |name: &str| text.find(&format!("{name}\":")).expect("a field");
    assert!(
        place("\"key") < place("\"Content-Type") && place("\"Content-Type") < place("\"a"),
        "{text}"
    );
}

#[tokio::test]
async fn a_multipart_upload_goes_from_parts_to_a_confirmed_file() {
    let app = TestApp::new().await;
    let part_size = 8 * 1024 * 1024;
    let request = json!({"filename": "a.bin", "method": "multipart", "size_bytes": part_size + 5});
    let body = app.post("ann", SIGN, request).await.json();
    let id = body["file_id"].as_str().expect("an id").to_owned();
    assert_eq!(
        (&body["method"], &body["part_size_bytes"]),
        (&json!("multipart"), &json!(part_size))
    );
    assert_eq!(body["parts"].as_array().map(Vec::len), Some(2));
    assert_eq!(body["parts"][1]["part_number"], 2);
    assert!(
        body["parts"][1]["upload_url"]
            .as_str()
            .expect("a URL")
            .ends_with("&partNumber=2")
    );

    let path = ObjectPath::new("bucket", body["object_name"].as_str().expect("a key"));
    let upload_id = body["upload_id"].as_str().expect("an upload id");
    let parts_path = format!("/api/v1/uploads/{id}/parts");
    let first = app
        .app
        .objects
        .put_part(&path, upload_id, 1, PutBody::from_bytes(vec![7; part_size]))
        .await
        .expect("kept");
    let arrived = app.get("ann", &parts_path).await;
    assert_eq!(
        arrived.json(),
        json!({
            "parts": [{"part_number": 1, "size_bytes": part_size, "etag": first.etag}],
            "part_size_bytes": part_size,
            "upload_id": upload_id,
        })
    );
    let more = app
        .post("ann", &parts_path, json!({"part_numbers": [2, 3.0]}))
        .await
        .json();
    assert_eq!(more["parts"][1]["part_number"], 3);
    assert_eq!(more["parts"][0]["expires_at"], "2026-01-02T03:19:05.000006Z");

    let complete = format!("/api/v1/uploads/{id}/complete");
    let early = app.call("ann", Method::POST, &complete, None).await;
    assert_eq!(early.refusal(), (409, "upload_incomplete".to_owned()));
    assert_eq!(
        early.problem()["details"],
        json!({"file_id": id, "missing_parts": 1, "missing_part_numbers": [2]})
    );
    app.app
        .objects
        .put_part(&path, upload_id, 2, PutBody::from_bytes(vec![1; 5]))
        .await
        .expect("kept");
    let nonsense = |number: u32| json!({"part_number": number, "etag": "nonsense"});
    let wrong = json!({"parts": [nonsense(1), nonsense(2)]});
    let wrong = app.post("ann", &complete, wrong).await;
    assert_eq!(wrong.refusal(), (422, "invalid_part".to_owned()));
    let done = app.call("ann", Method::POST, &complete, None).await;
    assert_eq!(
        (done.status, &done.json()["state"]),
        (200, &json!("confirmed")),
        "{done:?}"
    );
    let again = app.post("ann", &complete, Value::Null).await;
    assert_eq!((again.status, &again.json()["state"]), (200, &json!("confirmed")));
}

#[tokio::test]
async fn part_numbers_have_bounds() {
    let app = TestApp::new().await;
    let id = app
        .upload("ann", "a.bin", b"", json!({"method": "multipart"}))
        .await;
    let path = format!("/api/v1/uploads/{id}/parts");
    for numbers in [
        json!([]),
        json!([0]),
        json!([10_001]),
        json!([1, -1]),
        json!(["1"]),
        json!(vec![1; 1001]),
    ] {
        assert_eq!(
            app.post("ann", &path, json!({"part_numbers": numbers}))
                .await
                .status,
            422,
            "{numbers}"
        );
    }
    let complete = format!("/api/v1/uploads/{id}/complete");
    for part in [
        json!({"part_number": 0, "etag": "a"}),
        json!({"part_number": 1, "etag": ""}),
        json!([1, "a"]),
    ] {
        let refused = app.post("ann", &complete, json!({"parts": [part]})).await;
        assert_eq!(refused.status, 422, "{part}");
        assert!(
            refused.problem()["details"]["field"]
                .as_str()
                .expect("a field")
                .starts_with("parts[0]"),
            "{part}"
        );
    }
}

#[tokio::test]
async fn confirming_twice_gives_the_same_answer() {
    let app = TestApp::new().await;
    let id = app.upload("ann", "a.txt", b"abc", json!({})).await;
    let path = format!("/api/v1/uploads/{id}/confirm");
    let first = app
        .post(
            "ann",
            &path,
            json!({"metadata": {"a": 1}, "record": {"type": "message", "id": "1"}}),
        )
        .await;
    let second = app.call("ann", Method::POST, &path, None).await;
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(first.json(), second.json());
    let file = first.json();
    assert_eq!(file["state"], "confirmed");
    assert_eq!(file["metadata"], json!({"a": 1}));
    assert_eq!(file["record"], json!({"type": "message", "id": "1"}));
}

#[tokio::test]
async fn confirm_says_what_does_not_fit() {
    let app = TestApp::new().await;
    let empty = app.post("ann", SIGN, json!({"filename": "a.txt"})).await.json();
    let confirm = async |id: &str, body: Value| {
        app.post("ann", &format!("/api/v1/uploads/{id}/confirm"), body)
            .await
    };
    let incomplete = confirm(empty["file_id"].as_str().expect("an id"), json!({})).await;
    assert_eq!(incomplete.refusal(), (409, "upload_incomplete".to_owned()));

    let short = app
        .post("ann", SIGN, json!({"filename": "a.txt", "size_bytes": 5}))
        .await
        .json();
    let short = short["file_id"].as_str().expect("an id");
    app.put_staged(short, b"abc").await;
    let mismatch = confirm(short, json!({})).await;
    assert_eq!(mismatch.refusal(), (422, "size_mismatch".to_owned()));
    assert_eq!(
        mismatch.problem()["details"],
        json!({"declared_size_bytes": 5, "size_bytes": 3})
    );

    let expired = app.upload("ann", "a.txt", b"abc", json!({})).await;
    assert_eq!(
        app.call("ann", Method::DELETE, &format!("/api/v1/uploads/{expired}"), None)
            .await
            .status,
        204
    );
    assert_eq!(
        confirm(&expired, json!({})).await.refusal(),
        (410, "upload_expired".to_owned())
    );
    // Giving up twice is giving up once; a confirmed file is not given up.
    assert_eq!(
        app.call("ann", Method::DELETE, &format!("/api/v1/uploads/{expired}"), None)
            .await
            .status,
        204
    );
    let ready = app.ready("ann", "b.txt", b"abc", json!({})).await;
    let refused = app
        .call("ann", Method::DELETE, &format!("/api/v1/uploads/{ready}"), None)
        .await;
    assert_eq!(refused.refusal(), (409, "invalid_state".to_owned()));
}

#[tokio::test]
async fn an_idempotency_key_makes_repeating_safe() {
    let app = TestApp::new().await;
    let token = app.token("ann", "user");
    let request = json!({"filename": "a.txt"});
    let send = async |body: &Value, key: &str| {
        app.call_with(
            &token,
            Method::POST,
            SIGN,
            Some(body.clone()),
            &[("idempotency-key", key)],
        )
        .await
    };
    let (first, second) = (send(&request, "k1").await, send(&request, "k1").await);
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.json(), second.json());
    app.clock.advance(SignedDuration::from_mins(20));
    let renewed = send(&request, "k1").await.json();
    assert_eq!(renewed["file_id"], first.json()["file_id"]);
    assert_ne!(renewed["expires_at"], first.json()["expires_at"]);
    let other = send(&json!({"filename": "b.txt"}), "k1").await;
    assert_eq!(other.refusal(), (422, "idempotency_key_reused".to_owned()));
    let in_body = send(&json!({"filename": "a.txt", "idempotency_key": "k2"}), "k1").await;
    assert_eq!(in_body.refusal(), (422, "invalid_request".to_owned()));
    for bad in ["", " ", "a b", &"k".repeat(256)] {
        assert_eq!(
            send(&request, bad).await.refusal(),
            (400, "invalid_parameter".to_owned()),
            "{bad:?}"
        );
    }
}

#[tokio::test]
async fn a_batch_has_a_result_for_each() {
    let app = TestApp::new().await;
    let uploads = json!([
        {"filename": "a.txt", "idempotency_key": "k"},
        {"filename": "b.exe", "collection": "photos"},
        {"filename": "c.txt", "checksum_sha256": "nope"},
        {"filename": "a.txt", "idempotency_key": "k2"},
    ]);
    let batch = app
        .post("ann", "/api/v1/uploads/batch", json!({"uploads": uploads}))
        .await;
    assert_eq!(batch.status, 200);
    let results = batch.json()["results"].clone();
    let statuses: Vec<_> = results
        .as_array()
        .expect("results")
        .iter()
        .map(|result| result["status"].clone())
        .collect();
    assert_eq!(statuses, [201, 415, 422, 201]);
    assert_eq!(results[0]["upload"]["method"], "put");
    assert_eq!(results[1]["error"]["error_code"], "content_type_not_allowed");
    assert_eq!(results[1]["error"]["request_id"], "r-1");
    assert_eq!(results[2]["error"]["details"]["field"], "checksum_sha256");
    assert!(results[2].get("upload").is_none() && results[0].get("error").is_none());

    let atomic = app
        .post(
            "ann",
            "/api/v1/uploads/batch",
            json!({"uploads": uploads, "atomic": true}),
        )
        .await;
    assert_eq!(atomic.refusal(), (422, "invalid_request".to_owned()));
    assert_eq!(atomic.problem()["details"]["index"], 2);
    let refused = json!([{"filename": "a.txt"}, {"filename": "b.exe", "collection": "photos"}]);
    let atomic = app
        .post(
            "ann",
            "/api/v1/uploads/batch",
            json!({"uploads": refused, "atomic": true}),
        )
        .await;
    assert_eq!(atomic.refusal(), (415, "content_type_not_allowed".to_owned()));
    assert_eq!(atomic.problem()["details"]["index"], 1);
    let files = app.get("ann", "/api/v1/files").await.json();
    assert_eq!(
        files["files"].as_array().map(Vec::len),
        Some(2),
        "nothing of the refused batches was kept"
    );

    let many: Vec<Value> = (0..101).map(|n| json!({"filename": format!("{n}")})).collect();
    for uploads in [json!([]), json!(many)] {
        let refused = app
            .post("ann", "/api/v1/uploads/batch", json!({"uploads": uploads}))
            .await;
        assert_eq!(refused.refusal(), (422, "invalid_request".to_owned()));
    }
}

#[tokio::test]
async fn fields_that_do_not_fit_are_named() {
    let app = TestApp::new().await;
    let table = [
        (json!({}), "filename"),
        (json!({"filename": "a\u{0}"}), "filename"),
        (json!({"filename": "a/b"}), "filename"),
        (json!({"filename": "x".repeat(256)}), "filename"),
        (json!({"filename": "a", "colection": "files"}), "colection"),
        (json!({"filename": "a", "size_bytes": -1}), "size_bytes"),
        (
            json!({"filename": "a", "size_bytes": 5_497_558_138_881_u64}),
            "size_bytes",
        ),
        (json!({"filename": "a", "size_bytes": "5"}), "size_bytes"),
        (json!({"filename": "a", "content_type": "text"}), "content_type"),
        (
            json!({"filename": "a", "content_type": " text/plain"}),
            "content_type",
        ),
        (
            json!({"filename": "a", "checksum_sha256": "ab"}),
            "checksum_sha256",
        ),
        (
            json!({"filename": "a", "record": {"type": "M", "id": "1"}}),
            "record.type",
        ),
        (
            json!({"filename": "a", "record": {"type": "m", "id": ""}}),
            "record.id",
        ),
        (json!({"filename": "a", "record": ["m", "1"]}), "record"),
        (
            json!({"filename": "a", "record": {"type": "m", "id": "1", "x": 1}}),
            "record",
        ),
        (json!({"filename": "a", "description": "\u{0}"}), "description"),
        (
            json!({"filename": "a", "description": "x".repeat(2001)}),
            "description",
        ),
        (json!({"filename": "a", "metadata": {"a": "\u{0}"}}), "metadata"),
        (json!({"filename": "a", "metadata": []}), "metadata"),
        (json!({"filename": "a", "method": "PUT"}), "method"),
        (json!({"filename": "a", "method": "tus"}), "method"),
    ];
    for (body, field) in table {
        let answer = app.post("ann", SIGN, body.clone()).await;
        assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()), "{body}");
        let problem = answer.problem();
        let place = format!("{} {}", problem["details"]["field"], problem["message"]);
        assert!(place.contains(field), "{body}: {place}");
    }
    let large = app
        .post(
            "ann",
            SIGN,
            json!({"filename": "a", "metadata": {"a": "x".repeat(4000)}}),
        )
        .await;
    assert_eq!(large.refusal(), (422, "metadata_too_large".to_owned()));
    let nowhere = app
        .post("ann", SIGN, json!({"filename": "a", "collection": "nope"}))
        .await;
    assert_eq!(nowhere.refusal(), (404, "collection_not_found".to_owned()));
    let large = app
        .post(
            "ann",
            SIGN,
            json!({"filename": "a.png", "collection": "photos", "size_bytes": 1_000_001}),
        )
        .await;
    assert_eq!(large.refusal(), (413, "file_too_large".to_owned()));
}

#[tokio::test]
async fn a_quota_is_shown_and_kept() {
    let policy = Policy {
        quota_bytes: Some(10),
        ..Policy::default()
    };
    let app = TestApp::with(Options {
        policy,
        ..Options::default()
    })
    .await;
    app.upload("ann", "a.txt", b"1234567", json!({})).await;
    let usage = app.get("ann", "/api/v1/me/usage").await.json();
    assert_eq!(
        usage,
        json!({"files": 0, "stored_bytes": 0, "reserved_bytes": 7, "quota_bytes": 10})
    );
    let full = app
        .post("ann", SIGN, json!({"filename": "b.txt", "size_bytes": 4}))
        .await;
    assert_eq!(full.refusal(), (413, "quota_exceeded".to_owned()));
    assert_eq!(
        full.problem()["details"],
        json!({"quota_bytes": 10, "stored_bytes": 0, "reserved_bytes": 7})
    );
}
