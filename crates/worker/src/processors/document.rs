//! The processor `document`: pages of a PDF and a picture of the first; which office document a container is.

use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::processor::{
    Processor, ProcessorError, ProcessorInput, ProcessorLimits, ProcessorOutput,
};
use cloakroom_processors::{DocumentTask, Sandbox, Task};

use super::ProcessorOptions;
use super::sandboxed::{Reading, run};

/// Longer side of a preview, in pixels.
const PREVIEW_SIDE: u32 = 1024;
const NAME: &str = "document";

/// See the module.
pub(super) struct DocumentProcessor {
    sandbox: Arc<Sandbox>,
    limits: ProcessorLimits,
}

impl DocumentProcessor {
    pub(super) fn new(options: &ProcessorOptions) -> Self {
        Self {
            sandbox: Arc::clone(&options.sandbox),
            limits: options.limits,
        }
    }
}

#[async_trait]
impl Processor for DocumentProcessor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn accepts(&self, content_type: &MediaType) -> bool {
        let content_type = content_type.as_str();
        matches!(
            content_type,
            "application/pdf"
                | "application/msword"
                | "application/vnd.ms-excel"
                | "application/vnd.ms-powerpoint"
                // What the bytes show where no type was declared: one of the three.
                | "application/x-ole-storage"
        ) || content_type.starts_with("application/vnd.openxmlformats-officedocument.")
            || content_type.starts_with("application/vnd.oasis.opendocument.")
            || content_type.starts_with("application/vnd.ms-") && content_type.ends_with(".macroenabled.12")
    }

    fn limits(&self) -> ProcessorLimits {
        self.limits
    }

    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        let task = Task::Document(DocumentTask {
            preview_side: PREVIEW_SIDE,
            preview_required: input
                .collection
                .required_processors
                .iter()
                .any(|name| name == NAME),
        });
        let from = (input.source, input.verified.size_bytes);
        run(&self.sandbox, &task, from, Reading::Whole, &self.limits).await
    }
}
