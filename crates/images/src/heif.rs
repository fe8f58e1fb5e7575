//! AVIF and HEIC: what the container says (ISO/IEC 23008-12). The pixels are for an external decoder.

use crate::{Error, Format, Limits, facts::Header, orientation::Orientation};

/// Recognises by the brands of the first box.
pub(crate) fn recognise(bytes: &[u8]) -> Option<Format> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let brands = rest.strip_prefix(b"ftyp")?;
    let length = (u32::from_be_bytes(*length) as usize)
        .saturating_sub(8)
        .min(brands.len());
    let brands = brands[..length].as_chunks::<4>().0;
    // The second word is a version.
    let mut brands = brands
        .iter()
        .enumerate()
        .filter(|(index, _)| *index != 1)
        .map(|(_, brand)| brand);
    brands.find_map(|brand| match brand {
        b"avif" | b"avis" => Some(Format::Avif),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" => Some(Format::Heic),
        _ => None,
    })
}

/// The boxes of a part of the file: kind and content.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (kind, content) = after.split_first_chunk::<4>()?;
        let (head, length) = match u32::from_be_bytes(*length) {
            0 => (8, rest.len()),
            1 => (
                16,
                usize::try_from(u64::from_be_bytes(*content.first_chunk()?)).ok()?,
            ),
            length => (8, length as usize),
        };
        let whole = rest.get(..length.min(rest.len()))?;
        let content = whole.get(head..)?;
        rest = &rest[whole.len()..];
        Some((kind, content))
    })
}

fn find(bytes: &[u8], kind: [u8; 4]) -> Option<&[u8]> {
    boxes(bytes)
        .find(|(found, _)| **found == kind)
        .map(|(_, content)| content)
}

/// Big-endian numbers one after the other.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn take(&mut self, bytes: usize) -> Option<u32> {
        let (number, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(
            number
                .iter()
                .fold(0, |number, byte| number << 8 | u32::from(*byte)),
        )
    }
}

/// The item that is the picture (pitm).
fn primary(meta: &[u8]) -> Option<u32> {
    let mut numbers = Numbers(find(meta, *b"pitm")?);
    let version = numbers.take(4)? >> 24;
    numbers.take(if version == 0 { 2 } else { 4 })
}

/// Numbers of the properties of an item, from 1 (ipma).
fn properties_of(associations: &[u8], item: u32) -> Option<Vec<usize>> {
    let mut numbers = Numbers(associations);
    let head = numbers.take(4)?;
    let (version, wide) = (head >> 24, head & 1 == 1);
    for _ in 0..numbers.take(4)? {
        let id = numbers.take(if version < 1 { 2 } else { 4 })?;
        let count = numbers.take(1)?;
        let mut properties = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let number = if wide {
                numbers.take(2)? & 0x7FFF
            } else {
                numbers.take(1)? & 0x7F
            };
            properties.push(number as usize);
        }
        if id == item {
            return Some(properties);
        }
    }
    None
}

/// Whether an auxiliary picture of the item is its alpha (iref, auxC).
fn has_alpha(meta: &[u8], item: u32, properties: &[(&[u8; 4], &[u8])], associations: &[u8]) -> Option<bool> {
    let references = find(meta, *b"iref")?;
    let wide = references.first()? == &1;
    let bytes = if wide { 4 } else { 2 };
    for (kind, content) in boxes(references.get(4..)?) {
        let mut numbers = Numbers(content);
        let from = numbers.take(bytes)?;
        let count = numbers.take(2)?;
        let to: Option<Vec<u32>> = (0..count).map(|_| numbers.take(bytes)).collect();
        if kind != b"auxl" || !to?.contains(&item) {
            continue;
        }
        let alpha = properties_of(associations, from)?.into_iter().any(|number| {
            number
                .checked_sub(1)
                .and_then(|index| properties.get(index))
                .is_some_and(|(kind, content)| {
                    let name = content.get(4..).unwrap_or_default();
                    *kind == b"auxC"
                        && [
                            &b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"[..],
                            b"urn:mpeg:hevc:2015:auxid:1",
                        ]
                        .iter()
                        .any(|alpha| name.starts_with(alpha))
                })
        });
        if alpha {
            return Some(true);
        }
    }
    Some(false)
}

/// Number of pictures of a sequence: the most samples that a track has (stsz).
fn frames(bytes: &[u8]) -> Option<u32> {
    let movie = find(bytes, *b"moov")?;
    let samples = |track| {
        let table = find(find(find(find(track, *b"mdia")?, *b"minf")?, *b"stbl")?, *b"stsz")?;
        Numbers(table.get(8..)?).take(4)
    };
    boxes(movie)
        .filter(|(kind, _)| *kind == b"trak")
        .filter_map(|(_, track)| samples(track))
        .max()
}

/// The rest of what the container says of its picture.
fn parse(bytes: &[u8], format: Format, limits: &Limits) -> Option<Result<Header, Error>> {
    let meta = find(bytes, *b"meta")?.get(4..)?;
    let item = primary(meta)?;
    let all = find(meta, *b"iprp")?;
    let properties: Vec<_> = boxes(find(all, *b"ipco")?).take(4096).collect();
    let associations = find(all, *b"ipma")?;
    let (mut size, mut orientation, mut profile) = (None, Orientation::default(), None);
    for number in properties_of(associations, item)? {
        let Some((kind, content)) = number.checked_sub(1).and_then(|index| properties.get(index)) else {
            continue;
        };
        let mut numbers = Numbers(content);
        match *kind {
            b"ispe" => {
                numbers.take(4)?;
                size = Some((numbers.take(4)?, numbers.take(4)?));
            }
            // A clean aperture comes before turning and mirroring: width and height as fractions.
            b"clap" => {
                let (w, w_below, h, h_below) = (
                    numbers.take(4)?,
                    numbers.take(4)?,
                    numbers.take(4)?,
                    numbers.take(4)?,
                );
                let (width, height) = (w.checked_div(w_below)?, h.checked_div(h_below)?);
                size = size.map(|(whole_width, whole_height): (u32, u32)| {
                    (width.min(whole_width), height.min(whole_height))
                });
            }
            // Quarter turns against the clock.
            b"irot" => orientation = orientation.turned(((4 - numbers.take(1)? % 4) % 4) as u8),
            // Axis 0: top and bottom are exchanged, 1: left and right.
            b"imir" => {
                orientation = orientation.then_mirrored();
                if numbers.take(1)? & 1 == 0 {
                    orientation = orientation.turned(2);
                }
            }
            b"colr" if matches!(content.first_chunk(), Some(b"prof" | b"rICC")) => {
                profile = content.get(4..).map(<[u8]>::to_vec);
            }
            _ => {}
        }
    }
    let (width, height) = size?;
    let frames = frames(bytes).unwrap_or(1).max(1);
    Some(limits.check_size(width.into(), height.into()).and_then(|()| {
        limits.check_frames(frames)?;
        limits.check_profile(profile.as_ref().map_or(0, Vec::len))?;
        if width == 0 || height == 0 {
            return Err(Error::malformed(format, "its width or height is 0"));
        }
        Ok(Header {
            format,
            width,
            height,
            orientation,
            frames,
            has_alpha: has_alpha(meta, item, &properties, associations).unwrap_or(false),
            profile,
        })
    }))
}

pub(crate) fn header(bytes: &[u8], format: Format, limits: &Limits) -> Result<Header, Error> {
    parse(bytes, format, limits)
        .unwrap_or_else(|| Err(Error::malformed(format, "its boxes name no picture with a size")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes(), &kind[..], content].concat()
    }

    /// A container with these properties of its only item, after its size.
    fn container(properties: &[Vec<u8>]) -> Vec<u8> {
        let size = boxed(*b"ispe", &[0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 20]);
        let count = properties.len() as u8 + 1;
        let associations = [
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 1, count][..],
            &(1..=count).collect::<Vec<u8>>(),
        ]
        .concat();
        let all = [
            boxed(*b"ipco", &[size, properties.concat()].concat()),
            boxed(*b"ipma", &associations),
        ]
        .concat();
        let meta = [
            vec![0; 4],
            boxed(*b"pitm", &[0, 0, 0, 0, 0, 1]),
            boxed(*b"iprp", &all),
        ]
        .concat();
        [boxed(*b"ftyp", b"avif\0\0\0\0mif1"), boxed(*b"meta", &meta)].concat()
    }

    /// How writers express the orientations of EXIF: quarter turns against the clock, then mirroring.
    #[test]
    fn turns_and_mirrors() {
        let cases = [
            (1, None, None),
            (2, None, Some(1)),
            (3, Some(2), None),
            (4, None, Some(0)),
            (5, Some(1), Some(0)),
            (6, Some(3), None),
            (7, Some(3), Some(0)),
            (8, Some(1), None),
        ];
        for (orientation, turns, axis) in cases {
            let turns = turns.map(|turns| boxed(*b"irot", &[turns]));
            let axis = axis.map(|axis| boxed(*b"imir", &[axis]));
            let bytes = container(&turns.into_iter().chain(axis).collect::<Vec<_>>());
            assert_eq!(recognise(&bytes), Some(Format::Avif));
            let header = header(&bytes, Format::Avif, &Limits::default()).unwrap();
            assert_eq!((header.width, header.height, header.frames), (30, 20, 1));
            assert_eq!(
                header.orientation,
                Orientation::from_exif(orientation),
                "orientation {orientation}"
            );
        }
    }

    #[test]
    fn cut_off_anywhere() {
        let bytes = container(&[boxed(*b"irot", &[1]), boxed(*b"imir", &[0])]);
        for length in 0..bytes.len() {
            assert!(header(&bytes[..length], Format::Avif, &Limits::default()).is_err());
        }
    }
}
