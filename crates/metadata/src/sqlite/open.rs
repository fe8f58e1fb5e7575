//! Opening: one process at a time, the right settings, the newest schema.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::SqliteOptions;
use super::session::Session;
use super::statements::Statements;
use crate::migration::{Applied, Migration, MigrationMismatch, outstanding, tables};
use crate::prefix::TablePrefix;

/// The schema, step by step.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "initial",
        sql: include_str!("../../migrations/sqlite/0001_initial.sql"),
    },
    Migration {
        version: 2,
        name: "outbox_and_leases",
        sql: include_str!("../../migrations/sqlite/0002_outbox_and_leases.sql"),
    },
    Migration {
        version: 3,
        name: "administration",
        sql: include_str!("../../migrations/sqlite/0003_administration.sql"),
    },
    Migration {
        version: 4,
        name: "processing",
        sql: include_str!("../../migrations/sqlite/0004_processing.sql"),
    },
];

/// How long to wait for somebody who holds the database with a tool.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements kept compiled for each connection.
const STATEMENTS_KEPT: usize = 128;
/// Page cache of the writer, in KiB.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
/// Page cache of each reader, in KiB.
const READER_CACHE_KIB: i64 = 16 * 1024;
/// Pages in the log, 4 KiB each, after which the writer copies them into the database. An insert cost 25 us of CPU
/// with 2,000, 21 with 4,000, 19 with 8,000: pages that change often are copied less. A larger log makes the copying,
/// during which commits wait, longer.
const CHECKPOINT_PAGES: i64 = 4000;

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{}: another process has this database open (it holds {})", path.display(), lock.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// The file that is locked.
        lock: PathBuf,
    },
    /// The file or its directory cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no SQLite database, or a damaged one.
    #[error("{}: not an SQLite database, or damaged: {source}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
    /// Its schema and the program's do not go together.
    #[error("{}: {source}", path.display())]
    Schema {
        /// The database.
        path: PathBuf,
        /// What differs.
        source: MigrationMismatch,
    },
    /// Anything else that the engine says.
    #[error("{}: cannot open the database: {source}", path.display())]
    Engine {
        /// The database.
        path: PathBuf,
        /// What the engine said.
        source: rusqlite::Error,
    },
}

/// What an open database consists of.
pub(super) struct Opened {
    pub(super) writer: Session,
    pub(super) readers: Vec<Session>,
    pub(super) lock: File,
}

/// Opens the database of `options`, creating and migrating it as needed.
pub(super) fn open(options: &SqliteOptions) -> Result<Opened, OpenError> {
    // Absolute, as a relative path may look like a URI (`file:...`) to the engine.
    let path = std::path::absolute(&options.path).map_err(|source| OpenError::Io {
        path: options.path.clone(),
        source,
    })?;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(|source| OpenError::Io {
            path: directory.to_path_buf(),
            source,
        })?;
    }
    let lock = lock(&path)?;
    let engine = |source: rusqlite::Error| sort(&path, source);
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(engine)?;
    configure_writer(&connection, options.synchronous_full).map_err(engine)?;
    migrate(&mut connection, &options.table_prefix, MIGRATIONS, &path)?;
    let statements = Arc::new(Statements::new(&options.table_prefix));
    let mut readers = Vec::with_capacity(options.readers.max(1));
    for _ in 0..options.readers.max(1) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&path, flags).map_err(engine)?;
        configure_reader(&reader).map_err(engine)?;
        readers.push(Session::new(reader, Arc::clone(&statements), options.outbox));
    }
    Ok(Opened {
        writer: Session::new(connection, statements, options.outbox),
        readers,
        lock,
    })
}

/// Holds `<path>.lock` for this process. The engine's own locks let two servers in, each with a writer that takes
/// itself for the only one. The system drops the lock with the process, however it ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = PathBuf::from(name);
    let io = |source| OpenError::Io {
        path: lock.clone(),
        source,
    };
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&lock)
        .map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: path.to_path_buf(),
            lock,
        }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn sort(path: &Path, source: rusqlite::Error) -> OpenError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let path = path.to_path_buf();
    match source.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => OpenError::Damaged { path, source },
        _ => OpenError::Engine { path, source },
    }
}

fn configure_writer(connection: &Connection, synchronous_full: bool) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(
        None,
        "synchronous",
        if synchronous_full { "FULL" } else { "NORMAL" },
    )?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn configure_reader(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

/// Applies the steps that the database does not have, each in a transaction of its own.
fn migrate(
    connection: &mut Connection,
    prefix: &TablePrefix,
    steps: &[Migration],
    path: &Path,
) -> Result<(), OpenError> {
    let engine = |source: rusqlite::Error| sort(path, source);
    let applied = applied(connection, prefix).map_err(engine)?;
    let outstanding = outstanding(steps, &applied).map_err(|source| OpenError::Schema {
        path: path.to_path_buf(),
        source,
    })?;
    for step in outstanding {
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(engine)?;
        transaction
            .execute_batch(&prefix.render(step.sql))
            .map_err(engine)?;
        let record = prefix.render(
            "INSERT INTO {p}_migrations (version, name, checksum, applied_at)
             VALUES (?1, ?2, ?3, CAST(unixepoch('subsec') * 1000000 AS INTEGER))",
        );
        transaction
            .execute(&record, params![step.version, step.name, step.checksum()])
            .map_err(engine)?;
        transaction.commit().map_err(engine)?;
        tracing::info!(
            version = step.version,
            name = step.name,
            "metadata_migration_applied"
        );
    }
    let standing = standing(connection).map_err(engine)?;
    let mut gone = tables(steps, prefix);
    gone.retain(|table| !standing.contains(table));
    if gone.is_empty() {
        return Ok(());
    }
    Err(OpenError::Schema {
        path: path.to_path_buf(),
        source: MigrationMismatch::Gone { tables: gone },
    })
}

/// The tables that there are, with those of other prefixes.
fn standing(connection: &Connection) -> rusqlite::Result<HashSet<String>> {
    let mut statement = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// The steps that a database lacks; all of them where there is no file. Nothing is changed.
pub(super) fn pending(options: &SqliteOptions) -> Result<Vec<String>, OpenError> {
    let path = &options.path;
    let engine = |source: rusqlite::Error| sort(path, source);
    let mut done = Vec::new();
    if path.exists() {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(engine)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(engine)?;
        let table = format!("{}_migrations", options.table_prefix);
        if connection.table_exists(None, table.as_str()).map_err(engine)? {
            done = read_applied(&connection, &options.table_prefix).map_err(engine)?;
        }
    }
    let outstanding = outstanding(MIGRATIONS, &done).map_err(|source| OpenError::Schema {
        path: path.clone(),
        source,
    })?;
    Ok(outstanding.iter().map(Migration::label).collect())
}

/// The applied steps, in order. The first statement to touch the file: here a file that is none shows itself.
fn applied(connection: &Connection, prefix: &TablePrefix) -> rusqlite::Result<Vec<Applied>> {
    connection.execute_batch(&prefix.render(
        "CREATE TABLE IF NOT EXISTS {p}_migrations (
            version INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            checksum TEXT NOT NULL,
            applied_at INTEGER NOT NULL
        ) STRICT",
    ))?;
    read_applied(connection, prefix)
}

fn read_applied(connection: &Connection, prefix: &TablePrefix) -> rusqlite::Result<Vec<Applied>> {
    let mut statement = connection
        .prepare(&prefix.render("SELECT version, checksum FROM {p}_migrations ORDER BY version"))?;
    statement
        .query_map([], |row| {
            Ok(Applied {
                version: row.get(0)?,
                checksum: row.get(1)?,
            })
        })?
        .collect()
}
