//! Sample entries of ISO base media files: what a track is coded with.

use std::io::{Read, Seek};
use std::ops::Range;

use crate::codec;
use crate::input::{Input, be16, be32, be64};
use crate::{Error, adts};

/// Bytes of a sample entry that are looked at: decoder configuration stands in its first few hundred.
const ENTRY_BYTES: usize = 16 * 1024;

#[derive(Default)]
pub(crate) struct SampleEntry {
    pub(crate) codec: Option<String>,
    width: u32,
    height: u32,
    /// Pixel aspect ratio.
    aspect: Option<(u32, u32)>,
    pub(crate) sample_rate: u32,
    pub(crate) channels: u32,
}

impl SampleEntry {
    /// Width and height after the pixel aspect ratio, before rotation.
    pub(crate) fn displayed(&self) -> (u32, u32) {
        (displayed_width(self.width, self.aspect), self.height)
    }
}

/// The width on the screen of pixels that are not square. An absurd ratio is ignored.
pub(crate) fn displayed_width(width: u32, aspect: Option<(u32, u32)>) -> u32 {
    match aspect {
        Some((across, down)) if across > 0 && down > 0 => {
            let ratio = f64::from(across) / f64::from(down);
            if (0.1..=10.0).contains(&ratio) {
                (f64::from(width) * ratio).round() as u32
            } else {
                width
            }
        }
        _ => width,
    }
}

/// Reads the sample entry of a video or sound track; of other tracks nothing.
pub(crate) fn read<R: Read + Seek>(
    input: &mut Input<R>,
    kind: [u8; 4],
    body: Range<u64>,
    handler: [u8; 4],
) -> Result<Option<SampleEntry>, Error> {
    let length = usize::try_from(body.end - body.start)
        .unwrap_or(usize::MAX)
        .min(ENTRY_BYTES);
    let bytes = input.peek(body.start, length)?;
    Ok(match &handler {
        b"vide" => video(kind, bytes),
        b"soun" => audio(kind, bytes),
        _ => None,
    })
}

fn video(kind: [u8; 4], bytes: &[u8]) -> Option<SampleEntry> {
    let mut entry = SampleEntry {
        codec: codec::of_sample_entry(kind),
        width: be16(bytes, 24)?.into(),
        height: be16(bytes, 26)?.into(),
        ..SampleEntry::default()
    };
    for (kind, body) in Boxes(bytes.get(78..).unwrap_or_default()) {
        match &kind {
            b"pasp" => entry.aspect = be32(body, 0).zip(be32(body, 4)),
            b"sinf" => entry.codec = protected(body).or(entry.codec.take()),
            b"esds" => {
                if let Some((object, _)) = elementary_stream(body) {
                    entry.codec = codec::of_object_type(object)
                        .map(str::to_owned)
                        .or(entry.codec.take());
                }
            }
            _ => {}
        }
    }
    Some(entry)
}

fn audio(kind: [u8; 4], bytes: &[u8]) -> Option<SampleEntry> {
    let mut entry = SampleEntry {
        codec: codec::of_sample_entry(kind),
        channels: be16(bytes, 16)?.into(),
        sample_rate: be32(bytes, 24)? >> 16,
        ..SampleEntry::default()
    };
    let bits = be16(bytes, 18)?;
    // QuickTime's versions 1 and 2 put more fields before the boxes.
    let boxes = match be16(bytes, 8)? {
        1 => 44,
        2 => {
            let rate = f64::from_bits(be64(bytes, 32)?);
            entry.sample_rate = if (1.0..1e9).contains(&rate) {
                rate as u32
            } else {
                0
            };
            entry.channels = be32(bytes, 40)?;
            64
        }
        _ => 28,
    };
    if bits == 8 && matches!(&kind, b"sowt" | b"twos") {
        entry.codec = Some("pcm_s8".to_owned());
    }
    for (kind, body) in Boxes(bytes.get(boxes..).unwrap_or_default()) {
        match &kind {
            b"esds" => apply_elementary_stream(&mut entry, body),
            b"wave" => {
                for (kind, body) in Boxes(body) {
                    if &kind == b"esds" {
                        apply_elementary_stream(&mut entry, body);
                    }
                }
            }
            b"sinf" => entry.codec = protected(body).or(entry.codec.take()),
            // The decoder's own rate: the sample entry's has 16 bits.
            b"dfLa" => {
                let packed = be32(body, 18).unwrap_or(0);
                entry.sample_rate = packed >> 12;
                entry.channels = (packed >> 9 & 7) + 1;
            }
            // Writers put 2 into the sample entry of AC-3 whatever it is (ETSI TS 102 366, F.3 and F.4).
            b"dac3" => entry.channels = ac3_channels(body).unwrap_or(entry.channels),
            b"alac" => {
                entry.channels = body
                    .get(13)
                    .map_or(entry.channels, |channels| u32::from(*channels));
                entry.sample_rate = be32(body, 24).unwrap_or(entry.sample_rate);
            }
            _ => {}
        }
    }
    if entry.codec.as_deref() == Some("mp3") {
        // Writers put 2 here whatever it is.
        entry.channels = 0;
    }
    Some(entry)
}

fn apply_elementary_stream(entry: &mut SampleEntry, body: &[u8]) {
    let Some((object, config)) = elementary_stream(body) else {
        return;
    };
    if let Some(codec) = codec::of_object_type(object) {
        entry.codec = Some(codec.to_owned());
    }
    if codec::of_object_type(object) != Some("aac") {
        return;
    }
    if let Some((rate, channels)) = adts::audio_specific_config(config) {
        entry.sample_rate = rate;
        if channels > 0 {
            entry.channels = channels;
        }
    }
}

/// Channels of `acmod`, and the one for effects, from the specific box of AC-3.
fn ac3_channels(body: &[u8]) -> Option<u32> {
    let packed = u32::from_be_bytes([0, *body.first()?, *body.get(1)?, *body.get(2)?]);
    let mode = packed >> 11 & 7;
    Some([2, 1, 2, 3, 3, 4, 4, 5][mode as usize] + (packed >> 10 & 1))
}

/// The codec under an encrypted track (`frma` of `sinf`).
fn protected(body: &[u8]) -> Option<String> {
    let (_, body) = Boxes(body).find(|(kind, _)| kind == b"frma")?;
    codec::of_sample_entry(body.get(..4)?.try_into().ok()?)
}

/// The object type and the decoder configuration in an `esds` box (ISO/IEC 14496-1, 7.2.6).
fn elementary_stream(body: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, stream) = descriptor(body.get(4..)?)?;
    if tag != 3 {
        return None;
    }
    let flags = *stream.get(2)?;
    let mut at = 3;
    if flags & 0x80 != 0 {
        at += 2;
    }
    if flags & 0x40 != 0 {
        at += 1 + usize::from(*stream.get(at)?);
    }
    if flags & 0x20 != 0 {
        at += 2;
    }
    let (tag, decoder) = descriptor(stream.get(at..)?)?;
    if tag != 4 {
        return None;
    }
    let config = decoder
        .get(13..)
        .and_then(descriptor)
        .filter(|(tag, _)| *tag == 5);
    Some((*decoder.first()?, config.map_or(&[][..], |(_, config)| config)))
}

/// The tag and the content of a descriptor; a content that is cut off is given as far as it goes.
fn descriptor(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let mut size = 0_usize;
    for index in 1..=4 {
        let byte = *bytes.get(index)?;
        size = size << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            let body = bytes.get(index + 1..)?;
            return Some((bytes[0], &body[..size.min(body.len())]));
        }
    }
    None
}

/// The boxes in a piece of memory.
struct Boxes<'a>(&'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let size = be32(self.0, 0)? as usize;
        let kind = self.0.get(4..8)?.try_into().ok()?;
        if size < 8 {
            return None;
        }
        let (this, rest) = self.0.split_at(size.min(self.0.len()));
        self.0 = rest;
        Some((kind, &this[8..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anamorphic_pixels_widen_the_picture() {
        assert_eq!(displayed_width(720, Some((64, 45))), 1024);
        assert_eq!(displayed_width(720, Some((0, 45))), 720);
        assert_eq!(displayed_width(720, Some((u32::MAX, 1))), 720);
    }

    #[test]
    fn descriptors_take_long_and_short_sizes_and_never_more_than_there_is() {
        assert_eq!(descriptor(&[3, 2, 9, 8, 7]), Some((3, &[9, 8][..])));
        assert_eq!(descriptor(&[3, 0x80, 0x80, 0x80, 1, 9, 8]), Some((3, &[9][..])));
        assert_eq!(descriptor(&[3, 0xFF, 0xFF, 0xFF, 0x7F, 9]), Some((3, &[9][..])));
        assert_eq!(descriptor(&[3, 0x80, 0x80, 0x80, 0x80, 1]), None);
    }
}
