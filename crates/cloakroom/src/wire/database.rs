//! The database that configuration asks for.

use std::sync::Arc;

use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::archive::MetadataArchive;
use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_core::ports::signals::Signals;
use cloakroom_metadata::postgres::{Diagnosis, OpenError, PostgresOptions, PostgresStore};
use cloakroom_metadata::sqlite::{SqliteOptions, SqliteStore};

use super::patience::{NotReady, Patience};
use crate::commands::Failure;
use crate::config::adapters::Database;
use crate::config::settings::Settings;
use crate::config::values::PostgresUrl;
use crate::data_dir::DataDir;

/// An open database. Clones are the same.
#[derive(Clone)]
pub enum OpenDatabase {
    /// SQLite.
    Sqlite(Arc<SqliteStore>),
    /// PostgreSQL.
    Postgres(Arc<PostgresStore>),
}

impl OpenDatabase {
    pub(super) fn metadata(&self) -> Arc<dyn MetadataStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    pub(super) fn administration(&self) -> Arc<dyn AdministrationStore> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    pub(super) fn archive(&self) -> Arc<dyn MetadataArchive> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    pub(super) fn leases(&self) -> Arc<dyn Leases> {
        match self {
            Self::Sqlite(store) => Arc::clone(store) as _,
            Self::Postgres(store) => Arc::clone(store) as _,
        }
    }

    /// Ends after everything that waits, if nobody else holds on to it.
    pub async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(store) => {
                let Some(store) = Arc::into_inner(store) else {
                    return Ok(());
                };
                // Copies the log into the database.
                let closed = tokio::task::spawn_blocking(move || store.close()).await;
                closed.map_err(Failure::new)?.map_err(Failure::new)
            }
            Self::Postgres(store) => match Arc::into_inner(store) {
                Some(store) => store.close().await.map_err(Failure::new),
                None => Ok(()),
            },
        }
    }
}

/// Opens the database, and brings it to the newest schema. One that does not answer yet is waited for.
pub async fn open_database(
    settings: &Settings,
    data_dir: Option<&DataDir>,
    signals: Option<Arc<dyn Signals>>,
) -> Result<OpenDatabase, Failure> {
    match settings.database() {
        Database::Postgres(url) => {
            let options = PostgresOptions {
                signals,
                ..postgres_options(settings, &url)
            };
            let name = settings.database_description().to_string();
            let attempt = async || match PostgresStore::connect(options.clone()).await {
                Ok(store) => Ok(OpenDatabase::Postgres(Arc::new(store))),
                Err(OpenError::Unavailable(reason)) => Err(NotReady::Yet(reason)),
                Err(error) => Err(NotReady::Ever(Failure::new(format!("{name}: {error}")))),
            };
            Patience::new(settings.server_startup_timeout.std())
                .wait_for(&name, attempt)
                .await
        }
        database @ Database::Sqlite(_) => {
            let options = SqliteOptions {
                signals,
                ..sqlite_options(settings, &database, data_dir)?
            };
            let opened = tokio::task::spawn_blocking(move || SqliteStore::open(options)).await;
            let store = opened.map_err(Failure::new)?.map_err(Failure::new)?;
            Ok(OpenDatabase::Sqlite(Arc::new(store)))
        }
    }
}

/// The migrations that the database lacks. Nothing is changed.
pub async fn pending_migrations(
    settings: &Settings,
    data_dir: Option<&std::path::Path>,
) -> Result<Vec<String>, Failure> {
    match settings.database() {
        Database::Postgres(url) => {
            let options = postgres_options(settings, &url);
            let name = settings.database_description().to_string();
            let attempt = async || match PostgresStore::pending_migrations(&options).await {
                Ok(pending) => Ok(pending),
                Err(OpenError::Unavailable(reason)) => Err(NotReady::Yet(reason)),
                Err(error) => Err(NotReady::Ever(Failure::new(format!("{name}: {error}")))),
            };
            Patience::new(settings.server_startup_timeout.std())
                .wait_for(&name, attempt)
                .await
        }
        database @ Database::Sqlite(_) => {
            let Some(path) = database.sqlite_path(data_dir) else {
                return Err(no_directory());
            };
            let options = SqliteOptions {
                table_prefix: settings.database_table_prefix.clone(),
                ..SqliteOptions::new(path)
            };
            SqliteStore::pending_migrations(&options).map_err(Failure::new)
        }
    }
}

/// What is true of a PostgreSQL server. Nothing is changed, and nobody is waited for.
pub async fn diagnose_database(settings: &Settings, url: &PostgresUrl) -> Result<Diagnosis, OpenError> {
    PostgresStore::diagnose(&postgres_options(settings, url), &*super::clock()).await
}

fn postgres_options(settings: &Settings, url: &PostgresUrl) -> PostgresOptions {
    PostgresOptions {
        table_prefix: settings.database_table_prefix.clone(),
        pool_size: settings.database_pool_size,
        pool_overflow: settings.database_max_overflow,
        pool_timeout: settings.database_pool_timeout.std(),
        recycle_after: settings.database_pool_recycle.std(),
        pre_ping: settings.database_pool_pre_ping,
        connect_timeout: settings.database_connect_timeout.std(),
        statement_timeout: settings.database_statement_timeout.std(),
        outbox: settings.webhooks_url.is_some(),
        ..PostgresOptions::new(url.expose())
    }
}

fn sqlite_options(
    settings: &Settings,
    database: &Database,
    data_dir: Option<&DataDir>,
) -> Result<SqliteOptions, Failure> {
    let path = database
        .sqlite_path(data_dir.map(DataDir::path))
        .ok_or_else(no_directory)?;
    Ok(SqliteOptions {
        table_prefix: settings.database_table_prefix.clone(),
        outbox: settings.webhooks_url.is_some(),
        ..SqliteOptions::new(path)
    })
}

/// Whoever needs a data directory has opened it: a defect, but no reason to panic.
fn no_directory() -> Failure {
    Failure::new("there is no data directory for the database")
}
