//! The HTTP front alone, on a free or given port, over SQLite and a local store in a temporary directory, with a
//! worker beside it. Prints its address and a token of each role as JSON. For contract tests:
//!
//! ```text
//! cargo run --package cloakroom-http --example serve -- 127.0.0.1:8088
//! ```

use std::io::Write as _;
use std::sync::Arc;

use cloakroom_core::id::WorkerId;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::random::Random;
use cloakroom_testkit::clock::MockClock;
use cloakroom_worker::WorkerOptions;
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

#[expect(dead_code, reason = "shared with the tests, which use the rest")]
#[path = "../tests/api/test_app.rs"]
mod test_app;

use test_app::{Options, TestApp};

struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this program that reads the time"
    )]
    fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }
}

struct SystemRandom;

impl Random for SystemRandom {
    fn uuid_v7(&self, _: Timestamp) -> Uuid {
        Uuid::now_v7()
    }

    fn unit(&self) -> f64 {
        rand::random()
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let random = Arc::new(SystemRandom);
    let test_app = TestApp::assemble(
        Options::default(),
        Arc::new(MockClock::new()),
        Arc::new(SystemClock),
        random,
    )
    .await;
    let listener = tokio::net::TcpListener::bind(address).await?;
    let shown = json!({
        "url": format!("http://{}", listener.local_addr()?),
        "user": test_app.token("ann", "user"),
        "operator": test_app.token("olga", "operator"),
        "admin": test_app.token("ada", "admin"),
    });
    writeln!(std::io::stdout(), "{shown}")?;
    let worker = cloakroom_worker::run(
        Arc::clone(&test_app.app),
        Arc::clone(&test_app.leases),
        WorkerOptions::new(WorkerId("example".to_owned())),
        test_app.draining.clone(),
    );
    tokio::spawn(worker);
    let stop = async {
        // Without signals there is nothing to wait for.
        let _ = tokio::signal::ctrl_c().await;
        test_app.draining.cancel();
    };
    cloakroom_http::serve(listener, test_app.router.clone(), stop).await
}
