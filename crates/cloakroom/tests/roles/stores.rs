//! Stores and their modes as an operator meets them: starts that are refused and put right, nodes that see a change, a second
//! store.

use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Home, Server, Settings, client, settings, shared, until};

const SERVE: &[&str] = &[
    "serve",
    "--dev",
    "--listen",
    "127.0.0.1:0",
    "--s3-listen",
    "127.0.0.1:0",
    "--data-dir",
    "one-data",
];

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Runs `stores reconcile` beside a data directory whose server is stopped.
fn reconcile(home: &Home, arguments: &[&str]) -> (Option<i32>, String) {
    let output = home.run(&[&["stores", "reconcile", "--data-dir", "one-data"], arguments].concat());
    (output.status.code(), said(&output))
}

fn main_store(listed: &Value) -> &Value {
    let stores = listed["stores"].as_array().expect("stores");
    stores.iter().find(|store| store["name"] == "main").expect("main")
}

async fn mode(server: &Server) -> String {
    let listed = server.get("/admin/stores").await;
    main_store(&listed)["mode"].as_str().expect("a mode").to_owned()
}

async fn sign(server: &Server) -> (u16, Value) {
    let wanted = json!({"filename": "a.txt", "content_type": "text/plain", "size_bytes": 1});
    server.send(Method::POST, "/uploads", wanted).await
}

#[tokio::test]
async fn a_start_with_a_disagreement_is_refused_until_it_is_ended() {
    let mut home = Home::new(Settings::new());
    let mut server = home.serve("one", &[]).await;
    assert_eq!(mode(&server).await, "edit");
    server.process.stop();

    home.settings.insert("STORAGE_MODE".to_owned(), "rw".to_owned());
    let (code, words) = home.refused(SERVE);
    assert_eq!(code, 2, "{words}");
    for part in [
        "store main",
        "edit (epoch 1",
        "in the database",
        "mode.json",
        "rw in the configuration (storage.mode)",
        "cloakroom stores reconcile main --take",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
    let (code, words) = reconcile(&home, &[]);
    assert_eq!(code, Some(1), "{words}");
    let (code, words) = reconcile(&home, &["main", "--take", "configuration"]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("main is rw (epoch 2)"), "{words}");
    let mut server = home.serve("one", &[]).await;
    assert_eq!(mode(&server).await, "rw");
    assert_eq!(sign(&server).await.0, 201);
    server.process.stop();

    // What opens is asked about.
    home.settings.insert("STORAGE_MODE".to_owned(), "edit".to_owned());
    let (code, words) = reconcile(&home, &["main", "--take", "configuration"]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("--confirm"), "{words}");
    let (code, words) = reconcile(&home, &["main", "--take", "configuration", "--confirm"]);
    assert_eq!(code, Some(0), "{words}");
}

#[tokio::test]
async fn a_lost_database_does_not_open_an_archive() {
    let mut home = Home::new(settings(&[("STORAGE_MODE", "ar")]));
    let mut server = home.serve("one", &[]).await;
    assert_eq!(sign(&server).await.0, 409);
    server.process.stop();
    let database = home.path().join("one-data/cloakroom.db");
    for name in [
        database.clone(),
        database.with_extension("db-wal"),
        database.with_extension("db-shm"),
    ] {
        let _ = std::fs::remove_file(name);
    }
    home.settings.remove("STORAGE_MODE");
    let server = home.serve("one", &[]).await;
    let listed = server.get("/admin/stores").await;
    assert_eq!(main_store(&listed)["mode"], "ar");
    assert_eq!(main_store(&listed)["configured_mode"], Value::Null);
    assert_eq!(sign(&server).await.0, 409);
}

#[tokio::test]
async fn every_node_sees_a_change_and_one_of_them_ends_it() {
    let mode_rw = settings(&[("STORAGE_MODE", "rw")]);
    let mut home = Home::new(shared().into_iter().chain(mode_rw).collect());
    let one = home.serve("one", &["--no-worker"]).await;
    // What it signs below holds the closing up, and is not used.
    home.settings
        .insert("CLOAKROOM_UPLOADS_EXPIRES".to_owned(), "2s".to_owned());
    let two = home.serve("two", &[]).await;
    until("one leader", async || {
        let mut leaders = 0;
        for server in [&one, &two] {
            let listed = server.get("/admin/stores").await;
            leaders += usize::from(listed["leader"]["is_leader"] == true);
        }
        leaders == 1
    })
    .await;
    let id = one.upload(b"before").await;
    let closing = json!({"mode": "ro"});
    let (status, store) = one.send(Method::PUT, "/admin/stores/main/mode", closing).await;
    assert_eq!((status, &store["mode"]), (200, &json!("rw")), "{store}");
    assert!(store["draining_until"].is_string(), "{store}");
    assert_eq!(sign(&one).await.0, 409, "at once where it was asked for");
    until("the other node sees it", async || sign(&two).await.0 == 409).await;
    until("it is closed", async || {
        mode(&one).await == "ro" && mode(&two).await == "ro"
    })
    .await;
    assert_eq!(two.state(&id).await, "ready", "what was confirmed is verified");
    assert_eq!(two.download(&id).await, b"before");
    let (_, health) = crate::support::get(&format!("{}/health/ready", two.text("api_url"))).await;
    assert!(health.contains("\"mode\":\"ro\""), "{health}");

    // The command line sees and does the same.
    let connection = [
        ("CLOAKROOM_URL", one.text("api_url")),
        ("CLOAKROOM_TOKEN", one.text("admin_token")),
    ];
    let client = Home::new(settings(&connection));
    let listed = said(&client.run(&["stores", "list"]));
    assert!(listed.contains("main") && listed.contains("ro"), "{listed}");
    let refused = client.run(&["stores", "mode", "main", "rw"]);
    assert!(
        !refused.status.success() && said(&refused).contains("confirm"),
        "{}",
        said(&refused)
    );
    let opened = client.run(&["stores", "mode", "main", "rw", "--confirm"]);
    assert!(opened.status.success(), "{}", said(&opened));
    until("the other node sees that too", async || sign(&two).await.0 == 201).await;
}

const ARCHIVE: &str = "\
[stores.archive]
directory = \"cold\"
buckets = [\"cold-files\"]

[collections.papers]
store = \"archive\"
";

#[tokio::test]
async fn two_local_stores_are_behind_one_endpoint() {
    let home = Home::new(Settings::new());
    std::fs::write(home.path().join("cloakroom.toml"), ARCHIVE).expect("written");
    let server = home.serve("one", &[]).await;
    let wanted =
        json!({"collection": "papers", "filename": "a.txt", "content_type": "text/plain", "size_bytes": 4});
    let (status, ticket) = server.send(Method::POST, "/uploads", wanted).await;
    assert_eq!(
        (status, &ticket["bucket_name"]),
        (201, &json!("cold-files")),
        "{ticket}"
    );
    let url = ticket["upload_url"].as_str().expect("a URL");
    let mut sending = client().put(url).body("cold");
    for (name, value) in ticket["headers"].as_object().expect("headers") {
        if !name.eq_ignore_ascii_case("content-length") {
            sending = sending.header(name, value.as_str().expect("text"));
        }
    }
    assert!(sending.send().await.expect("an answer").status().is_success());
    let id = ticket["file_id"].as_str().expect("an id");
    let confirmed = server
        .send(Method::POST, &format!("/uploads/{id}/confirm"), json!({}))
        .await;
    assert_eq!(confirmed.0, 200, "{}", confirmed.1);
    server.until_ready(id).await;
    assert_eq!(server.download(id).await, b"cold");
    let hot = server.upload(b"hot").await;
    server.until_ready(&hot).await;
    assert!(
        home.path().join("cold/cold-files/papers").is_dir(),
        "the bytes are in their own directory"
    );
    assert!(home.path().join("cold/cold-files/_cloakroom/mode.json").is_file());
    let listed = server.get("/admin/stores").await;
    let names: Vec<&Value> = listed["stores"]
        .as_array()
        .expect("stores")
        .iter()
        .map(|store| &store["name"])
        .collect();
    assert_eq!(names, ["archive", "main"]);
}
