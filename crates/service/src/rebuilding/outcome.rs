//! What came of one thing that a rebuild looked at.

use cloakroom_core::id::FileId;
use cloakroom_core::operation::Finding;
use cloakroom_core::ports::objects::ObjectPath;

use crate::operations::Run;

/// Counts and lines of the report.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    counts: Vec<&'static str>,
    findings: Vec<Finding>,
}

impl Outcome {
    /// Counted, and nothing to say about it.
    pub(super) fn counted(name: &'static str) -> Self {
        Self {
            counts: vec![name],
            findings: Vec::new(),
        }
    }

    /// Something is wrong, and was left as it is.
    pub(super) fn found(kind: &str, path: &ObjectPath, file_id: Option<FileId>, detail: String) -> Self {
        let mut outcome = Self::default();
        outcome.note(kind, path, file_id, detail, "reported");
        outcome
    }

    /// Adds a line.
    pub(super) fn note(
        &mut self,
        kind: &str,
        path: &ObjectPath,
        file_id: Option<FileId>,
        detail: String,
        action: &str,
    ) {
        self.findings.push(Finding {
            kind: kind.to_owned(),
            bucket: Some(path.bucket.clone()),
            key: Some(path.key.clone()),
            file_id,
            detail,
            action: action.to_owned(),
        });
    }

    /// Adds a count.
    pub(super) fn count(&mut self, name: &'static str) {
        self.counts.push(name);
    }

    pub(super) fn report(self, run: &mut Run<'_>) {
        for name in self.counts {
            run.count(name, 1);
        }
        for finding in self.findings {
            run.find(finding);
        }
    }
}
