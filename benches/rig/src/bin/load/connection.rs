//! One keep-alive connection and the request that is on it.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::Plan;

/// Bytes that one call moves, and that one connection may move before the others have their turn.
const CHUNK_BYTES: usize = 256 * 1024;
const TURN_BYTES: usize = 1024 * 1024;
/// Body bytes kept of an answer that failed.
const FAILURE_BYTES_MAX: usize = 500;

/// What bodies are filled with: no byte run that could be compressed or stored as a hole.
static FILLER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..CHUNK_BYTES)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
});

/// A finished request.
pub struct Outcome {
    /// Its index in the plan.
    pub request: usize,
    /// Status, 0 if the connection broke.
    pub status: u16,
    /// Whether the connection can be used no more.
    pub broken: bool,
    /// From the first byte sent to the last one received.
    pub latency: Duration,
    /// Length of the answer's body.
    pub body_bytes: u64,
    /// The body, where it is kept.
    pub body: Vec<u8>,
}

/// How far a connection came.
pub enum Progress {
    /// It waits for the socket.
    Waiting,
    /// It stopped to let others go on.
    More,
    /// The request is finished.
    Done(Outcome),
}

struct Answer {
    status: u16,
    length: u64,
    left: u64,
    close: bool,
}

/// A connection.
pub struct Connection {
    stream: TcpStream,
    keep_bodies: bool,
    active: bool,
    request: usize,
    sent: u64,
    begun: Instant,
    buffer: Vec<u8>,
    head: Vec<u8>,
    answer: Option<Answer>,
    body: Vec<u8>,
}

impl Connection {
    /// Connects. `keep_bodies`: answers are handed out whole.
    pub fn open(address: SocketAddr, keep_bodies: bool) -> std::io::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(stream),
            keep_bodies,
            active: false,
            request: 0,
            sent: 0,
            begun: Instant::now(),
            buffer: vec![0; CHUNK_BYTES],
            head: Vec::new(),
            answer: None,
            body: Vec::new(),
        })
    }

    /// The socket, to be registered.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Starts with a request; [`advance`](Self::advance) sends it.
    pub fn begin(&mut self, request: usize) {
        self.active = true;
        self.request = request;
        self.sent = 0;
        self.begun = Instant::now();
        self.head.clear();
        self.answer = None;
        self.body = Vec::new();
    }

    /// Sends and receives as much as the socket takes and has.
    pub fn advance(&mut self, plan: &Plan) -> Progress {
        if !self.active {
            return Progress::Waiting;
        }
        let total = plan.requests[self.request].len() as u64 + plan.fill_bytes + plan.suffix.len() as u64;
        let had_sent = self.sent;
        let mut more = false;
        if self.sent < total {
            match self.send(plan, total) {
                Ok(turn_is_over) => more = turn_is_over,
                // The answer that says why may be there to be read.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
                Err(error) => return self.broken(&error),
            }
            // Nothing can be there yet: spare the call.
            if had_sent == 0 {
                return if more { Progress::More } else { Progress::Waiting };
            }
        }
        match self.receive() {
            Ok(Some(turn_is_over)) => {
                if more || turn_is_over {
                    Progress::More
                } else {
                    Progress::Waiting
                }
            }
            Ok(None) => {
                self.active = false;
                let answer = self.answer.take();
                let (status, length, close) = answer.map_or((0, 0, true), |a| (a.status, a.length, a.close));
                Progress::Done(Outcome {
                    request: self.request,
                    status,
                    broken: close || self.sent < total,
                    latency: self.begun.elapsed(),
                    body_bytes: length,
                    body: std::mem::take(&mut self.body),
                })
            }
            Err(error) => self.broken(&error),
        }
    }

    fn broken(&mut self, error: &std::io::Error) -> Progress {
        self.active = false;
        Progress::Done(Outcome {
            request: self.request,
            status: 0,
            broken: true,
            latency: self.begun.elapsed(),
            body_bytes: 0,
            body: error.to_string().into_bytes(),
        })
    }

    /// Whether it stopped to let others go on.
    fn send(&mut self, plan: &Plan, total: u64) -> std::io::Result<bool> {
        let text = plan.requests[self.request].as_bytes();
        let (text_end, fill_end) = (text.len() as u64, text.len() as u64 + plan.fill_bytes);
        let turn_end = self.sent + TURN_BYTES as u64;
        while self.sent < total {
            if self.sent >= turn_end {
                return Ok(true);
            }
            let result = if self.sent < text_end {
                let rest = &text[self.sent as usize..];
                if plan.fill_bytes == 0 {
                    self.stream.write(rest)
                } else {
                    let fill = &FILLER[..FILLER.len().min(plan.fill_bytes as usize)];
                    self.stream
                        .write_vectored(&[std::io::IoSlice::new(rest), std::io::IoSlice::new(fill)])
                }
            } else if self.sent < fill_end {
                // In step with what the head's call sent of it, so that equal requests have equal bodies.
                let offset = ((self.sent - text_end) % FILLER.len() as u64) as usize;
                let end = FILLER
                    .len()
                    .min(offset + (fill_end - self.sent).min(CHUNK_BYTES as u64) as usize);
                self.stream.write(&FILLER[offset..end])
            } else {
                self.stream
                    .write(&plan.suffix.as_bytes()[(self.sent - fill_end) as usize..])
            };
            match result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// None when the answer is whole, else whether it stopped to let others go on.
    fn receive(&mut self) -> std::io::Result<Option<bool>> {
        let mut received = 0;
        while received < TURN_BYTES {
            let count = match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Some(false)),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            received += count;
            let body = if let Some(answer) = &mut self.answer {
                take_body(answer, self.keep_bodies, &mut self.body, &self.buffer[..count])
            } else {
                self.head.extend_from_slice(&self.buffer[..count]);
                let Some((mut answer, body_start)) = parse(&self.head)? else {
                    continue;
                };
                let left = take_body(
                    &mut answer,
                    self.keep_bodies,
                    &mut self.body,
                    &self.head[body_start..],
                );
                self.answer = Some(answer);
                left
            };
            if body == 0 {
                return Ok(None);
            }
            // A short read emptied the socket; what comes later comes with an event.
            if count < self.buffer.len() {
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }
}

/// Bytes still to come.
fn take_body(answer: &mut Answer, keep: bool, body: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    if keep {
        body.extend_from_slice(bytes);
    } else if answer.status >= 400 && body.len() < FAILURE_BYTES_MAX {
        body.extend_from_slice(&bytes[..bytes.len().min(FAILURE_BYTES_MAX)]);
    }
    answer.left = answer.left.saturating_sub(bytes.len() as u64);
    answer.left
}

/// The answer's head and where its body begins, when the head is whole.
fn parse(bytes: &[u8]) -> std::io::Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let invalid = |what: &str| std::io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let start = match response.parse(bytes) {
        Ok(httparse::Status::Complete(start)) => start,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(invalid(&error.to_string())),
    };
    let status = response.code.unwrap_or(0);
    let header = |name: &str| {
        response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let length = match header("content-length") {
        Some(value) => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid("content-length"))?,
        None if status == 204 => 0,
        None => return Err(invalid("an answer without content-length")),
    };
    let close = header("connection").is_some_and(|value| value.eq_ignore_ascii_case(b"close"));
    Ok(Some((
        Answer {
            status,
            length,
            left: length,
            close,
        },
        start,
    )))
}
