//! Answers: headers written once, and bodies that pass the store's pieces on as they are.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cloakroom_core::ports::objects::{BodyError, ByteStream};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::metrics::RequestRecord;

/// An answer.
pub type S3Response = Response<ResponseBody>;

static HTTP_DATE: DateTimePrinter = DateTimePrinter::new();

/// The body of an answer. Its end, or its loss, is the end of the request in metrics and log.
pub struct ResponseBody {
    content: Content,
    record: Option<RequestRecord>,
}

enum Content {
    Empty,
    Whole(Bytes),
    Stream { pieces: ByteStream, left: u64 },
}

impl ResponseBody {
    /// No body.
    pub(crate) const fn empty() -> Self {
        Self {
            content: Content::Empty,
            record: None,
        }
    }

    /// A body at hand.
    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self {
            content: Content::Whole(bytes),
            record: None,
        }
    }

    /// A body of exactly so many bytes. Should the store give other than that, the connection ends, and with it the
    /// client's belief in what it has.
    pub(crate) const fn stream(pieces: ByteStream, bytes: u64) -> Self {
        Self {
            content: Content::Stream { pieces, left: bytes },
            record: None,
        }
    }

    /// What is recorded when the body is gone.
    pub(crate) fn record(&mut self, record: RequestRecord) {
        self.record = Some(record);
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let piece = match &mut this.content {
            Content::Empty | Content::Stream { left: 0, .. } => return Poll::Ready(None),
            Content::Whole(_) => match std::mem::replace(&mut this.content, Content::Empty) {
                Content::Whole(bytes) if !bytes.is_empty() => bytes,
                _ => return Poll::Ready(None),
            },
            Content::Stream { pieces, left } => {
                let piece = ready!(pieces.as_mut().poll_next(cx)).unwrap_or_else(|| Err(cut_short()))?;
                *left = left.checked_sub(piece.len() as u64).ok_or_else(cut_short)?;
                piece
            }
        };
        if let Some(record) = &mut this.record {
            record.sent(piece.len() as u64);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Stream { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.content {
            Content::Empty => 0,
            Content::Whole(bytes) => bytes.len() as u64,
            Content::Stream { left, .. } => *left,
        })
    }
}

fn cut_short() -> BodyError {
    BodyError {
        code: "InternalError",
        message: "the store gave another number of bytes than it said".to_owned(),
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> S3Response {
    let mut response = Response::new(ResponseBody::empty());
    *response.status_mut() = status;
    // One allocation for the headers of nearly every answer.
    response.headers_mut().reserve(12);
    response
}

/// An XML document.
pub(crate) fn xml(document: Bytes) -> S3Response {
    let mut response = Response::new(ResponseBody::whole(document));
    response.headers_mut().reserve(8);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Sets a header; a value that cannot be sent is left out. Everything that is stored was a header before.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// Sets the `ETag` in its quotes.
pub(crate) fn set_etag(headers: &mut HeaderMap, etag: &str) {
    set(headers, ETAG, &quoted(etag));
}

/// Sets `Last-Modified`.
pub(crate) fn set_last_modified(headers: &mut HeaderMap, modified_at: Timestamp) {
    if let Ok(date) = HTTP_DATE.timestamp_to_rfc9110_string(&modified_at) {
        set(headers, LAST_MODIFIED, &date);
    }
}

/// Sets `Content-Length`, where the body does not say it.
pub(crate) fn set_content_length(headers: &mut HeaderMap, bytes: u64) {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes));
}

/// An `ETag` in its quotes.
pub(crate) fn quoted(etag: &str) -> String {
    let mut quoted = String::with_capacity(etag.len() + 2);
    quoted.push('"');
    quoted.push_str(etag);
    quoted.push('"');
    quoted
}

/// A time as documents write it: `2009-10-12T17:50:30.000Z`.
pub(crate) fn xml_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    fn streamed(pieces: &[&'static str], bytes: u64) -> ResponseBody {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok(Bytes::from_static(piece.as_bytes())))
            .collect();
        ResponseBody::stream(Box::pin(stream::iter(pieces)), bytes)
    }

    #[tokio::test]
    async fn a_stream_is_as_long_as_it_says_or_fails() {
        let whole = streamed(&["abc", "de"], 5)
            .collect()
            .await
            .expect("whole")
            .to_bytes();
        assert_eq!(whole, "abcde");
        for bytes in [4, 6] {
            assert!(
                streamed(&["abc", "de"], bytes).collect().await.is_err(),
                "{bytes}"
            );
        }
    }

    #[test]
    fn times_are_cut_to_the_millisecond() {
        let time: Timestamp = "2009-10-12T17:50:30.9999Z".parse().expect("valid");
        assert_eq!(xml_time(time), "2009-10-12T17:50:30.999Z");
        let mut headers = HeaderMap::new();
        set_last_modified(&mut headers, time);
        assert_eq!(headers[LAST_MODIFIED], "Mon, 12 Oct 2009 17:50:30 GMT");
    }
}
