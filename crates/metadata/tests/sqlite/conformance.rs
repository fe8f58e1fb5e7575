//! Every case of the suites on SQLite.

use std::sync::Arc;

use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_testkit::administration_suite::AdministeredStore;
use cloakroom_testkit::archive_suite::ArchivedStore;
use tempfile::TempDir;

fn open() -> (Arc<SqliteStore>, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(SqliteOptions {
        outbox: true,
        ..SqliteOptions::new(directory.path().join("metadata.db"))
    });
    (Arc::new(store.unwrap()), directory)
}

#[expect(clippy::unused_async, reason = "other adapters have to wait for theirs")]
async fn store() -> (Arc<dyn MetadataStore>, TempDir) {
    let (store, directory) = open();
    (store, directory)
}

#[expect(clippy::unused_async, reason = "other adapters have to wait for theirs")]
async fn leases() -> (Arc<dyn Leases>, TempDir) {
    let (store, directory) = open();
    (store, directory)
}

#[expect(clippy::unused_async, reason = "other adapters have to wait for theirs")]
async fn archived_store() -> (Arc<dyn ArchivedStore>, TempDir) {
    let (store, directory) = open();
    (store, directory)
}

#[expect(clippy::unused_async, reason = "other adapters have to wait for theirs")]
async fn administered_store() -> (Arc<dyn AdministeredStore>, TempDir) {
    let (store, directory) = open();
    (store, directory)
}

cloakroom_testkit::administration_suite!(administered_store);
cloakroom_testkit::metadata_store_suite!(store);
cloakroom_testkit::leases_suite!(leases);
cloakroom_testkit::archive_suite!(archived_store);
