//! `smoke`.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::support::{Done, Home, Server, text};

#[test]
fn a_fresh_instance_passes_and_leaves_nothing() {
    let home = Home::new();
    home.write("tmp/keep", "");
    // None of this may reach the instance.
    home.write("cloakroom.toml", "nonsense = [");
    let mut command = home.command(&["smoke"]);
    command
        .env("TMPDIR", home.path("tmp"))
        .env("CLOAKROOM_SERVER_LISTEN", "nonsense")
        .env("S3_ACCESS_KEY", "minioadmin");
    let done = Done::of(command.output().expect("started")).expect(0);
    let output = done.text();
    for step in [
        "start",
        "sign",
        "upload by presigned PUT",
        "confirm again",
        "ready",
        "list",
        "search",
        "another user gets 404",
    ] {
        assert!(
            output
                .lines()
                .any(|line| line.starts_with(&format!("[ok]   {step} ")) && line.ends_with(" ms")),
            "{step}: {output}"
        );
    }
    let verdict = output.lines().last().expect("a verdict");
    assert!(
        verdict.starts_with("everything works: ") && verdict.contains(" 0 failed, "),
        "{verdict}"
    );
    assert_eq!(home.names("tmp"), ["keep"]);
    assert_eq!(home.names("."), ["cloakroom.toml", "tmp"]);
}

#[test]
fn an_instance_elsewhere_passes_and_keeps_no_file() {
    let server = Server::start();
    let done = server.run(&["smoke", "--json", "--url", &server.url]).expect(0);
    let lines = done.lines();
    let (verdict, steps) = lines.split_last().expect("lines");
    assert_eq!((text(verdict, "outcome"), &verdict["failed"]), ("ok", &0.into()));
    let skipped: Vec<&str> = steps
        .iter()
        .filter(|step| step["outcome"] == "skipped")
        .map(|step| text(step, "step"))
        .collect();
    assert_eq!(skipped, ["another user gets 404"]);
    assert!(server.run(&["ls", "--json"]).expect(0).lines().is_empty());
}

#[test]
fn a_step_that_fails_says_what_was_expected() {
    let server = Server::start();
    let done = server
        .run(&["smoke", "--url", &server.url, "--collection", "photos"])
        .expect(1);
    assert!(done.text().contains("[fail] sign "), "{}", done.text());
    assert!(
        done.text()
            .contains("expected: a new upload with a presigned PUT"),
        "{}",
        done.text()
    );
    assert!(
        done.text()
            .contains("got:      Content type application/pdf is not allowed"),
        "{}",
        done.text()
    );
    assert!(
        done.text()
            .lines()
            .last()
            .expect("a verdict")
            .starts_with("FAILED: ")
    );
}

#[test]
fn an_interrupt_cleans_up() {
    let home = Home::new();
    home.write("tmp/keep", "");
    let mut child = home
        .command(&["smoke"])
        .env("TMPDIR", home.path("tmp"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"))
        .lines()
        .map_while(Result::ok);
    lines
        .find(|line| line.starts_with("[ok]   start "))
        .expect("it starts");
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(sent.success());
    let rest: Vec<String> = lines.collect();
    let status = child.wait().expect("ended");
    // The run may have been over before the signal came.
    assert!(matches!(status.code(), Some(130 | 0)), "{status}: {rest:?}");
    assert!(
        rest.iter().any(|line| line.starts_with("[ok]   stop ")),
        "{rest:?}"
    );
    assert_eq!(home.names("tmp"), ["keep"]);
}
