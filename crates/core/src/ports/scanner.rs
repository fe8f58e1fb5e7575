//! The virus scanner: looks at the bytes of a file while they are measured.
//!
//! Scanners fail open: what is beyond a limit of theirs they pass over and call clean. So a verdict says whether everything
//! was looked at, and an adapter must know that by its own account, not by the scanner's word.

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;

use crate::file::FileError;

/// The error code of a file in which the scanner found something.
pub const INFECTED: &str = "infected";
/// The error code of a file that could not be scanned whole.
pub const NOT_FULLY_SCANNED: &str = "not_fully_scanned";
/// The error code of a file that waits because the scanner does not answer.
pub const SCANNER_UNAVAILABLE: &str = "scanner_unavailable";
/// Longest name of a signature and longest reason that are kept, in characters.
const WORDS_CHARS_MAX: usize = 160;

/// Why a file is held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holdup {
    /// The scanner knows something in it.
    Infected {
        /// What the scanner calls it.
        signature: String,
    },
    /// Some of it was not looked at.
    NotFullyScanned {
        /// Why, as a clause: `it has 200 bytes and the scanner takes 100`.
        reason: String,
    },
}

impl Holdup {
    /// As the file says it to its owner.
    pub fn error(&self) -> FileError {
        let short = |text: &str| {
            text.chars()
                .filter(|c| !c.is_control())
                .take(WORDS_CHARS_MAX)
                .collect::<String>()
        };
        match self {
            Self::Infected { signature } => FileError {
                code: INFECTED.to_owned(),
                message: format!("The scanner found {}.", short(signature)),
            },
            Self::NotFullyScanned { reason } => FileError {
                code: NOT_FULLY_SCANNED.to_owned(),
                message: format!("The file could not be scanned whole: {}.", short(reason)),
            },
        }
    }
}

/// What the scanner says of a whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it was looked at, and nothing was found.
    Clean,
    /// It is to be held back.
    Held(Holdup),
}

impl Verdict {
    /// The name in metrics: `clean`, `infected`, `not_fully_scanned`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Held(Holdup::Infected { .. }) => INFECTED,
            Self::Held(Holdup::NotFullyScanned { .. }) => NOT_FULLY_SCANNED,
        }
    }
}

/// Why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The scanner does not answer, or left in the middle. Trying again may help; the file is not at fault.
    #[error("the scanner does not answer: {0}")]
    Unavailable(String),
    /// The scanner answers and gives no verdict on these bytes. Trying again may help a few times.
    #[error("the scanner gave no verdict: {0}")]
    NoVerdict(String),
}

/// Looks for what is known to be harmful.
#[async_trait]
pub trait Scanner: Send + Sync {
    /// Looks at a file of this size, piece by piece in their order. May end before the pieces do. A sender that stops short
    /// drops the whole call: the end of the pieces is the end of the file.
    async fn scan(&self, pieces: BoxStream<'static, Bytes>, size_bytes: u64) -> Result<Verdict, ScanError>;

    /// Whether it answers; its version.
    async fn ping(&self) -> Result<String, ScanError>;
}
