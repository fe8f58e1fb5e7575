//! Documents: how many pages a PDF has and a picture of the first, and which office format a container is.
//!
//! PDF is read and rendered by `hayro`, which is written in safe Rust and knows no limits: a PDF can be a decompression
//! bomb, a maze, or a program that draws for hours. This crate puts the limits around it. What can be known before
//! work begins is measured before ([`Limits::stream_bytes`], [`Limits::pages`], ..), the rest ends at a deadline. What
//! the interpreter allocates until then is for the memory limit of the process that this runs in.
//!
//! Office documents are only recognised: their exact media type is in the container, not in the name. Rendering them
//! takes an office suite.

#![expect(
    clippy::cast_sign_loss,
    reason = "what is cast was found to be positive just before"
)]

mod armour;
mod cfb;
mod deadline;
mod error;
mod office;
mod pdf;
mod preview;
mod streams;
mod text;
mod zip;

use std::time::Duration;

pub use error::Error;
pub use office::{Office, recognise_office};
pub use pdf::{Document, inspect};
pub use preview::{Preview, preview};

/// How much a document may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Objects in the document, pages among them.
    pub objects: usize,
    /// Pages. Each takes two kilobytes once the document is open.
    pub pages: usize,
    /// Bytes of one stream (contents of a page, a font, an object stream) after decompression.
    pub stream_bytes: u64,
    /// Bytes of all streams together that are decompressed for the first page, one after the other.
    pub page_bytes: u64,
    /// Bytes that a cross-reference stream may have after decompression.
    pub reference_bytes: u64,
    /// Pixels of one image on the first page.
    pub image_pixels: u64,
    /// The longer side of a page, in points (1/72 inch), up to which it is rendered.
    pub page_side: f32,
    /// The longer side of a preview in pixels.
    pub preview_side: u32,
    /// Processor time of this process for opening and rendering together. Of the wall clock's time eight times as
    /// much may pass, for on a busy machine others get most of it.
    pub time: Duration,
}

impl Default for Limits {
    /// 500,000 objects, 100,000 pages, 48 MiB a stream and 384 MiB a page, 4 MiB of references, 50 million pixels an
    /// image, pages up to 2,000 inches, previews up to 4,096 pixels, one second.
    fn default() -> Self {
        Self {
            objects: 500_000,
            pages: 100_000,
            stream_bytes: 48 << 20,
            page_bytes: 384 << 20,
            reference_bytes: 4 << 20,
            image_pixels: 50_000_000,
            page_side: 144_000.0,
            preview_side: 4_096,
            time: Duration::from_secs(1),
        }
    }
}
