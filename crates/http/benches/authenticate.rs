//! What it costs to know who asks: a token seen before, a new one, and a whole small request. Prints the median of
//! several rounds in nanoseconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use axum::body::Body;
use cloakroom_http::{AuthSettings, Authenticator, KeySource};
use http::Request;
use serde_json::json;
use tower::ServiceExt;

#[expect(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../tests/api/test_app.rs"]
mod test_app;

use test_app::{RSA_PUBLIC, TestApp, sign};

const ROUNDS: usize = 9;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let app = TestApp::new().await;
        let token = app.token("ann", "user");
        let authenticator = &app.state.authenticator;
        report("authenticate, token seen before", 100_000, async || {
            black_box(
                authenticator
                    .authenticate(&app.app, black_box(&token))
                    .await
                    .is_ok(),
            );
        })
        .await;

        let pem = KeySource::Pem {
            pem: RSA_PUBLIC.to_owned(),
            kid: None,
        };
        let settings = AuthSettings {
            keys: vec![pem],
            ..AuthSettings::default()
        };
        let fresh = Authenticator::new(settings, app.clock.clone()).expect("keys");
        let exp = app.app.now().as_second() + 3600;
        let tokens: Vec<String> = (0..2_000)
            .map(|n| sign(&json!({"sub": format!("u{n}"), "exp": exp})))
            .collect();
        let started = Instant::now();
        for token in &tokens {
            black_box(fresh.authenticate(&app.app, token).await.is_ok());
        }
        show("authenticate, new token (RS256)", started.elapsed(), tokens.len());

        let authorization = format!("Bearer {token}");
        report("GET /api/v1/me through the router", 20_000, async || {
            let request = Request::get("/api/v1/me").header("authorization", &authorization);
            let request = request.body(Body::empty()).expect("a request");
            black_box(app.router.clone().oneshot(request).await.expect("infallible"));
        })
        .await;
    });
}

async fn report(what: &str, calls: usize, call: impl AsyncFn()) {
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..calls {
            call().await;
        }
        rounds.push(started.elapsed());
    }
    rounds.sort_unstable();
    show(what, rounds[ROUNDS / 2], calls);
}

fn show(what: &str, elapsed: Duration, calls: usize) {
    println!("{what}: {} ns", elapsed.as_nanos() / calls as u128);
}
