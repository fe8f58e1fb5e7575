//! `ls`, `status`, `rm`, and how an instance is found.

use serde_json::Value;

use crate::support::{Done, Server, run_with_input, text};

#[test]
fn lists_statuses_and_deletes() {
    let server = Server::start();
    server.home.write("a.txt", "a");
    server.home.write("b.txt", "b");
    let a = server
        .run(&["put", "--json", "--record", "message/1", "a.txt"])
        .expect(0)
        .object();
    let b = server.put("b.txt");
    let (a, b) = (text(&a, "file_id"), text(&b, "file_id"));

    let listed = server.run(&["ls"]).expect(0);
    let lines: Vec<&str> = listed.text().lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[0].ends_with("NAME"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with(b) && lines[1].ends_with("b.txt") && lines[1].contains("ready  1 B"),
        "{}",
        lines[1]
    );
    assert!(lines[2].starts_with(a) && lines.len() == 3);
    let only = |arguments: &[&str]| -> Vec<String> {
        let listed = server.run(&[&["ls", "--json"], arguments].concat()).expect(0);
        listed
            .lines()
            .iter()
            .map(|file| text(file, "filename").to_owned())
            .collect()
    };
    assert_eq!(only(&["--record", "message/1"]), ["a.txt"]);
    assert_eq!(only(&["--collection", "documents"]), [""; 0]);
    assert_eq!(only(&["--q", "b.txt"]), ["b.txt"]);
    assert_eq!(only(&["--limit", "1"]), ["b.txt"]);
    assert!(
        server
            .run(&["ls", "--limit", "1"])
            .expect(0)
            .stderr
            .contains("there are more")
    );
    assert!(
        server
            .run(&["ls", "--long"])
            .expect(0)
            .text()
            .contains("message/1")
    );

    let status = server.run(&["status", "--json", a, b]).expect(0).lines();
    assert!(status.iter().all(|status| text(status, "state") == "ready") && status.len() == 2);
    let watched = server.run(&["status", "--watch", a]).expect(0);
    assert_eq!(watched.text().lines().count(), 1, "settled at once");

    assert_eq!(server.run(&["rm", a]).expect(0).text(), format!("{a}  trashed\n"));
    assert_eq!(only(&[]), ["b.txt"]);
    assert_eq!(only(&["--state", "trashed"]), ["a.txt"]);
    assert_eq!(only(&["-s", "expired,trashed"]), ["a.txt"]);
    let nonsense = server.run(&["ls", "-s", "ready,nonsense"]).expect(2);
    assert!(
        nonsense.stderr.contains("there are: pending, "),
        "{}",
        nonsense.stderr
    );
    let gone = server.run(&["status", "--watch", a]).expect(1);
    assert!(gone.stderr.contains("the file is trashed"), "{}", gone.stderr);
    let refused = server.run(&["get", a, "-o", "trashed"]).expect(3);
    assert!(refused.stderr.contains("file_not_ready"), "{}", refused.stderr);
    assert!(
        server
            .home
            .names(".")
            .iter()
            .all(|name| !name.starts_with("trashed")),
        "nothing is left over"
    );
    server
        .run(&["rm", "0192a3b4-0000-7000-8000-000000000001"])
        .expect(3);
    server
        .run(&["rm", b, "0192a3b4-0000-7000-8000-000000000001"])
        .expect(1);
}

#[test]
fn a_record_goes_with_its_files() {
    let server = Server::start();
    for name in ["a.txt", "b.txt"] {
        server.home.write(name, name);
        server
            .run(&["put", "--quiet", "--record", "message/7", name])
            .expect(0);
    }
    let removed = server
        .run(&["rm", "--record", "message/7", "--json"])
        .expect(0)
        .object();
    assert_eq!(
        removed["record"],
        serde_json::json!({"type": "message", "id": "7"})
    );
    assert!(server.run(&["ls", "--json"]).expect(0).lines().is_empty());
    server.run(&["rm"]).expect(2);
}

#[test]
fn watching_shows_every_change_until_the_end() {
    let server = Server::start();
    server.home.write("bad.pdf", "no PDF at all");
    let put = server
        .run(&["put", "--json", "--no-wait", "bad.pdf"])
        .expect(0)
        .object();
    let watched = server
        .run(&["status", "--watch", "--json", text(&put, "file_id")])
        .expect(1);
    let lines = watched.lines();
    let (verdict, changes) = lines.split_last().expect("lines");
    assert_eq!(text(&verdict["error"], "message"), "the file is failed");
    let last: &Value = changes.last().expect("a change");
    assert_eq!(
        (text(last, "state"), text(&last["error"], "code")),
        ("failed", "content_type_mismatch")
    );
    let versions: Vec<u64> = changes
        .iter()
        .map(|change| change["version"].as_u64().expect("a version"))
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[test]
fn the_instance_is_found_by_flag_environment_profile_and_directory() {
    let server = Server::start();
    let home = &server.home;
    home.write("token", format!("{}\n", server.token));
    let (url, token) = (server.url.as_str(), server.token.as_str());
    // A development instance in this directory, found without a word, and said so.
    let found = home.run(&["ls"]).expect(0);
    assert!(
        found
            .stderr
            .contains(&format!("development instance of ./data at {url}")),
        "{}",
        found.stderr
    );

    // What takes an administrator is done as one.
    for arguments in [
        &["jobs", "list"][..],
        &["stores", "list"],
        &["quarantine", "list"],
    ] {
        let found = home.run(arguments).expect(0);
        let notice = format!("development instance of ./data at {url} as its administrator");
        assert!(found.stderr.contains(&notice), "{}", found.stderr);
    }

    assert!(
        home.run(&["ls", "--url", url, "--token-file", "token"])
            .expect(0)
            .stderr
            .is_empty()
    );
    let visible = home.run(&["ls", "--url", url, "--token", token]).expect(0);
    assert!(visible.stderr.contains("process list"), "{}", visible.stderr);
    let from_stdin = run_with_input(
        home.command(&["ls", "--url", url, "--token", "-"]),
        token.as_bytes(),
    )
    .expect(0);
    assert!(from_stdin.stderr.is_empty());
    home.run(&["ls", "--url", url]).expect(2);

    let profile =
        format!("[default]\nurl = \"http://127.0.0.1:1\"\n[here]\nurl = \"{url}\"\ntoken_file = \"token\"\n");
    home.write(".config/cloakroom/profiles.toml", profile);
    home.write(".config/cloakroom/token", token);
    home.run(&["ls", "--profile", "here"]).expect(0);
    home.run(&["ls", "--profile", "absent"]).expect(2);
    let mut command = home.command(&["ls"]);
    command
        .env("CLOAKROOM_URL", url)
        .env("CLOAKROOM_TOKEN_FILE", "token");
    Done::of(command.output().expect("started")).expect(0);
    let mut command = home.command(&["ls", "--profile", "here"]);
    command.env("XDG_CONFIG_HOME", home.path("elsewhere"));
    Done::of(command.output().expect("started")).expect(2);
}
