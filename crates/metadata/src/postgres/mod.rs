//! The shared database: PostgreSQL, used by as many nodes as there are.
//!
//! Signed uploads are grouped across requests (`inserts`); everything else takes a connection of a `pool`, in a
//! transaction where it changes something. What one node changes wakes who waits on another (`signals`). Every method
//! of the port is one operation: a plain function over a connection.

mod address;
mod administration;
mod archive;
mod connection;
mod diagnosis;
mod failure;
mod files;
mod inserts;
mod intents;
mod jobs;
mod leases;
mod list;
mod open;
mod options;
mod outbox;
#[cfg(test)]
mod plan;
mod pool;
mod records;
mod row;
mod signals;
mod statements;
mod store;
mod tls;
mod tokens;
mod turns;
mod values;

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::metadata::{Page, Result as MetadataResult};
use tokio::task::JoinSet;
use tokio::time::interval;
use uuid::Uuid;

use self::inserts::Inserts;
use self::pool::Pool;
use self::signals::{Exchange, Herald};
use self::statements::Statements;

pub use self::address::InvalidAddress;
pub use self::diagnosis::Diagnosis;
pub use self::open::OpenError;
pub use self::options::PostgresOptions;
pub use self::tls::TlsError;
pub use crate::migration::MigrationMismatch;

/// Groups of inserts that may be written at the same time, each on a connection of its own.
const GROUPS_UNDER_WAY: u32 = 2;
/// How often the pool is looked through for connections that rest.
const TIDY_EVERY: Duration = Duration::from_secs(2);

/// The metadata store in a PostgreSQL database. Dropping it ends its connections; [`Self::close`] does so after what
/// was accepted is committed.
pub struct PostgresStore {
    pool: Pool,
    inserts: Option<Inserts>,
    /// The tasks that group inserts; they end when nobody can insert any more.
    grouping: JoinSet<()>,
    /// The tasks that run for as long as the store.
    _background: JoinSet<()>,
}

impl PostgresStore {
    /// Connects, migrates the database as needed (one node at a time) and listens for wake-ups.
    ///
    /// # Errors
    /// [`OpenError`]: the address is none, the database does not answer or let us in, is not suitable, or its schema
    /// and the program's do not go together.
    pub async fn connect(options: PostgresOptions) -> Result<Self, OpenError> {
        let connector = open::connector(&options)?;
        open::prepare(&connector, &options.table_prefix).await?;
        let sql = Arc::new(Statements::new(&options.table_prefix));
        let (herald, outgoing) = Herald::new(options.signals.clone());
        let channel = format!("{}_signals", options.table_prefix);
        let exchange = Exchange::new(
            open::connector(&options)?,
            channel,
            Uuid::now_v7(),
            options.signals.clone(),
        );
        let line = exchange.open().await?;
        let size = (options.pool_size, options.pool_overflow);
        let pool = Pool::new(connector, Arc::clone(&sql), herald.clone(), &options, size);
        let single = Pool::new(
            open::connector(&options)?,
            sql,
            herald,
            &options,
            (GROUPS_UNDER_WAY, 0),
        );

        let (inserts, queue) = Inserts::new();
        let (mut grouping, mut background) = (JoinSet::new(), JoinSet::new());
        grouping.spawn(queue.run(single));
        background.spawn(exchange.run(line, outgoing));
        let tidied = pool.clone();
        background.spawn(async move {
            let mut ticks = interval(TIDY_EVERY);
            loop {
                ticks.tick().await;
                tidied.tidy();
            }
        });
        Ok(Self {
            pool,
            inserts: Some(inserts),
            grouping,
            _background: background,
        })
    }

    /// The migrations that a database lacks, as `0001_initial`. Connects, and changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] as for [`Self::connect`].
    pub async fn pending_migrations(options: &PostgresOptions) -> Result<Vec<String>, OpenError> {
        open::pending(&open::connector(options)?, &options.table_prefix).await
    }

    /// Ends after everything that waits, and closes the connections.
    ///
    /// # Errors
    /// None so far: what was accepted has been answered to its callers.
    pub async fn close(mut self) -> MetadataResult<()> {
        self.inserts = None;
        while self.grouping.join_next().await.is_some() {}
        self.pool.close();
        Ok(())
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.pool.close();
    }
}

/// A page of rows of which one more than the limit was read.
fn page<T>(mut items: Vec<T>, limit: u32) -> Page<T> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    Page { items, more }
}
