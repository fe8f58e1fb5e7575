//! A request's body as the store takes it: framing taken off, digests computed, and a verdict at the end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cloakroom_core::ports::objects::{BodyError, PutBody};
use cloakroom_signing::{ChunkChain, PayloadHash};
use futures_core::Stream;
use http::HeaderMap;

use super::checksums::Verification;
use super::chunked::ChunkDecoder;
use super::{RequestBody, incomplete};
use crate::error::S3Error;

/// The largest object or part in one request, in bytes: 5 GiB (S3 API, "PutObject").
const UPLOAD_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// The length of the object in a request: of the body, or of what is inside its `aws-chunked` framing.
pub(crate) fn declared_length(headers: &HeaderMap, payload: PayloadHash) -> Result<u64, S3Error> {
    let name = if payload.is_chunked() {
        "x-amz-decoded-content-length"
    } else {
        "content-length"
    };
    let Some(value) = headers.get(name) else {
        return Err(S3Error::new(
            "MissingContentLength",
            "You must provide the Content-Length HTTP header.",
        ));
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length: u64 = digits
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| S3Error::invalid_argument("The length is not a number of bytes.", name, "…"))?;
    if length > UPLOAD_BYTES_MAX {
        return Err(S3Error::new(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
        )
        .with("ProposedSize", length.to_string())
        .with("MaxSizeAllowed", UPLOAD_BYTES_MAX.to_string()));
    }
    Ok(length)
}

/// The pieces of a body, verified as they pass.
pub(crate) struct Upload<S> {
    source: S,
    decoder: Option<ChunkDecoder>,
    input: Bytes,
    verification: Arc<Mutex<Verification>>,
    failed: bool,
}

impl Upload<RequestBody> {
    /// The body of a request whose signature says this about it. Without a declared length a document may be empty.
    pub(crate) fn new(
        headers: &HeaderMap,
        payload: PayloadHash,
        chain: Option<ChunkChain>,
        body: RequestBody,
    ) -> Result<Self, S3Error> {
        let decoder = if payload.is_chunked() {
            Some(ChunkDecoder::new(
                payload,
                chain,
                declared_length(headers, payload)?,
            ))
        } else {
            None
        };
        Ok(Self::over(body, decoder, Verification::new(headers, payload)?))
    }
}

impl<S> Upload<S>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Unpin + Send + 'static,
{
    /// Pieces from elsewhere, held against announcements.
    pub(crate) fn over(source: S, decoder: Option<ChunkDecoder>, verification: Verification) -> Self {
        Self {
            source,
            decoder,
            input: Bytes::new(),
            verification: Arc::new(Mutex::new(verification)),
            failed: false,
        }
    }

    /// The form in which the store takes it.
    pub(crate) fn into_put_body(self, size_bytes: Option<u64>) -> PutBody {
        let verification = Arc::clone(&self.verification);
        let md5_etag = lock(&verification).has_md5();
        PutBody {
            stream: Box::pin(self),
            size_bytes,
            finish: Box::new(move || lock(&verification).finish()),
            md5_etag,
        }
    }

    /// Reads a document whole and checks what was announced about it.
    pub(crate) async fn collect(self, bytes_max: usize) -> Result<Bytes, S3Error> {
        let verification = Arc::clone(&self.verification);
        let document = RequestBody::collect(self, bytes_max).await?;
        lock(&verification).finish()?;
        Ok(document)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let mut verification = lock(&self.verification);
        loop {
            if let Some(decoder) = &mut self.decoder
                && let Some(data) = decoder.next(&mut self.input, &mut verification)?
            {
                verification.update(&data);
                return Poll::Ready(Ok(Some(data)));
            }
            let Some(piece) = ready!(Pin::new(&mut self.source).poll_next(cx)).transpose()? else {
                if let Some(decoder) = &mut self.decoder {
                    decoder.finish(&mut verification)?;
                }
                verification.complete();
                return Poll::Ready(Ok(None));
            };
            if self.decoder.is_some() {
                self.input = piece;
            } else {
                verification.update(&piece);
                return Poll::Ready(Ok(Some(piece)));
            }
        }
    }
}

impl<S> Stream for Upload<S>
where
    S: Stream<Item = Result<Bytes, BodyError>> + Unpin + Send + 'static,
{
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(Some(Err(incomplete())));
        }
        let piece = ready!(self.poll_piece(cx));
        self.failed = piece.is_err();
        Poll::Ready(piece.transpose())
    }
}

/// A panic elsewhere leaves the digests as they were, and then they do not match.
fn lock(verification: &Mutex<Verification>) -> MutexGuard<'_, Verification> {
    verification.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(name: &'static str, value: &str, payload: PayloadHash) -> Result<u64, &'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a value"));
        declared_length(&headers, payload).map_err(|error| error.code)
    }

    #[test]
    fn the_length_must_be_known() {
        assert_eq!(length("content-length", "5", PayloadHash::Unsigned), Ok(5));
        assert_eq!(
            length("content-length", "5368709121", PayloadHash::Unsigned),
            Err("EntityTooLarge")
        );
        assert_eq!(
            length("content-length", "5", PayloadHash::SignedChunks),
            Err("MissingContentLength")
        );
        assert_eq!(
            length("x-amz-decoded-content-length", "5", PayloadHash::SignedChunks),
            Ok(5)
        );
        for value in ["-1", "+1", "1e3", "99999999999999999999"] {
            assert_eq!(
                length("x-amz-decoded-content-length", value, PayloadHash::SignedChunks),
                Err("InvalidArgument")
            );
        }
    }
}
