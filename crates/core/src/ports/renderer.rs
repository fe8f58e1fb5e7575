//! The renderer: one picture of an image, made while somebody waits for it.

use async_trait::async_trait;

use crate::file::File;
use crate::image::Rendition;
use crate::media::MediaType;
use crate::ports::processor::{MadeDerivative, ProcessorError, Source};

/// What a renderer is given.
pub struct RendererInput<'a> {
    /// The file.
    pub file: &'a File,
    /// Its verified bytes.
    pub source: &'a dyn Source,
    /// What is wanted.
    pub rendition: &'a Rendition,
    /// The name that what is made shall have.
    pub name: &'a str,
}

/// Makes pictures of images, as the image processor does: in a sandbox, under its limits of time, memory and output.
#[async_trait]
pub trait Renderer: Send + Sync {
    /// Whether it takes files of this type.
    fn accepts(&self, content_type: &MediaType) -> bool;

    /// One picture, in the name of the input.
    ///
    /// # Errors
    /// [`ProcessorError::Rejected`] when the file is at fault, and another attempt would end so again.
    async fn render(&self, input: RendererInput<'_>) -> Result<MadeDerivative, ProcessorError>;
}
