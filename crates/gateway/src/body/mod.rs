//! Bodies on their way in: bounded in memory and time, checked piece by piece, and nothing believed before the end.

pub(crate) mod checksums;
pub(crate) mod chunked;
pub(crate) mod form;
mod upload;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cloakroom_core::ports::objects::BodyError;
use futures_core::Stream;
use futures_util::StreamExt;
use http_body::Body;
use tokio::time::{Instant, Sleep};

pub(crate) use upload::{Upload, declared_length};

use crate::error::S3Error;

/// Any error of an HTTP library.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxedBody = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// The body of a request as pieces. A sender that stays silent for too long is given up.
pub(crate) struct RequestBody {
    body: Option<BoxedBody>,
    idle_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    received: metrics::Counter,
}

impl RequestBody {
    pub(crate) fn new<B>(body: B, idle_timeout: Duration, received: metrics::Counter) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let body: Option<BoxedBody> = (!body.is_end_stream())
            .then(|| Box::pin(http_body_util::BodyExt::map_err(body, Into::into)) as BoxedBody);
        Self {
            body,
            idle_timeout,
            timer: None,
            received,
        }
    }

    /// Reads a small document whole, and refuses a larger one.
    pub(crate) async fn collect<S>(mut stream: S, bytes_max: usize) -> Result<Bytes, S3Error>
    where
        S: Stream<Item = Result<Bytes, BodyError>> + Unpin,
    {
        let mut whole = BytesMut::new();
        while let Some(piece) = stream.next().await.transpose()? {
            if whole.len() + piece.len() > bytes_max {
                return Err(S3Error::new(
                    "MaxMessageLengthExceeded",
                    "Your request was too large.",
                ));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let timeout = self.idle_timeout;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(BodyError {
            code: "RequestTimeout",
            message: "Your socket connection to the server was not read from or written to within the timeout period."
                .to_owned(),
        })
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let Some(body) = &mut this.body else {
                return Poll::Ready(None);
            };
            let frame = match body.as_mut().poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let error = ready!(this.poll_idle(cx));
                    this.body = None;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            if let Some(timer) = &mut this.timer {
                timer.as_mut().reset(Instant::now() + this.idle_timeout);
            }
            match frame {
                None => {
                    this.body = None;
                    return Poll::Ready(None);
                }
                Some(Err(_)) => {
                    this.body = None;
                    return Poll::Ready(Some(Err(incomplete())));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        this.received.increment(data.len() as u64);
                        return Poll::Ready(Some(Ok(data)));
                    }
                    // Trailers of HTTP itself; S3 has its own inside the body.
                    Err(_) => {}
                },
            }
        }
    }
}

/// `IncompleteBody`.
pub(crate) fn incomplete() -> BodyError {
    BodyError {
        code: "IncompleteBody",
        message: "You did not provide the number of bytes specified by the Content-Length HTTP header"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender that gives one piece and then nothing, ever.
    struct Stalled(Option<Bytes>);

    impl Body for Stalled {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
            match self.0.take() {
                Some(piece) => Poll::Ready(Some(Ok(http_body::Frame::data(piece)))),
                None => Poll::Pending,
            }
        }
    }

    fn body(body: impl Body<Data = Bytes, Error = BoxError> + Send + 'static) -> RequestBody {
        RequestBody::new(body, Duration::from_millis(20), metrics::Counter::noop())
    }

    #[tokio::test]
    async fn a_silent_sender_is_given_up() {
        let mut stalled = body(Stalled(Some(Bytes::from_static(b"abc"))));
        assert_eq!(stalled.next().await, Some(Ok(Bytes::from_static(b"abc"))));
        let error = stalled.next().await.expect("an item").expect_err("a timeout");
        assert_eq!(error.code, "RequestTimeout");
        assert_eq!(stalled.next().await, None);
    }

    #[tokio::test]
    async fn documents_are_bounded() {
        let full = || {
            body(http_body_util::BodyExt::map_err(
                http_body_util::Full::new(Bytes::from_static(b"abc")),
                |never| match never {},
            ))
        };
        assert_eq!(RequestBody::collect(full(), 3).await.expect("fits"), "abc");
        let error = RequestBody::collect(full(), 2).await.expect_err("does not fit");
        assert_eq!(
            (error.code, error.status.as_u16()),
            ("MaxMessageLengthExceeded", 400)
        );
    }
}
