//! The embedded instance: its data directory, held for as long as the import runs.

use std::path::Path;
use std::sync::Arc;

use cloakroom_core::ports::archive::MetadataArchive;
use cloakroom_core::ports::objects::ObjectStore;
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};
use cloakroom_objects::local::{LocalOptions, LocalStore};

use super::super::Failure;
use super::error::ImportError;
use crate::data_dir::DataDir;

/// The rows of an embedded instance that does not run, and its directory, held.
pub(super) struct Held {
    data_dir: DataDir,
    metadata: Arc<SqliteStore>,
}

impl Held {
    /// Takes the data directory. Nothing is made in a directory that is none.
    pub(super) fn open(path: &Path, table_prefix: &str) -> Result<Self, Failure> {
        let table_prefix = table_prefix
            .parse()
            .map_err(|error| Failure::usage(format!("--from-table-prefix: {error}")))?;
        for name in ["cloakroom.db", "objects"] {
            if !path.join(name).exists() {
                return Err(Failure::new(format!(
                    "{} is no data directory of an embedded instance: it has no {name}",
                    path.display()
                )));
            }
        }
        let data_dir = DataDir::open(path).map_err(|error| {
            Failure::new(format!(
                "{error}; stop it first, for what it writes now would be lost"
            ))
        })?;
        let metadata = SqliteStore::open(SqliteOptions {
            table_prefix,
            ..SqliteOptions::new(data_dir.database())
        })
        .map_err(Failure::new)?;
        Ok(Self {
            data_dir,
            metadata: Arc::new(metadata),
        })
    }

    /// The directory, locked.
    pub(super) const fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// With its objects: those that a target in the same directory has open, else its own.
    pub(super) async fn with_objects(self, shared: Option<Arc<dyn ObjectStore>>) -> Result<Source, Failure> {
        let objects = if let Some(shared) = shared {
            shared
        } else {
            let options = LocalOptions::new(self.data_dir.objects());
            Arc::new(LocalStore::open(&options).map_err(Failure::new)?)
        };
        let buckets = objects.buckets().await.map_err(Failure::new)?;
        Ok(Source {
            data_dir: self.data_dir,
            metadata: self.metadata,
            objects,
            buckets: buckets.into_iter().map(|bucket| bucket.name).collect(),
        })
    }
}

/// An embedded instance that does not run.
pub(super) struct Source {
    data_dir: DataDir,
    metadata: Arc<SqliteStore>,
    objects: Arc<dyn ObjectStore>,
    buckets: Vec<String>,
}

impl Source {
    /// Its directory.
    pub(super) fn path(&self) -> &Path {
        self.data_dir.path()
    }

    /// Its rows.
    pub(super) fn archive(&self) -> &dyn MetadataArchive {
        &*self.metadata
    }

    /// Its objects.
    pub(super) fn objects(&self) -> &dyn ObjectStore {
        &*self.objects
    }

    /// Its buckets, by name.
    pub(super) fn buckets(&self) -> &[String] {
        &self.buckets
    }

    /// Multipart uploads under way: their parts cannot move.
    pub(super) async fn open_multipart_uploads(&self) -> Result<u64, ImportError> {
        let mut count = 0;
        for bucket in &self.buckets {
            let uploads = self
                .objects
                .multiparts(bucket, "")
                .await
                .map_err(ImportError::objects(format!("list the uploads in {bucket}")))?;
            count += uploads.len() as u64;
        }
        Ok(count)
    }

    /// Lets go of it.
    pub(super) fn close(self) {
        if let Some(metadata) = Arc::into_inner(self.metadata)
            && let Err(error) = metadata.close()
        {
            tracing::warn!(%error, "the embedded database was not closed");
        }
    }
}
