//! The database and the object stores together.

use std::collections::BTreeSet;
use std::sync::Arc;

use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::archive::MetadataArchive;
use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_core::ports::objects::{ObjectError, ObjectStore};
use cloakroom_core::ports::signals::Signals;
use cloakroom_core::storage::MAIN_STORE;
use cloakroom_objects::local::{LocalOptions, LocalStore};
use cloakroom_objects::stores::{StoreMember, StoreRouter};

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

/// An open store.
pub(super) struct OpenStore {
    pub(super) name: String,
    pub(super) objects: Arc<dyn ObjectStore>,
    /// How to speak to it, where it is an S3 service.
    pub(super) access: Option<S3Access>,
}

/// An open database and the open stores.
pub struct Stores {
    /// Rows, events, jobs, log.
    pub metadata: Arc<dyn MetadataStore>,
    /// The same database, for the administration of the instance.
    pub administration: Arc<dyn AdministrationStore>,
    /// The same database, to be moved as a whole.
    pub archive: Arc<dyn MetadataArchive>,
    /// The same database, giving out leases.
    pub leases: Arc<dyn Leases>,
    /// Bytes, in whichever store.
    pub objects: Arc<dyn ObjectStore>,
    /// The stores behind them, the main one first.
    pub(super) opened: Vec<OpenStore>,
    database: OpenDatabase,
}

impl Stores {
    /// Closes the database, if nobody else holds on to it.
    pub async fn close(self) -> Result<(), Failure> {
        let database = self.database;
        drop((
            self.metadata,
            self.administration,
            self.archive,
            self.leases,
            self.objects,
            self.opened,
        ));
        database.close().await
    }

    /// How to speak to the main store, where that is an S3 service.
    pub(super) fn main_access(&self) -> Option<&S3Access> {
        self.opened.first()?.access.as_ref()
    }

    /// What the embedded S3 endpoint serves: the local stores.
    pub(super) fn local_objects(&self, config: &Config) -> Result<Option<Arc<dyn ObjectStore>>, Failure> {
        let local: Vec<&OpenStore> = self
            .opened
            .iter()
            .filter(|store| store.access.is_none())
            .collect();
        let Some(first) = local.first() else {
            return Ok(None);
        };
        route(config, &first.name, &local).map(Some)
    }
}

/// Opens the database (with the newest schema) and the object stores (with their buckets) that are configured. What does not
/// answer yet is waited for.
pub async fn open_stores(
    config: &Config,
    data_dir: Option<&DataDir>,
    signals: Option<Arc<dyn Signals>>,
    preparation: Preparation,
) -> Result<Stores, Failure> {
    let database = open_database(&config.settings, data_dir, signals).await?;
    let metadata = database.metadata();
    let shared = matches!(database, OpenDatabase::Postgres(_)).then_some(&*metadata);
    let mut opened = Vec::new();
    for name in config.store_names() {
        opened.push(Box::pin(open_store(config, name, data_dir, shared, preparation)).await?);
    }
    let objects = route(config, MAIN_STORE, &opened.iter().collect::<Vec<_>>())?;
    Ok(Stores {
        metadata,
        administration: database.administration(),
        archive: database.archive(),
        leases: database.leases(),
        objects,
        opened,
        database,
    })
}

/// One store as it is, several behind a router.
fn route(config: &Config, default: &str, stores: &[&OpenStore]) -> Result<Arc<dyn ObjectStore>, Failure> {
    if let [alone] = stores {
        return Ok(Arc::clone(&alone.objects));
    }
    let members = stores.iter().map(|store| {
        let member = StoreMember {
            objects: Arc::clone(&store.objects),
            signer: None,
        };
        (store.name.clone(), member, owned_buckets(config, &store.name))
    });
    let router = StoreRouter::new(default, members).map_err(Failure::new)?;
    Ok(Arc::new(router))
}

/// The buckets of a store.
pub(super) fn owned_buckets(config: &Config, store: &str) -> Vec<String> {
    config.buckets_of(store).into_iter().map(str::to_owned).collect()
}

/// Opens the object stores alone.
pub(super) async fn open_objects_of(
    config: &Config,
    data_dir: Option<&DataDir>,
    preparation: Preparation,
) -> Result<Arc<dyn ObjectStore>, Failure> {
    let mut opened = Vec::new();
    for name in config.store_names() {
        opened.push(Box::pin(open_store(config, name, data_dir, None, preparation)).await?);
    }
    route(config, MAIN_STORE, &opened.iter().collect::<Vec<_>>())
}

/// Opens one store. `shared` is the database, where other machines reach it.
async fn open_store(
    config: &Config,
    name: &str,
    data_dir: Option<&DataDir>,
    shared: Option<&dyn MetadataStore>,
    preparation: Preparation,
) -> Result<OpenStore, Failure> {
    let name = name.to_owned();
    let named = |failure: Failure| match name.as_str() {
        MAIN_STORE => failure,
        name => failure.about(&format!("store {name}")),
    };
    let own = config.of_store(&name);
    if let Store::S3(url) = own.settings.store() {
        let OpenS3 { store, access } = s3::open(&own, &url, preparation).await.map_err(named)?;
        return Ok(OpenStore {
            name,
            objects: Arc::new(store),
            access: Some(access),
        });
    }
    let none = || Failure::new(format!("there is no data directory for the store {name}"));
    let directory = match config.stores.get(&name) {
        Some(table) => match (&table.directory, data_dir) {
            (Some(directory), _) => directory.clone(),
            (None, Some(data_dir)) => table.local_directory(data_dir.path()),
            (None, None) => return Err(none()),
        },
        None => data_dir.ok_or_else(none)?.objects(),
    };
    if let (Some(metadata), Some(data_dir)) = (shared, data_dir) {
        local_store::check(metadata, data_dir).await?;
    }
    let store = LocalStore::open(&LocalOptions::new(directory));
    let store = store.map_err(|error| named(Failure::new(error)))?;
    if preparation == Preparation::Buckets {
        make_buckets(&store, &buckets(&own)).await.map_err(named)?;
    }
    Ok(OpenStore {
        name,
        objects: Arc::new(store),
        access: None,
    })
}

/// The buckets of all stores.
pub(super) fn buckets(config: &Config) -> BTreeSet<&str> {
    config.buckets.iter().map(String::as_str).collect()
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
