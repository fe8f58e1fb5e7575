//! GIF: frames are counted without decoding them; the first one is rendered.

use std::io::Cursor;

use crate::{
    Error, Format, Limits, facts::Header, orientation::Orientation, raster::Raster, reduce::Reducer,
};

fn malformed(message: impl std::fmt::Display) -> Error {
    Error::malformed(Format::Gif, message)
}

/// What the blocks say (GIF89a).
struct Blocks {
    frames: u32,
    /// Left, top, width, height of the first frame.
    first: (u16, u16, u16, u16),
    transparent: bool,
}

/// Walks over all blocks. That nothing stands after the last one, not even the trailer, does no harm.
fn blocks(bytes: &[u8], limits: &Limits) -> Result<Blocks, Error> {
    let mut found = Blocks {
        frames: 0,
        first: (0, 0, 0, 0),
        transparent: false,
    };
    let colours = |flags: u8| {
        if flags & 0x80 == 0 {
            0
        } else {
            3 << ((flags & 7) + 1)
        }
    };
    let mut at = 13 + colours(bytes.get(10).copied().unwrap_or_default());
    while let Some(introducer) = bytes.get(at) {
        match introducer {
            0x21 => {
                if let Some([0xF9, 4, flags, ..]) = bytes.get(at + 1..) {
                    // Only what stands before the first frame belongs to it.
                    found.transparent |= found.frames == 0 && flags & 1 == 1;
                }
                at += 2;
            }
            0x2C => {
                let Some(&[x0, x1, y0, y1, w0, w1, h0, h1, flags]) =
                    bytes.get(at + 1..).and_then(<[u8]>::first_chunk)
                else {
                    return Err(malformed("it ends in the middle of a frame"));
                };
                if found.frames == 0 {
                    let number = |low, high| u16::from_le_bytes([low, high]);
                    found.first = (number(x0, x1), number(y0, y1), number(w0, w1), number(h0, h1));
                }
                found.frames += 1;
                limits.check_frames(found.frames)?;
                at += 11 + colours(flags);
            }
            _ => break,
        }
        // Sub-blocks, each with its length before it, up to an empty one.
        loop {
            let &length = bytes
                .get(at)
                .ok_or_else(|| malformed("it ends in the middle of a block"))?;
            at += 1 + usize::from(length);
            if length == 0 {
                break;
            }
        }
    }
    Ok(found)
}

pub(crate) fn header(bytes: &[u8], limits: &Limits) -> Result<Header, Error> {
    let &[w0, w1, h0, h1] = bytes
        .get(6..)
        .and_then(<[u8]>::first_chunk)
        .ok_or_else(|| malformed("it ends in its header"))?;
    let (width, height) = (u16::from_le_bytes([w0, w1]), u16::from_le_bytes([h0, h1]));
    let blocks = blocks(bytes, limits)?;
    if blocks.frames == 0 {
        return Err(malformed("it has no frame"));
    }
    let (left, top, frame_width, frame_height) = blocks.first;
    // Some writers leave the screen empty.
    let (width, height) = if width == 0 || height == 0 {
        (frame_width, frame_height)
    } else {
        (width, height)
    };
    if width == 0 || height == 0 {
        return Err(malformed("its width or height is 0"));
    }
    limits.check_size(width.into(), height.into())?;
    limits.check_size(frame_width.into(), frame_height.into())?;
    let covers = left == 0 && top == 0 && frame_width >= width && frame_height >= height;
    Ok(Header {
        format: Format::Gif,
        width: width.into(),
        height: height.into(),
        orientation: Orientation::default(),
        frames: blocks.frames,
        has_alpha: blocks.transparent || !covers,
        profile: None,
    })
}

pub(crate) fn decode(bytes: &[u8], wanted: (u32, u32), limits: &Limits) -> Result<Raster, Error> {
    let header = header(bytes, limits)?;
    let mut options = ::gif::DecodeOptions::new();
    options.set_color_output(::gif::ColorOutput::Indexed);
    let memory = std::num::NonZeroU64::new(limits.memory_bytes as u64).unwrap_or(std::num::NonZeroU64::MIN);
    options.set_memory_limit(::gif::MemoryLimit::Bytes(memory));
    let mut decoder = options.read_info(Cursor::new(bytes)).map_err(malformed)?;
    let global: Option<Vec<u8>> = decoder.global_palette().map(<[u8]>::to_vec);
    let frame = decoder
        .read_next_frame()
        .map_err(malformed)?
        .ok_or_else(|| malformed("it has no frame"))?;
    let palette = frame
        .palette
        .as_ref()
        .or(global.as_ref())
        .ok_or_else(|| malformed("it has no colours"))?;
    let channels = if header.has_alpha { 4 } else { 3 };
    let colour = |index: u8| {
        let at = usize::from(index) * 3;
        let [r, g, b] = palette
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .unwrap_or_default();
        [r, g, b, if frame.transparent == Some(index) { 0 } else { 255 }]
    };
    let colours: Vec<[u8; 4]> = (0..=255).map(colour).collect();
    let mut reducer = Reducer::new((header.width, header.height), wanted, channels, false, limits)?;
    let mut row = Vec::new();
    for (y, indices) in frame.buffer.chunks(usize::from(frame.width).max(1)).enumerate() {
        row.clear();
        for index in indices {
            row.extend_from_slice(&colours[usize::from(*index)][..channels]);
        }
        reducer.add(frame.left.into(), usize::from(frame.top) + y, 1, &row);
    }
    Ok(reducer.finish())
}
