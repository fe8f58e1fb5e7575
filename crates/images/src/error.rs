//! Why a picture was not taken.

use thiserror::Error;

use crate::Format;

/// Why nothing was made of a picture. The messages are for people and hold nothing of the file but numbers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The bytes break the rules of their format, or end too early.
    #[error("not a usable {format} picture: {message}")]
    Malformed {
        /// What the bytes claim to be.
        format: Format,
        /// What is wrong, and where that is known.
        message: String,
    },
    /// The picture is larger than the limits allow.
    #[error("{limit} of the picture is {value}, and at most {allowed} is allowed")]
    LimitExceeded {
        /// Which limit.
        limit: Limit,
        /// What the picture asks for.
        value: u64,
        /// The limit.
        allowed: u64,
    },
    /// The picture may be fine, but nothing here decodes it.
    #[error("{what} cannot be decoded here{}", install.map(|advice| format!(": {advice}")).unwrap_or_default())]
    Unsupported {
        /// What is not supported.
        what: String,
        /// What to install so that it is, if anything helps.
        install: Option<&'static str>,
    },
}

/// What a limit is on. See [`crate::Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Width times height.
    Pixels,
    /// Width or height.
    Side,
    /// Number of frames of an animation.
    Frames,
    /// Number of scans of a JPEG.
    Scans,
    /// Length of the colour profile in bytes.
    Profile,
    /// Memory that decoding needs, in bytes.
    Memory,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Pixels => "the number of pixels",
            Self::Side => "a side",
            Self::Frames => "the number of frames",
            Self::Scans => "the number of scans",
            Self::Profile => "the colour profile's length",
            Self::Memory => "the memory for decoding",
        })
    }
}

impl Error {
    /// The stable code of the error: `malformed_file`, `limit_exceeded` or `unsupported_format`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed_file",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::Unsupported { .. } => "unsupported_format",
        }
    }

    pub(crate) fn malformed(format: Format, message: impl std::fmt::Display) -> Self {
        Self::Malformed {
            format,
            message: message.to_string(),
        }
    }
}
