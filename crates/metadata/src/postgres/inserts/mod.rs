//! Inserts of signed uploads, grouped: the hot path.
//!
//! Most of a durable commit is waiting for the disk. So inserts go to a queue, and whatever waits there when the last
//! commit is made makes up the next one. There is no timer: an idle database commits a single insert at once. The larger
//! a group, the less each of its rows costs; so a second one is written beside it, on a connection of its own, only
//! when so many wait that they cost hardly less together.
//!
//! The group takes only what is plain, and is one statement with one array for each column, which is a transaction by
//! itself. An id that is known is left out of it. Where a quota or a record might forbid a row, the statement is sent in a
//! transaction: rows are written first and looked at then, and whichever would exceed a quota or links to a stranger's
//! record shows in what comes back. The transaction is rolled back, and the others go again without it. What was left out
//! is inserted by itself on a connection of the pool, where its answer is found. The same happens to all of a group that
//! the database refused or whose commit nobody knows of.

mod alone;
mod group;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use cloakroom_core::ports::metadata::{Inserted, MetadataError, NewFile, Result};
use futures_util::future::join;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Mutex, oneshot};

use self::group::{Grouped, Plain};
use super::pool::{Attempt, Pool, Unknown};

/// Inserts that may wait; one more is refused.
const QUEUE_INSERTS_MAX: usize = 4096;
/// Inserts in one transaction.
const GROUP_INSERTS_MAX: usize = 512;
/// When so many wait, they are worth a second group.
const SECOND_GROUP_INSERTS_MIN: usize = 128;

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
    /// Wakes the task that writes second groups.
    many: Sender<()>,
}

impl Inserts {
    /// The handle, and what the tasks take from.
    pub(super) fn new() -> (Self, InsertQueue) {
        let (queue, waiting) = channel(QUEUE_INSERTS_MAX);
        let (many, many_wait) = channel(1);
        let waiting = Arc::new(Mutex::new(waiting));
        (Self { queue, many }, InsertQueue { waiting, many_wait })
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
            Ok(()) => {
                if QUEUE_INSERTS_MAX - self.queue.capacity() >= SECOND_GROUP_INSERTS_MIN {
                    // Full: it is being told already.
                    let _ = self.many.try_send(());
                }
                answer.await.map_err(|_| closed())
            }
            Err(TrySendError::Full(_)) => {
                let message = format!("{QUEUE_INSERTS_MAX} inserts are waiting already");
                Err(MetadataError::Unavailable(message))
            }
            Err(TrySendError::Closed(_)) => Err(closed()),
        }
    }
}

/// Inserts that wait.
pub(super) struct InsertQueue {
    waiting: Arc<Mutex<Receiver<Waiting>>>,
    many_wait: Receiver<()>,
}

impl InsertQueue {
    /// Commits group after group on connections of `pool`, until nobody can insert any more.
    pub(super) async fn run(self, pool: Pool) {
        let Self { waiting, many_wait } = self;
        let first = Box::pin(groups(&waiting, &pool));
        let second = Box::pin(second_groups(&waiting, many_wait, &pool));
        join(first, second).await;
    }
}

async fn groups(queue: &Mutex<Receiver<Waiting>>, pool: &Pool) {
    let mut group = Vec::new();
    while queue.lock().await.recv_many(&mut group, GROUP_INSERTS_MAX).await > 0 {
        insert_group(pool, std::mem::take(&mut group)).await;
    }
}

/// Takes part when many wait, and only then.
async fn second_groups(queue: &Mutex<Receiver<Waiting>>, mut many_wait: Receiver<()>, pool: &Pool) {
    while many_wait.recv().await.is_some() {
        let mut group = Vec::new();
        let mut waiting = queue.lock().await;
        // The first group may have taken them.
        if waiting.len() >= SECOND_GROUP_INSERTS_MIN {
            waiting.recv_many(&mut group, GROUP_INSERTS_MAX).await;
        }
        drop(waiting);
        if !group.is_empty() {
            insert_group(pool, group).await;
        }
    }
}

async fn insert_group(pool: &Pool, group: Vec<Waiting>) {
    metrics::histogram!("cloakroom_metadata_batch_size").record(group.len() as f64);
    // A second one of the same id is answered from the row of the first.
    let mut ids = HashSet::with_capacity(group.len());
    let (first, again): (Vec<_>, Vec<_>) = group
        .into_iter()
        .partition(|waiting| ids.insert(waiting.plain.new.file.id));
    let mut group = first;
    while !group.is_empty() {
        let plains: Vec<&Plain> = group.iter().map(|waiting| &waiting.plain).collect();
        match group::commit(pool, &plains).await {
            Ok(Grouped::Committed(known)) => {
                for (place, waiting) in group.drain(..).enumerate() {
                    if known.contains(&place) {
                        waiting.alone(Attempt::default());
                    } else {
                        waiting.answer(Reply::New);
                    }
                }
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
