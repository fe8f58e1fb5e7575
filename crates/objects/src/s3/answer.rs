//! What an S3 service answers: bodies with a limit and a time, errors with their code.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use cloakroom_core::ports::objects::{BodyError, ByteStream};
use futures_util::stream;
use http::{HeaderMap, Response, StatusCode, response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Deserialize;

use super::client::{CallError, header, is_overload};

/// The largest XML answer that is read: a list of 1,000 keys of 1,024 bytes in percent-encoding has less than 4 MiB.
const XML_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The largest error that is read.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// So much of an error's text is repeated.
const MESSAGE_CHARS_MAX: usize = 300;

/// The head of an answer, and its body.
pub(crate) struct Answer {
    head: response::Parts,
    body: AnswerBody,
    patience: Duration,
}

enum AnswerBody {
    /// Still to be read.
    Coming(Incoming),
    /// Read to its end.
    Whole(String),
}

impl Answer {
    pub(super) fn new(answer: Response<Incoming>, patience: Duration) -> Self {
        let (head, body) = answer.into_parts();
        Self {
            head,
            body: AnswerBody::Coming(body),
            patience,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// What the service asks us to wait.
    pub(super) fn retry_after(&self) -> Duration {
        let seconds = header(self.headers(), "retry-after").and_then(|text| text.parse().ok());
        Duration::from_secs(seconds.unwrap_or(0).min(60))
    }

    /// The service's own time.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        http_date(header(self.headers(), "date")?)
    }

    /// Reads the body, if it is not larger than an XML answer can be.
    pub(super) async fn whole(self) -> Result<Self, String> {
        let AnswerBody::Coming(body) = self.body else {
            return Ok(self);
        };
        let bytes = read(body, XML_BYTES_MAX, self.patience).await?;
        let text = String::from_utf8(bytes).map_err(|_| "an answer that is not text".to_owned())?;
        Ok(Self {
            body: AnswerBody::Whole(text),
            ..self
        })
    }

    /// Copies and completions that fail late say so in the body of a 200 (S3 API, "CopyObject").
    pub(super) fn late_error(&self) -> Option<ErrorAnswer> {
        match &self.body {
            AnswerBody::Whole(text) => error_in(text).map(|error| {
                let is_theirs = matches!(
                    error.code.as_str(),
                    "InternalError" | "ServiceUnavailable" | "SlowDown"
                );
                let status = if is_theirs { 500 } else { 400 };
                ErrorAnswer { status, ..error }
            }),
            AnswerBody::Coming(_) => None,
        }
    }

    /// The text of a body that is [`whole`](Self::whole).
    pub(crate) fn text(&self) -> Result<&str, CallError> {
        match &self.body {
            AnswerBody::Whole(text) => Ok(text),
            AnswerBody::Coming(_) => Err(CallError::Defect("an answer that was not read".to_owned())),
        }
    }

    /// Reads the XML of a body that is [`whole`](Self::whole).
    pub(crate) fn xml<T: for<'de> Deserialize<'de>>(&self) -> Result<T, CallError> {
        quick_xml::de::from_str(self.text()?)
            .map_err(|error| CallError::Unavailable(format!("an answer that cannot be read: {error}")))
    }

    /// The bytes as they come. Each piece must come in time, and all that were announced must.
    pub(super) fn into_stream(self) -> ByteStream {
        let announced = header(self.headers(), "content-length").and_then(|text| text.parse::<u64>().ok());
        let patience = self.patience;
        let body = match self.body {
            AnswerBody::Coming(body) => body,
            AnswerBody::Whole(text) => return Box::pin(stream::iter([Ok(Bytes::from(text))])),
        };
        let state = (body, announced);
        Box::pin(stream::unfold(Some(state), move |state| async move {
            let (mut body, mut left) = state?;
            loop {
                let broken = |message: String| {
                    let error = BodyError {
                        code: "IncompleteBody",
                        message,
                    };
                    Some((Err(error), None))
                };
                let frame = match tokio::time::timeout(patience, body.frame()).await {
                    Err(_) => {
                        return broken(format!("the store sent nothing for {} s", patience.as_secs_f64()));
                    }
                    Ok(Some(Err(error))) => return broken(format!("the store broke off: {error}")),
                    Ok(Some(Ok(frame))) => frame,
                    Ok(None) if left.is_some_and(|left| left > 0) => {
                        return broken("the store sent fewer bytes than announced".to_owned());
                    }
                    Ok(None) => return None,
                };
                // Frames that are no data are trailers.
                if let Ok(piece) = frame.into_data() {
                    left = left.map(|left| left.saturating_sub(piece.len() as u64));
                    return Some((Ok::<Bytes, BodyError>(piece), Some((body, left))));
                }
            }
        }))
    }

    pub(super) async fn into_error(self, patience: Duration) -> ErrorAnswer {
        let status = self.status();
        let told = match self.body {
            AnswerBody::Coming(body) => {
                let bytes = read(body, ERROR_BYTES_MAX, patience).await.unwrap_or_default();
                error_in(&String::from_utf8_lossy(&bytes))
            }
            AnswerBody::Whole(text) => error_in(&text),
        };
        ErrorAnswer {
            status: status.as_u16(),
            ..told.unwrap_or_else(|| ErrorAnswer {
                status: status.as_u16(),
                code: String::new(),
                message: status.canonical_reason().unwrap_or("an error").to_owned(),
            })
        }
    }
}

/// The whole of a short body, which must come in time: one that comes byte by byte for ever does not.
async fn read(body: Incoming, bytes_max: usize, patience: Duration) -> Result<Vec<u8>, String> {
    tokio::time::timeout(patience, read_to_end(body, bytes_max))
        .await
        .map_err(|_| format!("the answer took more than {} s", patience.as_secs_f64()))?
}

async fn read_to_end(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    loop {
        let frame = body.frame().await;
        match frame {
            None => return Ok(bytes),
            Some(Err(error)) => return Err(format!("the answer broke off: {error}")),
            Some(Ok(frame)) => {
                if let Ok(piece) = frame.into_data() {
                    bytes.extend_from_slice(&piece);
                }
                if bytes.len() > bytes_max {
                    return Err(format!("an answer of more than {bytes_max} bytes"));
                }
            }
        }
    }
}

/// An error of the S3 API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorAnswer {
    pub(crate) status: u16,
    /// `NoSuchKey`; empty where there was no body.
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ErrorAnswer {
    /// The service, not the request, is at fault.
    pub(super) fn is_overload(&self) -> bool {
        matches!(self.code.as_str(), "SlowDown" | "RequestTimeout")
            || (StatusCode::from_u16(self.status).is_ok_and(is_overload) && self.code != "NotImplemented")
    }
}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the object store answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if self.message.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.message)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody {
    code: Option<String>,
    message: Option<String>,
}

/// The error that a body is, if it is one.
fn error_in(text: &str) -> Option<ErrorAnswer> {
    let start = text.find('<')?;
    let root = text[start..].trim_start_matches(|c| c != '<');
    let root = if root.starts_with("<?") {
        &root[root.find("?>")? + 2..]
    } else {
        root
    };
    if !root.trim_start().starts_with("<Error") {
        return None;
    }
    let body: ErrorBody = quick_xml::de::from_str(text).ok()?;
    Some(ErrorAnswer {
        status: 200,
        code: body.code?,
        // Some services repeat what they were sent; a signature must not come with it.
        message: body
            .message
            .filter(|message| !message.contains("Signature"))
            .map(|message| message.chars().take(MESSAGE_CHARS_MAX).collect())
            .unwrap_or_default(),
    })
}

/// A date of HTTP (RFC 9110 §5.6.7, the preferred form).
pub(crate) fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_in_bodies() {
        let body =
            "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchKey</Code><Message>a &amp; b</Message></Error>";
        let error = error_in(body).expect("an error");
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("NoSuchKey", "a & b")
        );
        for other in [
            "",
            "<",
            "no",
            "<CopyObjectResult/>",
            "<Error>",
            "<Error/>",
            "<?xml",
            "<?xml?><Error>",
        ] {
            assert_eq!(error_in(other), None, "{other:?}");
        }
    }

    #[test]
    fn dates_of_http_are_read() {
        let date = http_date("Sun, 06 Nov 1994 08:49:37 GMT").map(|time| time.to_string());
        assert_eq!(date.as_deref(), Some("1994-11-06T08:49:37Z"));
        assert_eq!(http_date("yesterday"), None);
    }
}
