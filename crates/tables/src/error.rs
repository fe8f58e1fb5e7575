//! Why a file was not accepted as a table.

/// What ended the inspection of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file breaks the rules of its format.
    #[error("{}{reason}", place(*.line, *.byte))]
    Malformed {
        /// The line as an editor counts it, from 1; none in binary formats.
        line: Option<u64>,
        /// The byte's place in the file, from 0, where it is known.
        byte: Option<u64>,
        /// What is wrong, a sentence for people without a full stop.
        reason: String,
    },
    /// The file would cost more than is granted.
    #[error("{limit} is over the limit of {value}")]
    Limit {
        /// What is limited.
        limit: &'static str,
        /// The limit's value, in the unit that `limit` names.
        value: u64,
    },
    /// The format, or a part of it, is not read here.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The workbook can only be read with a password.
    #[error("the workbook is encrypted")]
    Encrypted,
    /// The input could not be read; says nothing about the file.
    #[error("the input cannot be read: {0}")]
    Io(#[source] std::io::Error),
}

impl Error {
    /// The stable code of the refusal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed_file",
            Self::Limit { .. } => "limit_exceeded",
            Self::Unsupported(_) => "unsupported_format",
            Self::Encrypted => "encrypted_file",
            Self::Io(_) => "read_failed",
        }
    }

    /// A fault on a line of text.
    pub(crate) fn at_line(line: u64, reason: impl Into<String>) -> Self {
        Self::Malformed {
            line: Some(line),
            byte: None,
            reason: reason.into(),
        }
    }

    /// A fault in a binary format or in a part of an archive.
    pub(crate) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed {
            line: None,
            byte: None,
            reason: reason.into(),
        }
    }
}

/// A reader that ends too early is a fault of the file; every other failure is one of the input.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Self::malformed("the file ends too early"),
            _ => Self::Io(error),
        }
    }
}

fn place(line: Option<u64>, byte: Option<u64>) -> String {
    match (line, byte) {
        (Some(line), _) => format!("line {line}: "),
        (None, Some(byte)) => format!("byte {byte}: "),
        (None, None) => String::new(),
    }
}
