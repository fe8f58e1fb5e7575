//! Media: what a video or a sound file is and how long it lasts, read from its headers.
//!
//! The service has to show a duration and the dimensions of what people upload, and cannot believe the client about
//! them. Nothing is decoded: MP4/MOV/M4A/3GP, Matroska/WebM, AVI, MP3, WAV, FLAC, Ogg and ADTS keep these facts in
//! boxes, chunks, pages and frame headers. FLAC and Ogg have checksums besides, which are looked at. The readers take hostile input: they never recurse by the file's will,
//! never allocate by the file's numbers, and stop at [`Limits`].

#![expect(
    clippy::cast_sign_loss,
    reason = "what is cast was found to be positive just before"
)]

mod adts;
mod checksum;
mod codec;
mod error;
mod flac;
mod input;
mod matroska;
mod mp3;
mod mp4;
mod mp4_sample;
mod ogg;
mod poster;
mod riff;

use std::io::{Read, Seek};
use std::time::Duration;

pub use error::Error;
use input::Input;
pub use poster::{PosterCommand, poster_command};

/// How much a file may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Boxes, elements, pages and frames looked at.
    pub elements: u64,
    /// Bytes read, of all reads together.
    pub bytes_read: u64,
    /// Wall-clock time.
    pub time: Duration,
}

impl Default for Limits {
    /// Two million elements, 512 MiB, 1.5 seconds.
    fn default() -> Self {
        Self {
            elements: 2_000_000,
            bytes_read: 512 << 20,
            time: Duration::from_millis(1_500),
        }
    }
}

/// The container of a media file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// ISO base media and QuickTime: MP4, MOV, M4A, 3GP.
    Mp4,
    /// Matroska.
    Matroska,
    /// WebM.
    WebM,
    /// AVI.
    Avi,
    /// MPEG audio, layers I to III.
    Mp3,
    /// RIFF/WAVE, RF64 and BW64.
    Wav,
    /// Native FLAC.
    Flac,
    /// Ogg: Vorbis, Opus, FLAC, Speex, Theora.
    Ogg,
    /// AAC in ADTS frames.
    Adts,
}

impl Format {
    /// The name of the format in facts: `mp4`, `matroska`, `webm`, `avi`, `mp3`, `wav`, `flac`, `ogg`, `aac`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Matroska => "matroska",
            Self::WebM => "webm",
            Self::Avi => "avi",
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Adts => "aac",
        }
    }
}

/// What was found out about a media file. What the file does not say, or what would cost more than the limits to find
/// out, is `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct Media {
    /// The container.
    pub format: Format,
    /// How long it plays, in seconds, rounded to three decimals.
    pub duration_seconds: Option<f64>,
    /// Pixels across, as displayed: after rotation and pixel aspect ratio.
    pub width: Option<u32>,
    /// Pixels down, as displayed.
    pub height: Option<u32>,
    /// Whether there is a video track. A cover picture is none.
    pub has_video: bool,
    /// Whether there is a sound track.
    pub has_audio: bool,
    /// The codec of the first video track, by ffmpeg's name: `h264`, `hevc`, `vp9`, `av1`, ..
    pub video_codec: Option<String>,
    /// The codec of the first sound track, by ffmpeg's name: `aac`, `opus`, `mp3`, `pcm_s16le`, ..
    pub audio_codec: Option<String>,
    /// Samples a second of the first sound track.
    pub sample_rate: Option<u32>,
    /// Channels of the first sound track.
    pub channels: Option<u32>,
    /// Mean frames a second of the first video track, rounded to three decimals.
    pub frame_rate: Option<f64>,
}

impl Media {
    fn new(format: Format) -> Self {
        Self {
            format,
            duration_seconds: None,
            width: None,
            height: None,
            has_video: false,
            has_audio: false,
            video_codec: None,
            audio_codec: None,
            sample_rate: None,
            channels: None,
            frame_rate: None,
        }
    }

    fn set_duration(&mut self, seconds: Option<f64>) {
        self.duration_seconds = seconds.and_then(thousandths).filter(|seconds| *seconds > 0.0);
    }
}

/// Rounded to three decimals; nothing where it is no number of this world.
fn thousandths(value: f64) -> Option<f64> {
    // A thousand years of seconds: a bogus header must not become a fact.
    (value.is_finite() && (0.0..3.2e10).contains(&value)).then(|| (value * 1000.0).round() / 1000.0)
}

/// `count / rate`, where the rate is not zero.
fn seconds(count: u64, rate: impl Into<u64>) -> Option<f64> {
    let rate = rate.into();
    (rate > 0).then(|| count as f64 / rate as f64)
}

/// Reads the facts of a media file. The format is recognised from the bytes.
///
/// # Errors
///
/// [`Error::Unsupported`] for what is no known media file, [`Error::Malformed`] for one whose headers give no track
/// at all, [`Error::LimitExceeded`] where even that took too much.
pub fn inspect(reader: impl Read + Seek, limits: &Limits) -> Result<Media, Error> {
    let mut input = Input::new(reader, limits)?;
    let audio_start = mp3::after_id3(&mut input)?;
    let head = input.peek(0, 16)?.to_vec();
    if head.is_empty() {
        return Err(Error::Malformed {
            message: "the file is empty",
            offset: 0,
        });
    }
    if mp4::is_mp4(&head) {
        return mp4::inspect(&mut input);
    }
    if head.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]) {
        return matroska::inspect(&mut input);
    }
    if matches!(head.get(..4), Some(b"RIFF" | b"RF64" | b"BW64")) {
        return riff::inspect(&mut input);
    }
    if head.starts_with(b"OggS") {
        return ogg::inspect(&mut input);
    }
    let audio = input.peek(audio_start, 8)?.to_vec();
    if audio.starts_with(b"fLaC") {
        return flac::inspect(&mut input, audio_start);
    }
    if audio_start == 0 && other_format(&head).is_none() || audio_start > 0 {
        if let Some(media) = adts::inspect(&mut input, audio_start)? {
            return Ok(media);
        }
        if let Some(media) = mp3::inspect(&mut input, audio_start)? {
            return Ok(media);
        }
    }
    if audio_start > 0 {
        return Err(Error::Malformed {
            message: "an ID3 tag with no sound after it",
            offset: audio_start,
        });
    }
    Err(Error::Unsupported {
        what: other_format(&head).unwrap_or("this file"),
    })
}

/// The name of a format that is known and not read, so that the answer can say so.
fn other_format(head: &[u8]) -> Option<&'static str> {
    let formats: [(&[u8], &str); 9] = [
        (b"FLV", "Flash video"),
        (b"\x30\x26\xB2\x75", "Windows Media (ASF)"),
        (b"\x00\x00\x01\xBA", "an MPEG program stream"),
        (b"\x00\x00\x01\xB3", "an MPEG video stream"),
        (b"FORM", "AIFF"),
        (b"MThd", "MIDI"),
        (b"#!AMR", "AMR"),
        (b"\x47\x40", "an MPEG transport stream"),
        (b"caff", "Core Audio (CAF)"),
    ];
    formats
        .iter()
        .find(|(magic, _)| head.starts_with(magic))
        .map(|(_, name)| *name)
}
