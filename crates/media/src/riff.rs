//! RIFF: WAVE (with RF64 and BW64) and AVI.

use std::io::{Read, Seek};
use std::ops::Range;

use crate::input::{Input, le16, le32, le64};
use crate::{Error, Format, Media, codec, seconds, thousandths};

/// Sizes from here on are those of writers that did not know how much would come: none of theirs is the same.
const UNKNOWN_SIZE_FROM: u32 = 0x7F00_0000;

/// Whether something that says it is `claimed` bytes long ends behind the file.
fn is_cut(claimed: u32, from: u64, end: u64) -> bool {
    claimed < UNKNOWN_SIZE_FROM && from + u64::from(claimed) > end
}

struct Chunk {
    kind: [u8; 4],
    /// For a `LIST`, its type.
    list: [u8; 4],
    body: Range<u64>,
    claimed: u32,
}

fn chunk<R: Read + Seek>(input: &mut Input<R>, at: u64, end: u64) -> Result<Option<Chunk>, Error> {
    if at.saturating_add(8) > end {
        return Ok(None);
    }
    input.count()?;
    let head = input.peek(at, 12)?;
    let (Some(kind), Some(claimed)) = (head.get(..4), le32(head, 4)) else {
        return Ok(None);
    };
    let kind = kind.try_into().unwrap_or_default();
    let list = head
        .get(8..12)
        .and_then(|list| list.try_into().ok())
        .unwrap_or_default();
    let body = at + 8..(at + 8 + u64::from(claimed)).min(end);
    Ok(Some(Chunk {
        kind,
        list,
        body,
        claimed,
    }))
}

fn each_chunk<R: Read + Seek>(
    input: &mut Input<R>,
    range: Range<u64>,
    mut each: impl FnMut(&mut Input<R>, &Chunk) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut at = range.start;
    while let Some(chunk) = chunk(input, at, range.end)? {
        each(input, &chunk)?;
        at = chunk.body.end + u64::from(chunk.claimed % 2);
    }
    Ok(())
}

/// Reads the facts of a WAVE or AVI file.
pub(crate) fn inspect<R: Read + Seek>(input: &mut Input<R>) -> Result<Media, Error> {
    match &input.array::<4>(8)? {
        b"WAVE" => wave(input),
        b"AVI " => avi(input),
        b"WEBP" => Err(Error::Unsupported {
            what: "a WebP picture",
        }),
        _ => Err(Error::Unsupported {
            what: "this RIFF file",
        }),
    }
}

struct WaveFormat {
    codec: Option<String>,
    linear: bool,
    channels: u16,
    rate: u32,
    bytes_per_second: u32,
    block: u16,
}

/// `WAVEFORMATEX`, and the tag inside `WAVEFORMATEXTENSIBLE`.
fn wave_format(bytes: &[u8]) -> Option<WaveFormat> {
    let mut tag = le16(bytes, 0)?;
    let bits = le16(bytes, 14).unwrap_or(0);
    if tag == 0xFFFE {
        tag = le16(bytes, 24)?;
    }
    Some(WaveFormat {
        codec: codec::of_wave(tag, bits),
        linear: matches!(tag, 1 | 3 | 6 | 7),
        channels: le16(bytes, 2)?,
        rate: le32(bytes, 4)?,
        bytes_per_second: le32(bytes, 8)?,
        block: le16(bytes, 12)?,
    })
}

fn wave<R: Read + Seek>(input: &mut Input<R>) -> Result<Media, Error> {
    let end = input.length();
    let mut format = None;
    let mut data = None;
    let mut samples = None;
    let mut long_data = None;
    let mut at = 12;
    while let Some(chunk) = chunk(input, at, end)? {
        let mut next = chunk.body.end;
        match &chunk.kind {
            b"fmt " if format.is_none() => format = wave_format(input.peek(chunk.body.start, 40)?),
            b"fact" => samples = le32(input.peek(chunk.body.start, 4)?, 0),
            b"ds64" => long_data = le64(input.peek(chunk.body.start, 16)?, 8),
            b"data"
                if data.is_none() && long_data.is_none() && is_cut(chunk.claimed, chunk.body.start, end) =>
            {
                return Err(Error::Malformed {
                    message: "a WAVE file that is cut off in its data",
                    offset: end,
                });
            }
            b"data" if data.is_none() => {
                let size = match (chunk.claimed, long_data) {
                    (u32::MAX, Some(size)) => size,
                    // Written to a pipe: the size was never filled in.
                    (u32::MAX | 0, None) => end - chunk.body.start,
                    (size, _) => size.into(),
                };
                let size = size.min(end - chunk.body.start);
                data = Some(size);
                next = chunk.body.start + size;
            }
            _ => {}
        }
        at = next + u64::from(chunk.claimed % 2);
    }
    let Some(format) = format else {
        return Err(Error::Malformed {
            message: "a WAVE file without a format chunk",
            offset: end,
        });
    };
    let Some(data) = data else {
        return Err(Error::Malformed {
            message: "a WAVE file without a data chunk",
            offset: end,
        });
    };
    if format.rate == 0 || format.channels == 0 {
        return Err(Error::Malformed {
            message: "a WAVE file without a sample rate or channels",
            offset: end,
        });
    }
    let mut media = Media::new(Format::Wav);
    media.has_audio = true;
    let by_bytes = if format.linear && format.block > 0 {
        seconds(data / u64::from(format.block), format.rate)
    } else {
        seconds(data, format.bytes_per_second)
    };
    let by_samples = samples.filter(|samples| !format.linear && *samples > 0);
    media.set_duration(
        by_samples
            .and_then(|samples| seconds(samples.into(), format.rate))
            .or(by_bytes),
    );
    media.audio_codec = format.codec;
    media.sample_rate = Some(format.rate).filter(|rate| *rate > 0);
    media.channels = Some(format.channels.into()).filter(|channels| *channels > 0);
    Ok(media)
}

/// A stream of an AVI file: `strh` and `strf`.
#[derive(Default)]
struct Stream {
    kind: [u8; 4],
    scale: u32,
    rate: u32,
    length: u32,
    video: Option<([u8; 4], u32, u32)>,
    audio: Option<WaveFormat>,
}

fn avi<R: Read + Seek>(input: &mut Input<R>) -> Result<Media, Error> {
    let end = input.length();
    let claimed = u32::from_le_bytes(input.array(4)?);
    if is_cut(claimed, 8, end) {
        return Err(Error::Malformed {
            message: "an AVI file that is cut off",
            offset: end,
        });
    }
    let mut streams: Vec<Stream> = Vec::new();
    let mut total_frames = 0;
    let mut header = None;
    // Whatever follows the headers is not needed: the walk ends at the first header list.
    let mut at = 12;
    while let Some(chunk) = chunk(input, at, end)? {
        if &chunk.kind == b"LIST" && &chunk.list == b"hdrl" {
            header = Some(chunk.body.start + 4..chunk.body.end);
            break;
        }
        at = chunk.body.end + u64::from(chunk.claimed % 2);
    }
    let Some(header) = header else {
        return Err(Error::Malformed {
            message: "an AVI file without headers",
            offset: end,
        });
    };
    each_chunk(input, header, |input, chunk| {
        if &chunk.kind != b"LIST" || chunk.body.is_empty() {
            return Ok(());
        }
        let inner = (chunk.body.start + 4).min(chunk.body.end)..chunk.body.end;
        match &chunk.list {
            b"strl" if streams.len() < 64 => {
                let stream = read_stream(input, inner)?;
                streams.push(stream);
            }
            // OpenDML: the frames of all the RIFF chunks of the file, which `strh` cannot count.
            b"odml" => each_chunk(input, inner, |input, chunk| {
                if &chunk.kind == b"dmlh" {
                    total_frames = le32(input.peek(chunk.body.start, 4)?, 0).unwrap_or(0);
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    avi_facts(streams, total_frames, end)
}

fn read_stream<R: Read + Seek>(input: &mut Input<R>, range: Range<u64>) -> Result<Stream, Error> {
    let mut stream = Stream::default();
    each_chunk(input, range, |input, chunk| {
        match &chunk.kind {
            b"strh" => {
                let head = input.peek(chunk.body.start, 56)?;
                stream.kind = head
                    .get(..4)
                    .and_then(|kind| kind.try_into().ok())
                    .unwrap_or_default();
                stream.scale = le32(head, 20).unwrap_or(0);
                stream.rate = le32(head, 24).unwrap_or(0);
                stream.length = le32(head, 32).unwrap_or(0);
            }
            b"strf" if &stream.kind == b"vids" => {
                let head = input.peek(chunk.body.start, 40)?;
                let kind = head.get(16..20).and_then(|kind| kind.try_into().ok());
                // A negative height says that the rows go from the top down.
                let sides =
                    le32(head, 4).zip(le32(head, 8).map(|height| (height.cast_signed()).unsigned_abs()));
                stream.video = kind
                    .zip(sides)
                    .map(|(kind, (width, height))| (kind, width, height));
            }
            b"strf" if &stream.kind == b"auds" => {
                stream.audio = wave_format(input.peek(chunk.body.start, 40)?);
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(stream)
}

fn avi_facts(streams: Vec<Stream>, total_frames: u32, end: u64) -> Result<Media, Error> {
    let mut media = Media::new(Format::Avi);
    let mut longest = 0.0_f64;
    for stream in streams {
        let frames = if stream.video.is_some() {
            stream.length.max(total_frames)
        } else {
            stream.length
        };
        let duration = seconds(u64::from(frames) * u64::from(stream.scale), stream.rate);
        if let Some((kind, width, height)) = stream.video
            && !media.has_video
        {
            media.has_video = true;
            media.video_codec = codec::of_avi(kind);
            media.width = Some(width).filter(|side| *side > 0);
            media.height = Some(height).filter(|side| *side > 0);
            media.frame_rate = seconds(stream.rate.into(), stream.scale).and_then(thousandths);
            longest = longest.max(duration.unwrap_or(0.0));
        } else if let Some(format) = stream.audio
            && !media.has_audio
        {
            media.has_audio = true;
            media.audio_codec = format.codec;
            media.sample_rate = Some(format.rate).filter(|rate| *rate > 0);
            media.channels = Some(format.channels.into()).filter(|channels| *channels > 0);
            longest = longest.max(duration.unwrap_or(0.0));
        }
    }
    if !media.has_video && !media.has_audio {
        return Err(Error::Malformed {
            message: "an AVI file without a video or sound stream",
            offset: end,
        });
    }
    media.set_duration(Some(longest));
    Ok(media)
}
