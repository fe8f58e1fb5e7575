//! A bad network on purpose: a TCP proxy between us and a real server, with faults that are switched on and off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// So much is passed on at once; throttling is as fine as this.
const PIECE_BYTES: usize = 16 * 1024;

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// Nothing.
    None,
    /// Every piece arrives so much later.
    Latency(Duration),
    /// Connections are reset: those that are open, and each new one as soon as it is made.
    Reset,
    /// Nobody listens any more; what is open stays open.
    Refuse,
    /// Connections are accepted and nothing ever arrives, in either direction.
    BlackHole,
    /// So many bytes a second in each direction of each connection.
    Throttle {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// A connection breaks after it has brought so many bytes back.
    CutAfter {
        /// Bytes from the server.
        bytes: u64,
    },
}

/// A proxy in front of a server. Dropping it cuts every connection.
pub struct Proxy {
    address: SocketAddr,
    toxic: Arc<watch::Sender<Toxic>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and passes on to `upstream`.
    pub async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let toxic = Arc::new(watch::Sender::new(Toxic::None));
        let accepting = tokio::spawn(accept(listener, address, upstream, Arc::clone(&toxic)));
        Self {
            address,
            toxic,
            accepting,
        }
    }

    /// Listens in front of a server that is named by a URL; returns the URL that leads through the proxy.
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

    /// From now on this is wrong, for open connections too.
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
        match (&listener, refusing) {
            // A closed port refuses; its number stays ours, because nobody else is given it so soon.
            (Some(_), true) => listener = None,
            (None, false) => listener = listen_again(address),
            _ => {}
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

fn listen_again(address: SocketAddr) -> Option<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(true).ok()?;
    socket.bind(address).ok()?;
    socket.listen(1_024).ok()
}

async fn accept_one(listener: Option<&TcpListener>) -> Option<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.ok().map(|(client, _)| client),
        None => std::future::pending().await,
    }
}

async fn carry(client: TcpStream, upstream: SocketAddr, toxic: watch::Receiver<Toxic>) {
    if *toxic.borrow() == Toxic::Reset {
        return reset(&client);
    }
    let Ok(server) = TcpStream::connect(upstream).await else {
        return reset(&client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = pass(from_client, to_server, toxic.clone(), false);
    let back = pass(from_server, to_client, toxic, true);
    tokio::pin!(there, back);
    // One direction may be done before the other; a cut ends both.
    tokio::select! {
        end = &mut there => if end == End::Quiet { back.await; },
        end = &mut back => if end == End::Quiet { there.await; },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One side had nothing more to say.
    Quiet,
    /// It was cut.
    Broken,
}

/// Passes bytes on until the end, `back` to the client or there.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    toxic: watch::Receiver<Toxic>,
    back: bool,
) -> End {
    let end = pass_until_broken(&mut from, &mut to, toxic, back).await;
    if end == End::Broken {
        reset(from.as_ref());
        reset(to.as_ref());
    }
    end
}

async fn pass_until_broken(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut toxic: watch::Receiver<Toxic>,
    back: bool,
) -> End {
    let mut piece = vec![0; PIECE_BYTES];
    let mut passed: u64 = 0;
    loop {
        let now = *toxic.borrow_and_update();
        match now {
            Toxic::Reset => return End::Broken,
            Toxic::BlackHole => {
                if toxic.changed().await.is_err() {
                    return End::Broken;
                }
                continue;
            }
            _ => {}
        }
        let read = tokio::select! {
            read = from.read(&mut piece) => read,
            changed = toxic.changed() => {
                if changed.is_err() {
                    return End::Broken;
                }
                continue;
            }
        };
        let Ok(mut count @ 1..) = read else {
            let _ = to.shutdown().await;
            return End::Quiet;
        };
        let now = *toxic.borrow();
        match now {
            Toxic::Latency(latency) => tokio::time::sleep(latency).await,
            Toxic::Throttle { bytes_per_second } => {
                let seconds = count as f64 / bytes_per_second.max(1) as f64;
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            Toxic::CutAfter { bytes } if back => {
                count = count.min(usize::try_from(bytes.saturating_sub(passed)).unwrap_or(usize::MAX));
            }
            // TCP loses nothing within a connection: what was on its way arrives when the fault is over.
            Toxic::BlackHole if toxic.wait_for(|toxic| *toxic != Toxic::BlackHole).await.is_err() => {
                return End::Broken;
            }
            Toxic::Reset => return End::Broken,
            _ => {}
        }
        if to.write_all(&piece[..count]).await.is_err() {
            return End::Broken;
        }
        passed += count as u64;
        if matches!(now, Toxic::CutAfter { bytes } if back && passed >= bytes) {
            return End::Broken;
        }
    }
}

/// Has the connection close with a reset instead of an end.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A server that repeats what it hears.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(bytes).await?;
        let mut answer = vec![0; bytes.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn it_passes_on_and_slows_down() {
        let proxy = Proxy::start(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        assert_eq!(ask(&mut stream, b"abc").await.expect("an answer"), b"abc");
        proxy.set(Toxic::Latency(Duration::from_millis(60)));
        let begun = Instant::now();
        ask(&mut stream, b"abc").await.expect("an answer");
        assert!(begun.elapsed() >= Duration::from_millis(120));
        proxy.set(Toxic::Throttle {
            bytes_per_second: 100_000,
        });
        let begun = Instant::now();
        ask(&mut stream, &[7; 10_000]).await.expect("an answer");
        assert!(begun.elapsed() >= Duration::from_millis(150));
    }

    #[tokio::test]
    async fn it_cuts_resets_and_refuses() {
        let proxy = Proxy::start(echo().await).await;
        let connect = || TcpStream::connect(proxy.address());
        let mut cut = connect().await.expect("connected");
        proxy.set(Toxic::CutAfter { bytes: 10 });
        assert!(ask(&mut cut, &[1; 20]).await.is_err());
        proxy.set(Toxic::None);
        let mut reset = connect().await.expect("connected");
        ask(&mut reset, b"x").await.expect("an answer");
        proxy.set(Toxic::Reset);
        assert!(ask(&mut reset, b"x").await.is_err());
        proxy.set(Toxic::Refuse);
        let deadline = Instant::now() + Duration::from_secs(10);
        while connect().await.is_ok() {
            assert!(Instant::now() < deadline, "the port is closed soon");
        }
        proxy.set(Toxic::None);
        let mut again = loop {
            if let Ok(stream) = connect().await {
                break stream;
            }
            assert!(Instant::now() < deadline, "it listens again");
        };
        assert_eq!(ask(&mut again, b"abc").await.expect("an answer"), b"abc");
    }

    #[tokio::test]
    async fn a_black_hole_takes_everything_and_gives_nothing() {
        let proxy = Proxy::start(echo().await).await;
        let mut stream = TcpStream::connect(proxy.address()).await.expect("connected");
        proxy.set(Toxic::BlackHole);
        let waited = tokio::time::timeout(Duration::from_millis(200), ask(&mut stream, b"x")).await;
        assert!(waited.is_err(), "no answer, and no end");
    }
}
