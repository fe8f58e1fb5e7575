//! Smaller pictures of pictures: which are made of every image of a collection, and what may be asked for besides.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use crate::checksum::Sha256Digest;
use crate::error::{ErrorCode, Refusal};

/// Longest side of a picture that we make, in pixels.
pub const SIDE_MAX: u32 = 4_096;
/// Pictures that are made of every image of a collection, at most: with them the sidecar must still fit.
pub const THUMBNAILS_MAX: usize = 8;
/// How the names of thumbnails begin.
const THUMBNAIL_PREFIX: &str = "thumbnail-";

/// How a picture gets into the box that it is made for. None of them is ever enlarged but by [`Self::Fill`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fit {
    /// As large as fits into the box, in its own proportions.
    #[default]
    Contain,
    /// Covers the box in its own proportions; what stands over is cut off on both sides. Of a picture that is smaller than
    /// the box, the largest part with the proportions of the box.
    Cover,
    /// Exactly the box, stretched.
    Fill,
}

impl Fit {
    /// Every way.
    pub const ALL: &'static [Self] = &[Self::Contain, Self::Cover, Self::Fill];

    /// The name in configuration and on the wire: that of CSS `object-fit`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contain => "contain",
            Self::Cover => "cover",
            Self::Fill => "fill",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|fit| fit.as_str() == text)
    }
}

/// What a picture is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// JPEG, or where there is alpha whichever format keeps it.
    #[default]
    Auto,
    /// `image/jpeg`; alpha is laid over white.
    Jpeg,
    /// `image/webp`.
    Webp,
    /// `image/png`.
    Png,
}

impl ImageFormat {
    /// Every format.
    pub const ALL: &'static [Self] = &[Self::Auto, Self::Jpeg, Self::Webp, Self::Png];

    /// The name in configuration and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
            Self::Png => "png",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.as_str() == text)
    }
}

/// A picture that is made of every image of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// The name of the derivative: `thumbnail-256`.
    pub name: String,
    /// Width of the box, in pixels.
    pub width: u32,
    /// Height of the box, in pixels.
    pub height: u32,
    /// How it gets into the box.
    pub fit: Fit,
}

impl FromStr for Thumbnail {
    type Err = String;

    /// `256` (a square), `1024x768`, `512x512:cover`.
    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| match text.parse() {
            Ok(side @ 1..=SIDE_MAX) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(side),
            _ => Err(format!("{text:?} is no side of 1 to {SIDE_MAX} pixels")),
        };
        let (size, fit) = match text.split_once(':') {
            Some((size, fit)) => {
                let fit =
                    Fit::parse(fit).ok_or_else(|| format!("{fit:?} is none of contain, cover and fill"))?;
                (size, fit)
            }
            None => (text, Fit::default()),
        };
        let (width, height) = match size.split_once('x') {
            Some((width, height)) => (side(width)?, side(height)?),
            None => (side(size)?, side(size)?),
        };
        let mut thumbnail = Self {
            name: String::new(),
            width,
            height,
            fit,
        };
        thumbnail.name = format!("{THUMBNAIL_PREFIX}{thumbnail}").replace(':', "-");
        Ok(thumbnail)
    }
}

impl fmt::Display for Thumbnail {
    /// As it is written in configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.width)?;
        if self.height != self.width {
            write!(f, "x{}", self.height)?;
        }
        if self.fit == Fit::default() {
            return Ok(());
        }
        write!(f, ":{}", self.fit.as_str())
    }
}

/// What a collection says of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePolicy {
    /// What is made of every image.
    pub thumbnails: Vec<Thumbnail>,
    /// What thumbnails are written as, and variants that say nothing else.
    pub format: ImageFormat,
    /// How good they are, 1 to 100; PNG knows no quality.
    pub quality: u8,
    /// Whether others may be asked for, through signed URLs.
    pub variants: bool,
    /// How many of these are kept of one file.
    pub variants_max: u32,
}

impl Default for ImagePolicy {
    fn default() -> Self {
        Self {
            thumbnails: Vec::new(),
            format: ImageFormat::Auto,
            quality: 80,
            variants: false,
            variants_max: 50,
        }
    }
}

/// One picture to be made of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rendition {
    /// Width of the box, in pixels; `None`: as follows from the height.
    pub width: Option<u32>,
    /// Height of the box, in pixels; `None`: as follows from the width.
    pub height: Option<u32>,
    /// How the picture gets into the box.
    pub fit: Fit,
    /// What it is written as.
    pub format: ImageFormat,
    /// How good it is, 1 to 100; PNG knows no quality.
    pub quality: u8,
}

impl Rendition {
    /// That of a thumbnail.
    pub fn of(thumbnail: &Thumbnail, policy: &ImagePolicy) -> Self {
        Self {
            width: Some(thumbnail.width),
            height: Some(thumbnail.height),
            fit: thumbnail.fit,
            format: policy.format,
            quality: policy.quality,
        }
    }

    /// Whether it is within our limits.
    ///
    /// # Errors
    /// `invalid_request`, naming the field.
    pub fn admit(&self) -> Result<(), Refusal> {
        let refused = |field: &str, message: String| {
            Err(Refusal::new(ErrorCode::InvalidRequest, message).with("field", field))
        };
        for (field, side) in [("w", self.width), ("h", self.height)] {
            if side.is_some_and(|side| !(1..=SIDE_MAX).contains(&side)) {
                return refused(field, format!("{field} is 1 to {SIDE_MAX} pixels."));
            }
        }
        match (self.width, self.height) {
            (None, None) => return refused("w", "Say w, h or both.".to_owned()),
            (Some(_), Some(_)) => {}
            _ if self.fit != Fit::Contain => {
                let fit = self.fit.as_str();
                return refused("fit", format!("fit={fit} needs both w and h."));
            }
            _ => {}
        }
        if !(1..=100).contains(&self.quality) {
            return refused("quality", "quality is 1 to 100.".to_owned());
        }
        Ok(())
    }

    /// The query of a variant's URL, without what signs it. One spelling alone: what is signed is this text.
    pub fn query(&self) -> String {
        let mut query = String::new();
        for (name, side) in [("w", self.width), ("h", self.height)] {
            if let Some(side) = side {
                // Writing to a String cannot fail.
                let _ = write!(query, "{name}={side}&");
            }
        }
        let (fit, format) = (self.fit.as_str(), self.format.as_str());
        let _ = write!(query, "fit={fit}&format={format}&quality={}", self.quality);
        query
    }

    /// The name of the derivative: equal for equal renditions, of whatever file. `sha256` is the digest of [`Self::query`].
    pub fn name(sha256: Sha256Digest) -> String {
        let digest = sha256.to_string();
        format!("{VARIANT_PREFIX}{}", digest.get(..16).unwrap_or(&digest))
    }
}

/// How the names of variants begin.
pub const VARIANT_PREFIX: &str = "variant-";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thumbnails_as_they_are_written() {
        let table = [
            ("256", "256", "thumbnail-256", (256, 256, Fit::Contain)),
            (
                "1024x768",
                "1024x768",
                "thumbnail-1024x768",
                (1024, 768, Fit::Contain),
            ),
            (
                "512x512:cover",
                "512:cover",
                "thumbnail-512-cover",
                (512, 512, Fit::Cover),
            ),
            (
                "10x4096:fill",
                "10x4096:fill",
                "thumbnail-10x4096-fill",
                (10, 4096, Fit::Fill),
            ),
            ("64:contain", "64", "thumbnail-64", (64, 64, Fit::Contain)),
        ];
        for (text, shown, name, (width, height, fit)) in table {
            let thumbnail: Thumbnail = text.parse().expect(text);
            let name = name.to_owned();
            assert_eq!(thumbnail.to_string(), shown);
            assert_eq!(shown.parse(), Ok(thumbnail.clone()));
            assert_eq!(
                thumbnail,
                Thumbnail {
                    name,
                    width,
                    height,
                    fit
                }
            );
        }
        for text in [
            "",
            "0",
            "4097",
            "x",
            "1x",
            "x1",
            "1x2x3",
            "+5",
            "5 ",
            "5:",
            "5:zoom",
            "99999999999",
            "-1",
        ] {
            assert!(text.parse::<Thumbnail>().is_err(), "{text}");
        }
    }

    #[test]
    fn renditions_have_limits() {
        let fine = Rendition {
            width: Some(320),
            height: None,
            fit: Fit::Contain,
            format: ImageFormat::Auto,
            quality: 80,
        };
        assert_eq!(fine.query(), "w=320&fit=contain&format=auto&quality=80");
        let (width, height) = (Some(SIDE_MAX), Some(1));
        for fit in Fit::ALL {
            let both = Rendition {
                width,
                height,
                fit: *fit,
                ..fine
            };
            assert!(both.admit().is_ok());
        }
        let table = [
            (Rendition { width: None, ..fine }, "w"),
            (
                Rendition {
                    width: Some(0),
                    ..fine
                },
                "w",
            ),
            (
                Rendition {
                    width: Some(SIDE_MAX + 1),
                    ..fine
                },
                "w",
            ),
            (
                Rendition {
                    height: Some(0),
                    ..fine
                },
                "h",
            ),
            (
                Rendition {
                    height: Some(u32::MAX),
                    ..fine
                },
                "h",
            ),
            (
                Rendition {
                    fit: Fit::Cover,
                    ..fine
                },
                "fit",
            ),
            (
                Rendition {
                    fit: Fit::Fill,
                    ..fine
                },
                "fit",
            ),
            (Rendition { quality: 0, ..fine }, "quality"),
            (Rendition { quality: 101, ..fine }, "quality"),
        ];
        assert!(fine.admit().is_ok());
        for (rendition, field) in table {
            let refusal = rendition.admit().expect_err(field);
            assert_eq!(refusal.details["field"], field, "{rendition:?}");
        }
    }

    fn renditions() -> impl Strategy<Value = Rendition> {
        let side = || prop::option::of(1..=SIDE_MAX);
        let fit = prop::sample::select(Fit::ALL);
        let format = prop::sample::select(ImageFormat::ALL);
        (side(), side(), fit, format, 1_u8..=100).prop_map(|(width, height, fit, format, quality)| {
            Rendition {
                width,
                height,
                fit,
                format,
                quality,
            }
        })
    }

    proptest! {
        #[test]
        fn renditions_that_differ_are_spelled_differently(one in renditions(), other in renditions()) {
            prop_assert_eq!(one.query() == other.query(), one == other);
        }
    }
}
