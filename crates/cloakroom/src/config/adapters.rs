//! Which adapters the settings choose: the database and the object store.

use std::fmt;
use std::path::{Path, PathBuf};

use cloakroom_signing::{Addressing, Endpoint, SigningError};

use super::settings::Settings;
use super::values::{BucketAddressing, DatabaseUrl, PostgresUrl, StoreKind};
use crate::data_dir::database_of;

/// The database that is chosen. Its `Debug` has no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// SQLite, in this file; in the data directory where none is named.
    Sqlite(Option<PathBuf>),
    /// PostgreSQL.
    Postgres(PostgresUrl),
}

/// The object store that is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// Files of the data directory, behind the embedded S3 endpoint.
    Local,
    /// An S3 service at this address.
    S3(String),
}

impl Settings {
    /// The database.
    pub fn database(&self) -> Database {
        match &self.database_url {
            None => Database::Sqlite(None),
            Some(DatabaseUrl::Sqlite(path)) => Database::Sqlite(Some(path.clone())),
            Some(DatabaseUrl::Postgres(url)) => Database::Postgres(url.clone()),
        }
    }

    /// The object store.
    pub fn store(&self) -> Store {
        match (self.store_kind, &self.s3_endpoint) {
            (StoreKind::Local, _) | (StoreKind::Auto, None) => Store::Local,
            (StoreKind::S3, None) => Store::S3(aws(self.s3_region.as_str())),
            (StoreKind::S3 | StoreKind::Auto, Some(url)) => {
                Store::S3(url.with_scheme(self.s3_use_ssl.unwrap_or(false)))
            }
        }
    }

    /// The address that S3 signatures are made for, unless it is the one that the embedded endpoint listens on.
    pub fn s3_public_address(&self) -> Option<String> {
        let said = self
            .s3_public_url
            .as_ref()
            .map(|url| url.with_scheme(self.s3_use_ssl.unwrap_or(false)));
        said.or_else(|| match self.store() {
            Store::Local => None,
            Store::S3(url) => Some(url),
        })
    }

    /// An S3 address with the way in which buckets are addressed there.
    pub fn endpoint(&self, url: &str) -> Result<Endpoint, SigningError> {
        let addressing = match self.s3_addressing {
            BucketAddressing::Virtual => Addressing::VirtualHost,
            BucketAddressing::Auto if self.store() != Store::Local && is_aws(url) => Addressing::VirtualHost,
            BucketAddressing::Path | BucketAddressing::Auto => Addressing::Path,
        };
        Endpoint::parse(url, addressing)
    }

    /// Whether something is kept in the data directory: by the database, by the store, or by `--dev`.
    pub fn needs_data_dir(&self, dev: bool) -> bool {
        dev || self.database() == Database::Sqlite(None) || self.store() == Store::Local
    }

    /// Whether several processes can work together: what they share is on no disk of one machine.
    pub fn is_shared(&self) -> bool {
        matches!(self.database(), Database::Postgres(_)) && self.store() != Store::Local
    }

    /// The database, for people. No password.
    pub fn database_description(&self) -> impl fmt::Display {
        match self.database() {
            Database::Sqlite(None) => format!("SQLite in {}", self.data_dir.display()),
            Database::Sqlite(Some(path)) => format!("SQLite in {}", path.display()),
            Database::Postgres(url) => format!("PostgreSQL at {}", url.shown()),
        }
    }

    /// The store, for people.
    pub fn store_description(&self) -> impl fmt::Display {
        match self.store() {
            Store::Local => format!("files in {}", self.data_dir.join("objects").display()),
            Store::S3(url) => match self.s3_public_address().filter(|public| *public != url) {
                Some(public) => format!("S3 at {url}, for clients {public}"),
                None => format!("S3 at {url}"),
            },
        }
    }
}

impl Database {
    /// The file of an SQLite database whose data directory is this one.
    pub fn sqlite_path(&self, data_dir: Option<&Path>) -> Option<PathBuf> {
        match self {
            Self::Sqlite(Some(path)) => Some(path.clone()),
            Self::Sqlite(None) => data_dir.map(database_of),
            Self::Postgres(_) => None,
        }
    }
}

/// The S3 of AWS in a region (AWS General Reference, "Amazon S3 endpoints").
fn aws(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://s3.{region}.amazonaws.com{suffix}")
}

/// Whether an address is one of AWS.
pub fn is_aws(url: &str) -> bool {
    let host = url.split("://").nth(1).unwrap_or(url);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}
