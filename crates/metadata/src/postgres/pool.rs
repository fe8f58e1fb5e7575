//! The pool, and the two ways to use it: reading, and writing in a transaction.
//!
//! What is known not to have been committed and may go better at once is tried again: a connection that was lost, a
//! deadlock, another transaction that came between. A connection that is lost while the commit is under way leaves
//! open what became of it. An operation that can tell is then run again, with the knowledge that it may stand already;
//! any other is answered with `Unavailable`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom_core::ports::metadata::{MetadataError, Result};
use deadpool::Runtime;
use deadpool::managed::{PoolConfig, PoolError, QueueMode, TimeoutType, Timeouts};
use futures_util::future::join;
use tokio::time::{sleep, timeout};

use super::connection::{Connection, Connector};
use super::failure::{Failure, Outcome};
use super::signals::Herald;
use super::statements::Statements;

/// Attempts at an operation, the first one included.
const ATTEMPTS_MAX: u32 = 6;
/// Wait before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(10);
/// What the network may take beside the statement itself.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// A connection beyond the pool's size is closed when nobody used it for so long.
const SPARE_REST: Duration = Duration::from_secs(5);

/// What an operation in a transaction comes to.
pub(super) enum Verdict<T> {
    /// To be committed.
    Commit(T),
    /// An answer with nothing to commit.
    Rollback(T),
}

/// What to do when nobody knows whether a commit was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Say so.
    Tell,
    /// Run the operation again: it finds out whether it stands.
    RunAgain,
}

/// What became of a statement that is a transaction by itself.
pub(super) enum AtOnce<T> {
    /// Committed.
    Done(T),
    /// Not committed; in a transaction of several steps it may be found out why, or go better.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// An attempt at an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempt {
    /// An earlier attempt may have been committed.
    pub(super) may_stand: bool,
}

/// Connections, statements, and whom to tell of changes. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool {
    connections: deadpool::managed::Pool<Connector>,
    sql: Arc<Statements>,
    outbox: bool,
    herald: Herald,
    size: usize,
    wait: Duration,
    operation_timeout: Duration,
}

impl Pool {
    /// A pool of at most `size + overflow` connections, none of which is made yet.
    pub(super) fn new(
        connector: Connector,
        sql: Arc<Statements>,
        herald: Herald,
        options: &super::PostgresOptions,
        (size, overflow): (u32, u32),
    ) -> Self {
        let size = size.max(1) as usize;
        let config = PoolConfig {
            max_size: size + overflow as usize,
            timeouts: Timeouts {
                wait: Some(options.pool_timeout),
                create: None,
                recycle: None,
            },
            // The one used last: the others rest, and those beyond the size are closed.
            queue_mode: QueueMode::Lifo,
        };
        let operation_timeout = connector.statement_timeout + GRACE;
        let connections = deadpool::managed::Pool::builder(connector)
            .config(config)
            .runtime(Runtime::Tokio1)
            .build();
        #[expect(
            clippy::expect_used,
            reason = "fails only for timeouts without a runtime, and there is one"
        )]
        let connections = connections.expect("a runtime is named");
        Self {
            connections,
            sql,
            outbox: options.outbox,
            herald,
            size,
            wait: options.pool_timeout,
            operation_timeout,
        }
    }

    pub(super) fn connector(&self) -> &Connector {
        self.connections.manager()
    }

    pub(super) fn has_outbox(&self) -> bool {
        self.outbox
    }

    /// Nothing more is given out, and what rests is closed.
    pub(super) fn close(&self) {
        self.connections.close();
    }

    /// A connection. One that the server ends while it is made, with all the others, is made again.
    pub(super) async fn get(&self) -> Outcome<Connection> {
        let mut attempt = 1;
        loop {
            match self.get_once().await {
                Err(failure) if failure.is_ended_connection() && attempt < ATTEMPTS_MAX => {
                    self.pause("connect", attempt, &failure).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn get_once(&self) -> Outcome<Connection> {
        let exhausted = || {
            let (limit, seconds) = (self.connections.status().max_size, self.wait.as_secs_f64());
            Failure::Silent(format!(
                "no connection was free within {seconds} s (the pool has at most {limit})"
            ))
        };
        // Making and checking connections have limits of their own; this is about all of it.
        let whole = self.wait + self.connector().connect_timeout;
        let object = timeout(whole, self.connections.get())
            .await
            .map_err(|_| exhausted())?
            .map_err(|error| match error {
                PoolError::Timeout(TimeoutType::Wait) => exhausted(),
                PoolError::Backend(failure) => failure,
                PoolError::Closed => Failure::Silent("the metadata store is closed".to_owned()),
                other => Failure::Silent(other.to_string()),
            })?;
        Ok(Connection::new(object, Arc::clone(&self.sql), self.outbox))
    }

    /// Closes connections beyond the size that nobody has used for a while, and says how many there are.
    pub(super) fn tidy(&self) {
        let mut spare = self.connections.status().size.saturating_sub(self.size);
        if spare > 0 {
            self.connections.retain(|_, metrics| {
                let closes = spare > 0 && metrics.last_used() >= SPARE_REST;
                spare -= usize::from(closes);
                !closes
            });
        }
        let status = self.connections.status();
        metrics::gauge!("cloakroom_metadata_pool_connections", "state" => "open").set(status.size as f64);
        metrics::gauge!("cloakroom_metadata_pool_connections", "state" => "free")
            .set(status.available as f64);
        metrics::gauge!("cloakroom_metadata_pool_connections", "state" => "wanted")
            .set(status.waiting as f64);
    }

    /// Reads.
    pub(super) async fn read<T, F, R>(&self, name: &'static str, read: F) -> Result<T>
    where
        F: Fn(Connection) -> R,
        R: Future<Output = Outcome<T>>,
    {
        self.read_within(self.operation_timeout, name, read).await
    }

    /// Reads what may take longer than other operations: up to `limit` in each attempt.
    pub(super) async fn read_within<T, F, R>(&self, limit: Duration, name: &'static str, read: F) -> Result<T>
    where
        F: Fn(Connection) -> R,
        R: Future<Output = Outcome<T>>,
    {
        let begun = Instant::now();
        let mut attempt = 1;
        let result = loop {
            let outcome = match self.get().await {
                Ok(connection) => self
                    .limited(limit, connection.clone(), read(connection))
                    .await
                    .and_then(|outcome| outcome),
                Err(failure) => break Err(failure.into()),
            };
            match outcome {
                Ok(value) => break Ok(value),
                Err(failure) if failure.is_transient() && attempt < ATTEMPTS_MAX => {
                    self.pause(name, attempt, &failure).await;
                    attempt += 1;
                }
                Err(failure) => break Err(failure.into()),
            }
        };
        record(name, begun);
        result
    }

    /// Changes something in a transaction; the change is durable when this returns.
    pub(super) async fn write<T, F, R>(&self, name: &'static str, unknown: Unknown, work: F) -> Result<T>
    where
        F: Fn(Connection, Attempt) -> R,
        R: Future<Output = Outcome<T>>,
    {
        let decided = |connection, attempt| {
            let outcome = work(connection, attempt);
            async move { outcome.await.map(Verdict::Commit) }
        };
        self.decide(name, unknown, Attempt::default(), decided).await
    }

    /// Like [`Self::write`], for work that may turn out to have nothing to commit.
    pub(super) async fn decide<T, F, R>(
        &self,
        name: &'static str,
        unknown: Unknown,
        mut attempt: Attempt,
        work: F,
    ) -> Result<T>
    where
        F: Fn(Connection, Attempt) -> R,
        R: Future<Output = Outcome<Verdict<T>>>,
    {
        let begun = Instant::now();
        let mut count = 1;
        let result = loop {
            let connection = match self.get().await {
                Ok(connection) => connection,
                Err(failure) => break Err(told(failure, attempt)),
            };
            // On the heap, so that the callers' futures stay small.
            let transacted = transact(&connection, Box::pin(work(connection.clone(), attempt)));
            let (failure, committing) = match self
                .limited(self.operation_timeout, connection.clone(), transacted)
                .await
            {
                Ok(Ok(value)) => {
                    for topic in connection.take_hints() {
                        self.herald.announce(topic);
                    }
                    break Ok(value);
                }
                Ok(Err(Unmade { failure, committing })) => (failure, committing),
                // Time is over, whatever it was spent on; nothing is known of a commit then.
                Err(failure) => break Err(told(failure, Attempt { may_stand: true })),
            };
            // An error as the answer to COMMIT is a rollback; no answer is none.
            let open = committing && failure.is_lost_connection();
            if open && unknown == Unknown::Tell {
                let text = "the connection was lost during the commit: whether it was made is not known";
                break Err(MetadataError::Unavailable(text.to_owned()));
            }
            attempt.may_stand |= open;
            if count >= ATTEMPTS_MAX || !failure.is_transient() {
                break Err(told(failure, attempt));
            }
            self.pause(name, count, &failure).await;
            count += 1;
        };
        record(name, begun);
        result
    }

    /// Runs one statement that is a transaction by itself: no `BEGIN`, no `COMMIT` and nobody who waits for them. What
    /// its answer would have to undo cannot be written like this.
    pub(super) async fn write_at_once<T, F, R>(&self, name: &'static str, work: F) -> Result<AtOnce<T>>
    where
        F: FnOnce(Connection) -> R,
        R: Future<Output = Outcome<T>>,
    {
        let begun = Instant::now();
        let may_stand = Attempt { may_stand: true };
        let connection = self
            .get()
            .await
            .map_err(|failure| told(failure, Attempt::default()))?;
        connection.set_unfinished(true);
        let work = Box::pin(work(connection.clone()));
        let failure = match self
            .limited(self.operation_timeout, connection.clone(), work)
            .await
        {
            Ok(Ok(value)) => {
                connection.set_unfinished(false);
                record(name, begun);
                return Ok(AtOnce::Done(value));
            }
            Ok(Err(failure)) => failure,
            Err(failure) => return Err(told(failure, may_stand)),
        };
        if failure.is_lost_connection() {
            self.connector().distrust();
            return Ok(AtOnce::Unknown);
        }
        // The server lives and has rolled it back.
        connection.set_unfinished(false);
        tracing::debug!(operation = name, failure = %failure, "metadata_operation_repeated");
        if failure.is_transient() {
            return Ok(AtOnce::Refused);
        }
        match MetadataError::from(failure) {
            MetadataError::Unavailable(text) => Err(MetadataError::Unavailable(text)),
            _ => Ok(AtOnce::Refused),
        }
    }

    /// Runs work on a connection within this time; a connection that is late is not used again.
    async fn limited<T>(
        &self,
        limit: Duration,
        connection: Connection,
        work: impl Future<Output = T>,
    ) -> Outcome<T> {
        if let Ok(done) = timeout(limit, work).await {
            return Ok(done);
        }
        connection.set_unfinished(true);
        self.connector().distrust();
        let seconds = limit.as_secs_f64();
        Err(Failure::Silent(format!(
            "the database did not answer within {seconds} s"
        )))
    }

    async fn pause(&self, name: &'static str, attempt: u32, failure: &Failure) {
        tracing::debug!(operation = name, attempt, failure = %failure, "metadata_operation_repeated");
        metrics::counter!("cloakroom_metadata_retries_total", "operation" => name).increment(1);
        if failure.is_lost_connection() {
            // They mostly end together.
            self.connector().distrust();
        }
        sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
    }
}

/// A transaction that came to nothing, or nobody knows.
struct Unmade {
    failure: Failure,
    /// Whether COMMIT was sent.
    committing: bool,
}

async fn transact<T>(
    connection: &Connection,
    work: impl Future<Output = Outcome<Verdict<T>>>,
) -> std::result::Result<T, Unmade> {
    let unmade = |committing| move |failure| Unmade { failure, committing };
    // Whoever is cancelled in between leaves a connection that nobody else may use.
    connection.set_unfinished(true);
    // BEGIN is on its way before the first statement of the work, and nobody waits for it.
    let (begun, outcome) = join(connection.command("BEGIN"), work).await;
    if let Err(failure) = begun {
        if failure.is_lost_connection() {
            return Err(unmade(false)(failure));
        }
        // Refused on a connection that lives: what came after it may have been committed statement by statement.
        let text = "no transaction could be begun; whether the change was made is not known";
        return Err(unmade(false)(Failure::Silent(text.to_owned())));
    }
    let (value, end) = match outcome {
        Ok(Verdict::Commit(value)) => (Ok(value), "COMMIT"),
        Ok(Verdict::Rollback(value)) => (Ok(value), "ROLLBACK"),
        Err(failure) => (Err(failure), "ROLLBACK"),
    };
    match (value, connection.command(end).await) {
        (Ok(value), Ok(())) => {
            connection.set_unfinished(false);
            Ok(value)
        }
        (Ok(value), Err(failure)) if end == "ROLLBACK" => {
            drop(failure);
            Ok(value)
        }
        (Ok(_), Err(failure)) => Err(unmade(true)(failure)),
        (Err(failure), ended) => {
            connection.set_unfinished(ended.is_err());
            Err(unmade(false)(failure))
        }
    }
}

/// The failure in the port's words; what may stand is never reported as a plain refusal.
fn told(failure: Failure, attempt: Attempt) -> MetadataError {
    let error = MetadataError::from(failure);
    match error {
        MetadataError::Unavailable(text) if attempt.may_stand => {
            MetadataError::Unavailable(format!("{text}; whether the change was made is not known"))
        }
        other => other,
    }
}

fn record(name: &'static str, begun: Instant) {
    metrics::histogram!("cloakroom_metadata_operation_seconds", "operation" => name)
        .record(begun.elapsed().as_secs_f64());
}
