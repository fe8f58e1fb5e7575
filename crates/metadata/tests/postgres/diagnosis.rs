//! What `cloakroom doctor` is told of a server.

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_metadata::postgres::{OpenError, PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::{MockClock, WallClock};
use cloakroom_testkit::servers::postgres_url;
use jiff::SignedDuration;

use crate::database::{Prefix, client, options};

#[tokio::test]
async fn the_state_of_a_database_is_told_and_not_changed() {
    let prefix = Prefix::new();
    let before = PostgresStore::diagnose(&options(&prefix), &WallClock)
        .await
        .unwrap();
    assert_eq!(before.pending_migrations.len(), 4);
    assert!(before.may_create && !before.is_read_only && before.forbidden_tables.is_empty());
    let again = PostgresStore::diagnose(&options(&prefix), &WallClock)
        .await
        .unwrap();
    assert_eq!(again.pending_migrations.len(), 4, "nothing was changed");

    let store = PostgresStore::connect(options(&prefix)).await.unwrap();
    let after = PostgresStore::diagnose(&options(&prefix), &WallClock)
        .await
        .unwrap();
    assert!(after.pending_migrations.is_empty());
    assert_eq!(after.connections_ours, 3 + 3);
    assert!(after.connections_used >= 2 && after.connections_max >= after.connections_used);
    assert!(
        after.clock_ahead.abs() < SignedDuration::from_mins(1),
        "{after:?}"
    );
    assert!(!after.is_encrypted && !after.server_version.is_empty());
    // The server of the tests need not survive a power failure.
    assert!(!after.fsync && !after.full_page_writes && after.synchronous_commit == "on");
    store.close().await.unwrap();
}

#[tokio::test]
async fn clocks_that_differ_are_told() {
    let prefix = Prefix::new();
    let clock = MockClock::new();
    clock.set(WallClock.now());
    clock.advance(SignedDuration::from_hours(1));
    let found = PostgresStore::diagnose(&options(&prefix), &clock).await.unwrap();
    let behind = SignedDuration::from_hours(1) + found.clock_ahead;
    // As good as half of the round trip.
    assert!(behind.abs() < SignedDuration::from_mins(1), "{found:?}");
}

#[tokio::test]
async fn what_a_role_may_not_do_is_told() {
    let prefix = Prefix::new();
    let store = PostgresStore::connect(options(&prefix)).await.unwrap();
    let admin = client().await;
    let role = format!("looker_{}", prefix.0);
    let tables = format!("{0}_files, {0}_migrations", prefix.0);
    admin
        .batch_execute(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'hunter2'; GRANT SELECT ON {tables} TO {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON {0}_jobs TO {role}",
            prefix.0
        ))
        .await
        .unwrap();
    let url = postgres_url();
    let place = url.rsplit_once('@').unwrap().1;
    let limited = PostgresOptions {
        url: format!("postgres://{role}:hunter2@{place}?options=-cdefault_transaction_read_only%3Don"),
        ..options(&prefix)
    };
    let found = PostgresStore::diagnose(&limited, &WallClock).await.unwrap();
    admin
        .batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();
    assert!(!found.may_create && found.is_read_only);
    assert!(found.forbidden_tables.contains(&format!("{}_files", prefix.0)));
    assert!(!found.forbidden_tables.contains(&format!("{}_jobs", prefix.0)));
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_without_the_password() {
    let prefix = Prefix::new();
    let nobody = PostgresOptions {
        url: "postgres://ann:hunter2@127.0.0.1:9/files".to_owned(),
        ..options(&prefix)
    };
    let error = PostgresStore::diagnose(&nobody, &WallClock).await.unwrap_err();
    assert!(matches!(error, OpenError::Unavailable(_)), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
