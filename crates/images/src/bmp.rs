//! Windows bitmaps: 1 to 32 bits, bit fields, run lengths, upside down or not.

use crate::{
    Error, Format, Limits, facts::Header, orientation::Orientation, raster::Raster, reduce::Reducer,
};

fn malformed(message: impl std::fmt::Display) -> Error {
    Error::malformed(Format::Bmp, message)
}

const RGB: u32 = 0;
const RUNS_OF_8: u32 = 1;
const RUNS_OF_4: u32 = 2;
const BIT_FIELDS: u32 = 3;
const ALPHA_BIT_FIELDS: u32 = 6;

struct Bitmap<'a> {
    width: u32,
    height: u32,
    upside_down: bool,
    bits: u32,
    compression: u32,
    /// Red, green, blue, alpha.
    masks: [u32; 4],
    /// Blue, green, red and, unless old, one more byte.
    palette: &'a [u8],
    palette_entry: usize,
    pixels: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Bitmap<'a>, Error> {
    let bitmap = parse(bytes).ok_or_else(|| malformed("it ends in its header"))?;
    if bitmap.width == 0 || bitmap.height == 0 {
        return Err(malformed("its width or height is 0"));
    }
    limits.check_size(bitmap.width.into(), bitmap.height.into())?;
    let possible = match bitmap.compression {
        RGB => matches!(bitmap.bits, 1 | 2 | 4 | 8 | 16 | 24 | 32),
        RUNS_OF_8 => bitmap.bits == 8,
        RUNS_OF_4 => bitmap.bits == 4,
        BIT_FIELDS | ALPHA_BIT_FIELDS => matches!(bitmap.bits, 16 | 32),
        _ => false,
    };
    if possible {
        Ok(bitmap)
    } else {
        let what = format!(
            "BMP with {} bits and compression {}",
            bitmap.bits, bitmap.compression
        );
        Err(Error::Unsupported { what, install: None })
    }
}

fn parse(bytes: &[u8]) -> Option<Bitmap<'_>> {
    let pixels_at = u32_at(bytes, 10)? as usize;
    let header = u32_at(bytes, 14)?;
    let pixels = bytes.get(pixels_at..).unwrap_or_default();
    let after = 14 + header as usize;
    if header == 12 {
        let palette = bytes.get(after..pixels_at.max(after))?;
        return Some(Bitmap {
            width: u16_at(bytes, 18)?,
            height: u16_at(bytes, 20)?,
            upside_down: true,
            bits: u16_at(bytes, 24)?,
            compression: RGB,
            masks: [0; 4],
            palette,
            palette_entry: 3,
            pixels,
        });
    }
    let height = u32_at(bytes, 22)?.cast_signed();
    let (bits, compression) = (u16_at(bytes, 28)?, u32_at(bytes, 30)?);
    let mut masks = if bits == 16 {
        [0x7C00, 0x3E0, 0x1F, 0]
    } else {
        [0xFF_0000, 0xFF00, 0xFF, 0]
    };
    let mut palette_at = after;
    if matches!(compression, BIT_FIELDS | ALPHA_BIT_FIELDS) {
        // In the header from its second version on, behind it in the first.
        let count = if header >= 56 || compression == ALPHA_BIT_FIELDS {
            4
        } else {
            3
        };
        for (index, mask) in masks.iter_mut().take(count).enumerate() {
            *mask = u32_at(bytes, 54 + index * 4)?;
        }
        if header == 40 {
            palette_at += count * 4;
        }
    }
    Some(Bitmap {
        width: u32_at(bytes, 18)?.cast_signed().unsigned_abs(),
        height: height.unsigned_abs(),
        upside_down: height > 0,
        bits,
        compression,
        masks,
        palette: bytes.get(palette_at..).unwrap_or_default(),
        palette_entry: 4,
        pixels,
    })
}

impl Bitmap<'_> {
    fn has_alpha(&self) -> bool {
        self.bits > 8 && self.masks[3] != 0
    }

    fn colour(&self, index: usize) -> [u8; 3] {
        let entry = self
            .palette
            .get(index * self.palette_entry..)
            .and_then(<[u8]>::first_chunk);
        entry.map_or([0; 3], |&[b, g, r]| [r, g, b])
    }

    /// Appends the pixels of a stored row.
    fn row(&self, line: &[u8], channels: usize, row: &mut Vec<u8>) {
        let bits = self.bits as usize;
        match bits {
            24 => row.extend(line.as_chunks::<3>().0.iter().flat_map(|&[b, g, r]| [r, g, b])),
            16 | 32 => {
                for pixel in line.chunks_exact(bits / 8) {
                    let value = pixel
                        .iter()
                        .rev()
                        .fold(0, |value, byte| value << 8 | u32::from(*byte));
                    row.extend(self.masks.iter().take(channels).map(|mask| field(value, *mask)));
                }
            }
            _ => {
                for x in 0..self.width as usize {
                    let byte = line.get(x * bits / 8).copied().unwrap_or_default();
                    let index = usize::from(byte) >> (8 - bits - x * bits % 8) & ((1 << bits) - 1);
                    row.extend(self.colour(index));
                }
            }
        }
    }

    /// The indices of a picture of run lengths, one byte each, in the order of the file.
    fn runs(&self) -> Result<Vec<u8>, Error> {
        let (width, height) = (self.width as usize, self.height as usize);
        let mut indices = vec![0; width * height];
        let (mut x, mut y, mut at) = (0, 0, 0);
        let nibbles = self.compression == RUNS_OF_4;
        let early = || malformed("it ends before its pixels do");
        while y < height {
            let &[count, value] = self
                .pixels
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .ok_or_else(early)?;
            at += 2;
            let index_at = |byte: u8, place: usize| match (nibbles, place % 2) {
                (false, _) => byte,
                (true, 0) => byte >> 4,
                (true, _) => byte & 15,
            };
            let mut put = |x: usize, index: u8| {
                if x < width {
                    indices[y * width + x] = index;
                }
            };
            match (count, value) {
                (0, 0) => (x, y) = (0, y + 1),
                (0, 1) => break,
                (0, 2) => {
                    let &[right, up] = self
                        .pixels
                        .get(at..)
                        .and_then(<[u8]>::first_chunk)
                        .ok_or_else(early)?;
                    at += 2;
                    (x, y) = (x + usize::from(right), y + usize::from(up));
                }
                (0, count) => {
                    let count = usize::from(count);
                    let bytes = if nibbles { count.div_ceil(2) } else { count };
                    let literal = self.pixels.get(at..at + bytes).ok_or_else(early)?;
                    for place in 0..count {
                        put(
                            x + place,
                            index_at(literal[if nibbles { place / 2 } else { place }], place),
                        );
                    }
                    x += count;
                    at += bytes + bytes % 2;
                }
                (count, value) => {
                    for place in 0..usize::from(count) {
                        put(x + place, index_at(value, place));
                    }
                    x += usize::from(count);
                }
            }
        }
        Ok(indices)
    }
}

/// The bits of a mask as a byte.
fn field(value: u32, mask: u32) -> u8 {
    if mask == 0 {
        return 0;
    }
    let shifted = u64::from(value & mask) >> mask.trailing_zeros();
    let largest = u64::from(mask >> mask.trailing_zeros());
    ((shifted * 255 + largest / 2) / largest) as u8
}

pub(crate) fn header(bytes: &[u8], limits: &Limits) -> Result<Header, Error> {
    let bitmap = read(bytes, limits)?;
    Ok(Header {
        format: Format::Bmp,
        width: bitmap.width,
        height: bitmap.height,
        orientation: Orientation::default(),
        frames: 1,
        has_alpha: bitmap.has_alpha(),
        profile: None,
    })
}

pub(crate) fn decode(bytes: &[u8], wanted: (u32, u32), limits: &Limits) -> Result<Raster, Error> {
    let bitmap = read(bytes, limits)?;
    let (width, height) = (bitmap.width as usize, bitmap.height as usize);
    let channels = if bitmap.has_alpha() { 4 } else { 3 };
    let place = |row: usize| if bitmap.upside_down { height - 1 - row } else { row };
    let mut row = Vec::with_capacity(width * channels);
    let mut reducer = Reducer::new((bitmap.width, bitmap.height), wanted, channels, false, limits)?;
    if matches!(bitmap.compression, RUNS_OF_8 | RUNS_OF_4) {
        limits.check_memory((width * height) as u64)?;
        for (y, indices) in bitmap.runs()?.chunks(width).enumerate() {
            row.clear();
            row.extend(
                indices
                    .iter()
                    .flat_map(|index| bitmap.colour(usize::from(*index))),
            );
            reducer.add(0, place(y), 1, &row);
        }
        return Ok(reducer.finish());
    }
    let used = (width * bitmap.bits as usize).div_ceil(8);
    let stride = used.div_ceil(4) * 4;
    for y in 0..height {
        let line = bitmap.pixels.get(y * stride..y * stride + used);
        let line = line.ok_or_else(|| malformed(format!("it ends before row {y} of {height}")))?;
        row.clear();
        bitmap.row(line, channels, &mut row);
        reducer.add(0, place(y), 1, &row);
    }
    Ok(reducer.finish())
}
