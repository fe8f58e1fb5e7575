//! What is true of a server and a database: for `cloakroom doctor`. Nothing is changed.

use std::time::{Duration, Instant};

use cloakroom_core::ports::clock::Clock;
use jiff::SignedDuration;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::failure::Outcome;
use super::open::{self, OpenError};
use super::{PostgresOptions, PostgresStore};

/// Connections beside the pool: two for grouped inserts, one for wake-ups.
const CONNECTIONS_BESIDE_POOL: u32 = 3;

/// What is true of a server and a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// `15.8`.
    pub server_version: String,
    /// How long a question and its answer took.
    pub round_trip: Duration,
    /// The server's time less ours.
    pub clock_ahead: SignedDuration,
    /// Migrations that the database lacks.
    pub pending_migrations: Vec<String>,
    /// We may make tables where ours are, which migrations need.
    pub may_create: bool,
    /// Tables of ours that we may not read and change.
    pub forbidden_tables: Vec<String>,
    /// The server takes no writes: it is a replica, or set so.
    pub is_read_only: bool,
    /// The connection is encrypted.
    pub is_encrypted: bool,
    /// Connections that the server takes from all its clients but superusers.
    pub connections_max: u32,
    /// Connections that clients have now.
    pub connections_used: u32,
    /// Connections that one process of ours may open.
    pub connections_ours: u32,
    /// What a commit waits for by the server's default: `on`, `off`, `local`, `remote_write`, `remote_apply`.
    pub synchronous_commit: String,
    /// Whether commits reach the disk.
    pub fsync: bool,
    /// Whether torn pages are mended after a crash.
    pub full_page_writes: bool,
}

impl PostgresStore {
    /// Looks at the server, and at what we may do there. Connects, and changes nothing.
    ///
    /// # Errors
    /// [`OpenError`] as for [`Self::connect`].
    pub async fn diagnose(options: &PostgresOptions, clock: &dyn Clock) -> Result<Diagnosis, OpenError> {
        let connector = open::connector(options)?;
        let pending_migrations = open::pending(&connector, &options.table_prefix).await?;
        let limit = connector.connect_timeout + connector.statement_timeout;
        let look = async {
            let client = connector.connect().await?;
            look(&client, options, clock, pending_migrations).await
        };
        let looked = timeout(limit, look).await;
        let looked =
            looked.map_err(|_| OpenError::Unavailable("the database did not answer in time".to_owned()))?;
        Ok(looked?)
    }
}

async fn look(
    client: &Client,
    options: &PostgresOptions,
    clock: &dyn Clock,
    pending_migrations: Vec<String>,
) -> Outcome<Diagnosis> {
    let (asked_at, began) = (clock.now(), Instant::now());
    let row = client
        .query_one(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
            &[],
        )
        .await?;
    let round_trip = began.elapsed();
    let theirs = SignedDuration::from_millis(row.try_get(0)?);
    let ours = SignedDuration::from_millis(asked_at.as_millisecond())
        + SignedDuration::try_from(round_trip / 2).unwrap_or_default();

    let settings = "SELECT current_setting('server_version'), current_setting('synchronous_commit'),
        current_setting('fsync') = 'on', current_setting('full_page_writes') = 'on',
        pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
        coalesce(has_schema_privilege(current_schema(), 'CREATE'), false),
        greatest(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int, 0),
        (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend' OR backend_type IS NULL),
        coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)";
    let row = client.query_one(settings, &[]).await?;
    let (connections_max, connections_used): (i32, i32) = (row.try_get(6)?, row.try_get(7)?);

    let tables = "SELECT c.relname::text FROM pg_class c WHERE c.relkind = 'r' AND pg_table_is_visible(c.oid)
        AND starts_with(c.relname::text, $1) AND NOT (has_table_privilege(c.oid, 'SELECT')
        AND has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'UPDATE')
        AND has_table_privilege(c.oid, 'DELETE')) ORDER BY 1";
    let prefix = format!("{}_", options.table_prefix);
    let mut forbidden_tables = Vec::new();
    for row in client.query(tables, &[&prefix]).await? {
        forbidden_tables.push(row.try_get(0)?);
    }
    Ok(Diagnosis {
        server_version: row.try_get(0)?,
        round_trip,
        clock_ahead: theirs - ours,
        pending_migrations,
        may_create: row.try_get(5)?,
        forbidden_tables,
        is_read_only: row.try_get(4)?,
        is_encrypted: row.try_get(8)?,
        connections_max: connections_max.unsigned_abs(),
        connections_used: connections_used.unsigned_abs(),
        connections_ours: options.pool_size + options.pool_overflow + CONNECTIONS_BESIDE_POOL,
        synchronous_commit: row.try_get(1)?,
        fsync: row.try_get(2)?,
        full_page_writes: row.try_get(3)?,
    })
}
