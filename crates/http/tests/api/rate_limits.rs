//! Limits on signing, per user and per address; who is believed about addresses.

use std::net::IpAddr;

use axum::body::Body;
use cloakroom_core::ports::limits::Rate;
use cloakroom_http::client_address::Peer;
use cloakroom_http::{HttpSettings, SignLimits};
use http::{Method, Request};
use jiff::SignedDuration;
use serde_json::json;

use crate::test_app::{Answer, Options, TestApp};

const SIGN: &str = "/api/v1/uploads";
const BATCH: &str = "/api/v1/uploads/batch";

fn per_minute(count: u32) -> Rate {
    Rate {
        count,
        period: SignedDuration::from_mins(1),
    }
}

async fn app(limits: SignLimits, peer: &str) -> TestApp {
    let mut options = Options::default();
    options.http = HttpSettings {
        sign_limits: limits,
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a network")],
        ..options.http
    };
    let mut app = TestApp::with(options).await;
    let peer: IpAddr = peer.parse().expect("an address");
    app.router = app.router.layer(axum::Extension(Peer(peer)));
    app
}

async fn sign(app: &TestApp, user: &str) -> Answer {
    app.post(user, SIGN, json!({"filename": "a.txt"})).await
}

async fn sign_from(app: &TestApp, user: &str, forwarded: &str) -> u16 {
    let token = app.token(user, "user");
    let headers = [("x-forwarded-for", forwarded)];
    let body = json!({"filename": "a.txt"});
    app.call_with(&token, Method::POST, SIGN, Some(body), &headers)
        .await
        .status
}

async fn stream_file(app: &TestApp) -> Answer {
    let body =
        "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nabc\r\n--x--\r\n";
    let request = Request::post("/api/v1/files")
        .header("authorization", format!("Bearer {}", app.token("ann", "user")))
        .header("content-type", "multipart/form-data; boundary=x")
        .header("x-request-id", "r-1");
    app.send(request.body(Body::from(body)).expect("a request")).await
}

#[tokio::test]
async fn a_user_signs_so_often_and_is_told_when_again() {
    let limits = SignLimits {
        per_user: Some(per_minute(10)),
        per_address: None,
    };
    let app = app(limits, "192.0.2.1").await;
    for _ in 0..10 {
        assert_eq!(sign(&app, "ann").await.status, 201);
    }
    let refused = sign(&app, "ann").await;
    assert_eq!(refused.header("retry-after"), Some("6"));
    let body = refused.problem();
    assert_eq!(
        body["message"],
        "At most 10 uploads are signed in 60 s per user; try again in 6 s."
    );
    assert_eq!(
        body["details"],
        json!({"limit": 10, "period_seconds": 60, "scope": "user", "retry_after_seconds": 6})
    );
    assert_eq!(sign(&app, "bob").await.status, 201, "another user");
    app.clock.advance(SignedDuration::from_secs(6));
    assert_eq!(sign(&app, "ann").await.status, 201);
    assert_eq!(sign(&app, "ann").await.status, 429);
    assert_eq!(
        app.get("ann", "/api/v1/files").await.status,
        200,
        "only signing is limited"
    );
}

#[tokio::test]
async fn every_way_to_sign_counts() {
    let limits = SignLimits {
        per_user: Some(per_minute(10)),
        per_address: None,
    };
    let app = app(limits, "192.0.2.1").await;
    let uploads: Vec<_> = (0..9).map(|_| json!({"filename": "a.txt"})).collect();
    assert_eq!(
        app.post("ann", BATCH, json!({"uploads": uploads})).await.status,
        200
    );
    let streamed = stream_file(&app).await;
    assert_eq!(streamed.status, 201, "{streamed:?}");
    for answer in [
        sign(&app, "ann").await,
        app.post("ann", BATCH, json!({"uploads": [{"filename": "a.txt"}]}))
            .await,
        stream_file(&app).await,
    ] {
        assert_eq!(answer.refusal(), (429, "rate_limited".to_owned()));
    }
    // Repeating a request with its key is a request, too.
    let again = app
        .call_with(
            &app.token("ann", "user"),
            Method::POST,
            SIGN,
            Some(json!({"filename": "a.txt"})),
            &[("idempotency-key", "k")],
        )
        .await;
    assert_eq!(again.status, 429);
}

#[tokio::test]
async fn users_of_one_address_share_its_limit() {
    let limits = SignLimits {
        per_user: None,
        per_address: Some(per_minute(3)),
    };
    let app = app(limits, "2001:db8::1").await;
    for user in ["ann", "bob", "cid"] {
        assert_eq!(sign(&app, user).await.status, 201);
    }
    assert_eq!(sign(&app, "dan").await.problem()["details"]["scope"], "address");
    assert_eq!(sign(&app, "ada").await.status, 201, "an administrator");
}

#[tokio::test]
async fn a_stranger_cannot_pretend_to_come_from_elsewhere() {
    let limits = SignLimits {
        per_user: None,
        per_address: Some(per_minute(1)),
    };
    let direct = app(limits, "192.0.2.1").await;
    assert_eq!(sign_from(&direct, "ann", "198.51.100.1").await, 201);
    assert_eq!(sign_from(&direct, "ann", "198.51.100.2").await, 429);
    let proxied = app(limits, "10.0.0.7").await;
    assert_eq!(sign_from(&proxied, "ann", "198.51.100.1").await, 201);
    assert_eq!(
        sign_from(&proxied, "ann", "198.51.100.2").await,
        201,
        "another client of our proxy"
    );
    assert_eq!(sign_from(&proxied, "ann", "203.0.113.9, 198.51.100.2").await, 429);
}

#[tokio::test]
async fn applications_are_not_counted() {
    let limits = SignLimits {
        per_user: Some(per_minute(1)),
        per_address: Some(per_minute(1)),
    };
    let app = app(limits, "192.0.2.1").await;
    let made = app
        .post(
            "ada",
            "/api/v1/admin/service-tokens",
            json!({"name": "shop", "role": "user"}),
        )
        .await;
    let token = made.json()["secret"].as_str().expect("a secret").to_owned();
    for _ in 0..5 {
        let headers = [("x-cloakroom-owner", "ann")];
        let body = json!({"filename": "a.txt"});
        let answer = app
            .call_with(&token, Method::POST, SIGN, Some(body), &headers)
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}
