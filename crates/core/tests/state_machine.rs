//! The state machine, exhaustively: every operation in every state either follows the table or is refused.

use cloakroom_core::JsonObject;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{
    Declared, File, FileError, FilePatch, FileState, Hold, ObservedObject, Staged, Trash, Verified,
};
use cloakroom_core::id::FileId;
use cloakroom_core::job::JobKind;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::random::Random;
use cloakroom_core::ports::scanner::{Holdup, INFECTED, NOT_FULLY_SCANNED, SCANNER_UNAVAILABLE};
use cloakroom_core::transition::{Occasion, Transition};
use cloakroom_core::upload::{Upload, UploadMethod};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

struct Fixed;

impl Random for Fixed {
    fn uuid_v7(&self, _: Timestamp) -> Uuid {
        Uuid::from_u128(1)
    }

    fn unit(&self) -> f64 {
        0.5
    }
}

fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().expect("a timestamp")
}

fn occasion() -> Occasion<'static> {
    Occasion {
        now: now(),
        actor: "ann",
        random: &Fixed,
    }
}

fn staged(size_bytes: u64) -> Staged {
    Staged {
        size_bytes,
        etag: "e".into(),
        generation: "g".into(),
    }
}

fn verified() -> Verified {
    Verified {
        sha256: Sha256Digest([1; 32]),
        size_bytes: 10,
        content_type: MediaType::octet_stream(),
    }
}

fn file(state: FileState) -> File {
    let confirmed = !state.is_open() && !matches!(state, FileState::Reaping | FileState::Expired);
    File {
        id: FileId(Uuid::from_u128(7)),
        owner: "ann".into(),
        created_by_username: "ann".into(),
        created_by_full_name: None,
        collection: "files".into(),
        bucket: "b".into(),
        state,
        version: 4,
        epoch: 2,
        record: None,
        filename: "a.bin".into(),
        description: None,
        metadata: JsonObject::new(),
        declared: Declared {
            content_type: MediaType::octet_stream(),
            size_bytes: Some(10),
            sha256: None,
        },
        staged: confirmed.then(|| staged(10)),
        verified: matches!(
            state,
            FileState::Ready
                | FileState::Quarantined
                | FileState::Archived
                | FileState::Trashed
                | FileState::Purging
        )
        .then(verified),
        key: "files/7/a.bin".into(),
        facts: JsonObject::new(),
        error: None,
        created_at: now(),
        updated_at: now(),
        uploaded_at: None,
        confirmed_at: None,
        processed_at: None,
        trash: (state == FileState::Trashed).then(|| Trash {
            from: FileState::Ready,
            at: now(),
            purge_at: now(),
        }),
        hold: None,
        unarchived_at: None,
    }
}

fn upload() -> Upload {
    Upload {
        file_id: FileId(Uuid::from_u128(7)),
        method: UploadMethod::Put,
        staging_key: "staging/x".into(),
        expires_at: now(),
        multipart_id: None,
        part_size_bytes: None,
        request_digest: None,
        reserved_bytes: 10,
    }
}

fn observed(size_bytes: u64) -> ObservedObject {
    ObservedObject {
        staged: staged(size_bytes),
        content_type: None,
        sha256: None,
    }
}

fn held(file: &File) -> File {
    File {
        hold: Some(Hold {
            by: "olga".into(),
            at: now(),
            reason: "a lawsuit".into(),
        }),
        ..file.clone()
    }
}

fn infected() -> Holdup {
    Holdup::Infected {
        signature: "Eicar-Signature".into(),
    }
}

fn scanner_is_away() -> FileError {
    FileError {
        code: SCANNER_UNAVAILABLE.into(),
        message: "It does not answer.".into(),
    }
}

type Operation = fn(&File) -> Result<Transition, Refusal>;

fn refused() -> Refusal {
    Refusal::new(ErrorCode::InvalidState, "nothing to do")
}

/// Every operation, with the event that it must make.
fn operations() -> Vec<(&'static str, EventKind, Operation)> {
    vec![
        ("uploading", EventKind::Uploading, |f| {
            f.uploading(&occasion()).ok_or_else(refused)
        }),
        ("uploaded", EventKind::Uploaded, |f| {
            f.uploaded(&occasion()).ok_or_else(refused)
        }),
        ("confirm", EventKind::Confirmed, |f| {
            f.confirm(
                &upload(),
                &observed(10),
                &Collection::new("files", "b"),
                &occasion(),
            )
        }),
        ("process", EventKind::Processing, |f| f.process(&occasion())),
        ("ready", EventKind::Ready, |f| {
            f.ready(verified(), JsonObject::new(), vec![], &occasion())
        }),
        ("fail", EventKind::Failed, |f| {
            f.fail(
                FileError {
                    code: "c".into(),
                    message: "m".into(),
                },
                &occasion(),
            )
        }),
        ("delay", EventKind::Delayed, |f| {
            f.delay(scanner_is_away(), &occasion())?.ok_or_else(refused)
        }),
        ("quarantine", EventKind::Quarantined, |f| {
            f.quarantine(verified(), &infected(), &occasion())
        }),
        ("clear", EventKind::Cleared, |f| {
            f.clear(JsonObject::new(), vec![], true, &occasion())
        }),
        ("reopen", EventKind::Reopened, |f| f.reopen(&occasion())),
        ("reap", EventKind::Expired, |f| {
            f.reap(&upload(), "expired", &occasion())
        }),
        ("reaped", EventKind::Reaped, |f| f.reaped(&occasion())),
        ("trash", EventKind::Trashed, |f| {
            f.trash(SignedDuration::from_hours(1), &occasion())
        }),
        ("restore", EventKind::Restored, |f| f.restore(&occasion())),
        ("purge", EventKind::Purging, |f| f.purge(&occasion())),
        ("hold", EventKind::Held, |f| f.hold_for("a lawsuit", &occasion())),
        ("release", EventKind::Released, |f| held(f).release(&occasion())),
        ("archive", EventKind::Archived, |f| {
            f.archive(ObjectPath::new("cold", "moved/5/k"), vec![], &occasion())
        }),
        ("unarchive", EventKind::Unarchived, |f| {
            f.unarchive(ObjectPath::new("b", "moved/5/k"), vec![], &occasion())
        }),
        ("update", EventKind::Updated, |f| {
            f.update(
                FilePatch {
                    filename: Some("b".into()),
                    ..FilePatch::default()
                },
                &occasion(),
            )
        }),
    ]
}

#[test]
fn every_operation_in_every_state() {
    let mut allowed = Vec::new();
    for state in FileState::ALL {
        let before = file(*state);
        for (name, kind, operation) in operations() {
            let Ok(transition) = operation(&before) else {
                continue;
            };
            let next = transition.file.state;
            allowed.push(format!("{} {name} {}", state.as_str(), next.as_str()));
            assert!(
                name == "update" || state.may_become(kind, next),
                "{state:?} {name} {next:?}"
            );
            assert_eq!(transition.from_version, before.version, "{name}");
            assert_eq!(transition.file.version, before.version + 1, "{name}");
            assert_eq!(transition.event.kind, kind, "{name}");
            assert_eq!(transition.event.version, transition.file.version, "{name}");
            assert_eq!(transition.event.state, next, "{name}");
            let moves = matches!(name, "archive" | "unarchive");
            assert_eq!(transition.file.key != before.key, moves, "{name} and the key");
            assert_eq!(transition.file.owner, before.owner, "{name} changes the owner");
        }
    }
    let expected = [
        "pending uploading uploading",
        "pending uploaded uploaded",
        "pending confirm confirmed",
        "pending reap reaping",
        "pending update pending",
        "uploading uploaded uploaded",
        "uploading confirm confirmed",
        "uploading reap reaping",
        "uploading update uploading",
        "uploaded confirm confirmed",
        "uploaded reap reaping",
        "uploaded update uploaded",
        "confirmed process processing",
        "confirmed fail failed",
        "confirmed trash trashed",
        "confirmed update confirmed",
        "processing process processing",
        "processing ready ready",
        "processing fail failed",
        "processing delay processing",
        "processing quarantine quarantined",
        "ready quarantine quarantined",
        "quarantined quarantine quarantined",
        "quarantined clear ready",
        "processing trash trashed",
        "processing update processing",
        "ready trash trashed",
        "ready update ready",
        "failed reopen confirmed",
        "failed trash trashed",
        "failed update failed",
        "quarantined trash trashed",
        "quarantined update quarantined",
        "archived trash trashed",
        "archived update archived",
        "trashed restore ready",
        "trashed purge purging",
        "reaping reaped expired",
        "ready archive archived",
        "archived unarchive ready",
    ];
    let kept = FileState::ALL.iter().filter(|state| {
        let over = matches!(
            state,
            FileState::Reaping | FileState::Expired | FileState::Purging
        );
        !over && !state.is_open()
    });
    let holds = kept.flat_map(|state| {
        ["hold", "release"].map(|name| format!("{} {name} {}", state.as_str(), state.as_str()))
    });
    allowed.sort_unstable();
    let mut expected: Vec<String> = expected.iter().map(ToString::to_string).chain(holds).collect();
    expected.sort_unstable();
    assert_eq!(allowed, expected);
}

#[test]
fn usage_returns_to_where_it_began() {
    let pending = file(FileState::Pending);
    let collection = Collection::new("files", "b");
    let confirmed = pending
        .confirm(&upload(), &observed(10), &collection, &occasion())
        .expect("confirmed");
    assert_eq!(
        (
            confirmed.usage.reserved_bytes,
            confirmed.usage.stored_bytes,
            confirmed.usage.files
        ),
        (-10, 10, 1)
    );
    let processing = confirmed.file.process(&occasion()).expect("processing");

    let ready = processing
        .file
        .ready(verified(), JsonObject::new(), vec![], &occasion())
        .expect("ready");
    let trashed = ready
        .file
        .trash(SignedDuration::from_hours(1), &occasion())
        .expect("trashed");
    let purged = trashed.file.purge(&occasion()).expect("purging");
    assert_eq!((purged.usage.stored_bytes, purged.usage.files), (-10, -1));

    let error = FileError {
        code: "c".into(),
        message: "m".into(),
    };
    let failed = processing.file.fail(error, &occasion()).expect("failed");
    assert_eq!(failed.usage.stored_bytes, -10);
    assert_eq!(failed.jobs[0].kind, JobKind::DiscardStaging);
    let trashed = failed
        .file
        .trash(SignedDuration::from_hours(1), &occasion())
        .expect("trashed");
    let purged = trashed.file.purge(&occasion()).expect("purging");
    assert_eq!((purged.usage.stored_bytes, purged.usage.files), (0, -1));
}

#[test]
fn confirm_says_which_fact_differs() {
    let collection = Collection {
        size_bytes_max: 50,
        ..Collection::new("files", "b")
    };
    let pending = file(FileState::Pending);
    let confirm = |file: &File, observed: ObservedObject| {
        file.confirm(&upload(), &observed, &collection, &occasion())
            .err()
            .map(|refusal| refusal.code)
    };
    assert_eq!(confirm(&pending, observed(11)), Some(ErrorCode::SizeMismatch));
    let unsized_file = File {
        declared: Declared {
            size_bytes: None,
            ..pending.declared.clone()
        },
        ..pending.clone()
    };
    assert_eq!(
        confirm(&unsized_file, observed(51)),
        Some(ErrorCode::FileTooLarge)
    );
    assert_eq!(confirm(&unsized_file, observed(50)), None);
    let typed = ObservedObject {
        content_type: Some("text/html".into()),
        ..observed(10)
    };
    assert_eq!(confirm(&pending, typed), Some(ErrorCode::ContentTypeMismatch));
    let declared = File {
        declared: Declared {
            sha256: Some(Sha256Digest([1; 32])),
            ..pending.declared.clone()
        },
        ..pending.clone()
    };
    let other = ObservedObject {
        sha256: Some(Sha256Digest([2; 32])),
        ..observed(10)
    };
    assert_eq!(confirm(&declared, other), Some(ErrorCode::ChecksumMismatch));
    assert_eq!(
        confirm(&file(FileState::Expired), observed(10)),
        Some(ErrorCode::UploadExpired)
    );
    assert_eq!(
        confirm(&file(FileState::Reaping), observed(10)),
        Some(ErrorCode::UploadExpired)
    );
}

#[test]
fn what_was_being_processed_starts_over_when_restored() {
    let trashed = file(FileState::Processing)
        .trash(SignedDuration::from_hours(1), &occasion())
        .expect("trashed");
    let restored = trashed.file.restore(&occasion()).expect("restored");
    assert_eq!(restored.file.state, FileState::Confirmed);
    assert_eq!(restored.jobs[0].kind, JobKind::ProcessFile);
}

#[test]
fn a_change_of_metadata_makes_a_new_sidecar_revision_only_where_one_stands() {
    let patch = || FilePatch {
        description: Some(Some("d".into())),
        ..FilePatch::default()
    };
    assert_eq!(
        file(FileState::Ready)
            .update(patch(), &occasion())
            .expect("updated")
            .file
            .epoch,
        3
    );
    assert_eq!(
        file(FileState::Pending)
            .update(patch(), &occasion())
            .expect("updated")
            .file
            .epoch,
        2
    );
}

#[test]
fn what_is_on_legal_hold_is_not_removed() {
    let code = |outcome: Result<Transition, Refusal>| outcome.err().map(|refusal| refusal.code);
    for state in FileState::ALL {
        let held = held(&file(*state));
        let trashed = held.trash(SignedDuration::from_hours(1), &occasion());
        assert_eq!(code(trashed), Some(ErrorCode::LegalHold), "{state:?}");
        assert_eq!(
            code(held.purge(&occasion())),
            Some(ErrorCode::LegalHold),
            "{state:?}"
        );
    }
    let free = file(FileState::Ready);
    assert_eq!(code(free.release(&occasion())), Some(ErrorCode::InvalidState));
    let held = free.hold_for("a lawsuit", &occasion()).expect("held").file;
    assert_eq!(held.hold.as_ref().map(|hold| hold.by.as_str()), Some("ann"));
    assert_eq!(
        held.epoch,
        free.epoch + 1,
        "a new revision of the sidecar says so"
    );
    let released = held.release(&occasion()).expect("released").file;
    assert_eq!((released.hold.clone(), released.epoch), (None, free.epoch + 2));
    assert_eq!(code(released.trash(SignedDuration::ZERO, &occasion())), None);
}

#[test]
fn a_move_remembers_the_place_that_is_left() {
    let ready = file(FileState::Ready);
    let place = ObjectPath::new("cold", "moved/5/files/7/a.bin");
    let archived = ready.archive(place, vec![], &occasion()).expect("archived");
    assert_eq!(archived.file.bucket, "cold");
    assert_eq!(archived.event.data["from_bucket"], "b");
    assert_eq!(archived.event.data["from_key"], "files/7/a.bin");
    assert_eq!(archived.jobs[0].kind, JobKind::RemoveMoved);
    let back = ObjectPath::new("b", "moved/6/files/7/a.bin");
    let ready = archived.file.unarchive(back, vec![], &occasion()).expect("back");
    assert_eq!(ready.file.unarchived_at, Some(now()));
    assert_eq!(ready.file.epoch, 4);
}

#[test]
fn quarantine_says_why_and_release_forgets_it() {
    let processing = file(FileState::Processing);
    let held = processing
        .quarantine(verified(), &infected(), &occasion())
        .expect("quarantined");
    let error = held.file.error.clone().expect("a reason");
    assert_eq!(error.code, INFECTED);
    assert!(error.message.contains("Eicar-Signature"), "{error:?}");
    assert_eq!(held.event.data["signature"], "Eicar-Signature");
    // Its worker has an epoch of its own for the first sidecar; every later change takes another one.
    assert_eq!(
        (held.file.epoch, held.file.verified.clone()),
        (2, Some(verified()))
    );
    assert!(
        held.jobs.is_empty() && held.usage.stored_bytes == 0,
        "the bytes stay, and count"
    );
    let reason = Holdup::NotFullyScanned {
        reason: format!("it {}", "x".repeat(1_000)),
    };
    let again = held
        .file
        .quarantine(verified(), &reason, &occasion())
        .expect("for another reason");
    let error = again.file.error.clone().expect("a reason");
    assert_eq!((error.code.as_str(), again.file.epoch), (NOT_FULLY_SCANNED, 3));
    assert!(error.message.chars().count() < 300, "it stands in a sidecar");
    let cleared = again
        .file
        .clear(JsonObject::new(), vec![], true, &occasion())
        .expect("cleared");
    assert_eq!(
        (cleared.file.state, cleared.file.error, cleared.file.epoch),
        (FileState::Ready, None, 4)
    );
    assert_eq!(cleared.event.data["released"], true);
    assert_eq!(cleared.event.data["cleared_of"], error.message);
}

#[test]
fn what_waits_says_so_once() {
    let processing = file(FileState::Processing);
    let waiting = processing
        .delay(scanner_is_away(), &occasion())
        .expect("delayed")
        .expect("a change");
    assert_eq!(waiting.event.data["error_code"], SCANNER_UNAVAILABLE);
    assert_eq!(
        waiting.file.delay(scanner_is_away(), &occasion()).expect("known"),
        None
    );
    let taken_up = waiting.file.process(&occasion()).expect("processing");
    assert_eq!(taken_up.file.error, None);
}

/// A crash between the sidecar and the row of a re-scan, or of a release.
#[test]
fn what_the_sidecar_says_of_quarantine_is_rolled_forward() {
    let ready = file(FileState::Ready);
    let held = ready
        .quarantine(verified(), &infected(), &occasion())
        .expect("held")
        .file;
    let forward = ready
        .roll_forward(held.clone(), EventKind::Quarantined, &occasion())
        .expect("rolled forward");
    assert_eq!(
        (forward.file.state, &forward.file.error),
        (held.state, &held.error)
    );
    let mut facts = JsonObject::new();
    facts.insert("width".to_owned(), 7.into());
    let cleared = held
        .clear(facts.clone(), vec![], false, &occasion())
        .expect("cleared")
        .file;
    let forward = held
        .roll_forward(cleared, EventKind::Cleared, &occasion())
        .expect("rolled forward");
    assert_eq!(
        (forward.file.state, forward.file.error, forward.file.facts),
        (FileState::Ready, None, facts)
    );
    assert!(
        ready
            .roll_forward(ready.clone(), EventKind::Cleared, &occasion())
            .is_err()
    );
}
