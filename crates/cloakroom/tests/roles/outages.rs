//! What starts beside us is waited for; what goes away while we run is named.

use cloakroom_testkit::toxics::{Proxy, Toxic};
use serde_json::Value;

use crate::support::{Home, get, shared, until};

#[tokio::test]
async fn a_database_and_a_store_that_come_later_are_waited_for() {
    let mut home = Home::new(shared());
    let (database, through) = Proxy::before(&home.settings["DATABASE_URL"]).await;
    home.settings.insert("DATABASE_URL".to_owned(), through);
    let (store, through) = Proxy::before(&home.settings["S3_ENDPOINT"]).await;
    home.settings.insert("S3_ENDPOINT".to_owned(), through);
    database.set(Toxic::Refuse);
    store.set(Toxic::Refuse);
    let mut worker = home.start("worker", &["worker", "--listen", "127.0.0.1:0"]);
    let waits_for = |worker: &crate::support::Process, what: &str| {
        let log = worker.log();
        log.lines()
            .any(|line| line.contains("dependency_not_ready") && line.contains(what))
    };
    until("it waits for the database", async || {
        waits_for(&worker, "PostgreSQL at")
    })
    .await;
    assert!(!worker.is_ready());
    database.set(Toxic::None);
    until("it waits for the store", async || waits_for(&worker, "S3 at")).await;
    store.set(Toxic::None);
    worker.ready().await;
    worker.stop();
}

#[tokio::test]
async fn a_signal_ends_the_waiting() {
    let mut home = Home::new(shared());
    let (database, through) = Proxy::before(&home.settings["DATABASE_URL"]).await;
    home.settings.insert("DATABASE_URL".to_owned(), through);
    database.set(Toxic::Refuse);
    let mut worker = home.start("worker", &["worker", "--listen", "off"]);
    until("it waits", async || worker.log().contains("dependency_not_ready")).await;
    worker.stop();
}

#[tokio::test]
async fn health_names_what_does_not_answer() {
    let mut home = Home::new(shared());
    let (database, through) = Proxy::before(&home.settings["DATABASE_URL"]).await;
    home.settings.insert("DATABASE_URL".to_owned(), through);
    let (store, through) = Proxy::before(&home.settings["S3_ENDPOINT"]).await;
    home.settings.insert("S3_ENDPOINT".to_owned(), through);
    let server = home.serve("server", &["--no-worker"]).await;
    let worker = home.worker("worker").await;
    let urls = [server.text("api_url"), &worker.url].map(|url| format!("{url}/health/ready"));
    for (cable, name) in [(&database, "database"), (&store, "store")] {
        cable.set(Toxic::Reset);
        for url in &urls {
            until("it is named", async || {
                let (status, body) = get(url).await;
                let body: Value = serde_json::from_str(&body).unwrap_or_default();
                status == 503 && body["details"]["failing"] == Value::from(vec![name])
            })
            .await;
        }
        cable.set(Toxic::None);
        for url in &urls {
            until("it is back", async || get(url).await.0 == 200).await;
        }
    }
}
