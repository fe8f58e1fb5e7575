//! What can go wrong on the client's side, in words for people, and the exit code that scripts see.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// Result of everything in the client.
pub type Result<T> = std::result::Result<T, ClientError>;

/// Longest message of a server that is repeated, in characters.
const MESSAGE_CHARS_MAX: usize = 600;

/// How a client command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// Something failed: a local file, a checksum, some of several items.
    Failed,
    /// The command line or the configuration is wrong; nothing was tried.
    Usage,
    /// The server refused (4xx).
    Refused,
    /// No usable answer: no connection, or the server failed (5xx), again and again.
    Unreachable,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The code that the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            // 128 + SIGINT, as shells have it.
            Self::Interrupted => 130,
        }
    }

    /// One verdict on several items: a reason only if it is the reason of all of them.
    pub fn of(items: impl IntoIterator<Item = Self>) -> Self {
        let mut items = items.into_iter();
        let Some(first) = items.next() else {
            return Self::Done;
        };
        if items.all(|item| item == first) {
            first
        } else {
            Self::Failed
        }
    }
}

/// An error answer: problem details of the API, or the XML error of an S3 endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// HTTP status.
    pub status: u16,
    /// The server's sentence.
    pub message: String,
    /// `error_code` of the API, `Code` of S3.
    pub code: Option<String>,
    /// Leads to the server's log entry.
    pub request_id: Option<String>,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether an object store said so, not the API.
    pub from_store: bool,
}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from_store {
            f.write_str("the object store answers: ")?;
        }
        write!(f, "{} (", printable(&self.message))?;
        if let Some(code) = &self.code {
            write!(f, "{}, ", printable(code))?;
        }
        write!(f, "HTTP {}", self.status)?;
        if let Some(id) = &self.request_id {
            write!(f, ", request {}", printable(id))?;
        }
        f.write_str(")")
    }
}

/// Everything that can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The command line or the configuration is wrong.
    #[error("{0}")]
    Usage(String),
    /// The server answered with an error.
    #[error("{0}")]
    Answer(Box<ErrorAnswer>),
    /// No answer, or one that broke off.
    #[error("{host}: {reason}")]
    Transport {
        /// The server, without credentials and path.
        host: String,
        /// What happened.
        reason: String,
    },
    /// A local file.
    #[error("{}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The bytes or the state of the file are not what they must be.
    #[error("{0}")]
    Failed(String),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl ClientError {
    /// Wraps an I/O error of a local file.
    pub fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::File { path, source }
    }

    /// Wraps a transport error. The URL is dropped: presigned ones are secrets.
    pub fn transport(error: reqwest::Error) -> Self {
        let host = error.url().map_or_else(|| "the server".to_owned(), origin);
        let error = error.without_url();
        let mut deepest: &dyn std::error::Error = &error;
        while let Some(source) = deepest.source() {
            deepest = source;
        }
        let reason = match () {
            () if error.is_connect() => format!("cannot connect: {deepest}"),
            () if error.is_timeout() => "no answer in time".to_owned(),
            () => format!("the connection broke off: {deepest}"),
        };
        Self::Transport { host, reason }
    }

    /// The error answer, if it is one.
    pub fn answer(&self) -> Option<&ErrorAnswer> {
        match self {
            Self::Answer(answer) => Some(answer),
            _ => None,
        }
    }

    /// HTTP status of the error answer.
    pub fn status(&self) -> Option<u16> {
        self.answer().map(|answer| answer.status)
    }

    /// `error_code` of the error answer.
    pub fn code(&self) -> Option<&str> {
        self.answer().and_then(|answer| answer.code.as_deref())
    }

    /// The exit code for this alone.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Answer(answer) if answer.status < 500 => Exit::Refused,
            Self::Answer(_) | Self::Transport { .. } => Exit::Unreachable,
            Self::File { .. } | Self::Failed(_) => Exit::Failed,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    /// For `--json`.
    pub fn to_json(&self) -> Value {
        let kind = match self {
            Self::Usage(_) => "usage",
            Self::Answer(answer) if answer.status < 500 => "refused",
            Self::Answer(_) => "unavailable",
            Self::Transport { .. } => "unreachable",
            Self::File { .. } => "local_file",
            Self::Failed(_) => "failed",
            Self::Interrupted => "interrupted",
        };
        let mut object = json!({ "kind": kind, "message": self.to_string() });
        if let Some(answer) = self.answer() {
            object["message"] = printable(&answer.message).into();
            object["status"] = answer.status.into();
            object["error_code"] = answer.code.clone().into();
            object["request_id"] = answer.request_id.clone().into();
        }
        object
    }
}

/// Scheme, host and port.
fn origin(url: &reqwest::Url) -> String {
    let host = url.host_str().unwrap_or("?");
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

/// A text of the server for a terminal: without control characters, which could move the cursor or colour lies,
/// and not longer than a paragraph.
pub fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !is_bidi_control(*c))
        .take(MESSAGE_CHARS_MAX)
        .collect()
}

/// Characters that change the direction of writing, and so what a name seems to be.
pub fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> ClientError {
        ClientError::Answer(Box::new(ErrorAnswer {
            status,
            message: "No\x1b[2J such\nfile.".to_owned(),
            code: Some("file_not_found".to_owned()),
            request_id: Some("r-1".to_owned()),
            retry_after: None,
            from_store: false,
        }))
    }

    #[test]
    fn an_answer_reads_as_one_line_with_what_support_asks_for() {
        assert_eq!(
            answer(404).to_string(),
            "No[2J suchfile. (file_not_found, HTTP 404, request r-1)"
        );
    }

    #[test]
    fn exit_codes_tell_whose_turn_it_is() {
        assert_eq!(answer(404).exit().code(), 3);
        assert_eq!(answer(503).exit().code(), 4);
        assert_eq!(ClientError::Usage(String::new()).exit().code(), 2);
        assert_eq!(Exit::of([]).code(), 0);
        assert_eq!(Exit::of([Exit::Refused, Exit::Refused]).code(), 3);
        assert_eq!(Exit::of([Exit::Done, Exit::Refused]).code(), 1);
        assert_eq!(Exit::of([Exit::Unreachable, Exit::Refused]).code(), 1);
    }

    #[tokio::test]
    async fn a_transport_error_never_shows_the_url() {
        // Port 1 of the loopback interface: nobody listens there.
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let sent = client
            .get("http://127.0.0.1:1/bucket/key?X-Amz-Signature=5ec2e7")
            .send()
            .await;
        let error = ClientError::transport(sent.expect_err("nobody listens"));
        let shown = format!("{error} {error:?} {}", error.to_json());
        assert!(shown.contains("http://127.0.0.1:1: cannot connect"), "{shown}");
        assert!(!shown.contains("5ec2e7") && !shown.contains("bucket"), "{shown}");
    }
}
