//! What goes wrong inside of an operation, and what the port calls it.

use std::fmt::{self, Write as _};

use cloakroom_core::ports::metadata::MetadataError;
use tokio_postgres::error::{Severity, SqlState};

/// Either an answer that the rules ask for, or what the database said, or that it said nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An answer of the port.
    Answer(MetadataError),
    /// An error of the driver or the server.
    Engine(tokio_postgres::Error),
    /// No connection, or no answer in time.
    Silent(String),
    /// Another transaction came between; the same again has another outcome.
    Overtaken,
}

/// Result of a step inside of an operation.
pub(super) type Outcome<T> = Result<T, Failure>;

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        Self::Answer(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Failure> for MetadataError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer(error) => error,
            Failure::Engine(error) => describe(&error),
            Failure::Silent(text) => Self::Unavailable(text),
            Failure::Overtaken => {
                Self::Unavailable("other transactions came between, again and again".to_owned())
            }
        }
    }
}

impl Failure {
    /// Whether the connection came to its end.
    pub(super) fn is_lost_connection(&self) -> bool {
        let Self::Engine(error) = self else {
            return false;
        };
        match error.as_db_error() {
            None => has_ended(error),
            Some(said) => {
                matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
                    || said.code().code().starts_with("57P")
            }
        }
    }

    /// Whether the other side ended a connection that it had accepted. One that it does not accept is another matter.
    pub(super) fn is_ended_connection(&self) -> bool {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        let Self::Engine(error) = self else {
            return false;
        };
        let io = cause(error).and_then(<dyn std::error::Error>::downcast_ref::<std::io::Error>);
        error.is_closed()
            || error.code() == Some(&SqlState::ADMIN_SHUTDOWN)
            || io.is_some_and(|io| matches!(io.kind(), BrokenPipe | ConnectionReset | UnexpectedEof))
    }

    /// Whether the same again may succeed at once, given that nothing was committed.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Overtaken => true,
            Self::Engine(error) => {
                self.is_lost_connection()
                    || matches!(
                        error.code(),
                        Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED)
                    )
            }
            Self::Answer(_) | Self::Silent(_) => false,
        }
    }

    /// Whether a statement was refused only because an earlier one of the transaction had failed.
    pub(super) fn is_aftermath(&self) -> bool {
        matches!(self, Self::Engine(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION))
    }

    /// Whether a unique key refused the row.
    pub(super) fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Engine(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(error) => error.fmt(f),
            Self::Engine(error) => f.write_str(&text(error)),
            Self::Silent(text) => f.write_str(text),
            Self::Overtaken => f.write_str("another transaction came between"),
        }
    }
}

fn cause(error: &tokio_postgres::Error) -> Option<&(dyn std::error::Error + 'static)> {
    std::error::Error::source(error)
}

/// Whether the driver says that there is no connection any more.
fn has_ended(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || cause(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

/// The error in words. Neither the address nor the password is in them, nor are values of rows (which the server puts
/// into the detail).
pub(super) fn text(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", said.message(), said.code().code());
    }
    let mut text = error.to_string();
    let mut next = cause(error);
    while let Some(source) = next {
        let part = source.to_string();
        if !text.contains(&part) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {part}");
        }
        next = source.source();
    }
    text
}

/// Sorts an error: what may pass by itself, what is damage, and what is a defect of ours.
pub(super) fn describe(error: &tokio_postgres::Error) -> MetadataError {
    let text = text(error);
    let Some(code) = error.code() else {
        // The driver's own: a value that is not what it should be, or trouble with the connection.
        return if has_ended(error) {
            MetadataError::Unavailable(text)
        } else if text.contains("deserializing column") {
            MetadataError::Inconsistent(text)
        } else if text.contains("serializing parameter") || text.contains("invalid column") {
            MetadataError::Internal(text)
        } else {
            MetadataError::Unavailable(text)
        };
    };
    match code.code() {
        "57014" => MetadataError::Unavailable(format!("the statement took too long: {text}")),
        // Nobody may write here (a standby), or not now.
        "25006" | "55P03" | "40001" | "40P01" | "42501" => MetadataError::Unavailable(text),
        "XX001" | "XX002" => MetadataError::Inconsistent(text),
        // Connections, resources and full disks, the operator, the system, who may connect, which database.
        code if ["08", "53", "57", "58", "28", "3D", "F0", "XX"].contains(&&code[..2]) => {
            MetadataError::Unavailable(text)
        }
        _ => MetadataError::Internal(text),
    }
}
