//! Every case of the metadata store suite on SQLite.

use std::sync::Arc;

use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

#[expect(clippy::unused_async, reason = "other adapters have to wait for theirs")]
async fn fresh() -> (Arc<dyn MetadataStore>, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(SqliteOptions::new(directory.path().join("metadata.db"))).unwrap();
    (Arc::new(store), directory)
}

cloakroom_testkit::metadata_store_suite!(fresh);
