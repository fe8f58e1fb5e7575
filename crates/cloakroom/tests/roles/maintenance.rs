//! `verify`, `rebuild`, `orphans` and `purge` as commands, beside servers and without them; operations that a worker runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cloakroom_testkit::toxics::{Proxy, Toxic};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Home, Settings, postgres, s3, shared, until};

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn said(home: &Home, arguments: &[&str]) -> Said {
    let output = home.run(arguments);
    Said {
        code: output.status.code().expect("an exit"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Every file below a directory whose name ends so.
fn find(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(find(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// An embedded instance with two files, that nobody serves any more; and their ids.
async fn embedded() -> (Home, Vec<String>) {
    let home = Home::new(Settings::new());
    let mut server = home.serve("a", &[]).await;
    let mut ids = Vec::new();
    for content in [&b"one"[..], b"another"] {
        let id = server.upload(content).await;
        server.until_ready(&id).await;
        ids.push(id);
    }
    let busy = said(&home, &["verify", "--data-dir", "a-data"]);
    assert_eq!(busy.code, 3, "{}", busy.err);
    let api = server.text("api_url").to_owned();
    for part in ["in use", &format!("cloakroom verify --url {api} ")] {
        assert!(busy.err.contains(part), "{part} in {}", busy.err);
    }
    // As it says.
    std::fs::write(home.path().join("admin.token"), server.text("admin_token")).expect("written");
    let arguments = ["verify", "--deep", "--url", &api, "--token-file", "admin.token"];
    let asked = said(&home, &arguments);
    assert_eq!(asked.code, 0, "{}{}", asked.out, asked.err);
    assert!(
        asked.out.contains("verify: nothing is left to do."),
        "{}",
        asked.out
    );
    std::fs::write(home.path().join("user.token"), server.text("user_token")).expect("written");
    let refused = said(&home, &["verify", "--url", &api, "--token-file", "user.token"]);
    assert!(
        refused.code == 3 && refused.err.contains("admin"),
        "{}",
        refused.err
    );
    server.process.stop();
    (home, ids)
}

#[tokio::test]
async fn drift_is_found_reported_in_every_form_and_repaired() {
    let (home, _) = embedded().await;
    let clean = said(&home, &["verify", "--deep", "--data-dir", "a-data"]);
    assert_eq!(clean.code, 0, "{}{}", clean.out, clean.err);
    assert!(
        clean.out.contains("verify: nothing is left to do."),
        "{}",
        clean.out
    );
    let objects = home.path().join("a-data/objects");
    let sidecar = find(&objects, ".1.attr.json").pop().expect("a sidecar");
    std::fs::remove_file(&sidecar).expect("removed");
    let found = said(&home, &["verify", "--data-dir", "a-data"]);
    assert_eq!(found.code, 1, "{}", found.err);
    for part in ["sidecar_missing", "reported", ".1.attr.json", "1 finding is left"] {
        assert!(found.out.contains(part), "{part} in {}", found.out);
    }
    let machine = said(
        &home,
        &["verify", "--json", "--csv", "found.csv", "--data-dir", "a-data"],
    );
    assert_eq!((machine.code, machine.err.as_str()), (1, ""));
    let lines: Vec<Value> = machine
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2, "{}", machine.out);
    assert_eq!(lines[0]["kind"], "sidecar_missing");
    assert_eq!(
        (&lines[1]["left"], &lines[1]["state"]),
        (&json!(1), &json!("done"))
    );
    let csv = std::fs::read_to_string(home.path().join("found.csv")).expect("a file");
    let mut rows = csv.split("\r\n");
    assert_eq!(
        rows.next(),
        Some("\"kind\",\"action\",\"bucket\",\"key\",\"file_id\",\"detail\"")
    );
    assert!(
        rows.next()
            .is_some_and(|row| row.starts_with("\"sidecar_missing\",\"reported\",\"cloakroom\","))
    );
    let fixed = said(&home, &["verify", "--fix", "--data-dir", "a-data"]);
    assert_eq!(fixed.code, 0, "{}", fixed.err);
    assert!(fixed.out.contains("repaired"), "{}", fixed.out);
    let clean = said(&home, &["verify", "--deep", "--data-dir", "a-data"]);
    assert_eq!(clean.code, 0, "{}", clean.out);
    // What is not ours is told, and is no reason to do anything.
    std::fs::write(objects.join("cloakroom/foreign.bin"), b"x").expect("written");
    let foreign = said(&home, &["verify", "--data-dir", "a-data"]);
    assert!(
        foreign.code == 0 && foreign.out.contains("object_unknown"),
        "{}",
        foreign.out
    );
}

#[tokio::test]
async fn a_lost_database_is_rebuilt() {
    let (home, ids) = embedded().await;
    for file in find(&home.path().join("a-data"), "") {
        if file.to_string_lossy().contains("cloakroom.db") {
            std::fs::remove_file(file).expect("removed");
        }
    }
    let found = said(&home, &["verify", "--data-dir", "a-data"]);
    assert!(
        found.code == 1 && found.out.contains("row_missing"),
        "{}",
        found.out
    );
    let rebuilt = said(&home, &["rebuild", "--data-dir", "a-data"]);
    assert_eq!(rebuilt.code, 0, "{}{}", rebuilt.out, rebuilt.err);
    assert!(rebuilt.out.contains("adopted 2"), "{}", rebuilt.out);
    for command in [
        &["verify", "--deep"][..],
        &["orphans"],
        &["purge", "--dry-run"],
        &["purge"],
    ] {
        let done = said(&home, &[command, &["--data-dir", "a-data"]].concat());
        assert_eq!(done.code, 0, "{command:?}: {}{}", done.out, done.err);
    }
    let server = home.serve("a", &[]).await;
    for (id, content) in ids.iter().zip([&b"one"[..], b"another"]) {
        assert_eq!(server.download(id).await, content);
    }
}

#[test]
fn wrong_usage_is_refused() {
    let home = Home::new(Settings::new());
    for arguments in [
        &["verify", "--resume", "--restart"][..],
        &["verify", "--trash"],
        &["rebuild", "--csv", "nowhere/found.csv"],
    ] {
        assert_eq!(said(&home, arguments).code, 2, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_command_makes_no_instance() {
    let local = (Settings::new(), "data/objects");
    for (place, missing) in [local, (s3(), "data/cloakroom.db")] {
        let home = Home::new(place);
        for arguments in [
            &["verify"][..],
            &["orphans", "--csv", "found.csv"],
            &["purge"],
            &["stores", "reconcile"],
            &["rebuild"],
        ] {
            if arguments == ["rebuild"] && missing == "data/cloakroom.db" {
                continue;
            }
            let (code, words) = home.refused(arguments);
            assert_eq!(code, 2, "{words}");
            let missing = home.path().join(missing);
            for part in [missing.to_str().expect("UTF-8"), "nothing was made", "--data-dir"] {
                assert!(words.contains(part), "{part} in {words}");
            }
            let made = std::fs::read_dir(home.path()).expect("a directory").count();
            assert_eq!(made, 0, "{arguments:?} made something");
        }
    }
    let home = Home::new(Settings::new());
    let mut server = home.serve("a", &[]).await;
    server.process.stop();
    let nothing = said(&home, &["verify", "--resume", "--data-dir", "a-data"]);
    assert!(
        nothing.code == 3 && nothing.err.contains("no verify was interrupted"),
        "{}",
        nothing.err
    );
}

async fn operation(server: &crate::support::Server) -> Value {
    let operations = server.get("/admin/operations").await["operations"].take();
    let operations = operations.as_array().expect("operations").clone();
    assert!(operations.len() < 2, "{operations:?}");
    operations.into_iter().next().unwrap_or_default()
}

// The proxy goes on while a command is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_goes_on() {
    let mut home = Home::new(postgres().into_iter().chain(s3()).collect());
    let (store, through) = Proxy::before(&home.settings["S3_ENDPOINT"]).await;
    home.settings.insert("S3_ENDPOINT".to_owned(), through);
    let mut server = home.serve("a", &[]).await;
    for content in 0..20 {
        let id = server.upload(format!("content {content}").as_bytes()).await;
        server.until_ready(&id).await;
    }
    server.process.stop();
    // It only watches.
    let server = home.serve("b", &["--no-worker"]).await;
    store.set(Toxic::Latency(Duration::from_millis(150)));
    let mut child = home
        .command(&["verify", "--deep"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    until("it runs", async || operation(&server).await["state"] == "running").await;
    // It must not come to its end before the signal comes.
    store.set(Toxic::BlackHole);
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill is there").success());
    store.set(Toxic::Latency(Duration::from_millis(150)));
    assert_eq!(child.wait().expect("waited").code(), Some(130));
    let left = operation(&server).await;
    assert_eq!(
        (&left["state"], &left["lease_owner"]),
        (&json!("running"), &Value::Null)
    );
    store.set(Toxic::None);
    let others = said(&home, &["verify"]);
    assert!(
        others.code == 2 && others.err.contains("--resume"),
        "{}",
        others.err
    );
    let done = said(&home, &["verify", "--deep"]);
    assert_eq!(done.code, 0, "{}{}", done.out, done.err);
    let over = operation(&server).await;
    assert_eq!((&over["id"], &over["state"]), (&left["id"], &json!("done")));
    assert_eq!(over["counts"]["files"], 20);
}

#[tokio::test]
async fn a_worker_runs_what_the_api_is_asked_for() {
    let home = Home::new(shared());
    let server = home.serve("server", &["--no-worker"]).await;
    let _worker = home.worker("worker").await;
    let id = server.upload(b"bytes").await;
    server.until_ready(&id).await;
    let request = json!({"kind": "verify", "options": {"deep": true}});
    let (status, asked) = server.send(Method::POST, "/admin/operations", request).await;
    assert_eq!(status, 202, "{asked}");
    until("it is done", async || operation(&server).await["state"] == "done").await;
    assert_eq!(operation(&server).await["counts"]["files"], 1);
    let totals = server.get("/admin/totals").await;
    assert_eq!(totals, json!({"total_files": 1, "total_size_bytes": 5}));
}
