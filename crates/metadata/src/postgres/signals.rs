//! Wake-ups between nodes: a change made through one node wakes who waits on another.
//!
//! One connection of each node both says and hears. A NOTIFY inside of a transaction would make commits wait for each
//! other, so it is sent after the commit, and whatever was to be said while the last one was under way goes into the
//! next. Hints may be lost with a connection; everybody who waits also looks by itself now and then.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::id::FileId;
use cloakroom_core::ports::signals::{Signals, Topic};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};
use uuid::Uuid;

use super::connection::Connector;
use super::failure::{Failure, Outcome};

/// Topics that wait to be said; further ones are lost.
const WAITING_MAX: usize = 4096;
/// A notification holds less than 8,000 bytes (PostgreSQL manual, NOTIFY).
const PAYLOAD_BYTES_MAX: usize = 7_900;
/// How often a silent connection is asked whether it lives, and how long it may take.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Wait before the connection is made again; it doubles up to the longest.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Says what changed: to those who wait in this process at once, and to other nodes in the background.
#[derive(Clone)]
pub(super) struct Herald {
    local: Option<Arc<dyn Signals>>,
    outgoing: Sender<Topic>,
}

impl Herald {
    /// A herald, and what it has to say to others.
    pub(super) fn new(local: Option<Arc<dyn Signals>>) -> (Self, Receiver<Topic>) {
        let (outgoing, waiting) = channel(WAITING_MAX);
        (Self { local, outgoing }, waiting)
    }

    pub(super) fn announce(&self, topic: Topic) {
        if let Some(local) = &self.local {
            local.notify(topic);
        }
        // A hint too many is a hint lost.
        let _ = self.outgoing.try_send(topic);
    }
}

/// The connection on which this node says and hears.
pub(super) struct Exchange {
    connector: Connector,
    channel: String,
    /// Tells this node's own words from those of others.
    node: Uuid,
    local: Option<Arc<dyn Signals>>,
}

/// A connection that listens.
pub(super) struct Line {
    client: Client,
    heard: UnboundedReceiver<String>,
}

impl Exchange {
    pub(super) fn new(
        connector: Connector,
        channel: String,
        node: Uuid,
        local: Option<Arc<dyn Signals>>,
    ) -> Self {
        Self {
            connector,
            channel,
            node,
            local,
        }
    }

    /// Connects and listens.
    pub(super) async fn open(&self) -> Outcome<Line> {
        let limit = self.connector.connect_timeout;
        timeout(limit, self.try_open())
            .await
            .map_err(|_| Failure::Silent("the database did not let this node listen in time".to_owned()))?
    }

    async fn try_open(&self) -> Outcome<Line> {
        let (client, mut connection) = self.connector.config.connect(self.connector.tls.clone()).await?;
        let (hear, heard) = unbounded_channel();
        tokio::spawn(async move {
            // Drives the connection; both ends of it see when it is over.
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message {
                    let _ = hear.send(notification.payload().to_owned());
                }
            }
        });
        // Nothing that is said is worth waiting for the disk.
        client.batch_execute("SET synchronous_commit = off").await?;
        if self.local.is_some() {
            // A checked table prefix and a suffix.
            client.batch_execute(&format!("LISTEN {}", self.channel)).await?;
        }
        Ok(Line { client, heard })
    }

    /// Says and hears until the herald is gone.
    pub(super) async fn run(self, first: Line, mut waiting: Receiver<Topic>) {
        let mut line = first;
        loop {
            let Err(failure) = self.serve(&mut line, &mut waiting).await else {
                return;
            };
            tracing::warn!(failure = %failure, "metadata_signals_lost");
            let mut backoff = BACKOFF_MIN;
            line = loop {
                sleep(backoff).await;
                match self.open().await {
                    Ok(line) => break line,
                    Err(_) => backoff = (backoff * 2).min(BACKOFF_MAX),
                }
            };
            tracing::info!("metadata_signals_restored");
            // Whatever was said meanwhile.
            if let Some(local) = &self.local {
                local.notify(Topic::Jobs);
            }
        }
    }

    async fn serve(&self, line: &mut Line, waiting: &mut Receiver<Topic>) -> Outcome<()> {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut topics = Vec::new();
        loop {
            tokio::select! {
                heard = line.heard.recv() => match heard {
                    Some(payload) => self.hear(&payload),
                    None => return Err(Failure::Silent("the connection ended".to_owned())),
                },
                count = waiting.recv_many(&mut topics, WAITING_MAX) => {
                    if count == 0 {
                        return Ok(());
                    }
                    let topics: HashSet<Topic> = topics.drain(..).collect();
                    for payload in payloads(self.node, &topics) {
                        limited(line.client.execute("SELECT pg_notify($1, $2)", &[&self.channel, &payload])).await?;
                    }
                },
                _ = ping.tick() => limited(line.client.check_connection()).await?,
            }
        }
    }

    fn hear(&self, payload: &str) {
        let Some((node, topics)) = payload.split_once(' ') else {
            return;
        };
        if node == self.node.simple().to_string() {
            return;
        }
        let Some(local) = &self.local else {
            return;
        };
        for word in topics.split(' ') {
            if word == "jobs" {
                local.notify(Topic::Jobs);
            } else if let Ok(id) = Uuid::try_parse(word) {
                local.notify(Topic::File(FileId(id)));
            }
        }
    }
}

async fn limited<T>(work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Outcome<T> {
    match timeout(PING_TIMEOUT, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Failure::Silent("the connection fell silent".to_owned())),
    }
}

/// The topics in as few notifications as they fit into.
fn payloads(node: Uuid, topics: &HashSet<Topic>) -> Vec<String> {
    let mut payloads: Vec<String> = Vec::new();
    for topic in topics {
        let word = match topic {
            Topic::Jobs => "jobs".to_owned(),
            Topic::File(id) => id.0.simple().to_string(),
        };
        match payloads.last_mut() {
            Some(last) if last.len() + 1 + word.len() <= PAYLOAD_BYTES_MAX => {
                // Writing to a String cannot fail.
                let _ = write!(last, " {word}");
            }
            _ => payloads.push(format!("{} {word}", node.simple())),
        }
    }
    payloads
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_topics_are_few_notifications_and_none_is_too_long() {
        let topics: HashSet<Topic> = (0..1000_u128)
            .map(|n| Topic::File(FileId(Uuid::from_u128(n))))
            .chain([Topic::Jobs])
            .collect();
        let payloads = payloads(Uuid::nil(), &topics);
        assert_eq!(payloads.len(), 5);
        assert!(payloads.iter().all(|payload| payload.len() < 8_000));
        let words: usize = payloads
            .iter()
            .map(|payload| payload.split(' ').count() - 1)
            .sum();
        assert_eq!(words, 1001);
    }
}
