//! The processor `image`: what a picture is, and the collection's thumbnails of it; and single pictures for who waits.
//!
//! What this program does not decode, programs of the system decode into a PNG first, in the sandbox; everything after that
//! is the same.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::image::{Fit, ImageFormat, Rendition};
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorLimits, ProcessorOutput, Source,
};
use cloakroom_core::ports::renderer::{Renderer, RendererInput};
use cloakroom_images::{ExternalDecoder, Format, external_decoders};
use cloakroom_processors::{DecodedImage, ImageTask, Input, Sandbox, Task};
use futures_util::StreamExt as _;

use super::ProcessorOptions;
use super::decoders::Decoders;
use super::sandboxed::{Reading, error, limits_of, output, rejected, run, stream};
use super::workplace::{Program, Workplace};

/// What a decoded picture may take on its way, in bytes: 50 million pixels of four bytes, and some.
const DECODED_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A side that nobody named is as long as it turns out; no picture is longer.
const SIDE_MAX: u32 = 20_000;

/// See the module.
pub(super) struct ImageProcessor {
    sandbox: Arc<Sandbox>,
    limits: ProcessorLimits,
    decoders: Decoders,
}

impl ImageProcessor {
    pub(super) fn new(options: &ProcessorOptions) -> Self {
        Self {
            sandbox: Arc::clone(&options.sandbox),
            limits: options.limits,
            decoders: options.decoders.clone(),
        }
    }

    async fn make(
        &self,
        renditions: Vec<cloakroom_images::Rendition>,
        (source, size_bytes): (&dyn Source, u64),
    ) -> Result<ProcessorOutput, ProcessorError> {
        let task = ImageTask {
            renditions,
            decoded: None,
        };
        let from = (source, size_bytes);
        let output = run(
            &self.sandbox,
            &Task::Image(task.clone()),
            from,
            Reading::Whole,
            &self.limits,
        )
        .await?;
        let format = output.facts.get("format").and_then(serde_json::Value::as_str);
        match format.and_then(|format| self.decoder(format)) {
            Some((decoder, program)) => self.decode(task, decoder, program, from).await,
            None => Ok(output),
        }
    }

    /// The program of this system that decodes a format, where this program does not.
    fn decoder(&self, format: &str) -> Option<(ExternalDecoder, &Path)> {
        let format = [Format::Avif, Format::Heic]
            .into_iter()
            .find(|known| known.name() == format)?;
        let mut known = external_decoders(format).iter();
        known.find_map(|decoder| Some((*decoder, self.decoders.path(decoder.program)?)))
    }

    async fn decode(
        &self,
        task: ImageTask,
        decoder: ExternalDecoder,
        program: &Path,
        (source, size_bytes): (&dyn Source, u64),
    ) -> Result<ProcessorOutput, ProcessorError> {
        const DECODED: &str = "decoded.png";
        let place = Workplace::new(&self.sandbox)?;
        place.fetch("input", source, size_bytes).await?;
        let arguments = decoder.arguments(Path::new("input"), Path::new(DECODED));
        let arguments = arguments
            .iter()
            .map(|argument| argument.to_string_lossy().into_owned());
        let program = Program {
            argv: std::iter::once(program.display().to_string())
                .chain(arguments)
                .collect(),
            environment: &[],
            stdin: None,
            reads: &[],
            network: false,
        };
        let mut limits = limits_of(&self.limits);
        limits.output_bytes_max = DECODED_BYTES_MAX;
        let finished = place.run(&self.sandbox, program, &limits).await?;
        let decoded = place.take(DECODED, DECODED_BYTES_MAX);
        let (true, Some(decoded)) = (finished.status.success(), decoded) else {
            tracing::debug!(program = decoder.program, status = ?finished.status, notes = finished.notes, "a picture was not decoded");
            return Err(rejected("malformed_file", "The picture cannot be decoded."));
        };
        let task = Task::Image(ImageTask {
            decoded: Some(DecodedImage {
                original_bytes: size_bytes,
                applies_orientation: decoder.applies_orientation,
            }),
            ..task
        });
        let both = size_bytes + decoded.len() as u64;
        let decoded = futures_util::stream::iter([Ok::<_, io::Error>(decoded)]);
        let input = Input::Whole {
            stream: Box::pin(stream(source).await?.chain(decoded)),
            size_bytes: both,
        };
        let answer = self.sandbox.run(&task, input, &limits_of(&self.limits)).await;
        output(answer.map_err(error)?)
    }
}

fn rendition(name: &str, rendition: &Rendition) -> cloakroom_images::Rendition {
    cloakroom_images::Rendition {
        name: name.to_owned(),
        width: rendition.width.unwrap_or(SIDE_MAX),
        height: rendition.height.unwrap_or(SIDE_MAX),
        fit: match rendition.fit {
            Fit::Contain => cloakroom_images::Fit::Contain,
            Fit::Cover => cloakroom_images::Fit::Cover,
            Fit::Fill => cloakroom_images::Fit::Fill,
        },
        format: match rendition.format {
            ImageFormat::Auto => cloakroom_images::OutputFormat::Auto,
            ImageFormat::Jpeg => cloakroom_images::OutputFormat::Jpeg,
            ImageFormat::Png => cloakroom_images::OutputFormat::Png,
            ImageFormat::Webp => cloakroom_images::OutputFormat::Webp,
        },
        quality: rendition.quality,
    }
}

fn takes(content_type: &MediaType) -> bool {
    matches!(
        content_type.as_str(),
        "image/jpeg"
            | "image/jpg"
            | "image/pjpeg"
            | "image/png"
            | "image/webp"
            | "image/gif"
            | "image/tiff"
            | "image/bmp"
            | "image/x-ms-bmp"
            | "image/avif"
            | "image/heic"
            | "image/heif"
    )
}

#[async_trait]
impl Processor for ImageProcessor {
    fn name(&self) -> &'static str {
        "image"
    }

    fn accepts(&self, content_type: &MediaType) -> bool {
        takes(content_type)
    }

    fn limits(&self) -> ProcessorLimits {
        self.limits
    }

    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        let policy = &input.collection.images;
        let renditions = policy.thumbnails.iter();
        let renditions =
            renditions.map(|thumbnail| rendition(&thumbnail.name, &Rendition::of(thumbnail, policy)));
        let from = (input.source, input.verified.size_bytes);
        self.make(renditions.collect(), from).await
    }
}

#[async_trait]
impl Renderer for ImageProcessor {
    fn accepts(&self, content_type: &MediaType) -> bool {
        takes(content_type)
    }

    async fn render(&self, input: RendererInput<'_>) -> Result<MadeDerivative, ProcessorError> {
        let wanted = rendition(input.name, input.rendition);
        let size_bytes = input.file.size_bytes().unwrap_or_default();
        let output = self.make(vec![wanted], (input.source, size_bytes)).await?;
        let why = output.unmade.into_iter().next().map(|unmade| unmade.error);
        output.derivatives.into_iter().next().ok_or_else(|| {
            let why = why.unwrap_or_else(|| "No such picture can be made of this file.".to_owned());
            rejected("unsupported_format", why)
        })
    }
}
