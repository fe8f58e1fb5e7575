//! Browsers on pages of other origins.

use cloakroom_gateway::CorsPolicy;

use crate::harness::Harness;

const ORIGIN: (&str, &str) = ("origin", "https://app.example.com");

#[tokio::test]
async fn preflights_need_no_signature() {
    let harness = Harness::start().await;
    let ask = |origin: &'static str, method: &'static str| {
        harness.request(
            "OPTIONS",
            "/bucket/k?partNumber=1",
            &[
                ("origin", origin),
                ("access-control-request-method", method),
                ("access-control-request-headers", "content-type, x-amz-meta-a"),
            ],
            b"",
        )
    };
    let answer = harness.send(&ask("https://app.example.com", "PUT")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example.com"
    );
    assert_eq!(
        answer.headers["access-control-allow-methods"],
        "GET, HEAD, PUT, POST, DELETE"
    );
    assert_eq!(
        answer.headers["access-control-allow-headers"],
        "content-type, x-amz-meta-a"
    );
    assert!(answer.headers["vary"].contains("Origin"));

    for (origin, method) in [
        ("https://evil.example", "PUT"),
        ("https://app.example.com", "PATCH"),
        ("null", "GET"),
    ] {
        let answer = harness.send(&ask(origin, method)).await;
        answer.assert_refused(403, "AccessForbidden");
        assert!(
            origin == ORIGIN.1 || !answer.headers.contains_key("access-control-allow-origin"),
            "{origin}"
        );
    }
    harness
        .send(&harness.request("OPTIONS", "/bucket/k", &[], b""))
        .await
        .assert_refused(400, "BadRequest");
}

#[tokio::test]
async fn answers_can_be_read_by_allowed_pages() {
    let harness = Harness::start().await;
    harness
        .signed("PUT", "/bucket/k", &[("x-amz-meta-a", "1")], b"x")
        .await;
    let answer = harness.signed("GET", "/bucket/k", &[ORIGIN], b"").await;
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://app.example.com"
    );
    let exposed = &answer.headers["access-control-expose-headers"];
    for name in ["etag", "x-amz-meta-a", "x-amz-request-id"] {
        assert!(
            exposed.split(", ").any(|given| given == name),
            "{name} in {exposed}"
        );
    }
    let refused = harness.signed("GET", "/bucket/nothing", &[ORIGIN], b"").await;
    assert_eq!(
        refused.headers["access-control-allow-origin"], "https://app.example.com",
        "errors too"
    );
    for headers in [&[][..], &[("origin", "https://evil.example")]] {
        let answer = harness.signed("GET", "/bucket/k", headers, b"").await;
        assert!(
            !answer.headers.contains_key("access-control-allow-origin"),
            "{headers:?}"
        );
        assert!(answer.headers["vary"].contains("Origin"));
    }
}

#[tokio::test]
async fn nothing_is_said_without_a_policy() {
    let harness = Harness::start_with(|options| options.cors = CorsPolicy::default()).await;
    let answer = harness.signed("GET", "/", &[ORIGIN], b"").await;
    assert!(
        !answer
            .headers
            .keys()
            .any(|name| name.starts_with("access-control") || name == "vary")
    );
    let any = Harness::start_with(|options| options.cors = CorsPolicy::any()).await;
    let answer = any
        .signed("GET", "/", &[("origin", "https://anything.example")], b"")
        .await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
}
