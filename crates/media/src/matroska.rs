//! Matroska and WebM (RFC 9559) over EBML (RFC 8794).
//!
//! `Info` gives the duration in files that were finished properly. Live recordings (a browser's `MediaRecorder`) have
//! none, and segments and clusters of unknown size; there the blocks' headers are walked to the last timestamp.

use std::io::{Read, Seek};
use std::ops::Range;

use crate::input::Input;
use crate::mp4_sample::displayed_width;
use crate::{Error, Format, Media, codec, thousandths};

const TRACKS: usize = 256;
const STRING_BYTES: usize = 128;
/// As much of a codec's own header as is kept: what names the codec is in the first bytes.
const PRIVATE_BYTES: usize = 32;

const EBML: u32 = 0x1A45_DFA3;
const DOC_TYPE: u32 = 0x4282;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TIMESTAMP_SCALE: u32 = 0x002A_D7B1;
const DURATION: u32 = 0x4489;
const TRACK_LIST: u32 = 0x1654_AE6B;
const TRACK_ENTRY: u32 = 0xAE;
const TRACK_TYPE: u32 = 0x83;
const CODEC_ID: u32 = 0x86;
const CODEC_PRIVATE: u32 = 0x63A2;
const DEFAULT_DURATION: u32 = 0x0023_E383;
const VIDEO: u32 = 0xE0;
const PIXEL_WIDTH: u32 = 0xB0;
const PIXEL_HEIGHT: u32 = 0xBA;
const DISPLAY_WIDTH: u32 = 0x54B0;
const DISPLAY_HEIGHT: u32 = 0x54BA;
const DISPLAY_UNIT: u32 = 0x54B2;
const PROJECTION: u32 = 0x7670;
const PROJECTION_ROLL: u32 = 0x7675;
const AUDIO: u32 = 0xE1;
const SAMPLING_FREQUENCY: u32 = 0xB5;
const OUTPUT_SAMPLING_FREQUENCY: u32 = 0x78B5;
const CHANNELS: u32 = 0x9F;
const BIT_DEPTH: u32 = 0x6264;
const CLUSTER: u32 = 0x1F43_B675;
const TIMESTAMP: u32 = 0xE7;
const SIMPLE_BLOCK: u32 = 0xA3;
const BLOCK_GROUP: u32 = 0xA0;
const BLOCK: u32 = 0xA1;
const BLOCK_DURATION: u32 = 0x9B;

struct Element {
    id: u32,
    body: Range<u64>,
    /// Its size is unknown: it goes on until something that cannot be its child.
    open: bool,
    /// It says that it is longer than what it stands in.
    cut: bool,
}

/// The element at `at`, inside a parent that ends at `end`.
fn element<R: Read + Seek>(input: &mut Input<R>, at: u64, end: u64) -> Result<Option<Element>, Error> {
    if at >= end {
        return Ok(None);
    }
    input.count()?;
    let head = input.peek(at, 12)?;
    let Some((id, id_length)) = vint(head, 4, false) else {
        return Ok(None);
    };
    let Some((size, size_length)) = head.get(id_length..).and_then(|rest| vint(rest, 8, true)) else {
        return Ok(None);
    };
    let open = size == (1 << (7 * size_length)) - 1;
    let start = at + (id_length + size_length) as u64;
    let stop = if open {
        end
    } else {
        start.saturating_add(size).min(end)
    };
    Ok(Some(Element {
        id: u32::try_from(id).unwrap_or(0),
        body: start.min(stop)..stop,
        open,
        cut: !open && start.saturating_add(size) > end,
    }))
}

/// A variable-length number (RFC 8794, section 4) of at most `longest` bytes, with its length; `strip` takes the
/// length marker away, as sizes want it and ids do not.
fn vint(bytes: &[u8], longest: usize, strip: bool) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    if length > longest {
        return None;
    }
    let bytes = bytes.get(..length)?;
    let value = bytes
        .iter()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let marker = 1_u64 << (7 * length);
    Some((if strip { value & (marker - 1) } else { value }, length))
}

fn each_element<R: Read + Seek>(
    input: &mut Input<R>,
    range: Range<u64>,
    mut each: impl FnMut(&mut Input<R>, &Element) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut at = range.start;
    while let Some(element) = element(input, at, range.end)? {
        each(input, &element)?;
        at = element.body.end;
    }
    Ok(())
}

fn unsigned<R: Read + Seek>(input: &mut Input<R>, element: &Element) -> Result<u64, Error> {
    let length = usize::try_from(element.body.end - element.body.start).unwrap_or(usize::MAX);
    let bytes = input.peek(element.body.start, length.min(8))?;
    Ok(bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn float<R: Read + Seek>(input: &mut Input<R>, element: &Element) -> Result<f64, Error> {
    Ok(match element.body.end - element.body.start {
        4 => f32::from_be_bytes(input.array(element.body.start)?).into(),
        8 => f64::from_be_bytes(input.array(element.body.start)?),
        _ => 0.0,
    })
}

fn string<R: Read + Seek>(input: &mut Input<R>, element: &Element) -> Result<String, Error> {
    let length = usize::try_from(element.body.end - element.body.start).unwrap_or(usize::MAX);
    let bytes = input.peek(element.body.start, length.min(STRING_BYTES))?;
    Ok(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned())
}

#[derive(Default)]
struct Track {
    kind: u64,
    codec: String,
    default_duration: u64,
    pixels: (u64, u64),
    display: (u64, u64),
    display_unit: u64,
    roll: f64,
    sample_rate: f64,
    channels: u64,
    bits: u64,
    /// The beginning of what the codec itself needs.
    private: Vec<u8>,
}

struct Segment {
    /// Nanoseconds of one tick.
    scale: u64,
    duration: f64,
    tracks: Vec<Track>,
    /// The end of the last block seen, in ticks.
    last: u64,
}

/// Reads the facts of a Matroska or WebM file.
pub(crate) fn inspect<R: Read + Seek>(input: &mut Input<R>) -> Result<Media, Error> {
    let end = input.length();
    let mut kind = String::new();
    let mut segment = Segment {
        scale: 1_000_000,
        duration: 0.0,
        tracks: Vec::new(),
        last: 0,
    };
    let mut content = None;
    each_element(input, 0..end, |input, element| {
        match element.id {
            EBML => each_element(input, element.body.clone(), |input, element| {
                if element.id == DOC_TYPE {
                    kind = string(input, element)?;
                }
                Ok(())
            })?,
            SEGMENT if element.cut => {
                return Err(Error::Malformed {
                    message: "the file is cut off in its segment",
                    offset: end,
                });
            }
            SEGMENT if content.is_none() => content = Some(element.body.clone()),
            _ => {}
        }
        Ok(())
    })?;
    let format = match kind.as_str() {
        "webm" => Format::WebM,
        "matroska" => Format::Matroska,
        _ => {
            return Err(Error::Unsupported {
                what: "an EBML file that is not Matroska",
            });
        }
    };
    let Some(content) = content else {
        return Err(Error::Malformed {
            message: "a Matroska file without a segment",
            offset: end,
        });
    };
    let walked = read_segment(input, content, &mut segment);
    if let Err(error) = walked {
        if segment.tracks.is_empty() || matches!(error, Error::Read(_)) {
            return Err(error);
        }
        // The last timestamp seen is not the end of the file.
        segment.last = 0;
    }
    facts(&segment, format, end)
}

fn facts(segment: &Segment, format: Format, end: u64) -> Result<Media, Error> {
    let mut media = Media::new(format);
    if let Some(track) = segment.tracks.iter().find(|track| track.kind == 1) {
        media.has_video = true;
        media.video_codec = codec::of_matroska(&track.codec, track.bits, &track.private);
        (media.width, media.height) = displayed(track);
        if track.default_duration > 0 {
            media.frame_rate = thousandths(1e9 / track.default_duration as f64);
        }
    }
    if let Some(track) = segment.tracks.iter().find(|track| track.kind == 2) {
        media.has_audio = true;
        media.audio_codec = codec::of_matroska(&track.codec, track.bits, &track.private);
        let rate = if track.sample_rate > 0.0 {
            track.sample_rate
        } else {
            8_000.0
        };
        media.sample_rate = (rate < 1e8).then_some(rate as u32);
        media.channels = u32::try_from(track.channels.max(1)).ok();
    }
    if !media.has_video && !media.has_audio {
        return Err(Error::Malformed {
            message: "a Matroska file without a video or sound track",
            offset: end,
        });
    }
    let ticks = if segment.duration > 0.0 {
        segment.duration
    } else {
        segment.last as f64
    };
    media.set_duration(Some(ticks * segment.scale as f64 / 1e9));
    Ok(media)
}

/// Width and height on the screen. Display units other than pixels give only the aspect ratio (RFC 9559, 5.1.4.1.28).
fn displayed(track: &Track) -> (Option<u32>, Option<u32>) {
    let side = |value: u64| u32::try_from(value).ok().filter(|side| *side > 0);
    let (width, height) = (side(track.pixels.0), side(track.pixels.1));
    let displayed = (side(track.display.0), side(track.display.1));
    let (width, height) = match (width.zip(height), displayed.0.zip(displayed.1)) {
        (Some((width, height)), Some((across, down))) if track.display_unit < 4 => {
            let across = across.checked_mul(height);
            let down = down.checked_mul(width);
            (Some(displayed_width(width, across.zip(down))), Some(height))
        }
        _ => (width, height),
    };
    let quarter = (track.roll.abs() - 90.0).abs() < 1.0 || (track.roll.abs() - 270.0).abs() < 1.0;
    if quarter { (height, width) } else { (width, height) }
}

fn read_segment<R: Read + Seek>(
    input: &mut Input<R>,
    range: Range<u64>,
    segment: &mut Segment,
) -> Result<(), Error> {
    let mut at = range.start;
    while let Some(element) = element(input, at, range.end)? {
        at = element.body.end;
        match element.id {
            INFO => each_element(input, element.body.clone(), |input, element| {
                match element.id {
                    TIMESTAMP_SCALE => segment.scale = unsigned(input, element)?.max(1),
                    DURATION => segment.duration = float(input, element)?,
                    _ => {}
                }
                Ok(())
            })?,
            TRACK_LIST => each_element(input, element.body.clone(), |input, element| {
                if element.id == TRACK_ENTRY && segment.tracks.len() < TRACKS {
                    let track = read_track(input, element.body.clone())?;
                    segment.tracks.push(track);
                }
                Ok(())
            })?,
            // With the duration known and the tracks read, nothing more is wanted from the clusters on.
            CLUSTER if segment.duration > 0.0 && !segment.tracks.is_empty() => return Ok(()),
            CLUSTER if segment.duration > 0.0 && !element.open => {}
            CLUSTER => at = read_cluster(input, &element, segment)?,
            _ => {}
        }
    }
    Ok(())
}

fn read_track<R: Read + Seek>(input: &mut Input<R>, range: Range<u64>) -> Result<Track, Error> {
    let mut track = Track::default();
    each_element(input, range, |input, element| {
        match element.id {
            TRACK_TYPE => track.kind = unsigned(input, element)?,
            CODEC_ID => track.codec = string(input, element)?,
            CODEC_PRIVATE => {
                let length = usize::try_from(element.body.end - element.body.start).unwrap_or(usize::MAX);
                let length = length.min(PRIVATE_BYTES);
                track.private = input.peek(element.body.start, length)?.to_vec();
            }
            DEFAULT_DURATION => track.default_duration = unsigned(input, element)?,
            VIDEO => each_element(input, element.body.clone(), |input, element| {
                match element.id {
                    PIXEL_WIDTH => track.pixels.0 = unsigned(input, element)?,
                    PIXEL_HEIGHT => track.pixels.1 = unsigned(input, element)?,
                    DISPLAY_WIDTH => track.display.0 = unsigned(input, element)?,
                    DISPLAY_HEIGHT => track.display.1 = unsigned(input, element)?,
                    DISPLAY_UNIT => track.display_unit = unsigned(input, element)?,
                    PROJECTION => each_element(input, element.body.clone(), |input, element| {
                        if element.id == PROJECTION_ROLL {
                            track.roll = float(input, element)?;
                        }
                        Ok(())
                    })?,
                    _ => {}
                }
                Ok(())
            })?,
            AUDIO => each_element(input, element.body.clone(), |input, element| {
                match element.id {
                    SAMPLING_FREQUENCY if track.sample_rate <= 0.0 => {
                        track.sample_rate = float(input, element)?;
                    }
                    OUTPUT_SAMPLING_FREQUENCY => track.sample_rate = float(input, element)?,
                    CHANNELS => track.channels = unsigned(input, element)?,
                    BIT_DEPTH => track.bits = unsigned(input, element)?,
                    _ => {}
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(track)
}

/// Walks the blocks of a cluster, and gives where the next element of the segment begins.
fn read_cluster<R: Read + Seek>(
    input: &mut Input<R>,
    cluster: &Element,
    segment: &mut Segment,
) -> Result<u64, Error> {
    let mut at = cluster.body.start;
    let mut timestamp = 0_u64;
    while let Some(element) = element(input, at, cluster.body.end)? {
        // Level 1 elements have ids of four bytes; a cluster's children do not.
        if cluster.open && element.id > 0x0FFF_FFFF {
            return Ok(at);
        }
        match element.id {
            TIMESTAMP => timestamp = unsigned(input, &element)?,
            SIMPLE_BLOCK => {
                let start = block_timestamp(input, &element, timestamp)?;
                segment.last = segment.last.max(start);
            }
            BLOCK_GROUP => {
                let (mut start, mut duration) = (0, 0);
                each_element(input, element.body.clone(), |input, element| {
                    match element.id {
                        BLOCK => start = block_timestamp(input, element, timestamp)?,
                        BLOCK_DURATION => duration = unsigned(input, element)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                segment.last = segment.last.max(start.saturating_add(duration));
            }
            _ => {}
        }
        at = element.body.end;
    }
    Ok(cluster.body.end)
}

fn block_timestamp<R: Read + Seek>(
    input: &mut Input<R>,
    block: &Element,
    cluster: u64,
) -> Result<u64, Error> {
    let head = input.peek(block.body.start, 12)?;
    let relative = vint(head, 8, true).and_then(|(_, length)| head.get(length..length + 2));
    let relative = relative.map_or(0, |bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
    Ok(cluster.saturating_add_signed(relative.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_length_numbers() {
        assert_eq!(vint(&[0x81], 8, true), Some((1, 1)));
        assert_eq!(vint(&[0x40, 0x02], 8, true), Some((2, 2)));
        assert_eq!(vint(&[0x1A, 0x45, 0xDF, 0xA3], 4, false), Some((0x1A45_DFA3, 4)));
        assert_eq!(
            vint(&[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], 8, true),
            Some(((1 << 56) - 1, 8))
        );
        assert_eq!(vint(&[0x00, 0x01], 8, true), None);
        assert_eq!(vint(&[0x40], 8, true), None);
        assert_eq!(vint(&[0x08, 0, 0, 0, 0], 4, false), None);
    }
}
