//! The client: one connection a file, every wait with an end.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_core::ports::scanner::{Holdup, ScanError, Scanner, Verdict};
use futures_core::stream::BoxStream;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::account::{Account, Beyond, Limits};
use crate::address::Address;
use crate::protocol::{INSTREAM, PING, REPLY_BYTES_MAX, Reply, VERSION, is_about_limits};

/// Longest chunk that is sent, in bytes.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Pieces that wait for the account at most.
const ACCOUNT_PIECES_MAX: usize = 4;

/// Where clamd is, what it was told in its configuration, and how long it may take.
#[derive(Clone, Debug)]
pub struct ClamdOptions {
    /// Where it listens.
    pub address: Address,
    /// Its limits, or stricter ones.
    pub limits: Limits,
    /// Its `MaxScanTime`: it stops looking then, and says `OK`.
    pub scan_time_max: Duration,
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for it to take the next bytes, or to answer a question.
    pub idle_timeout: Duration,
    /// Longest wait for a verdict after the last byte.
    pub verdict_timeout: Duration,
}

impl ClamdOptions {
    /// The limits that Debian's package comes with, and waits that fit them.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            limits: Limits::default(),
            scan_time_max: Duration::from_mins(2),
            connect_timeout: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(30),
            verdict_timeout: Duration::from_mins(3),
        }
    }
}

/// clamd, at one address. Cheap to keep: it holds no connection.
#[derive(Clone, Debug)]
pub struct Clamd {
    options: ClamdOptions,
}

trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// How the sending of a file ended.
enum Sent {
    /// Everything went out, until now.
    Whole(Instant),
    /// clamd answered before the end.
    Answered(Vec<u8>),
}

impl Clamd {
    /// A client. Nothing is connected before it is asked something.
    pub const fn new(options: ClamdOptions) -> Self {
        Self { options }
    }

    async fn connect(&self) -> Result<Box<dyn Connection>, ScanError> {
        let connecting = async {
            Ok::<Box<dyn Connection>, io::Error>(match &self.options.address {
                Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Address::Tcp(address) => {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
            })
        };
        match timeout(self.options.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| gone("connect", &error)),
            Err(_) => Err(late("connect", self.options.connect_timeout)),
        }
    }

    /// One question and its answer.
    async fn ask(&self, command: &[u8]) -> Result<String, ScanError> {
        let mut connection = self.connect().await?;
        let asking = async {
            connection.write_all(command).await?;
            connection.flush().await?;
            read_reply(&mut connection).await
        };
        match timeout(self.options.idle_timeout, asking).await {
            Ok(Ok(reply)) => Ok(String::from_utf8_lossy(&reply).trim().to_owned()),
            Ok(Err(error)) => Err(gone("answer", &error)),
            Err(_) => Err(late("answer", self.options.idle_timeout)),
        }
    }

    /// Sends the file, and every piece to the account as well.
    async fn send(
        &self,
        read: &mut (impl AsyncRead + Unpin),
        write: &mut (impl AsyncWrite + Unpin),
        mut pieces: BoxStream<'static, Bytes>,
        size_bytes: u64,
        account: mpsc::Sender<Bytes>,
    ) -> Result<Sent, ScanError> {
        let mut write = BufWriter::new(write);
        let mut early = Vec::new();
        let mut sent = 0;
        let sending = async {
            write.write_all(INSTREAM).await?;
            while let Some(piece) = pieces.next().await {
                sent += piece.len() as u64;
                // An account that has come to its end takes nothing more.
                let _ = account.send(piece.clone()).await;
                for chunk in piece.chunks(CHUNK_BYTES_MAX) {
                    let part = async {
                        // At most CHUNK_BYTES_MAX.
                        write.write_u32(chunk.len() as u32).await?;
                        write.write_all(chunk).await
                    };
                    within(self.options.idle_timeout, part).await?;
                }
            }
            within(self.options.idle_timeout, async {
                write.write_u32(0).await?;
                write.flush().await
            })
            .await
        };
        // It says nothing before the end unless it gives up; then it hangs up, and the answer could be lost behind the
        // broken pipe.
        let outcome = tokio::select! {
            biased;
            reply = read_into(read, &mut early) => match reply {
                Ok(()) => return Ok(Sent::Answered(early)),
                Err(error) => Err(error),
            },
            outcome = sending => outcome,
        };
        drop(account);
        match outcome {
            Ok(()) if sent == size_bytes => Ok(Sent::Whole(Instant::now())),
            Ok(()) => Err(ScanError::NoVerdict(format!(
                "{sent} of {size_bytes} bytes were sent"
            ))),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(late("take the next bytes", self.options.idle_timeout))
            }
            Err(error) => match timeout(self.options.idle_timeout, read_into(read, &mut early)).await {
                Ok(Ok(())) => Ok(Sent::Answered(early)),
                _ => Err(gone("stay", &error)),
            },
        }
    }

    async fn verdict(
        &self,
        pieces: BoxStream<'static, Bytes>,
        size_bytes: u64,
        account: mpsc::Sender<Bytes>,
    ) -> Result<(Reply, Duration), ScanError> {
        let (mut read, mut write) = tokio::io::split(self.connect().await?);
        let sent = self
            .send(&mut read, &mut write, pieces, size_bytes, account)
            .await?;
        let since = match sent {
            Sent::Answered(reply) => {
                return match Reply::parse(&reply) {
                    // It cannot know that before the end.
                    Reply::Nothing => Err(ScanError::NoVerdict("it answered before the end".to_owned())),
                    reply => Ok((reply, Duration::ZERO)),
                };
            }
            Sent::Whole(since) => since,
        };
        match timeout(self.options.verdict_timeout, read_reply(&mut read)).await {
            Ok(Ok(reply)) => Ok((Reply::parse(&reply), since.elapsed())),
            Ok(Err(error)) => Err(gone("answer", &error)),
            // Whether it is the file or the scanner: one that is dead answers nobody.
            Err(_) => match self.ask(PING).await {
                Ok(_) => Err(ScanError::NoVerdict(format!(
                    "nothing was said in {} s",
                    self.options.verdict_timeout.as_secs()
                ))),
                Err(error) => Err(error),
            },
        }
    }
}

#[async_trait]
impl Scanner for Clamd {
    async fn scan(&self, pieces: BoxStream<'static, Bytes>, size_bytes: u64) -> Result<Verdict, ScanError> {
        let limits = self.options.limits;
        if let Err(beyond) = limits.admit(size_bytes) {
            return Ok(not_fully(beyond));
        }
        let (account, counting) = count(limits);
        let (reply, took) = self.verdict(pieces, size_bytes, account).await?;
        let counted = counting
            .await
            .unwrap_or_else(|_| Err(Beyond::new("its contents could not be counted")));
        match reply {
            Reply::Found(signature) if is_about_limits(&signature) => {
                Ok(not_fully(Beyond::new(format!("the scanner says {signature}"))))
            }
            Reply::Found(signature) => Ok(Verdict::Held(Holdup::Infected { signature })),
            Reply::TooLong => Ok(not_fully(Beyond::new(
                "the scanner takes fewer bytes than scan.stream_max says",
            ))),
            Reply::Other(words) => Err(ScanError::NoVerdict(format!("it says {words:?}"))),
            Reply::Nothing => Ok(match counted {
                Err(beyond) => not_fully(beyond),
                Ok(()) if took >= self.options.scan_time_max => not_fully(Beyond::new(format!(
                    "the scanner took {} s, and stops looking after {} s",
                    took.as_secs(),
                    self.options.scan_time_max.as_secs()
                ))),
                Ok(()) => Verdict::Clean,
            }),
        }
    }

    async fn ping(&self) -> Result<String, ScanError> {
        let answer = self.ask(PING).await?;
        if answer != "PONG" {
            return Err(ScanError::NoVerdict(format!("it answers a ping with {answer:?}")));
        }
        self.ask(VERSION).await
    }
}

/// Counts on a thread of its own: a small piece may unpack to a hundred megabytes.
fn count(limits: Limits) -> (mpsc::Sender<Bytes>, JoinHandle<Result<(), Beyond>>) {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(ACCOUNT_PIECES_MAX);
    let counting = tokio::task::spawn_blocking(move || {
        let mut account = Account::new(limits);
        while let Some(piece) = pieces.blocking_recv() {
            account.push(&piece)?;
        }
        account.finish()
    });
    (sender, counting)
}

fn not_fully(beyond: Beyond) -> Verdict {
    Verdict::Held(Holdup::NotFullyScanned {
        reason: beyond.into_reason(),
    })
}

/// An answer, up to its zero byte.
async fn read_reply(read: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    read_into(read, &mut reply).await?;
    Ok(reply)
}

/// The same, into a place that outlives an attempt that was cut short.
async fn read_into(read: &mut (impl AsyncRead + Unpin), reply: &mut Vec<u8>) -> io::Result<()> {
    loop {
        if reply.contains(&0) {
            reply.truncate(reply.iter().position(|byte| *byte == 0).unwrap_or_default());
            return Ok(());
        }
        if reply.len() >= REPLY_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "an answer without an end",
            ));
        }
        if read.read_buf(reply).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn within(limit: Duration, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

fn gone(what: &str, error: &io::Error) -> ScanError {
    ScanError::Unavailable(format!("it does not {what}: {error}"))
}

fn late(what: &str, limit: Duration) -> ScanError {
    ScanError::Unavailable(format!("it does not {what} within {} s", limit.as_secs_f32()))
}
