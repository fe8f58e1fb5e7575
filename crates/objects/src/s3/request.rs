//! A request to an S3 service, before it is signed, and why there is no answer to it.

use std::time::Duration;

use bytes::Bytes;
use cloakroom_core::ports::objects::BodyError;
use http::Method;

use super::answer::ErrorAnswer;
use super::upload::SharedStream;

/// What the operating system may hold back of an upload, and how slowly it may get rid of it.
const BUFFERED_BYTES_MAX: u64 = 4 * 1024 * 1024;
const BUFFERED_BYTES_PER_SECOND_MIN: u64 = 512 * 1024;

/// A request to be signed and sent.
pub(crate) struct Request<'a> {
    /// Its name in metrics and logs: `GetObject`.
    pub(crate) operation: &'static str,
    pub(crate) method: Method,
    pub(crate) bucket: &'a str,
    /// Empty for requests to the bucket.
    pub(crate) key: &'a str,
    pub(crate) query: Vec<(&'a str, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    /// Sent again it does the same, even if the first one arrived and only its answer was lost. Not so with conditions.
    pub(crate) repeatable: bool,
    /// How long one attempt may take, where it is more than usual: services copy before they answer.
    pub(crate) patience: Option<Duration>,
    /// The answer is XML, and counts only when all of it has come.
    pub(crate) is_short: bool,
    /// A 500 may be about the request and not about the service: it is neither repeated nor held against it.
    pub(crate) blames_nobody: bool,
}

/// What is sent along.
pub(crate) enum Body {
    Empty,
    Bytes(Bytes),
    /// Sent again only if nothing was taken from it.
    Stream {
        stream: SharedStream,
        size_bytes: u64,
    },
}

impl Body {
    /// Whether it can be sent, or sent again.
    pub(super) fn is_unspent(&self) -> bool {
        match self {
            Self::Empty | Self::Bytes(_) => true,
            Self::Stream { stream, .. } => !stream.is_begun(),
        }
    }

    /// How long what the operating system has taken of a stream may be on its way although nothing more is taken.
    pub(super) fn buffered_time(&self) -> Duration {
        match self {
            Self::Empty | Self::Bytes(_) => Duration::ZERO,
            Self::Stream { size_bytes, .. } => Duration::from_millis(
                (*size_bytes).min(BUFFERED_BYTES_MAX) * 1_000 / BUFFERED_BYTES_PER_SECOND_MIN,
            ),
        }
    }
}

impl<'a> Request<'a> {
    /// A request without query, headers or body, which may be sent again.
    pub(crate) fn new(operation: &'static str, method: Method, bucket: &'a str, key: &'a str) -> Self {
        Self {
            operation,
            method,
            bucket,
            key,
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            repeatable: true,
            patience: None,
            is_short: false,
            blames_nobody: false,
        }
    }

    pub(crate) fn query(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn headers(mut self, headers: impl IntoIterator<Item = (String, String)>) -> Self {
        self.headers.extend(headers);
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::Bytes(body.into());
        self
    }

    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }
}

/// Why there is no answer that could be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The store said no.
    #[error("{0}")]
    Answer(ErrorAnswer),
    /// It did not answer in time, or said that it cannot now.
    #[error("{0}")]
    Unavailable(String),
    /// The body that was to be sent broke off, or is not what was announced.
    #[error("{0}")]
    Body(BodyError),
    /// A request that cannot be made.
    #[error("{0}")]
    Defect(String),
}
