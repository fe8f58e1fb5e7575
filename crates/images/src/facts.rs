//! What is known of a picture.

use serde::{Deserialize, Serialize};

/// The formats that are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG (ITU T.81), baseline and progressive.
    Jpeg,
    /// PNG, all colour types.
    Png,
    /// WebP, lossy, lossless and animated.
    Webp,
    /// GIF.
    Gif,
    /// TIFF and BigTIFF.
    Tiff,
    /// Windows bitmap.
    Bmp,
    /// AVIF (AV1 in HEIF). Recognised and measured; decoded by an external program.
    Avif,
    /// HEIC (HEVC in HEIF). Recognised and measured; decoded by an external program.
    Heic,
}

impl Format {
    /// The lower-case name: `jpeg`, `png`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Tiff => "tiff",
            Self::Bmp => "bmp",
            Self::Avif => "avif",
            Self::Heic => "heic",
        }
    }

    /// Recognises a picture by its first bytes (32 are enough for all but HEIF's brands). `None` for anything else.
    pub fn recognise(bytes: &[u8]) -> Option<Self> {
        let starts = |magic: &[u8]| bytes.starts_with(magic);
        if starts(&[0xFF, 0xD8, 0xFF]) {
            Some(Self::Jpeg)
        } else if starts(b"\x89PNG\r\n\x1a\n") {
            Some(Self::Png)
        } else if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
            Some(Self::Webp)
        } else if starts(b"GIF87a") || starts(b"GIF89a") {
            Some(Self::Gif)
        } else if starts(b"II*\0")
            || starts(b"MM\0*")
            || starts(b"II+\0\x08\0\0\0")
            || starts(b"MM\0+\0\x08\0\0")
        {
            Some(Self::Tiff)
        } else if starts(b"BM") {
            Some(Self::Bmp)
        } else {
            crate::heif::recognise(bytes)
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What is known of a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The format, from the bytes.
    pub format: Format,
    /// Width in pixels as people see it: the orientation is applied.
    pub width: u32,
    /// Height in pixels as people see it.
    pub height: u32,
    /// More than one frame.
    pub animated: bool,
    /// Number of frames; 1 for a still picture.
    pub frames: u32,
    /// The format carries transparency for this picture (not that any pixel is transparent).
    pub has_alpha: bool,
    /// The file stores its pixels turned or mirrored, and `width`, `height` and everything made take that into account.
    pub orientation_applied: bool,
    /// Thumbhash of the picture in base64. Only `render` knows it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub placeholder: Option<String>,
}

/// What the headers say, before any pixel is decoded.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub format: Format,
    /// Width as stored, before the orientation.
    pub width: u32,
    /// Height as stored.
    pub height: u32,
    pub orientation: crate::orientation::Orientation,
    pub frames: u32,
    pub has_alpha: bool,
    /// The ICC profile, within the limit.
    pub profile: Option<Vec<u8>>,
}

impl Header {
    pub(crate) fn facts(&self) -> Facts {
        let (width, height) = self.orientation.size(self.width, self.height);
        Facts {
            format: self.format,
            width,
            height,
            animated: self.frames > 1,
            frames: self.frames,
            has_alpha: self.has_alpha,
            orientation_applied: self.orientation != crate::orientation::Orientation::default(),
            placeholder: None,
        }
    }
}
