//! Decoded pixels, as the decoders hand them on: not more of them than the renditions need.

/// What the planes of a raster mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    /// One plane.
    Gray,
    /// Three planes, full range (JFIF).
    YCbCr,
    /// Three planes, or one of three channels.
    Rgb,
    /// One plane of four channels; the colours are multiplied with the alpha.
    Rgba,
    /// Four planes, inverted as Adobe stores them.
    Cmyk,
    /// Four planes: inverted CMYK with its first three as YCbCr.
    Ycck,
}

/// Samples of one or more channels, packed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plane {
    pub width: u32,
    pub height: u32,
    pub channels: usize,
    /// How much of it is picture: the last column or row may be covered in part.
    pub extent: (f64, f64),
    pub samples: Vec<u8>,
}

impl Plane {
    pub fn new(width: u32, height: u32, channels: usize, samples: Vec<u8>) -> Self {
        Self {
            width,
            height,
            channels,
            extent: (width.into(), height.into()),
            samples,
        }
    }
}

/// A picture of one or more planes, as stored: not turned.
#[derive(Clone, Debug)]
pub(crate) struct Raster {
    pub model: Model,
    pub planes: Vec<Plane>,
}
