//! How to connect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::ports::signals::Signals;

use super::address::InvalidAddress;
use crate::prefix::TablePrefix;

/// How to connect to a database, and how much of it to use.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`. Parameters are those of libpq: `sslmode` (`disable`, `prefer`,
    /// `require`, `verify-ca`, `verify-full`), `sslrootcert`, `application_name`, `options`, `target_session_attrs`
    /// and the keepalives.
    pub url: String,
    /// Begins the name of every table, so that several instances may share a database.
    pub table_prefix: TablePrefix,
    /// Connections that are kept (S3-053). Three more are in use beside them: two for grouped
    /// inserts, one for wake-ups.
    pub pool_size: u32,
    /// Connections beyond these while there is much to do (S3-053); they are closed when they rest.
    pub pool_overflow: u32,
    /// How long an operation waits for a connection (S3-054).
    pub pool_timeout: Duration,
    /// Connections that are older are replaced (S3-054).
    pub recycle_after: Duration,
    /// Whether a connection that has rested for a second is asked whether it lives (S3-055).
    pub pre_ping: bool,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// Whether events wait for delivery ([`claim_events`](cloakroom_core::ports::metadata::MetadataStore::claim_events)).
    /// Without somebody who claims them they would pile up.
    pub outbox: bool,
    /// Whom to tell what changed, after the commit, through this node or another one.
    pub signals: Option<Arc<dyn Signals>>,
}

impl PostgresOptions {
    /// Ten connections and twenty more, and the default prefix, timeouts as in S3-053..055; no outbox, no signals.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            table_prefix: TablePrefix::default(),
            pool_size: 10,
            pool_overflow: 20,
            pool_timeout: Duration::from_secs(30),
            recycle_after: Duration::from_hours(1),
            pre_ping: true,
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            outbox: false,
            signals: None,
        }
    }
}

impl PostgresOptions {
    /// Whether the URL can be read, without connecting to anything.
    ///
    /// # Errors
    /// [`InvalidAddress`], which does not repeat the password.
    pub fn check(&self) -> Result<(), InvalidAddress> {
        super::address::parse(&self.url).map(drop)
    }
}

impl fmt::Debug for PostgresOptions {
    /// Without the URL, for it has the password in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("table_prefix", &self.table_prefix)
            .field("pool_size", &self.pool_size)
            .field("pool_overflow", &self.pool_overflow)
            .field("pool_timeout", &self.pool_timeout)
            .field("recycle_after", &self.recycle_after)
            .field("pre_ping", &self.pre_ping)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("outbox", &self.outbox)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let options = PostgresOptions::new("postgres://ann:hunter2@db.example/files");
        let text = format!("{options:?}");
        assert!(
            text.contains("pool_size: 10") && !text.contains("hunter2"),
            "{text}"
        );
    }
}
