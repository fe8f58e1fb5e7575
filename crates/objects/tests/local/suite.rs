//! The suite of the port over the local store, with both ways of making files.

use std::sync::Arc;

use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_testkit::object_store_suite::Subject;

async fn subject(unnamed_files: bool) -> Subject {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options = LocalOptions {
        unnamed_files,
        ..LocalOptions::new(directory.path())
    };
    let store = LocalStore::open(&options).expect("the file system of the temporary directory will do");
    Subject::new(Arc::new(store), directory).await
}

mod unnamed_files {
    async fn subject() -> super::Subject {
        super::subject(true).await
    }

    cloakroom_testkit::object_store_suite!(subject);
}

mod named_files {
    async fn subject() -> super::Subject {
        super::subject(false).await
    }

    cloakroom_testkit::object_store_suite!(subject);
}
