//! The picture of a video: not made here, but by ffmpeg, where it is installed.
//!
//! A decoder of every video codec is a large attack surface; it runs as a process of its own, under the limits of its
//! caller. This module only says how it is to be called.

use std::ffi::{OsStr, OsString};

use crate::{Format, Media};

/// A command that makes a poster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PosterCommand {
    /// The program, looked for in `PATH`: `ffmpeg`.
    pub program: &'static str,
    /// Its arguments. None of them goes through a shell.
    pub arguments: Vec<OsString>,
    /// What the file it makes is: `image/jpeg`.
    pub content_type: &'static str,
}

impl PosterCommand {
    /// What to tell people where the program is not installed.
    pub const MISSING: &'static str =
        "no poster was made: ffmpeg is not installed (apt install ffmpeg, or the package of your system)";
}

/// The command that takes one frame of a video, at a tenth of its duration or, where that is not known, at one second,
/// and writes it as a JPEG of at most `longest_side` pixels a side, upright. `None` for what has no picture.
///
/// `input` is a path or something like `fd:` or `/proc/self/fd/0` that can be sought in; `output` a path or `pipe:1`.
/// The demuxer is named, so that the input cannot pass for a playlist, and only local protocols are allowed: the file
/// cannot make ffmpeg open other files or hosts.
pub fn poster_command(
    media: &Media,
    longest_side: u32,
    input: &OsStr,
    output: &OsStr,
) -> Option<PosterCommand> {
    if !media.has_video {
        return None;
    }
    let demuxer = match media.format {
        Format::Mp4 => "mov",
        Format::Matroska | Format::WebM => "matroska",
        Format::Avi => "avi",
        Format::Ogg => "ogg",
        Format::Mp3 | Format::Wav | Format::Flac | Format::Adts => return None,
    };
    let at = media.duration_seconds.map_or(1.0, |duration| duration / 10.0);
    let side = longest_side.max(1);
    // Even a picture that is smaller is made no larger. Odd sides are fine in JPEG.
    let scale =
        format!("scale='min(iw,{side})':'min(ih,{side})':force_original_aspect_ratio=decrease,setsar=1");
    let before = [
        "-nostdin",
        "-hide_banner",
        "-loglevel",
        "error",
        "-threads",
        "1",
        "-protocol_whitelist",
        "file,pipe,fd",
        "-ss",
        &format!("{at:.3}"),
        "-f",
        demuxer,
        "-i",
    ];
    let after = [
        "-map",
        "0:v:0",
        "-an",
        "-sn",
        "-dn",
        "-map_metadata",
        "-1",
        "-frames:v",
        "1",
        "-vf",
        // Square pixels first, so that anamorphic video is not squeezed.
        &format!("scale=iw*max(sar\\,0.01):ih,{scale}"),
        "-c:v",
        "mjpeg",
        "-q:v",
        "4",
        "-f",
        "image2pipe",
        "-y",
    ];
    let mut arguments: Vec<OsString> = before.iter().map(OsString::from).collect();
    arguments.push(input.to_owned());
    arguments.extend(after.iter().map(OsString::from));
    arguments.push(output.to_owned());
    Some(PosterCommand {
        program: "ffmpeg",
        arguments,
        content_type: "image/jpeg",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(media: &Media) -> Option<Vec<String>> {
        let command = poster_command(media, 640, OsStr::new("-odd name.mp4"), OsStr::new("pipe:1"))?;
        Some(
            command
                .arguments
                .into_iter()
                .map(|argument| argument.into_string().unwrap())
                .collect(),
        )
    }

    fn after<'a>(arguments: &'a [String], flag: &str) -> &'a str {
        let at = arguments.iter().position(|argument| argument == flag).unwrap();
        &arguments[at + 1]
    }

    #[test]
    fn the_frame_is_at_a_tenth_or_at_one_second_and_the_input_is_what_it_was_found_to_be() {
        let mut media = Media::new(Format::WebM);
        assert_eq!(arguments(&media), None, "sound has no picture");
        media.has_video = true;
        let unknown = arguments(&media).unwrap();
        assert_eq!(after(&unknown, "-ss"), "1.000");
        assert_eq!(after(&unknown, "-f"), "matroska");
        assert_eq!(
            after(&unknown, "-i"),
            "-odd name.mp4",
            "an argument of its own, after its flag"
        );
        assert_eq!(after(&unknown, "-protocol_whitelist"), "file,pipe,fd");
        assert!(after(&unknown, "-vf").contains("'min(iw,640)':'min(ih,640)'"));
        assert_eq!(unknown.last().map(String::as_str), Some("pipe:1"));
        media.duration_seconds = Some(61.5);
        assert_eq!(after(&arguments(&media).unwrap(), "-ss"), "6.150");
    }
}
