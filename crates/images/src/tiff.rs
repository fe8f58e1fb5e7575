//! TIFF and BigTIFF, strip by strip or tile by tile; the first page is rendered.

use std::{borrow::Cow, io::Cursor};

use ::tiff::{
    ColorType, TiffError,
    decoder::{ChunkType, Decoder, DecodingResult},
    tags::Tag,
};

use crate::{
    Error, Format, Limits,
    facts::Header,
    orientation::{self, Entry, Orientation},
    raster::{Model, Raster},
    reduce::Reducer,
};

fn failed(error: TiffError, limits: &Limits) -> Error {
    match error {
        TiffError::UnsupportedError(what) => Error::Unsupported {
            what: format!("this TIFF ({what})"),
            install: None,
        },
        TiffError::LimitsExceeded => Error::LimitExceeded {
            limit: crate::error::Limit::Memory,
            value: limits.memory_bytes as u64,
            allowed: limits.memory_bytes as u64,
        },
        other => Error::malformed(Format::Tiff, other),
    }
}

struct Page<'a> {
    decoder: Decoder<Cursor<Cow<'a, [u8]>>>,
    header: Header,
    colour: ColorType,
    /// The samples are indices.
    palette: bool,
}

/// The tiff crate does not read pictures with a palette. As grey it reads them, and the grey values are the indices.
fn as_grey(bytes: &[u8]) -> Option<Vec<u8>> {
    const PHOTOMETRIC: u16 = 262;
    let Entry { at, little } = orientation::entry(bytes, PHOTOMETRIC)?;
    let (palette, grey) = if little {
        ([3, 0], [1, 0])
    } else {
        ([0, 3], [0, 1])
    };
    if bytes.get(at + 8..at + 10)? != palette {
        return None;
    }
    let mut grey_bytes = bytes.to_vec();
    grey_bytes[at + 8..at + 10].copy_from_slice(&grey);
    Some(grey_bytes)
}

fn page<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Page<'a>, Error> {
    let failed = |error| failed(error, limits);
    let grey = as_grey(bytes);
    let palette = grey.is_some();
    let bytes = grey.map_or(Cow::Borrowed(bytes), Cow::Owned);
    let mut bounds = ::tiff::decoder::Limits::default();
    bounds.decoding_buffer_size = limits.memory_bytes / 2;
    bounds.intermediate_buffer_size = limits.memory_bytes / 4;
    bounds.ifd_value_size = limits.profile_bytes.max(1 << 20);
    let mut decoder = Decoder::new(Cursor::new(bytes))
        .map_err(failed)?
        .with_limits(bounds);
    let (width, height) = decoder.dimensions().map_err(failed)?;
    if width == 0 || height == 0 {
        return Err(Error::malformed(Format::Tiff, "its width or height is 0"));
    }
    limits.check_size(width.into(), height.into())?;
    let colour = with_alpha(decoder.colortype().map_err(failed)?, &mut decoder);
    let orientation = decoder
        .find_tag_unsigned::<u16>(Tag::Orientation)
        .ok()
        .flatten()
        .unwrap_or(1);
    let profile = decoder
        .find_tag(Tag::IccProfile)
        .ok()
        .flatten()
        .and_then(|value| value.into_u8_vec().ok());
    if let Some(profile) = &profile {
        limits.check_profile(profile.len())?;
    }
    let header = Header {
        format: Format::Tiff,
        width,
        height,
        orientation: Orientation::from_exif(orientation),
        frames: 1,
        has_alpha: matches!(colour, ColorType::RGBA(_) | ColorType::GrayA(_)),
        profile,
    };
    Ok(Page {
        decoder,
        header,
        colour,
        palette,
    })
}

/// The tiff crate takes grey with alpha for two bands that mean nothing.
fn with_alpha(colour: ColorType, decoder: &mut Decoder<Cursor<Cow<'_, [u8]>>>) -> ColorType {
    const BLACK_IS_ZERO: u16 = 1;
    let ColorType::Multiband {
        bit_depth,
        num_samples: 2,
    } = colour
    else {
        return colour;
    };
    let mut tag = |tag| decoder.find_tag_unsigned_vec::<u16>(tag).ok().flatten();
    let grey = tag(Tag::PhotometricInterpretation).as_deref() == Some(&[BLACK_IS_ZERO]);
    // ExtraSamples: 1 and 2 are alpha, multiplied with the colours or not.
    if grey && matches!(tag(Tag::ExtraSamples).as_deref(), Some([1 | 2])) {
        ColorType::GrayA(bit_depth)
    } else {
        colour
    }
}

pub(crate) fn header(bytes: &[u8], limits: &Limits) -> Result<Header, Error> {
    page(bytes, limits).map(|page| page.header)
}

pub(crate) fn decode(bytes: &[u8], wanted: (u32, u32), limits: &Limits) -> Result<Raster, Error> {
    let failed = |error| failed(error, limits);
    let Page {
        mut decoder,
        header,
        colour,
        palette,
    } = page(bytes, limits)?;
    let (width, height) = (header.width, header.height);
    let converter = Converter::new(&mut decoder, colour, palette, limits)?;
    let (chunk_width, chunk_height) = decoder.chunk_dimensions();
    if chunk_width == 0 || chunk_height == 0 {
        return Err(Error::malformed(Format::Tiff, "its strips or tiles are empty"));
    }
    let strips = decoder.get_chunk_type() == ChunkType::Strip;
    let across = width.div_ceil(chunk_width);
    let per_plane = across * height.div_ceil(chunk_height);
    let planar = decoder
        .find_tag_unsigned::<u16>(Tag::PlanarConfiguration)
        .ok()
        .flatten()
        == Some(2);
    let planes = if planar { converter.samples as u32 } else { 1 };
    let mut reducer = Reducer::new((width, height), wanted, converter.channels, strips, limits)?;
    if converter.inks {
        reducer = reducer.without_alpha();
    }
    let mut row = Vec::new();
    for chunk in 0..per_plane {
        let (left, top) = (
            (chunk % across * chunk_width) as usize,
            (chunk / across * chunk_height) as usize,
        );
        let mut parts = Vec::with_capacity(planes as usize);
        for plane in 0..planes {
            let index = chunk + plane * per_plane;
            parts.push(bytes_of(decoder.read_chunk(index).map_err(failed)?)?);
        }
        let (data_width, data_height) = decoder.chunk_data_dimensions(chunk);
        for y in 0..data_height as usize {
            row.clear();
            converter.row(&parts, y, data_width as usize, &mut row);
            reducer.add(left, top + y, 1, &row);
        }
    }
    let mut raster = reducer.finish();
    if converter.inks {
        split_inks(&mut raster);
    }
    Ok(raster)
}

/// Samples of 8 bits or less as they are, of 16 bits by their upper half.
fn bytes_of(result: DecodingResult) -> Result<Vec<u8>, Error> {
    match result {
        DecodingResult::U8(samples) => Ok(samples),
        DecodingResult::U16(samples) => Ok(samples.into_iter().map(|sample| (sample >> 8) as u8).collect()),
        _ => Err(Error::Unsupported {
            what: "TIFF with samples of this kind".to_owned(),
            install: None,
        }),
    }
}

/// Four channels were reduced as one plane; colours take each alone, inverted.
fn split_inks(raster: &mut Raster) {
    let Some(packed) = raster.planes.pop() else { return };
    raster.model = Model::Cmyk;
    raster.planes = (0..4)
        .map(|channel| {
            let mut plane = packed.clone();
            plane.channels = 1;
            plane.samples = packed
                .samples
                .iter()
                .skip(channel)
                .step_by(4)
                .map(|ink| 255 - ink)
                .collect();
            plane
        })
        .collect();
}

/// Makes pixels of the reducer's channels out of samples.
struct Converter {
    /// Samples of a pixel in the file.
    samples: usize,
    /// Bits of a sample, 8 also where it was 16.
    bits: usize,
    channels: usize,
    palette: Option<Vec<[u8; 3]>>,
    /// Colours are multiplied with the alpha already.
    associated: bool,
    inks: bool,
}

impl Converter {
    fn new(
        decoder: &mut Decoder<Cursor<Cow<'_, [u8]>>>,
        colour: ColorType,
        palette: bool,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let (samples, bits, channels) = match colour {
            ColorType::Gray(bits) => (1, bits, if palette { 3 } else { 1 }),
            ColorType::GrayA(bits) => (2, bits, 4),
            ColorType::RGB(bits) | ColorType::YCbCr(bits) => (3, bits, 3),
            ColorType::RGBA(bits) | ColorType::CMYK(bits) => (4, bits, 4),
            _ => {
                return Err(Error::Unsupported {
                    what: format!("TIFF with colours {colour:?}"),
                    install: None,
                });
            }
        };
        let small = samples == 1 && matches!(bits, 1 | 2 | 4);
        if !small && !matches!(bits, 8 | 16) {
            return Err(Error::Unsupported {
                what: format!("TIFF with {bits} bits"),
                install: None,
            });
        }
        let palette = if palette {
            let map = decoder
                .get_tag_u16_vec(Tag::ColorMap)
                .map_err(|error| failed(error, limits))?;
            let third = map.len() / 3;
            let colour = |index: usize| [0, 1, 2].map(|channel| (map[channel * third + index] >> 8) as u8);
            Some((0..third).map(colour).collect())
        } else {
            None
        };
        let extra = decoder
            .find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)
            .ok()
            .flatten()
            .unwrap_or_default();
        Ok(Self {
            samples,
            bits: usize::from(bits.min(8)),
            channels,
            palette,
            associated: extra.first() == Some(&1),
            inks: matches!(colour, ColorType::CMYK(_)),
        })
    }

    /// Appends row `y` of a chunk, whose planes are `parts`.
    fn row(&self, parts: &[Vec<u8>], y: usize, width: usize, row: &mut Vec<u8>) {
        let samples: Vec<u8>;
        let line: &[u8] = if parts.len() > 1 {
            let sample = |x: usize, part: &Vec<u8>| part.get(y * width + x).copied().unwrap_or_default();
            samples = (0..width)
                .flat_map(|x| parts.iter().map(move |part| sample(x, part)))
                .collect();
            &samples
        } else {
            let stride = (width * self.samples * self.bits).div_ceil(8);
            parts[0].get(y * stride..(y + 1) * stride).unwrap_or_default()
        };
        if self.bits < 8 || self.palette.is_some() {
            let largest = (1_u32 << self.bits) - 1;
            for x in 0..width {
                let bit = x * self.bits;
                let byte = line.get(bit / 8).copied().unwrap_or_default();
                let value = u32::from(byte) >> (8 - self.bits - bit % 8) & largest;
                match &self.palette {
                    Some(palette) => row.extend(palette.get(value as usize).copied().unwrap_or_default()),
                    None => row.push((value * 255 / largest) as u8),
                }
            }
            return;
        }
        match self.samples {
            2 => {
                let pixels = line.as_chunks::<2>().0.iter();
                let spread = pixels.flat_map(|&[grey, a]| [grey, grey, grey, a]);
                if self.associated {
                    row.extend(crate::colour::divide_alpha(&spread.collect::<Vec<u8>>()));
                } else {
                    row.extend(spread);
                }
            }
            4 if self.associated => row.extend(crate::colour::divide_alpha(line)),
            _ => row.extend_from_slice(line),
        }
    }
}
