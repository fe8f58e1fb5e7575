//! S0: artifacts of sessions.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use cloakroom_core::collection::Collection;
use cloakroom_core::ports::alerts::{Alert, AlertKind, Alerts};
use cloakroom_http::auth::mock_sign_in::{MockSignIn, TokenIssuer};
use cloakroom_http::{Dialect, HttpSettings, StorageFacts};
use cloakroom_service::app::Policy;
use http::{Method, Request};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::test_app::{Answer, BUCKET, Options, TestApp, sign};

/// Signs tokens with the tests' own key.
struct Issuer;

impl TokenIssuer for Issuer {
    fn issue(&self, user: &str, life: SignedDuration) -> Option<String> {
        // The tests' clock stands still somewhere before 2100: what counts is that the token outlives it.
        let claims =
            json!({"sub": user, "role": "user", "iat": 0, "exp": 4_102_444_800_i64 + life.as_secs()});
        Some(sign(&claims))
    }
}

/// Remembers alerts.
#[derive(Default)]
struct Recorder(Mutex<Vec<Alert>>);

impl Recorder {
    fn kinds(&self) -> Vec<AlertKind> {
        self.0
            .lock()
            .expect("a lock")
            .iter()
            .map(|alert| alert.kind)
            .collect()
    }
}

impl Alerts for Recorder {
    fn send(&self, alert: Alert) {
        self.0.lock().expect("a lock").push(alert);
    }
}

fn storage() -> StorageFacts {
    StorageFacts {
        endpoint: Some("http://minio:9000".to_owned()),
        presign_endpoint: Some("http://localhost:9000".to_owned()),
        region: "us-east-1".to_owned(),
        credentials: true,
    }
}

fn options(debug: bool) -> Options {
    let artifacts = Collection {
        content_types: vec!["application/pdf".to_owned()],
        extensions: vec!["pdf".to_owned()],
        ..Collection::new("artifacts", BUCKET)
    };
    Options {
        http: HttpSettings {
            dialects: vec![Dialect::Artifacts],
            debug,
            storage: storage(),
            ..HttpSettings::default()
        },
        collections: vec![artifacts],
        ..Options::default()
    }
}

fn mock(options: Options) -> Options {
    Options {
        http: HttpSettings {
            mock_sign_in: Some(MockSignIn::new(Arc::new(Issuer))),
            ..options.http
        },
        ..options
    }
}

/// The request, with a worker beside it.
async fn put_test_pdf(app: &TestApp, user: &str, body: Option<Value>) -> Answer {
    let request = app.call(user, Method::POST, "/debug/s3/put-test-pdf", body);
    let work = async {
        loop {
            app.work().await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = request => answer,
        () = work => unreachable!("it never ends"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

#[tokio::test]
async fn health_asks_nobody() {
    let app = TestApp::with(options(false)).await;
    app.objects.set_away(true);
    let answer = app.call_with("", Method::GET, "/health/s3", None, &[]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({
        "ok": true,
        "bucket": BUCKET,
        "endpoint": "http://minio:9000",
        "presign_endpoint": "http://localhost:9000",
        "region": "us-east-1",
        "credentials": true,
    });
    assert_eq!(answer.json(), expected);
    assert_eq!(app.objects.refused(), 0);
}

#[tokio::test]
async fn health_names_what_is_missing() {
    for facts in [
        StorageFacts {
            credentials: false,
            ..storage()
        },
        StorageFacts {
            endpoint: None,
            ..storage()
        },
    ] {
        let mut options = options(false);
        options.http.storage = facts.clone();
        let app = TestApp::with(options).await;
        let answer = app.call_with("", Method::GET, "/health/s3", None, &[]).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["ok"], false);
        assert_eq!(body["credentials"], facts.credentials);
        assert_eq!(body["endpoint"].is_null(), facts.endpoint.is_none());
    }
}

#[tokio::test]
async fn health_looks_at_the_bucket_in_debug() {
    let app = TestApp::with(options(true)).await;
    let health = async || app.call_with("", Method::GET, "/health/s3", None, &[]).await;
    let answer = health().await;
    assert_eq!(
        (answer.status, &answer.json()["bucket_exists"]),
        (200, &json!(true))
    );
    app.objects.set_away(true);
    // The last look is good for two seconds.
    assert_eq!(health().await.status, 200);
    app.clock.advance(SignedDuration::from_secs(3));
    let answer = health().await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let body = answer.json();
    assert_eq!(
        (&body["ok"], &body["bucket_exists"]),
        (&json!(false), &json!(false))
    );
    assert!(text(&body["error"]).contains("outage"), "{body}");
}

#[tokio::test]
async fn without_debug_there_is_nothing_for_it() {
    let app = TestApp::with(mock(options(false))).await;
    for path in ["/debug/s3/put-test-pdf", "/auth/otp/request", "/auth/otp/verify"] {
        let answer = app.post("ann", path, json!({})).await;
        assert_eq!(answer.refusal(), (404, "route_not_found".to_owned()), "{path}");
    }
    // Debug alone does not let anybody be anybody: that takes keys of our own.
    let app = TestApp::with(options(true)).await;
    for path in ["/auth/otp/request", "/auth/otp/verify"] {
        let answer = app
            .call_with(
                "",
                Method::POST,
                path,
                Some(json!({"phone": "+79990001122", "code": "1"})),
                &[],
            )
            .await;
        assert_eq!(answer.refusal(), (404, "route_not_found".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn a_test_pdf_goes_the_whole_way() {
    let app = TestApp::with(options(true)).await;
    let anonymous = app
        .call_with("", Method::POST, "/debug/s3/put-test-pdf", None, &[])
        .await;
    assert_eq!(anonymous.status, 401);

    let made = put_test_pdf(&app, "ann", Some(json!({"doc_id": "doc-7", "unknown": 1}))).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!(made["content_type"], "application/pdf");
    assert!(text(&made["download_url"]).starts_with("https://store.test/"));
    let (file_id, artifact, session) = (
        text(&made["file_id"]),
        text(&made["artifact_id"]),
        text(&made["session_id"]),
    );

    let record = app
        .get("ann", &format!("/api/v1/records/artifact/{artifact}"))
        .await
        .json();
    assert_eq!(record["parent"], json!({"type": "session", "id": session}));
    let meta = json!({"source": "debug", "type": "test_pdf", "format": "pdf", "doc_id": "doc-7"});
    assert_eq!(record["meta"], meta);
    assert!(!record["payload"].as_object().expect("an object").is_empty());
    let above = app
        .get("ann", &format!("/api/v1/records/session/{session}"))
        .await
        .json();
    assert_eq!(above["owner"], "ann");
    let file = app.get("ann", &format!("/api/v1/files/{file_id}")).await.json();
    assert_eq!(
        (&file["state"], &file["collection"]),
        (&json!("ready"), &json!("artifacts"))
    );
    assert_eq!(file["record"], json!({"type": "artifact", "id": artifact}));

    // Without a doc_id there is none.
    let second = put_test_pdf(&app, "ann", None).await.json();
    let listed = app.get("ann", "/me/files").await.json();
    let files = listed["files"].as_array().expect("a list");
    assert_eq!(files.len(), 2, "{listed}");
    assert_eq!(files[0]["file_id"], second["file_id"]);
    assert_eq!(files[0].get("doc_id"), None);
    assert_eq!(files[1]["doc_id"], "doc-7");
    for (name, value) in [
        ("file_id", &made["file_id"]),
        ("artifact_id", &made["artifact_id"]),
        ("session_id", &made["session_id"]),
        ("bucket", &made["bucket"]),
        ("object_key", &made["object_key"]),
        ("size_bytes", &made["size_bytes"]),
        ("content_type", &json!("application/pdf")),
        ("type", &json!("test_pdf")),
        ("format", &json!("pdf")),
    ] {
        assert_eq!(&files[1][name], value, "{name}");
    }
    assert_eq!(app.get("bob", "/me/files").await.json()["files"], json!([]));
    assert_eq!(
        app.call_with("", Method::GET, "/me/files", None, &[])
            .await
            .status,
        401
    );

    let path = format!("/files/{file_id}/download");
    let download = app.get("ann", &path).await;
    assert_eq!(download.status, 200, "{download:?}");
    assert!(text(&download.json()["download_url"]).starts_with("https://store.test/"));
    assert!(download.json()["expires_at"].is_string());
    assert_eq!(app.call_with("", Method::GET, &path, None, &[]).await.status, 401);
    // The same words as for a file that does not exist.
    let foreign = app.get("bob", &path).await;
    let missing = app
        .get("bob", "/files/01890a5d-ac96-774b-bcce-b302099a8057/download")
        .await;
    assert_eq!(foreign.refusal(), (404, "file_not_found".to_owned()));
    assert_eq!(foreign.problem()["message"], missing.problem()["message"]);
}

#[tokio::test]
async fn artifacts_go_with_their_session() {
    let app = TestApp::with(options(true)).await;
    let first = put_test_pdf(&app, "ann", None).await.json();
    let session = text(&first["session_id"]);
    let second = put_test_pdf(&app, "ann", Some(json!({"session_id": session}))).await;
    assert_eq!(second.status, 201, "{second:?}");
    assert_eq!(second.json()["session_id"], session);

    // A session of somebody else is as one that does not exist.
    let foreign = put_test_pdf(&app, "bob", Some(json!({"session_id": session}))).await;
    let missing = put_test_pdf(&app, "bob", Some(json!({"session_id": "nope"}))).await;
    assert_eq!(foreign.refusal(), (404, "record_not_found".to_owned()));
    assert_eq!(foreign.problem()["message"], missing.problem()["message"]);
    assert_eq!(app.get("bob", "/me/files").await.json()["files"], json!([]));

    let deleted = app
        .call(
            "ann",
            Method::DELETE,
            &format!("/api/v1/records/session/{session}"),
            None,
        )
        .await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(app.get("ann", "/me/files").await.json()["files"], json!([]));
}

#[tokio::test]
async fn a_refused_pdf_leaves_no_records() {
    let mut options = options(true);
    options.policy = Policy {
        quota_bytes: Some(10),
        ..Policy::default()
    };
    let app = TestApp::with(options).await;
    let refused = put_test_pdf(&app, "ann", None).await;
    assert_eq!(refused.refusal(), (413, "quota_exceeded".to_owned()));
    // Neither the session nor the artifact is left.
    let records = app.app.administration.all_records(None, 10).await;
    assert_eq!(records.expect("an answer").items, []);
}

#[tokio::test]
async fn uploads_wait_for_the_offer() {
    let mut options = options(false);
    options.policy.offer = Some("2026-11".to_owned());
    let app = TestApp::with(options).await;
    let pdf = json!({"collection": "artifacts", "filename": "a.pdf", "size_bytes": 10});
    let sign = async |user: &str| app.post(user, "/api/v1/uploads", pdf.clone()).await;
    let refused = sign("ann").await;
    assert_eq!(refused.refusal(), (403, "offer_not_accepted".to_owned()));
    let problem = refused.problem();
    assert_eq!(problem["details"]["version"], "2026-11");
    let message = problem["message"].as_str().expect("words");
    assert!(message.contains("POST /api/v1/me/offer"), "{message}");
    // By no other way either.
    let form =
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nx\r\n--b--\r\n";
    let received = Request::post("/api/v1/files")
        .header("authorization", format!("Bearer {}", app.token("ann", "user")))
        .header("content-type", "multipart/form-data; boundary=b")
        .body(Body::from(form))
        .expect("a request");
    assert_eq!(
        app.send(received).await.refusal(),
        (403, "offer_not_accepted".to_owned())
    );
    let batch = app
        .post("ann", "/api/v1/uploads/batch", json!({"uploads": [pdf.clone()]}))
        .await;
    assert!(
        String::from_utf8_lossy(&batch.bytes).contains("offer_not_accepted"),
        "{batch:?}"
    );

    let offer = app.get("ann", "/api/v1/me/offer").await.json();
    assert_eq!(
        offer,
        json!({"version": "2026-11", "accepted": false, "accepted_at": null})
    );
    let old = app
        .post("ann", "/offer/accept", json!({"version": "2025-01"}))
        .await;
    assert_eq!(old.refusal(), (422, "invalid_request".to_owned()));
    let accepted = app.call("ann", Method::POST, "/offer/accept", None).await;
    assert_eq!(
        (accepted.status, &accepted.json()["accepted"]),
        (200, &json!(true))
    );
    let again = app
        .post("ann", "/api/v1/me/offer", json!({"version": "2026-11"}))
        .await;
    assert_eq!(again.json()["accepted_at"], accepted.json()["accepted_at"]);
    assert_eq!(sign("ann").await.status, 201);
    // Everybody for themselves; administrators and applications are not asked.
    assert_eq!(sign("bob").await.status, 403);
    assert_eq!(sign("ada").await.status, 201);
    let (_, token) = app.service_token(json!({"name": "bot"})).await;
    let for_bob = [("x-cloakroom-owner", "bob")];
    let served = app
        .call_with(
            &token,
            Method::POST,
            "/api/v1/uploads",
            Some(pdf.clone()),
            &for_bob,
        )
        .await;
    assert_eq!(served.status, 201, "{served:?}");
}

#[tokio::test]
async fn nobody_accepts_for_somebody_else() {
    let mut options = options(false);
    options.policy.offer = Some("1".to_owned());
    let app = TestApp::with(options).await;
    for (method, path) in [
        (Method::PUT, "/api/v1/records/offer-acceptance/x"),
        (Method::PUT, "/api/v1/records/offer-acceptance/00"),
    ] {
        let written = app.call("ada", method, path, Some(json!({"owner": "ann"}))).await;
        assert_eq!(written.refusal(), (422, "invalid_request".to_owned()));
    }
    let record = json!({"type": "offer-acceptance", "id": "x"});
    let linked = app
        .post(
            "ada",
            "/api/v1/uploads",
            json!({"filename": "a.txt", "record": record}),
        )
        .await;
    assert_eq!(linked.refusal(), (422, "invalid_request".to_owned()));
}

#[tokio::test]
async fn without_an_offer_there_is_nothing_to_accept() {
    let app = TestApp::with(options(false)).await;
    let expected = json!({"version": null, "accepted": true, "accepted_at": null});
    let accepted = app.call("ann", Method::POST, "/offer/accept", None).await;
    assert_eq!((accepted.status, accepted.json()), (200, expected.clone()));
    assert_eq!(app.get("ann", "/api/v1/me/offer").await.json(), expected);
    assert_eq!(
        app.call_with("", Method::POST, "/offer/accept", None, &[])
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn a_code_signs_in_once() {
    let app = TestApp::with(mock(options(true))).await;
    let post = async |path: &str, body: Value| app.call_with("", Method::POST, path, Some(body), &[]).await;
    let phone = "+79990001122";
    let asked = post("/auth/otp/request", json!({"phone": phone})).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let asked = asked.json();
    assert_eq!(
        (&asked["mock"], &asked["expires_in"]),
        (&json!(true), &json!(300))
    );
    let code = text(&asked["code"]);
    assert!(
        code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()),
        "{code}"
    );

    let wrong = if code == "000000" { "000001" } else { "000000" };
    let refused = post("/auth/otp/verify", json!({"phone": phone, "code": wrong})).await;
    assert_eq!(refused.refusal(), (401, "unauthenticated".to_owned()));
    // A code is of one number.
    let other = post("/auth/otp/verify", json!({"phone": "+79990001123", "code": code})).await;
    assert_eq!(other.status, 401);
    let signed_in = post("/auth/otp/verify", json!({"phone": phone, "code": code})).await;
    assert_eq!(signed_in.status, 200, "{signed_in:?}");
    let signed_in = signed_in.json();
    assert_eq!(
        (&signed_in["token_type"], &signed_in["user_id"]),
        (&json!("bearer"), &json!(phone))
    );
    let again = post("/auth/otp/verify", json!({"phone": phone, "code": code})).await;
    assert_eq!(again.status, 401);

    let token = text(&signed_in["access_token"]);
    let me = app
        .call_with(token, Method::GET, "/api/v1/me", None, &[])
        .await
        .json();
    assert_eq!((&me["subject"], &me["role"]), (&json!(phone), &json!("user")));
    let session = format!("/api/v1/records/session/{}", text(&signed_in["session_id"]));
    let session = app
        .call_with(token, Method::GET, &session, None, &[])
        .await
        .json();
    assert_eq!(session["owner"], phone);
}

#[tokio::test]
async fn codes_are_not_guessed() {
    let app = TestApp::with(mock(options(true))).await;
    let post = async |path: &str, body: Value| app.call_with("", Method::POST, path, Some(body), &[]).await;
    let asked = post("/auth/otp/request", json!({"email": "Ann@Example.org"}))
        .await
        .json();
    let code = text(&asked["code"]);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..5 {
        let refused = post(
            "/auth/otp/verify",
            json!({"email": "ann@example.org", "code": wrong}),
        )
        .await;
        assert_eq!(refused.status, 401);
    }
    let late = post(
        "/auth/otp/verify",
        json!({"email": "ann@example.org", "code": code}),
    )
    .await;
    assert_eq!(late.status, 401, "{late:?}");
    // What is no number and no address, and could be the name of somebody with another kind of token.
    for bad in [
        json!({}),
        json!({"phone": "admin"}),
        json!({"phone": "+1"}),
        json!({"email": "admin"}),
        json!({"email": "a@b", "phone": "+79990001122"}),
        json!({"email": "a b@c"}),
    ] {
        let refused = post("/auth/otp/request", bad.clone()).await;
        assert_eq!(refused.refusal(), (422, "invalid_request".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn what_cannot_be_stored_wakes_somebody() {
    let recorder = Arc::new(Recorder::default());
    let app = TestApp::with(Options {
        alerts: recorder.clone(),
        ..options(true)
    })
    .await;
    let upload = async || {
        let form =
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nx\r\n--b--\r\n";
        let request = Request::post("/api/v1/files")
            .header("authorization", format!("Bearer {}", app.token("ann", "user")))
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Body::from(form))
            .expect("a request");
        app.send(request).await.status
    };
    assert_eq!(upload().await, 201);
    assert_eq!(recorder.kinds(), []);
    app.objects.set_away(true);
    assert_eq!(upload().await, 503);
    assert_eq!(recorder.kinds(), [AlertKind::UploadError]);
    let alert = recorder.0.lock().expect("a lock")[0].clone();
    assert_eq!(alert.details["collection"], "files");
    assert!(alert.details["file_id"].is_string() && alert.message.contains("outage"));
    assert_eq!(
        app.call_with("", Method::GET, "/health/ready", None, &[])
            .await
            .status,
        503
    );
    assert_eq!(recorder.kinds(), [AlertKind::UploadError, AlertKind::Unavailable]);
}

/// The records come before the bytes: whoever waits for an upload hears of it all the same.
#[tokio::test]
async fn a_test_pdf_whose_records_cannot_be_stored_wakes_somebody() {
    let recorder = Arc::new(Recorder::default());
    let app = TestApp::with(Options {
        alerts: recorder.clone(),
        ..options(true)
    })
    .await;
    let put = async |body| app.post("ann", "/debug/s3/put-test-pdf", body).await;
    let session = put(json!({})).await.json()["session_id"].clone();
    let missing = json!({"session_id": "of-nobody"});
    assert_eq!(put(missing).await.refusal().0, 404);
    assert_eq!(recorder.kinds(), []);
    app.objects.set_away(true);
    for body in [json!({}), json!({"session_id": session})] {
        assert_eq!(put(body).await.status, 503);
    }
    assert_eq!(recorder.kinds(), [AlertKind::UploadError, AlertKind::UploadError]);
    let alert = recorder.0.lock().expect("a lock")[0].clone();
    assert_eq!(alert.details["collection"], "artifacts");
    assert!(alert.message.contains("outage"), "{}", alert.message);
}

#[tokio::test]
async fn a_spoilt_body_wakes_nobody() {
    let recorder = Arc::new(Recorder::default());
    let app = TestApp::with(Options {
        alerts: recorder.clone(),
        ..options(true)
    })
    .await;
    let form = format!(
        "--b\r\ncontent-disposition: form-data; name=\"collection\"\r\n\r\nphotos\r\n--b\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"a.png\"\r\ncontent-type: image/png\r\n\r\n{}\r\n--b--\r\n",
        "x".repeat(1_000_001)
    );
    let request = Request::post("/api/v1/files")
        .header("authorization", format!("Bearer {}", app.token("ann", "user")))
        .header("content-type", "multipart/form-data; boundary=b")
        .body(Body::from(form))
        .expect("a request");
    assert_eq!(
        app.send(request).await.refusal(),
        (413, "file_too_large".to_owned())
    );
    assert_eq!(recorder.kinds(), []);
}
