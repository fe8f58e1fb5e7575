//! Native FLAC (RFC 9639).

use std::io::{Read, Seek};

use crate::checksum::{crc8, crc16};
use crate::input::{Input, be32, be64};
use crate::{Error, Format, Media, seconds};

/// Bytes at the end that are searched for the last frame, where the header does not give the number of samples. A
/// frame of 24-bit stereo rarely takes more.
const TAIL: u64 = 64 * 1024;
/// The longest header of a frame.
const FRAME_HEADER: usize = 16;
/// What the tags begin with that programs append, where the header does not say that the sound is over: ID3v1, ID3v2, APE.
const TAGS: [&[u8]; 3] = [b"TAG", b"ID3", b"APE"];
/// Looked at in one go.
const PIECE: usize = 16 * 1024;

/// What `STREAMINFO` says.
pub(crate) struct StreamInfo {
    block_size: u16,
    pub(crate) rate: u32,
    pub(crate) channels: u32,
    pub(crate) samples: u64,
}

/// `STREAMINFO` (RFC 9639, section 8.2), from its first byte on.
pub(crate) fn stream_info(bytes: &[u8]) -> Option<StreamInfo> {
    let packed = be64(bytes, 10)?;
    let info = StreamInfo {
        block_size: u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]),
        rate: (packed >> 44) as u32,
        channels: (packed >> 41 & 7) as u32 + 1,
        samples: packed & ((1 << 36) - 1),
    };
    (info.rate > 0).then_some(info)
}

/// Reads the facts of a FLAC file whose `fLaC` stands at `start`.
pub(crate) fn inspect<R: Read + Seek>(input: &mut Input<R>, start: u64) -> Result<Media, Error> {
    let head = input.peek(start + 4, 38)?;
    let is_info = be32(head, 0).is_some_and(|header| header & 0x7F00_0000 == 0);
    let info = head.get(4..).and_then(stream_info).filter(|_| is_info);
    let Some(info) = info else {
        return Err(Error::Malformed {
            message: "a FLAC file without stream information",
            offset: start,
        });
    };
    let said = if info.samples > 0 {
        Some(info.samples)
    } else {
        last_sample(input, &info)?
    };
    let samples = match frames(input, start, &info) {
        Ok(counted) => Some(counted),
        // What was looked at is whole.
        Err(Error::LimitExceeded { .. }) => said,
        Err(error) => return Err(error),
    };
    let mut media = Media::new(Format::Flac);
    media.has_audio = true;
    media.audio_codec = Some("flac".to_owned());
    media.sample_rate = Some(info.rate);
    media.channels = Some(info.channels);
    media.set_duration(samples.and_then(|samples| seconds(samples, info.rate)));
    Ok(media)
}

/// The number of samples in all frames, each of which has to be whole.
fn frames<R: Read + Seek>(input: &mut Input<R>, start: u64, info: &StreamInfo) -> Result<u64, Error> {
    let mut at = after_metadata(input, start)?;
    let mut samples = 0;
    while let Some(frame) = frame_header(input.peek(at, FRAME_HEADER)?, info) {
        input.count()?;
        samples += frame.samples;
        let last = samples == info.samples;
        at = frame_end(input, at, last, info)?.ok_or(Error::Malformed {
            message: "a frame is cut off or damaged",
            offset: at,
        })?;
        // What follows is no sound, whatever it is.
        if last {
            return Ok(samples);
        }
    }
    let rest = input.peek(at, 3)?;
    if samples < info.samples || !(rest.is_empty() || TAGS.contains(&rest)) {
        return Err(Error::Malformed {
            message: "a frame is missing or damaged",
            offset: at,
        });
    }
    Ok(samples)
}

/// Where the first frame begins (RFC 9639, section 8.1).
fn after_metadata<R: Read + Seek>(input: &mut Input<R>, start: u64) -> Result<u64, Error> {
    let mut at = start + 4;
    loop {
        input.count()?;
        let header = u32::from_be_bytes(input.array(at)?);
        at += 4 + u64::from(header & 0x00FF_FFFF);
        if header >> 31 == 1 {
            return Ok(at);
        }
    }
}

/// Where the frame ends that begins at `begin`: where its checksum is right and another frame follows, or nothing.
fn frame_end<R: Read + Seek>(
    input: &mut Input<R>,
    begin: u64,
    last: bool,
    info: &StreamInfo,
) -> Result<Option<u64>, Error> {
    let (mut at, mut crc, mut end) = (begin, 0, None);
    loop {
        let piece = input.peek(at, PIECE)?;
        let length = piece.len() as u64;
        let right = piece.iter().position(|byte| {
            crc = crc16(crc, *byte);
            crc == 0
        });
        match right {
            Some(right) => {
                at += right as u64 + 1;
                end = Some(at);
                // It may be right by chance in the middle of a frame.
                if last || frame_header(input.peek(at, FRAME_HEADER)?, info).is_some() {
                    return Ok(end);
                }
            }
            None if length == 0 => return Ok(end),
            None => at += length,
        }
    }
}

/// The number of samples by the header of the last frame.
fn last_sample<R: Read + Seek>(input: &mut Input<R>, info: &StreamInfo) -> Result<Option<u64>, Error> {
    let from = input.length().saturating_sub(TAIL);
    let tail = input.peek(from, usize::try_from(TAIL).unwrap_or(0))?;
    let frame = (0..tail.len())
        .rev()
        .find_map(|at| frame_header(&tail[at..], info));
    Ok(frame.and_then(|frame| frame.first_sample.checked_add(frame.samples)))
}

/// What the header of a frame says.
struct Frame {
    first_sample: u64,
    samples: u64,
}

/// The header that `bytes` begin with (RFC 9639, section 9.1).
fn frame_header(bytes: &[u8], info: &StreamInfo) -> Option<Frame> {
    let [0xFF, sync @ (0xF8 | 0xF9), sizes, layout, ..] = *bytes else {
        return None;
    };
    if layout & 1 != 0 || layout >> 4 > 10 {
        return None;
    }
    let (number, length) = coded_number(bytes.get(4..)?)?;
    let mut at = 4 + length;
    let samples = match sizes >> 4 {
        0 => return None,
        1 => 192,
        code @ 2..=5 => 576 << (code - 2),
        6 => {
            at += 1;
            u64::from(*bytes.get(at - 1)?) + 1
        }
        7 => {
            at += 2;
            u64::from(u16::from_be_bytes([*bytes.get(at - 2)?, *bytes.get(at - 1)?])) + 1
        }
        code => 256 << (code - 8),
    };
    at += match sizes & 15 {
        15 => return None,
        12 => 1,
        13 | 14 => 2,
        _ => 0,
    };
    if crc8(bytes.get(..at)?) != *bytes.get(at)? {
        return None;
    }
    // With blocks of one size the header counts frames, else samples.
    let first_sample = if sync == 0xF9 {
        number
    } else {
        number.checked_mul(info.block_size.into())?
    };
    Some(Frame {
        first_sample,
        samples,
    })
}

/// The number that the frame header codes like UTF-8, of up to seven bytes.
fn coded_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = match first.leading_ones() {
        0 => return Some((first.into(), 1)),
        ones @ 2..=7 => ones as usize,
        _ => return None,
    };
    let mut value = u64::from(first) & ((1 << (7 - length.min(7))) - 1);
    for byte in bytes.get(1..length)? {
        if byte >> 6 != 0b10 {
            return None;
        }
        value = value << 6 | u64::from(byte & 0x3F);
    }
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coded_numbers() {
        assert_eq!(coded_number(&[0x41]), Some((0x41, 1)));
        assert_eq!(coded_number(&[0xC2, 0x80]), Some((0x80, 2)));
        assert_eq!(coded_number(&[0xE2, 0x82, 0xAC]), Some((0x20AC, 3)));
        assert_eq!(
            coded_number(&[0xFE, 0x80, 0x80, 0x80, 0x80, 0x80, 0x81]),
            Some((1, 7))
        );
        assert_eq!(coded_number(&[0x80]), None);
        assert_eq!(coded_number(&[0xFF]), None);
        assert_eq!(coded_number(&[0xC2, 0x41]), None);
    }
}
