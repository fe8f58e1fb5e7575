//! Programs of the system that decode what this program does not: ffmpeg for videos, `heif-dec` and `avifdec` for pictures.
//! They run in the sandbox like processors of an operator, without the network.

use std::path::{Path, PathBuf};

use super::workplace::installed;

/// Which of them there are.
#[derive(Clone, Debug, Default)]
pub struct Decoders {
    found: Vec<(&'static str, PathBuf)>,
}

/// All that are looked for.
const KNOWN: &[&str] = &["avifdec", "ffmpeg", "heif-convert", "heif-dec"];

impl Decoders {
    /// Looks for them where programs of the system are.
    pub fn find() -> Self {
        let found = KNOWN.iter().filter_map(|name| Some((*name, installed(name)?)));
        Self {
            found: found.collect(),
        }
    }

    /// Uses none.
    pub fn none() -> Self {
        Self::default()
    }

    /// The names of those that were found.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.found.iter().map(|(name, _)| *name)
    }

    /// Where one of them is.
    pub(super) fn path(&self, name: &str) -> Option<&Path> {
        let found = self.found.iter().find(|(known, _)| *known == name);
        found.map(|(_, path)| path.as_path())
    }

    pub(super) fn ffmpeg(&self) -> Option<&Path> {
        self.path("ffmpeg")
    }
}
