//! What is to be made of a picture, and what came out.

use serde::{Deserialize, Serialize};

use crate::Facts;

/// A picture to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rendition {
    /// The caller's name for it; comes back in [`Picture::name`].
    pub name: String,
    /// Width of the box in pixels.
    pub width: u32,
    /// Height of the box in pixels.
    pub height: u32,
    /// How the picture goes into the box.
    #[serde(default)]
    pub fit: Fit,
    /// Format of the result.
    #[serde(default)]
    pub format: OutputFormat,
    /// Quality from 1 to 100 for JPEG and WebP. Default 80.
    #[serde(default = "default_quality")]
    pub quality: u8,
}

const fn default_quality() -> u8 {
    80
}

/// How a picture goes into the box of its rendition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// All of the picture, at most as large as the box, in its own proportions, never enlarged.
    #[default]
    Contain,
    /// All of the box: what does not fit is cut off evenly on both sides. Never enlarged: a picture too small gives
    /// the largest part of it with the proportions of the box.
    Cover,
    /// Exactly the box, stretched.
    Fill,
}

/// Format of what is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputFormat {
    /// JPEG, or WebP where the picture has an alpha channel.
    #[default]
    Auto,
    /// JPEG; transparency is laid on white.
    Jpeg,
    /// PNG.
    Png,
    /// WebP, lossy, with alpha.
    Webp,
}

/// A picture that was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Name of its rendition.
    pub name: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `jpg`, `png` or `webp`.
    pub extension: &'static str,
    /// `image/jpeg`, `image/png` or `image/webp`.
    pub content_type: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Picture")
            .field("name", &self.name)
            .field("width", &self.width)
            .field("height", &self.height)
            .field("content_type", &self.content_type)
            .field("bytes", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// The result of `render`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The facts, with placeholder.
    pub facts: Facts,
    /// One picture per rendition, in the same order.
    pub pictures: Vec<Picture>,
}
