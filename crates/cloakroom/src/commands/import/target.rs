//! The target: the database and the object store that the configuration names.

use std::sync::Arc;

use cloakroom_core::ports::archive::{MetadataArchive, Section};
use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath, ObjectStore};
use jiff::Timestamp;

use super::super::Failure;
use super::buckets::BucketNames;
use super::error::ImportError;
use super::objects::page;
use super::source::{Held, Source};
use crate::config::Config;
use crate::config::adapters::{Database, Store};
use crate::data_dir::DataDir;
use crate::runtime::SystemClock;
use crate::wire::{self, Preparation, Stores};

/// Where everything goes.
pub(super) struct Target {
    stores: Stores,
    shares_objects: bool,
    description: String,
    objects_name: String,
    clock: SystemClock,
    _data_dir: Option<DataDir>,
}

impl Target {
    /// Opens what is configured, which must not be what it is filled from. Its buckets are made when they are needed,
    /// and set up when the server starts.
    pub(super) async fn open(config: &Config, source: &Held) -> Result<Self, Failure> {
        let settings = &config.settings;
        let same_directory = settings
            .data_dir
            .canonicalize()
            .is_ok_and(|path| path == source.data_dir().path());
        let in_directory = settings.database() == Database::Sqlite(None);
        if same_directory && in_directory {
            return Err(Failure::usage(format!(
                "the configuration names {} itself as the target; set database.url (DATABASE_URL), or another data_dir",
                source.data_dir().path().display()
            )));
        }
        let shares_objects = same_directory && settings.store() == Store::Local;
        let own = if settings.needs_data_dir(false) && !same_directory {
            Some(DataDir::open(&settings.data_dir).map_err(Failure::new)?)
        } else {
            None
        };
        let data_dir = if shares_objects {
            Some(source.data_dir())
        } else {
            own.as_ref()
        };
        let stores = wire::open_stores(config, data_dir, None, Preparation::None).await?;
        Ok(Self {
            stores,
            shares_objects,
            description: format!(
                "{}, {}",
                settings.database_description(),
                settings.store_description()
            ),
            objects_name: match settings.store() {
                Store::S3(url) => url,
                Store::Local => data_dir.map_or_else(String::new, |held| held.path().display().to_string()),
            },
            clock: SystemClock::default(),
            _data_dir: own,
        })
    }

    /// Its rows.
    pub(super) fn metadata(&self) -> &dyn MetadataStore {
        &*self.stores.metadata
    }

    /// Its rows, to be written as they are.
    pub(super) fn archive(&self) -> &dyn MetadataArchive {
        &*self.stores.archive
    }

    /// Its objects.
    pub(super) fn objects(&self) -> &dyn ObjectStore {
        &*self.stores.objects
    }

    /// Its objects, if they are those of the source.
    pub(super) fn objects_of_source(&self) -> Option<Arc<dyn ObjectStore>> {
        self.shares_objects.then(|| Arc::clone(&self.stores.objects))
    }

    /// Whether its objects are those of the source, so that only the database moves.
    pub(super) const fn shares_objects(&self) -> bool {
        self.shares_objects
    }

    /// What it is, for people; no secrets.
    pub(super) fn description(&self) -> &str {
        &self.description
    }

    /// Names the store of its objects; no secrets.
    pub(super) fn objects_name(&self) -> &str {
        &self.objects_name
    }

    /// Lets go of it.
    pub(super) async fn close(self) {
        if let Err(failure) = self.stores.close().await {
            tracing::warn!(?failure, "the target's database was not closed");
        }
    }

    /// The time.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Refuses a target in which another instance lives: its rows, or sidecars that a rebuild would find.
    pub(super) async fn must_be_empty(
        &self,
        names: &BucketNames,
        source: &Source,
    ) -> Result<(), ImportError> {
        names
            .check(source.buckets().iter().map(String::as_str))
            .map_err(ImportError::Refused)?;
        for section in [Section::Files, Section::Events, Section::Records] {
            let rows = self.archive().count(section).await?;
            if rows > 0 {
                return Err(ImportError::Refused(format!(
                    "the target's database holds {rows} rows of {}: another instance lives there. Choose an empty \
                     database, or another database.table_prefix",
                    section.as_str()
                )));
            }
        }
        if self.shares_objects {
            return Ok(());
        }
        for bucket in source.buckets() {
            let name = names.new_name(bucket);
            match self.objects().bucket(name).await {
                Ok(_) => self.must_hold_no_stranger(bucket, name, source).await?,
                Err(ObjectError::NoSuchBucket(_)) => {}
                Err(error) => {
                    return Err(ImportError::Refused(format!(
                        "cannot use the bucket {name} in the target: {error}. With --bucket {bucket}=OTHER its objects \
                         go into another one"
                    )));
                }
            }
        }
        Ok(())
    }

    /// A sidecar that the source does not have belongs to a file of somebody else.
    async fn must_hold_no_stranger(&self, old: &str, new: &str, source: &Source) -> Result<(), ImportError> {
        let mut after = None;
        loop {
            let (objects, next) = page(self.objects(), new, after).await?;
            for object in objects.iter().filter(|object| object.key.ends_with(".attr.json")) {
                let path = ObjectPath::new(old, &object.key);
                let known = source.objects().head(&path, &GetOptions::default()).await;
                if matches!(known, Err(ObjectError::NotFound)) {
                    return Err(ImportError::Refused(format!(
                        "the target's bucket {new} holds the file of another instance ({}). Choose another bucket with \
                         --bucket {old}=OTHER",
                        object.key
                    )));
                }
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }
}
