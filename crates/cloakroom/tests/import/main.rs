//! `cloakroom import --from-embedded`: an instance with files in every state, moved, interrupted, damaged.

mod embedded;
mod served;

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cloakroom_core::upload::UploadMethod;
use cloakroom_testkit::servers;
use cloakroom_testkit::toxics::{Proxy, Toxic};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::embedded::{Contents, Embedded, fill, object_path};
use self::served::{Done, Server, Target, Variables, command, import, wait_until};

fn variables(pairs: &[(&str, &str)]) -> Variables {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// SQLite and files, in another directory.
fn to_files() -> Target {
    Target {
        variables: variables(&[("CLOAKROOM_DATA_DIR", "new")]),
        arguments: Vec::new(),
    }
}

fn postgres() -> Variables {
    variables(&[
        ("DATABASE_URL", &servers::postgres_url()),
        ("CLOAKROOM_DATABASE_TABLE_PREFIX", &servers::unique_table_prefix()),
    ])
}

/// Another rows' engine, over the same files.
fn to_postgres_alone() -> Target {
    let mut target = to_files();
    target.variables = [postgres(), from_files().variables].concat();
    target
}

/// Files in Ceph, under bucket names that nobody else uses.
fn to_s3_alone() -> Target {
    let s3 = servers::s3();
    let mut target = to_files();
    target.variables.extend(variables(&[
        ("S3_ENDPOINT", &s3.endpoint),
        ("S3_ACCESS_KEY", &s3.access_key),
        ("S3_SECRET_KEY", &s3.secret_key),
        ("S3_REGION", &s3.region),
    ]));
    target.arguments = ["cloakroom", "documents"]
        .iter()
        .flat_map(|bucket| {
            [
                "--bucket".to_owned(),
                format!("{bucket}={}", servers::unique_bucket()),
            ]
        })
        .collect();
    target
}

/// PostgreSQL and Ceph.
fn to_servers() -> Target {
    let mut target = to_s3_alone();
    target.variables.extend(postgres());
    target
}

/// The embedded instance's own configuration.
fn from_files() -> Target {
    Target {
        variables: variables(&[("CLOAKROOM_DATA_DIR", "old")]),
        arguments: Vec::new(),
    }
}

async fn old_instance(ready: usize) -> (TempDir, Contents) {
    let home = tempfile::tempdir().expect("a directory");
    let contents = fill(&home.path().join("old"), ready).await;
    (home, contents)
}

/// Id, what is said, the bytes, the thumbnail.
type Answers = (String, Value, Option<Vec<u8>>, Option<Vec<u8>>);

/// What an instance answers about each of its files, with the bytes of those that have some.
async fn answers(home: &Path, target: &Target) -> Vec<Answers> {
    let server = Server::start(home, &["--no-worker"], &target.variables).await;
    let mut answers = Vec::new();
    for id in server.files().await {
        let said = server.everything_about(&id).await;
        let bytes = server.bytes(&format!("/files/{id}/download")).await;
        let thumbnail = server
            .bytes(&format!("/files/{id}/derivatives/thumbnail-256"))
            .await;
        answers.push((id, said, bytes, thumbnail));
    }
    answers
}

async fn assert_same_answers(home: &Path, target: &Target) {
    let (old, new) = (answers(home, &from_files()).await, answers(home, target).await);
    assert_eq!(old.len(), new.len());
    for (old, new) in old.iter().zip(&new) {
        assert_eq!((&old.0, &old.1), (&new.0, &new.1));
        assert!(old.2 == new.2 && old.3 == new.3, "{}: other bytes", old.0);
    }
    let with = |n: fn(&Answers) -> bool| old.iter().filter(|file| n(file)).count();
    assert!(with(|file| file.2.is_some()) > 20 && with(|file| file.3.is_some()) > 20);
}

/// The confirmed files become ready in the target, and the one whose bytes were exchanged does not.
async fn assert_work_goes_on(home: &Path, contents: &Contents, target: &Target) {
    let server = Server::start(home, &[], &target.variables).await;
    for id in &contents.confirmed {
        let state = async || server.get(&format!("/files/{id}")).await.1["state"].clone();
        wait_until("a confirmed file is ready", async || {
            let now = state().await;
            assert_ne!(now, "failed", "{:?}", server.get(&format!("/files/{id}")).await);
            now == "ready"
        })
        .await;
        assert!(server.bytes(&format!("/files/{id}/download")).await.is_some());
    }
    let exchanged = contents.exchanged.expect("there is one");
    wait_until("the exchanged file fails", async || {
        let (_, file) = server.get(&format!("/files/{exchanged}")).await;
        assert_ne!(file["state"], "ready", "I2");
        file["state"] == "failed"
    })
    .await;
    let assembled = contents.assembled.expect("there is one");
    let (status, answer) = server
        .post(&format!("/uploads/{assembled}/confirm"), &json!({}))
        .await;
    assert!((200..300).contains(&status), "{answer}");
    let trashed = contents.trashed[0];
    let (status, answer) = server
        .post(&format!("/files/{trashed}/restore"), &json!({}))
        .await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        server
            .bytes(&format!("/files/{trashed}/download"))
            .await
            .is_some()
    );
}

fn assert_moved(done: &Done) -> Value {
    let report = done.json();
    assert_eq!(report["outcome"], "moved", "{report:#}");
    assert_eq!(report["damaged"], json!([]));
    assert_eq!(report["objects"]["source"], report["objects"]["target"]);
    for (section, rows) in report["rows"].as_object().expect("rows") {
        if section != "settings" {
            assert_eq!(rows["source"], rows["target"], "{section}");
        }
    }
    report
}

async fn everything_moves(target: &Target, ready: usize) {
    let (home, contents) = old_instance(ready).await;
    let done = import(home.path(), &["--json"], target).expect(0);
    assert_eq!(done.stderr, "", "machines read standard output");
    let report = assert_moved(&done);
    assert_eq!(report["objects"]["sent"], report["objects"]["source"]);
    assert_eq!(report["open_multipart_uploads"], 1);
    assert!(
        report["next"]
            .as_str()
            .is_some_and(|next| next.contains("Start the server"))
    );
    assert_same_answers(home.path(), target).await;
    assert_work_goes_on(home.path(), &contents, target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_other_files() {
    everything_moves(&to_files(), 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_postgresql_and_s3() {
    everything_moves(&to_servers(), 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_to_s3_alone() {
    everything_moves(&to_s3_alone(), 60).await;
}

/// The objects stay where they are, and so do the pins and the uploads in parts.
#[tokio::test(flavor = "multi_thread")]
async fn rows_alone_move_to_postgresql() {
    let (home, contents) = old_instance(60).await;
    let old = answers(home.path(), &from_files()).await;
    let target = to_postgres_alone();
    let report = assert_moved(&import(home.path(), &["--json"], &target).expect(0));
    assert_eq!(report["objects"]["sent"], 0);
    assert_eq!(old, answers(home.path(), &target).await);
    assert_work_goes_on(home.path(), &contents, &target).await;
}

/// Killed again and again, each time some steps later: in the end everything is there, once.
async fn killed_and_resumed(target: &Target, ready: usize) {
    let (home, _contents) = old_instance(ready).await;
    let mut killed = 0;
    let done = loop {
        let mut child = target
            .import(home.path(), &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        // Every tenth of every phase is a line.
        let mut said = BufReader::new(child.stderr.take().expect("piped")).lines();
        let last_words: Vec<_> = said.by_ref().take(2 + 2 * killed).collect();
        if last_words.len() == 2 + 2 * killed {
            child.kill().expect("killed");
        }
        let done = Done::of(child.wait_with_output().expect("ended"));
        if done.code != -1 {
            break done.expect(0);
        }
        killed += 1;
    };
    assert!(killed >= 4, "in objects, and in rows");
    assert!(done.stdout.contains("Everything was moved"), "{done:?}");
    assert!(
        !done.stdout.contains("verified before 0"),
        "it goes on where it stopped: {done:?}"
    );
    assert_same_answers(home.path(), target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_goes_on() {
    killed_and_resumed(&to_files(), 120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_to_postgresql_and_s3_goes_on() {
    killed_and_resumed(&to_servers(), 120).await;
}

fn flip_a_byte(path: &Path) {
    let mut file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("there");
    let mut byte = [0];
    file.read_exact(&mut byte).expect("a byte");
    file.seek(SeekFrom::Start(0)).expect("a place");
    file.write_all(&[byte[0] ^ 1]).expect("written");
}

/// A bit has rotted: named, not moved, and no row before it is mended or left behind on purpose.
async fn damage_is_named(target: &Target) {
    let (home, contents) = old_instance(12).await;
    let old = home.path().join("old");
    let small = contents.final_object.clone().expect("there is one");
    let large = contents.large_object.clone().expect("there is one");
    for damaged in [&small, &large] {
        flip_a_byte(&object_path(&old, damaged));
    }
    let done = import(home.path(), &["--json"], target).expect(1);
    let report = done.json();
    assert_eq!(report["outcome"], "stopped_before_rows", "{report:#}");
    let named = report["damaged"].as_array().expect("a list");
    for damaged in [&small, &large] {
        let one = named
            .iter()
            .find(|one| one["bucket"] == damaged.0 && one["key"] == damaged.1)
            .unwrap_or_else(|| panic!("{damaged:?} is not in {named:?}"));
        assert!(
            one["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("SHA-256")),
            "{one}"
        );
    }
    assert_eq!(named.len(), 2);
    let count = |name: &str| report["objects"][name].as_u64().expect("a number");
    assert_eq!(count("sent") + 2, count("source"));

    let done = import(home.path(), &[], target).expect(1);
    assert!(
        done.stdout.contains(&small.1) && done.stdout.contains("--skip-damaged"),
        "{done:?}"
    );
    assert!(done.stderr.contains(&small.1), "{done:?}");

    for damaged in [&small, &large] {
        flip_a_byte(&object_path(&old, damaged));
    }
    let done = import(home.path(), &["--json"], target).expect(0);
    let report = assert_moved(&done);
    assert_eq!(report["objects"]["sent"], 2, "{report:#}");
    assert_same_answers_of_few(home.path(), target).await;
}

async fn assert_same_answers_of_few(home: &Path, target: &Target) {
    assert_eq!(answers(home, &from_files()).await, answers(home, target).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_is_named_and_moved_when_it_is_mended() {
    damage_is_named(&to_files()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_does_not_reach_s3() {
    damage_is_named(&to_servers()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_can_be_left_behind() {
    let (home, contents) = old_instance(12).await;
    let (old, new) = (home.path().join("old"), home.path().join("new"));
    let lost = contents.final_object.clone().expect("there is one");
    std::fs::remove_file(object_path(&old, &lost)).expect("removed");
    let report = import(home.path(), &["--json"], &to_files()).expect(1).json();
    assert_eq!(report["outcome"], "stopped_before_rows", "{report:#}");
    assert_eq!(report["damaged"][0]["key"], json!(lost.1));

    let elsewhere = import(home.path(), &["--bucket", "cloakroom=x"], &to_files()).expect(1);
    assert!(elsewhere.stderr.contains("other --bucket names"), "{elsewhere:?}");

    // Verified, and gone from the target afterwards: the count at the end finds it out, and the next run mends it.
    let gone = contents.large_object.clone().expect("there is one");
    std::fs::remove_file(object_path(&new, &gone)).expect("removed");
    let leave = ["--json", "--skip-damaged"];
    let report = import(home.path(), &leave, &to_files()).expect(1).json();
    assert_eq!(report["outcome"], "differs", "{report:#}");
    assert_eq!(report["missing_in_target"][0]["key"], json!(gone.1));
    let report = import(home.path(), &leave, &to_files()).expect(1).json();
    assert_eq!(report["outcome"], "moved", "{report:#}");
    assert_eq!(report["missing_in_target"], json!([]));
    assert_eq!(report["objects"]["sent"], 1);
    let report = import(home.path(), &["--json"], &to_files()).expect(0).json();
    assert_eq!(report["outcome"], "done_before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_moves_nothing() {
    let (home, _contents) = old_instance(12).await;
    let done = import(home.path(), &["--dry-run"], &to_files()).expect(0);
    assert!(
        done.stdout.contains("dry run") && done.stdout.contains("files"),
        "{done:?}"
    );
    assert!(!home.path().join("new/objects/cloakroom").exists());
    let report = import(home.path(), &["--dry-run", "--json"], &to_files())
        .expect(0)
        .json();
    assert!(
        report["rows"]["files"]["source"]
            .as_u64()
            .is_some_and(|files| files > 12),
        "{report:#}"
    );
    assert_moved(&import(home.path(), &["--json"], &to_files()).expect(0));
}

/// People without a terminal get a line for every tenth, and a table at the end.
#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_how_far_it_is() {
    let (home, _contents) = old_instance(12).await;
    let done = import(home.path(), &[], &to_files()).expect(0);
    for line in ["objects: 50 % of ", "objects: 100 % of ", "files: 100 % of "] {
        assert!(done.stderr.contains(line), "{line}: {done:?}");
    }
    for text in [
        "EMBEDDED",
        "Everything was moved, and both sides are alike but for what the target has of its own (settings 1; among the \
         settings, that this import is done).",
        "Next: Start the server",
        "1 multipart upload is under way, ",
    ] {
        assert!(done.stdout.contains(text), "{text}: {done:?}");
    }
    let again = import(home.path(), &[], &to_files()).expect(0);
    assert!(again.stdout.contains("there is nothing to do"), "{again:?}");
}

/// Neither a target with files, nor a running source, nor a source that changed in between.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_mix_two_instances_is_refused() {
    let (home, _contents) = old_instance(12).await;
    let refused = |arguments: &[&str], target: &Target, code: i32, what: &str| {
        let done = import(home.path(), arguments, target).expect(code);
        assert!(
            done.stderr.contains(what) && done.stdout.is_empty(),
            "{what}: {done:?}"
        );
    };
    refused(&[], &from_files(), 2, "names");
    let empty = Done::of(
        command(
            home.path(),
            &["import", "--from-embedded", "."],
            &to_files().variables,
        )
        .output()
        .expect("started"),
    );
    assert!(
        empty
            .expect(1)
            .stderr
            .contains("no data directory of an embedded instance")
    );
    assert!(!home.path().join("cloakroom.db").exists(), "nothing is made");
    refused(&["--bucket", "nope=x"], &to_files(), 1, "no bucket nope");
    refused(&["--from-table-prefix", "nope"], &to_files(), 1, "no rows");

    let running = Server::start(home.path(), &["--no-worker"], &from_files().variables).await;
    refused(&[], &to_files(), 1, "in use");
    drop(running);

    let other = Target {
        variables: variables(&[("CLOAKROOM_DATA_DIR", "other")]),
        arguments: Vec::new(),
    };
    fill(&home.path().join("other"), 12).await;
    refused(&[], &other, 1, "another instance");

    assert_moved(&import(home.path(), &["--json"], &to_files()).expect(0));
    let embedded = Embedded::open(&home.path().join("old")).await;
    embedded.upload("later.bin", |_| {}).await;
    drop(embedded);
    refused(&[], &to_files(), 1, "has changed since");
}

/// A bucket name that is taken: objects and rows go into another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_gets_another_name() {
    let (home, contents) = old_instance(12).await;
    let report = import(
        home.path(),
        &["--json", "--bucket", "cloakroom=acme-files"],
        &to_files(),
    )
    .expect(0);
    assert_moved(&report);
    assert!(home.path().join("new/objects/acme-files").is_dir());
    assert!(!home.path().join("new/objects/cloakroom").exists());
    let server = Server::start(home.path(), &["--no-worker"], &to_files().variables).await;
    let id = contents.ready[0];
    assert!(server.bytes(&format!("/files/{id}/download")).await.is_some());
}

/// Parts stay behind; signed again under its key, the upload is the same file and begins anew.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_begins_anew() {
    let (home, contents) = old_instance(12).await;
    assert_moved(&import(home.path(), &["--json"], &to_files()).expect(0));
    let embedded = Embedded::open(&home.path().join("new")).await;
    let id = contents.in_parts.expect("there is one");
    let (file, upload) = (
        embedded
            .app
            .metadata
            .file(id)
            .await
            .expect("file")
            .expect("there"),
        embedded
            .app
            .metadata
            .upload(id)
            .await
            .expect("upload")
            .expect("there"),
    );
    assert_eq!(upload.multipart_id, None);
    let content = vec![b'x'; usize::try_from(file.declared.size_bytes.expect("declared")).expect("small")];
    let signed = embedded
        .sign("in parts.bin", &content, |request| {
            request.method = Some(UploadMethod::Multipart);
            request.idempotency_key = Some(contents.in_parts_key.to_owned());
        })
        .await;
    assert_eq!(signed.file.id, id);
    assert!(signed.upload.multipart_id.is_some());
}

/// Interrupted by a person: it says how to go on.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_says_how_to_go_on() {
    let (home, _contents) = old_instance(60).await;
    let mut target = to_s3_alone();
    let endpoint = target
        .variables
        .iter_mut()
        .find(|(name, _)| name == "S3_ENDPOINT");
    let (_, endpoint) = endpoint.expect("there is one");
    let (store, through) = Proxy::before(endpoint).await;
    *endpoint = through;
    store.set(Toxic::Latency(Duration::from_millis(100)));
    let mut child = target
        .import(home.path(), &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = BufReader::new(child.stderr.take().expect("piped"));
    let mut words = String::new();
    while !words.contains("reading the embedded instance") {
        let read = said.read_line(&mut words).expect("UTF-8");
        assert!(read > 0, "it has begun: {words}");
    }
    // It must not come to its end before the signal comes.
    store.set(Toxic::BlackHole);
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(interrupted.success());
    said.read_to_string(&mut words).expect("UTF-8");
    let done = Done::of(child.wait_with_output().expect("ended"));
    assert_eq!(done.code, 130, "{words}");
    assert!(words.contains("goes on where this one stopped"), "{words}");
    store.set(Toxic::None);
    assert_moved(&import(home.path(), &["--json"], &target).expect(0));
}
