//! PNG: rows are streamed into the reducer, so that a large picture is never held. Text is never read.

use std::io::Cursor;

use ::png::{BitDepth, ColorType, Compression, InterlaceInfo, Transformations};

use crate::{
    Error, Format, Limits,
    facts::Header,
    orientation::{self, Orientation},
    raster::{Plane, Raster},
    reduce::Reducer,
};

fn malformed(message: impl std::fmt::Display) -> Error {
    Error::malformed(Format::Png, message)
}

/// Reads the chunks' headers, and only those contents that matter.
pub(crate) fn header(bytes: &[u8], limits: &Limits) -> Result<Header, Error> {
    let truncated = || malformed("it ends before its header is complete");
    let beginning = bytes.get(..33).ok_or_else(truncated)?;
    if &beginning[12..16] != b"IHDR" {
        return Err(malformed("it does not begin with IHDR"));
    }
    let [w3, w2, w1, w0, h3, h2, h1, h0, _, colour, ..] = beginning[16..] else {
        return Err(truncated());
    };
    let (width, height) = (
        u32::from_be_bytes([w3, w2, w1, w0]),
        u32::from_be_bytes([h3, h2, h1, h0]),
    );
    if width == 0 || height == 0 {
        return Err(malformed("its width or height is 0"));
    }
    limits.check_size(width.into(), height.into())?;
    let mut header = Header {
        format: Format::Png,
        width,
        height,
        orientation: Orientation::default(),
        frames: 1,
        has_alpha: matches!(colour, 4 | 6),
        profile: None,
    };
    let mut at = 8;
    while let Some((length, kind)) = bytes.get(at..).and_then(|rest| rest.split_first_chunk::<4>()) {
        let length = u32::from_be_bytes(*length) as usize;
        let data = kind
            .get(4..)
            .and_then(|rest| rest.get(..length))
            .unwrap_or_default();
        match kind.get(..4) {
            Some(b"tRNS") => header.has_alpha = true,
            Some(b"acTL") => {
                let frames = data.first_chunk().map_or(1, |frames| u32::from_be_bytes(*frames));
                limits.check_frames(frames)?;
                header.frames = frames.max(1);
            }
            Some(b"eXIf") => header.orientation = orientation::from_exif_block(data),
            Some(b"iCCP") => header.profile = profile(data, limits)?,
            Some(b"IEND") | None => break,
            _ => {}
        }
        at = at.saturating_add(length).saturating_add(12);
    }
    Ok(header)
}

/// The profile of an iCCP chunk, inflated no further than the limit.
fn profile(data: &[u8], limits: &Limits) -> Result<Option<Vec<u8>>, Error> {
    let Some(name) = data.iter().take(80).position(|byte| *byte == 0) else {
        return Ok(None);
    };
    let compressed = data.get(name + 2..).unwrap_or_default();
    match fdeflate::decompress_to_vec_bounded(compressed, limits.profile_bytes) {
        Ok(profile) => Ok(Some(profile)),
        Err(fdeflate::BoundedDecompressionError::OutputTooLarge { .. }) => {
            limits.check_profile(limits.profile_bytes + 1)?;
            Ok(None)
        }
        // A broken profile is passed over, like any that cannot be read.
        Err(fdeflate::BoundedDecompressionError::DecompressionError { .. }) => Ok(None),
    }
}

fn decoding(error: ::png::DecodingError, limits: &Limits) -> Error {
    match error {
        ::png::DecodingError::LimitsExceeded => Error::LimitExceeded {
            limit: crate::error::Limit::Memory,
            value: limits.memory_bytes as u64,
            allowed: limits.memory_bytes as u64,
        },
        other => malformed(other),
    }
}

pub(crate) fn decode(bytes: &[u8], wanted: (u32, u32), limits: &Limits) -> Result<Raster, Error> {
    let mut decoder = ::png::Decoder::new_with_limits(
        Cursor::new(bytes),
        ::png::Limits {
            bytes: limits.memory_bytes,
        },
    );
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|error| decoding(error, limits))?;
    let (colour, depth) = reader.output_color_type();
    if depth != BitDepth::Eight {
        return Err(Error::Unsupported {
            what: format!("PNG with {depth:?} bits"),
            install: None,
        });
    }
    let channels = match colour {
        ColorType::Grayscale => 1,
        ColorType::Rgb => 3,
        _ => 4,
    };
    let info = reader.info();
    let size = (info.width, info.height);
    let mut reducer = Reducer::new(size, wanted, channels, !info.interlaced, limits)?;
    let mut expanded = Vec::new();
    let mut y = 0;
    while let Some(row) = reader
        .next_interlaced_row()
        .map_err(|error| decoding(error, limits))?
    {
        let (x, line, step) = match row.interlace() {
            InterlaceInfo::Null(_) => (0, y, 1),
            InterlaceInfo::Adam7(_) => passes(size, y),
        };
        y += 1;
        let mut pixels = row.data();
        if colour == ColorType::GrayscaleAlpha {
            expanded.clear();
            expanded.extend(
                pixels
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .flat_map(|&[grey, a]| [grey, grey, grey, a]),
            );
            pixels = &expanded;
        }
        reducer.add(x, line, step, pixels);
    }
    Ok(reducer.finish())
}

/// Of the rows of an interlaced picture, in the order of the file, where the one with this number lies: first column,
/// row, and distance of its pixels.
fn passes((width, height): (u32, u32), mut number: usize) -> (usize, usize, usize) {
    const ADAM7: [(usize, usize, usize, usize); 7] = [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ];
    let (width, height) = (width as usize, height as usize);
    for (x, y, step, distance) in ADAM7 {
        let rows = if x < width {
            height.saturating_sub(y).div_ceil(distance)
        } else {
            0
        };
        if number < rows {
            return (x, y + number * distance, step);
        }
        number -= rows;
    }
    (0, height, 1)
}

/// Encodes grey, RGB or RGBA.
pub(crate) fn encode(picture: &Plane) -> Result<Vec<u8>, Error> {
    let failed = |error: ::png::EncodingError| Error::Unsupported {
        what: format!("writing PNG ({error})"),
        install: None,
    };
    let mut out = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut out, picture.width, picture.height);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    encoder.set_color(match picture.channels {
        1 => ColorType::Grayscale,
        3 => ColorType::Rgb,
        _ => ColorType::Rgba,
    });
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&picture.samples).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(out)
}
