//! WebP: the container is read here, the pictures in it by libwebp, which makes them small while it decodes.

mod library;

pub(crate) use library::encode;

use crate::{
    Error, Format, Limits,
    facts::Header,
    orientation::{self, Orientation},
    raster::Raster,
    reduce::Reducer,
};

fn malformed(message: impl std::fmt::Display) -> Error {
    Error::malformed(Format::Webp, message)
}

/// A picture in the container: still, or the first frame of an animation.
struct Frame<'a> {
    /// What libwebp takes: the file, or a frame's chunks.
    data: &'a [u8],
    left: usize,
    top: usize,
    width: u32,
    height: u32,
    lossless: bool,
}

struct Container<'a> {
    header: Header,
    frame: Frame<'a>,
}

/// The chunks of a part of the file: name, content, and the content's place.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (name, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let content = after.get(..length).unwrap_or(after);
        rest = after.get(length + length % 2..).unwrap_or_default();
        Some((name, content))
    })
}

fn u24(bytes: &[u8]) -> Option<u32> {
    let &[a, b, c] = bytes.first_chunk()?;
    Some(u32::from_le_bytes([a, b, c, 0]))
}

/// Width, height, lossless and alpha of a VP8 or VP8L chunk.
fn picture(name: [u8; 4], content: &[u8]) -> Option<(u32, u32, bool, bool)> {
    match &name {
        b"VP8 " => {
            let &[_, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1] = content.first_chunk()? else {
                return None;
            };
            let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
            Some((side(w0, w1), side(h0, h1), false, false))
        }
        b"VP8L" => {
            let (&[0x2F], bits) = content.split_first_chunk::<1>()? else {
                return None;
            };
            let bits = u32::from_le_bytes(*bits.first_chunk()?);
            Some((
                (bits & 0x3FFF) + 1,
                (bits >> 14 & 0x3FFF) + 1,
                true,
                bits >> 28 & 1 == 1,
            ))
        }
        _ => None,
    }
}

fn container<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Container<'a>, Error> {
    let short = || malformed("it ends before its first picture");
    let said = bytes.get(4..8).and_then(<[u8]>::first_chunk);
    let said = said.map_or(0, |&said| u64::from(u32::from_le_bytes(said)));
    // The last chunk's padding may be missing.
    if said + 8 > bytes.len() as u64 + 1 {
        return Err(malformed(format!(
            "it is {} bytes long and says {}",
            bytes.len(),
            said + 8
        )));
    }
    let mut canvas = None;
    let mut still = None;
    let mut first: Option<Frame<'a>> = None;
    let mut header = Header {
        format: Format::Webp,
        width: 0,
        height: 0,
        orientation: Orientation::default(),
        frames: 0,
        has_alpha: false,
        profile: None,
    };
    for (name, content) in chunks(bytes.get(12..).unwrap_or_default()) {
        match name {
            b"VP8X" if canvas.is_none() => {
                let flags = *content.first().ok_or_else(short)?;
                let side = |at: usize| {
                    content
                        .get(at..)
                        .and_then(u24)
                        .map(|side| side + 1)
                        .ok_or_else(short)
                };
                canvas = Some((side(4)?, side(7)?));
                header.has_alpha = flags & 0x10 != 0;
            }
            b"VP8 " | b"VP8L" if still.is_none() => {
                still = Some(picture(*name, content).ok_or_else(|| malformed("a picture without a header"))?);
            }
            b"ANMF" => {
                header.frames += 1;
                limits.check_frames(header.frames)?;
                if first.is_none() {
                    first =
                        Some(animation_frame(content).ok_or_else(|| malformed("a frame without a picture"))?);
                }
            }
            b"ICCP" if header.profile.is_none() => {
                limits.check_profile(content.len())?;
                header.profile = Some(content.to_vec());
            }
            b"EXIF" => header.orientation = orientation::from_exif_block(content),
            _ => {}
        }
    }
    let frame = match (still, first) {
        (Some((width, height, lossless, alpha)), _) => {
            header.frames = 1;
            if canvas.is_none() {
                header.has_alpha = alpha;
            }
            Frame {
                data: bytes,
                left: 0,
                top: 0,
                width,
                height,
                lossless,
            }
        }
        (None, Some(frame)) => frame,
        (None, None) => return Err(short()),
    };
    (header.width, header.height) = canvas.unwrap_or((frame.width, frame.height));
    if frame.width == 0 || frame.height == 0 {
        return Err(malformed("its width or height is 0"));
    }
    limits.check_size(header.width.into(), header.height.into())?;
    limits.check_size(frame.width.into(), frame.height.into())?;
    Ok(Container { header, frame })
}

fn animation_frame(content: &[u8]) -> Option<Frame<'_>> {
    let left = u24(content)? as usize * 2;
    let top = u24(content.get(3..)?)? as usize * 2;
    let data = content.get(16..)?;
    let (name, picture_data) = chunks(data).find(|(name, _)| matches!(*name, b"VP8 " | b"VP8L"))?;
    let (width, height, lossless, _) = picture(*name, picture_data)?;
    Some(Frame {
        data,
        left,
        top,
        width,
        height,
        lossless,
    })
}

pub(crate) fn header(bytes: &[u8], limits: &Limits) -> Result<Header, Error> {
    container(bytes, limits).map(|container| container.header)
}

pub(crate) fn decode(bytes: &[u8], wanted: (u32, u32), limits: &Limits) -> Result<Raster, Error> {
    let Container { header, frame } = container(bytes, limits)?;
    if frame.lossless {
        // libwebp holds all pixels of a lossless picture.
        limits.check_memory(u64::from(frame.width) * u64::from(frame.height) * 4)?;
    }
    let whole = (frame.left, frame.top, frame.width, frame.height) == (0, 0, header.width, header.height);
    if whole {
        return library::decode(
            frame.data,
            (frame.width, frame.height),
            wanted,
            frame.lossless,
            header.has_alpha,
            limits,
        );
    }
    // The rest of the canvas is transparent.
    limits.check_memory(u64::from(frame.width) * u64::from(frame.height) * 8)?;
    let pixels = library::decode_rgba(frame.data, (frame.width, frame.height))?;
    let mut reducer = Reducer::new((header.width, header.height), wanted, 4, false, limits)?;
    for (y, row) in pixels.chunks(frame.width as usize * 4).enumerate() {
        reducer.add(frame.left, frame.top + y, 1, row);
    }
    Ok(reducer.finish())
}
