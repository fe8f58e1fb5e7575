//! Inserts of signed uploads, grouped: the hot path.
//!
//! Most of a durable commit is waiting for the disk. So inserts go to a queue, and whatever waits there when a task is
//! free makes up the next commit: a few statements with one array for each column, for all of them. There is no timer:
//! an idle database commits a single insert at once. There are two such tasks, each with a connection of its own: while
//! one waits for the disk, the other writes.
//!
//! The group takes only what is plain. Rows are written first and looked at then: whichever row was there already,
//! would exceed a quota or links to a stranger's record shows in what the statements return. The transaction is rolled
//! back, the others go again without it, and it is inserted by itself on a connection of the pool, where its answer is
//! found. The same happens to all of a group that a statement refused or whose commit nobody knows of.

mod alone;
mod group;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use cloakroom_core::ports::metadata::{Inserted, MetadataError, NewFile, Result};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Mutex, oneshot};

use self::group::{Grouped, Plain};
use super::pool::{Attempt, Pool, Unknown};

/// Inserts that may wait; one more is refused.
const QUEUE_INSERTS_MAX: usize = 4096;
/// Inserts in one transaction.
const GROUP_INSERTS_MAX: usize = 512;

enum Reply {
    /// Committed.
    New,
    /// To be inserted by itself.
    Alone(Box<NewFile>, Attempt),
    /// Not done.
    Failed(MetadataError),
}

struct Waiting {
    plain: Plain,
    reply: oneshot::Sender<Reply>,
}

impl Waiting {
    fn answer(self, reply: Reply) {
        // Nobody waits any more: the caller went away, what was done stands.
        let _ = self.reply.send(reply);
    }

    fn alone(self, attempt: Attempt) {
        let Self { plain, reply } = self;
        let _ = reply.send(Reply::Alone(plain.new, attempt));
    }
}

/// Hands inserts to the tasks that group them.
#[derive(Clone)]
pub(super) struct Inserts {
    queue: Sender<Waiting>,
}

impl Inserts {
    /// The handle, and what the tasks take from.
    pub(super) fn new() -> (Self, InsertQueue) {
        let (queue, waiting) = channel(QUEUE_INSERTS_MAX);
        (Self { queue }, InsertQueue(Arc::new(Mutex::new(waiting))))
    }

    /// Inserts, in a group if it may be, else on a connection of `pool`.
    pub(super) async fn insert(&self, pool: &Pool, new: NewFile) -> Result<Inserted> {
        let begun = Instant::now();
        let reply = match Plain::of(new) {
            Err(new) => Reply::Alone(new, Attempt::default()),
            Ok(plain) => self.submit(plain).await?,
        };
        match reply {
            Reply::New => {
                metrics::histogram!("cloakroom_metadata_operation_seconds", "operation" => "insert")
                    .record(begun.elapsed().as_secs_f64());
                Ok(Inserted::New)
            }
            Reply::Failed(error) => Err(error),
            Reply::Alone(new, attempt) => {
                let new = &*new;
                pool.decide("insert", Unknown::RunAgain, attempt, |c, attempt| {
                    alone::insert(c, new, attempt)
                })
                .await
            }
        }
    }

    async fn submit(&self, plain: Plain) -> Result<Reply> {
        let (reply, answer) = oneshot::channel();
        let closed = || MetadataError::Unavailable("the metadata store is closed".to_owned());
        match self.queue.try_send(Waiting { plain, reply }) {
            Ok(()) => answer.await.map_err(|_| closed()),
            Err(TrySendError::Full(_)) => {
                let message = format!("{QUEUE_INSERTS_MAX} inserts are waiting already");
                Err(MetadataError::Unavailable(message))
            }
            Err(TrySendError::Closed(_)) => Err(closed()),
        }
    }
}

/// Inserts that wait.
#[derive(Clone)]
pub(super) struct InsertQueue(Arc<Mutex<Receiver<Waiting>>>);

impl InsertQueue {
    /// Commits group after group on a connection of `pool`, until nobody can insert any more.
    pub(super) async fn run(self, pool: Pool) {
        loop {
            let mut waiting = Vec::new();
            if self
                .0
                .lock()
                .await
                .recv_many(&mut waiting, GROUP_INSERTS_MAX)
                .await
                == 0
            {
                return;
            }
            metrics::histogram!("cloakroom_metadata_batch_size").record(waiting.len() as f64);
            insert_group(&pool, waiting).await;
        }
    }
}

async fn insert_group(pool: &Pool, group: Vec<Waiting>) {
    // A second one of the same id is answered from the row of the first.
    let mut ids = HashSet::with_capacity(group.len());
    let (first, again): (Vec<_>, Vec<_>) = group
        .into_iter()
        .partition(|waiting| ids.insert(waiting.plain.new.file.id));
    let mut group = first;
    while !group.is_empty() {
        let plains: Vec<&Plain> = group.iter().map(|waiting| &waiting.plain).collect();
        let outcome = pool
            .decide(
                "insert_group",
                Unknown::RunAgain,
                Attempt::default(),
                |c, attempt| group::write(c, &plains, attempt),
            )
            .await;
        match outcome {
            Ok(Grouped::Committed) => {
                group.drain(..).for_each(|waiting| waiting.answer(Reply::New));
            }
            Ok(Grouped::Hindered(places)) => {
                let mut place = 0..;
                let (hindered, others): (Vec<_>, Vec<_>) = group
                    .drain(..)
                    .partition(|_| place.next().is_some_and(|place| places.contains(&place)));
                group = others;
                for waiting in hindered {
                    waiting.alone(Attempt::default());
                }
            }
            Ok(Grouped::Unknown) => {
                let attempt = Attempt { may_stand: true };
                group.drain(..).for_each(|waiting| waiting.alone(attempt));
            }
            Err(MetadataError::Unavailable(text)) => {
                tracing::warn!(error = %text, inserts = group.len(), "metadata_commit_failed");
                for waiting in group.drain(..) {
                    waiting.answer(Reply::Failed(MetadataError::Unavailable(text.clone())));
                }
            }
            // One row that the database refuses must not fail the others; each finds out by itself.
            Err(error) => {
                tracing::error!(error = %error, inserts = group.len(), "metadata_group_refused");
                group
                    .drain(..)
                    .for_each(|waiting| waiting.alone(Attempt::default()));
            }
        }
    }
    for waiting in again {
        waiting.alone(Attempt::default());
    }
}
