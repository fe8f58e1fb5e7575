//! Records: whose they are is decided once, in the transaction that links the first file.

use cloakroom_core::file::FilePatch;
use cloakroom_core::ports::metadata::{Inserted, MetadataError, NewFile};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;

use super::stage::{Stage, Store};
use crate::fixtures::{SAMPLE_OWNER, object, record_key, sample_record};

fn linked(stage: &Stage, key: &str, owner: &str) -> NewFile {
    let mut new = stage.new_file_with(|file| {
        file.owner = owner.into();
        file.record = Some(record_key(key));
    });
    new.record = Some(sample_record(key, owner, stage.now()));
    new
}

/// The first link makes the record, later ones leave it as it is.
pub async fn a_record_is_made_with_its_first_file(store: Store) {
    let stage = Stage::new(store);
    let new = linked(&stage, "message/1", SAMPLE_OWNER);
    let record = new.record.clone().expect("a record");
    stage.insert(new).await;
    assert_eq!(
        stage.store.record(&record.key).await.expect("record"),
        Some(record.clone())
    );
    stage.pass(1);
    stage.insert(linked(&stage, "message/1", SAMPLE_OWNER)).await;
    assert_eq!(
        stage.store.record(&record.key).await.expect("record"),
        Some(record)
    );

    let (file, _) = stage.sign().await;
    let patch = FilePatch {
        record: Some(Some(record_key("message/2"))),
        ..FilePatch::default()
    };
    let mut transition = file.update(patch, &stage.occasion()).expect("open");
    transition.record = Some(sample_record("message/2", SAMPLE_OWNER, stage.now()));
    stage.apply(transition).await;
    assert!(
        stage
            .store
            .record(&record_key("message/2"))
            .await
            .expect("record")
            .is_some()
    );
    assert_eq!(
        stage
            .store
            .record(&record_key("message/3"))
            .await
            .expect("record"),
        None
    );
}

/// Design §6: the first owner to link owns the record.
pub async fn linking_to_a_strangers_record_is_refused_whole(store: Store) {
    let stage = Stage::new(store);
    stage.insert(linked(&stage, "message/1", "ann")).await;
    let new = linked(&stage, "message/1", "bob");
    let before = stage.trace(new.file.id, "bob").await;
    assert!(matches!(
        stage.store.insert(new.clone()).await,
        Err(MetadataError::RecordTaken)
    ));
    assert_eq!(stage.trace(new.file.id, "bob").await, before);

    let (file, _) = stage
        .insert(stage.new_file_with(|file| file.owner = "bob".into()))
        .await;
    let before = stage.trace(file.id, "bob").await;
    let patch = FilePatch {
        record: Some(Some(record_key("message/1"))),
        ..FilePatch::default()
    };
    let mut transition = file.update(patch, &stage.occasion()).expect("open");
    transition.record = Some(sample_record("message/1", "bob", stage.now()));
    assert!(matches!(
        stage.store.apply(transition).await,
        Err(MetadataError::RecordTaken)
    ));
    assert_eq!(stage.trace(file.id, "bob").await, before);
}

/// Many users link the same new record at once: it gets one owner, and the others nothing.
pub async fn concurrent_first_links_make_one_owner(store: Store) {
    let stage = Stage::new(store);
    let news: Vec<NewFile> = (0..20)
        .map(|n| linked(&stage, "message/1", &format!("user-{}", n % 4)))
        .collect();
    let answers = join_all(news.iter().cloned().map(|new| stage.store.insert(new))).await;
    let owner = stage
        .store
        .record(&record_key("message/1"))
        .await
        .expect("record")
        .expect("it was made")
        .owner;
    for (new, answer) in news.iter().zip(answers) {
        if new.file.owner == owner {
            assert_eq!(answer.expect("the owner's"), Inserted::New);
        } else {
            assert!(matches!(answer, Err(MetadataError::RecordTaken)), "{answer:?}");
        }
    }
}

/// Insert, replace and nothing in between.
pub async fn put_record_compares_versions(store: Store) {
    let stage = Stage::new(store);
    let mut record = sample_record("session/a b", "ann", stage.now());
    record.parent = Some(record_key("message/1"));
    let conflict = |answer| matches!(answer, Err(MetadataError::Conflict));
    assert!(
        conflict(stage.store.put_record(&record, Some(1)).await),
        "nothing to replace"
    );
    stage.store.put_record(&record, None).await.expect("insert");
    assert_eq!(
        stage.store.record(&record.key).await.expect("record"),
        Some(record.clone())
    );
    assert!(
        conflict(stage.store.put_record(&record, None).await),
        "it is there already"
    );

    let mut next = record.clone();
    next.version = 2;
    next.owner = "bob".into();
    next.parent = None;
    next.payload = object(json!({ "text": "\0" }));
    next.meta.clear();
    next.updated_at = stage.pass(1);
    assert!(
        conflict(stage.store.put_record(&next, Some(2)).await),
        "a version of the future"
    );
    assert_eq!(
        stage.store.record(&record.key).await.expect("record"),
        Some(record.clone())
    );
    stage.store.put_record(&next, Some(1)).await.expect("replace");
    assert_eq!(
        stage.store.record(&record.key).await.expect("record"),
        Some(next.clone())
    );
    assert!(
        conflict(stage.store.put_record(&next, Some(1)).await),
        "an older version"
    );
}

/// A record goes when nothing but the trash hangs on it.
pub async fn a_record_is_not_deleted_before_its_files(store: Store) {
    let stage = Stage::new(store);
    let key = record_key("message/1");
    let file = stage.ready(linked(&stage, "message/1", SAMPLE_OWNER)).await;
    let (open, upload) = stage.insert(linked(&stage, "message/1", SAMPLE_OWNER)).await;
    let conflict = |answer| matches!(answer, Err(MetadataError::Conflict));
    assert!(
        conflict(stage.store.delete_record(&key, 1).await),
        "two files are linked"
    );
    let trashed = stage
        .apply(
            file.trash(SignedDuration::ZERO, &stage.occasion())
                .expect("ready"),
        )
        .await;
    assert!(
        conflict(stage.store.delete_record(&key, 1).await),
        "an upload is open"
    );
    let open = stage
        .apply(open.reap(&upload, "aborted", &stage.occasion()).expect("open"))
        .await;
    assert!(
        conflict(stage.store.delete_record(&key, 2).await),
        "another version"
    );
    assert!(stage.store.record(&key).await.expect("record").is_some());
    stage
        .apply(open.reaped(&stage.occasion()).expect("reaping"))
        .await;
    stage
        .apply(trashed.purge(&stage.occasion()).expect("trashed"))
        .await;
    stage.store.delete_record(&key, 1).await.expect("delete");
    assert_eq!(stage.store.record(&key).await.expect("record"), None);
    assert!(
        conflict(stage.store.delete_record(&key, 1).await),
        "a second time"
    );
}

/// The records below a record.
pub async fn children_are_listed_by_key(store: Store) {
    let stage = Stage::new(store);
    let parent = record_key("session/1");
    for (key, parent) in [
        ("message/2", Some("session/1")),
        ("message/1", Some("session/1")),
        ("message/3", Some("session/2")),
        ("a/1", Some("session/1")),
        ("message/4", None),
    ] {
        let mut record = sample_record(key, SAMPLE_OWNER, stage.now());
        record.parent = parent.map(record_key);
        stage.store.put_record(&record, None).await.expect("put");
    }
    let children = stage.store.child_records(&parent).await.expect("children");
    let keys: Vec<String> = children.iter().map(|record| record.key.to_string()).collect();
    assert_eq!(keys, ["a/1", "message/1", "message/2"]);
    assert!(
        children
            .iter()
            .all(|record| record.parent.as_ref() == Some(&parent))
    );
}

/// Those that there are of those that are asked for, each once, whatever characters their ids have.
pub async fn several_records_are_read_at_once(store: Store) {
    let stage = Stage::new(store);
    let keys = ["artifact/1", "artifact/2", "session/1", "artifact/3 ж"].map(record_key);
    for key in &keys {
        let mut record = sample_record(&key.to_string(), SAMPLE_OWNER, stage.now());
        record.meta.insert("doc_id".to_owned(), json!(key.id()));
        stage.store.put_record(&record, None).await.expect("made");
    }
    let asked = [&keys[0], &keys[2], &keys[3], &record_key("artifact/none")].map(Clone::clone);
    let mut found = stage.store.records(&asked).await.expect("an answer");
    found.sort_by(|a, b| a.key.cmp(&b.key));
    let mut expected = Vec::new();
    for key in [&keys[0], &keys[3], &keys[2]] {
        expected.extend(stage.store.record(key).await.expect("an answer"));
    }
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(found, expected);
    assert_eq!(found.len(), 3);
    assert_eq!(stage.store.records(&[]).await.expect("an answer"), []);
}
