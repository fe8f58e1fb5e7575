//! `get`.

use serde_json::json;

use crate::support::{Cable, Done, Fault, Home, Liar, Server, Way, noise, sha256, text};

const MIB: usize = 1024 * 1024;
const ID: &str = "0192a3b4-0000-7000-8000-000000000001";

#[test]
fn a_file_comes_back_under_its_name() {
    let server = Server::start();
    let path = server.home.write("in/Отчёт.pdf", "%PDF-1.4 and so on");
    let id = server.put("in/Отчёт.pdf")["file_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let got = server.run(&["get", "--json", &id]).expect(0).object();
    assert_eq!(
        (text(&got, "path"), text(&got, "checksum_sha256")),
        ("Отчёт.pdf", sha256(&path).as_str())
    );
    assert_eq!(
        std::fs::read(server.home.path("Отчёт.pdf")).expect("there"),
        b"%PDF-1.4 and so on"
    );

    server.home.write("Отчёт.pdf", "mine");
    let refused = server.run(&["get", &id]).expect(1);
    assert!(
        refused.stderr.contains("Отчёт.pdf exists; use --force"),
        "{}",
        refused.stderr
    );
    assert_eq!(
        std::fs::read(server.home.path("Отчёт.pdf")).expect("there"),
        b"mine"
    );
    server.run(&["get", "--force", &id]).expect(0);
    assert_eq!(sha256(&server.home.path("Отчёт.pdf")), sha256(&path));

    server.run(&["get", &id, "-o", "other.pdf"]).expect(0);
    server.run(&["get", &id, "-o", "new/directory/"]).expect(0);
    assert_eq!(server.home.names("new/directory"), ["Отчёт.pdf"]);
    assert_eq!(
        server.run(&["get", &id, "-o", "-"]).expect(0).stdout,
        b"%PDF-1.4 and so on"
    );
    let same_name = server.put("in/../in/Отчёт.pdf");
    assert_eq!(same_name["file_id"], id.as_str(), "the same file by another path");
}

#[test]
fn two_files_of_one_name_do_not_replace_each_other() {
    let server = Server::start();
    server.home.write("a/same.txt", "one");
    server.home.write("b/same.txt", "two");
    let ids = ["a/same.txt", "b/same.txt"]
        .map(|name| server.put(name)["file_id"].as_str().expect("an id").to_owned());
    let got = server
        .run(&["get", "--force", "-o", "out", &ids[0], &ids[1]])
        .expect(1);
    assert!(
        got.stderr.contains("another of these files is named same.txt"),
        "{}",
        got.stderr
    );
    assert_eq!(server.home.names("out"), ["same.txt"]);
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_stopped() {
    let cable = Cable::new(Way::Down, 10 * MIB as u64, Fault::Cut);
    let server = Server::start_behind(&cable);
    let path = server.home.write("in/large.bin", noise(8, 30 * MIB));
    let put = server.put("in/large.bin");
    let id = text(&put, "file_id");
    let cut = server.run(&["get", "--json", id]).expect(4).object();
    assert_eq!(text(&cut["error"], "kind"), "unreachable");
    let there = std::fs::metadata(server.home.path("large.bin.part"))
        .expect("a partial file")
        .len();
    assert!(there > 0 && there <= 10 * MIB as u64, "{there}");
    assert!(!server.home.path("large.bin").exists());

    cable.mend();
    let got = server.run(&["get", "--json", id]).expect(0).object();
    assert_eq!(got["resumed_from_bytes"], there);
    assert_eq!(sha256(&server.home.path("large.bin")), sha256(&path));
    assert!(
        !server.home.names(".").iter().any(|name| name.contains(".part")),
        "nothing is left over"
    );
}

#[test]
fn a_partial_file_of_something_else_is_not_gone_on_with() {
    let server = Server::start();
    let path = server.home.write("in/a.bin", noise(9, MIB));
    let id = server.put("in/a.bin")["file_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let rest = |name: &str, note: serde_json::Value| {
        server.home.write(&format!("{name}.part"), noise(10, 1000));
        server.home.write(&format!("{name}.part.json"), note.to_string());
        let got = server.run(&["get", "--json", &id, "-o", name]).expect(0).object();
        assert_eq!(got["resumed_from_bytes"], 0, "{name}");
        assert_eq!(sha256(&server.home.path(name)), sha256(&path));
    };
    rest("no-note", json!(null));
    rest("other-file", json!({"file_id": ID, "etag": "\"e\""}));
    rest("other-bytes", json!({"file_id": id, "etag": "\"another\""}));
}

#[test]
fn a_partial_file_is_asked_for_by_range_and_etag_and_checked_as_a_whole() {
    let server = Liar::start(|head, own| match () {
        () if head.contains("/bucket/") && head.contains("if-match: \"old\"") => {
            ("412 Precondition Failed".to_owned(), Vec::new())
        }
        () if head.contains("/bucket/") && head.contains("range: bytes=3-\r\n") => {
            assert!(head.contains("if-match: \"e\"\r\n"), "{head}");
            (
                "206 Partial Content\r\nContent-Range: bytes 3-4/5\r\nETag: \"e\"".to_owned(),
                b"lo".to_vec(),
            )
        }
        () if head.contains("/bucket/") => ("200 OK\r\nETag: \"e\"".to_owned(), b"hello".to_vec()),
        () => about(head, own, "a.txt", 5, HELLO),
    });
    for (there, etag, code, resumed) in [
        ("hel", "e", 0, 3),
        ("jel", "e", 1, 3),
        ("jel", "old", 0, 0),
        ("hello", "e", 0, 5),
    ] {
        let home = Home::new();
        home.write("a.txt.part", there);
        home.write(
            "a.txt.part.json",
            json!({"file_id": ID, "etag": format!("\"{etag}\"")}).to_string(),
        );
        let got = get_from(&home, &server.url, &["--json"]).expect(code).object();
        if code == 0 {
            assert_eq!(got["resumed_from_bytes"], resumed, "{there} {etag}");
            assert_eq!(std::fs::read(home.path("a.txt")).expect("there"), b"hello");
        }
        assert!(
            home.names(".").iter().all(|name| !name.contains("part")),
            "{there} {etag}: {:?}",
            home.names(".")
        );
    }
}

/// Answers of the API about one file.
fn about(head: &str, own: &str, name: &str, size: usize, claimed: &str) -> (String, Vec<u8>) {
    let answer = if head.contains("/download ") {
        json!({ "download_url": format!("{own}/bucket/key?X-Amz-Signature=5ec2e7"), "expires_at": "2030-01-01T00:00:00Z" })
    } else {
        json!({
            "file_id": ID, "state": "ready", "filename": name, "content_type": "text/plain", "size_bytes": size,
            "checksum_sha256": claimed, "collection": "files", "owner": "o", "record": null, "error": null,
            "created_at": "2026-01-01T00:00:00Z", "confirmed_at": null,
        })
    };
    (
        "200 OK\r\nContent-Type: application/json".to_owned(),
        answer.to_string().into_bytes(),
    )
}

/// A server that answers for one file: its name, its bytes, and the SHA-256 that it claims.
fn liar(name: &'static str, bytes: &'static [u8], claimed: &'static str) -> Liar {
    Liar::start(move |head, own| match () {
        () if head.contains("/bucket/") => ("200 OK\r\nETag: \"e\"".to_owned(), bytes.to_vec()),
        () => about(head, own, name, bytes.len(), claimed),
    })
}

fn get_from(home: &Home, url: &str, arguments: &[&str]) -> Done {
    let mut command = home.command(&[&["get", ID][..], arguments].concat());
    Done::of(
        command
            .env("CLOAKROOM_URL", url)
            .env("CLOAKROOM_TOKEN", "t")
            .output()
            .expect("started"),
    )
}

/// SHA-256 of `hello`.
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn a_name_from_the_server_cannot_leave_the_directory() {
    let names = [
        "../evil",
        "../../evil",
        "/tmp/cloakroom-evil",
        "sub/evil",
        "..\\evil",
        "..",
        ".profile",
        "a\u{0}/../../evil",
    ];
    for name in names {
        let home = Home::new();
        home.write("work/keep", "");
        let server = liar(name, b"hello", HELLO);
        let mut command = home.command(&["get", ID, "--json"]);
        command
            .current_dir(home.path("work"))
            .env("CLOAKROOM_URL", &server.url)
            .env("CLOAKROOM_TOKEN", "t");
        let got = Done::of(command.output().expect("started")).expect(0).object();
        let path = text(&got, "path");
        assert!(
            !path.contains('/') && !path.starts_with('.'),
            "{name:?} became {path}"
        );
        assert_eq!(home.names("."), ["work"], "{name:?}");
        assert_eq!(home.names("work").len(), 2, "{name:?}");
    }
    assert!(!std::path::Path::new("/tmp/cloakroom-evil").exists());
}

#[test]
fn bytes_that_are_not_the_file_are_thrown_away() {
    let home = Home::new();
    let server = liar("a.txt", b"jello", HELLO);
    let got = get_from(&home, &server.url, &[]).expect(1);
    assert!(got.stderr.contains("they were thrown away"), "{}", got.stderr);
    assert!(home.names(".").is_empty(), "{:?}", home.names("."));
    get_from(&home, &server.url, &["-o", "-"]).expect(1);
    let tokens: Vec<bool> = server
        .asked()
        .iter()
        .filter(|head| head.contains("/bucket/key"))
        .map(|head| head.contains("authorization"))
        .collect();
    assert_eq!(tokens, [false, false], "the object store is not shown the token");
}

#[test]
fn a_presigned_url_is_not_told_when_it_fails() {
    let home = Home::new();
    let server = Liar::start(|head, own| match () {
        () if head.contains("/bucket/") => {
            let refusal =
                "<Code>SignatureDoesNotMatch</Code><Message>No.</Message><StringToSign>5ec2e7</StringToSign>";
            let xml = "403 Forbidden\r\nContent-Type: application/xml".to_owned();
            (xml, format!("<Error>{refusal}</Error>").into_bytes())
        }
        () => about(head, own, "a", 5, HELLO),
    });
    let got = get_from(&home, &server.url, &[]).expect(3);
    assert!(
        got.stderr
            .contains("the object store answers: No. (SignatureDoesNotMatch, HTTP 403)"),
        "{}",
        got.stderr
    );
    assert!(!got.stderr.contains("5ec2e7"), "{}", got.stderr);
}
