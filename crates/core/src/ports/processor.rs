//! Processors: what is made of verified bytes (design §7). A processor declares what it takes, what it makes and
//! its limits; the worker runs those that the collection names.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::JsonObject;
use crate::collection::Collection;
use crate::file::{File, FileError, Verified};
use crate::media::MediaType;
use crate::ports::objects::{ByteRange, ByteStream, ObjectError};

/// What one run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorLimits {
    /// Time by the clock.
    pub wall: Duration,
    /// Time of a processor's core.
    pub cpu: Duration,
    /// Memory of its own, in bytes.
    pub memory_bytes: u64,
    /// Size of everything that it makes, in bytes.
    pub output_bytes_max: u64,
}

impl Default for ProcessorLimits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            cpu: Duration::from_secs(10),
            memory_bytes: 512 * 1024 * 1024,
            output_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// The verified bytes, to be read as often as needed.
#[async_trait]
pub trait Source: Send + Sync {
    /// Reads all bytes or a range of them.
    async fn read(&self, range: Option<ByteRange>) -> Result<ByteStream, ObjectError>;
}

/// What a processor is given.
pub struct ProcessorInput<'a> {
    /// The file as it stands.
    pub file: &'a File,
    /// The file's collection: what it wants made.
    pub collection: &'a Collection,
    /// What was measured.
    pub verified: &'a Verified,
    /// The bytes.
    pub source: &'a dyn Source,
}

/// A derivative that a processor made; the worker stores it.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeDerivative {
    /// Its name within the file: `thumbnail-256`.
    pub name: String,
    /// Ending of its key: `jpg`.
    pub extension: String,
    /// Its type.
    pub content_type: MediaType,
    /// Its bytes.
    pub bytes: Bytes,
    /// Pixels, for images.
    pub width: Option<u32>,
    /// Pixels, for images.
    pub height: Option<u32>,
}

/// A derivative that could not be made, where that is not the fault of the file: what would make it is not installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmadeDerivative {
    /// Its name within the file.
    pub name: String,
    /// Why, for people.
    pub error: String,
}

/// What a processor found and made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessorOutput {
    /// Facts for the file: `row_count`, `width`.
    pub facts: JsonObject,
    /// Derivatives.
    pub derivatives: Vec<MadeDerivative>,
    /// Those that it could not make although nothing is wrong with the file.
    pub unmade: Vec<UnmadeDerivative>,
}

/// Why a processor gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessorError {
    /// The file is at fault: trying again gives the same.
    #[error("{}", .0.message)]
    Rejected(FileError),
    /// Something else is at fault: try again.
    #[error("{0}")]
    Retry(String),
    /// What the processor depends on is away: try again later, as often as it takes.
    #[error("{reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// How long to wait, where that is known.
        wait: Option<Duration>,
    },
}

/// Makes something of verified bytes.
#[async_trait]
pub trait Processor: Send + Sync {
    /// The name in a collection's configuration, and in errors.
    fn name(&self) -> &str;

    /// Whether it takes files of this type; others pass it by.
    fn accepts(&self, content_type: &MediaType) -> bool;

    /// Whether a run may begin now, as far as is known without asking: what is away need not cost a pass over the file.
    fn ready(&self) -> Result<(), ProcessorError> {
        Ok(())
    }

    /// What a run may use.
    fn limits(&self) -> ProcessorLimits {
        ProcessorLimits::default()
    }

    /// One run.
    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError>;
}
