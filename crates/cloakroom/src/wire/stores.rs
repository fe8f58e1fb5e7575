//! The database and the object store together.

use std::collections::BTreeSet;
use std::sync::Arc;

use cloakroom_core::ports::archive::MetadataArchive;
use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_core::ports::objects::{ObjectError, ObjectStore};
use cloakroom_core::ports::signals::Signals;
use cloakroom_objects::local::{LocalOptions, LocalStore};

use super::database::{OpenDatabase, open_database};
use super::local_store;
use super::s3::{self, OpenS3, S3Access};
use crate::commands::Failure;
use crate::config::Config;
use crate::config::adapters::Store;
use crate::data_dir::DataDir;

/// What is done to the object store when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// It is waited for, and its buckets are made and set up.
    Buckets,
    /// Nothing: it is not used.
    None,
}

/// An open database and an open store.
pub struct Stores {
    /// Rows, events, jobs, log.
    pub metadata: Arc<dyn MetadataStore>,
    /// The same database, to be moved as a whole.
    pub archive: Arc<dyn MetadataArchive>,
    /// The same database, giving out leases.
    pub leases: Arc<dyn Leases>,
    /// Bytes.
    pub objects: Arc<dyn ObjectStore>,
    /// How to speak to the S3 service, where that is the store.
    pub(super) s3: Option<S3Access>,
    database: OpenDatabase,
}

impl Stores {
    /// Closes the database, if nobody else holds on to it.
    pub async fn close(self) -> Result<(), Failure> {
        let database = self.database;
        drop((self.metadata, self.archive, self.leases, self.objects));
        database.close().await
    }
}

/// Opens the database (with the newest schema) and the object store (with its buckets) that are configured. What does not
/// answer yet is waited for.
pub async fn open_stores(
    config: &Config,
    data_dir: Option<&DataDir>,
    signals: Option<Arc<dyn Signals>>,
    preparation: Preparation,
) -> Result<Stores, Failure> {
    let settings = &config.settings;
    let database = open_database(settings, data_dir, signals).await?;
    let metadata = database.metadata();
    let mut s3 = None;
    let objects: Arc<dyn ObjectStore> = match (settings.store(), data_dir) {
        (Store::S3(url), _) => {
            let OpenS3 { store, access } = s3::open(config, &url, preparation).await?;
            s3 = Some(access);
            Arc::new(store)
        }
        (Store::Local, Some(data_dir)) => {
            if let OpenDatabase::Postgres(_) = database {
                local_store::check(&*metadata, data_dir).await?;
            }
            let store = LocalStore::open(&LocalOptions::new(data_dir.objects())).map_err(Failure::new)?;
            if preparation == Preparation::Buckets {
                make_buckets(&store, &buckets(config)).await?;
            }
            Arc::new(store)
        }
        (Store::Local, None) => return Err(Failure::new("there is no data directory for the store")),
    };
    Ok(Stores {
        metadata,
        archive: database.archive(),
        leases: database.leases(),
        objects,
        s3,
        database,
    })
}

/// The buckets of all collections.
pub(super) fn buckets(config: &Config) -> BTreeSet<&str> {
    let collections = config.collections.values();
    collections.map(|collection| collection.bucket.as_str()).collect()
}

/// Makes the buckets that are missing. Done again, it changes nothing.
async fn make_buckets(objects: &dyn ObjectStore, names: &BTreeSet<&str>) -> Result<(), Failure> {
    for name in names {
        match objects.create_bucket(name).await {
            Ok(()) => tracing::info!(event = "bucket_created", bucket = name, "bucket created"),
            Err(ObjectError::BucketExists) => {}
            Err(error) => return Err(Failure::new(format!("cannot make the bucket {name}: {error}"))),
        }
    }
    Ok(())
}
