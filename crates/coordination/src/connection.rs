//! One connection to Redis that is made anew when it breaks, shared by all who ask.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Script};

/// Longest wait for a connection, and for an answer: what Redis decides is not worth more time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Attempts to connect again, within the time of one question.
const RETRIES: usize = 1;

/// Why Redis could not be asked. Carries no address: that may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis: {0}")]
pub struct RedisError(pub String);

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        let kind = if error.is_timeout() {
            "no answer in time".to_owned()
        } else if error.is_connection_refusal() {
            "connection refused".to_owned()
        } else if error.is_io_error() {
            "the connection broke".to_owned()
        } else {
            error.category().to_owned()
        };
        Self(kind)
    }
}

/// A Redis server. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    connection: ConnectionManager,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl Redis {
    /// A server by its address, `redis://[:password@]host[:port][/database]` or `rediss://` for TLS. Connects when it is
    /// first asked, so that a server that is away holds nobody up at start.
    ///
    /// # Errors
    /// An address that is none.
    pub fn new(url: &str) -> Result<Self, RedisError> {
        Self::within(url, CONNECT_TIMEOUT, ANSWER_TIMEOUT)
    }

    /// Like [`Self::new`], with so much patience for a connection and an answer: for tests on a busy machine.
    ///
    /// # Errors
    /// An address that is none.
    pub fn patient(url: &str, patience: Duration) -> Result<Self, RedisError> {
        Self::within(url, patience, patience)
    }

    fn within(url: &str, connection: Duration, answer: Duration) -> Result<Self, RedisError> {
        let client =
            Client::open(url).map_err(|_| RedisError("not an address like redis://host:6379".to_owned()))?;
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(connection))
            .set_response_timeout(Some(answer))
            .set_number_of_retries(RETRIES);
        let connection = ConnectionManager::new_lazy_with_config(client, config)?;
        Ok(Self { connection })
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), RedisError> {
        let mut connection = self.connection.clone();
        let answer: String = redis::cmd("PING").query_async(&mut connection).await?;
        if answer == "PONG" {
            Ok(())
        } else {
            Err(RedisError("an answer that is none".to_owned()))
        }
    }

    /// Runs a script, by its digest if the server knows it.
    pub(crate) async fn run(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[String],
    ) -> Result<i64, RedisError> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for argument in arguments {
            invocation.arg(argument);
        }
        let mut connection = self.connection.clone();
        Ok(invocation.invoke_async(&mut connection).await?)
    }
}
