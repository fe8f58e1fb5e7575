//! A server that gives the answers it was told to, one a request, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use cloakroom_objects::credentials::StaticCredentials;
use cloakroom_objects::s3::{S3Options, S3Store};
use cloakroom_signing::{Addressing, Credentials, Endpoint, Region};
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::random::SeededRandom;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::stand::eager;

/// What the server does with one request.
#[derive(Clone)]
pub enum Reply {
    /// Sends these bytes and closes.
    Bytes(Vec<u8>),
    /// Sends these bytes, then the last of them for ever, slowly.
    Drip(Vec<u8>),
    /// Sends nothing, and stays.
    Silence,
}

/// An answer with a length that is true.
pub fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            format!(
                "{name}: {value}
"
            )
        })
        .collect();
    let headers = lines.concat();
    let length = body.len();
    Reply::Bytes(
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
            .into(),
    )
}

/// An error of S3.
pub fn error(status: &str, code: &str) -> Reply {
    answer(
        status,
        &[],
        &format!("<Error><Code>{code}</Code><Message>said the test</Message></Error>"),
    )
}

/// The facts of an object.
pub fn object(size: &str, body: &str) -> Reply {
    Reply::Bytes(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\nconnection: close\r\netag: \"e\"\r\n\
             last-modified: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n{body}"
        )
        .into(),
    )
}

/// A service of a test at this address.
pub fn options_at(url: &str) -> S3Options {
    S3Options::new(
        Endpoint::parse(url, Addressing::Path).unwrap(),
        Region::default(),
        Arc::new(StaticCredentials(Credentials::new("AKID", "hush-hush"))),
        Arc::new(WallClock),
        Arc::new(SeededRandom::new(1)),
    )
}

pub struct Scripted {
    pub store: S3Store,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub async fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::with(replies, |options| options).await
    }

    pub async fn with(
        replies: impl IntoIterator<Item = Reply>,
        change: impl FnOnce(S3Options) -> S3Options,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replies: VecDeque<_> = replies.into_iter().collect();
        let (replies, asked) = (Arc::new(Mutex::new(replies)), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&replies), Arc::clone(&heard)));
            }
        });
        Self {
            store: S3Store::new(change(eager(options_at(&url)))).unwrap(),
            asked,
        }
    }

    /// The heads of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, replies: Arc<Mutex<VecDeque<Reply>>>, heard: Arc<Mutex<Vec<String>>>) {
    let mut request = Vec::new();
    let mut piece = [0; 4_096];
    let head = loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break String::from_utf8_lossy(&request[..end]).into_owned();
        }
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
            _ => return,
        }
    };
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
        .unwrap_or(0);
    while request.len() < head.len() + 4 + length {
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => request.extend_from_slice(&piece[..count]),
            _ => return,
        }
    }
    heard.lock().unwrap().push(head);
    let reply = replies.lock().unwrap().pop_front();
    match reply {
        Some(Reply::Bytes(bytes)) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            // Until the other side has read it all and closes, too.
            while matches!(stream.read(&mut piece).await, Ok(1..)) {}
        }
        Some(Reply::Drip(bytes)) => {
            let _ = stream.write_all(&bytes).await;
            let last = [*bytes.last().unwrap()];
            while stream.write_all(&last).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
        Some(Reply::Silence) => while matches!(stream.read(&mut piece).await, Ok(1..)) {},
        None => {}
    }
}
