//! Every operation in every mode of the store (design §4): what the matrix says, where a client sees it.

use std::collections::BTreeSet;

use axum::body::Body;
use cloakroom_core::JsonObject;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::file::FileError;
use cloakroom_core::id::AuditId;
use cloakroom_core::job::JobState;
use cloakroom_core::storage::{StorageMode, StoreState};
use cloakroom_service::processing::PROCESSING_FAILED;
use cloakroom_service::stores::{StoreDefinition, StoreRegistry};
use http::{Method, Request};
use jiff::SignedDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::admin::dead_job;
use crate::isolation::operations;
use crate::test_app::{Answer, BUCKET, BUCKET_EVENTS_TOKEN, Options, TestApp};

/// How far the store is open, as a column of the table.
const COLUMNS: [(&str, StorageMode, bool); 5] = [
    ("edit", StorageMode::Edit, false),
    ("rw", StorageMode::Rw, false),
    ("rw, closing", StorageMode::Rw, true),
    ("ro", StorageMode::Ro, false),
    ("ar", StorageMode::Ar, false),
];

/// What an operation needs to be there; the table's paths name its parts in braces.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Needs {
    Nothing,
    /// An upload whose bytes have arrived.
    Open,
    Multipart,
    Ready,
    Trashed,
    /// A file that the scanner holds back.
    Quarantined,
    /// A record with a ready file.
    Record,
    /// A job in the dead-letter list.
    DeadJob,
}

use Needs::{DeadJob, Multipart, Nothing, Open, Quarantined, Ready, Record, Trashed};

/// The refusal of a mode.
const MODE: &str = "409 invalid_storage_mode";
const ARCHIVED: &str = "409 archived_file";

/// What is answered in `edit`, `rw`, while closing, in `ro`, in `ar`.
type Expected = [&'static str; 5];

const fn always(answer: &'static str) -> Expected {
    [answer; 5]
}

/// What takes new things in, or changes them.
const fn while_open(answer: &'static str) -> Expected {
    [answer, answer, MODE, MODE, MODE]
}

/// What uses a ticket that is out.
const fn with_ticket(answer: &'static str) -> Expected {
    [answer, answer, answer, MODE, MODE]
}

const fn in_edit(answer: &'static str) -> Expected {
    [answer, MODE, MODE, MODE, MODE]
}

/// What hands bytes out.
const fn unless_archived(answer: &'static str) -> Expected {
    [answer, answer, answer, answer, ARCHIVED]
}

/// Operation, what it needs, who asks, for what, with what.
type Row = (
    &'static str,
    Needs,
    &'static str,
    &'static str,
    &'static str,
    Expected,
);

/// A row for each operation. One that is missing fails a test, and whoever adds it thinks about modes.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    // Bringing files in.
    ("sign_upload", Nothing, "ann", "/api/v1/uploads",
        r#"{"collection":"files","filename":"a.txt"}"#, while_open("201")),
    ("sign_uploads", Nothing, "ann", "/api/v1/uploads/batch",
        r#"{"atomic":true,"uploads":[{"collection":"files","filename":"a.txt"}]}"#, while_open("200")),
    ("receive_file", Nothing, "ann", "/api/v1/files", "", while_open("201")),
    ("get_upload_parts", Multipart, "ann", "/api/v1/uploads/{file}/parts", "", always("200")),
    ("sign_upload_parts", Multipart, "ann", "/api/v1/uploads/{file}/parts",
        r#"{"part_numbers":[1]}"#, with_ticket("200")),
    ("complete_upload", Multipart, "ann", "/api/v1/uploads/{file}/complete",
        "{}", with_ticket("409 upload_incomplete")),
    ("confirm_upload", Open, "ann", "/api/v1/uploads/{file}/confirm", "", with_ticket("200")),
    // Whoever gives an upload up deletes no file.
    ("abort_upload", Open, "ann", "/api/v1/uploads/{file}", "", always("204")),
    ("receive_bucket_events", Open, "", "/api/v1/bucket-events", "{}", always("400 malformed_body")),
    // Files.
    ("list_files", Ready, "ann", "/api/v1/files", "", always("200")),
    ("get_file", Ready, "ann", "/api/v1/files/{file}", "", always("200")),
    ("get_file_status", Ready, "ann", "/api/v1/files/{file}/status", "", always("200")),
    ("get_file_timeline", Ready, "ann", "/api/v1/files/{file}/timeline", "", always("200")),
    ("update_file", Ready, "ann", "/api/v1/files/{file}", r#"{"description":"new"}"#, while_open("200")),
    ("delete_file", Ready, "ann", "/api/v1/files/{file}", "", in_edit("204")),
    ("restore_file", Trashed, "ann", "/api/v1/files/{file}/restore", "", while_open("200")),
    ("download_file", Ready, "ann", "/api/v1/files/{file}/download", "", unless_archived("200")),
    ("download_derivative", Ready, "ann", "/api/v1/files/{file}/derivatives/x",
        "", unless_archived("404 derivative_not_found")),
    ("sign_variant", Ready, "ann", "/api/v1/files/{file}/variants",
        r#"{"w":320}"#, unless_archived("422 variants_not_offered")),
    // One that is there is handed out as files are, a new one is made while the store takes files in: see `variants`.
    ("get_variant", Ready, "", "/api/v1/variants/{file}?w=320", "", always("403 invalid_signature")),
    // Of a collection that not everybody may read.
    ("get_content", Ready, "", "/api/v1/content/{file}/a.txt", "", always("404 file_not_found")),
    ("hold_file", Ready, "olga", "/api/v1/files/{file}/hold", r#"{"reason":"Case 7."}"#, while_open("200")),
    ("release_file", Ready, "olga", "/api/v1/files/{file}/hold", "", while_open("409 invalid_state")),
    // The jobs that move a file ask again, and wait.
    ("archive_file", Ready, "olga", "/api/v1/files/{file}/archive", "", always("409 invalid_state")),
    ("unarchive_file", Ready, "olga", "/api/v1/files/{file}/unarchive", "", always("202")),
    // Records stand in the store as documents.
    ("put_record", Nothing, "ann", "/api/v1/records/case/{fresh}", r#"{"payload":{"a":1}}"#, while_open("201")),
    ("get_record", Record, "ann", "/api/v1/records/case/{record}", "", always("200")),
    ("list_record_files", Record, "ann", "/api/v1/records/case/{record}/files", "", always("200")),
    ("delete_record", Record, "ann", "/api/v1/records/case/{record}", "", in_edit("204")),
    // What is not about files.
    ("get_me", Nothing, "ann", "/api/v1/me", "", always("200")),
    ("list_my_files", Nothing, "ann", "/api/v1/me/files", "", always("200")),
    ("get_my_usage", Nothing, "ann", "/api/v1/me/usage", "", always("200")),
    ("get_my_offer", Nothing, "ann", "/api/v1/me/offer", "", always("200")),
    // None is in force here; an acceptance is a record.
    ("accept_my_offer", Nothing, "ann", "/api/v1/me/offer", "{}", always("200")),
    ("list_collections", Nothing, "ann", "/api/v1/collections", "", always("200")),
    ("get_collection", Nothing, "ann", "/api/v1/collections/files", "", always("200")),
    ("get_info", Nothing, "", "/", "", always("200")),
    ("get_liveness", Nothing, "", "/health/live", "", always("200")),
    ("get_readiness", Nothing, "", "/health/ready", "", always("200")),
    ("get_metrics", Nothing, "", "/metrics", "", always("200")),
    ("get_openapi", Nothing, "", "/openapi.json", "", always("200")),
    ("get_docs", Nothing, "", "/docs", "", always("200")),
    // Administration.
    ("list_jobs", Nothing, "ada", "/api/v1/admin/jobs", "", always("200")),
    // The job waits then; a file that failed is not taken up again (see below).
    ("retry_job", DeadJob, "ada", "/api/v1/admin/jobs/{job}/retry", "", always("204")),
    ("discard_job", DeadJob, "ada", "/api/v1/admin/jobs/{job}", "", always("204")),
    ("retry_jobs", DeadJob, "ada", "/api/v1/admin/jobs/retry", "{}", always("200")),
    ("discard_jobs", DeadJob, "ada", "/api/v1/admin/jobs/discard", "{}", always("200")),
    ("create_service_token", Nothing, "ada", "/api/v1/admin/service-tokens", r#"{"name":"app"}"#, always("201")),
    ("list_service_tokens", Nothing, "ada", "/api/v1/admin/service-tokens", "", always("200")),
    ("revoke_service_token", Nothing, "ada", "/api/v1/admin/service-tokens/{nobody}", "", always("404 not_found")),
    ("list_stores", Nothing, "ada", "/api/v1/admin/stores", "", always("200")),
    ("get_store", Nothing, "ada", "/api/v1/admin/stores/main", "", always("200")),
    ("change_store_mode", Nothing, "ada", "/api/v1/admin/stores/main/mode",
        r#"{"mode":"edit","confirm":true}"#, always(MODE)),
    // Operations run in workers and wait there for the mode that they need.
    ("start_operation", Nothing, "ada", "/api/v1/admin/operations",
        r#"{"kind":"nothing"}"#, always("422 invalid_request")),
    ("list_operations", Nothing, "ada", "/api/v1/admin/operations", "", always("200")),
    ("get_operation", Nothing, "ada", "/api/v1/admin/operations/{nobody}", "", always("404 not_found")),
    ("cancel_operation", Nothing, "ada", "/api/v1/admin/operations/{nobody}", "", always("404 not_found")),
    ("list_findings", Nothing, "ada", "/api/v1/admin/operations/{nobody}/findings", "", always("404 not_found")),
    ("delete_owner", Nothing, "ada", "/api/v1/admin/owners/%01", "", always("400 invalid_parameter")),
    // Quarantine. Without a scanner nothing is scanned again; the job asks for the mode again.
    ("release_quarantined_file", Quarantined, "ada", "/api/v1/admin/files/{file}/release",
        r#"{"reason":"A false alarm."}"#, while_open("202")),
    ("rescan_file", Quarantined, "ada", "/api/v1/admin/files/{file}/rescan", "", always("409 invalid_state")),
    ("delete_quarantined_file", Quarantined, "ada", "/api/v1/admin/files/{file}", "", in_edit("204")),
    // Garbage is marked in the database, and removed by the purge.
    ("list_garbage", Nothing, "ada", "/api/v1/admin/garbage", "", always("200")),
    ("keep_garbage", Nothing, "ada", "/api/v1/admin/garbage/keep",
        r#"{"bucket":"bucket","key":"x"}"#, always("404 not_found")),
    ("trash_garbage", Nothing, "ada", "/api/v1/admin/garbage/trash",
        r#"{"bucket":"bucket","key":"x"}"#, always("404 not_found")),
    ("list_audit_entries", Nothing, "ada", "/api/v1/admin/audit", "", always("200")),
    ("get_totals", Nothing, "ada", "/api/v1/admin/totals", "", always("200")),
    ("list_wal", Nothing, "ada", "/api/v1/admin/wal", "", always("200")),
];

/// An instance whose store is in `edit` by the database's word.
pub async fn watched() -> TestApp {
    let app = TestApp::with(Options {
        stores: StoreRegistry::new([StoreDefinition::new("main", [BUCKET])]),
        ..Options::default()
    })
    .await;
    let disagreements = app.app.reconcile_stores().await.expect("an answer");
    assert_eq!(disagreements, []);
    app
}

/// Puts the store into a mode, whatever it was before.
pub async fn set_mode(app: &TestApp, mode: StorageMode, closing: bool) {
    let now = app.app.now();
    let before = app.app.stores.state("main").expect("a store");
    let state = StoreState {
        mode,
        epoch: before.epoch + 1,
        draining_until: closing.then(|| now + SignedDuration::from_hours(1)),
        changed_by: "test".to_owned(),
        ..before
    };
    let audit = AuditEntry {
        id: AuditId(Uuid::now_v7()),
        at: now,
        actor: "test".to_owned(),
        action: "store.mode_changed".to_owned(),
        subject: "main".to_owned(),
        data: JsonObject::new(),
    };
    let administration = &app.app.administration;
    administration
        .put_store(&state, Some(before.epoch), &audit)
        .await
        .expect("written");
    app.app.refresh_stores().await.expect("read");
}

struct Fixture {
    file: String,
    record: String,
    job: String,
}

impl Fixture {
    async fn make(app: &TestApp, needs: Needs, turn: usize) -> Self {
        let name = format!("f{turn}.txt");
        let record = format!("r{turn}");
        let nobody = Uuid::nil().to_string();
        let (mut file, mut job) = (nobody.clone(), nobody);
        match needs {
            Needs::Nothing => {}
            Needs::Open => {
                file = app
                    .upload("ann", &name, b"abc", json!({"collection": "files"}))
                    .await;
            }
            Needs::Multipart => {
                let more =
                    json!({"collection": "files", "filename": name, "size_bytes": 10, "method": "multipart"});
                let signed = app.post("ann", "/api/v1/uploads", more).await;
                assert_eq!(signed.status, 201, "{signed:?}");
                signed.json()["file_id"]
                    .as_str()
                    .expect("an id")
                    .clone_into(&mut file);
            }
            Needs::Ready => {
                file = app
                    .ready("ann", &name, b"abc", json!({"collection": "files"}))
                    .await;
            }
            Needs::Trashed => {
                file = app
                    .ready("ann", &name, b"abc", json!({"collection": "files"}))
                    .await;
                let path = format!("/api/v1/files/{file}");
                assert_eq!(app.call("ann", Method::DELETE, &path, None).await.status, 204);
            }
            Needs::Quarantined => {
                file = app
                    .ready("ann", &name, b"abc", json!({"collection": "files"}))
                    .await;
                app.quarantine(&file).await;
            }
            Needs::Record => {
                let link = json!({"type": "case", "id": record});
                let more = json!({"collection": "files", "record": link});
                file = app.ready("ann", &name, b"abc", more).await;
            }
            Needs::DeadJob => {
                // The only one.
                app.work().await;
                (job, file) = dead_job(app, &name).await;
            }
        }
        Self { file, record, job }
    }

    fn path(&self, template: &str, turn: usize) -> String {
        template
            .replace("{file}", &self.file)
            .replace("{record}", &self.record)
            .replace("{job}", &self.job)
            .replace("{fresh}", &format!("fresh{turn}"))
            .replace("{nobody}", &Uuid::nil().to_string())
    }
}

async fn ask(app: &TestApp, operation: &str, method: &str, user: &str, path: &str, body: &str) -> Answer {
    let method: Method = method.parse().expect("a method");
    if operation == "receive_file" {
        let form = "--b\r\nContent-Disposition: form-data; name=\"collection\"\r\n\r\nfiles\r\n\
                    --b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
                    Content-Type: text/plain\r\n\r\nabc\r\n--b--\r\n";
        let request = Request::post(path)
            .header("authorization", format!("Bearer {}", app.token(user, "user")))
            .header("x-request-id", "r-1")
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Body::from(form));
        return app.send(request.expect("a request")).await;
    }
    let body: Option<Value> = (!body.is_empty()).then(|| serde_json::from_str(body).expect("JSON"));
    if user.is_empty() {
        let token = if operation == "receive_bucket_events" {
            BUCKET_EVENTS_TOKEN
        } else {
            ""
        };
        return app.call_with(token, method, path, body, &[]).await;
    }
    app.call(user, method, path, body).await
}

fn shown(answer: &Answer) -> String {
    if answer.status < 400 {
        return answer.status.to_string();
    }
    let (status, code) = answer.refusal();
    format!("{status} {code}")
}

#[tokio::test]
async fn every_operation_answers_in_every_mode_as_the_table_says() {
    let app = watched().await;
    let document = app.get("", "/openapi.json").await.json();
    let mut wrong = Vec::new();
    let mut turn = 0;
    for (method, path) in operations(&app).await {
        let id = &document["paths"][&path][method.to_lowercase()]["operationId"];
        let id = id.as_str().expect("an operationId");
        let Some((_, needs, user, template, body, expected)) = TABLE.iter().find(|row| row.0 == id) else {
            // The other test says so.
            continue;
        };
        for ((column, mode, closing), expected) in COLUMNS.into_iter().zip(expected) {
            turn += 1;
            set_mode(&app, StorageMode::Edit, false).await;
            let fixture = Fixture::make(&app, *needs, turn).await;
            set_mode(&app, mode, closing).await;
            let path = fixture.path(template, turn);
            let answer = ask(&app, id, &method, user, &path, body).await;
            if shown(&answer) != *expected {
                wrong.push(format!("{id} in {column}: {} and not {expected}", shown(&answer)));
            }
            if shown(&answer) == MODE && id != "change_store_mode" {
                let details = answer.problem()["details"].clone();
                assert_eq!(details["store"], "main", "{id}: {details}");
                assert_eq!(details["mode"], mode.as_str(), "{id}: {details}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn every_operation_is_in_the_table() {
    let app = TestApp::new().await;
    let document = app.get("", "/openapi.json").await.json();
    let mut served = BTreeSet::new();
    for (method, path) in operations(&app).await {
        let id = &document["paths"][&path][method.to_lowercase()]["operationId"];
        served.insert(id.as_str().expect("an operationId").to_owned());
    }
    let known: BTreeSet<String> = TABLE.iter().map(|row| row.0.to_owned()).collect();
    let missing: Vec<_> = served.difference(&known).collect();
    assert!(
        missing.is_empty(),
        "say in the table what these answer in each mode: {missing:?}"
    );
    let gone: Vec<_> = known.difference(&served).collect();
    assert!(gone.is_empty(), "there are no such operations: {gone:?}");
}

#[tokio::test]
async fn an_event_of_a_bucket_takes_nothing_into_a_closed_store() {
    let app = watched().await;
    let id = app
        .upload("ann", "a.txt", b"abc", json!({"collection": "scans"}))
        .await;
    let file_id = id.parse().expect("an id");
    let upload = app.app.metadata.upload(file_id).await.expect("an answer");
    let key = upload.expect("an upload").staging_key;
    let event = json!({"Records": [{
        "eventSource": "ceph:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}},
    }]});
    for (mode, expected) in [(StorageMode::Ro, "pending"), (StorageMode::Rw, "confirmed")] {
        set_mode(&app, mode, false).await;
        let path = "/api/v1/bucket-events";
        let answer = app
            .call_with(BUCKET_EVENTS_TOKEN, Method::POST, path, Some(event.clone()), &[])
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let file = app.get("ann", &format!("/api/v1/files/{id}")).await.json();
        assert_eq!(file["state"], expected, "{mode:?}");
    }
}

#[tokio::test]
async fn a_record_with_a_file_in_a_closed_store_stays_whole() {
    let app = TestApp::with(Options {
        stores: StoreRegistry::fixed([
            StoreDefinition::new("main", [BUCKET]),
            StoreDefinition {
                mode: Some(StorageMode::Ro),
                ..StoreDefinition::new("closed", ["closed-bucket"])
            },
        ]),
        ..Options::default()
    })
    .await;
    let link = json!({"collection": "files", "record": {"type": "case", "id": "1"}});
    let first = app.ready("ann", "a.txt", b"abc", link.clone()).await;
    let second = app.ready("ann", "b.txt", b"abc", link).await;
    // The first one has moved to the other store.
    let id = first.parse().expect("an id");
    let file = app
        .app
        .metadata
        .file(id)
        .await
        .expect("an answer")
        .expect("a file");
    let occasion = app.app.occasion("test");
    let mut moved = file.supersede(file.epoch, &occasion).expect("legal");
    moved.file.bucket = "closed-bucket".to_owned();
    app.app.metadata.apply(moved).await.expect("moved");
    let refused = app
        .call("ann", Method::DELETE, "/api/v1/records/case/1", None)
        .await;
    assert_eq!(refused.refusal(), (409, "invalid_storage_mode".to_owned()));
    assert_eq!(refused.problem()["details"]["file_id"], first.as_str());
    for id in [first, second] {
        let file = app.get("ann", &format!("/api/v1/files/{id}")).await.json();
        assert_eq!(file["state"], "ready", "nothing was taken along");
    }
    assert_eq!(app.get("ann", "/api/v1/records/case/1").await.status, 200);
}

#[tokio::test]
async fn a_file_that_failed_is_not_taken_up_again_by_a_closed_store() {
    let app = watched().await;
    let (job, file) = dead_job(&app, "a.txt").await;
    let id = file.parse().expect("an id");
    let dead = app.app.metadata.jobs(Some(JobState::Dead), None, 10).await;
    let dead = dead.expect("an answer").items.remove(0);
    let taken = app
        .app
        .metadata
        .file(id)
        .await
        .expect("an answer")
        .expect("a file");
    let taken = taken.process(&app.app.occasion("test")).expect("legal");
    app.app.metadata.apply(taken).await.expect("taken up");
    // What the runner does with the last attempt, but for its claim.
    let processing = app
        .app
        .metadata
        .file(id)
        .await
        .expect("an answer")
        .expect("a file");
    let error = FileError {
        code: PROCESSING_FAILED.to_owned(),
        message: dead.last_error.expect("a reason"),
    };
    let mut failed = processing.fail(error, &app.app.occasion("test")).expect("legal");
    failed.jobs.clear();
    app.app.metadata.apply(failed).await.expect("failed");
    let path = format!("/api/v1/admin/jobs/{job}/retry");
    set_mode(&app, StorageMode::Ro, false).await;
    let refused = app.call("ada", Method::POST, &path, None).await;
    assert_eq!(refused.refusal(), (409, "invalid_storage_mode".to_owned()));
    set_mode(&app, StorageMode::Rw, false).await;
    assert_eq!(app.call("ada", Method::POST, &path, None).await.status, 204);
}
