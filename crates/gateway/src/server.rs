//! Connections: accepted up to a limit, given up when their peer falls silent, and drained at the end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gateway::Gateway;

/// The largest head of a request, in bytes: a presigned URL with a key of 1,024 encoded bytes, a policy in the query and
/// headers with 2 KiB of metadata fit several times.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long and how much is still read of a request whose answer is sent, so that the peer gets to read that answer: a
/// connection closed over unread bytes is reset, and the answer lost.
const LINGER_TIME: Duration = Duration::from_secs(5);
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long to wait after a failed accept, as when there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// See [`Gateway::serve`].
pub(crate) async fn serve(gateway: &Gateway, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let permits = Arc::new(Semaphore::new(gateway.options().connections_max));
    let (stop, stopped) = watch::channel(());
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            // The semaphore is never closed, so this cannot fail.
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = serve_connection(gateway.clone(), stream, stopped.clone());
                    let cut = cut.clone();
                    tasks.spawn(async move {
                        // Cut off or at its end: either way it is over.
                        let _ = cut.run_until_cancelled(connection).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    drop(stopped);
    drop(stop);
    tasks.close();
    if timeout(gateway.options().timeouts.drain, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = tasks.len(),
            "requests were still in flight at the end of the drain"
        );
        cut.cancel();
        tasks.wait().await;
    }
}

async fn serve_connection(gateway: Gateway, stream: TcpStream, mut stopped: watch::Receiver<()>) {
    if send_at_once(&stream).is_err() {
        return;
    }
    let timeouts = gateway.options().timeouts;
    let io = TokioIo::new(PatientStream {
        stream,
        write_timeout: timeouts.idle,
        timer: None,
    });
    let service = service_fn(move |request| {
        let gateway = gateway.clone();
        // The connection is polled in place below, so its future has to be movable.
        Box::pin(async move { Ok::<_, Infallible>(gateway.handle(request).await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.header)
        .max_header_size(HEAD_BYTES_MAX)
        .serve_connection(io, service);

    let mut stopping = false;
    loop {
        tokio::select! {
            result = poll_fn(|cx| connection.poll_without_shutdown(cx)) => match result {
                Ok(()) => break,
                // What cannot be read as HTTP is told so; whoever is gone or silent is not waited for.
                Err(error) if error.is_parse() => break,
                Err(error) => {
                    tracing::debug!(%error, "a connection ended with an error");
                    return;
                }
            },
            // The sender sends nothing: this is its end.
            _ = stopped.changed(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
    linger(connection.into_parts().io.into_inner().stream).await;
}

/// Without this, an answer in two segments waits for the peer's delayed acknowledgement: 40 ms.
fn send_at_once(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// Ends the sending side and reads what is still on its way.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drained = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES_MAX;
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            left = left.saturating_sub(read);
            if left == 0 {
                break;
            }
        }
    };
    // Either way the connection is dropped.
    let _ = timeout(LINGER_TIME, drained).await;
}

/// A stream that gives up on a peer that takes nothing for too long. Reading has its own limits in head and body.
struct PatientStream {
    stream: TcpStream,
    write_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl PatientStream {
    /// Passes a write's result on, and turns waiting too long into an error.
    fn patient<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let limit = self.write_timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for PatientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PatientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.patient(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.patient(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_do_not_wait_for_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let _client = TcpStream::connect(address).await.expect("a connection");
        let (stream, _) = listener.accept().await.expect("a connection");
        send_at_once(&stream).expect("an open connection");
        assert!(stream.nodelay().expect("an open connection"));
    }
}
