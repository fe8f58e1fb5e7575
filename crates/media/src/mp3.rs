//! MPEG audio (ISO/IEC 11172-3 and 13818-3), mostly MP3.
//!
//! The first frame often is a `Xing`, `Info` or `VBRI` header with the number of frames. Without one the frames are
//! counted, up to the limits; over them the size of the file is divided by the mean size of those seen.

use std::io::{Read, Seek};

use crate::input::{Input, be16, be32};
use crate::{Error, Format, Media, seconds};

/// Junk before the first frame that is looked through.
const SYNC_WINDOW: u64 = 64 * 1024;

/// Bytes that a file may be shorter than its `Xing` header says: about a frame.
const CUT_BYTES_MAX: u64 = 1_500;

/// The header of one frame.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Frame {
    version: u8,
    layer: u8,
    rate: u32,
    channels: u32,
    size: u64,
    samples: u64,
}

const BIT_RATES: [[u16; 16]; 5] = [
    [
        0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0,
    ],
    [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0,
    ],
    [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0,
    ],
    [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0,
    ],
    [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0],
];

impl Frame {
    /// Reads a header; free-format and reserved values give nothing.
    fn parse(header: u32) -> Option<Self> {
        let version = (header >> 19 & 3) as u8;
        let layer = 4 - (header >> 17 & 3) as u8;
        if header >> 21 != 0x7FF || version == 1 || layer == 4 {
            return None;
        }
        let first = version == 3;
        let table = match (first, layer) {
            (true, layer) => usize::from(layer) - 1,
            (false, 1) => 3,
            (false, _) => 4,
        };
        let bit_rate = u64::from(BIT_RATES[table][(header >> 12 & 15) as usize]) * 1000;
        let rate: u32 = [44_100, 48_000, 32_000, 0][(header >> 10 & 3) as usize];
        let rate = match version {
            3 => rate,
            2 => rate / 2,
            _ => rate / 4,
        };
        if bit_rate == 0 || rate == 0 {
            return None;
        }
        let samples = match (first, layer) {
            (_, 1) => 384,
            (false, 3) => 576,
            _ => 1152,
        };
        let padding = u64::from(header >> 9 & 1);
        let size = if layer == 1 {
            (12 * bit_rate / u64::from(rate) + padding) * 4
        } else {
            samples / 8 * bit_rate / u64::from(rate) + padding
        };
        let channels = if header >> 6 & 3 == 3 { 1 } else { 2 };
        Some(Self {
            version,
            layer,
            rate,
            channels,
            size,
            samples,
        })
    }

    /// Whether the two can be frames of one stream.
    fn continues(&self, next: &Self) -> bool {
        (self.version, self.layer, self.rate) == (next.version, next.layer, next.rate)
    }

    /// Where the `Xing` header stands: after the side information.
    fn side_information(&self) -> u64 {
        match (self.version == 3, self.channels) {
            (true, 1) | (false, 2) => 17,
            (true, _) => 32,
            (false, _) => 9,
        }
    }
}

/// Where the sound begins: after the ID3v2 tags at the start of the file, if there are any.
pub(crate) fn after_id3<R: Read + Seek>(input: &mut Input<R>) -> Result<u64, Error> {
    let mut at = 0;
    while at < input.length() {
        input.count()?;
        let head = input.peek(at, 10)?;
        let Some([b'I', b'D', b'3', major, _, flags, size @ ..]) = head.get(..10) else {
            break;
        };
        if *major == 0xFF || size.iter().any(|byte| byte & 0x80 != 0) {
            break;
        }
        let size = size.iter().fold(0_u64, |size, byte| size << 7 | u64::from(*byte));
        at += 10 + size + if flags & 0x10 != 0 { 10 } else { 0 };
        // Some writers pad after the tag and do not count it.
        if input.peek(at, 1)? == [0] {
            let padding = input.peek(at, 16 * 1024)?;
            at += padding.iter().take_while(|byte| **byte == 0).count() as u64;
        }
    }
    Ok(at)
}

fn frame_at<R: Read + Seek>(input: &mut Input<R>, at: u64) -> Result<Option<Frame>, Error> {
    Ok(be32(input.peek(at, 4)?, 0).and_then(Frame::parse))
}

/// Reads the facts of an MPEG audio file whose frames begin at `start` or a little after; nothing where there are
/// none.
pub(crate) fn inspect<R: Read + Seek>(input: &mut Input<R>, start: u64) -> Result<Option<Media>, Error> {
    let Some((first_at, frame)) = first_frame(input, start)? else {
        return Ok(None);
    };
    let mut media = Media::new(Format::Mp3);
    media.has_audio = true;
    media.audio_codec = Some(format!("mp{}", frame.layer));
    media.sample_rate = Some(frame.rate);
    media.channels = Some(frame.channels);
    let samples = match header_samples(input, first_at, &frame)? {
        Some(samples) => Some(samples),
        None => counted_samples(input, first_at, &frame)?,
    };
    media.set_duration(samples.and_then(|samples| seconds(samples, frame.rate)));
    Ok(Some(media))
}

/// The first frame that is followed by others like it. At the very start one follower does; after junk, three.
fn first_frame<R: Read + Seek>(input: &mut Input<R>, start: u64) -> Result<Option<(u64, Frame)>, Error> {
    let window_end = (start + SYNC_WINDOW).min(input.length());
    for at in start..window_end {
        if at.is_multiple_of(64) {
            input.count()?;
        }
        if input.peek(at, 1)? != [0xFF] {
            continue;
        }
        let Some(first) = frame_at(input, at)? else {
            continue;
        };
        let mut next_at = at + first.size;
        let mut followers = 0;
        let wanted = if at == start { 1 } else { 3 };
        while followers < wanted {
            input.count()?;
            match frame_at(input, next_at)? {
                Some(next) if first.continues(&next) => next_at += next.size,
                _ => break,
            }
            followers += 1;
        }
        // A very short file: its one frame fills it.
        let fills = at == start && followers == 0 && next_at == input.length();
        if followers == wanted || fills || (followers > 0 && next_at >= input.length()) {
            return Ok(Some((at, first)));
        }
    }
    Ok(None)
}

/// The number of samples by a `Xing`, `Info` or `VBRI` header.
fn header_samples<R: Read + Seek>(
    input: &mut Input<R>,
    at: u64,
    frame: &Frame,
) -> Result<Option<u64>, Error> {
    let end = input.length();
    let xing = input.peek(at + 4 + frame.side_information(), 160)?;
    if xing.starts_with(b"Xing") || xing.starts_with(b"Info") {
        let flags = be32(xing, 4).unwrap_or(0);
        let bytes = be32(xing, if flags & 1 == 0 { 8 } else { 12 }).filter(|_| flags & 2 != 0);
        // Not every writer counts alike.
        if at + u64::from(bytes.unwrap_or(0)) > end + CUT_BYTES_MAX {
            return Err(Error::Malformed {
                message: "the file is cut off: its header counts more bytes",
                offset: end,
            });
        }
        let frames = be32(xing, 8).filter(|frames| flags & 1 != 0 && *frames > 0);
        // LAME's extension says how many samples the encoder put before and after the sound.
        let lame = 8
            + [1, 2, 8].iter().filter(|bit| flags & *bit != 0).count() * 4
            + if flags & 4 != 0 { 100 } else { 0 };
        let encoder = xing.get(lame..lame + 4);
        let padded = encoder.is_some_and(|name| matches!(name, b"LAME" | b"Lavf" | b"Lavc"));
        let padding = if padded {
            be32(xing, lame + 20).map_or(0, |packed| packed >> 8)
        } else {
            0
        };
        let trimmed = u64::from(padding >> 12) + u64::from(padding & 0xFFF);
        return Ok(frames.map(|frames| (u64::from(frames) * frame.samples).saturating_sub(trimmed)));
    }
    let vbri = input.peek(at + 36, 18)?;
    if vbri.starts_with(b"VBRI") && be16(vbri, 4) == Some(1) {
        return Ok(be32(vbri, 14)
            .filter(|f| *f > 0)
            .map(|frames| u64::from(frames) * frame.samples));
    }
    Ok(None)
}

/// The number of samples by counting frames.
fn counted_samples<R: Read + Seek>(
    input: &mut Input<R>,
    start: u64,
    first: &Frame,
) -> Result<Option<u64>, Error> {
    let (mut at, mut samples) = (start, 0_u64);
    while at < input.length() {
        let counted = input.count().and_then(|()| frame_at(input, at));
        match counted {
            Ok(Some(frame)) if first.continues(&frame) => {
                samples += frame.samples;
                at += frame.size;
            }
            // Junk, or the ID3v1 or APE tag at the end.
            Ok(_) => break,
            Err(Error::LimitExceeded { .. }) => {
                let share = (input.length() - start) as f64 / (at - start).max(1) as f64;
                return Ok(Some((samples as f64 * share) as u64));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Some(samples))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_headers() {
        let frame = Frame::parse(0xFFFB_9064).unwrap();
        assert_eq!(
            (frame.layer, frame.rate, frame.channels, frame.size, frame.samples),
            (3, 44_100, 2, 417, 1152)
        );
        let frame = Frame::parse(0xFFF3_40C4).unwrap();
        assert_eq!(
            (frame.version, frame.rate, frame.channels, frame.samples),
            (2, 22_050, 1, 576)
        );
        assert!(Frame::parse(0xFFFB_F064).is_none(), "bit rate 15 is forbidden");
        assert!(Frame::parse(0xFFFB_9C64).is_none(), "rate 3 is reserved");
        assert!(Frame::parse(0xFFF1_5080).is_none(), "layer 0 is ADTS");
    }
}
