//! I5: what nothing refers to is found, kept for a while and removed; what somebody may still refer to is not, whoever
//! stands still at whatever moment.

mod races;

use cloakroom_core::file::{File, FileState};
use cloakroom_core::garbage::GarbageState;
use cloakroom_core::id::FileId;
use cloakroom_core::key::{confirm_note_key, sidecar_key, staging_key, tombstone_key};
use cloakroom_core::operation::OperationKind;
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::objects::{MultipartOptions, ObjectPath};
use cloakroom_testkit::clock::WallClock;
use jiff::SignedDuration;
use serde_json::json;
use uuid::Uuid;

use crate::app::{Process, Stores, ann};

const CONTENT: &[u8] = b"the bytes of a bank";
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Stores whose clock goes with that of their objects, which have the age that the file system or the server says.
async fn stores() -> Stores {
    let stores = Stores::new().await;
    stores.clock.set(WallClock.now());
    stores
}

fn id(number: u128) -> FileId {
    FileId(Uuid::from_u128(number))
}

/// A staging key whose time was over two days ago.
fn abandoned(stores: &Stores, id: FileId) -> String {
    let long_ago = stores.clock.now().checked_sub(DAY * 2).expect("a time");
    staging_key(id, "a.bin", long_ago)
}

async fn scan(process: &Process, trash: bool) -> Vec<(String, String, String)> {
    // One that the janitor asked for by itself comes first.
    process.run_operations().await;
    let report = process
        .operate(OperationKind::Orphans, json!({"trash": trash}))
        .await;
    assert_eq!(report.operation.error, None);
    let lines = report.lines();
    let owned = |(kind, key, action): &(&str, &str, &str)| {
        ((*kind).to_owned(), (*key).to_owned(), (*action).to_owned())
    };
    lines.iter().map(owned).collect()
}

/// A verified file.
async fn ready(stores: &Stores) -> File {
    let process = stores.start();
    let id = process.upload(CONTENT).await;
    process.work().await;
    stores.file(id).await
}

/// Everything that can lie in a bucket, in one.
struct Litter {
    /// Kind and key of what a scan says, sorted.
    expected: Vec<(String, String)>,
    /// Keys that must be there when all garbage is gone.
    kept: Vec<String>,
    upload_id: String,
}

/// A file that is gone for good.
async fn purged(stores: &Stores) -> File {
    let process = stores.start();
    let purged = ready(stores).await;
    process.app.delete_file(&ann(), purged.id).await.expect("deleted");
    stores.clock.advance(DAY * 8);
    process.recover().await;
    stores.clock.advance(DAY * 2);
    process.recover().await;
    assert_eq!(stores.metadata.file(purged.id).await.expect("an answer"), None);
    process.run_operations().await;
    purged
}

/// A file whose row was lost: an object and its sidecar under another id. Returns its key.
async fn without_row(stores: &Stores, file: &File) -> String {
    let other = id(77).to_string();
    let key = file.key.replace(&file.id.to_string(), &other);
    let sidecar = stores.bytes(&sidecar_key(&file.key, file.epoch)).await;
    let sidecar = String::from_utf8(sidecar).expect("text");
    let sidecar = sidecar.replace(&file.id.to_string(), &other);
    stores.send_to(&key, CONTENT).await;
    let sidecar_key = sidecar_key(&key, file.epoch);
    stores.send_to(&sidecar_key, sidecar.as_bytes()).await;
    key
}

async fn litter(stores: &Stores) -> Litter {
    let process = stores.start();
    let whole = ready(stores).await;
    let lost = ready(stores).await;
    let purged = purged(stores).await;
    let lost_key = without_row(stores, &lost).await;
    let lost_sidecar = sidecar_key(&lost_key, lost.epoch);

    let gone = ready(stores).await;
    let gone_path = ObjectPath::new(&stores.bucket, &gone.key);
    stores.objects.delete(&gone_path).await.expect("deleted");

    let (staged, noted) = (abandoned(stores, id(1)), abandoned(stores, id(2)));
    let updated = process
        .app
        .update_file(&ann(), whole.id, renamed("b.bin"), None)
        .await
        .expect("updated");
    let superseded = sidecar_key(&whole.key, whole.epoch);
    let unlisted = format!("{}.{}.preview.webp", whole.key, whole.epoch);
    let foreign = format!("{}/x.bin", id(9));
    let note = confirm_note_key(&noted);
    let open = process.sign(CONTENT).await.upload.staging_key;
    let mut expected: Vec<(&str, &str)> = vec![
        ("staging", &staged),
        ("superseded_sidecar", &superseded),
        ("unlisted_derivative", &unlisted),
        ("left_object", &purged.key),
        ("row_missing", &noted),
        ("row_missing", &note),
        ("row_missing", &lost_key),
        ("row_missing", &lost_sidecar),
        ("foreign", "holiday.jpg"),
        ("foreign", &foreign),
    ];
    for key in [
        &staged,
        &noted,
        &note,
        &superseded,
        &unlisted,
        &purged.key,
        &foreign,
        &open,
        &"holiday.jpg".to_owned(),
    ] {
        stores.send_to(key, CONTENT).await;
    }
    let parts = abandoned(stores, id(3));
    let upload_id = stores
        .objects
        .begin_multipart(
            &ObjectPath::new(&stores.bucket, &parts),
            MultipartOptions::default(),
        )
        .await
        .expect("begun");
    expected.push(("multipart", &parts));
    expected.push(("object_missing", &gone.key));
    expected.sort_unstable();
    let expected = expected
        .into_iter()
        .map(|(kind, key)| (kind.to_owned(), key.to_owned()))
        .collect();
    let mut kept = vec![
        whole.key.clone(),
        sidecar_key(&updated.key, updated.epoch),
        lost.key.clone(),
        sidecar_key(&lost.key, lost.epoch),
        sidecar_key(&gone.key, gone.epoch),
        lost_key.clone(),
        lost_sidecar.clone(),
        noted.clone(),
        note.clone(),
        foreign.clone(),
        "holiday.jpg".to_owned(),
    ];
    kept.sort_unstable();
    // Nothing of it is so young that it may be work under way.
    stores.clock.advance(SignedDuration::from_hours(2));
    Litter {
        expected,
        kept,
        upload_id,
    }
}

fn renamed(name: &str) -> cloakroom_core::file::FilePatch {
    cloakroom_core::file::FilePatch {
        filename: Some(name.to_owned()),
        ..Default::default()
    }
}

#[tokio::test]
async fn what_is_ours_and_unreferred_to_goes_and_nothing_else() {
    let stores = stores().await;
    let process = stores.start();
    let litter = Box::pin(litter(&stores)).await;
    let before = stores.keys().await;

    let reported = scan(&process, false).await;
    let kinds: Vec<_> = reported
        .iter()
        .map(|(kind, key, _)| (kind.clone(), key.clone()))
        .collect();
    assert_eq!(kinds, litter.expected);
    assert!(reported.iter().all(|line| line.2 == "reported"));
    let marks = stores
        .administration
        .garbage(None, None, 100)
        .await
        .expect("garbage");
    assert_eq!(marks.items, [], "a report changes nothing");

    let trashed = scan(&process, true).await;
    let marked: Vec<_> = trashed.iter().filter(|line| line.2 == "trashed").collect();
    assert_eq!(marked.len(), 5, "{marked:?}");
    process.recover().await;
    assert_eq!(stores.keys().await, before, "until their deadline all stand");

    stores.clock.advance(DAY * 8);
    process.recover().await;
    assert_eq!(stores.keys().await, litter.kept);
    let uploads = stores
        .objects
        .multiparts(&stores.bucket, "")
        .await
        .expect("uploads");
    assert!(!uploads.iter().any(|upload| upload.id == litter.upload_id));
    let marks = stores
        .administration
        .garbage(None, None, 100)
        .await
        .expect("garbage");
    assert_eq!(marks.items, []);
    stores.assert_quiet().await;

    let again = scan(&process, true).await;
    assert!(again.iter().all(|line| line.2 == "reported"), "{again:?}");
}

#[tokio::test]
async fn garbage_returns_to_zero_by_itself() {
    let stores = stores().await;
    let process = stores.start();
    let file = ready(&stores).await;
    stores.send_to(&abandoned(&stores, id(1)), CONTENT).await;
    stores.send_to(&sidecar_key(&file.key, 0), b"{}").await;
    for _ in 0..10 {
        process.recover().await;
        process.run_operations().await;
        stores.clock.advance(DAY);
    }
    process.recover().await;
    let sidecar = sidecar_key(&file.key, file.epoch);
    assert_eq!(stores.keys().await, [file.key, sidecar]);
}

#[tokio::test]
async fn what_is_to_be_kept_is_kept() {
    let stores = stores().await;
    let process = stores.start();
    let ada = crate::app::person("ada", cloakroom_core::access::Role::Admin);
    let path = ObjectPath::new(&stores.bucket, abandoned(&stores, id(1)));
    stores.send_to(&path.key, CONTENT).await;
    assert_eq!(scan(&process, true).await.len(), 1);
    process.app.keep_garbage(&ada, &path, "").await.expect("kept");
    stores.clock.advance(DAY * 30);
    process.recover().await;
    assert_eq!(stores.keys().await, std::slice::from_ref(&path.key));
    assert_eq!(scan(&process, true).await, [], "scans pass it over");

    process.app.trash_garbage(&ada, &path, "").await.expect("trashed");
    process.recover().await;
    assert_eq!(
        stores.keys().await,
        std::slice::from_ref(&path.key),
        "its deadline begins anew"
    );
    stores.clock.advance(DAY * 8);
    process.recover().await;
    assert!(stores.keys().await.is_empty());
    let unknown = process.app.keep_garbage(&ada, &path, "").await;
    assert!(unknown.is_err());
    let refused = process.app.keep_garbage(&ann(), &path, "").await;
    assert!(refused.is_err(), "that is for administrators");
}

#[tokio::test]
async fn what_was_written_again_or_is_gone_is_not_what_was_marked() {
    let stores = stores().await;
    let process = stores.start();
    let keys = [abandoned(&stores, id(1)), abandoned(&stores, id(2))];
    for key in &keys {
        stores.send_to(key, CONTENT).await;
    }
    assert_eq!(scan(&process, true).await.len(), 2);
    stores.send_to(&keys[0], b"other bytes").await;
    let path = ObjectPath::new(&stores.bucket, &keys[1]);
    stores.objects.delete(&path).await.expect("deleted");
    assert_eq!(scan(&process, false).await.len(), 1);
    let marks = stores
        .administration
        .garbage(None, None, 10)
        .await
        .expect("garbage");
    assert_eq!(marks.items.len(), 1, "the scan forgets what has vanished");
    stores.clock.advance(DAY * 8);
    process.app.sweep_garbage().await.expect("swept");
    assert_eq!(
        stores.keys().await,
        [keys[0].clone()],
        "another object, another deadline"
    );
    let marks = stores
        .administration
        .garbage(None, None, 10)
        .await
        .expect("garbage");
    assert_eq!(marks.items, []);
}

#[tokio::test]
async fn rows_whose_job_was_lost_get_it_again() {
    let stores = stores().await;
    let process = stores.start();
    let id = process.upload(CONTENT).await;
    let job = stores.metadata.jobs(None, None, 10).await.expect("jobs").items[0].id;
    let claim = cloakroom_core::ports::metadata::Claim {
        worker: &cloakroom_core::id::WorkerId("dead".to_owned()),
        now: stores.clock.now(),
        lease: SignedDuration::from_secs(15),
        limit: 1,
        at_most: &[],
    };
    let claimed = stores.metadata.claim(&claim).await.expect("claimed");
    assert_eq!(claimed[0].id, job);
    let done = cloakroom_core::job::JobOutcome::Done;
    stores
        .metadata
        .finish(claimed[0].lease(), &done, stores.clock.now())
        .await
        .expect("lost");
    let report = scan(&process, true).await;
    assert_eq!(
        report,
        [("job_lost".to_owned(), String::new(), "repaired".to_owned())]
    );
    process.work().await;
    assert_eq!(stores.file(id).await.state, FileState::Ready);
    assert_eq!(scan(&process, true).await, []);
}

#[tokio::test]
async fn a_tombstone_whose_job_was_lost_goes_last() {
    let stores = stores().await;
    let process = stores.start();
    let key = format!("files/{}/a.bin", id(5));
    let tombstone = tombstone_key(&key);
    let words = cloakroom_core::format::tombstone_v1::TombstoneV1 {
        format: 1,
        file_id: id(5).0,
        purged_at: stores.clock.now(),
    };
    stores.send_to(&key, CONTENT).await;
    stores.send_to(&tombstone, &words.encode()).await;
    stores.clock.advance(DAY * 2);
    let line = |kind: &str, key: &str| (kind.to_owned(), key.to_owned(), "trashed".to_owned());
    assert_eq!(scan(&process, true).await, [line("left_object", &key)]);
    stores.clock.advance(DAY * 8);
    process.recover().await;
    assert_eq!(stores.keys().await, std::slice::from_ref(&tombstone));
    assert_eq!(scan(&process, true).await, [line("tombstone", &tombstone)]);
    stores.clock.advance(DAY * 8);
    process.recover().await;
    assert!(stores.keys().await.is_empty());
}

/// While a tombstone stands nobody believes what a late writer left beside it; when it goes, that goes before it.
#[tokio::test]
async fn a_tombstone_takes_along_what_late_writers_left() {
    let stores = stores().await;
    let process = stores.start();
    let file = ready(&stores).await;
    let sidecar = stores.bytes(&sidecar_key(&file.key, file.epoch)).await;
    process.app.delete_file(&ann(), file.id).await.expect("deleted");
    stores.clock.advance(DAY * 8);
    process.recover().await;
    process.work().await;
    let tombstone = tombstone_key(&file.key);
    assert_eq!(stores.keys().await, std::slice::from_ref(&tombstone));
    stores.send_to(&file.key, CONTENT).await;
    stores
        .send_to(&sidecar_key(&file.key, file.epoch + 1), &sidecar)
        .await;
    stores.clock.advance(DAY * 2);
    process.work().await;
    assert!(stores.keys().await.is_empty(), "{:?}", stores.keys().await);
}

#[tokio::test]
async fn a_purge_says_before_what_would_go() {
    let stores = stores().await;
    let process = stores.start();
    let (over, young) = (ready(&stores).await, ready(&stores).await);
    process.app.delete_file(&ann(), over.id).await.expect("deleted");
    stores.send_to(&abandoned(&stores, id(1)), CONTENT).await;
    scan(&process, true).await;
    stores.clock.advance(DAY * 8);
    process.app.delete_file(&ann(), young.id).await.expect("deleted");

    let dry = process
        .operate(OperationKind::Purge, json!({"dry_run": true}))
        .await;
    let bytes = CONTENT.len() as u64;
    assert_eq!(
        dry.lines(),
        [
            ("file", over.key.as_str(), "would_go"),
            ("garbage", abandoned_key(&dry), "would_go"),
        ]
    );
    assert_eq!(dry.operation.counts["bytes"], bytes * 2);
    assert_eq!(
        stores.file(over.id).await.state,
        FileState::Trashed,
        "nothing was changed"
    );
    let trashed = stores
        .administration
        .garbage(Some(GarbageState::Trashed), None, 10)
        .await
        .expect("garbage");
    assert_eq!(trashed.items.len(), 1);

    let purge = process.operate(OperationKind::Purge, json!({})).await;
    assert_eq!(purge.lines(), [("file", over.key.as_str(), "purged")]);
    assert_eq!(purge.operation.counts["garbage"], 1);
    process.work().await;
    assert_eq!(stores.metadata.file(over.id).await.expect("an answer"), None);
    assert_eq!(stores.file(young.id).await.state, FileState::Trashed);
}

fn abandoned_key(report: &crate::app::Report) -> &str {
    let line = report.findings.iter().find(|line| line.kind == "garbage");
    line.and_then(|line| line.key.as_deref()).expect("garbage")
}
