//! The writer: one thread, one connection, group commit.
//!
//! SQLite has one writer at a time, and most of a durable commit is waiting for the disk. So every change goes to
//! one thread, and whatever waits there when a commit ends makes up the next transaction. There is no timer: an
//! idle database commits a single change at once, a busy one shares each fsync among many.
//!
//! Within a transaction one operation must not fail its neighbours. Operations check before they write, so nearly
//! every refusal leaves nothing behind. If one fails after its first write, the transaction is rolled back and
//! run again with a savepoint around each operation; the savepoint costs nothing where nothing goes wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use cloakroom_core::ports::metadata::{MetadataError, Result};
use cloakroom_core::ports::signals::Signals;
use tokio::sync::oneshot;

use super::failure::{Failure, Outcome};
use super::session::Session;

/// Operations that may wait; one more is refused.
const QUEUE_OPERATIONS_MAX: usize = 4096;
/// Operations in one transaction.
const BATCH_OPERATIONS_MAX: usize = 512;

/// An operation on its way through the writer. It may run more than once, and is answered once.
trait Queued: Send {
    /// Does its work; `true` when it succeeded. The outcome is kept.
    fn run(&mut self, session: &Session) -> bool;
    /// Replaces the outcome by an error.
    fn fail(&mut self, error: MetadataError);
    /// Hands the outcome to whoever waits.
    fn answer(self: Box<Self>);
}

struct Operation<T, W> {
    name: &'static str,
    queued_at: Instant,
    work: W,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T: Send, W: Fn(&Session) -> Outcome<T> + Send> Queued for Operation<T, W> {
    fn run(&mut self, session: &Session) -> bool {
        let outcome = (self.work)(session).map_err(MetadataError::from);
        let succeeded = outcome.is_ok();
        self.outcome = Some(outcome);
        succeeded
    }

    fn fail(&mut self, error: MetadataError) {
        self.outcome = Some(Err(error));
    }

    fn answer(self: Box<Self>) {
        if let Some(outcome) = self.outcome {
            // Nobody waits any more: the caller went away, the change stands.
            let _ = self.reply.send(outcome);
        }
        metrics::histogram!("cloakroom_metadata_operation_seconds", "operation" => self.name)
            .record(self.queued_at.elapsed().as_secs_f64());
    }
}

type Batch = Vec<Box<dyn Queued>>;

/// Handle of the writer thread.
pub(super) struct Writer {
    queue: Option<SyncSender<Box<dyn Queued>>>,
    thread: Option<JoinHandle<Session>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(session: Session, signals: Option<Arc<dyn Signals>>) -> std::io::Result<Self> {
        let (queue, waiting) = sync_channel(QUEUE_OPERATIONS_MAX);
        let thread = std::thread::Builder::new()
            .name("metadata-writer".to_owned())
            .spawn(move || run(session, &waiting, signals.as_deref()))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Runs an operation on the writer's thread and returns its outcome after its commit.
    ///
    /// # Errors
    /// [`MetadataError::Unavailable`] when the queue is full or the database cannot commit.
    pub(super) async fn write<T, W>(&self, name: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: Fn(&Session) -> Outcome<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let operation = Operation {
            name,
            queued_at: Instant::now(),
            work,
            outcome: None,
            reply,
        };
        let stopped = || MetadataError::Unavailable("the metadata writer has stopped".to_owned());
        match self
            .queue
            .as_ref()
            .ok_or_else(stopped)?
            .try_send(Box::new(operation))
        {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let message = format!("{QUEUE_OPERATIONS_MAX} changes are waiting already");
                return Err(MetadataError::Unavailable(message));
            }
            Err(TrySendError::Disconnected(_)) => return Err(stopped()),
        }
        answer.await.map_err(|_| stopped())?
    }

    /// Ends the thread after everything that waits; returns its session, unless the thread was lost.
    pub(super) fn stop(&mut self) -> Option<Session> {
        self.queue = None;
        self.thread.take().and_then(|thread| thread.join().ok())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(session: Session, waiting: &Receiver<Box<dyn Queued>>, signals: Option<&dyn Signals>) -> Session {
    let mut batch = Batch::with_capacity(BATCH_OPERATIONS_MAX);
    while let Ok(first) = waiting.recv() {
        batch.push(first);
        while batch.len() < BATCH_OPERATIONS_MAX
            && let Ok(next) = waiting.try_recv()
        {
            batch.push(next);
        }
        metrics::histogram!("cloakroom_metadata_batch_size").record(batch.len() as f64);
        let committed = commit(&session, &mut batch);
        let hints = session.take_hints();
        if let (true, Some(signals)) = (committed, signals) {
            for topic in hints {
                signals.notify(topic);
            }
        }
        batch.drain(..).for_each(Queued::answer);
    }
    session
}

/// Why a transaction came to nothing.
enum Lost {
    /// An operation failed half-way; the others may be tried again.
    Torn,
    /// The database does not commit.
    Refused(MetadataError),
}

/// Runs a batch and leaves every operation with its outcome; `true` when something may have been committed.
fn commit(session: &Session, batch: &mut Batch) -> bool {
    let outcome = match transact(session, batch, false) {
        Err(Lost::Torn) => transact(session, batch, true),
        other => other,
    };
    match outcome {
        Ok(()) => true,
        Err(lost) => {
            let error = match lost {
                Lost::Refused(error) => error,
                Lost::Torn => MetadataError::Internal("the transaction came to nothing twice".to_owned()),
            };
            tracing::error!(error = %error, operations = batch.len(), "metadata_commit_failed");
            for operation in batch {
                operation.fail(repeat(&error));
            }
            false
        }
    }
}

fn transact(session: &Session, batch: &mut Batch, savepoints: bool) -> std::result::Result<(), Lost> {
    let refused = |failure: Failure| Lost::Refused(failure.into());
    session.execute("BEGIN IMMEDIATE", []).map_err(refused)?;
    let outcome = fill(session, batch, savepoints)
        .and_then(|()| session.execute("COMMIT", []).map(|_| ()).map_err(refused));
    if outcome.is_err() && !session.connection.is_autocommit() {
        // What cannot be rolled back is not committed either; the next BEGIN says what is wrong.
        if let Err(error) = session.execute("ROLLBACK", []).map_err(MetadataError::from) {
            tracing::error!(error = %error, "metadata_rollback_failed");
        }
    }
    outcome
}

fn fill(session: &Session, batch: &mut Batch, savepoints: bool) -> std::result::Result<(), Lost> {
    let refused = |failure: Failure| Lost::Refused(failure.into());
    session.forget_hints(0);
    for operation in batch {
        if savepoints {
            session.execute("SAVEPOINT operation", []).map_err(refused)?;
        }
        let (hints, changes) = (session.hint_count(), session.connection.total_changes());
        // Statements are reset when they are dropped, and what was written is rolled back below.
        let succeeded = catch_unwind(AssertUnwindSafe(|| operation.run(session))).unwrap_or_else(|_| {
            operation.fail(MetadataError::Internal("the operation panicked".to_owned()));
            false
        });
        if !succeeded {
            session.forget_hints(hints);
            if session.connection.is_autocommit() {
                // A full disk or an I/O error: the engine itself rolled back.
                return Err(Lost::Refused(MetadataError::Unavailable(
                    "the database rolled the transaction back".to_owned(),
                )));
            }
            if savepoints {
                session.execute("ROLLBACK TO operation", []).map_err(refused)?;
            } else if session.connection.total_changes() != changes {
                return Err(Lost::Torn);
            }
        }
        if savepoints {
            session.execute("RELEASE operation", []).map_err(refused)?;
        }
    }
    Ok(())
}

/// The same error for another caller.
fn repeat(error: &MetadataError) -> MetadataError {
    match error {
        MetadataError::Inconsistent(message) => MetadataError::Inconsistent(message.clone()),
        MetadataError::Internal(message) => MetadataError::Internal(message.clone()),
        other => MetadataError::Unavailable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};

    use cloakroom_core::id::FileId;
    use cloakroom_core::ports::signals::{Subscription, Topic};
    use futures_util::future::join_all;

    use super::super::plan::tests::database;
    use super::*;

    type Work<T> = Box<dyn Fn(&Session) -> Outcome<T> + Send>;

    fn put(session: &Session, name: &str) -> Outcome<()> {
        session
            .execute(&session.sql.put_setting, [name, "{}"])
            .map(|_| ())
    }

    async fn names(writer: &Writer) -> Vec<String> {
        let read = |session: &Session| {
            let sql = session
                .sql
                .prefix
                .render("SELECT name FROM {p}_settings ORDER BY name");
            session.all(&sql, [], |row| Ok(row.get(0)?))
        };
        writer.write("names", read).await.unwrap()
    }

    /// Holds the writer until all of `works` wait, so that they share a transaction.
    async fn together<T: Send + 'static>(writer: &Writer, works: Vec<Work<T>>) -> Vec<Result<T>> {
        let gate = Arc::new(Barrier::new(2));
        let (inside, entered) = (Arc::clone(&gate), Arc::new(Barrier::new(2)));
        let arrived = Arc::clone(&entered);
        let hold = writer.write("hold", move |_| {
            arrived.wait();
            inside.wait();
            Ok(())
        });
        let release = async {
            entered.wait();
            let mut waiting: Vec<_> = works
                .into_iter()
                .map(|work| Box::pin(writer.write("work", work)))
                .collect();
            // Each is in the queue after its first poll.
            for work in &mut waiting {
                assert!(futures_util::poll!(work.as_mut()).is_pending());
            }
            gate.wait();
            join_all(waiting).await
        };
        let (held, results) = futures_util::join!(hold, release);
        held.unwrap();
        results
    }

    #[tokio::test]
    async fn a_poisonous_operation_fails_alone_and_the_writer_lives_on() {
        let (_directory, session) = database();
        let writer = Writer::start(session, None).unwrap();
        let results = together::<()>(
            &writer,
            vec![
                Box::new(|session| put(session, "before")),
                Box::new(|session| {
                    put(session, "written, then refused")?;
                    session
                        .execute(&session.sql.insert_event, [rusqlite::types::Null; 8])
                        .map(|_| ())
                }),
                Box::new(|session| {
                    put(session, "written, then panicked")?;
                    panic!("a defect");
                }),
                Box::new(|_| Err(MetadataError::Conflict.into())),
                Box::new(|session| put(session, "after")),
            ],
        )
        .await;
        assert!(results[0].is_ok() && results[4].is_ok(), "{results:?}");
        assert!(
            matches!(&results[1], Err(MetadataError::Internal(_))),
            "{results:?}"
        );
        assert!(
            matches!(&results[2], Err(MetadataError::Internal(text)) if text.contains("panicked")),
            "{results:?}"
        );
        assert!(matches!(&results[3], Err(MetadataError::Conflict)), "{results:?}");
        assert_eq!(names(&writer).await, ["after", "before"]);
        writer
            .write("later", |session| put(session, "later"))
            .await
            .unwrap();
        assert_eq!(names(&writer).await, ["after", "before", "later"]);
    }

    #[tokio::test]
    async fn a_full_queue_and_a_stopped_writer_say_so() {
        let (_directory, session) = database();
        let mut writer = Writer::start(session, None).unwrap();
        let works = (0..=QUEUE_OPERATIONS_MAX).map(|_| {
            let work: Work<()> = Box::new(|_| Ok(()));
            work
        });
        let gate = Arc::new(Barrier::new(2));
        let (inside, entered) = (Arc::clone(&gate), Arc::new(Barrier::new(2)));
        let arrived = Arc::clone(&entered);
        let mut hold = Box::pin(writer.write("hold", move |_| {
            arrived.wait();
            inside.wait();
            Ok(())
        }));
        assert!(futures_util::poll!(hold.as_mut()).is_pending());
        entered.wait();
        let mut waiting: Vec<_> = works.map(|work| Box::pin(writer.write("work", work))).collect();
        let mut refused = 0;
        for work in &mut waiting {
            match futures_util::poll!(work.as_mut()) {
                std::task::Poll::Pending => {}
                std::task::Poll::Ready(Err(MetadataError::Unavailable(_))) => refused += 1,
                std::task::Poll::Ready(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(refused, 1);
        gate.wait();
        hold.await.unwrap();
        let accepted = waiting.into_iter().take(QUEUE_OPERATIONS_MAX);
        assert!(join_all(accepted).await.iter().all(Result::is_ok));
        assert!(writer.stop().is_some());
        let answer = writer.write("late", |_| Ok(())).await;
        assert!(matches!(answer, Err(MetadataError::Unavailable(_))), "{answer:?}");
    }

    /// SQLITE_FULL, as a full disk gives it: everybody hears of it, nobody is told that it was committed, and
    /// the writer works again as soon as there is room.
    #[tokio::test]
    async fn a_full_disk_is_an_error_for_everybody_and_passes() {
        let (_directory, session) = database();
        let writer = Writer::start(session, None).unwrap();
        let pages = |session: &Session, pages: i64| -> Outcome<i64> {
            Ok(session
                .connection
                .pragma_update_and_check(None, "max_page_count", pages, |row| row.get(0))?)
        };
        writer
            .write("limit", move |session| pages(session, 1))
            .await
            .unwrap();
        let large = "x".repeat(1 << 20);
        let text = large.clone();
        let results = together::<()>(
            &writer,
            vec![
                Box::new(|session| put(session, "small")),
                Box::new(move |session| put(session, &text)),
            ],
        )
        .await;
        assert!(
            matches!(&results[1], Err(MetadataError::Unavailable(_))),
            "{results:?}"
        );
        let small_was_acknowledged = results[0].is_ok();
        assert_eq!(names(&writer).await.len(), usize::from(small_was_acknowledged));
        writer
            .write("limit", move |session| pages(session, 1_000_000))
            .await
            .unwrap();
        writer
            .write("put", move |session| put(session, &large))
            .await
            .unwrap();
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<Topic>>);

    impl Signals for Heard {
        fn notify(&self, topic: Topic) {
            self.0.lock().unwrap().push(topic);
        }

        fn subscribe(&self, _topic: Topic) -> Box<dyn Subscription> {
            panic!("the writer only speaks");
        }
    }

    #[tokio::test]
    async fn hints_of_what_failed_are_not_given() {
        let (_directory, session) = database();
        let heard = Arc::new(Heard::default());
        let writer = Writer::start(session, Some(Arc::<Heard>::clone(&heard))).unwrap();
        let file = Topic::File(FileId(uuid::Uuid::nil()));
        let results = together::<()>(
            &writer,
            vec![
                Box::new(|session| {
                    session.hint(Topic::Jobs);
                    Err(MetadataError::Conflict.into())
                }),
                Box::new(move |session| {
                    session.hint(file);
                    put(session, "done")
                }),
            ],
        )
        .await;
        assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
        assert_eq!(*heard.0.lock().unwrap(), [file]);
    }
}
