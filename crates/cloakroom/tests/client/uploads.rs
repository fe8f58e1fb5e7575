//! `put`.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::support::{
    Cable, Done, Fault, Home, Liar, Server, Way, noise, run_with_input, sha256, text, wait_until,
};

const MIB: usize = 1024 * 1024;

#[test]
fn a_file_goes_in_with_everything_that_is_said_about_it() {
    let server = Server::start();
    let path = server.home.write("Отчёт за май.csv", "a;b\n1;2\n");
    let put = server.run(&[
        "put",
        "--record",
        "message/1",
        "--metadata",
        "team=blue",
        "--metadata",
        "k=v=w",
        "--description",
        "Сверка",
        "--json",
        "Отчёт за май.csv",
    ]);
    let put = put.expect(0).object();
    assert_eq!(
        (text(&put, "state"), text(&put, "filename")),
        ("ready", "Отчёт за май.csv")
    );
    assert_eq!(
        (text(&put, "content_type"), text(&put, "method")),
        ("text/csv", "put")
    );
    assert_eq!(
        (text(&put, "checksum_sha256"), &put["error"]),
        (sha256(&path).as_str(), &Value::Null)
    );
    let listed = server
        .run(&["ls", "--json", "--record", "message/1", "--q", "сверка"])
        .expect(0)
        .object();
    assert_eq!(listed["metadata"], json!({"team": "blue", "k": "v=w"}));
    assert_eq!(listed["file_id"], put["file_id"]);

    let human = server.run(&[
        "put",
        "--name",
        "other.bin",
        "--content-type",
        "application/octet-stream",
        "Отчёт за май.csv",
    ]);
    let human = human.expect(0);
    let line = human.text().trim_end();
    let [id, rest] = line.splitn(2, "  ").collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    assert_eq!(
        (id.len(), rest),
        (
            36,
            format!("ready  sha256={}  8 B  other.bin", sha256(&path)).as_str()
        )
    );
}

#[test]
fn every_method_brings_the_same_bytes() {
    let server = Server::start();
    let bytes = noise(1, 9 * MIB + 1);
    let path = server.home.write("a.bin", &bytes);
    server.home.write("empty.bin", "");
    for (method, parts) in [("put", 0), ("post", 0), ("multipart", 2)] {
        let put = server
            .run(&["put", "--json", "--method", method, "a.bin", "empty.bin"])
            .expect(0);
        for file in put.lines() {
            assert_eq!((text(&file, "method"), text(&file, "state")), (method, "ready"));
            let name = text(&file, "filename");
            let sent = file["parts_sent"].as_u64().expect("a count");
            assert_eq!(sent, if name == "a.bin" { parts } else { parts.min(1) }, "{name}");
            let got = server.run(&["get", text(&file, "file_id"), "-o", "-"]).expect(0);
            assert_eq!(
                got.stdout,
                if name == "a.bin" { bytes.as_slice() } else { b"" },
                "{method} {name}"
            );
        }
    }
    assert_eq!(sha256(&path).len(), 64);
}

#[test]
fn standard_input_goes_through_the_service() {
    let server = Server::start();
    let bytes = noise(2, 3 * MIB);
    let path = server.home.write("copy", &bytes);
    let put = run_with_input(
        server.command(&["put", "-", "--name", "dump.bin", "--json"]),
        &bytes,
    )
    .expect(0)
    .object();
    assert_eq!(
        (text(&put, "state"), text(&put, "filename"), text(&put, "method")),
        ("ready", "dump.bin", "stream")
    );
    assert_eq!(text(&put, "checksum_sha256"), sha256(&path));
    server.run(&["put", "-"]).expect(2);
}

#[test]
fn the_same_file_again_is_found_and_not_sent() {
    let server = Server::start();
    server.home.write("a.txt", "one");
    let first = server.put("a.txt");
    let again = server.put("a.txt");
    assert_eq!(
        (&again["file_id"], &again["already_there"]),
        (&first["file_id"], &Value::Bool(true))
    );
    let new = server
        .run(&["put", "--json", "--new", "a.txt"])
        .expect(0)
        .object();
    assert_ne!(new["file_id"], first["file_id"]);
    let elsewhere = server
        .run(&["put", "--json", "--collection", "documents", "a.txt"])
        .expect(0)
        .object();
    assert_ne!(elsewhere["file_id"], first["file_id"]);

    server.run(&["rm", text(&first, "file_id")]).expect(0);
    let after_delete = server.put("a.txt");
    assert_eq!(
        (&after_delete["already_there"], text(&after_delete, "state")),
        (&Value::Bool(false), "ready")
    );
    assert_ne!(after_delete["file_id"], first["file_id"]);
    server.home.write("a.txt", "two, another content");
    assert_ne!(server.put("a.txt")["file_id"], after_delete["file_id"]);
}

#[test]
fn an_upload_that_was_cut_goes_on_where_it_stopped() {
    let cable = Cable::new(Way::Up, 40 * MIB as u64, Fault::Cut);
    let server = Server::start_behind(&cable);
    let bytes = noise(3, 70 * MIB + 17);
    let path = server.home.write("large.bin", &bytes);
    let cut = server
        .run(&["put", "--json", "--no-checksum", "large.bin"])
        .expect(4)
        .object();
    assert!(cable.is_broken());
    assert_eq!(
        (text(&cut["error"], "kind"), text(&cut, "method")),
        ("unreachable", "multipart")
    );

    cable.mend();
    let put = server
        .run(&["put", "--json", "--no-checksum", "large.bin"])
        .expect(0)
        .object();
    assert_eq!(put["file_id"], cut["file_id"]);
    let count = |field: &str| put[field].as_u64().expect("a count");
    let (sent, resumed) = (count("parts_sent"), count("parts_resumed"));
    assert_eq!(sent + resumed, 9, "70 MiB and a bit in parts of 8 MiB");
    assert!(
        resumed >= 1 && sent >= 4,
        "40 MiB got through at most: {sent} sent, {resumed} resumed"
    );
    assert_eq!(text(&put, "checksum_sha256"), sha256(&path));
    let got = server
        .run(&["get", text(&put, "file_id"), "-o", "back.bin", "--quiet"])
        .expect(0);
    assert!(got.stderr.is_empty());
    assert!(std::fs::read(server.home.path("back.bin")).expect("there") == bytes);
}

#[test]
fn an_upload_that_was_killed_goes_on_where_it_stopped() {
    let cable = Cable::new(Way::Up, 50 * MIB as u64, Fault::Hold);
    let server = Server::start_behind(&cable);
    let path = server.home.write("large.bin", noise(4, 66 * MIB));
    let arguments = ["put", "--json", "--part-jobs", "2", "large.bin"];
    let mut child = server
        .command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    wait_until("the cable is held", || cable.is_broken());
    child.kill().expect("killed");
    child.wait().expect("ended");
    cable.mend();
    let put = server.run(&arguments).expect(0).object();
    assert!(put["parts_resumed"].as_u64().expect("a count") >= 3, "{put}");
    assert_eq!(text(&put, "checksum_sha256"), sha256(&path));
}

#[test]
fn a_broken_connection_is_retried_within_one_command() {
    let cable = Cable::new(Way::Up, 3 * MIB as u64, Fault::Cut);
    let server = Server::start_behind(&cable);
    let path = server.home.write("a.bin", noise(5, 6 * MIB));
    let child = server
        .command(&["put", "--json", "a.bin"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    wait_until("the cable is cut", || cable.is_broken());
    cable.mend();
    let put = Done::of(child.expect("started").wait_with_output().expect("ended"))
        .expect(0)
        .object();
    assert_eq!(
        (text(&put, "state"), text(&put, "checksum_sha256")),
        ("ready", sha256(&path).as_str())
    );
}

#[test]
fn a_file_that_changes_while_it_is_sent_is_not_stored() {
    for (method, size) in [("put", 6), ("multipart", 20)] {
        let cable = Cable::new(Way::Up, 4 * MIB as u64, Fault::Hold);
        let server = Server::start_behind(&cable);
        let path = server.home.write("a.bin", noise(6, size * MIB));
        let arguments = ["put", "--json", "--no-checksum", "--method", method, "a.bin"];
        let child = server
            .command(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        wait_until("the cable is held", || cable.is_broken());
        std::fs::write(&path, noise(7, size * MIB)).expect("written");
        cable.mend();
        let put = Done::of(child.wait_with_output().expect("ended"))
            .expect(1)
            .object();
        assert!(
            text(&put["error"], "message").contains("a.bin changed while it was being sent"),
            "{put}"
        );
        assert!(
            server
                .run(&["ls", "--json", "--state", "ready,confirmed,processing"])
                .expect(0)
                .lines()
                .is_empty()
        );
    }
}

#[test]
fn many_files_go_in_parallel() {
    let server = Server::start();
    let names: Vec<String> = (0..200).map(|index| format!("in/{index:03}.txt")).collect();
    for (index, name) in names.iter().enumerate() {
        server.home.write(name, format!("file {index}"));
    }
    let arguments: Vec<&str> = ["put", "--json", "--jobs", "16"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let put = server.run(&arguments).expect(0).lines();
    assert_eq!(put.len(), names.len());
    for file in &put {
        assert_eq!(
            (text(file, "state"), text(file, "checksum_sha256")),
            ("ready", sha256(&server.home.path(text(file, "path"))).as_str())
        );
    }
    assert_eq!(
        server.run(&["ls", "--all", "--json"]).expect(0).lines().len(),
        names.len()
    );
    let ids: Vec<&str> = put.iter().map(|file| text(file, "file_id")).collect();
    let get: Vec<&str> = ["get", "--quiet", "--jobs", "16", "-o", "out"]
        .into_iter()
        .chain(ids.iter().copied())
        .collect();
    server.run(&get).expect(0);
    for name in &names {
        let back = server.home.path(&name.replace("in/", "out/"));
        assert_eq!(
            std::fs::read(back).expect("there"),
            std::fs::read(server.home.path(name)).expect("there")
        );
    }
    assert_eq!(
        server.home.names("out").len(),
        names.len(),
        "no partial file is left"
    );
}

#[test]
fn some_that_fail_do_not_stop_the_others() {
    let server = Server::start();
    server.home.write("good.txt", "good");
    server.home.write("bad.pdf", "no PDF at all");
    let put = server
        .run(&["put", "--json", "absent.txt", "good.txt", "bad.pdf"])
        .expect(1);
    let outcome = |name: &str| {
        let found = put.lines().into_iter().find(|line| text(line, "path") == name);
        found.unwrap_or_else(|| panic!("{name} in {put:?}"))
    };
    assert_eq!(text(&outcome("good.txt"), "state"), "ready");
    assert_eq!(text(&outcome("absent.txt")["error"], "kind"), "local_file");
    let bad = outcome("bad.pdf");
    assert_eq!(
        (text(&bad, "state"), text(&bad["error"], "kind")),
        ("failed", "failed")
    );

    let human = server.run(&["put", "absent.txt"]).expect(1);
    assert_eq!(
        human.stderr,
        "cloakroom: absent.txt: No such file or directory (os error 2)\n"
    );
    server.home.write("a.txt", "text");
    let refused = server.run(&["put", "--collection", "photos", "a.txt"]).expect(3);
    assert!(
        refused
            .stderr
            .starts_with("cloakroom: a.txt: Content type text/plain is not allowed"),
        "{}",
        refused.stderr
    );
    assert!(
        refused
            .stderr
            .contains("content_type_not_allowed, HTTP 415, request "),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_signature_that_ran_out_is_renewed() {
    let home = Home::new();
    home.write("a.txt", "hello");
    let puts = AtomicU32::new(0);
    let server = Liar::start(move |head, own| {
        let json = |status: &str| format!("{status}\r\nContent-Type: application/json");
        let id = "0192a3b4-0000-7000-8000-000000000001";
        match () {
            () if head.starts_with("put") && puts.fetch_add(1, Ordering::SeqCst) == 0 => {
                let body = "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
                ("403 Forbidden".to_owned(), body.as_bytes().to_vec())
            }
            () if head.starts_with("put") => ("200 OK".to_owned(), Vec::new()),
            () if head.contains("/confirm ") => {
                let file = json!({
                    "file_id": id, "state": "confirmed", "filename": "a.txt", "content_type": "text/plain",
                    "size_bytes": 5, "checksum_sha256": null, "collection": "files", "owner": "o", "record": null,
                    "error": null, "created_at": "2026-01-01T00:00:00Z", "confirmed_at": "2026-01-01T00:00:00Z",
                });
                (json("200 OK"), file.to_string().into_bytes())
            }
            () => {
                let ticket = json!({
                    "file_id": id, "method": "put", "upload_url": format!("{own}/bucket/key?X-Amz-Signature=5ec2e7"),
                    "headers": {"content-type": "text/plain"}, "expires_at": "2026-01-01T00:00:00Z",
                });
                (json("201 Created"), ticket.to_string().into_bytes())
            }
        }
    });
    let mut command = home.command(&["put", "--json", "--no-wait", "--url", &server.url, "a.txt"]);
    let put = Done::of(command.env("CLOAKROOM_TOKEN", "t").output().expect("started"))
        .expect(0)
        .object();
    assert_eq!((text(&put, "state"), &put["error"]), ("confirmed", &Value::Null));
    let asked = server.asked();
    let key = |head: &str| {
        head.lines()
            .find(|line| line.starts_with("idempotency-key: "))
            .map(str::to_owned)
    };
    let signed: Vec<String> = asked.iter().filter_map(|head| key(head)).collect();
    assert!(signed.len() == 2 && signed[0] == signed[1], "{signed:?}");
}

#[test]
fn parts_whose_urls_are_short_lived_are_signed_as_they_are_needed() {
    let server = Server::start_with("127.0.0.1:0", &[("CLOAKROOM_UPLOADS_EXPIRES", "20s".to_owned())]);
    let path = server.home.write("a.bin", noise(11, 40 * MIB));
    let put = server
        .run(&[
            "put",
            "--json",
            "--method",
            "multipart",
            "--part-jobs",
            "2",
            "a.bin",
        ])
        .expect(0)
        .object();
    assert_eq!(
        (&put["parts_sent"], text(&put, "checksum_sha256")),
        (&json!(5), sha256(&path).as_str())
    );
}
