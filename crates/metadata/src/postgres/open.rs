//! Opening: the address, the newest schema, and only one node that changes it.

use std::time::Duration;

use cloakroom_core::ports::metadata::MetadataError;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::PostgresOptions;
use super::address::{self, InvalidAddress};
use super::connection::Connector;
use super::failure::{Failure, Outcome};
use super::tls::{self, TlsError};
use crate::migration::{Applied, Migration, MigrationMismatch, outstanding, tables};
use crate::prefix::TablePrefix;

/// The schema, step by step.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "initial",
        sql: include_str!("../../migrations/postgres/0001_initial.sql"),
    },
    Migration {
        version: 2,
        name: "outbox_and_leases",
        sql: include_str!("../../migrations/postgres/0002_outbox_and_leases.sql"),
    },
    Migration {
        version: 3,
        name: "administration",
        sql: include_str!("../../migrations/postgres/0003_administration.sql"),
    },
    Migration {
        version: 4,
        name: "processing",
        sql: include_str!("../../migrations/postgres/0004_processing.sql"),
    },
];

/// The oldest server that the statements are written for, as `server_version_num`.
const SERVER_VERSION_MIN: i32 = 140_000;
/// How long the schema may take: ten nodes may wait for one that builds an index.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(10);

/// Why a database was not opened. None of it has the password in it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL cannot be read.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// TLS cannot be set up as the URL asks for.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database does not answer, or does not let us in.
    #[error("cannot open the database: {0}")]
    Unavailable(String),
    /// The server or the database is not one that this program works with.
    #[error("cannot use the database: {0}")]
    Unsuitable(String),
    /// Its schema and the program's do not go together.
    #[error("cannot use the database: {0}")]
    Schema(#[from] MigrationMismatch),
    /// A step of the schema was refused.
    #[error("migration {version:04}_{name} failed: {reason}")]
    Migration {
        /// Number of the step.
        version: u32,
        /// Name of the step.
        name: &'static str,
        /// What the server said.
        reason: String,
    },
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match MetadataError::from(failure) {
            MetadataError::Unavailable(text) => Self::Unavailable(text),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// What makes connections as the options say; one for each of those who need their own.
pub(super) fn connector(options: &PostgresOptions) -> Result<Connector, OpenError> {
    let address = address::parse(&options.url)?;
    let tls = tls::connector(&address)?;
    Ok(Connector::new(address.config, tls, options))
}

/// Connects, checks that the database is suitable, and brings its schema up to date.
pub(super) async fn prepare(connector: &Connector, prefix: &TablePrefix) -> Result<(), OpenError> {
    let client = connector.connect().await?;
    check(&client, connector.connect_timeout).await?;
    timeout(MIGRATION_TIMEOUT, migrate(&client, prefix, MIGRATIONS))
        .await
        .map_err(|_| {
            OpenError::Unavailable("another node has been changing the schema for too long".to_owned())
        })?
}

/// The steps that the database lacks. Nothing is changed.
pub(super) async fn pending(connector: &Connector, prefix: &TablePrefix) -> Result<Vec<String>, OpenError> {
    let limit = connector.connect_timeout + connector.statement_timeout;
    let read = async {
        let client = connector.connect().await?;
        check(&client, connector.connect_timeout).await?;
        if has_migrations(&client, prefix).await? {
            Ok::<_, OpenError>(read_applied(&client, prefix).await?)
        } else {
            Ok(Vec::new())
        }
    };
    let applied = timeout(limit, read)
        .await
        .map_err(|_| OpenError::Unavailable("the database did not answer in time".to_owned()))??;
    let outstanding = outstanding(MIGRATIONS, &applied)?;
    Ok(outstanding.iter().map(Migration::label).collect())
}

async fn check(client: &Client, limit: Duration) -> Result<(), OpenError> {
    let sql = "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
        current_setting('server_version')";
    let row = timeout(limit, client.query_one(sql, &[]))
        .await
        .map_err(|_| {
            OpenError::Unavailable("the database took the connection and then fell silent".to_owned())
        })?
        .map_err(Failure::from)?;
    let read = |error: tokio_postgres::Error| OpenError::from(Failure::from(error));
    let version: i32 = row.try_get(0).map_err(read)?;
    let encoding: &str = row.try_get(1).map_err(read)?;
    if version < SERVER_VERSION_MIN {
        let found: &str = row.try_get(2).map_err(read)?;
        return Err(OpenError::Unsuitable(format!(
            "the server is PostgreSQL {found}, and 14 is the oldest that this program works with"
        )));
    }
    if encoding != "UTF8" {
        return Err(OpenError::Unsuitable(format!(
            "its encoding is {encoding}, and must be UTF8 to hold every name"
        )));
    }
    Ok(())
}

/// A number for the advisory lock of a prefix; other programs lock by numbers, too.
fn lock_number(prefix: &TablePrefix) -> i64 {
    let digest = Sha256::digest(format!("cloakroom migrations {prefix}"));
    i64::from_be_bytes(std::array::from_fn(|n| digest[n]))
}

/// Applies the steps that the database does not have, each in a transaction of its own, while every other node waits.
async fn migrate(client: &Client, prefix: &TablePrefix, steps: &[Migration]) -> Result<(), OpenError> {
    let engine = |error: tokio_postgres::Error| OpenError::from(Failure::from(error));
    client
        .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0; SET client_min_messages = 'warning'")
        .await
        .map_err(engine)?;
    // Ends with the connection at the latest.
    let lock = lock_number(prefix);
    client
        .execute("SELECT pg_advisory_lock($1)", &[&lock])
        .await
        .map_err(engine)?;
    let applied = applied(client, prefix).await?;
    for step in outstanding(steps, &applied)? {
        let failed = |error: tokio_postgres::Error| OpenError::Migration {
            version: step.version,
            name: step.name,
            reason: super::failure::text(&error),
        };
        let record = format!(
            "INSERT INTO {prefix}_migrations (version, name, checksum, applied_at)
             VALUES ({}, '{}', '{}', now())",
            step.version,
            step.name,
            step.checksum()
        );
        let sql = format!("BEGIN; {}; {record}; COMMIT", prefix.render(step.sql));
        if let Err(error) = client.batch_execute(&sql).await {
            // Best effort: the connection is dropped, and that rolls back as well.
            let _ = client.batch_execute("ROLLBACK").await;
            return Err(failed(error));
        }
        tracing::info!(
            version = step.version,
            name = step.name,
            "metadata_migration_applied"
        );
    }
    client
        .execute("SELECT pg_advisory_unlock($1)", &[&lock])
        .await
        .map_err(engine)?;
    let gone = gone(client, &tables(steps, prefix)).await?;
    if gone.is_empty() {
        return Ok(());
    }
    Err(MigrationMismatch::Gone { tables: gone }.into())
}

/// Those of these tables that there are not.
async fn gone(client: &Client, tables: &[String]) -> Outcome<Vec<String>> {
    let sql = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL ORDER BY name";
    let rows = client.query(sql, &[&tables]).await?;
    Ok(rows
        .iter()
        .map(|row| row.try_get(0))
        .collect::<std::result::Result<_, _>>()?)
}

/// Whether a step was ever applied.
async fn has_migrations(client: &Client, prefix: &TablePrefix) -> Outcome<bool> {
    let table = format!("{prefix}_migrations");
    let row = client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&table])
        .await?;
    Ok(row.try_get(0)?)
}

/// The applied steps, in order; makes room for them where there is none.
async fn applied(client: &Client, prefix: &TablePrefix) -> Outcome<Vec<Applied>> {
    // Looked for first: who may not create tables may still use a schema that is there.
    if !has_migrations(client, prefix).await? {
        let sql = format!(
            "CREATE TABLE {prefix}_migrations (
                version integer PRIMARY KEY,
                name text NOT NULL,
                checksum text NOT NULL,
                applied_at timestamptz NOT NULL
            )"
        );
        client.batch_execute(&sql).await?;
    }
    read_applied(client, prefix).await
}

async fn read_applied(client: &Client, prefix: &TablePrefix) -> Outcome<Vec<Applied>> {
    let sql = format!("SELECT version, checksum FROM {prefix}_migrations ORDER BY version");
    let mut applied = Vec::new();
    for row in client.query(&sql, &[]).await? {
        let version: i32 = row.try_get(0)?;
        applied.push(Applied {
            version: version.unsigned_abs(),
            checksum: row.try_get(1)?,
        });
    }
    Ok(applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_has_a_lock_of_its_own() {
        let number = |prefix: &str| lock_number(&prefix.parse().unwrap());
        assert_eq!(number("a"), number("a"));
        assert_ne!(number("a"), number("b"));
    }

    #[test]
    fn both_engines_have_the_same_steps() {
        let names = |engine: &str| {
            let directory = format!("{}/migrations/{engine}", env!("CARGO_MANIFEST_DIR"));
            let mut names: Vec<_> = std::fs::read_dir(directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("postgres"), names("sqlite"));
        let embedded: Vec<String> = MIGRATIONS
            .iter()
            .map(|step| format!("{}.sql", step.label()))
            .collect();
        assert_eq!(embedded, names("postgres"));
    }
}
