//! What a child is asked to do, as it stands in its argument.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cloakroom_images::Rendition;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one run may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Time by the clock.
    pub wall: Duration,
    /// Time of processors, over all threads; counted in whole seconds, rounded up.
    pub cpu: Duration,
    /// Memory of its own, in bytes: what it allocates, not the program's code.
    pub memory_bytes: u64,
    /// Size of everything that it answers, in bytes.
    pub output_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            cpu: Duration::from_secs(10),
            memory_bytes: 512 * 1024 * 1024,
            output_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Tell how far this system lets a child be confined.
    Examine,
    /// What a picture is, and smaller ones of it.
    Image(ImageTask),
    /// What a table holds.
    Table(TableTask),
    /// What a document is, and its first page.
    Document(DocumentTask),
    /// What a video or sound is.
    Media,
    /// Run a program of the system or of the operator.
    Command(CommandTask),
    /// Something that only the program knows that was given to [`crate::Sandbox::new`].
    Own {
        /// What.
        name: String,
        /// With what.
        argument: Value,
    },
}

/// What of a picture is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageTask {
    /// The pictures to be made.
    pub renditions: Vec<Rendition>,
    /// Where a program of the system has decoded the picture: the input is the file, then what the program wrote.
    pub decoded: Option<DecodedImage>,
}

/// A picture that another program has decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodedImage {
    /// So many bytes of the input are the file itself.
    pub original_bytes: u64,
    /// Whether the other program has turned it upright.
    pub applies_orientation: bool,
}

/// How a table is to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "snake_case")]
pub enum TableTask {
    /// CSV, TSV and their like: read once, from front to back.
    Delimited {
        /// What separates fields, where that is known.
        delimiter: Option<u8>,
    },
    /// XLSX, XLS, ODS.
    Workbook,
}

/// What of a document is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentTask {
    /// Longer side of the first page's picture, in pixels.
    pub preview_side: u32,
    /// Whether a document without that picture is refused.
    pub preview_required: bool,
}

/// A program of the system or of the operator, to be run in a directory of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandTask {
    /// The program by its absolute path, and its arguments.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// The directory that it may read and write, and begins in.
    pub directory: PathBuf,
    /// What it finds on its standard input; below `directory`. Empty where this is `None`.
    pub stdin: Option<PathBuf>,
    /// What it may read beside its directory and the system's programs and libraries.
    pub reads: Vec<PathBuf>,
    /// Whether it may open connections.
    pub network: bool,
}

/// The child's argument.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    /// Process id of the parent: a child that finds another one has lost it already.
    pub parent: u32,
    /// Whether to refuse where the kernel cannot confine.
    pub required: bool,
    pub limits: Limits,
    /// Size of the input, where it is known.
    pub size_bytes: Option<u64>,
    pub task: Task,
}
