//! What only this engine can get wrong about the administration: counters that a hand changed, and locks.

use std::time::{Duration, Instant};

use cloakroom_core::ports::administration::{AdministrationStore as _, UsageCheck};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{Inserted, MetadataStore as _, Usage};
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{SAMPLE_BYTES, SAMPLE_OWNER, sample_new_file};
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers::postgres_url;
use tokio_postgres::Client;

use crate::database::{Prefix, client, options, store};

/// Longer than anything here may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Counters of owners that are gone, and an owner that has none.
#[tokio::test]
async fn counters_without_rows_and_rows_without_counters_are_found() {
    let (store, prefix) = store().await;
    let new = sample_new_file(&SeededRandom::default(), MockClock::new().now());
    assert_eq!(store.insert(new).await.unwrap(), Inserted::New);
    let prefix = &prefix.0;
    client()
        .await
        .batch_execute(&format!(
            "DELETE FROM {prefix}_usage; INSERT INTO {prefix}_usage VALUES ('gone', 1, 2, 3), ('nothing', 0, 0, 0)"
        ))
        .await
        .unwrap();
    let reserved = Usage {
        reserved_bytes: SAMPLE_BYTES,
        ..Usage::default()
    };
    let left_behind = Usage {
        reserved_bytes: 1,
        stored_bytes: 2,
        files: 3,
    };
    let wanted = [
        ("gone", left_behind, Usage::default()),
        (SAMPLE_OWNER, Usage::default(), reserved),
    ]
    .map(|(owner, counted, found)| UsageCheck {
        owner: owner.to_owned(),
        counted,
        found,
    });
    assert_eq!(store.check_usage(false).await.unwrap(), wanted);
    assert_eq!(store.check_usage(true).await.unwrap(), wanted);
    assert_eq!(store.check_usage(true).await.unwrap(), []);
    assert_eq!(store.usage(SAMPLE_OWNER).await.unwrap(), reserved);
    assert_eq!(store.usage("gone").await.unwrap(), Usage::default());
}

/// Who changes a file of an owner is not held up by the sums of all owners, whatever locks others hold.
#[tokio::test]
async fn looking_waits_for_nobody() {
    let (store, prefix) = store().await;
    let new = sample_new_file(&SeededRandom::default(), MockClock::new().now());
    assert_eq!(store.insert(new).await.unwrap(), Inserted::New);
    let client = client().await;
    let prefix = &prefix.0;
    client
        .batch_execute(&format!(
            "BEGIN; SELECT * FROM {prefix}_usage FOR UPDATE; SELECT * FROM {prefix}_files FOR UPDATE;
             UPDATE {prefix}_usage SET files = files + 7"
        ))
        .await
        .unwrap();
    assert_eq!(store.check_usage(false).await.unwrap(), []);
    assert_eq!(store.check_usage(true).await.unwrap(), []);
    client.batch_execute("COMMIT").await.unwrap();
    let found = store.check_usage(true).await.unwrap();
    assert_eq!((found.len(), found[0].counted.files), (1, 7));
    assert_eq!(store.check_usage(false).await.unwrap(), []);
}

/// Ends the connections of this prefix that wait for a lock, as soon as there is one.
async fn end_what_waits(admin: &Client, prefix: &Prefix) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = $1 AND wait_event_type = 'Lock'";
    let begun = Instant::now();
    loop {
        let ended: i64 = admin
            .query_one(sql, &[&prefix.0.to_string()])
            .await
            .unwrap()
            .get(0);
        if ended > 0 {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "nobody waits");
        tokio::task::yield_now().await;
    }
}

/// A connection that ends in the middle of the sums is no error of the check.
#[tokio::test(flavor = "multi_thread")]
async fn the_sums_outlive_their_connection() {
    let prefix = Prefix::new();
    let store = PostgresStore::connect(PostgresOptions {
        url: format!("{}?application_name={}", postgres_url(), prefix.0),
        ..options(&prefix)
    })
    .await
    .unwrap();
    let new = sample_new_file(&SeededRandom::default(), MockClock::new().now());
    assert_eq!(store.insert(new).await.unwrap(), Inserted::New);
    let (holder, admin) = (client().await, client().await);
    holder
        .batch_execute(&format!(
            "BEGIN; LOCK TABLE {}_usage IN ACCESS EXCLUSIVE MODE",
            prefix.0
        ))
        .await
        .unwrap();
    let check = store.check_usage(false);
    let cut = async {
        end_what_waits(&admin, &prefix).await;
        holder.batch_execute("COMMIT").await.unwrap();
    };
    let (found, ()) = tokio::join!(check, cut);
    assert_eq!(found.unwrap(), []);
}

/// However long a report is, no statement removes so much that it could last too long.
#[tokio::test]
async fn a_report_is_removed_in_portions() {
    let (store, prefix) = store().await;
    let p = &prefix.0;
    let admin = client().await;
    admin
        .batch_execute(&format!(
            "INSERT INTO {p}_operations (id, kind, state, options, done, counts, actor, created_at, updated_at,
                 finished_at, lease_epoch)
             VALUES (gen_random_uuid(), 'verify', 'done', '{{}}', 0, '{{}}', 'ada', now(), now(), now(), 1);
             INSERT INTO {p}_findings (operation_id, line, kind, detail, action)
             SELECT o.id, n, 'k', 'd', 'a' FROM {p}_operations AS o, generate_series(0, 10000) AS n;
             CREATE FUNCTION {p}_few() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF (SELECT count(*) FROM gone) > 5000 THEN RAISE EXCEPTION 'too many at once'; END IF;
             RETURN NULL; END $$;
             CREATE TRIGGER few AFTER DELETE ON {p}_findings REFERENCING OLD TABLE AS gone
             FOR EACH STATEMENT EXECUTE FUNCTION {p}_few()"
        ))
        .await
        .unwrap();
    let far: jiff::Timestamp = "2100-01-01T00:00:00Z".parse().unwrap();
    let removed = store.trim_operations(far, 10).await;
    admin
        .batch_execute(&format!("DROP FUNCTION {p}_few CASCADE"))
        .await
        .unwrap();
    assert_eq!(removed.unwrap(), 1);
    let sql = format!("SELECT count(*) FROM {p}_findings");
    assert_eq!(admin.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}
