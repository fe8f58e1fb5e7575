//! A picture of the first page.

use std::sync::Arc;

use hayro::hayro_interpret::InterpreterSettings;
use hayro::kurbo::Affine;
use hayro::vello_cpu::color::palette::css::WHITE;
use hayro::vello_cpu::{Pixmap, RasterizerSettings, RenderContext, Resources, TargetInit};
use hayro::{RenderCache, RenderSettings, hayro_interpret, render_into};
use hayro_interpret::hayro_syntax::page::Page;
use hayro_interpret::util::TransformExt;

use crate::{Document, Error, Limits, deadline, pdf, streams};

/// A picture of the first page: upright, cropped, on white.
#[derive(Clone, PartialEq, Eq)]
pub struct Preview {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// The picture as a PNG file (`image/png`): 8 bits, grey where the page has no colour, else RGB.
    pub png: Vec<u8>,
}

/// Renders the first page so that its longer side has `longest_side` pixels, as far as [`Limits::preview_side`]
/// allows. The time counts from when the document was opened.
///
/// # Errors
///
/// [`Error::LimitExceeded`] for pages that are too large or take too much, [`Error::Malformed`] for a document
/// without pages. A page that is partly broken is rendered as far as it goes.
pub fn preview(document: &Document, longest_side: u32, limits: &Limits) -> Result<Preview, Error> {
    let pdf = Arc::clone(&document.pdf);
    let longest_side = longest_side.clamp(1, limits.preview_side.min(u16::MAX.into()));
    let time = limits.time;
    let limits = limits.clone();
    deadline::run(document.begun, time, move || {
        let page = pdf.pages().first();
        let page = page.ok_or(Error::Malformed {
            message: "the document has no pages",
            offset: 0,
        })?;
        render_page(page, longest_side, &limits)
    })
}

fn render_page(page: &Page<'_>, longest_side: u32, limits: &Limits) -> Result<Preview, Error> {
    let too_large = || Error::LimitExceeded {
        limit: "points of a page's side",
        value: limits.page_side as u64,
    };
    let (width, height) = pdf::page_size(page).ok_or_else(too_large)?;
    let longest = width.max(height);
    if longest > limits.page_side {
        return Err(too_large());
    }
    streams::check_page(page, limits)?;
    let scale = f64::from(longest_side) / f64::from(longest);
    let pixels = |side: f32| {
        (f64::from(side) * scale)
            .round()
            .clamp(1.0, f64::from(longest_side)) as u16
    };
    let (across, down) = (pixels(width), pixels(height));
    let stretch = Affine::scale_non_uniform(
        f64::from(across) / f64::from(width),
        f64::from(down) / f64::from(height),
    );
    let pixmap = paint(
        page,
        across,
        down,
        stretch * page.initial_transform(true).to_kurbo(),
    );
    let png = encode(&pixmap)?;
    Ok(Preview {
        width: across.into(),
        height: down.into(),
        png,
    })
}

fn paint(page: &Page<'_>, width: u16, height: u16, transform: Affine) -> Pixmap {
    let mut context = RenderContext::new(width, height);
    let cache = RenderCache::new();
    let settings = InterpreterSettings::default();
    // Hinting is for text that is read on the screen at its own size.
    let render = RenderSettings {
        hinting: false,
        ..RenderSettings::default()
    };
    render_into(page, &cache, &settings, &render, &mut context, transform);
    context.flush();
    let mut pixmap = Pixmap::new(width, height);
    let rasterizer = RasterizerSettings {
        target_init: TargetInit::Clear(WHITE),
        ..RasterizerSettings::default()
    };
    context.render_with(&mut pixmap, &mut Resources::default(), rasterizer);
    pixmap
}

fn encode(pixmap: &Pixmap) -> Result<Vec<u8>, Error> {
    let pixels = pixmap.data_as_u8_slice();
    // The background is opaque, and so is everything painted on it.
    let grey = pixels
        .chunks_exact(4)
        .all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]);
    let samples: Vec<u8> = if grey {
        pixels.chunks_exact(4).map(|pixel| pixel[0]).collect()
    } else {
        pixels
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect()
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, pixmap.width().into(), pixmap.height().into());
    encoder.set_color(if grey {
        png::ColorType::Grayscale
    } else {
        png::ColorType::Rgb
    });
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&samples)?;
        writer.finish()
    });
    written.map_err(|error| Error::Read(std::io::Error::other(error)))?;
    Ok(bytes)
}
