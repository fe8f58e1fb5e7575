//! Reading on after a refusal.
//!
//! A request that is refused early (no token, too large, a bad field) leaves the rest of its body unread. Closing
//! the connection then resets it, and a client that is still sending loses the answer that says why. So an unread
//! body is read on and thrown away for a moment, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use http::header;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

/// Smaller bodies arrive with their head, or nearly so, and need none of this.
const SMALL_BYTES: u64 = 64 * 1024;
/// So much is thrown away at most.
const LINGER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// For so long at most.
const LINGER_TIME_MAX: Duration = Duration::from_secs(5);

/// Makes a large body linger when it is dropped unread.
pub fn lingering(request: Request) -> Request {
    let length: Option<u64> = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    let small = match length {
        Some(bytes) => bytes <= SMALL_BYTES,
        None => !request.headers().contains_key(header::TRANSFER_ENCODING),
    };
    if small {
        request
    } else {
        request.map(|body| Body::new(Lingering(Some(body))))
    }
}

struct Lingering(Option<Body>);

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER_TIME_MAX, discard(body)));
        }
    }
}

async fn discard(mut body: Body) {
    let mut bytes = 0;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if bytes > LINGER_BYTES_MAX {
            return;
        }
    }
}
