//! Opening and closing: the lock, the schema, damage, prefixes, and hints to others.

use std::path::Path;
use std::sync::{Arc, Mutex};

use cloakroom_core::id::{FileId, IntentId};
use cloakroom_core::intent::{Intent, IntentKind};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{FileQuery, Inserted, MetadataError, MetadataStore as _, Usage};
use cloakroom_core::ports::signals::{Signals, Subscription, Topic};
use cloakroom_core::transition::Occasion;
use cloakroom_metadata::TablePrefix;
use cloakroom_metadata::sqlite::{MigrationMismatch, OpenError, SqliteOptions, SqliteStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{object, sample_collection, sample_new_file, sample_observed};
use cloakroom_testkit::random::SeededRandom;
use rusqlite::Connection;
use sha2::Digest as _;
use tempfile::TempDir;
use uuid::Uuid;

fn options(path: &Path) -> SqliteOptions {
    SqliteOptions::new(path)
}

fn refusal(path: &Path) -> OpenError {
    match SqliteStore::open(options(path)) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// Says what it should in one line, with the path.
fn assert_names(error: &OpenError, path: &Path, what: &str) {
    let text = error.to_string();
    assert!(
        text.contains(path.to_str().unwrap()) && text.contains(what) && !text.contains('\n'),
        "{text}"
    );
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let directory = TempDir::new().unwrap();
    // The directory is made as well, and a name that looks like a URI is a name.
    let path = directory.path().join("new").join("file:odd name.db");
    let random = SeededRandom::default();
    let new = sample_new_file(&random, MockClock::new().now());
    let store = SqliteStore::open(options(&path)).unwrap();
    assert_eq!(store.insert(new.clone()).await.unwrap(), Inserted::New);
    store.close().unwrap();
    assert!(path.is_file());
    let log = path.with_file_name("file:odd name.db-wal");
    assert!(
        !log.exists() || log.metadata().unwrap().len() == 0,
        "the log was copied into the database"
    );

    let store = SqliteStore::open(options(&path)).unwrap();
    assert_eq!(store.file(new.file.id).await.unwrap(), Some(new.file.clone()));
    assert!(matches!(store.insert(new).await.unwrap(), Inserted::Existing(_)));
    drop(store);
    SqliteStore::open(options(&path)).unwrap();
}

#[tokio::test]
async fn one_process_at_a_time() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let store = SqliteStore::open(options(&path)).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::InUse { .. }));
    assert_names(&error, &path, "metadata.db.lock");
    store.ping().await.unwrap();
    drop(store);
    SqliteStore::open(options(&path)).unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn two_prefixes_in_one_file_do_not_see_each_other() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let random = SeededRandom::default();
    let new = sample_new_file(&random, MockClock::new().now());
    let with_prefix = |prefix: &str| {
        let table_prefix: TablePrefix = prefix.parse().unwrap();
        SqliteStore::open(SqliteOptions {
            table_prefix,
            ..options(&path)
        })
        .unwrap()
    };
    let store = with_prefix("one");
    assert_eq!(store.insert(new.clone()).await.unwrap(), Inserted::New);
    store
        .put_setting("mode", &object(serde_json::json!({ "mode": "rw" })))
        .await
        .unwrap();
    drop(store);

    let store = with_prefix("two");
    assert_eq!(store.file(new.file.id).await.unwrap(), None);
    assert_eq!(store.setting("mode").await.unwrap(), None);
    assert_eq!(store.usage(&new.file.owner).await.unwrap(), Usage::default());
    assert_eq!(store.insert(new.clone()).await.unwrap(), Inserted::New);
    drop(store);

    let store = with_prefix("one");
    assert_eq!(
        store
            .files(&FileQuery {
                limit: 10,
                ..FileQuery::default()
            })
            .await
            .unwrap()
            .items,
        [new.file]
    );
    drop(store);
    let tables = |prefix: &str| -> i64 {
        let connection = Connection::open(&path).unwrap();
        let sql = "SELECT count(*) FROM sqlite_schema WHERE tbl_name LIKE ?1 || '\\_%' ESCAPE '\\'";
        connection.query_row(sql, [prefix], |row| row.get(0)).unwrap()
    };
    assert!(tables("one") > 10);
    assert_eq!(tables("one"), tables("two"));
    assert_eq!(tables("cloakroom"), 0);
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    drop(SqliteStore::open(options(&path)).unwrap());
    let sql = "INSERT INTO cloakroom_migrations VALUES (5, 'of_the_future', 'x', 0)";
    Connection::open(&path).unwrap().execute(sql, []).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refusal(&path);
    let newer = MigrationMismatch::Newer { found: 5, known: 4 };
    assert!(
        matches!(&error, OpenError::Schema { source, .. } if *source == newer),
        "{error}"
    );
    assert_names(&error, &path, "newer program");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

/// Files of the former release: its schema, with rows in it.
#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let first = include_str!("../../migrations/sqlite/0001_initial.sql");
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(&first.replace("{p}", "cloakroom"))
        .unwrap();
    connection
        .execute_batch(
            "CREATE TABLE cloakroom_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL,
                checksum TEXT NOT NULL, applied_at INTEGER NOT NULL) STRICT;
             INSERT INTO cloakroom_settings VALUES ('mode', '{\"mode\":\"rw\"}');
             INSERT INTO cloakroom_wal VALUES (randomblob(16), 'file_create', 'PENDING', zeroblob(16), 3,
                '{\"key\":\"k\"}', 'worker', 1, 2, NULL, NULL);",
        )
        .unwrap();
    let checksum = sha2::Sha256::digest(first)
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    connection
        .execute(
            "INSERT INTO cloakroom_migrations VALUES (1, 'initial', ?1, 0)",
            [checksum],
        )
        .unwrap();
    drop(connection);

    let store = SqliteStore::open(SqliteOptions {
        outbox: true,
        ..options(&path)
    })
    .unwrap();
    let mode = object(serde_json::json!({ "mode": "rw" }));
    assert_eq!(store.setting("mode").await.unwrap(), Some(mode));
    let new = sample_new_file(&SeededRandom::default(), MockClock::new().now());
    assert_eq!(store.insert(new.clone()).await.unwrap(), Inserted::New);
    // The log came through its new table, and takes what is about no single file.
    let intents = store.stale_intents(new.file.created_at, 10).await.unwrap();
    assert_eq!(intents.len(), 1);
    assert_eq!(
        (intents[0].epoch, intents[0].file_id),
        (3, Some(FileId(Uuid::nil())))
    );
    assert_eq!(intents[0].data, object(serde_json::json!({ "key": "k" })));
    let intent = Intent {
        id: IntentId(Uuid::now_v7()),
        kind: IntentKind::ModeChange,
        file_id: None,
        ..intents[0].clone()
    };
    store.begin_intent(&intent).await.unwrap();
    let intents = store.stale_intents(new.file.created_at, 10).await.unwrap();
    assert!(intents.contains(&intent), "{intents:?}");
    drop(store);
    let applied: u32 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT max(version) FROM cloakroom_migrations", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(applied, 4);
}

#[test]
fn a_table_that_is_gone_is_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    drop(SqliteStore::open(options(&path)).unwrap());
    Connection::open(&path)
        .unwrap()
        .execute_batch("DROP TABLE cloakroom_files; DROP TABLE cloakroom_search")
        .unwrap();
    let error = refusal(&path);
    assert_names(
        &error,
        &path,
        "tables cloakroom_files, cloakroom_search are missing",
    );
    assert_names(&error, &path, "cloakroom rebuild");
}

#[test]
fn a_changed_migration_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    drop(SqliteStore::open(options(&path)).unwrap());
    let sql = "UPDATE cloakroom_migrations SET checksum = 'of another text' WHERE version = 1";
    Connection::open(&path).unwrap().execute(sql, []).unwrap();
    let error = refusal(&path);
    assert_names(&error, &path, "migration 0001_initial differs");
}

#[test]
fn what_is_no_database_is_said_to_be_none() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let text = "this is a letter, and a long one. ".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_names(&error, &path, "not an SQLite database, or damaged");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "it is somebody's file"
    );

    let error = refusal(directory.path());
    assert_names(&error, directory.path(), "");
}

#[tokio::test]
async fn a_damaged_database_is_an_error_and_not_a_wrong_answer() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("metadata.db");
    let (clock, random) = (MockClock::new(), SeededRandom::default());
    SqliteStore::open(options(&path)).unwrap().close().unwrap();
    let bytes_of_the_schema = std::fs::read(&path).unwrap().len();
    let store = SqliteStore::open(options(&path)).unwrap();
    let mut ids = Vec::new();
    for _ in 0..200 {
        let new = sample_new_file(&random, clock.now());
        ids.push(new.file.id);
        store.insert(new).await.unwrap();
    }
    store.close().unwrap();

    // The schema is overwritten: opening says so.
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    damaged[100..4096].fill(0xa5);
    std::fs::write(&path, &damaged).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");

    // The rows are: operations say so, and the threads live on.
    let mut damaged = whole;
    for page in damaged.chunks_mut(4096).skip(bytes_of_the_schema / 4096) {
        page[..64].fill(0xa5);
    }
    std::fs::write(&path, &damaged).unwrap();
    let store = SqliteStore::open(options(&path)).unwrap();
    let mut damage = 0;
    for id in &ids {
        match store.file(*id).await {
            Err(MetadataError::Inconsistent(_)) => damage += 1,
            Ok(_) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert!(damage > 0);
    store
        .put_setting("after", &object(serde_json::json!({})))
        .await
        .unwrap();
}

#[derive(Default)]
struct Heard(Mutex<Vec<Topic>>);

impl Signals for Heard {
    fn notify(&self, topic: Topic) {
        self.0.lock().unwrap().push(topic);
    }

    fn subscribe(&self, _topic: Topic) -> Box<dyn Subscription> {
        panic!("the store only speaks");
    }
}

#[tokio::test]
async fn others_hear_of_what_was_committed_and_of_nothing_else() {
    let directory = TempDir::new().unwrap();
    let heard = Arc::new(Heard::default());
    let take = || std::mem::take(&mut *heard.0.lock().unwrap());
    let signals: Arc<dyn Signals> = Arc::<Heard>::clone(&heard);
    let path = directory.path().join("metadata.db");
    let store = SqliteStore::open(SqliteOptions {
        signals: Some(signals),
        ..options(&path)
    })
    .unwrap();
    let (clock, random) = (MockClock::new(), SeededRandom::default());
    let new = sample_new_file(&random, clock.now());
    let (file, upload) = (new.file.clone(), new.upload.clone());
    store.insert(new).await.unwrap();
    take();
    let occasion = Occasion {
        now: clock.now(),
        actor: "tester",
        random: &random,
    };
    let confirm = file
        .confirm(&upload, &sample_observed(&file), &sample_collection(), &occasion)
        .unwrap();
    store.apply(confirm.clone()).await.unwrap();
    assert_eq!(take(), [Topic::Jobs, Topic::File(file.id)]);
    assert!(store.apply(confirm).await.is_err());
    assert_eq!(take(), [], "a refused change is no news");
}
