use std::io;

/// Why a document gave no facts or no picture.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes break the rules of their own format.
    #[error("{message}, at byte {offset}")]
    Malformed {
        /// What is wrong, for people.
        message: &'static str,
        /// Where, in bytes from the start of the file; 0 where the whole file is meant.
        offset: u64,
    },
    /// The document asks for more than it may have.
    #[error("the document needs more than the limit of {value} {limit}")]
    LimitExceeded {
        /// The unit of the limit: `objects`, `bytes of a stream`, `milliseconds`, ..
        limit: &'static str,
        /// The limit itself.
        value: u64,
    },
    /// The document is of a kind, or uses a feature, that is not read here.
    #[error("{what} is not supported")]
    Unsupported {
        /// What is not supported.
        what: &'static str,
    },
    /// The document cannot be read without a password or a key.
    #[error("the document is encrypted and cannot be opened without its password")]
    Encrypted,
    /// The input could not be read.
    #[error("the document could not be read: {0}")]
    Read(#[from] io::Error),
}

impl Error {
    /// The stable code of the error: `malformed_file`, `limit_exceeded`, `unsupported_format`, `encrypted_file` or
    /// `unreadable_file`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed_file",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::Unsupported { .. } => "unsupported_format",
            Self::Encrypted => "encrypted_file",
            Self::Read(_) => "unreadable_file",
        }
    }
}
