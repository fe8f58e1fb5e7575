use uuid::Uuid;

use super::*;
use crate::JsonObject;
use crate::checksum::Sha256Digest;
use crate::file::{Declared, FileError, PROCESSING_FAILED, Trash, Verified};
use crate::media::MediaType;

const BASE: &str = "files/00000000-0000-0000-0000-000000000007/a.bin";
const GRACE: SignedDuration = SignedDuration::from_hours(24);

fn id() -> FileId {
    FileId(Uuid::from_u128(7))
}

fn now() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().expect("a timestamp")
}

fn ago(hours: i64) -> Timestamp {
    now()
        .checked_sub(SignedDuration::from_hours(hours))
        .expect("a time")
}

fn file(state: FileState) -> File {
    File {
        id: id(),
        owner: "ann".into(),
        created_by_username: "ann".into(),
        created_by_full_name: None,
        collection: "files".into(),
        bucket: "b".into(),
        state,
        version: 4,
        epoch: 3,
        record: None,
        filename: "a.bin".into(),
        description: None,
        metadata: JsonObject::new(),
        declared: Declared {
            content_type: MediaType::octet_stream(),
            size_bytes: Some(10),
            sha256: None,
        },
        staged: None,
        verified: Some(Verified {
            sha256: Sha256Digest([1; 32]),
            size_bytes: 10,
            content_type: MediaType::octet_stream(),
        }),
        key: BASE.into(),
        facts: JsonObject::new(),
        error: None,
        created_at: now(),
        updated_at: now(),
        uploaded_at: None,
        confirmed_at: None,
        processed_at: None,
        trash: None,
        hold: None,
        unarchived_at: None,
    }
}

fn derivative(key: &str) -> Derivative {
    Derivative {
        file_id: id(),
        name: "preview".into(),
        outcome: DerivativeOutcome::Made {
            key: key.into(),
            content_type: MediaType::octet_stream(),
            size_bytes: 1,
            width: None,
            height: None,
        },
        created_at: now(),
    }
}

fn verdict(key: &str, evidence: &Evidence<'_>) -> Verdict {
    judge(&ObjectPath::new("b", key), ago(48), evidence, GRACE, now())
}

fn beside(rest: &str) -> String {
    format!("{BASE}.{rest}")
}

#[test]
fn keys_say_what_they_are() {
    let deadline = "2026-11-20T21:05:00Z".parse().expect("a timestamp");
    let staging = format!("staging/20261120T2105Z/{}/a.bin", id());
    let (sidecar, tombstone) = (beside("3.attr.json"), beside("tomb.attr.json"));
    let table = [
        (
            staging.as_str(),
            KeyKind::Staging {
                file_id: id(),
                deadline,
            },
        ),
        ("staging/20261120T2105Z/x/a.bin", KeyKind::Other),
        (
            "staging/tomorrow/00000000-0000-0000-0000-000000000007/a",
            KeyKind::Other,
        ),
        ("_cloakroom/mode.json", KeyKind::System),
        (&sidecar, KeyKind::Sidecar { of: BASE, epoch: 3 }),
        (&tombstone, KeyKind::Tombstone { of: BASE }),
        ("a.x.attr.json", KeyKind::Other),
        ("a.+3.attr.json", KeyKind::Other),
        (BASE, KeyKind::Other),
    ];
    for (key, kind) in table {
        assert_eq!(KeyKind::of(key), kind, "{key}");
    }
    let preview = beside("3.preview.webp");
    assert_eq!(
        KeyKind::of(&preview).owners(&preview),
        [preview.as_str(), BASE].map(std::borrow::Cow::Borrowed)
    );
}

#[test]
fn staging_is_garbage_only_without_row_and_note_and_past_its_time() {
    let key = |at: &str| format!("staging/{at}/{}/a.bin", id());
    let (over, open) = (key("20261119T2300Z"), key("20261120T2300Z"));
    let none = Evidence::default();
    let noted = Evidence {
        note: true,
        ..Evidence::default()
    };
    let purged = Evidence {
        purged: true,
        note: true,
        ..Evidence::default()
    };
    assert_eq!(verdict(&over, &none), Verdict::Garbage(GarbageReason::Staging));
    assert_eq!(verdict(&open, &none), Verdict::Known, "it may still be confirmed");
    assert_eq!(verdict(&over, &noted), Verdict::RowMissing, "it was confirmed");
    assert_eq!(verdict(&over, &purged), Verdict::Garbage(GarbageReason::Staging));
    for state in FileState::ALL {
        let row = file(*state);
        let evidence = Evidence {
            file: Some(&row),
            ..Evidence::default()
        };
        assert_eq!(verdict(&over, &evidence), Verdict::Known, "{state:?}");
    }
}

#[test]
fn what_a_settled_row_does_not_name_is_garbage() {
    use GarbageReason::{LeftObject, SupersededSidecar, UnlistedDerivative};
    let listed = [derivative(&beside("2.preview.webp"))];
    for state in [
        FileState::Ready,
        FileState::Archived,
        FileState::Quarantined,
        FileState::Trashed,
    ] {
        let mut row = file(state);
        if state == FileState::Trashed {
            row.trash = Some(Trash {
                from: FileState::Ready,
                at: now(),
                purge_at: now(),
            });
        }
        let whole = Evidence {
            file: Some(&row),
            derivatives: &listed,
            sidecar_epoch: Some(3),
            whole: true,
            ..Evidence::default()
        };
        let damaged = Evidence {
            whole: false,
            ..whole.clone()
        };
        let behind = Evidence {
            sidecar_epoch: Some(4),
            ..whole.clone()
        };
        let moved = "moved/2/".to_owned() + BASE;
        let table = [
            (BASE.to_owned(), &whole, Verdict::Known),
            (beside("3.attr.json"), &whole, Verdict::Known),
            (beside("2.attr.json"), &whole, Verdict::Garbage(SupersededSidecar)),
            (beside("2.attr.json"), &damaged, Verdict::RowBehind),
            (beside("4.attr.json"), &behind, Verdict::RowBehind),
            (beside("2.preview.webp"), &whole, Verdict::Known),
            (
                beside("1.preview.webp"),
                &whole,
                Verdict::Garbage(UnlistedDerivative),
            ),
            (beside("1.preview.webp"), &behind, Verdict::RowBehind),
            (beside("9.preview.webp"), &whole, Verdict::RowBehind),
            (beside("notes"), &whole, Verdict::Foreign),
            (beside("tomb.attr.json"), &whole, Verdict::RowBehind),
            (moved.clone(), &whole, Verdict::Garbage(LeftObject)),
            (moved.clone(), &damaged, Verdict::RowBehind),
            (moved, &behind, Verdict::RowBehind),
            (BASE.to_owned() + "x", &whole, Verdict::Foreign),
        ];
        for (key, evidence, expected) in table {
            assert_eq!(verdict(&key, evidence), expected, "{state:?} {key} {evidence:?}");
        }
    }
}

#[test]
fn nothing_is_decided_about_work_under_way() {
    let states = [
        FileState::Pending,
        FileState::Uploading,
        FileState::Uploaded,
        FileState::Confirmed,
        FileState::Processing,
        FileState::Reaping,
        FileState::Purging,
    ];
    for state in states {
        let row = file(state);
        let evidence = Evidence {
            file: Some(&row),
            sidecar_epoch: Some(3),
            ..Evidence::default()
        };
        for key in [BASE.to_owned(), beside("2.attr.json"), beside("1.preview.webp")] {
            assert_eq!(verdict(&key, &evidence), Verdict::Known, "{state:?} {key}");
        }
        let ahead = Evidence {
            sidecar_epoch: Some(4),
            ..evidence
        };
        let expected = if state == FileState::Purging {
            Verdict::Known
        } else {
            Verdict::RowBehind
        };
        assert_eq!(
            verdict(BASE, &ahead),
            expected,
            "{state:?}: a row out of a backup"
        );
    }
    let row = file(FileState::Ready);
    let evidence = Evidence {
        file: Some(&row),
        whole: true,
        ..Evidence::default()
    };
    let path = ObjectPath::new("b", beside("2.attr.json"));
    assert_eq!(
        judge(&path, ago(0), &evidence, GRACE, now()),
        Verdict::Known,
        "young"
    );
}

#[test]
fn what_is_left_of_a_failed_or_expired_file_is_garbage() {
    for state in [FileState::Failed, FileState::Expired] {
        let row = file(state);
        let evidence = Evidence {
            file: Some(&row),
            ..Evidence::default()
        };
        assert_eq!(
            verdict(BASE, &evidence),
            Verdict::Garbage(GarbageReason::LeftObject)
        );
        assert_eq!(verdict(&beside("tomb.attr.json"), &evidence), Verdict::Known);
        let stands = Evidence {
            sidecar_epoch: Some(4),
            ..evidence
        };
        assert_eq!(
            verdict(BASE, &stands),
            Verdict::RowBehind,
            "{state:?}: a row out of a backup"
        );
    }
    let mut row = file(FileState::Failed);
    row.error = Some(FileError {
        code: PROCESSING_FAILED.into(),
        message: String::new(),
    });
    let evidence = Evidence {
        file: Some(&row),
        ..Evidence::default()
    };
    assert_eq!(verdict(BASE, &evidence), Verdict::Known, "it may be tried again");
}

#[test]
fn without_a_row_a_sidecar_is_adopted_and_the_unknown_is_foreign() {
    let none = Evidence::default();
    let sidecar = Evidence {
        sidecar_epoch: Some(1),
        ..Evidence::default()
    };
    let purged = Evidence {
        purged: true,
        sidecar_epoch: Some(1),
        ..Evidence::default()
    };
    let tombstone = Evidence {
        tombstone: true,
        sidecar_epoch: Some(1),
        ..Evidence::default()
    };
    for key in [BASE.to_owned(), beside("1.attr.json"), beside("1.preview.webp")] {
        assert_eq!(verdict(&key, &none), Verdict::Foreign, "{key}");
        assert_eq!(verdict(&key, &sidecar), Verdict::RowMissing, "{key}");
        for over in [&purged, &tombstone] {
            assert_eq!(
                verdict(&key, over),
                Verdict::Garbage(GarbageReason::LeftObject),
                "{key}"
            );
        }
    }
    let key = beside("tomb.attr.json");
    assert_eq!(
        verdict(&key, &tombstone),
        Verdict::Garbage(GarbageReason::Tombstone)
    );
    let accompanied = Evidence {
        accompanied: true,
        ..tombstone.clone()
    };
    assert_eq!(verdict(&key, &accompanied), Verdict::Known, "it goes last");
    let fresh = judge(&ObjectPath::new("b", &key), ago(23), &tombstone, GRACE, now());
    assert_eq!(fresh, Verdict::Known, "late writers may be alive");
    assert_eq!(verdict(&key, &none), Verdict::Foreign, "it only looks like one");
    assert_eq!(verdict("holiday.jpg", &none), Verdict::Foreign);
    assert_eq!(verdict("_cloakroom/mode.json", &none), Verdict::Known);
}

#[test]
fn a_move_is_told_from_what_was_left_behind() {
    let row = file(FileState::Ready);
    let relate = |bucket: &str, key: &str| {
        let path = ObjectPath::new(bucket, key);
        relation(&row, &path).map(|r| (r.here, r.ahead, r.rest.map(str::to_owned)))
    };
    assert_eq!(relate("b", BASE), Some((true, false, None)));
    assert_eq!(
        relate("cold", &format!("moved/4/{BASE}")),
        Some((false, false, None))
    );
    let ahead = relate("cold", &format!("moved/5/{BASE}.3.attr.json"));
    assert_eq!(ahead, Some((false, true, Some("3.attr.json".to_owned()))));
    assert_eq!(relate("b", &format!("x/{BASE}")), None);
}
