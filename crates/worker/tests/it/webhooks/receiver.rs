//! A receiver of webhooks: a real HTTP server that answers as it is told and remembers what came.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How to answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With this status and these header lines.
    Status(u16, String),
    /// With 200, and a body that never ends.
    Drip,
    /// Not before [`Receiver::release`], with this status.
    Held(u16),
    /// Not at all: the connection is closed.
    BreakOff,
}

/// A message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }
}

#[derive(Default)]
struct State {
    /// Answers to the next messages; then 204.
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<usize>,
    released: Notify,
}

#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::start_with(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    pub fn start_with(listener: TcpListener) -> Self {
        let receiver = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::default(),
        };
        let state = Arc::clone(&receiver.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *state.connections.lock().expect("a lock") += 1;
                tokio::spawn(converse(stream, Arc::clone(&state)));
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hooks?token=hush", self.address)
    }

    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state.answers.lock().expect("a lock").extend(answers);
    }

    pub fn release(&self) {
        self.state.released.notify_waiters();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().expect("a lock").clone()
    }

    pub fn connections(&self) -> usize {
        *self.state.connections.lock().expect("a lock")
    }

    /// Waits until so many messages came.
    pub async fn until_seen(&self, count: usize) -> Vec<Seen> {
        let begun = Instant::now();
        loop {
            let seen = self.seen();
            if seen.len() >= count {
                return seen;
            }
            assert!(
                begun.elapsed() < Duration::from_mins(1),
                "{} of {count} came",
                seen.len()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Messages of one connection, until it is closed.
async fn converse(mut stream: TcpStream, state: Arc<State>) {
    while let Some(seen) = receive(&mut stream).await {
        let answer = state.answers.lock().expect("a lock").pop_front();
        let released = state.released.notified();
        tokio::pin!(released);
        // Registered before the message is shown, so that no release is missed.
        released.as_mut().enable();
        state.seen.lock().expect("a lock").push(seen);
        let (status, more) = match answer.unwrap_or(Answer::Status(204, String::new())) {
            Answer::Status(status, more) => (status, more),
            Answer::Held(status) => {
                released.await;
                (status, String::new())
            }
            Answer::BreakOff => return,
            Answer::Drip => {
                let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                return;
            }
        };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{more}\r\n");
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn receive(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let mut body = bytes.split_off(end + 4);
            let mut seen = Seen {
                head: String::from_utf8(bytes).expect("text"),
                body: vec![],
            };
            let length = seen.header("content-length").parse().expect("a length");
            while body.len() < length {
                stream.read_buf(&mut body).await.ok().filter(|read| *read > 0)?;
            }
            seen.body = body;
            return Some(seen);
        }
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    }
}
