//! One connection: how it is made, what it keeps prepared, and when it is thrown away.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cloakroom_core::ports::signals::Topic;
use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::{Failure, Outcome};
use super::row::{Value, references};
use super::statements::{Prepared, Statements};

/// A connection that was used so recently is not asked whether it lives: the end of a connection is noticed at once
/// unless the network swallows it.
const PING_AFTER: Duration = Duration::from_secs(1);
/// How long a connection that rested may take to show that it lives.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Statements under way at a time whose order counts: so many futures, `join_all` asks in theirs.
const IN_ORDER_MAX: usize = 30;

/// A statement that changes something, with its values.
pub(super) struct Write<'a> {
    pub(super) statement: &'a Prepared,
    pub(super) values: Vec<Value<'a>>,
}

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Makes connections for the pool, and decides which may be used again.
pub(super) struct Connector {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
    pub(super) recycle_after: Duration,
    pub(super) pre_ping: bool,
    /// Connections of an older generation are not used again: the server of one of them fell silent.
    generation: AtomicU64,
}

/// A connection as the pool keeps it.
pub(super) struct Session {
    client: Client,
    prepared: Mutex<Vec<Option<Statement>>>,
    born: Instant,
    rests_since: Instant,
    generation: u64,
}

impl Connector {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect, options: &super::PostgresOptions) -> Self {
        Self {
            config,
            tls,
            connect_timeout: options.connect_timeout,
            statement_timeout: options.statement_timeout,
            recycle_after: options.recycle_after,
            pre_ping: options.pre_ping,
            generation: AtomicU64::new(0),
        }
    }

    /// Gives up every connection that there is.
    pub(super) fn distrust(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Connects and drives the connection in the background until its client is dropped.
    pub(super) async fn connect(&self) -> Outcome<Client> {
        let connected = timeout(self.connect_timeout, self.config.connect(self.tls.clone())).await;
        let (client, connection) = connected.map_err(|_| {
            let seconds = self.connect_timeout.as_secs_f64();
            Failure::Silent(format!(
                "the database did not take the connection within {seconds} s"
            ))
        })??;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %super::failure::text(&error), "metadata_connection_ended");
            }
        });
        Ok(client)
    }

    /// What every session says first. A transaction whose client vanished must not hold its locks for long; a commit
    /// that was acknowledged must be on the disk, whatever the server's default.
    fn settings(&self) -> String {
        let statement = self.statement_timeout.as_millis();
        let idle = statement + 5_000;
        format!(
            "SET statement_timeout = {statement}; SET idle_in_transaction_session_timeout = {idle};
             SET default_transaction_isolation = 'read committed'; SET client_min_messages = 'warning';
             SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
        )
    }
}

impl Manager for Connector {
    type Type = Session;
    type Error = Failure;

    async fn create(&self) -> Result<Session, Failure> {
        let generation = self.generation.load(Ordering::Relaxed);
        let client = self.connect().await?;
        timeout(self.connect_timeout, client.batch_execute(&self.settings()))
            .await
            .map_err(|_| {
                Failure::Silent("the database took the connection and then fell silent".to_owned())
            })??;
        Ok(Session {
            client,
            prepared: Mutex::default(),
            born: Instant::now(),
            rests_since: Instant::now(),
            generation,
        })
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<Failure> {
        let stale = |why| Err(RecycleError::message(why));
        if session.client.is_closed() {
            return stale("closed");
        }
        if session.generation != self.generation.load(Ordering::Relaxed) {
            return stale("its server fell silent");
        }
        if session.born.elapsed() >= self.recycle_after {
            return stale("old");
        }
        if self.pre_ping && session.rests_since.elapsed() >= PING_AFTER {
            match timeout(PING_TIMEOUT, session.client.check_connection()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return stale("it ended while it rested"),
                Err(_) => {
                    self.distrust();
                    return stale("it fell silent");
                }
            }
        }
        Ok(())
    }
}

impl Session {
    fn lock(&self) -> MutexGuard<'_, Vec<Option<Statement>>> {
        // Nothing panics while it holds the lock.
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn statement(&self, statement: &Prepared) -> Outcome<Statement> {
        if let Some(Some(known)) = self.lock().get(statement.number) {
            return Ok(known.clone());
        }
        let made = self.client.prepare(&statement.text).await?;
        let mut prepared = self.lock();
        if prepared.len() <= statement.number {
            prepared.resize(statement.number + 1, None);
        }
        prepared[statement.number] = Some(made.clone());
        Ok(made)
    }

    fn knows(&self, statement: &Prepared) -> bool {
        matches!(self.lock().get(statement.number), Some(Some(_)))
    }
}

/// A connection in use, for one operation. Cheap to clone; goes back to the pool with the last clone.
#[derive(Clone)]
pub(super) struct Connection(Arc<Lease>);

struct Lease {
    /// `None` only while it is dropped.
    object: Option<Object<Connector>>,
    sql: Arc<Statements>,
    outbox: bool,
    /// Whether a transaction is open, or the server owes an answer that nobody waits for.
    unfinished: AtomicBool,
    hints: Mutex<Vec<Topic>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut object) = self.object.take() else {
            return;
        };
        if self.unfinished.load(Ordering::Relaxed) || object.client.is_closed() {
            // Its end rolls the transaction back.
            drop(Object::take(object));
        } else {
            object.rests_since = Instant::now();
        }
    }
}

impl Connection {
    pub(super) fn new(object: Object<Connector>, sql: Arc<Statements>, outbox: bool) -> Self {
        Self(Arc::new(Lease {
            object: Some(object),
            sql,
            outbox,
            unfinished: AtomicBool::new(false),
            hints: Mutex::default(),
        }))
    }

    fn session(&self) -> &Session {
        // Taken only by `drop`.
        #[expect(clippy::expect_used, reason = "taken only by drop")]
        self.0.object.as_ref().expect("the connection is in use")
    }

    pub(super) fn sql(&self) -> &Statements {
        &self.0.sql
    }

    /// Whether events go into the outbox.
    pub(super) fn has_outbox(&self) -> bool {
        self.0.outbox
    }

    /// Marks whether the connection must not be used by anybody else.
    pub(super) fn set_unfinished(&self, unfinished: bool) {
        self.0.unfinished.store(unfinished, Ordering::Relaxed);
    }

    /// Runs text without parameters: `BEGIN`, `COMMIT`.
    pub(super) async fn command(&self, text: &str) -> Outcome<()> {
        Ok(self.session().client.batch_execute(text).await?)
    }

    /// Prepares what is not yet, so that what follows is sent in the order in which it is asked for.
    pub(super) async fn prepare(&self, statements: &[&Prepared]) -> Outcome<()> {
        let session = self.session();
        let missing = statements.iter().filter(|statement| !session.knows(statement));
        for made in join_all(missing.map(|statement| session.statement(statement))).await {
            made?;
        }
        Ok(())
    }

    /// Every row.
    pub(super) async fn query(&self, statement: &Prepared, parameters: Parameters<'_>) -> Outcome<Vec<Row>> {
        let session = self.session();
        let statement = session.statement(statement).await?;
        Ok(session.client.query(&statement, parameters).await?)
    }

    /// The first row, if there is one.
    pub(super) async fn first(
        &self,
        statement: &Prepared,
        parameters: Parameters<'_>,
    ) -> Outcome<Option<Row>> {
        Ok(self.query(statement, parameters).await?.into_iter().next())
    }

    /// Whether there is a row.
    pub(super) async fn exists(&self, statement: &Prepared, parameters: Parameters<'_>) -> Outcome<bool> {
        Ok(!self.query(statement, parameters).await?.is_empty())
    }

    /// Runs a statement; returns how many rows it changed.
    pub(super) async fn execute(&self, statement: &Prepared, parameters: Parameters<'_>) -> Outcome<u64> {
        let session = self.session();
        let statement = session.statement(statement).await?;
        Ok(session.client.execute(&statement, parameters).await?)
    }

    /// Runs statements in this order, without waiting for the answer of one before the next; returns how many rows
    /// each changed.
    pub(super) async fn execute_all(&self, writes: &[Write<'_>]) -> Outcome<Vec<u64>> {
        for write in writes {
            self.session().statement(write.statement).await?;
        }
        let mut changed = Vec::with_capacity(writes.len());
        for writes in writes.chunks(IN_ORDER_MAX) {
            let sent = writes.iter().map(async |write| {
                let parameters = references(&write.values);
                self.execute(write.statement, &parameters).await
            });
            changed.extend(together(join_all(sent).await)?);
        }
        Ok(changed)
    }

    /// Every row of a statement that is planned for these very values.
    pub(super) async fn query_unprepared(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Outcome<Vec<Row>> {
        Ok(self.session().client.query_typed(sql, parameters).await?)
    }

    /// Asks for a wake-up, to be given after the commit.
    pub(super) fn hint(&self, topic: Topic) {
        self.0
            .hints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(topic);
    }

    /// Takes the hints of what was committed.
    pub(super) fn take_hints(&self) -> Vec<Topic> {
        std::mem::take(&mut *self.0.hints.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The outcomes of statements that were sent together: all values, or the first failure that is none of another's
/// consequences.
pub(super) fn together<T>(outcomes: impl IntoIterator<Item = Outcome<T>>) -> Outcome<Vec<T>> {
    let (mut values, mut failure) = (Vec::new(), None::<Failure>);
    for outcome in outcomes {
        match outcome {
            Ok(value) => values.push(value),
            Err(next) => match &failure {
                Some(first) if !first.is_aftermath() => {}
                _ => failure = Some(next),
            },
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(values),
    }
}
