//! The processor `table`: rows and columns of CSV, TSV and workbooks.

use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::processor::{
    Processor, ProcessorError, ProcessorInput, ProcessorLimits, ProcessorOutput,
};
use cloakroom_processors::{Sandbox, TableTask, Task};

use super::ProcessorOptions;
use super::sandboxed::{Reading, run};

/// Text that is read once, and never kept.
const DELIMITED: &[&str] = &["text/csv", "application/csv", "text/tab-separated-values"];
/// Workbooks.
const WORKBOOKS: &[&str] = &[
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "application/vnd.ms-excel.sheet.macroenabled.12",
    "application/vnd.ms-excel.sheet.binary.macroenabled.12",
    "application/vnd.ms-excel",
    "application/vnd.oasis.opendocument.spreadsheet",
];

/// See the module.
pub(super) struct TableProcessor {
    sandbox: Arc<Sandbox>,
    limits: ProcessorLimits,
}

impl TableProcessor {
    pub(super) fn new(options: &ProcessorOptions) -> Self {
        Self {
            sandbox: Arc::clone(&options.sandbox),
            limits: options.limits,
        }
    }
}

fn task(content_type: &MediaType) -> (Task, Reading) {
    let content_type = content_type.as_str();
    if WORKBOOKS.contains(&content_type) {
        return (Task::Table(TableTask::Workbook), Reading::Whole);
    }
    let delimiter = (content_type == "text/tab-separated-values").then_some(b'\t');
    (Task::Table(TableTask::Delimited { delimiter }), Reading::Once)
}

#[async_trait]
impl Processor for TableProcessor {
    fn name(&self) -> &'static str {
        "table"
    }

    fn accepts(&self, content_type: &MediaType) -> bool {
        let known = DELIMITED.iter().chain(WORKBOOKS);
        known.into_iter().any(|known| *known == content_type.as_str())
    }

    fn limits(&self) -> ProcessorLimits {
        self.limits
    }

    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        let (task, reading) = task(&input.verified.content_type);
        let from = (input.source, input.verified.size_bytes);
        run(&self.sandbox, &task, from, reading, &self.limits).await
    }
}
