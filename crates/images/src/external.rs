//! Programs of the system that decode what this crate does not.

use std::{ffi::OsString, path::Path};

use crate::{Error, Format};

/// A program that turns a file into a PNG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalDecoder {
    /// Name of the program, to be looked for in the path.
    pub program: &'static str,
    /// The picture comes out turned upright. Otherwise `render_external` turns it.
    pub applies_orientation: bool,
    arguments: &'static [&'static str],
}

impl ExternalDecoder {
    /// The arguments that make the PNG `output` (its name must end in `.png`) out of the file `input`.
    pub fn arguments(&self, input: &Path, output: &Path) -> Vec<OsString> {
        let argument = |argument: &&str| match *argument {
            "{input}" => input.as_os_str().to_owned(),
            "{output}" => output.as_os_str().to_owned(),
            other => other.into(),
        };
        self.arguments.iter().map(argument).collect()
    }
}

/// The programs that decode a format, best first. Empty for formats that this crate decodes itself.
pub const fn external_decoders(format: Format) -> &'static [ExternalDecoder] {
    const HEIF_DEC: ExternalDecoder = ExternalDecoder {
        program: "heif-dec",
        applies_orientation: true,
        arguments: &["{input}", "{output}"],
    };
    const HEIF_CONVERT: ExternalDecoder = ExternalDecoder {
        program: "heif-convert",
        applies_orientation: true,
        arguments: &["{input}", "{output}"],
    };
    const AVIFDEC: ExternalDecoder = ExternalDecoder {
        program: "avifdec",
        applies_orientation: false,
        arguments: &["--jobs", "1", "--depth", "8", "{input}", "{output}"],
    };
    const FFMPEG: ExternalDecoder = ExternalDecoder {
        program: "ffmpeg",
        applies_orientation: false,
        arguments: &[
            "-nostdin",
            "-loglevel",
            "error",
            "-noautorotate",
            "-i",
            "{input}",
            "-frames:v",
            "1",
            "-y",
            "{output}",
        ],
    };
    match format {
        Format::Avif => &[AVIFDEC, HEIF_DEC, HEIF_CONVERT, FFMPEG],
        // ffmpeg decodes single tiles of a HEIC only, before its version 7.
        Format::Heic => &[HEIF_DEC, HEIF_CONVERT],
        _ => &[],
    }
}

/// The error for a format without a decoder in this crate.
pub(crate) fn unsupported(format: Format) -> Error {
    let (what, install) = match format {
        Format::Avif => (
            "AVIF",
            "install avifdec (Debian: libavif-bin) or heif-convert (libheif-examples)",
        ),
        _ => (
            "HEIC",
            "install heif-convert (Debian: libheif-examples) or heif-dec",
        ),
    };
    Error::Unsupported {
        what: what.to_owned(),
        install: Some(install),
    }
}
