//! Exit codes, and what is said when things are wrong.

use crate::support::{Done, Home, Liar, Server, free_address};

const ID: &str = "0192a3b4-0000-7000-8000-000000000001";

#[test]
fn a_wrong_token_is_refused_and_not_repeated() {
    let server = Server::start();
    server.home.write("a.txt", "a");
    for arguments in [
        &["ls"][..],
        &["put", "a.txt"],
        &["get", ID],
        &["status", ID],
        &["status", "--watch", ID],
        &["rm", ID],
    ] {
        let mut command = server.command(arguments);
        command.env("CLOAKROOM_TOKEN", "clk_wr0ng");
        let done = Done::of(command.output().expect("started")).expect(3);
        assert!(
            done.stderr.contains("HTTP 401") && !done.stderr.contains("wr0ng"),
            "{arguments:?}: {}",
            done.stderr
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_told_soon() {
    let home = Home::new();
    home.write("a.txt", "a");
    let closed = free_address();
    for arguments in [
        &["ls"][..],
        &["put", "a.txt"],
        &["get", ID],
        &["status", ID],
        &["rm", ID],
        &["smoke"],
    ] {
        let url = format!("http://{closed}");
        let mut command = home.command(&[arguments, &["--url", &url]].concat());
        let done = Done::of(command.env("CLOAKROOM_TOKEN", "t").output().expect("started")).expect(4);
        assert!(
            done.stderr.contains(&format!("{url}: cannot connect")),
            "{arguments:?}: {}",
            done.stderr
        );
    }
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_tried() {
    let home = Home::new();
    for arguments in [
        &["put"][..],
        &["put", "a", "--record", "nothing"],
        &["get", "../../etc/passwd"],
        &["rm", "not-an-id"],
        &["ls", "--limit", "0"],
        &["ls", "--url", "ftp://h", "--token-file", "/dev/null"],
        &["ls", "--url", "http://u:p@h", "--token-file", "/dev/null"],
        &["ls", "--url", "http://h", "--token-file", "/dev/null"],
        &["ls", "--url", "http://h"],
        &["ls"],
    ] {
        let done = home.run(arguments).expect(2);
        assert!(!done.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_failing_server_is_tried_again_and_then_given_up() {
    let home = Home::new();
    let server = Liar::start(|_, _| {
        (
            "503 Service Unavailable\r\nRetry-After: 0".to_owned(),
            b"<html>busy</html>".to_vec(),
        )
    });
    let mut command = home.command(&["status", "--json", ID, "--url", &server.url]);
    let done = Done::of(command.env("CLOAKROOM_TOKEN", "t").output().expect("started"))
        .expect(4)
        .object();
    assert_eq!(done["error"]["kind"], "unavailable");
    assert_eq!(done["error"]["message"], "Service Unavailable.");
    assert_eq!(server.asked().len(), 6);
}

#[test]
fn a_redirect_is_not_followed_with_the_token() {
    let home = Home::new();
    let elsewhere = Liar::start(|_, _| ("200 OK".to_owned(), Vec::new()));
    let target = elsewhere.url.clone();
    let server =
        Liar::start(move |_, _| (format!("301 Moved Permanently\r\nLocation: {target}"), Vec::new()));
    let mut command = home.command(&["ls", "--url", &server.url]);
    let done = Done::of(command.env("CLOAKROOM_TOKEN", "t").output().expect("started")).expect(3);
    assert!(done.stderr.contains("redirects elsewhere"), "{}", done.stderr);
    assert!(elsewhere.asked().is_empty());
}

#[test]
fn a_rate_limit_is_waited_out() {
    let home = Home::new();
    let count = std::sync::atomic::AtomicU32::new(0);
    let server = Liar::start(move |_, _| {
        if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 8 {
            return ("429 Too Many Requests\r\nRetry-After: 0".to_owned(), Vec::new());
        }
        ("204 No Content".to_owned(), Vec::new())
    });
    let mut command = home.command(&["rm", ID, "--url", &server.url]);
    Done::of(command.env("CLOAKROOM_TOKEN", "t").output().expect("started")).expect(0);
    assert_eq!(server.asked().len(), 9, "more often than failures are retried");
}
