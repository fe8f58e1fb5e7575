//! Who is let in, and as whom.

use cloakroom_http::auth::{Algorithm, Expectations};
use http::Method;
use jiff::SignedDuration;
use jsonwebtoken::Header;
use serde_json::{Value, json};

use crate::test_app::{Options, RSA_PUBLIC, TestApp, sign, sign_with};

const OTHER_RSA_PRIVATE: &str = include_str!("keys/rsa2.pem");
const NOW: i64 = 1_767_323_045;

/// Claims that are accepted, with some changed.
fn claims(changes: Value) -> Value {
    let mut claims = json!({"sub": "ann", "iat": NOW, "exp": NOW + 600});
    let object = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    claims
}

async fn me(app: &TestApp, token: &str) -> crate::test_app::Answer {
    app.call_with(token, Method::GET, "/api/v1/me", None, &[]).await
}

#[tokio::test]
async fn claims_become_the_caller() {
    let app = TestApp::new().await;
    let table = [
        (json!({}), ("ann", "user", "ann", Value::Null)),
        (json!({"role": "Admin"}), ("ann", "admin", "ann", Value::Null)),
        (
            json!({"roles": ["user", "operator", "unknown"]}),
            ("ann", "operator", "ann", Value::Null),
        ),
        (
            json!({"role": "user", "roles": "operator admin"}),
            ("ann", "admin", "ann", Value::Null),
        ),
        (json!({"role": "emperor"}), ("ann", "user", "ann", Value::Null)),
        (
            json!({"role": 7, "roles": {"a": 1}}),
            ("ann", "user", "ann", Value::Null),
        ),
        (
            json!({"preferred_username": "annie", "username": "x", "name": "Ann Lee"}),
            ("ann", "user", "annie", json!("Ann Lee")),
        ),
        (
            json!({"username": "x", "name": "Ann Lee"}),
            ("ann", "user", "x", json!("Ann Lee")),
        ),
        (
            json!({"name": "Ann\u{0}Lee"}),
            ("ann", "user", "AnnLee", json!("AnnLee")),
        ),
        (json!({"sub": 42}), ("42", "user", "42", Value::Null)),
        (
            json!({"exp": NOW as f64 + 1.5, "nbf": NOW + 60, "iat": NOW + 60}),
            ("ann", "user", "ann", Value::Null),
        ),
    ];
    for (changes, (subject, role, username, full_name)) in table {
        let answer = me(&app, &sign(&claims(changes.clone()))).await;
        assert_eq!(answer.status, 200, "{changes}: {answer:?}");
        let expected = json!({
            "subject": subject, "role": role, "username": username, "full_name": full_name,
            "credential": "access_token", "collections": null,
        });
        assert_eq!(answer.json(), expected, "{changes}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn tokens_that_are_not_access_tokens_of_ours_are_refused() {
    let app = TestApp::new().await;
    let rs256 = || Header::new(Algorithm::RS256);
    let refresh_header = Header {
        typ: Some("refresh".to_owned()),
        ..rs256()
    };
    let good = sign(&claims(json!({})));
    let unsigned = {
        let mut parts: Vec<&str> = good.split('.').collect();
        // {"alg":"none"}
        parts[0] = "eyJhbGciOiJub25lIn0";
        parts[2] = "";
        parts.join(".")
    };
    let hmac = {
        let key = jsonwebtoken::EncodingKey::from_secret(RSA_PUBLIC.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(json!({})), &key).expect("a token")
    };
    let tampered = {
        let other = sign(&claims(json!({"role": "admin"})));
        let payload = other.split('.').nth(1).expect("a payload").to_owned();
        let mut parts: Vec<&str> = good.split('.').collect();
        parts[1] = &payload;
        parts.join(".")
    };
    let table = [
        ("expired", sign(&claims(json!({"exp": NOW}))), "token_expired"),
        (
            "expired long ago",
            sign(&claims(json!({"exp": -1e300}))),
            "token_expired",
        ),
        (
            "without expiry",
            sign(&claims(json!({"exp": null}))),
            "invalid_token",
        ),
        (
            "expiry as text",
            sign(&claims(json!({"exp": "tomorrow"}))),
            "invalid_token",
        ),
        (
            "not yet valid",
            sign(&claims(json!({"nbf": NOW + 61}))),
            "invalid_token",
        ),
        (
            "issued in the future",
            sign(&claims(json!({"iat": NOW + 62}))),
            "invalid_token",
        ),
        (
            "refresh by type",
            sign(&claims(json!({"type": "refresh"}))),
            "invalid_token",
        ),
        (
            "refresh by token_type",
            sign(&claims(json!({"token_type": "Refresh"}))),
            "invalid_token",
        ),
        (
            "refresh by typ",
            sign(&claims(json!({"typ": "refresh"}))),
            "invalid_token",
        ),
        (
            "refresh by header",
            sign_with(refresh_header, &claims(json!({})), crate::test_app::RSA_PRIVATE),
            "invalid_token",
        ),
        ("no subject", sign(&claims(json!({"sub": null}))), "invalid_token"),
        (
            "empty subject",
            sign(&claims(json!({"sub": ""}))),
            "invalid_token",
        ),
        (
            "long subject",
            sign(&claims(json!({"sub": "x".repeat(201)}))),
            "invalid_token",
        ),
        (
            "subject with NUL",
            sign(&claims(json!({"sub": "a\u{0}"}))),
            "invalid_token",
        ),
        (
            "another key",
            sign_with(rs256(), &claims(json!({})), OTHER_RSA_PRIVATE),
            "invalid_token",
        ),
        ("unsigned", unsigned, "invalid_token"),
        ("public key as HMAC secret", hmac, "invalid_token"),
        ("tampered", tampered, "invalid_token"),
        ("no token", "nonsense".to_owned(), "invalid_token"),
        ("dots", "..".to_owned(), "invalid_token"),
        ("unknown service token", "clk_nobody".to_owned(), "invalid_token"),
        ("endless", "x".repeat(20_000), "invalid_token"),
    ];
    for (what, token, code) in table {
        let answer = me(&app, &token).await;
        assert_eq!(answer.refusal(), (401, code.to_owned()), "{what}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer error=\"invalid_token\""),
            "{what}"
        );
    }
    assert_eq!(me(&app, &good).await.status, 200);
}

#[tokio::test]
async fn a_service_token_that_is_not_known_is_called_one() {
    let app = TestApp::new().await;
    let message = async |token: &str| {
        let answer = me(&app, token).await;
        assert_eq!(answer.refusal(), (401, "invalid_token".to_owned()));
        let message = answer.json()["message"].as_str().expect("words").to_owned();
        assert!(!message.contains(token), "{message}");
        message
    };
    let mistyped = message("the-bckend-secret").await;
    assert!(
        mistyped.contains("neither an access token")
            && mistyped.contains("nor a service token that is known here"),
        "{mistyped}"
    );
    assert!(
        message("clk_nobody")
            .await
            .contains("service token is not known here")
    );
}

#[tokio::test]
async fn the_header_itself_may_be_wrong() {
    let app = TestApp::new().await;
    let token = app.token("ann", "user");
    let headers = [
        String::new(),
        "Basic YTpi".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        token.clone(),
    ];
    for value in headers {
        let answer = app
            .call_with("", Method::GET, "/api/v1/me", None, &[("authorization", &value)])
            .await;
        assert_eq!(answer.refusal(), (401, "unauthenticated".to_owned()), "{value:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let bearer = format!("Bearer {token}");
    let twice = [
        ("authorization", bearer.as_str()),
        ("authorization", bearer.as_str()),
    ];
    assert_eq!(
        app.call_with("", Method::GET, "/api/v1/me", None, &twice)
            .await
            .status,
        401
    );
    let lower = format!("bearer  {token}");
    assert_eq!(
        app.call_with("", Method::GET, "/api/v1/me", None, &[("authorization", &lower)])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn issuer_and_audience_are_checked_when_configured() {
    let mut options = Options::default();
    options.auth.expected = Expectations {
        issuer: Some("https://id.test".to_owned()),
        audiences: vec!["files".to_owned(), "all".to_owned()],
        ..Expectations::default()
    };
    let app = TestApp::with(options).await;
    let table = [
        (json!({"iss": "https://id.test", "aud": "files"}), 200),
        (json!({"iss": "https://id.test", "aud": ["other", "all"]}), 200),
        (json!({"iss": "https://id.test", "aud": "other"}), 401),
        (json!({"iss": "https://id.test"}), 401),
        (json!({"iss": "https://other.test", "aud": "files"}), 401),
        (json!({"aud": "files"}), 401),
    ];
    for (changes, status) in table {
        assert_eq!(
            me(&app, &sign(&claims(changes.clone()))).await.status,
            status,
            "{changes}"
        );
    }
}

#[tokio::test]
async fn how_far_clocks_may_differ_is_configured() {
    let mut options = Options::default();
    options.auth.expected.leeway = std::time::Duration::from_secs(5);
    let app = TestApp::with(options).await;
    for claim in ["nbf", "iat"] {
        for (ahead, status) in [(5, 200), (6, 401)] {
            let token = sign(&claims(json!({claim: NOW + ahead})));
            assert_eq!(me(&app, &token).await.status, status, "{claim} {ahead}");
        }
    }
    let late = me(&app, &sign(&claims(json!({"exp": NOW})))).await;
    assert_eq!(
        late.refusal(),
        (401, "token_expired".to_owned()),
        "exp has no leeway"
    );
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let app = TestApp::new().await;
    let token = sign(&claims(json!({"exp": NOW + 10})));
    assert_eq!(me(&app, &token).await.status, 200);
    app.clock.advance(SignedDuration::from_secs(9));
    assert_eq!(me(&app, &token).await.status, 200);
    app.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(
        me(&app, &token).await.refusal(),
        (401, "token_expired".to_owned())
    );
}

#[tokio::test]
async fn service_tokens_act_for_owners_within_their_scope() {
    let app = TestApp::new().await;
    let (_, secret) = app
        .service_token(json!({"name": "billing", "collections": ["files"]}))
        .await;
    let caller = me(&app, &secret).await.json();
    assert_eq!(
        caller,
        json!({
            "subject": "billing", "role": "user", "username": "billing", "full_name": null,
            "credential": "service_token", "collections": ["files"],
        })
    );
    let sign = async |body: Value, headers: &[(&str, &str)]| {
        app.call_with(&secret, Method::POST, "/api/v1/uploads", Some(body), headers)
            .await
    };
    let by_header = sign(json!({"filename": "a.txt"}), &[("x-cloakroom-owner", "ann")]).await;
    let by_body = sign(json!({"filename": "b.txt", "owner": "ann"}), &[]).await;
    assert_eq!((by_header.status, by_body.status), (201, 201));
    let anns = app.get("ann", "/api/v1/me/files").await.json();
    let names: Vec<_> = anns["files"]
        .as_array()
        .expect("files")
        .iter()
        .map(|file| file["filename"].clone())
        .collect();
    assert_eq!(names.len(), 2, "{anns}");
    let both = sign(
        json!({"filename": "c.txt", "owner": "bob"}),
        &[("x-cloakroom-owner", "ann")],
    )
    .await;
    assert_eq!(both.refusal(), (422, "invalid_request".to_owned()));
    let elsewhere = sign(json!({"filename": "a.jpg", "collection": "photos"}), &[]).await;
    assert_eq!(elsewhere.refusal(), (403, "insufficient_permissions".to_owned()));
    let seen = app
        .call_with(
            &secret,
            Method::GET,
            "/api/v1/me/files",
            None,
            &[("x-cloakroom-owner", "ann")],
        )
        .await;
    assert_eq!(seen.json()["files"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn only_service_tokens_and_administrators_act_for_others() {
    let app = TestApp::new().await;
    let named = |user: &'static str, owner: &'static str| {
        let (app, role) = (&app, if user == "ada" { "admin" } else { "user" });
        let token = app.token(user, role);
        async move {
            app.call_with(
                &token,
                Method::GET,
                "/api/v1/me/usage",
                None,
                &[("x-cloakroom-owner", owner)],
            )
            .await
        }
    };
    assert_eq!(
        named("ann", "bob").await.refusal(),
        (403, "insufficient_permissions".to_owned())
    );
    assert_eq!(named("ann", "ann").await.status, 200);
    assert_eq!(named("ada", "bob").await.status, 200);
    assert_eq!(
        named("ada", "").await.refusal(),
        (400, "invalid_parameter".to_owned())
    );
    let body = app
        .post("ann", "/api/v1/uploads", json!({"filename": "a", "owner": "bob"}))
        .await;
    assert_eq!(body.refusal(), (403, "insufficient_permissions".to_owned()));
}

#[tokio::test]
async fn a_revoked_service_token_is_refused_within_five_seconds() {
    let app = TestApp::new().await;
    let (id, secret) = app.service_token(json!({"name": "bot"})).await;
    assert_eq!(me(&app, &secret).await.status, 200);
    let revoked = app
        .call(
            "ada",
            Method::DELETE,
            &format!("/api/v1/admin/service-tokens/{id}"),
            None,
        )
        .await;
    assert_eq!(revoked.status, 204);
    app.clock.advance(SignedDuration::from_secs(5));
    assert_eq!(
        me(&app, &secret).await.refusal(),
        (401, "invalid_token".to_owned())
    );
}

#[tokio::test]
async fn a_service_token_ends_at_its_expiry() {
    let app = TestApp::new().await;
    let (_, secret) = app
        .service_token(json!({"name": "bot", "expires_at": "2026-01-02T03:05:05Z"}))
        .await;
    assert_eq!(me(&app, &secret).await.status, 200);
    app.clock.advance(SignedDuration::from_secs(60));
    assert_eq!(
        me(&app, &secret).await.refusal(),
        (401, "token_expired".to_owned())
    );
}
