//! Ogg (RFC 3533): Vorbis, Opus (RFC 7845), FLAC, Speex and Theora.
//!
//! The first pages name the streams, the last page of a stream says when it ends. Every page has a checksum, so all are
//! walked; where that takes too much, the last page is looked for in the last 64 KiB, which every page fits into.

use std::io::{Read, Seek};

use crate::checksum::crc32;
use crate::input::{Input, be16, be32, le16, le32, le64};
use crate::mp4_sample::displayed_width;
use crate::{Error, Format, Media, flac, seconds, thousandths};

const STREAMS: usize = 16;
/// The longest page has 65,307 bytes.
const PAGE: usize = 64 * 1024;

struct Page {
    first: bool,
    granule: u64,
    serial: u32,
    body: u64,
    end: u64,
}

/// The page at `at` (RFC 3533, section 6).
fn page<R: Read + Seek>(input: &mut Input<R>, at: u64) -> Result<Option<Page>, Error> {
    input.count()?;
    let head = input.peek(at, 27 + 255)?;
    let page = parse_page(head, at);
    Ok(page)
}

fn parse_page(head: &[u8], at: u64) -> Option<Page> {
    if !head.starts_with(b"OggS\0") {
        return None;
    }
    let segments = usize::from(*head.get(26)?);
    let sizes = head.get(27..27 + segments)?;
    let body = at + 27 + segments as u64;
    Some(Page {
        first: head[5] & 2 != 0,
        granule: le64(head, 6)?,
        serial: le32(head, 14)?,
        body,
        end: body + sizes.iter().map(|size| u64::from(*size)).sum::<u64>(),
    })
}

/// How granule positions of a stream become seconds.
enum Clock {
    Samples {
        rate: u32,
        skip: u64,
    },
    Frames {
        numerator: u32,
        denominator: u32,
        shift: u32,
    },
}

impl Clock {
    fn seconds(&self, granule: u64) -> Option<f64> {
        match *self {
            Self::Samples { rate, skip } => seconds(granule.saturating_sub(skip), rate),
            Self::Frames {
                numerator,
                denominator,
                shift,
            } => {
                let frames = (granule >> shift).saturating_add(granule & ((1 << shift) - 1));
                Some(seconds(frames, numerator)? * f64::from(denominator))
            }
        }
    }
}

/// Reads the facts of an Ogg file.
pub(crate) fn inspect<R: Read + Seek>(input: &mut Input<R>) -> Result<Media, Error> {
    let mut media = Media::new(Format::Ogg);
    let mut clocks: Vec<(u32, Clock)> = Vec::new();
    let mut at = 0;
    while let Some(page) = page(input, at)? {
        if !page.first || clocks.len() >= STREAMS {
            break;
        }
        let length = usize::try_from(page.end - page.body).unwrap_or(0).min(256);
        let packet = input.peek(page.body, length)?;
        if let Some(clock) = identification(packet, &mut media) {
            clocks.push((page.serial, clock));
        }
        at = page.end;
    }
    if clocks.is_empty() {
        return Err(Error::Unsupported {
            what: "this Ogg stream",
        });
    }
    let by_the_end = last_pages(input, &clocks, at)?;
    media.set_duration(match all_pages(input, &clocks, at) {
        Err(Error::LimitExceeded { .. }) => by_the_end,
        other => other?,
    });
    Ok(media)
}

/// The end of the longest stream, by the last page of each; nothing where streams follow one another.
fn last_pages<R: Read + Seek>(
    input: &mut Input<R>,
    clocks: &[(u32, Clock)],
    headers_end: u64,
) -> Result<Option<f64>, Error> {
    let length = input.length();
    let from = length.saturating_sub(PAGE as u64);
    let tail = input.peek(from, PAGE)?;
    let mut longest = None;
    for at in 0..tail.len().saturating_sub(26) {
        let Some(page) = parse_page(&tail[at..], from + at as u64) else {
            continue;
        };
        let clock = clocks.iter().find(|(serial, _)| *serial == page.serial);
        let Some((_, clock)) = clock.filter(|_| !page.first || page.body <= headers_end) else {
            return Ok(None);
        };
        if page.granule != u64::MAX {
            let end = clock.seconds(page.granule);
            longest = if end > longest { end } else { longest };
        }
    }
    Ok(longest)
}

/// How long it plays, page by page, each of which has to be whole. The durations of streams that follow one another are
/// added up.
fn all_pages<R: Read + Seek>(
    input: &mut Input<R>,
    clocks: &[(u32, Clock)],
    headers_end: u64,
) -> Result<Option<f64>, Error> {
    let mut before = 0.0;
    let mut current = 0.0_f64;
    let mut later: Vec<(u32, Clock)> = Vec::new();
    let mut at = 0;
    let mut in_headers = true;
    while let Some(page) = page(input, at)? {
        check(input, at, &page)?;
        if page.first && at >= headers_end {
            if !in_headers {
                before += current;
                current = 0.0;
                later.clear();
            }
            in_headers = true;
            let length = usize::try_from(page.end - page.body).unwrap_or(0).min(256);
            let packet = input.peek(page.body, length)?;
            if let Some(clock) = identification(packet, &mut Media::new(Format::Ogg))
                && later.len() < STREAMS
            {
                later.push((page.serial, clock));
            }
        } else if at >= headers_end {
            in_headers = false;
            let clock = later
                .iter()
                .chain(clocks)
                .find(|(serial, _)| *serial == page.serial);
            if let Some((_, clock)) = clock
                && page.granule != u64::MAX
            {
                current = current.max(clock.seconds(page.granule).unwrap_or(0.0));
            }
        }
        at = page.end;
    }
    if input.peek(at, 4)?.starts_with(b"Ogg") || another_page(input, at)? {
        return Err(Error::Malformed {
            message: "a page is cut off or damaged",
            offset: at,
        });
    }
    Ok(Some(before + current).filter(|seconds| *seconds > 0.0))
}

/// Whether the checksum of the page at `at` is right, for which its own field counts as zero.
fn check<R: Read + Seek>(input: &mut Input<R>, at: u64, page: &Page) -> Result<(), Error> {
    let length = usize::try_from(page.end - at).unwrap_or(usize::MAX);
    let bytes = input.peek(at, length)?;
    let right = bytes.len() == length
        && bytes.split_at_checked(22).is_some_and(|(head, rest)| {
            let (said, body) = rest.split_at(4);
            let crc = crc32(crc32(crc32(0, head), &[0; 4]), body);
            said == crc.to_le_bytes()
        });
    if right {
        return Ok(());
    }
    Err(Error::Malformed {
        message: "a page is cut off or damaged",
        offset: at,
    })
}

/// Whether pages go on after something that is none, which may be a tag at the end.
fn another_page<R: Read + Seek>(input: &mut Input<R>, mut at: u64) -> Result<bool, Error> {
    loop {
        let piece = input.peek(at, PAGE)?;
        if piece.len() < 5 {
            return Ok(false);
        }
        if piece.windows(5).any(|bytes| bytes == b"OggS\0") {
            return Ok(true);
        }
        // A name that lies across two pieces is in the second one whole.
        at += piece.len() as u64 - 4;
    }
}

/// Takes the facts from a stream's first packet.
fn identification(packet: &[u8], media: &mut Media) -> Option<Clock> {
    if packet.starts_with(b"\x80theora") {
        return theora(packet, media);
    }
    let (codec, rate, channels, clock) = if packet.starts_with(b"\x01vorbis") {
        let rate = le32(packet, 12)?;
        (
            "vorbis",
            rate,
            u32::from(*packet.get(11)?),
            Clock::Samples { rate, skip: 0 },
        )
    } else if packet.starts_with(b"OpusHead") {
        // Opus is always decoded at 48 kHz; the header's rate is that of the source.
        let skip = le16(packet, 10)?.into();
        (
            "opus",
            48_000,
            u32::from(*packet.get(9)?),
            Clock::Samples { rate: 48_000, skip },
        )
    } else if packet.starts_with(b"\x7FFLAC") {
        let info = flac::stream_info(packet.get(17..)?)?;
        (
            "flac",
            info.rate,
            info.channels,
            Clock::Samples {
                rate: info.rate,
                skip: 0,
            },
        )
    } else if packet.starts_with(b"Speex   ") {
        let rate = le32(packet, 36)?;
        ("speex", rate, le32(packet, 48)?, Clock::Samples { rate, skip: 0 })
    } else {
        return None;
    };
    if !media.has_audio {
        media.has_audio = true;
        media.audio_codec = Some(codec.to_owned());
        media.sample_rate = Some(rate).filter(|rate| *rate > 0);
        media.channels = Some(channels).filter(|channels| *channels > 0);
    }
    Some(clock)
}

/// The identification header of Theora (specification, section 6.2).
fn theora(packet: &[u8], media: &mut Media) -> Option<Clock> {
    let width = be32(packet, 13)? & 0x00FF_FFFF;
    let height = be32(packet, 16)? & 0x00FF_FFFF;
    let (numerator, denominator) = (be32(packet, 22)?, be32(packet, 26)?);
    let (across, down) = (be32(packet, 29)? & 0x00FF_FFFF, be32(packet, 32)? & 0x00FF_FFFF);
    let shift = u32::from(be16(packet, 40)? >> 5 & 0x1F);
    if !media.has_video {
        media.has_video = true;
        media.video_codec = Some("theora".to_owned());
        media.width = Some(displayed_width(width, Some((across, down)))).filter(|side| *side > 0);
        media.height = Some(height).filter(|side| *side > 0);
        media.frame_rate = seconds(numerator.into(), denominator).and_then(thousandths);
    }
    Some(Clock::Frames {
        numerator,
        denominator,
        shift,
    })
}
