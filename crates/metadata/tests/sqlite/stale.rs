//! Rows of the file table that somebody removed by hand (it is a cache): what is left of them in the index tables is in
//! nobody's way.

use std::path::Path;

use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::ports::administration::{AdministrationStore as _, Adoption};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{FileQuery, MetadataStore as _};
use cloakroom_core::transition::Occasion;
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{object, sample_file, sample_observed, sample_upload, sample_verified};
use cloakroom_testkit::random::SeededRandom;
use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

/// A ready file as a rebuild finds it, with this word in its name and its metadata.
fn returning(random: &SeededRandom, word: &str, version: u64) -> Adoption {
    let now = MockClock::new().now();
    let file = sample_file(random, now);
    let file = File {
        state: FileState::Ready,
        version,
        epoch: 1,
        filename: format!("{word}.pdf"),
        metadata: object(json!({ "word": word })),
        staged: Some(sample_observed(&file).staged),
        verified: Some(sample_verified(&file)),
        ..file
    };
    let occasion = Occasion {
        now,
        actor: "test",
        random,
    };
    Adoption {
        upload: Some(sample_upload(&file)),
        derivatives: Vec::new(),
        record: None,
        event: occasion.event(&file, EventKind::Adopted),
        jobs: Vec::new(),
        replaces: None,
        file,
    }
}

async fn found(store: &SqliteStore, word: &str) -> [Vec<String>; 2] {
    let by_word = FileQuery {
        words: vec![word.to_owned()],
        limit: 10,
        ..FileQuery::default()
    };
    let by_metadata = FileQuery {
        metadata: vec![("word".to_owned(), json!(word))],
        limit: 10,
        ..FileQuery::default()
    };
    let names = async |query| {
        let files = store.files(&query).await.unwrap().items;
        files.into_iter().map(|file| file.filename).collect::<Vec<_>>()
    };
    [names(by_word).await, names(by_metadata).await]
}

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions::new(path)).unwrap()
}

#[tokio::test]
async fn files_whose_rows_were_removed_by_hand_come_back() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let random = SeededRandom::default();
    let (first, second) = (returning(&random, "alpha", 1), returning(&random, "beta", 1));
    let store = open(&path);
    for adoption in [&first, &second] {
        assert!(store.adopt(adoption).await.unwrap());
    }
    store.close().unwrap();
    // As the engine's own shell does it, which cascades nothing.
    Connection::open(&path)
        .unwrap()
        .execute_batch("PRAGMA foreign_keys = OFF; DELETE FROM cloakroom_files")
        .unwrap();

    let store = open(&path);
    let gone: [Vec<String>; 2] = [vec![], vec![]];
    assert_eq!(found(&store, "alpha").await, gone);
    // Another file comes first and takes the place of `alpha`.
    let third = returning(&random, "gamma", 1);
    assert!(store.adopt(&third).await.unwrap());
    assert_eq!(found(&store, "alpha").await, gone);
    for adoption in [first, second] {
        let mut again = adoption;
        again.file.version += 1;
        again.event.version += 1;
        assert!(store.adopt(&again).await.unwrap());
    }
    for word in ["alpha", "beta", "gamma"] {
        let name = format!("{word}.pdf");
        assert_eq!(found(&store, word).await, [vec![name.clone()], vec![name]]);
    }
}
