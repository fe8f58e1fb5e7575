//! Trouble of the database: each kind has its name, passes by itself, and nothing is said to be done that is not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{FileQuery, Inserted, MetadataError, MetadataStore};
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{object, sample_new_file};
use cloakroom_testkit::random::SeededRandom;
use jiff::Timestamp;
use serde_json::json;

use crate::database::{Prefix, client, options, store};

fn unavailable<T: std::fmt::Debug>(answer: Result<T, MetadataError>) -> String {
    match answer {
        Err(MetadataError::Unavailable(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_ended() {
    let prefix = Prefix::new();
    let store = PostgresStore::connect(PostgresOptions {
        statement_timeout: Duration::from_secs(3),
        ..options(&prefix)
    })
    .await
    .unwrap();
    let new = sample_new_file(&SeededRandom::default(), MockClock::new().now());
    let mut holder = client().await;
    let hold = holder.transaction().await.unwrap();
    hold.batch_execute(&format!(
        "LOCK TABLE {0}_settings, {0}_files IN ACCESS EXCLUSIVE MODE",
        prefix.0
    ))
    .await
    .unwrap();
    let begun = Instant::now();
    let empty = object(json!({}));
    let (read, write, insert) = tokio::join!(
        store.setting("x"),
        store.put_setting("x", &empty),
        store.insert(new.clone())
    );
    for text in [unavailable(read), unavailable(write), unavailable(insert)] {
        // The server says so; or, where its word comes late, the node.
        let told = text.contains("took too long") || text.contains("did not answer within 4 s");
        assert!(told, "{text}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    hold.rollback().await.unwrap();
    assert_eq!(store.setting("x").await.unwrap(), None);
    assert_eq!(store.insert(new).await.unwrap(), Inserted::New);
}

/// A full disk and other conditions of the server, raised where a row is written.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_the_server_are_told_apart() {
    let (store, prefix) = store().await;
    let admin = client().await;
    let p = &prefix.0;
    for (code, expected) in [
        ("53100", "Unavailable"),
        ("53200", "Unavailable"),
        ("58030", "Unavailable"),
        ("25006", "Unavailable"),
        ("XX001", "Inconsistent"),
        ("22012", "Internal"),
    ] {
        admin
            .batch_execute(&format!(
                "CREATE OR REPLACE FUNCTION {p}_fail() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'it is so' USING ERRCODE = '{code}'; END $$;
                 CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON {p}_settings FOR EACH ROW EXECUTE FUNCTION {p}_fail()"
            ))
            .await
            .unwrap();
        let error = store.put_setting("x", &object(json!({}))).await.unwrap_err();
        let shown = format!("{error:?}");
        assert!(
            shown.starts_with(expected) && shown.contains(code),
            "{code}: {shown}"
        );
    }
    admin
        .batch_execute(&format!("DROP FUNCTION {p}_fail CASCADE"))
        .await
        .unwrap();
    store.put_setting("x", &object(json!({}))).await.unwrap();
}

/// Two transactions wait for each other, and the server ends one of them: it goes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_no_error() {
    let (store, prefix) = store().await;
    let store = Arc::new(store);
    let admin = client().await;
    let p = &prefix.0;
    // Writing either setting takes the other's row as well.
    admin
        .batch_execute(&format!(
            "INSERT INTO {p}_settings VALUES ('a', '{{}}'), ('b', '{{}}');
             CREATE FUNCTION {p}_other() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.1); PERFORM 1 FROM {p}_settings WHERE name <> NEW.name FOR UPDATE; RETURN NEW; END $$;
             CREATE TRIGGER other AFTER UPDATE ON {p}_settings FOR EACH ROW EXECUTE FUNCTION {p}_other()"
        ))
        .await
        .unwrap();
    let value = object(json!({ "n": 1 }));
    let (a, b) = tokio::join!(store.put_setting("a", &value), store.put_setting("b", &value));
    a.unwrap();
    b.unwrap();
    admin
        .batch_execute(&format!("DROP FUNCTION {p}_other CASCADE"))
        .await
        .unwrap();
    assert_eq!(store.setting("a").await.unwrap(), Some(value.clone()));
    assert_eq!(store.setting("b").await.unwrap(), Some(value));
}

/// A row that nobody of us wrote.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_ours_is_named() {
    let (store, prefix) = store().await;
    let random = SeededRandom::default();
    let admin = client().await;
    for (change, place) in [
        ("state = 'lost'", "state"),
        ("version = -1", "version"),
        ("metadata = '[1]'", "metadata"),
        ("created_at = 'infinity'", "created_at"),
        ("declared_sha256 = '\\x00'", "declared_sha256"),
        ("record_kind = '/', record_id = 'x'", "record_kind"),
        ("upload_method = NULL", "upload"),
    ] {
        let new = sample_new_file(&random, MockClock::new().now());
        store.insert(new.clone()).await.unwrap();
        let id = new.file.id;
        let sql = format!("UPDATE {}_files SET {change} WHERE id = '{id}'", prefix.0);
        admin.batch_execute(&sql).await.unwrap();
        // A repeated insert reads the whole row.
        let error = store.insert(new).await.unwrap_err();
        let shown = error.to_string();
        assert!(
            matches!(error, MetadataError::Inconsistent(_)),
            "{change}: {shown}"
        );
        assert!(
            shown.contains(place) || shown.contains("deserializing column"),
            "{change}: {shown}"
        );
    }
}

/// A caller that goes away in the middle of a write leaves neither a half one nor a spoiled connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_write_is_rolled_back() {
    let prefix = Prefix::new();
    let store = PostgresStore::connect(PostgresOptions {
        pool_size: 1,
        ..options(&prefix)
    })
    .await
    .unwrap();
    let mut holder = client().await;
    let hold = holder.transaction().await.unwrap();
    hold.batch_execute(&format!(
        "LOCK TABLE {}_settings IN ACCESS EXCLUSIVE MODE",
        prefix.0
    ))
    .await
    .unwrap();
    let value = object(json!({ "n": 1 }));
    let cancelled = tokio::time::timeout(Duration::from_millis(100), store.put_setting("x", &value)).await;
    assert!(cancelled.is_err());
    hold.rollback().await.unwrap();
    assert_eq!(store.setting("x").await.unwrap(), None);
    store.put_setting("y", &value).await.unwrap();
    assert_eq!(store.setting("x").await.unwrap(), None);
}

/// Conditions of a list may be any time that a request can name.
#[tokio::test(flavor = "multi_thread")]
async fn times_beyond_those_of_the_database_are_no_error() {
    let (store, _prefix) = store().await;
    let new = sample_new_file(&SeededRandom::default(), MockClock::new().now());
    store.insert(new.clone()).await.unwrap();
    let all = FileQuery {
        created_from: Some(Timestamp::MIN),
        created_before: Some(Timestamp::MAX),
        limit: 10,
        ..FileQuery::default()
    };
    assert_eq!(store.files(&all).await.unwrap().items, [new.file]);
    let none = FileQuery {
        created_before: Some(Timestamp::MIN),
        ..all
    };
    assert_eq!(store.files(&none).await.unwrap().items, []);
    assert_eq!(store.expired_uploads(Timestamp::MIN, 10).await.unwrap(), []);
}
