//! Inserting a signed upload: idempotent, within the quota, and all of it or nothing.

use std::sync::Arc;

use cloakroom_core::event::EventKind;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::{Inserted, Usage};
use cloakroom_core::upload::UploadMethod;
use futures_util::future::join_all;
use serde_json::json;

use super::stage::{Stage, Store};
use crate::fixtures::{SAMPLE_BYTES, SAMPLE_OWNER, digest, new_file, object, record_key, sample_record};

/// What is inserted comes back as it was.
pub async fn insert_keeps_every_field(store: Store) {
    let stage = Stage::new(store);
    let mut new = stage.new_file_with(|file| {
        file.record = Some(record_key("message/123"));
        file.facts = object(json!({ "row_count": 3 }));
        file.metadata = object(json!({ "n": 1, "deep": { "list": [1, 2.5, null, true, "ж"] } }));
    });
    new.record = Some(sample_record("message/123", SAMPLE_OWNER, stage.now()));
    new.upload.method = UploadMethod::Multipart;
    new.upload.multipart_id = Some("2~upload".to_owned());
    new.upload.part_size_bytes = Some(8 << 20);
    let (file, upload) = stage.insert(new).await;
    assert_eq!(stage.store.file(file.id).await.expect("file"), Some(file.clone()));
    assert_eq!(stage.store.upload(file.id).await.expect("upload"), Some(upload));

    let mut bare = stage.new_file_with(|file| {
        file.created_by_full_name = None;
        file.description = None;
        file.metadata.clear();
        file.declared.size_bytes = None;
        file.declared.sha256 = None;
    });
    bare.upload.request_digest = None;
    bare.upload.reserved_bytes = 0;
    let (file, upload) = stage.insert(bare).await;
    assert_eq!(stage.store.file(file.id).await.expect("file"), Some(file.clone()));
    assert_eq!(stage.store.upload(file.id).await.expect("upload"), Some(upload));
    assert_eq!(
        stage.store.file(FileId(uuid::Uuid::nil())).await.expect("file"),
        None
    );
    assert_eq!(
        stage
            .store
            .upload(FileId(uuid::Uuid::nil()))
            .await
            .expect("upload"),
        None
    );
}

/// I4: the insert is an event like every later change.
pub async fn insert_writes_one_event(store: Store) {
    let stage = Stage::new(store);
    let new = stage.new_file();
    let event = new.event.clone();
    let (file, _) = stage.insert(new).await;
    assert_eq!(stage.events(file.id).await, std::slice::from_ref(&event));
    assert_eq!((event.kind, event.version), (EventKind::Signed, 1));
}

/// I12: text is kept as it is, whatever is in it.
pub async fn insert_keeps_odd_text_and_large_json(store: Store) {
    let stage = Stage::new(store);
    let odd = [
        "\0",
        "a\0b",
        "'; DROP TABLE files; --",
        "\u{202e}fdp.exe",
        "𝒳🏳️‍🌈",
        "é",
        "\u{fffd}\u{feff}",
        "%_\\",
        "{p}",
    ];
    for text in odd {
        let new = stage.new_file_with(|file| {
            file.owner = format!("owner {text}");
            file.filename = text.into();
            file.description = Some(text.to_owned());
            file.metadata = object(json!({ text: text }));
        });
        let (file, _) = stage.insert(new).await;
        assert_eq!(stage.file(file.id).await, file, "{text:?}");
        assert_eq!(
            stage
                .store
                .usage(&file.owner)
                .await
                .expect("usage")
                .reserved_bytes,
            SAMPLE_BYTES,
            "{text:?}"
        );
    }
    let large: Vec<String> = (0..20_000)
        .map(|n| format!("value number {n} with some length"))
        .collect();
    let new = stage.new_file_with(|file| {
        file.metadata = object(json!({ "values": large, "text": "ж".repeat(100_000) }));
    });
    let (file, upload) = stage.insert(new).await;
    assert_eq!(stage.file(file.id).await, file);
    let file = stage.confirm(&file, &upload).await;
    assert_eq!(stage.file(file.id).await, file);
}

/// A repeated idempotency key finds the first rows; the second call changes nothing.
pub async fn inserting_again_returns_the_rows_that_stand(store: Store) {
    let stage = Stage::new(store);
    let (file, upload) = stage.sign().await;
    let before = stage.trace(file.id, SAMPLE_OWNER).await;
    stage.pass(5);
    let mut again = stage.new_file_with(|other| {
        other.id = file.id;
        other.filename = "other.pdf".into();
    });
    again.upload.file_id = file.id;
    again.event.file_id = file.id;
    again.record = Some(sample_record("message/1", SAMPLE_OWNER, stage.now()));
    let inserted = stage.store.insert(again.clone()).await.expect("insert");
    assert_eq!(
        inserted,
        Inserted::Existing(Box::new((file.clone(), upload.clone())))
    );
    assert_eq!(stage.trace(file.id, SAMPLE_OWNER).await, before);
    assert_eq!(
        stage
            .store
            .record(&record_key("message/1"))
            .await
            .expect("record"),
        None
    );

    // The rows that stand now, not those of the beginning.
    let confirmed = stage.confirm(&file, &upload).await;
    let inserted = stage.store.insert(again).await.expect("insert");
    assert_eq!(inserted, Inserted::Existing(Box::new((confirmed, upload))));
}

/// The same request from many nodes at once.
pub async fn concurrent_inserts_of_one_id_make_one_row(store: Store) {
    let stage = Stage::new(store);
    let first = stage.new_file();
    let inserts = (0..20_u8).map(|n| {
        let mut new = first.clone();
        new.upload.request_digest = Some(digest(n));
        stage.store.insert(new)
    });
    let answers = join_all(inserts).await;
    let new = answers
        .iter()
        .filter(|answer| matches!(answer, Ok(Inserted::New)))
        .count();
    assert_eq!(new, 1);
    let standing = stage
        .store
        .upload(first.file.id)
        .await
        .expect("upload")
        .expect("the upload is there");
    for answer in answers {
        match answer.expect("insert") {
            Inserted::New => {}
            Inserted::Existing(rows) => assert_eq!(rows.1, standing),
            Inserted::QuotaExceeded(_) => panic!("there is no quota"),
        }
    }
    assert_eq!(
        stage
            .store
            .usage(SAMPLE_OWNER)
            .await
            .expect("usage")
            .reserved_bytes,
        SAMPLE_BYTES
    );
    assert_eq!(stage.events(first.file.id).await.len(), 1);
}

/// I11: 50 at once where 10 fit.
pub async fn concurrent_inserts_never_exceed_the_quota(store: Store) {
    let stage = Stage::new(store);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let mut new = stage.new_file();
            new.quota_bytes = Some(10 * SAMPLE_BYTES + 1);
            let store = Arc::clone(&stage.store);
            tokio::spawn(async move { store.insert(new).await })
        })
        .collect();
    let mut accepted = 0;
    for task in join_all(tasks).await {
        match task.expect("no panic").expect("insert") {
            Inserted::New => accepted += 1,
            Inserted::QuotaExceeded(usage) => assert!(usage.reserved_bytes <= 10 * SAMPLE_BYTES),
            Inserted::Existing(_) => panic!("ids are fresh"),
        }
    }
    assert_eq!(accepted, 10);
    let usage = stage.store.usage(SAMPLE_OWNER).await.expect("usage");
    assert_eq!(
        usage,
        Usage {
            reserved_bytes: 10 * SAMPLE_BYTES,
            stored_bytes: 0,
            files: 0
        }
    );
}

/// A quota that does not allow it: no row, no event, no record, no reservation.
pub async fn a_refused_insert_leaves_nothing(store: Store) {
    let stage = Stage::new(store);
    let mut new = stage.new_file_with(|file| file.record = Some(record_key("message/1")));
    new.record = Some(sample_record("message/1", SAMPLE_OWNER, stage.now()));
    new.quota_bytes = Some(SAMPLE_BYTES - 1);
    let before = stage.trace(new.file.id, SAMPLE_OWNER).await;
    let answer = stage.store.insert(new.clone()).await.expect("insert");
    assert_eq!(answer, Inserted::QuotaExceeded(Usage::default()));
    assert_eq!(stage.trace(new.file.id, SAMPLE_OWNER).await, before);
    assert_eq!(
        stage
            .store
            .record(&record_key("message/1"))
            .await
            .expect("record"),
        None
    );

    new.quota_bytes = Some(SAMPLE_BYTES);
    assert_eq!(stage.store.insert(new).await.expect("insert"), Inserted::New);
}

/// Stored bytes count like reserved ones, other owners' do not.
pub async fn the_quota_counts_what_is_stored(store: Store) {
    let stage = Stage::new(store);
    stage.ready(stage.new_file()).await;
    stage
        .ready(stage.new_file_with(|file| file.owner = "somebody else".into()))
        .await;
    let mut new = stage.new_file();
    new.quota_bytes = Some(2 * SAMPLE_BYTES - 1);
    let usage = Usage {
        reserved_bytes: 0,
        stored_bytes: SAMPLE_BYTES,
        files: 1,
    };
    assert_eq!(
        stage.store.insert(new.clone()).await.expect("insert"),
        Inserted::QuotaExceeded(usage)
    );
    new.upload.reserved_bytes = u64::MAX;
    assert_eq!(
        stage.store.insert(new.clone()).await.expect("insert"),
        Inserted::QuotaExceeded(usage)
    );
    new.upload.reserved_bytes = SAMPLE_BYTES;
    new.quota_bytes = Some(2 * SAMPLE_BYTES);
    assert_eq!(stage.store.insert(new).await.expect("insert"), Inserted::New);
}

/// A retry of an accepted request is not refused because that very request used the quota up.
pub async fn a_known_id_is_answered_before_the_quota(store: Store) {
    let stage = Stage::new(store);
    let mut new = stage.new_file();
    new.quota_bytes = Some(SAMPLE_BYTES);
    stage.insert(new.clone()).await;
    assert!(matches!(
        stage.store.insert(new).await.expect("insert"),
        Inserted::Existing(_)
    ));
}

/// Whatever an adapter does to group commits, each caller's row is there when the call returns.
pub async fn many_concurrent_inserts_are_all_there(store: Store) {
    let stage = Stage::new(store);
    let tasks: Vec<_> = (0..300)
        .map(|n| {
            let mut file = stage.new_file().file;
            file.owner = format!("user-{}", n % 7);
            let new = new_file(file, &stage.random);
            let store = Arc::clone(&stage.store);
            tokio::spawn(async move {
                let file = new.file.clone();
                assert_eq!(store.insert(new).await.expect("insert"), Inserted::New);
                assert_eq!(store.file(file.id).await.expect("file"), Some(file));
            })
        })
        .collect();
    for task in join_all(tasks).await {
        task.expect("the row is there");
    }
    let mut reserved = 0;
    for n in 0..7 {
        reserved += stage
            .store
            .usage(&format!("user-{n}"))
            .await
            .expect("usage")
            .reserved_bytes;
    }
    assert_eq!(reserved, 300 * SAMPLE_BYTES);
}
