//! Every pair of database and store serves.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::{Home, Settings, postgres, s3, until};

/// From the first start to the last byte, with a worker in the same process.
async fn the_main_job(settings: Settings, store_is_s3: bool) {
    let home = Home::new(settings);
    let mut server = home.serve("server", &[]).await;
    let id = server.upload(b"Leave your files, keep the ticket.").await;
    server.until_ready(&id).await;
    assert_eq!(server.download(&id).await, b"Leave your files, keep the ticket.");
    let endpoint = home.settings.get("S3_ENDPOINT").map(String::as_str);
    if store_is_s3 {
        assert_eq!(
            Some(server.text("s3_url")),
            endpoint,
            "clients are sent to the S3 service"
        );
        assert!(
            !home.path().join("server-data/objects").exists(),
            "no objects here"
        );
    }
    server.process.stop();
    // What the first one kept, the next one has.
    let server = home.serve("server", &[]).await;
    assert_eq!(server.state(&id).await, "ready");
}

#[tokio::test]
async fn sqlite_and_local() {
    the_main_job(Settings::new(), false).await;
}

#[tokio::test]
async fn postgres_and_local() {
    the_main_job(postgres(), false).await;
}

#[tokio::test]
async fn sqlite_and_s3() {
    the_main_job(s3(), true).await;
}

#[tokio::test]
async fn postgres_and_s3() {
    the_main_job(postgres().into_iter().chain(s3()).collect(), true).await;
}

#[tokio::test]
async fn with_postgres_and_s3_nothing_is_kept_here() {
    let mut home = Home::new(postgres().into_iter().chain(s3()).collect());
    // A public key is all that a server needs of its own.
    let keys = Home::new(Settings::new());
    drop(keys.serve("keys", &[]).await);
    let public_key = keys.path().join("keys-data/keys/dev-public.pem");
    home.settings.insert(
        "CLOAKROOM_AUTH_PUBLIC_KEY_FILES".to_owned(),
        public_key.to_str().expect("UTF-8").to_owned(),
    );
    // The embedded endpoint would not get its port.
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let mut process = home.start(
        "server",
        &["serve", "--listen", "127.0.0.1:0", "--s3-listen", &taken],
    );
    let ready = process.ready().await;
    assert_eq!(ready["data_dir"], Value::Null);
    assert_eq!(ready["secret_key"], Value::Null, "no secrets outside of --dev");
    assert!(!home.path().join("data").exists());
    let url = format!("{}/health/ready", ready["api_url"].as_str().expect("an address"));
    until("it is healthy", async || crate::support::get(&url).await.0 == 200).await;
    process.stop();
}
