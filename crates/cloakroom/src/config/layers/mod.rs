//! Layers: who said what. Each layer turns its own spelling (a TOML or YAML file, environment variables, flags) into values
//! by key, each with its source; the later layer wins.

mod file;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

pub use file::from_file;
pub use variables::{Variables, from_variables, parse_dotenv};

use super::values::Raw;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// A collection that ships with the program.
    Preset,
    /// Nobody said anything, under `--dev`.
    Dev,
    /// Another setting, of which this one is a part.
    Setting(&'static str),
    /// The configuration file.
    File {
        /// Its path.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file `.env`.
    DotEnv {
        /// The variable.
        name: String,
    },
    /// The environment.
    Environment {
        /// The variable.
        name: String,
    },
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset => f.write_str("preset"),
            Self::Dev => f.write_str("--dev"),
            Self::Setting(key) => f.write_str(key),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::DotEnv { name } => write!(f, ".env {name}"),
            Self::Environment { name } => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Something wrong with the configuration, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub String);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A value and who said it.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// The value as written.
    pub raw: Raw,
    /// Who said it.
    pub source: Source,
}

/// What one layer says.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    /// Values by key. Keys of settings and of fields of collections are checked, values are not yet.
    pub values: BTreeMap<String, Said>,
    /// Collections that the layer names, even without a field.
    pub collections: BTreeSet<String>,
    /// Stores that the layer names, even without a field.
    pub stores: BTreeSet<String>,
    /// The operator's own processors that the layer names, even without a field.
    pub processors: BTreeSet<String>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// What is not wrong, but may not be what was meant.
    pub notices: Vec<String>,
}

/// Whose fields may be named by variables: names of tables cannot be told from a variable's own.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Collections.
    pub collections: BTreeSet<String>,
    /// Stores.
    pub stores: BTreeSet<String>,
    /// The operator's own processors.
    pub processors: BTreeSet<String>,
}

/// The name that is nearest to the text, if any is near.
fn nearest(text: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let scored = known.map(|candidate| {
        (
            strsim::normalized_damerau_levenshtein(text, &candidate),
            candidate,
        )
    });
    scored
        .filter(|(score, _)| *score >= 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
