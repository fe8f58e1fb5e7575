use std::io;

/// Why a file gave no facts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes break the rules of their own format.
    #[error("{message}, at byte {offset}")]
    Malformed {
        /// What is wrong, for people.
        message: &'static str,
        /// Where, in bytes from the start of the file.
        offset: u64,
    },
    /// The file asks for more than it may have.
    #[error("the file needs more than the limit of {value} {limit}")]
    LimitExceeded {
        /// The unit of the limit: `elements`, `bytes read`, `milliseconds`.
        limit: &'static str,
        /// The limit itself.
        value: u64,
    },
    /// The file is of a kind that is not read here.
    #[error("{what} is not a supported media format")]
    Unsupported {
        /// What the file is.
        what: &'static str,
    },
    /// The input could not be read.
    #[error("the file could not be read: {0}")]
    Read(#[from] io::Error),
}

impl Error {
    /// The stable code of the error: `malformed_file`, `limit_exceeded`, `unsupported_format` or `unreadable_file`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed_file",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::Unsupported { .. } => "unsupported_format",
            Self::Read(_) => "unreadable_file",
        }
    }
}
