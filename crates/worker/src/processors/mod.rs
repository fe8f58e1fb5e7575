//! Processors, by the name that collections use. The digest (SHA-256, size, real type) is part of verification
//! itself, because nothing is stored for good without it.
//!
//! None of them looks at a byte of a file in this process: each run is a child of its own (see `cloakroom_processors`), and
//! what the children may use is configuration.
//!
//! | name | takes | finds | makes |
//! |---|---|---|---|
//! | `image` | pictures | size, format, placeholder | the collection's thumbnails |
//! | `table` | CSV, TSV, XLSX, XLS, ODS | rows, columns | |
//! | `document` | PDF; office documents by their kind | pages | `preview` of a PDF's first page |
//! | `media` | video, sound | duration, size, codecs | `poster` of a video |
//! | your own ([`own`]) | what you say | what it says | what it makes |

mod attendance;
pub mod decoders;
mod document;
mod endpoint;
mod image;
mod media;
pub mod own;
mod sandboxed;
mod table;
mod workplace;

use std::collections::BTreeMap;
use std::sync::Arc;

use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::processor::{Processor, ProcessorLimits};
use cloakroom_core::ports::renderer::Renderer;
use cloakroom_processors::Sandbox;

use self::decoders::Decoders;
use self::own::OwnProcessor;

/// Names of the processors of this program.
pub const BUILT_IN: &[&str] = &["document", "image", "media", "table"];

/// What processors work with.
#[derive(Clone)]
pub struct ProcessorOptions {
    /// Where children are made.
    pub sandbox: Arc<Sandbox>,
    /// What one run of a processor of this program may use.
    pub limits: ProcessorLimits,
    /// Programs of the system that decode what this program does not.
    pub decoders: Decoders,
    /// The operator's own processors.
    pub own: Vec<OwnProcessor>,
    /// The time of signatures.
    pub clock: Arc<dyn Clock>,
}

/// Every processor: one line each, and the operator's own.
pub fn registry(options: &ProcessorOptions) -> BTreeMap<String, Arc<dyn Processor>> {
    let mut all: Vec<Arc<dyn Processor>> = vec![
        Arc::new(document::DocumentProcessor::new(options)),
        Arc::new(image::ImageProcessor::new(options)),
        Arc::new(media::MediaProcessor::new(options)),
        Arc::new(table::TableProcessor::new(options)),
    ];
    all.extend(
        options
            .own
            .iter()
            .map(|own| own.processor(&options.sandbox, &options.clock)),
    );
    all.into_iter()
        .map(|processor| (processor.name().to_owned(), processor))
        .collect()
}

/// Makes single pictures, as the image processor does.
pub fn renderer(options: &ProcessorOptions) -> Arc<dyn Renderer> {
    Arc::new(image::ImageProcessor::new(options))
}
