//! The processor `media`: how long a video or sound is, and what is in it; a poster where the system has ffmpeg.

use std::ffi::OsStr;
use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorLimits, ProcessorOutput,
    UnmadeDerivative,
};
use cloakroom_media::{Format, Media};
use cloakroom_processors::{Sandbox, Task};

use super::ProcessorOptions;
use super::decoders::Decoders;
use super::sandboxed::{Reading, limits_of, run};
use super::workplace::{Program, Workplace};

/// Longer side of a poster, in pixels.
const POSTER_SIDE: u32 = 1024;
/// Larger videos get no poster: ffmpeg needs them whole on a disk. In bytes.
const POSTER_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
const POSTER: &str = "poster";

/// See the module.
pub(super) struct MediaProcessor {
    sandbox: Arc<Sandbox>,
    limits: ProcessorLimits,
    decoders: Decoders,
}

impl MediaProcessor {
    pub(super) fn new(options: &ProcessorOptions) -> Self {
        Self {
            sandbox: Arc::clone(&options.sandbox),
            limits: options.limits,
            decoders: options.decoders.clone(),
        }
    }

    /// A frame of the video; the inner error is why there is none.
    async fn poster(
        &self,
        output: &ProcessorOutput,
        input: &ProcessorInput<'_>,
    ) -> Result<Result<MadeDerivative, String>, ProcessorError> {
        let format = output.facts.get("format").and_then(serde_json::Value::as_str);
        let duration = output
            .facts
            .get("duration_seconds")
            .and_then(serde_json::Value::as_f64);
        let Some(ffmpeg) = self.decoders.ffmpeg() else {
            return Ok(Err(cloakroom_media::PosterCommand::MISSING.to_owned()));
        };
        let size_bytes = input.verified.size_bytes;
        if size_bytes > POSTER_BYTES_MAX {
            return Ok(Err("The video is too large for a poster to be made.".to_owned()));
        }
        let (from, to) = (OsStr::new("input"), OsStr::new("poster.jpg"));
        let command = format
            .and_then(|format| video(format, duration))
            .and_then(|video| cloakroom_media::poster_command(&video, POSTER_SIDE, from, to));
        let Some(command) = command else {
            return Ok(Err("Posters are not made of videos of this format.".to_owned()));
        };
        let place = Workplace::new(&self.sandbox)?;
        place.fetch("input", input.source, size_bytes).await?;
        let arguments = command
            .arguments
            .iter()
            .map(|argument| argument.to_string_lossy().into_owned());
        let program = Program {
            argv: std::iter::once(ffmpeg.display().to_string())
                .chain(arguments)
                .collect(),
            environment: &[],
            stdin: None,
            reads: &[],
            network: false,
        };
        let finished = match place.run(&self.sandbox, program, &limits_of(&self.limits)).await {
            Err(ProcessorError::Rejected(error)) => return Ok(Err(error.message)),
            other => other?,
        };
        let poster = place.take("poster.jpg", self.limits.output_bytes_max);
        let content_type = MediaType::parse(command.content_type).ok();
        Ok(match (finished.status.success(), poster, content_type) {
            (true, Some(bytes), Some(content_type)) if !bytes.is_empty() => Ok(MadeDerivative {
                name: POSTER.to_owned(),
                extension: "jpg".to_owned(),
                content_type,
                bytes,
                width: None,
                height: None,
            }),
            _ => {
                tracing::debug!(file_id = %input.file.id, status = ?finished.status, notes = finished.notes, "no poster");
                Err("No picture of the video could be made.".to_owned())
            }
        })
    }
}

/// As much of what the child found as a poster needs.
fn video(format: &str, duration_seconds: Option<f64>) -> Option<Media> {
    const FORMATS: [Format; 5] = [
        Format::Mp4,
        Format::Matroska,
        Format::WebM,
        Format::Avi,
        Format::Ogg,
    ];
    let format = FORMATS.into_iter().find(|known| known.name() == format)?;
    Some(Media {
        format,
        duration_seconds,
        width: None,
        height: None,
        has_video: true,
        has_audio: false,
        video_codec: None,
        audio_codec: None,
        sample_rate: None,
        channels: None,
        frame_rate: None,
    })
}

#[async_trait]
impl Processor for MediaProcessor {
    fn name(&self) -> &'static str {
        "media"
    }

    fn accepts(&self, content_type: &MediaType) -> bool {
        content_type.matches("video/*")
            || content_type.matches("audio/*")
            || content_type.as_str() == "application/ogg"
    }

    fn limits(&self) -> ProcessorLimits {
        self.limits
    }

    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        let from = (input.source, input.verified.size_bytes);
        let mut output = run(&self.sandbox, &Task::Media, from, Reading::Whole, &self.limits).await?;
        if output.facts.get("has_video") == Some(&true.into()) {
            match self.poster(&output, &input).await? {
                Ok(made) => output.derivatives.push(made),
                Err(error) => output.unmade.push(UnmadeDerivative {
                    name: POSTER.to_owned(),
                    error,
                }),
            }
        }
        Ok(output)
    }
}
