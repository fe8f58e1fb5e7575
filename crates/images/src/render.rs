//! From bytes to facts and smaller pictures: one decoding for all sizes.

use base64::Engine as _;

use crate::{
    Error, Facts, Fit, Format, Limits, OutputFormat, Picture, Rendered, Rendition, bmp,
    colour::{self, ToSrgb},
    facts::Header,
    gif, heif, jpeg,
    layout::{Layout, Part},
    orientation::Orientation,
    png,
    raster::{Model, Plane, Raster},
    resample::{self, Resampler},
    tiff, webp,
};

/// Longest side of what the placeholder is computed from.
const PLACEHOLDER_SIDE: u32 = 32;

/// From this quality on the chroma of a JPEG keeps its resolution.
const FULL_CHROMA_QUALITY: u8 = 90;

/// Reads the headers: cheap, and no pixel is decoded.
pub fn inspect(bytes: &[u8], limits: &Limits) -> Result<Facts, Error> {
    Ok(header(bytes, limits)?.facts())
}

/// Decodes a picture once and makes all renditions of it, turned upright, in sRGB and without any metadata.
pub fn render(bytes: &[u8], renditions: &[Rendition], limits: &Limits) -> Result<Rendered, Error> {
    let header = header(bytes, limits)?;
    render_as(bytes, &header, header.facts(), renditions, limits)
}

/// Makes the renditions of a picture that an external program has decoded. `original` is the file, `decoded` the PNG
/// or JPEG that the program wrote; `applies_orientation` is [`crate::ExternalDecoder::applies_orientation`].
pub fn render_external(
    original: &[u8],
    decoded: &[u8],
    applies_orientation: bool,
    renditions: &[Rendition],
    limits: &Limits,
) -> Result<Rendered, Error> {
    let facts = header(original, limits)?;
    let mut header = header(decoded, limits)?;
    // Versions of the programs differ in this; where the sizes tell, they are believed.
    let stored = (facts.width, facts.height);
    let upright = facts.orientation.size(facts.width, facts.height);
    let applied = match (header.width, header.height) {
        size if upright != stored && size == upright => true,
        size if upright != stored && size == stored => false,
        _ => applies_orientation,
    };
    header.orientation = if applied {
        Orientation::default()
    } else {
        facts.orientation
    };
    if header.profile.is_none() {
        header.profile.clone_from(&facts.profile);
    }
    render_as(decoded, &header, facts.facts(), renditions, limits)
}

fn header(bytes: &[u8], limits: &Limits) -> Result<Header, Error> {
    let format = Format::recognise(bytes).ok_or_else(|| Error::Unsupported {
        what: "a file that is no known picture".to_owned(),
        install: None,
    })?;
    match format {
        Format::Jpeg => jpeg::header(bytes, limits),
        Format::Png => png::header(bytes, limits),
        Format::Webp => webp::header(bytes, limits),
        Format::Gif => gif::header(bytes, limits),
        Format::Tiff => tiff::header(bytes, limits),
        Format::Bmp => bmp::header(bytes, limits),
        Format::Avif | Format::Heic => heif::header(bytes, format, limits),
    }
}

fn decode(
    bytes: &[u8],
    header: &Header,
    wanted: (u32, u32),
    halved_chroma: bool,
    limits: &Limits,
) -> Result<Raster, Error> {
    match header.format {
        Format::Jpeg => jpeg::decode(bytes, wanted, halved_chroma, limits),
        Format::Png => png::decode(bytes, wanted, limits),
        Format::Webp => webp::decode(bytes, wanted, limits),
        Format::Gif => gif::decode(bytes, wanted, limits),
        Format::Tiff => tiff::decode(bytes, wanted, limits),
        Format::Bmp => bmp::decode(bytes, wanted, limits),
        Format::Avif | Format::Heic => Err(crate::external::unsupported(header.format)),
    }
}

fn render_as(
    bytes: &[u8],
    header: &Header,
    mut facts: Facts,
    renditions: &[Rendition],
    limits: &Limits,
) -> Result<Rendered, Error> {
    let swaps = header.orientation.swaps_sides();
    let size = header.orientation.size(header.width, header.height);
    let mut jobs = Vec::with_capacity(renditions.len());
    for rendition in renditions {
        let format = match rendition.format {
            OutputFormat::Auto if header.has_alpha => OutputFormat::Webp,
            OutputFormat::Auto => OutputFormat::Jpeg,
            chosen => chosen,
        };
        jobs.push((
            rendition,
            format,
            Layout::new(size, rendition, limits)?.stored(swaps),
        ));
    }
    let placeholder = placeholder_layout(size).stored(swaps);
    let mut wanted = placeholder.wanted();
    for (_, _, layout) in &jobs {
        let whole = layout.wanted();
        wanted = (wanted.0.max(whole.0), wanted.1.max(whole.1));
    }
    // Without chroma of full size, and without a profile that needs RGB, half of the chroma is enough.
    let halves = |(rendition, format, _): &(&Rendition, OutputFormat, Layout)| {
        *format == OutputFormat::Jpeg && rendition.quality < FULL_CHROMA_QUALITY
    };
    let maybe_direct = !ToSrgb::new(header.profile.as_deref(), Model::YCbCr).is_needed();
    let halved_chroma = maybe_direct && jobs.iter().all(halves);

    let raster = decode(bytes, header, wanted, halved_chroma, limits)?;
    let to_srgb = ToSrgb::new(header.profile.as_deref(), raster.model);
    let mut maker = Maker {
        header,
        to_srgb,
        resampler: Resampler::default(),
    };
    // The placeholder comes of the smallest picture that shows all.
    let mut smallest: Option<Raster> = None;
    let mut pictures = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let (rendition, format, layout) = job;
        let direct = !maker.to_srgb.is_needed() && *format == OutputFormat::Jpeg;
        let halved = direct && halves(job) && resample::has_chroma(raster.model);
        let small = maker.resampler.raster(&raster, layout, halved)?;
        pictures.push(maker.picture(rendition, *format, &small, direct, halved)?);
        let area = |raster: &Raster| raster.planes[0].width * raster.planes[0].height;
        let whole = rendition.fit != Fit::Cover
            && layout.width >= placeholder.width
            && layout.height >= placeholder.height;
        if whole
            && smallest
                .as_ref()
                .is_none_or(|smallest| area(&small) < area(smallest))
        {
            smallest = Some(small);
        }
    }
    let small = maker
        .resampler
        .raster(smallest.as_ref().unwrap_or(&raster), &placeholder, false)?;
    facts.placeholder = Some(maker.placeholder(&small));
    Ok(Rendered { facts, pictures })
}

fn placeholder_layout((width, height): (u32, u32)) -> Layout {
    let longest = f64::from(width.max(height));
    let scale = (f64::from(PLACEHOLDER_SIDE) / longest).min(1.0);
    let side = |size: u32| (f64::from(size) * scale).round().max(1.0) as u32;
    Layout {
        width: side(width),
        height: side(height),
        part: Part::ALL,
    }
}

/// Makes files of small rasters.
struct Maker<'a> {
    header: &'a Header,
    to_srgb: ToSrgb,
    resampler: Resampler,
}

impl Maker<'_> {
    fn picture(
        &self,
        rendition: &Rendition,
        format: OutputFormat,
        small: &Raster,
        direct: bool,
        halved: bool,
    ) -> Result<Picture, Error> {
        let turned = resample::turn(small.clone(), self.header.orientation);
        let (width, height) = (turned.planes[0].width, turned.planes[0].height);
        let quality = rendition.quality.clamp(1, 100);
        let chroma = if quality < FULL_CHROMA_QUALITY {
            jpeg::Chroma::Halved
        } else {
            jpeg::Chroma::Full
        };
        let (extension, content_type, bytes) = match format {
            OutputFormat::Png => ("png", "image/png", png::encode(&self.to_srgb.pack(&turned))?),
            OutputFormat::Webp => (
                "webp",
                "image/webp",
                webp::encode(&self.to_srgb.pack(&turned), quality)?,
            ),
            OutputFormat::Jpeg | OutputFormat::Auto => {
                let planes: Vec<Vec<u8>> = match turned.model {
                    Model::Gray | Model::YCbCr
                        if direct
                            && halved == (chroma == jpeg::Chroma::Halved && turned.planes.len() > 1) =>
                    {
                        turned.planes.into_iter().map(|plane| plane.samples).collect()
                    }
                    _ => {
                        let mut packed = self.to_srgb.pack(&turned);
                        if packed.channels == 4 {
                            packed = colour::on_white(&packed);
                        }
                        if packed.channels == 1 {
                            vec![packed.samples]
                        } else {
                            colour::to_ycbcr(&packed, chroma == jpeg::Chroma::Halved)
                        }
                    }
                };
                let planes: Vec<&[u8]> = planes.iter().map(Vec::as_slice).collect();
                (
                    "jpg",
                    "image/jpeg",
                    jpeg::encode(width, height, &planes, chroma, quality),
                )
            }
        };
        Ok(Picture {
            name: rendition.name.clone(),
            width,
            height,
            extension,
            content_type,
            bytes,
        })
    }

    fn placeholder(&self, small: &Raster) -> String {
        let turned = resample::turn(small.clone(), self.header.orientation);
        let Plane {
            width,
            height,
            channels,
            samples,
            ..
        } = self.to_srgb.pack(&turned);
        let rgba: Vec<u8> = match channels {
            1 => samples.iter().flat_map(|&grey| [grey, grey, grey, 255]).collect(),
            3 => samples
                .as_chunks::<3>()
                .0
                .iter()
                .flat_map(|&[r, g, b]| [r, g, b, 255])
                .collect(),
            _ => samples,
        };
        let hash = thumbhash::rgba_to_thumb_hash(width as usize, height as usize, &rgba);
        base64::engine::general_purpose::STANDARD.encode(hash)
    }
}
