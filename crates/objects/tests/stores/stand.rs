//! Two real local stores behind a router.

use std::sync::Arc;

use cloakroom_core::ports::objects::{ObjectPath, ObjectStore, PutBody, PutOptions};
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::stores::{StoreMember, StoreRouter};
use tempfile::TempDir;

/// The bucket of the default store.
pub const HOT: &str = "suite-hot";
/// The bucket of the other store.
pub const COLD: &str = "suite-cold";

pub struct Stand {
    pub router: Arc<StoreRouter>,
    pub hot: Arc<LocalStore>,
    pub cold: Arc<LocalStore>,
    pub directory: TempDir,
}

impl Stand {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let store = LocalStore::open(&LocalOptions::new(directory.path().join(name)));
            Arc::new(store.expect("the file system of the temporary directory will do"))
        };
        let (hot, cold) = (open("hot"), open("cold"));
        let member = |store: &Arc<LocalStore>| StoreMember {
            objects: Arc::clone(store) as _,
            signer: None,
        };
        let router = StoreRouter::new(
            "main",
            [
                ("main".to_owned(), member(&hot), vec![HOT.to_owned()]),
                ("archive".to_owned(), member(&cold), vec![COLD.to_owned()]),
            ],
        )
        .unwrap();
        for bucket in [HOT, COLD] {
            router.create_bucket(bucket).await.unwrap();
        }
        Self {
            router: Arc::new(router),
            hot,
            cold,
            directory,
        }
    }

    /// An object in the default store.
    pub async fn put(&self, key: &str, bytes: &[u8]) -> ObjectPath {
        let path = ObjectPath::new(HOT, key);
        let body = PutBody::from_bytes(bytes.to_vec());
        ObjectStore::put(&*self.router, &path, PutOptions::default(), body)
            .await
            .unwrap();
        path
    }
}
