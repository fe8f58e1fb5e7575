//! Limits on signing, per user and per address; who is believed about addresses.

use std::net::IpAddr;

use axum::body::Body;
use cloakroom_core::ports::limits::Rate;
use cloakroom_http::client_address::Peer;
use cloakroom_http::{HttpSettings, SignLimits};
use http::{Method, Request};
use jiff::SignedDuration;
use serde_json::json;

use crate::test_app::{Answer, BUCKET_EVENTS_TOKEN, Options, TestApp};

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
async fn parts_are_counted_by_themselves() {
    let limits = SignLimits {
        per_user: Some(per_minute(2)),
        per_address: None,
    };
    let app = app(limits, "192.0.2.1").await;
    let request = json!({"filename": "a.bin", "method": "multipart", "size_bytes": 20_000_000});
    let signed = app.post("ann", SIGN, request).await;
    assert_eq!(signed.status, 201, "{signed:?}");
    let path = format!(
        "{SIGN}/{}/parts",
        signed.json()["file_id"].as_str().expect("an id")
    );
    let parts = || app.post("ann", &path, json!({"part_numbers": [1, 2]}));
    assert_eq!(parts().await.status, 200);
    assert_eq!(parts().await.status, 200);
    let refused = parts().await;
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(
        refused.problem()["message"],
        "At most 2 times are parts signed in 60 s per user; try again in 30 s."
    );
    assert_eq!(
        sign(&app, "ann").await.status,
        201,
        "other uploads are counted apart"
    );
    let read = app.get("ann", &path).await;
    assert_eq!(read.status, 200, "looking is not counted");
}

async fn with_token(app: &TestApp, token: &str) -> Answer {
    app.call_with(token, Method::GET, "/api/v1/me", None, &[]).await
}

#[tokio::test]
async fn nobody_goes_on_guessing_tokens() {
    let mut options = Options::default();
    options.http.bad_tokens_per_address = Some(per_minute(6));
    let mut app = TestApp::with(options).await;
    let plain = app.router.clone();
    let from = |peer: &str| {
        let peer: IpAddr = peer.parse().expect("an address");
        plain.clone().layer(axum::Extension(Peer(peer)))
    };
    app.router = from("2001:db8::1");
    let (known, unknown) = (app.token("ann", "user"), app.token("bob", "user"));
    assert_eq!(with_token(&app, &known).await.status, 200);
    for number in 0..7 {
        // The same network at another address each time; access tokens and service tokens alike.
        app.router = from(&format!("2001:db8::{number}"));
        let guess = format!("{}guess-{number}", ["eyJ.", "clk_"][number % 2]);
        assert_eq!(with_token(&app, &guess).await.status, 401);
    }
    let refused = with_token(&app, "clk_guess").await;
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert_eq!(
        refused.problem()["message"],
        "More than 6 invalid tokens in 60 s came from this address; try again in 10 s."
    );
    assert_eq!(
        refused.problem()["details"],
        json!({"limit": 6, "period_seconds": 60, "scope": "address", "retry_after_seconds": 10})
    );
    assert_eq!(
        with_token(&app, &known).await.status,
        200,
        "who is at work goes on"
    );
    assert_eq!(
        with_token(&app, &unknown).await.status,
        429,
        "nothing else is even looked at"
    );
    assert_eq!(
        with_token(&app, "").await.status,
        401,
        "without a token there is nothing to guess"
    );
    app.router = from("2001:db8:0:1::1");
    assert_eq!(with_token(&app, &unknown).await.status, 200, "from elsewhere");
    app.router = from("2001:db8::1");
    app.clock.advance(SignedDuration::from_secs(10));
    assert_eq!(
        with_token(&app, "clk_guess").await.status,
        401,
        "one more each ten seconds"
    );
    assert_eq!(
        with_token(&app, "clk_guess").await.status,
        401,
        "and the one that goes too far"
    );
    assert_eq!(with_token(&app, "clk_guess").await.status, 429);
}

#[tokio::test]
async fn nobody_goes_on_guessing_the_token_of_bucket_events() {
    let mut options = Options::default();
    options.http.bad_tokens_per_address = Some(per_minute(2));
    let mut app = TestApp::with(options).await;
    let peer: IpAddr = "192.0.2.1".parse().expect("an address");
    app.router = app.router.layer(axum::Extension(Peer(peer)));
    let push = async |token: &str| {
        let body = json!({"Records": []});
        app.call_with(token, Method::POST, "/api/v1/bucket-events", Some(body), &[])
            .await
            .status
    };
    assert_eq!(push("guess").await, 401);
    assert_eq!(push("guess").await, 401);
    assert_eq!(push("guess").await, 401);
    assert_eq!(push("guess").await, 429);
    assert_eq!(
        push(BUCKET_EVENTS_TOKEN).await,
        429,
        "a guess that is right is one, too"
    );
    app.clock.advance(SignedDuration::from_mins(1));
    assert_eq!(push(BUCKET_EVENTS_TOKEN).await, 200);
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
