//! The virus scanner in the main job: what it finds is held back, what it has not seen waits, and a process may die in the
//! middle of it.

pub mod script;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cloakroom_core::access::{Principal, Role};
use cloakroom_core::collection::{Collection, ScanOversize, ScanPolicy};
use cloakroom_core::event::{Event, EventKind};
use cloakroom_core::file::{File, FilePatch, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::operation::{OperationKind, OperationState};
use cloakroom_core::ports::scanner::{ScanError, Scanner, Verdict};
use cloakroom_scanner::{Address, Clamd, ClamdOptions};
use cloakroom_testkit::crashes::{CrashPlan, CrashingAdministration, CrashingMetadata, CrashingObjects};
use cloakroom_testkit::servers;
use jiff::SignedDuration;
use serde_json::json;

use self::script::{Gate, Script, away, infected, not_fully};
use crate::app::{Process, Stores, ann, person};

const CONTENT: &[u8] = b"the bytes of a bank";
/// More points than any scenario here has; a scenario that reaches it never ends.
const POINTS_MAX: usize = 200;

/// Stores whose collections `scanned` and `refusing` require scanning.
async fn stores(scanner: Arc<dyn Scanner>) -> Stores {
    let mut stores = Stores::new().await;
    let scan = ScanPolicy {
        required: true,
        oversize: ScanOversize::Quarantine,
    };
    let scanned = Collection {
        scan,
        ..Collection::new("scanned", &stores.bucket)
    };
    let refusing = Collection {
        name: "refusing".to_owned(),
        scan: ScanPolicy {
            oversize: ScanOversize::Refuse,
            ..scan
        },
        ..scanned.clone()
    };
    stores.collections.extend([scanned, refusing]);
    stores.scanner = Some(scanner);
    stores
}

async fn upload_to(process: &Process, collection: &str, content: &[u8]) -> FileId {
    let signed = process.sign_in(collection, content).await;
    process.send(&signed, content).await;
    process.confirm(signed.file.id).await.id
}

fn ada() -> Principal {
    person("ada", Role::Admin)
}

fn code(file: &File) -> Option<&str> {
    file.error.as_ref().map(|error| error.code.as_str())
}

async fn events(stores: &Stores, id: FileId) -> Vec<Event> {
    stores
        .metadata
        .timeline(id, None, 1_000)
        .await
        .expect("a timeline")
        .items
}

async fn count_of(stores: &Stores, id: FileId, kind: EventKind) -> usize {
    let events = events(stores, id).await;
    events.iter().filter(|event| event.kind == kind).count()
}

/// Nobody gets a URL, whoever they are.
async fn assert_unreadable(process: &Process, id: FileId) {
    for somebody in [ann(), person("olga", Role::Operator), ada()] {
        assert!(process.app.download(&somebody, id, false).await.is_err());
        assert!(
            process
                .app
                .download_derivative(&somebody, id, "thumbnail")
                .await
                .is_err()
        );
    }
}

async fn assert_held(stores: &Stores, id: FileId, when: usize) {
    let file = stores.file(id).await;
    assert_eq!(
        (file.state, code(&file)),
        (FileState::Quarantined, Some("infected")),
        "died at {when}"
    );
    assert_eq!(stores.bytes(&file.key).await, CONTENT, "died at {when}");
    stores.assert_history(id).await;
    stores.assert_quiet().await;
    assert_beside(stores, &file, when).await;
    let usage = stores.metadata.usage("ann").await.expect("usage");
    assert_eq!((usage.files, usage.stored_bytes), (1, CONTENT.len() as u64));
    assert_unreadable(&stores.start(), id).await;
}

/// The object and its sidecar stand, and nothing else but the revision that this one replaced, where whoever wrote it died
/// before it was removed.
async fn assert_beside(stores: &Stores, file: &File, when: usize) {
    let sidecar = |epoch: u32| format!("{}.{epoch}.attr.json", file.key);
    let mut keys = stores.keys().await;
    keys.retain(|key| *key != sidecar(file.epoch - 1));
    assert_eq!(keys, [file.key.clone(), sidecar(file.epoch)], "died at {when}");
}

/// A process that dies at a point.
fn doomed(stores: &Stores, plan: &Arc<CrashPlan>) -> Process {
    stores.start_with(
        Arc::new(CrashingMetadata {
            inner: Arc::clone(&stores.metadata),
            crash: Arc::clone(plan),
        }),
        Arc::new(CrashingAdministration {
            inner: Arc::clone(&stores.administration),
            crash: Arc::clone(plan),
        }),
        Arc::new(CrashingObjects {
            inner: Arc::clone(&stores.objects),
            crash: Arc::clone(plan),
        }),
        vec![],
    )
}

/// Lets the job of `prepare` die at every point that it has, and looks at what recovery makes of it.
async fn at_every_point(
    scanner: &Arc<Script>,
    prepare: impl AsyncFn(&Stores) -> FileId,
    check: impl AsyncFn(&Stores, FileId, usize),
) {
    for point in 0..POINTS_MAX {
        let stores = stores(Arc::clone(scanner) as _).await;
        let id = prepare(&stores).await;
        let plan = CrashPlan::at(point);
        let process = doomed(&stores, &plan);
        let ended = tokio::select! {
            () = process.work() => true,
            () = plan.crashed() => false,
        };
        stores.start().recover().await;
        check(&stores, id, point).await;
        if ended {
            assert!(point > 5, "the scenario has changes to die at");
            return;
        }
    }
    panic!("the scenario never ended by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_scanner_decides() {
    let eicar = [
        r"X5O!P%@AP[4\PZX54(P^)7CC)7}$",
        "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*",
    ]
    .concat();
    let address = Address::Unix(servers::clamd_socket());
    let stores = stores(Arc::new(Clamd::new(ClamdOptions::new(address)))).await;
    let process = stores.start();
    let clean = upload_to(&process, "scanned", CONTENT).await;
    let harmful = upload_to(&process, "scanned", eicar.as_bytes()).await;
    let unscanned = upload_to(&process, "files", eicar.as_bytes()).await;
    let large = vec![b'a'; 26 * 1024 * 1024];
    let quarantined = upload_to(&process, "scanned", &large).await;
    let refused = upload_to(&process, "refusing", &large).await;
    process.work().await;
    let expected = [
        (clean, FileState::Ready, None),
        (harmful, FileState::Quarantined, Some("infected")),
        (unscanned, FileState::Ready, None),
        (quarantined, FileState::Quarantined, Some("not_fully_scanned")),
        (refused, FileState::Failed, Some("not_fully_scanned")),
    ];
    for (id, state, why) in expected {
        let file = stores.file(id).await;
        assert_eq!((file.state, code(&file)), (state, why), "{:?}", file.error);
        stores.assert_history(id).await;
    }
    let found = stores.file(harmful).await;
    assert!(found.error.expect("a reason").message.contains("Eicar-Signature"));
    let event = events(&stores, harmful).await.pop().expect("an event");
    assert_eq!(event.kind, EventKind::Quarantined);
    assert!(
        event.data["signature"]
            .as_str()
            .is_some_and(|name| name.starts_with("Eicar-Signature"))
    );
    assert_unreadable(&process, harmful).await;
    assert!(process.app.download(&ann(), clean, false).await.is_ok());
}

#[tokio::test]
async fn what_is_found_is_held_back_whenever_a_worker_dies() {
    let scanner = Script::saying(infected());
    let prepare = async |stores: &Stores| upload_to(&stores.start(), "scanned", CONTENT).await;
    at_every_point(&scanner, prepare, assert_held).await;
}

#[tokio::test]
async fn a_ready_file_that_is_found_later_is_held_back_whenever_a_worker_dies() {
    let scanner = Script::saying(Ok(Verdict::Clean));
    let prepare = async |stores: &Stores| {
        scanner.says(Ok(Verdict::Clean));
        let process = stores.start();
        let id = upload_to(&process, "scanned", CONTENT).await;
        process.work().await;
        assert!(process.app.download(&ann(), id, false).await.is_ok());
        scanner.says(infected());
        process.app.rescan_file_for(&ada(), id).await.expect("asked");
        id
    };
    let check = async |stores: &Stores, id: FileId, point: usize| {
        assert_held(stores, id, point).await;
        assert_eq!(
            count_of(stores, id, EventKind::Quarantined).await,
            1,
            "died at {point}"
        );
    };
    at_every_point(&scanner, prepare, check).await;
}

#[tokio::test]
async fn a_release_comes_to_its_end_whenever_a_worker_dies() {
    let scanner = Script::saying(infected());
    let prepare = async |stores: &Stores| {
        let process = stores.start();
        let id = upload_to(&process, "scanned", CONTENT).await;
        process.work().await;
        for _ in 0..2 {
            let asked = process
                .app
                .release_quarantined(&ada(), id, "A false alarm.")
                .await;
            assert_eq!(asked.expect("asked").state, FileState::Quarantined);
        }
        id
    };
    let check = async |stores: &Stores, id: FileId, point: usize| {
        let file = stores.file(id).await;
        assert_eq!(
            (file.state, code(&file)),
            (FileState::Ready, None),
            "died at {point}"
        );
        assert_eq!(
            count_of(stores, id, EventKind::Cleared).await,
            1,
            "died at {point}"
        );
        stores.assert_history(id).await;
        stores.assert_quiet().await;
        assert!(stores.start().app.download(&ann(), id, false).await.is_ok());
        assert_beside(stores, &file, point).await;
    };
    at_every_point(&scanner, prepare, check).await;
}

#[tokio::test]
async fn without_a_scanner_files_wait_and_say_so_once() {
    let scanner = Script::saying(away());
    let stores = stores(Arc::clone(&scanner) as _).await;
    let process = stores.start();
    let id = upload_to(&process, "scanned", CONTENT).await;
    let other = upload_to(&process, "files", CONTENT).await;
    process.work().await;
    for _ in 0..30 {
        stores.clock.advance(SignedDuration::from_secs(6));
        process.work().await;
    }
    let file = stores.file(id).await;
    assert_eq!(
        (file.state, code(&file)),
        (FileState::Processing, Some("scanner_unavailable"))
    );
    assert_eq!(count_of(&stores, id, EventKind::Delayed).await, 1);
    assert_eq!(
        count_of(&stores, id, EventKind::Processing).await,
        1,
        "taken up once"
    );
    assert_eq!(scanner.scans.load(Ordering::Relaxed), 1);
    assert!(scanner.pings.load(Ordering::Relaxed) >= 30);
    assert_unreadable(&process, id).await;
    let job = stores
        .metadata
        .jobs(None, None, 10)
        .await
        .expect("jobs")
        .items
        .remove(0);
    assert_eq!(job.failures, 0, "an outage is not held against a file");
    assert_eq!(stores.file(other).await.state, FileState::Ready, "others go on");
    // It comes back.
    scanner.says(Ok(Verdict::Clean));
    stores.clock.advance(SignedDuration::from_secs(6));
    process.work().await;
    let file = stores.file(id).await;
    assert_eq!((file.state, code(&file)), (FileState::Ready, None));
    stores.assert_history(id).await;
    stores.assert_quiet().await;
}

#[tokio::test]
async fn no_verdict_is_never_a_pass() {
    let scanner = Script::saying(Err(ScanError::NoVerdict("it says nonsense".to_owned())));
    let stores = stores(Arc::clone(&scanner) as _).await;
    let process = stores.start();
    let id = upload_to(&process, "scanned", CONTENT).await;
    process.recover().await;
    let file = stores.file(id).await;
    assert_eq!(
        (file.state, code(&file)),
        (FileState::Failed, Some("processing_failed"))
    );
    // An administrator has it tried again when the scanner is well.
    scanner.says(Ok(Verdict::Clean));
    let job = stores
        .metadata
        .jobs(None, None, 10)
        .await
        .expect("jobs")
        .items
        .remove(0);
    process
        .app
        .retry_job(&ada(), job.id)
        .await
        .expect("in the queue again");
    process.work().await;
    assert_eq!(stores.file(id).await.state, FileState::Ready);
}

#[tokio::test]
async fn a_collection_without_a_scanner_at_hand_waits() {
    let mut stores = stores(Script::saying(Ok(Verdict::Clean))).await;
    stores.scanner = None;
    let process = stores.start();
    let id = upload_to(&process, "scanned", CONTENT).await;
    process.work().await;
    let file = stores.file(id).await;
    assert_eq!(
        (file.state, code(&file)),
        (FileState::Processing, Some("scanner_unavailable"))
    );
    assert!(process.app.rescan_file_for(&ada(), id).await.is_err());
}

#[tokio::test]
async fn what_is_deleted_or_changed_while_it_is_scanned() {
    for deleted in [true, false] {
        let scanner = Script::with(infected(), Some(Gate::default()));
        let gate = scanner.gate.as_ref().expect("a gate");
        let stores = stores(Arc::clone(&scanner) as _).await;
        let process = stores.start();
        let id = upload_to(&process, "scanned", CONTENT).await;
        let meanwhile = async {
            gate.begun.notified().await;
            if deleted {
                process.app.delete_file(&ann(), id).await.expect("deleted");
            } else {
                let patch = FilePatch {
                    filename: Some("renamed.bin".to_owned()),
                    ..FilePatch::default()
                };
                process
                    .app
                    .update_file(&ann(), id, patch, None)
                    .await
                    .expect("renamed");
            }
            gate.open.notify_one();
        };
        tokio::join!(process.work(), meanwhile);
        if deleted {
            assert_eq!(stores.file(id).await.state, FileState::Trashed);
            process.app.restore_file(&ann(), id).await.expect("restored");
            assert_eq!(stores.file(id).await.state, FileState::Confirmed);
            tokio::join!(process.work(), async { gate.open.notify_one() });
        }
        process.recover().await;
        let file = stores.file(id).await;
        assert_eq!(file.state, FileState::Quarantined, "deleted: {deleted}");
        assert_eq!(file.filename == "renamed.bin", !deleted);
        stores.assert_history(id).await;
        stores.assert_quiet().await;
    }
}

#[tokio::test]
async fn looking_again_changes_what_is_no_longer_true() {
    let scanner = Script::saying(infected());
    let stores = stores(Arc::clone(&scanner) as _).await;
    let process = stores.start();
    let id = upload_to(&process, "scanned", CONTENT).await;
    process.work().await;
    let look = async |answer| {
        scanner.says(answer);
        process.app.rescan_file_for(&ada(), id).await.expect("asked");
        process.work().await;
        stores.assert_quiet().await;
        stores.file(id).await
    };
    let version = stores.file(id).await.version;
    assert_eq!(
        look(infected()).await.version,
        version,
        "the same verdict changes nothing"
    );
    let other = look(not_fully()).await;
    assert_eq!(
        (other.state, code(&other)),
        (FileState::Quarantined, Some("not_fully_scanned"))
    );
    let clean = look(Ok(Verdict::Clean)).await;
    assert_eq!((clean.state, code(&clean)), (FileState::Ready, None));
    let version = clean.version;
    assert_eq!(look(Ok(Verdict::Clean)).await.version, version);
    assert_eq!(look(infected()).await.state, FileState::Quarantined);
    // What an administrator has released is not held back for the same reason again, but for another one.
    process
        .app
        .release_quarantined(&ada(), id, "A false alarm.")
        .await
        .expect("asked");
    process.work().await;
    assert_eq!(look(infected()).await.state, FileState::Ready);
    assert_eq!(look(not_fully()).await.state, FileState::Quarantined);
    stores.assert_history(id).await;
}

#[tokio::test]
async fn a_whole_collection_is_looked_at_again() {
    let scanner = Script::saying(Ok(Verdict::Clean));
    let stores = stores(Arc::clone(&scanner) as _).await;
    let process = stores.start();
    let mut ids = Vec::new();
    for turn in 0..5 {
        ids.push(upload_to(&process, "scanned", format!("file {turn}").as_bytes()).await);
    }
    let other = upload_to(&process, "files", CONTENT).await;
    process.work().await;
    scanner.says(infected());
    let report = process
        .operate(OperationKind::Rescan, json!({"collection": "scanned"}))
        .await;
    assert_eq!(
        report.operation.state,
        OperationState::Done,
        "{:?}",
        report.operation.error
    );
    assert_eq!(report.operation.counts["enqueued"], 5);
    process.work().await;
    for id in ids {
        assert_eq!(stores.file(id).await.state, FileState::Quarantined);
    }
    assert_eq!(stores.file(other).await.state, FileState::Ready);
    let unknown = process
        .operate(OperationKind::Rescan, json!({"collection": "nowhere"}))
        .await;
    assert_eq!(unknown.operation.state, OperationState::Failed);
}

#[tokio::test]
async fn what_is_held_back_is_whole_for_verify_and_rebuild() {
    let scanner = Script::saying(infected());
    let stores = stores(Arc::clone(&scanner) as _).await;
    let process = stores.start();
    let id = upload_to(&process, "scanned", CONTENT).await;
    process.work().await;
    let report = process
        .operate(OperationKind::Verify, json!({"deep": true}))
        .await;
    assert_eq!(report.lines(), [], "no drift");
    let before = stores.file(id).await;
    let later = stores.with_fresh_database().await;
    let process = later.start();
    let report = process.operate(OperationKind::Rebuild, json!({})).await;
    assert_eq!(report.operation.state, OperationState::Done);
    let file = later.file(id).await;
    assert_eq!((file.state, &file.error), (FileState::Quarantined, &before.error));
    assert_unreadable(&process, id).await;
    // And it is released from there.
    process
        .app
        .release_quarantined(&ada(), id, "A false alarm.")
        .await
        .expect("asked");
    process.work().await;
    assert_eq!(later.file(id).await.state, FileState::Ready);
}

#[tokio::test]
async fn a_hold_keeps_what_is_quarantined() {
    let scanner = Script::saying(infected());
    let stores = stores(Arc::clone(&scanner) as _).await;
    let process = stores.start();
    let id = upload_to(&process, "scanned", CONTENT).await;
    process.work().await;
    process.app.hold_file(&ada(), id, "case 7").await.expect("held");
    assert!(process.app.purge_quarantined(&ada(), id).await.is_err());
    assert_eq!(code(&stores.file(id).await), Some("infected"));
    process
        .app
        .release_file(&ada(), id, "over")
        .await
        .expect("released from hold");
    assert_eq!(
        stores.file(id).await.state,
        FileState::Quarantined,
        "a hold's end is no release"
    );
    assert!(
        process.app.archive_file(&ada(), id).await.is_err(),
        "it is not moved"
    );
    process.app.purge_quarantined(&ada(), id).await.expect("deleted");
    process.work().await;
    assert_eq!(stores.metadata.file(id).await.expect("an answer"), None);
    let tombstones: Vec<String> = stores.keys().await;
    assert!(
        tombstones.iter().all(|key| key.ends_with(".tomb.attr.json")),
        "{tombstones:?}"
    );
}
