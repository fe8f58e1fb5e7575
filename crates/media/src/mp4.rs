//! ISO base media (ISO/IEC 14496-12) and QuickTime: MP4, MOV, M4A, 3GP.
//!
//! Boxes are found by seeking from header to header, so `mdat` costs one read wherever `moov` stands. The nesting is
//! that of this code, not of the file. A damaged box ends the list it stands in; what was read before it counts.

use std::io::{Read, Seek};
use std::ops::Range;

use crate::input::{Input, be32, be64};
use crate::mp4_sample::{self, SampleEntry};
use crate::{Error, Format, Media, seconds, thousandths};

/// Entries of a time-to-sample table that are added up. Over it the frame rate stays unknown.
const TIME_TO_SAMPLE_ENTRIES: u64 = 500_000;
const TRACKS: usize = 256;

/// Whether the first bytes are those of an ISO base media or QuickTime file.
pub(crate) fn is_mp4(head: &[u8]) -> bool {
    let plausible_size = matches!(be32(head, 0), Some(0 | 1 | 8..));
    let known = matches!(
        head.get(4..8),
        Some(b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip" | b"pnot" | b"styp" | b"moof")
    );
    plausible_size && known
}

/// One box: its type and where its content is.
struct Atom {
    kind: [u8; 4],
    body: Range<u64>,
    /// It says that it is longer than what it stands in.
    cut: bool,
}

/// The box at `at`, inside a parent that ends at `end`; nothing where there is no room for one. The second value is
/// where the box says it ends, which may be past `end`.
fn atom<R: Read + Seek>(input: &mut Input<R>, at: u64, end: u64) -> Result<Option<(Atom, u64)>, Error> {
    if at.saturating_add(8) > end {
        return Ok(None);
    }
    input.count()?;
    let head = input.peek(at, 16)?;
    let (Some(short), Some(kind)) = (be32(head, 0), head.get(4..8)) else {
        return Ok(None);
    };
    let kind = kind.try_into().unwrap_or_default();
    let (header, size) = match short {
        0 => (8, end - at),
        1 => (16, be64(head, 8).unwrap_or(0)),
        size => (8, u64::from(size)),
    };
    if size < header {
        return Ok(None);
    }
    let claimed = at.saturating_add(size);
    Ok(Some((
        Atom {
            kind,
            body: at + header..claimed.min(end).max(at + header),
            cut: claimed > end,
        },
        claimed,
    )))
}

/// Calls `each` for the boxes in `range`, one after the other.
fn each_atom<R: Read + Seek>(
    input: &mut Input<R>,
    range: Range<u64>,
    mut each: impl FnMut(&mut Input<R>, &Atom) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut at = range.start;
    while let Some((atom, claimed)) = atom(input, at, range.end)? {
        each(input, &atom)?;
        at = claimed;
    }
    Ok(())
}

#[derive(Default)]
struct Track {
    id: u32,
    handler: [u8; 4],
    enabled: bool,
    quarter_turn: bool,
    timescale: u32,
    duration: u64,
    /// The edit list's total, in the movie's timescale.
    edited: Option<u64>,
    samples: u64,
    samples_duration: u64,
    entry: Option<SampleEntry>,
    /// From `trex`: the duration of a fragment's sample that gives none itself.
    default_sample_duration: u32,
    /// Where the track's fragments end, and how many samples they have.
    fragments_end: u64,
    fragments_samples: u64,
}

impl Track {
    fn is(&self, handler: [u8; 4]) -> bool {
        self.handler == handler && self.entry.is_some()
    }

    fn seconds(&self, movie_timescale: u32) -> Option<f64> {
        if self.fragments_end > 0 {
            let end = self.fragments_end.max(self.duration);
            return seconds(end, self.timescale);
        }
        if let Some(edited) = self.edited.filter(|edited| *edited > 0) {
            return seconds(edited, movie_timescale);
        }
        let duration = if self.duration > 0 {
            self.duration
        } else {
            self.samples_duration
        };
        seconds(duration, self.timescale)
    }

    fn frame_rate(&self) -> Option<f64> {
        let (samples, duration) = if self.fragments_samples > 0 {
            (self.fragments_samples, self.fragments_end)
        } else {
            (self.samples, self.samples_duration)
        };
        let rate = samples as f64 / seconds(duration, self.timescale)?;
        thousandths(rate).filter(|rate| *rate > 0.0)
    }
}

#[derive(Default)]
struct Movie {
    timescale: u32,
    duration: u64,
    fragments_duration: u64,
    tracks: Vec<Track>,
    seen: bool,
}

/// Reads the facts of an ISO base media file.
pub(crate) fn inspect<R: Read + Seek>(input: &mut Input<R>) -> Result<Media, Error> {
    let end = input.length();
    let mut movie = Movie::default();
    let mut picture = false;
    let walked = each_atom(input, 0..end, |input, atom| {
        match &atom.kind {
            b"ftyp" => {
                let brand: [u8; 4] = input.array(atom.body.start).unwrap_or_default();
                picture = matches!(
                    &brand,
                    b"heic" | b"heix" | b"heim" | b"mif1" | b"avif" | b"avis" | b"msf1"
                );
            }
            b"moov" if !movie.seen => read_movie(input, atom.body.clone(), &mut movie)?,
            b"mdat" if atom.cut => {
                return Err(Error::Malformed {
                    message: "the file is cut off in its media data",
                    offset: end,
                });
            }
            b"moof" if movie.seen => read_fragment(input, atom.body.clone(), &mut movie)?,
            _ => {}
        }
        Ok(())
    });
    match walked {
        // Too many fragments: the tracks are known, the end is not. A shorter duration than the true one is no fact.
        Err(Error::LimitExceeded { .. }) if !movie.tracks.is_empty() => {
            for track in movie.tracks.iter_mut().filter(|track| track.fragments_end > 0) {
                (track.fragments_end, track.fragments_samples, track.timescale) = (0, 0, 0);
            }
        }
        other => other?,
    }
    if !movie.seen {
        return Err(if picture {
            Error::Unsupported {
                what: "a still picture (HEIF, AVIF)",
            }
        } else {
            Error::Malformed {
                message: "an MP4 file without a moov box",
                offset: end,
            }
        });
    }
    facts(&movie, end)
}

fn facts(movie: &Movie, end: u64) -> Result<Media, Error> {
    let mut media = Media::new(Format::Mp4);
    let any_enabled = movie.tracks.iter().any(|track| track.enabled);
    let first = |handler| {
        movie
            .tracks
            .iter()
            .find(|t| t.is(handler) && (t.enabled || !any_enabled))
    };
    if let Some(track) = first(*b"vide") {
        media.has_video = true;
        media.frame_rate = track.frame_rate();
        if let Some(entry) = &track.entry {
            media.video_codec.clone_from(&entry.codec);
            let (width, height) = entry.displayed();
            let (width, height) = if track.quarter_turn {
                (height, width)
            } else {
                (width, height)
            };
            media.width = Some(width).filter(|side| *side > 0);
            media.height = Some(height).filter(|side| *side > 0);
        }
    }
    if let Some(entry) = first(*b"soun").and_then(|track| track.entry.as_ref()) {
        media.has_audio = true;
        media.audio_codec.clone_from(&entry.codec);
        media.sample_rate = Some(entry.sample_rate).filter(|rate| *rate > 0);
        media.channels = Some(entry.channels).filter(|channels| *channels > 0);
    }
    if !media.has_video && !media.has_audio {
        return Err(Error::Malformed {
            message: "an MP4 file without a video or sound track",
            offset: end,
        });
    }
    let longest = movie
        .tracks
        .iter()
        .filter(|track| track.is(*b"vide") || track.is(*b"soun"))
        .filter_map(|track| track.seconds(movie.timescale))
        .fold(0.0, f64::max);
    let movie_duration = movie.duration.max(movie.fragments_duration);
    let longest = if longest > 0.0 {
        Some(longest)
    } else {
        seconds(movie_duration, movie.timescale)
    };
    media.set_duration(longest);
    Ok(media)
}

fn read_movie<R: Read + Seek>(
    input: &mut Input<R>,
    range: Range<u64>,
    movie: &mut Movie,
) -> Result<(), Error> {
    movie.seen = true;
    let mut defaults = Vec::new();
    each_atom(input, range, |input, atom| {
        match &atom.kind {
            b"mvhd" => (movie.timescale, movie.duration) = read_times(input, atom)?,
            b"trak" if movie.tracks.len() < TRACKS => {
                let track = read_track(input, atom.body.clone())?;
                movie.tracks.push(track);
            }
            b"mvex" => each_atom(input, atom.body.clone(), |input, atom| {
                let body = input.peek(atom.body.start, 24)?;
                match &atom.kind {
                    b"trex" if defaults.len() < TRACKS => {
                        defaults.extend(be32(body, 4).zip(be32(body, 12)));
                    }
                    b"mehd" => {
                        let long = body.first() == Some(&1);
                        let duration = if long {
                            be64(body, 4)
                        } else {
                            be32(body, 4).map(u64::from)
                        };
                        movie.fragments_duration = duration.unwrap_or(0);
                    }
                    _ => {}
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    for track in &mut movie.tracks {
        let default = defaults.iter().find(|(id, _)| *id == track.id);
        track.default_sample_duration = default.map_or(0, |(_, duration)| *duration);
    }
    Ok(())
}

/// Timescale and duration of `mvhd` or `mdhd`. All ones is how a writer says that it did not know.
fn read_times<R: Read + Seek>(input: &mut Input<R>, atom: &Atom) -> Result<(u32, u64), Error> {
    let body = input.peek(atom.body.start, 32)?;
    if body.first() == Some(&1) {
        let duration = be64(body, 24).filter(|duration| *duration != u64::MAX);
        Ok((be32(body, 20).unwrap_or(0), duration.unwrap_or(0)))
    } else {
        let duration = be32(body, 16).filter(|duration| *duration != u32::MAX);
        Ok((be32(body, 12).unwrap_or(0), u64::from(duration.unwrap_or(0))))
    }
}

fn read_track<R: Read + Seek>(input: &mut Input<R>, range: Range<u64>) -> Result<Track, Error> {
    let mut track = Track::default();
    each_atom(input, range, |input, atom| {
        match &atom.kind {
            b"tkhd" => {
                let body = input.peek(atom.body.start, 96)?;
                let long = usize::from(body.first() == Some(&1));
                track.enabled = body.get(3).is_some_and(|flags| flags & 1 != 0);
                track.id = be32(body, 12 + long * 8).unwrap_or(0);
                let matrix = 40 + long * 12;
                let [a, b, c, d] = [0, 4, 12, 16].map(|at| be32(body, matrix + at).unwrap_or(0));
                track.quarter_turn = a == 0 && d == 0 && b != 0 && c != 0;
            }
            b"edts" => each_atom(input, atom.body.clone(), |input, atom| {
                if &atom.kind == b"elst" {
                    track.edited = read_edit_list(input, atom)?;
                }
                Ok(())
            })?,
            b"mdia" => read_media(input, atom.body.clone(), &mut track)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(track)
}

/// How long all edits of a list last together, in the movie's timescale.
fn read_edit_list<R: Read + Seek>(input: &mut Input<R>, atom: &Atom) -> Result<Option<u64>, Error> {
    let head = input.peek(atom.body.start, 8)?;
    let long = head.first() == Some(&1);
    let count = be32(head, 4).unwrap_or(0);
    let size = if long { 20 } else { 12 };
    let mut total = 0_u64;
    for index in 0..u64::from(count) {
        let at = atom.body.start + 8 + index * size;
        if at + size > atom.body.end {
            break;
        }
        input.count()?;
        let entry = input.peek(at, 8)?;
        let duration = if long {
            be64(entry, 0)
        } else {
            be32(entry, 0).map(u64::from)
        };
        total = total.saturating_add(duration.unwrap_or(0));
    }
    Ok(Some(total))
}

fn read_media<R: Read + Seek>(
    input: &mut Input<R>,
    range: Range<u64>,
    track: &mut Track,
) -> Result<(), Error> {
    let mut table = None;
    each_atom(input, range, |input, atom| {
        match &atom.kind {
            b"mdhd" => (track.timescale, track.duration) = read_times(input, atom)?,
            b"hdlr" => track.handler = input.array(atom.body.start + 8).unwrap_or_default(),
            b"minf" => each_atom(input, atom.body.clone(), |_, atom| {
                if &atom.kind == b"stbl" {
                    table = Some(atom.body.clone());
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    let Some(table) = table else { return Ok(()) };
    each_atom(input, table, |input, atom| {
        match &atom.kind {
            b"stsd" => {
                let entries = atom.body.start + 8;
                if let Some((entry, _)) = self::atom(input, entries, atom.body.end)? {
                    let handler = track.handler;
                    track.entry = mp4_sample::read(input, entry.kind, entry.body, handler)?;
                }
            }
            b"stts" => (track.samples, track.samples_duration) = read_time_to_sample(input, atom)?,
            _ => {}
        }
        Ok(())
    })
}

/// How many samples a time-to-sample table has, and how long they last in the track's timescale.
fn read_time_to_sample<R: Read + Seek>(input: &mut Input<R>, atom: &Atom) -> Result<(u64, u64), Error> {
    let count = u64::from(be32(input.peek(atom.body.start, 8)?, 4).unwrap_or(0));
    let present = atom.body.end.saturating_sub(atom.body.start + 8) / 8;
    if count > present || count > TIME_TO_SAMPLE_ENTRIES {
        return Ok((0, 0));
    }
    let (mut samples, mut duration) = (0_u64, 0_u64);
    let mut at = atom.body.start + 8;
    let end = at + count * 8;
    while at < end {
        let chunk = input.peek(at, usize::try_from(end - at).unwrap_or(usize::MAX).min(4096))?;
        if chunk.len() < 8 {
            break;
        }
        let mut used = 0;
        for entry in chunk.chunks_exact(8) {
            let (number, each) = (be32(entry, 0).unwrap_or(0), be32(entry, 4).unwrap_or(0));
            samples = samples.saturating_add(number.into());
            duration = duration.saturating_add(u64::from(number) * u64::from(each));
            used += 8;
        }
        at += used;
    }
    Ok((samples, duration))
}

/// Adds a movie fragment to its tracks.
fn read_fragment<R: Read + Seek>(
    input: &mut Input<R>,
    range: Range<u64>,
    movie: &mut Movie,
) -> Result<(), Error> {
    each_atom(input, range, |input, atom| {
        if &atom.kind != b"traf" {
            return Ok(());
        }
        let mut id = 0;
        let mut default_duration = None;
        let mut start = None;
        let (mut samples, mut duration) = (0_u64, 0_u64);
        let tracks = &movie.tracks;
        each_atom(input, atom.body.clone(), |input, atom| {
            let body = input.peek(atom.body.start, 24)?;
            let flags = be32(body, 0).unwrap_or(0);
            match &atom.kind {
                b"tfhd" => {
                    id = be32(body, 4).unwrap_or(0);
                    // Optional fields in this order: base data offset (8), description index (4), duration (4).
                    let at = 8 + if flags & 1 != 0 { 8 } else { 0 } + if flags & 2 != 0 { 4 } else { 0 };
                    default_duration = if flags & 8 != 0 { be32(body, at) } else { None };
                }
                b"tfdt" => {
                    let long = body.first() == Some(&1);
                    start = if long {
                        be64(body, 4)
                    } else {
                        be32(body, 4).map(u64::from)
                    };
                }
                b"trun" => {
                    let trex = tracks.iter().find(|track| track.id == id);
                    let default = default_duration
                        .unwrap_or_else(|| trex.map_or(0, |track| track.default_sample_duration));
                    let (number, length) = read_run(input, atom, default)?;
                    samples = samples.saturating_add(number);
                    duration = duration.saturating_add(length);
                }
                _ => {}
            }
            Ok(())
        })?;
        if let Some(track) = movie.tracks.iter_mut().find(|track| track.id == id) {
            let start = start.unwrap_or(track.fragments_end);
            track.fragments_end = track.fragments_end.max(start.saturating_add(duration));
            track.fragments_samples = track.fragments_samples.saturating_add(samples);
        }
        Ok(())
    })
}

/// How many samples a track run has, and how long they last.
fn read_run<R: Read + Seek>(input: &mut Input<R>, atom: &Atom, default: u32) -> Result<(u64, u64), Error> {
    let head = input.peek(atom.body.start, 8)?;
    let flags = be32(head, 0).unwrap_or(0) & 0x00FF_FFFF;
    let count = u64::from(be32(head, 4).unwrap_or(0));
    if flags & 0x100 == 0 {
        return Ok((count, count * u64::from(default)));
    }
    let mut at = atom.body.start + 8 + u64::from((flags & 1) * 4) + u64::from(flags & 4);
    let size = 4 * u64::from((flags & 0xF00).count_ones());
    let mut duration = 0_u64;
    for index in 0..count {
        if at + size > atom.body.end {
            return Ok((index, duration));
        }
        input.count()?;
        duration = duration.saturating_add(be32(input.peek(at, 4)?, 0).unwrap_or(0).into());
        at += size;
    }
    Ok((count, duration))
}
