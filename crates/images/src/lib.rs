//! Pictures: what they are, and smaller ones of them.
//!
//! [`inspect`] reads headers, [`render`] decodes a picture once and makes any number of smaller ones of it, turned
//! upright, in sRGB, without metadata. Both take bytes from strangers: whatever is in them, the answer is a result or
//! an [`Error`], in bounded time and memory ([`Limits`]). Nothing here knows of files, processes or the rest of
//! Cloakroom.
//!
//! The work is kept off the large picture: a JPEG is decoded at a fraction of its size and stays in its own colour
//! space ([decision 11](../../../docs/decisions/0011-own-jpeg-decoder.md)), the rows of other formats are averaged as
//! they come, and resampling, colour conversion and turning see small pictures only.

#![expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::many_single_char_names,
    reason = "samples and coefficients are small, their ranges are kept where they arise, and r, g, b are their names"
)]

mod bmp;
mod colour;
mod error;
mod external;
mod facts;
mod gif;
mod heif;
mod jpeg;
mod layout;
mod limits;
mod orientation;
mod png;
mod raster;
mod reduce;
mod render;
mod rendition;
mod resample;
mod tiff;
mod webp;

pub use error::{Error, Limit};
pub use external::{ExternalDecoder, external_decoders};
pub use facts::{Facts, Format};
pub use limits::Limits;
pub use render::{inspect, render, render_external};
pub use rendition::{Fit, OutputFormat, Picture, Rendered, Rendition};
