//! A small HTTP server whose answers are a function of the request.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// `GET /path`.
    pub line: String,
    /// Header lines in lower case names.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

type Rule = dyn Fn(&Seen) -> (u16, String) + Send + Sync;

/// The server; it ends with this value.
pub struct Issuer {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    _serving: JoinSet<()>,
}

impl Issuer {
    pub async fn start(rule: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (rule, noted): (Arc<Rule>, _) = (Arc::new(rule), Arc::clone(&seen));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (rule, noted) = (Arc::clone(&rule), Arc::clone(&noted));
                connections.spawn(async move { answer(stream, &*rule, &noted).await });
            }
        });
        Self {
            url,
            seen,
            _serving: serving,
        }
    }

    pub fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }
}

async fn answer(mut stream: TcpStream, rule: &Rule, noted: &Mutex<Vec<Seen>>) -> Option<()> {
    let mut bytes = Vec::new();
    let head_length = loop {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_length]).into_owned();
    let mut lines = head.lines();
    let mut seen = Seen {
        line: lines.next()?.rsplit_once(' ')?.0.to_owned(),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect(),
        body: String::new(),
    };
    let length: usize = seen.header("content-length").unwrap_or("0").parse().ok()?;
    while bytes.len() < head_length + length {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    }
    seen.body = String::from_utf8_lossy(&bytes[head_length..]).into_owned();
    noted.lock().expect("not poisoned").push(seen.clone());
    let (status, body) = rule(&seen);
    let text = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await.ok()
}
