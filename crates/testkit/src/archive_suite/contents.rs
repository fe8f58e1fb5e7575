//! A store with something of everything in it.

use std::sync::Arc;

use cloakroom_core::access::Role;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileError, FileState, Hold};
use cloakroom_core::garbage::{Garbage, GarbageState};
use cloakroom_core::id::{FileId, ServiceTokenId};
use cloakroom_core::intent::{IntentKind, IntentStatus};
use cloakroom_core::job::{JobKind, JobOutcome};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{MetadataStore, ServiceToken};
use cloakroom_core::ports::random::Random as _;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::{StorageMode, StoreState};
use cloakroom_core::transition::UsageDelta;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::ArchivedStore;
use crate::clock::MockClock;
use crate::fixtures::{
    object, record_key, sample_audit, sample_derivative, sample_garbage, sample_intent, sample_record,
};
use crate::metadata_store_suite::stage::Stage;
use crate::metadata_store_suite::transitions::TRASH;

/// The names of what was put in; reads of the port ask for them one by one.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Files, purged ones included.
    pub files: Vec<FileId>,
    /// Owners of files.
    pub owners: Vec<String>,
    /// Records.
    pub records: Vec<RecordKey>,
    /// Digests of the secrets of service tokens.
    pub secrets: Vec<[u8; 32]>,
    /// Settings.
    pub settings: Vec<String>,
}

/// When everything happened.
pub(super) fn start() -> Timestamp {
    MockClock::new().now()
}

/// Fills an empty store: records, files in every state with uploads and derivatives, one on legal hold, a purged file,
/// usage, intents, jobs (none running), service tokens, settings, garbage (kept or not), stores and an audit log.
pub async fn fill(store: Arc<dyn ArchivedStore>) -> Contents {
    let stage = Stage::new(Arc::clone(&store) as Arc<dyn MetadataStore>);
    let mut contents = Contents {
        owners: ["ann", "bob", "O'Brien \"Ω\"", ""].map(str::to_owned).into(),
        ..Contents::default()
    };
    records(&stage, &mut contents).await;
    open_files(&stage, &mut contents).await;
    settled_files(&stage, &mut contents).await;
    leaving_files(&stage, &mut contents).await;
    jobs(&stage).await;
    intents(&stage, &contents).await;
    tokens_and_settings(&stage, &mut contents).await;
    administration(&stage, &*store).await;
    contents
}

async fn records(stage: &Stage, contents: &mut Contents) {
    for (key, owner, parent) in [
        ("message/1", "ann", None),
        ("message/жалоба \"2\"", "bob", Some("message/1")),
        ("complaint/1", "ann", Some("message/1")),
    ] {
        let record = Record {
            parent: parent.map(record_key),
            version: 3,
            ..sample_record(key, owner, stage.pass(1))
        };
        stage.store.put_record(&record, None).await.expect("put_record");
        contents.records.push(record.key);
    }
}

/// A file of one of the owners, linked or not, with metadata and text of its own.
fn file(stage: &Stage, contents: &mut Contents, n: usize) -> cloakroom_core::ports::metadata::NewFile {
    stage.pass(1);
    let owner = contents.owners[n % contents.owners.len()].clone();
    let new = stage.new_file_with(|file| {
        file.owner.clone_from(&owner);
        file.filename = format!("Отчёт {n} 'x'.pdf");
        file.description = (n.is_multiple_of(2)).then(|| format!("Naïve figures, part {n}"));
        file.created_by_full_name = (!n.is_multiple_of(3)).then(|| "Ann Ω".to_owned());
        file.metadata =
            object(json!({ "n": n, "parity": n % 2, "deep": { "a": [1, 2] }, "text": "it's \"é\"" }));
        file.declared.size_bytes = (n % 4 != 3).then_some(1000 + n as u64);
        file.declared.sha256 = file.declared.sha256.filter(|_| n.is_multiple_of(2));
        file.record = match owner.as_str() {
            "ann" => Some(record_key("message/1")),
            "bob" => Some(record_key("message/жалоба \"2\"")),
            _ => None,
        };
    });
    contents.files.push(new.file.id);
    new
}

async fn open_files(stage: &Stage, contents: &mut Contents) {
    for n in 0..8 {
        let mut new = file(stage, contents, n);
        new.upload.multipart_id = (n.is_multiple_of(2)).then(|| format!("multipart-{n}"));
        new.upload.part_size_bytes = (n.is_multiple_of(2)).then_some(8 << 20);
        new.upload.request_digest = new.upload.request_digest.filter(|_| n.is_multiple_of(3));
        let (file, _) = stage.insert(new).await;
        let step = match n {
            5 => file.uploading(&stage.occasion()),
            6 | 7 => file.uploaded(&stage.occasion()),
            _ => None,
        };
        if let Some(step) = step {
            stage.apply(step).await;
        }
    }
}

async fn settled_files(stage: &Stage, contents: &mut Contents) {
    for n in 10..22 {
        let new = file(stage, contents, n);
        let (file, upload) = stage.insert(new).await;
        let file = stage.confirm(&file, &upload).await;
        if n.is_multiple_of(6) {
            continue;
        }
        let file = stage.process(&file).await;
        let error = FileError {
            code: "checksum_mismatch".to_owned(),
            message: "The bytes differ: \"é\"".to_owned(),
        };
        match n % 6 {
            1 => {}
            2 => {
                stage
                    .apply(file.fail(error, &stage.occasion()).expect("processing"))
                    .await;
            }
            3 => {
                let held = moved(stage, &file, FileState::Quarantined, EventKind::Quarantined).await;
                assert_eq!(held.state, FileState::Quarantined);
            }
            _ => {
                let file = with_derivatives(stage, &file).await;
                if n == 16 {
                    held(stage, &file).await;
                }
                if n == 17 {
                    moved(stage, &file, FileState::Archived, EventKind::Archived).await;
                }
            }
        }
    }
}

/// A change for which there is no rule of its own yet, as an adapter keeps it all the same.
async fn moved(stage: &Stage, file: &File, state: FileState, kind: EventKind) -> File {
    let mut next = file.clone();
    next.state = state;
    next.version += 1;
    next.updated_at = stage.now();
    let event = stage.occasion().event(&next, kind);
    stage
        .apply(cloakroom_core::transition::Transition::new(
            file.version,
            next,
            event,
        ))
        .await
}

/// On legal hold, after it came back from an archive.
async fn held(stage: &Stage, file: &File) {
    let mut next = file.clone();
    next.version += 1;
    next.unarchived_at = Some(stage.now());
    next.hold = Some(Hold {
        by: "ada \"é\"".to_owned(),
        at: stage.now(),
        reason: "Дело 7".to_owned(),
    });
    let event = stage.occasion().event(&next, EventKind::Updated);
    let transition = cloakroom_core::transition::Transition::new(file.version, next, event);
    stage.apply(transition).await;
}

async fn with_derivatives(stage: &Stage, file: &File) -> File {
    let mut ready = stage.readiness(file);
    ready.file.facts = object(json!({ "pages": 7, "title": "Ω" }));
    ready.derivatives = vec![
        sample_derivative(file, "thumbnail"),
        Derivative {
            outcome: DerivativeOutcome::Failed {
                error: "no page".to_owned(),
            },
            ..sample_derivative(file, "preview")
        },
    ];
    stage.apply(ready).await
}

/// Expired, reaping, trashed, purging and purged ones.
async fn leaving_files(stage: &Stage, contents: &mut Contents) {
    for n in 30..32 {
        let (open, upload) = stage.insert(file(stage, contents, n)).await;
        let reaping = open
            .reap(&upload, "upload_expired", &stage.occasion())
            .expect("an open upload");
        let reaping = stage.apply(reaping).await;
        if n == 31 {
            stage
                .apply(reaping.reaped(&stage.occasion()).expect("reaping"))
                .await;
        }
    }
    for n in 32..36 {
        let new = file(stage, contents, n);
        let ready = stage.ready(new).await;
        let trashed = ready.trash(TRASH, &stage.occasion()).expect("ready");
        let trashed = stage.apply(trashed).await;
        if n < 34 {
            continue;
        }
        let purging = stage
            .apply(trashed.purge(&stage.occasion()).expect("trashed"))
            .await;
        if n == 35 {
            let mut event = stage.occasion().event(&purging, EventKind::Purged);
            event.version += 1;
            stage
                .store
                .forget(&purging, event, None, None)
                .await
                .expect("forget");
        }
    }
}

async fn jobs(stage: &Stage) {
    let mut later = stage.new_job(JobKind::ReapUpload, FileId(stage.random.uuid_v7(stage.now())));
    later.run_at = stage.now() + SignedDuration::from_hours(5);
    assert!(stage.store.enqueue(&later).await.expect("enqueue"));
    for (n, job) in stage.claim("worker-1", 5).await.into_iter().enumerate() {
        let outcome = if n.is_multiple_of(2) {
            JobOutcome::Dead {
                error: "refused: \"é\"".to_owned(),
            }
        } else {
            JobOutcome::Retry {
                run_at: stage.now() + SignedDuration::from_mins(3),
                error: "not now".to_owned(),
            }
        };
        stage
            .store
            .finish(job.lease(), &outcome, stage.now())
            .await
            .expect("finish");
    }
}

async fn intents(stage: &Stage, contents: &Contents) {
    for (n, status) in IntentStatus::ALL.iter().enumerate() {
        let file = stage.file(contents.files[n]).await;
        let mut intent = sample_intent(&file, &stage.random, stage.pass(1));
        if n % 2 == 1 {
            // About no single file.
            (intent.file_id, intent.kind) = (None, IntentKind::ModeChange);
        }
        stage.store.begin_intent(&intent).await.expect("begin_intent");
        if *status != IntentStatus::Pending {
            let error = (*status == IntentStatus::Failed).then_some("no luck");
            stage
                .store
                .end_intent(intent.id, *status, error, stage.now())
                .await
                .expect("end_intent");
        }
    }
}

/// Garbage of which some is kept, stores in several modes, and what the log says of them.
async fn administration(stage: &Stage, store: &dyn ArchivedStore) {
    let now = stage.pass(1);
    let mut found = Vec::new();
    for (n, key) in ["a", "a/b \"é\"", "z", "жалоба"].into_iter().enumerate() {
        for upload_id in ["", "upload-1"] {
            found.push(Garbage {
                state: GarbageState::ALL[n % 2],
                upload_id: upload_id.to_owned(),
                ..sample_garbage("files", key, now)
            });
        }
    }
    assert_eq!(store.put_garbage(&found).await.expect("put_garbage"), 8);
    for (name, mode, draining) in [
        ("main", StorageMode::Edit, false),
        ("closing", StorageMode::Ro, true),
        ("архив", StorageMode::Ar, false),
    ] {
        let now = stage.pass(1);
        let state = StoreState {
            name: name.to_owned(),
            mode,
            epoch: 3,
            draining_until: draining.then(|| now + SignedDuration::from_mins(5)),
            changed_at: now,
            changed_by: "ada \"é\"".to_owned(),
        };
        let entry = sample_audit("store.mode_changed", name, &stage.random, now);
        store.put_store(&state, None, &entry).await.expect("put_store");
    }
}

async fn tokens_and_settings(stage: &Stage, contents: &mut Contents) {
    for n in 0..3_u8 {
        let now = stage.pass(1);
        let token = ServiceToken {
            id: ServiceTokenId(stage.random.uuid_v7(now)),
            name: format!("app \"{n}\""),
            role: if n == 0 { Role::Admin } else { Role::User },
            collections: (n > 0).then(|| vec!["photos".to_owned(), "жалобы".to_owned()]),
            secret_sha256: [n; 32],
            created_at: now,
            expires_at: (n > 1).then(|| now + SignedDuration::from_hours(1)),
            revoked_at: None,
        };
        stage
            .store
            .put_service_token(&token)
            .await
            .expect("put_service_token");
        contents.secrets.push(token.secret_sha256);
        if n == 1 {
            assert!(
                stage
                    .store
                    .revoke_service_token(token.id, now)
                    .await
                    .expect("revoke")
            );
        }
    }
    for (name, value) in [
        ("mode", json!({ "mode": "rw", "epoch": 7 })),
        ("имя 'x'", json!({})),
        ("", json!({ "deep": { "a": [1, null, "é"] } })),
    ] {
        stage
            .store
            .put_setting(name, &object(value))
            .await
            .expect("put_setting");
        contents.settings.push(name.to_owned());
    }
    // An owner of whom nothing is left but a zero.
    let file = stage.file(contents.files[10]).await;
    let mut nothing = file
        .update(
            cloakroom_core::file::FilePatch {
                description: Some(Some("again".to_owned())),
                ..Default::default()
            },
            &stage.occasion(),
        )
        .expect("a settled file");
    nothing.usage = UsageDelta::default();
    stage.apply(nothing).await;
}
