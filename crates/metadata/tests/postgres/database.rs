//! Stores on the test server, each under a table prefix of its own that goes with the guard.

use std::time::Duration;

use cloakroom_metadata::TablePrefix;
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::servers::{postgres_url, unique_table_prefix};
use tokio_postgres::{Client, NoTls};

/// A table prefix; its tables are dropped with it.
pub(crate) struct Prefix(pub(crate) TablePrefix);

impl Prefix {
    pub(crate) fn new() -> Self {
        Self(unique_table_prefix().parse().unwrap())
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        let prefix = self.0.to_string();
        // The test's own runtime cannot wait here.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let sql = "SELECT coalesce(string_agg(format('%I', relname), ', '), '') FROM pg_class
                    WHERE relkind = 'r' AND starts_with(relname, $1)";
                let client = client().await;
                let tables: String = client
                    .query_one(sql, &[&format!("{prefix}_")])
                    .await
                    .unwrap()
                    .get(0);
                if !tables.is_empty() {
                    // A store that was just dropped may hold a lock for a moment.
                    client
                        .batch_execute(&format!("SET lock_timeout = '60s'; DROP TABLE {tables} CASCADE"))
                        .await
                        .unwrap();
                }
            });
        });
        let dropped = dropped.join();
        assert!(
            dropped.is_ok() || std::thread::panicking(),
            "the tables of a test are left behind"
        );
    }
}

/// A connection of the test's own.
pub(crate) async fn client() -> Client {
    let (client, connection) = tokio_postgres::connect(&postgres_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A small pool under this prefix.
pub(crate) fn options(prefix: &Prefix) -> PostgresOptions {
    PostgresOptions {
        table_prefix: prefix.0.clone(),
        pool_size: 3,
        pool_overflow: 0,
        pool_timeout: Duration::from_secs(30),
        // A busy machine is no outage.
        connect_timeout: Duration::from_secs(30),
        statement_timeout: Duration::from_secs(30),
        ..PostgresOptions::new(postgres_url())
    }
}

/// An empty store.
pub(crate) async fn store() -> (PostgresStore, Prefix) {
    let prefix = Prefix::new();
    let store = PostgresStore::connect(options(&prefix)).await.unwrap();
    (store, prefix)
}
