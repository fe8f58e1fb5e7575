//! Formats that outlive the program: every golden file is read and written again byte for byte, whatever is written comes
//! back, and what is not ours is refused by name.

use std::path::PathBuf;

use cloakroom_core::JsonObject;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{Declared, File, FileError, FileState, Hold, Staged, Trash, Verified};
use cloakroom_core::format::confirm_note_v1::ConfirmNoteV1;
use cloakroom_core::format::record_v1::RecordV1;
use cloakroom_core::format::sidecar_v1::{SIDECAR_BYTES_MAX, SidecarV1};
use cloakroom_core::format::tombstone_v1::TombstoneV1;
use cloakroom_core::id::FileId;
use cloakroom_core::key::derivative_key;
use cloakroom_core::media::MediaType;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::upload::{Upload, UploadMethod};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

fn media(text: &str) -> MediaType {
    MediaType::parse(text).expect("a media type")
}

fn record_key(text: &str) -> RecordKey {
    RecordKey::parse(text).expect("a record")
}

/// A file with everything that a file can have.
fn full() -> File {
    File {
        id: FileId(Uuid::from_u128(0x0193_4b6e_1c00_7000_8000_0000_0000_0007)),
        owner: "ann".into(),
        created_by_username: "ann".into(),
        created_by_full_name: Some("Анна Ан".into()),
        collection: "photos".into(),
        bucket: "bucket".into(),
        state: FileState::Ready,
        version: 5,
        epoch: 2,
        record: Some(record_key("complaint/жалоба 42")),
        filename: "Фото 1.jpg".into(),
        description: Some("a \"quoted\" line\nand another".into()),
        metadata: object(json!({"n": 1.5, "nested": {"a": [1, null, true]}})),
        declared: Declared {
            content_type: MediaType::octet_stream(),
            size_bytes: Some(1234),
            sha256: Some(Sha256Digest([0xab; 32])),
        },
        staged: Some(Staged {
            size_bytes: 1234,
            etag: "0123456789abcdef0123456789abcdef-2".into(),
            generation: "0123456789abcdef0123456789abcdef-2".into(),
        }),
        verified: Some(Verified {
            sha256: Sha256Digest([0xab; 32]),
            size_bytes: 1234,
            content_type: media("image/jpeg"),
        }),
        key: "complaint/42/originals/01934b6e-1c00-7000-8000-000000000007.jpg".into(),
        facts: object(json!({"width": 40, "height": 30})),
        error: None,
        created_at: at("2026-11-21T08:00:00.000001Z"),
        updated_at: at("2026-11-21T08:00:04Z"),
        uploaded_at: Some(at("2026-11-21T08:00:01Z")),
        confirmed_at: Some(at("2026-11-21T08:00:02Z")),
        processed_at: Some(at("2026-11-21T08:00:03Z")),
        trash: None,
        hold: None,
        unarchived_at: None,
    }
}

fn upload(file: &File) -> Upload {
    Upload {
        file_id: file.id,
        method: UploadMethod::Multipart,
        staging_key: cloakroom_core::key::staging_key(file.id, &file.filename, at("2026-11-21T08:15:00Z")),
        expires_at: at("2026-11-21T08:15:00Z"),
        multipart_id: None,
        part_size_bytes: Some(8 << 20),
        request_digest: Some(Sha256Digest([7; 32])),
        reserved_bytes: 1234,
    }
}

/// As they were before originals had their thumbnails in a directory of their own.
fn derivatives(file: &File) -> Vec<Derivative> {
    derivatives_at(file, format!("{}.1.thumbnail-256.webp", file.key))
}

fn derivatives_at(file: &File, key: String) -> Vec<Derivative> {
    let created_at = at("2026-11-21T08:00:03.5Z");
    vec![
        Derivative {
            file_id: file.id,
            name: "thumbnail-256".into(),
            outcome: DerivativeOutcome::Made {
                key,
                content_type: media("image/webp"),
                size_bytes: 99,
                width: Some(40),
                height: Some(30),
            },
            created_at,
        },
        Derivative {
            file_id: file.id,
            name: "preview".into(),
            outcome: DerivativeOutcome::Failed {
                error: "It has no pages.".into(),
            },
            created_at,
        },
    ]
}

fn linked() -> Record {
    Record::linked(
        record_key("complaint/жалоба 42"),
        "ann".into(),
        at("2026-11-21T08:00:00Z"),
    )
}

fn record() -> Record {
    Record {
        parent: Some(record_key("case/7")),
        payload: object(json!({"status": "open"})),
        meta: object(json!({"doc_id": 7})),
        version: 3,
        updated_at: at("2026-11-21T09:00:00Z"),
        ..linked()
    }
}

fn sidecar(file: &File) -> SidecarV1 {
    sidecar_with(file, &derivatives(file))
}

/// With thumbnails where they are made today.
fn sidecar_of_original(file: &File) -> SidecarV1 {
    let key = derivative_key(&file.key, 1, "thumbnail-256", "webp");
    sidecar_with(file, &derivatives_at(file, key))
}

fn sidecar_with(file: &File, derivatives: &[Derivative]) -> SidecarV1 {
    SidecarV1::of(file, derivatives)
        .expect("verified")
        .with_upload(&upload(file))
        .with_record(&linked())
}

fn trashed() -> File {
    File {
        state: FileState::Trashed,
        trash: Some(Trash {
            from: FileState::Ready,
            at: at("2026-11-21T08:00:04Z"),
            purge_at: at("2026-11-28T08:00:04Z"),
        }),
        hold: Some(Hold {
            by: "counsel".into(),
            at: at("2026-11-21T08:01:00Z"),
            reason: "case 7".into(),
        }),
        ..full()
    }
}

fn quarantined() -> File {
    File {
        state: FileState::Quarantined,
        error: Some(FileError {
            code: "infected".into(),
            message: "The scanner found Eicar.".into(),
        }),
        unarchived_at: Some(at("2026-11-22T08:00:00Z")),
        ..full()
    }
}

fn confirmed() -> File {
    File {
        state: FileState::Confirmed,
        verified: None,
        facts: JsonObject::new(),
        processed_at: None,
        epoch: 0,
        version: 2,
        ..full()
    }
}

/// Reads a golden file and writes it again.
type Again = fn(&[u8]) -> Vec<u8>;

/// A sidecar whose thumbnails stand in a directory of their own.
fn golden_original() -> (&'static str, Vec<u8>, Again) {
    let bytes = sidecar_of_original(&full()).encode().expect("fits");
    ("sidecar-original.json", bytes, |bytes| {
        SidecarV1::decode(bytes).expect("valid").encode().expect("fits")
    })
}

/// Every golden file: what is written, and what its bytes are written again as.
fn golden() -> Vec<(&'static str, Vec<u8>, Again)> {
    let sidecar_again: Again = |bytes| SidecarV1::decode(bytes).expect("valid").encode().expect("fits");
    let moved = SidecarV1 {
        bucket: Some("archive".into()),
        key: Some("moved/6/complaint/42/originals/01934b6e-1c00-7000-8000-000000000007.jpg".into()),
        state: "archived".into(),
        omitted: vec!["facts".into()],
        facts: JsonObject::new(),
        ..sidecar(&full())
    };
    let note = |file: &File| {
        let note = ConfirmNoteV1::of(file, &upload(file)).expect("confirmed");
        note.with_record(&linked()).encode()
    };
    let note_again: Again = |bytes| ConfirmNoteV1::decode(bytes).expect("valid").encode();
    let record_again: Again = |bytes| RecordV1::decode(bytes).expect("valid").encode();
    let least = File {
        created_by_full_name: None,
        record: None,
        description: None,
        metadata: JsonObject::new(),
        declared: Declared {
            content_type: media("image/jpeg"),
            size_bytes: None,
            sha256: None,
        },
        staged: None,
        facts: JsonObject::new(),
        uploaded_at: None,
        confirmed_at: None,
        processed_at: None,
        ..full()
    };
    let tombstone = TombstoneV1 {
        format: 1,
        file_id: full().id.0,
        purged_at: at("2026-11-28T08:00:04Z"),
    };
    vec![
        (
            "sidecar-ready.json",
            sidecar(&full()).encode().expect("fits"),
            sidecar_again,
        ),
        (
            "sidecar-least.json",
            SidecarV1::of(&least, &[])
                .expect("verified")
                .encode()
                .expect("fits"),
            sidecar_again,
        ),
        (
            "sidecar-trashed-held.json",
            sidecar(&trashed()).encode().expect("fits"),
            sidecar_again,
        ),
        (
            "sidecar-quarantined.json",
            sidecar(&quarantined()).encode().expect("fits"),
            sidecar_again,
        ),
        (
            "sidecar-archived-moved.json",
            moved.encode().expect("fits"),
            sidecar_again,
        ),
        ("tombstone.json", tombstone.encode(), |bytes| {
            TombstoneV1::decode(bytes).expect("valid").encode()
        }),
        ("confirm-note.json", note(&confirmed()), note_again),
        (
            "confirm-note-trashed.json",
            note(&File {
                state: FileState::Trashed,
                trash: Some(Trash {
                    from: FileState::Confirmed,
                    at: at("2026-11-21T08:00:04Z"),
                    purge_at: at("2026-11-28T08:00:04Z"),
                }),
                ..confirmed()
            }),
            note_again,
        ),
        ("record.json", RecordV1::of(&record()).encode(), record_again),
        (
            "record-deleted.json",
            RecordV1::tombstone(&record()).encode(),
            record_again,
        ),
    ]
}

#[expect(
    clippy::disallowed_methods,
    reason = "asked for by whoever adds a kind of file"
)]
#[test]
fn golden_files_are_read_and_written_byte_for_byte() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut known = Vec::new();
    for (name, written, again) in golden().into_iter().chain([golden_original()]) {
        let path = directory.join(name);
        // A new kind of file: `BLESS=1 cargo test -p cloakroom-core --test formats` writes it. One that stands never changes.
        if std::env::var_os("BLESS").is_some() && !path.exists() {
            std::fs::write(&path, &written).expect("written");
        }
        let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(&written), text(&golden), "{name} is written as ever");
        assert_eq!(
            text(&again(&golden)),
            text(&golden),
            "{name} is read and written again"
        );
        known.push(name.to_owned());
    }
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let name = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("a name");
        assert!(known.contains(&name), "{name} is read by a test");
    }
}

#[test]
fn thumbnails_are_read_back_to_where_they_stand() {
    let key = "complaint/42/thumbnails/01934b6e-1c00-7000-8000-000000000007.jpg.1.thumbnail-256.webp";
    let written = derivatives_at(&full(), key.to_owned());
    let sidecar = sidecar_of_original(&full());
    assert_eq!(sidecar.derivatives(&full()).expect("valid"), written);
    let before = derivatives(&full());
    assert_ne!(before, written);
    assert_eq!(
        self::sidecar(&full()).derivatives(&full()).expect("valid"),
        before
    );
}

#[test]
fn a_sidecar_gives_back_the_whole_row() {
    for file in [full(), trashed(), quarantined()] {
        let bytes = sidecar(&file).encode_fitting().expect("fits");
        let read = SidecarV1::decode(&bytes).expect("valid");
        let back = read.file(&file.bucket, &file.key).expect("a row");
        assert_eq!(back, file);
        assert_eq!(read.derivatives(&back).expect("derivatives"), derivatives(&file));
        assert_eq!(read.upload().expect("an upload"), Some(upload(&file)));
        assert_eq!(read.linked_record().expect("a record"), Some(linked()));
    }
    let file = confirmed();
    let note = ConfirmNoteV1::of(&file, &upload(&file)).expect("a note");
    let note = ConfirmNoteV1::decode(&note.encode()).expect("valid");
    assert_eq!(note.file(&file.bucket).expect("a row"), file);
    assert_eq!(note.upload().expect("an upload"), upload(&file));
    let document = RecordV1::decode(&RecordV1::of(&record()).encode()).expect("valid");
    assert_eq!(document.record().expect("a record"), record());
}

/// A table of very many columns still tells how many rows it has.
#[test]
fn long_lists_give_way_before_other_facts() {
    let columns: Vec<String> = (0..500).map(|number| format!("column {number}")).collect();
    let mut file = full();
    file.facts = [
        ("columns".to_owned(), serde_json::json!(columns)),
        ("row_count".to_owned(), 7.into()),
    ]
    .into_iter()
    .collect();
    let read = SidecarV1::decode(&sidecar(&file).encode_fitting().expect("fits")).expect("valid");
    assert_eq!(read.omitted, ["long_facts"]);
    let back = read.file(&file.bucket, &file.key).expect("a row");
    assert_eq!(
        serde_json::Value::from(back.facts),
        serde_json::json!({"row_count": 7})
    );
}

#[test]
fn only_what_is_confirmed_and_not_verified_has_a_note() {
    for state in FileState::ALL {
        let file = File {
            state: *state,
            trash: None,
            ..confirmed()
        };
        let noted = matches!(state, FileState::Confirmed | FileState::Processing);
        assert_eq!(
            ConfirmNoteV1::of(&file, &upload(&file)).is_some(),
            noted,
            "{state:?}"
        );
    }
}

/// Whatever is wrong with a sidecar is said, under one name.
#[test]
fn damaged_sidecars_are_refused_by_name() {
    let good: Value = serde_json::from_slice(&sidecar(&trashed()).encode().expect("fits")).expect("JSON");
    let table: [(&str, Value); 20] = [
        ("/format", json!(2)),
        ("/format", json!("1")),
        ("/file_id", json!("7")),
        ("/epoch", json!(0)),
        ("/epoch", json!(-1)),
        ("/state", json!("pending")),
        ("/state", json!("purging")),
        ("/state", json!("ready")),
        ("/owner", json!("")),
        ("/collection", json!("")),
        ("/filename", json!("a\0b")),
        ("/metadata", json!({"a": ["\0"]})),
        ("/content_type", json!("jpeg")),
        ("/sha256", json!("ab")),
        ("/record", json!("complaint")),
        ("/created_at", json!("yesterday")),
        ("/trash/from", json!("confirmed")),
        ("/derivatives/0/suffix", json!("other/key")),
        ("/derivatives/0/suffix", Value::Null),
        ("/upload/method", json!("carrier pigeon")),
    ];
    for (place, value) in table {
        let mut bad = good.clone();
        *bad.pointer_mut(place).expect("a place") = value.clone();
        let refusal = SidecarV1::decode(bad.to_string().as_bytes()).expect_err(place);
        assert_eq!(refusal.code, ErrorCode::InvalidAttributeFile, "{place} {value}");
    }
    let bytes = good.to_string().into_bytes();
    for bad in [
        &bytes[..bytes.len() - 1],
        b"",
        b"[]",
        &[b' '; SIDECAR_BYTES_MAX + 1],
    ] {
        let refusal = SidecarV1::decode(bad).expect_err("refused");
        assert_eq!(refusal.code, ErrorCode::InvalidAttributeFile);
    }
    // What a newer program has added is passed over.
    let mut newer = good;
    newer["added_later"] = json!({"a": 1});
    assert!(SidecarV1::decode(newer.to_string().as_bytes()).is_ok());
}

fn text(chars: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let char = prop_oneof![
        4 => proptest::char::range('a', 'z'),
        1 => proptest::char::any().prop_filter("no NUL", |c| *c != '\0'),
    ];
    proptest::collection::vec(char, chars).prop_map(|chars| chars.into_iter().collect())
}

prop_compose! {
    fn any_file()(
        filename in text(1..256),
        description in proptest::option::of(text(0..2000)),
        metadata in proptest::collection::btree_map(text(0..20), text(0..400), 0..6),
        record in any::<bool>(),
        owner in text(1..200),
        key in text(1..300),
        declared_type in any::<bool>(),
    ) -> File {
        File {
            filename,
            description,
            metadata: metadata.into_iter().map(|(name, value)| (name, value.into())).collect(),
            record: record.then(|| record_key("complaint/жалоба 42")),
            owner,
            key: format!("a/{key}"),
            declared: Declared {
                content_type: if declared_type { MediaType::octet_stream() } else { media("image/jpeg") },
                size_bytes: None,
                sha256: None,
            },
            staged: None,
            verified: None,
            facts: JsonObject::new(),
            ..full()
        }
    }
}

proptest! {
    /// What was admitted before anything was written fits for ever: in the trash, on hold, quarantined, moved, with more facts
    /// and derivatives than there is room for; and everything that is not found again by itself comes back.
    #[test]
    fn an_admitted_file_always_fits(
        file in any_file(),
        facts in proptest::collection::btree_map(text(0..20), text(0..400), 0..12),
        columns in proptest::collection::vec(text(0..40), 0..60),
        made in 0..30_usize,
        by in text(0..200),
        reason in text(0..500),
        message in text(0..500),
    ) {
        let admitted = SidecarV1::admit(&file);
        if let Err(refusal) = &admitted {
            prop_assert_eq!(refusal.code, ErrorCode::MetadataTooLarge);
            return Ok(());
        }
        let mut grown = File {
            state: FileState::Trashed,
            version: u64::MAX,
            epoch: u32::MAX,
            staged: full().staged.map(|staged| Staged { size_bytes: u64::MAX, ..staged }),
            verified: Some(Verified {
                size_bytes: u64::MAX,
                content_type: media("application/vnd.openxmlformats-officedocument.presentationml.presentation"),
                ..full().verified.expect("verified")
            }),
            facts: facts
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .chain([("columns".to_owned(), serde_json::json!(columns))])
                .collect(),
            error: Some(FileError { code: "infected".into(), message }),
            hold: Some(Hold { by, at: Timestamp::MAX, reason }),
            trash: Some(Trash { from: FileState::Quarantined, at: Timestamp::MAX, purge_at: Timestamp::MAX }),
            unarchived_at: Some(Timestamp::MAX),
            ..file
        };
        let all = (0..made).map(|number| Derivative {
            name: format!("thumbnail-{number}"),
            ..derivatives(&grown)[number % 2].clone()
        });
        let all: Vec<_> = all.collect();
        let mut sidecar = SidecarV1::of(&grown, &all).expect("verified").with_upload(&upload(&grown)).with_record(&linked());
        sidecar.bucket = Some("archive".into());
        sidecar.key = Some(cloakroom_core::key::moved_key(&grown.key, u64::MAX));
        let bytes = sidecar.encode_fitting();
        prop_assert!(bytes.is_ok(), "{:?}", bytes);
        let bytes = bytes.expect("fits");
        prop_assert!(bytes.len() <= SIDECAR_BYTES_MAX);
        let read = SidecarV1::decode(&bytes);
        prop_assert!(read.is_ok(), "{:?}", read);
        let read = read.expect("valid");
        let back = read.file("archive", &grown.key).expect("a row");
        // What did not fit is named, and nothing else is missing.
        if read.omits("facts") {
            prop_assert!(!read.omits("long_facts"));
            grown.facts.clear();
        }
        if read.omits("long_facts") {
            grown.facts.remove("columns");
        }
        if read.omits("texts") {
            grown.hold = back.hold.clone();
            grown.error = back.error.clone();
        }
        if !read.omits("derivatives") && !read.omits("derivative_details") {
            let named = read.derivatives(&back).expect("derivatives");
            prop_assert_eq!(named.len(), all.len());
        }
        prop_assert_eq!(read.omits("derivatives") && made > 0, made > 0 && read.derivatives.is_empty());
        grown.bucket = back.bucket.clone();
        grown.key = back.key.clone();
        prop_assert_eq!(back, grown);
    }

    #[test]
    fn noise_is_refused_and_harms_nobody(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(SidecarV1::decode(&noise).is_err());
        prop_assert!(ConfirmNoteV1::decode(&noise).is_err());
        prop_assert!(RecordV1::decode(&noise).is_err());
        prop_assert!(TombstoneV1::decode(&noise).is_err());
    }
}
