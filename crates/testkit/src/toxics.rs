//! A bad network on purpose: a TCP proxy between us and a real server, with faults that are switched on and off.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// So much is read at once.
const PIECE_BYTES: usize = 16 * 1024;
/// So much may be on its way in one direction of a connection; more is not read.
const UNDERWAY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A throttled connection moves so often a second.
const THROTTLED_MOVES_PER_SECOND: u64 = 20;

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// Nothing.
    None,
    /// Every byte arrives so much later. As many may be on their way as before.
    Latency(Duration),
    /// Connections are reset: those that are open, and each new one as soon as it is made.
    Reset,
    /// The server is down: what is open is reset, and nobody listens any more.
    Refuse,
    /// Connections are accepted and stay open, and nothing arrives in either direction. What was sent meanwhile arrives
    /// when the fault is over, because TCP loses nothing within a connection.
    BlackHole,
    /// So many bytes a second in each direction of each connection.
    Throttle {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// A connection is reset once it has brought so many bytes back since its beginning. One that has brought more is
    /// reset when it brings the next.
    CutAfter {
        /// Bytes from the server.
        bytes: u64,
    },
}

impl Toxic {
    fn breaks(self) -> bool {
        matches!(self, Self::Reset | Self::Refuse)
    }
}

/// A proxy in front of a server. Dropping it resets every connection.
pub struct Proxy {
    address: SocketAddr,
    toxic: Arc<watch::Sender<Toxic>>,
    accepting: JoinHandle<()>,
    /// Keeps the port ours while nobody listens on it.
    _port: TcpSocket,
}

impl Proxy {
    /// Listens on a free port and passes on to `upstream`.
    ///
    /// # Panics
    ///
    /// If no port is free.
    #[expect(
        clippy::unused_async,
        reason = "what it spawns needs a runtime, and so does an async caller"
    )]
    pub async fn start(upstream: SocketAddr) -> Self {
        let port = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = port.local_addr().expect("an address");
        let listener = listen(address).expect("a port of ours");
        let toxic = Arc::new(watch::Sender::new(Toxic::None));
        let accepting = tokio::spawn(accept(listener, address, upstream, Arc::clone(&toxic)));
        Self {
            address,
            toxic,
            accepting,
            _port: port,
        }
    }

    /// Listens in front of a server that is named by a URL with an IP address and a port; returns the URL that leads
    /// through the proxy.
    ///
    /// # Panics
    ///
    /// If the URL is another one, or no port is free.
    pub async fn before(url: &str) -> (Self, String) {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let authority = rest.split('/').next().expect("an authority");
        let host = authority.rsplit('@').next().expect("a host");
        let upstream = host.parse().expect("an IP address and a port");
        let proxy = Self::start(upstream).await;
        let rest = rest.replacen(host, &proxy.address.to_string(), 1);
        (proxy, format!("{scheme}://{rest}"))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this is wrong, for open connections too. They and the port follow within a moment.
    pub fn set(&self, toxic: Toxic) {
        self.toxic.send_replace(toxic);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.toxic.send_replace(Toxic::Reset);
        self.accepting.abort();
    }
}

/// A socket on a port that several sockets of ours may share: connections are refused unless one of them listens.
fn bind(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    bind(address)?.listen(1_024)
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    upstream: SocketAddr,
    toxic: Arc<watch::Sender<Toxic>>,
) {
    let mut listener = Some(listener);
    let mut changes = toxic.subscribe();
    loop {
        let refusing = *changes.borrow_and_update() == Toxic::Refuse;
        if refusing {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(address).expect("a port of ours"));
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            accepted = accept_one(listener.as_ref()) => {
                if let Some(client) = accepted {
                    tokio::spawn(carry(client, upstream, toxic.subscribe()));
                }
            }
        }
    }
}

async fn accept_one(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

async fn carry(mut client: TcpStream, upstream: SocketAddr, toxic: watch::Receiver<Toxic>) {
    if toxic.borrow().breaks() {
        return reset(&client);
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return reset(&client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // Halves that are only borrowed: an owned one says goodbye when it is dropped, and then it is no reset.
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let end = {
        let there = pass(from_client, to_server, toxic.clone(), false);
        let back = pass(from_server, to_client, toxic, true);
        tokio::pin!(there, back);
        // One direction may be done before the other; a cut ends both.
        tokio::select! {
            end = &mut there => if end == End::Quiet { back.await } else { end },
            end = &mut back => if end == End::Quiet { there.await } else { end },
        }
    };
    if end == End::Broken {
        reset(&client);
        reset(&server);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One side had nothing more to say.
    Quiet,
    /// It was cut.
    Broken,
}

/// What was read and has not arrived.
struct Underway {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When something last arrived.
    moved_at: Instant,
    /// How much arrived.
    passed: u64,
}

impl Underway {
    /// What arrives next under this toxic, and when.
    fn next(&self, toxic: Toxic, back: bool) -> Option<(Instant, &[u8])> {
        let (read_at, piece) = self.pieces.front()?;
        let first = |bytes: u64| &piece[..usize::try_from(bytes).unwrap_or(usize::MAX).min(piece.len())];
        Some(match toxic {
            Toxic::Latency(latency) => (*read_at + latency, piece),
            Toxic::Throttle { bytes_per_second } => {
                let part = first((bytes_per_second / THROTTLED_MOVES_PER_SECOND).max(1));
                let takes = Duration::from_secs_f64(part.len() as f64 / bytes_per_second.max(1) as f64);
                ((*read_at).max(self.moved_at) + takes, part)
            }
            Toxic::CutAfter { bytes } if back => (*read_at, first(bytes.saturating_sub(self.passed))),
            _ => (*read_at, piece),
        })
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes += piece.len();
        self.pieces.push_back((Instant::now(), piece.to_vec()));
    }

    fn arrived(&mut self, count: usize) {
        let Some((_, piece)) = self.pieces.front_mut() else {
            return;
        };
        piece.drain(..count);
        if piece.is_empty() {
            self.pieces.pop_front();
        }
        self.bytes -= count;
        self.passed += count as u64;
        self.moved_at = Instant::now();
    }
}

/// Passes bytes on until the end, `back` to the client or there.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut toxic: watch::Receiver<Toxic>,
    back: bool,
) -> End {
    let mut underway = Underway {
        pieces: VecDeque::new(),
        bytes: 0,
        moved_at: Instant::now(),
        passed: 0,
    };
    let mut piece = vec![0; PIECE_BYTES];
    let mut open = true;
    loop {
        let now = *toxic.borrow_and_update();
        let next = underway.next(now, back);
        let cut = matches!(now, Toxic::CutAfter { bytes } if back && underway.passed >= bytes);
        if now.breaks() || cut && next.is_some() {
            return End::Broken;
        }
        if !open && next.is_none() {
            let _ = to.shutdown().await;
            return End::Quiet;
        }
        let flows = now != Toxic::BlackHole;
        let reads = flows && open && underway.bytes < UNDERWAY_BYTES_MAX;
        // What is wrong may change at any moment: each wait ends when it does.
        tokio::select! {
            biased;
            changed = toxic.changed() => if changed.is_err() { return End::Broken },
            wrote = write_at(&mut to, next), if flows => match wrote {
                Ok(count) => {
                    underway.arrived(count);
                    if matches!(now, Toxic::CutAfter { bytes } if back && underway.passed == bytes) {
                        return End::Broken;
                    }
                }
                Err(_) => return End::Broken,
            },
            read = from.read(&mut piece), if reads => match read {
                Ok(0) => open = false,
                Ok(count) => underway.push(&piece[..count]),
                Err(_) => return End::Broken,
            },
        }
    }
}

async fn write_at(to: &mut WriteHalf<'_>, next: Option<(Instant, &[u8])>) -> std::io::Result<usize> {
    let Some((due, bytes)) = next else {
        return std::future::pending().await;
    };
    sleep_until(due).await;
    to.write(bytes).await
}

/// Has the connection end with a reset when it is closed.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_mins(1);

    /// A server that repeats what it hears.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
            }
        });
        address
    }

    async fn connected() -> (Proxy, TcpStream) {
        let proxy = Proxy::start(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        ask(&mut stream, b"abc").await.expect("an answer");
        (proxy, stream)
    }

    async fn ask(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        let (mut from, mut to) = stream.split();
        let mut answer = vec![0; bytes.len()];
        tokio::try_join!(to.write_all(bytes), from.read_exact(&mut answer))?;
        assert!(answer == bytes);
        Ok(())
    }

    async fn end_of(stream: &mut TcpStream) -> (Vec<u8>, ErrorKind) {
        let mut received = Vec::new();
        let end = timeout(SOON, stream.read_to_end(&mut received)).await;
        let error = end.expect("an end").expect_err("no goodbye");
        (received, error.kind())
    }

    #[tokio::test]
    async fn it_passes_on_what_each_side_says_to_its_end() {
        let (_proxy, mut stream) = connected().await;
        ask(&mut stream, &vec![7; 1_000_000]).await.expect("an answer");
        stream.write_all(b"the last").await.expect("sent");
        stream.shutdown().await.expect("said goodbye");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("a goodbye");
        assert_eq!(rest, b"the last");
    }

    #[tokio::test]
    async fn latency_is_paid_once_however_much_is_on_its_way() {
        let (proxy, mut stream) = connected().await;
        proxy.set(Toxic::Latency(Duration::from_millis(300)));
        let begun = Instant::now();
        // Many pieces: one after the other they would take half a minute.
        ask(&mut stream, &vec![7; 100 * PIECE_BYTES])
            .await
            .expect("an answer");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(600), "{took:?}");
        assert!(took < Duration::from_secs(20), "{took:?}");
    }

    #[tokio::test]
    async fn throttled_bytes_take_their_time_and_flow_evenly() {
        let (proxy, mut stream) = connected().await;
        proxy.set(Toxic::Throttle {
            bytes_per_second: 100_000,
        });
        let begun = Instant::now();
        ask(&mut stream, &vec![7; 20_000]).await.expect("an answer");
        assert!(
            begun.elapsed() >= Duration::from_millis(195),
            "{:?}",
            begun.elapsed()
        );
        // What would be on its way for minutes begins to arrive at once.
        proxy.set(Toxic::Throttle {
            bytes_per_second: 100,
        });
        stream.write_all(&[7; 10_000]).await.expect("sent");
        let first = timeout(SOON, stream.read(&mut [0; 10_000])).await;
        let first = first.expect("soon").expect("a beginning");
        assert!((1..5_000).contains(&first), "{first}");
    }

    #[tokio::test]
    async fn a_fault_is_over_at_once() {
        for toxic in [
            Toxic::Latency(Duration::from_hours(1)),
            Toxic::Throttle { bytes_per_second: 1 },
            Toxic::BlackHole,
        ] {
            let (proxy, mut stream) = connected().await;
            proxy.set(toxic);
            stream.write_all(&[7; 500]).await.expect("sent");
            let answered = timeout(Duration::from_millis(100), stream.peek(&mut [0])).await;
            assert!(answered.is_err(), "{toxic:?}: no answer, and no end");
            proxy.set(Toxic::None);
            let mut answer = vec![0; 500];
            let read = timeout(SOON, stream.read_exact(&mut answer)).await;
            read.expect("soon").expect("nothing was lost");
        }
    }

    #[tokio::test]
    async fn what_is_open_is_reset_even_while_it_is_held_up() {
        for before in [
            Toxic::None,
            Toxic::BlackHole,
            Toxic::Latency(Duration::from_hours(1)),
        ] {
            for toxic in [Toxic::Reset, Toxic::Refuse] {
                let (proxy, mut stream) = connected().await;
                proxy.set(before);
                stream.write_all(&[7; 500]).await.expect("sent");
                if before == Toxic::None {
                    stream.read_exact(&mut [0; 500]).await.expect("an answer");
                }
                proxy.set(toxic);
                assert_eq!(end_of(&mut stream).await, (vec![], ErrorKind::ConnectionReset));
            }
        }
    }

    #[tokio::test]
    async fn a_new_connection_is_reset_or_refused() {
        let (proxy, mut stream) = connected().await;
        proxy.set(Toxic::Reset);
        assert_eq!(end_of(&mut stream).await.1, ErrorKind::ConnectionReset);
        let mut fresh = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(end_of(&mut fresh).await.1, ErrorKind::ConnectionReset);
        for _ in 0..3 {
            proxy.set(Toxic::Refuse);
            let deadline = Instant::now() + SOON;
            while let Ok(stream) = TcpStream::connect(proxy.address()).await {
                drop(stream);
                assert!(Instant::now() < deadline, "the port is closed soon");
            }
            let refused = TcpStream::connect(proxy.address()).await;
            assert_eq!(refused.expect_err("refused").kind(), ErrorKind::ConnectionRefused);
            proxy.set(Toxic::None);
            let mut again = loop {
                if let Ok(stream) = TcpStream::connect(proxy.address()).await {
                    break stream;
                }
                assert!(Instant::now() < deadline, "it listens again");
            };
            ask(&mut again, b"abc").await.expect("an answer");
        }
    }

    #[tokio::test]
    async fn a_cut_comes_after_the_byte_that_was_named() {
        let proxy = Proxy::start(echo().await).await;
        proxy.set(Toxic::CutAfter { bytes: 20_000 });
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        ask(&mut stream, &[1; 12_000]).await.expect("an answer");
        stream.write_all(&[2; 12_000]).await.expect("sent");
        assert_eq!(
            end_of(&mut stream).await,
            (vec![2; 8_000], ErrorKind::ConnectionReset)
        );
        // One that was at the limit before it was set goes on until the next byte.
        proxy.set(Toxic::None);
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        ask(&mut stream, &[1; 100]).await.expect("an answer");
        proxy.set(Toxic::CutAfter { bytes: 50 });
        stream.write_all(b"x").await.expect("sent");
        assert_eq!(end_of(&mut stream).await, (vec![], ErrorKind::ConnectionReset));
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_server_and_with_its_proxy() {
        let nobody = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            listener.local_addr().expect("an address")
        };
        let proxy = Proxy::start(nobody).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(end_of(&mut stream).await.1, ErrorKind::ConnectionReset);
        let (proxy, mut stream) = connected().await;
        drop(proxy);
        assert_eq!(end_of(&mut stream).await.1, ErrorKind::ConnectionReset);
    }
}
