//! The second pass: every row, in the order of ids, against what stands.

use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::job::JobState;
use cloakroom_core::operation::Finding;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use super::drift::Drift;
use super::seen::Seen;
use super::{Depth, Place};
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

/// Rows in a page.
const PAGE_MAX: u32 = 500;
/// Files looked at closely at the same time.
const LOOKS: usize = 16;
/// Files whose bytes are read at the same time.
const DEEP_LOOKS: usize = 8;
/// How often a file that changes is looked at again, before it is left for the next verification.
const AGAIN_MAX: u32 = 5;
/// Intents under way that are looked through.
const INTENTS_MAX: u32 = 10_000;
/// Jobs in a page.
const JOBS_PAGE: u32 = 1_000;

/// What came of one file.
struct Looked {
    id: FileId,
    bytes_read: u64,
    findings: Vec<Finding>,
}

impl App {
    /// Goes through the rows, after an id.
    pub(super) async fn verify_files(
        &self,
        run: &mut Run<'_>,
        depth: Depth,
        seen: &Seen,
        after: Option<FileId>,
    ) -> Result<()> {
        if after.is_none() {
            let statistics = self.metadata.statistics().await?;
            let files: u64 = statistics.files.iter().map(|(_, count)| count).sum();
            run.set_total(run.done().saturating_add(files));
        }
        let mut after = after;
        loop {
            let page = self.administration.all_files(after, PAGE_MAX).await?;
            let looks = stream::iter(page.items)
                .map(|file| async move { self.look_at_row(file, depth, seen).await })
                .buffered(if depth.deep { DEEP_LOOKS } else { LOOKS });
            let mut looks = std::pin::pin!(looks);
            // In their order, so that the place is behind everything that was reported.
            while let Some(looked) = looks.next().await {
                let looked = looked?;
                run.count("files", 1);
                if depth.deep {
                    run.count("bytes", looked.bytes_read);
                }
                for finding in looked.findings {
                    run.find(finding);
                }
                run.advance(run.done() + 1, Place::Files(Some(looked.id)).text())
                    .await?;
                after = Some(looked.id);
            }
            if !page.more {
                break;
            }
        }
        run.advance(run.done(), Place::Records(None).text()).await
    }

    /// Looks at one file, as closely as it takes.
    async fn look_at_row(&self, file: File, depth: Depth, seen: &Seen) -> Result<Looked> {
        let mut looked = Looked {
            id: file.id,
            bytes_read: 0,
            findings: Vec::new(),
        };
        if !depth.deep && file.has_sidecar() {
            let derivatives = self.derivatives_of(&file).await?;
            if seen.is_whole(&file, made(&derivatives)) {
                return Ok(looked);
            }
        }
        let mut file = file;
        for _ in 0..AGAIN_MAX {
            let (drifts, bytes_read) = self.drifts_of(&file, depth.deep).await?;
            looked.bytes_read = bytes_read;
            if drifts.is_empty() {
                return Ok(looked);
            }
            // In this order: a change that was under way at that look either still is, or the row says that it was made.
            if self.is_changing(file.id).await? {
                return Ok(looked);
            }
            match self.metadata.file(file.id).await? {
                // Purged meanwhile.
                None => return Ok(looked),
                Some(now) if now.version != file.version => file = now,
                Some(_) => {
                    looked.findings = self.report_drifts(&file, drifts, depth).await?;
                    return Ok(looked);
                }
            }
        }
        Ok(looked)
    }

    /// Whether a change of the file is under way, or waits for its recovery: what it left is no drift.
    pub(super) async fn is_changing(&self, id: FileId) -> Result<bool> {
        let intents = self.metadata.stale_intents(Timestamp::MAX, INTENTS_MAX).await?;
        if intents.iter().any(|intent| intent.file_id == Some(id)) {
            return Ok(true);
        }
        let mut after = None;
        loop {
            let page = self.metadata.jobs(None, after, JOBS_PAGE).await?;
            if page
                .items
                .iter()
                .any(|job| job.file_id == id && job.state != JobState::Dead)
            {
                return Ok(true);
            }
            match page.items.last() {
                Some(last) if page.more => after = Some(last.id),
                _ => return Ok(false),
            }
        }
    }

    async fn report_drifts(&self, file: &File, drifts: Vec<Drift>, depth: Depth) -> Result<Vec<Finding>> {
        let repaired = if depth.fix {
            self.repair(file, &drifts).await?
        } else {
            None
        };
        let findings = drifts.into_iter().map(|drift| {
            let mut finding = drift.finding(file);
            if drift.is_of_sidecar() {
                match &repaired {
                    Some(Ok(action)) => (*action).clone_into(&mut finding.action),
                    Some(Err(reason)) => {
                        finding.detail.push_str(" Not repaired: ");
                        finding.detail.push_str(reason);
                    }
                    None => {}
                }
            }
            finding
        });
        Ok(findings.collect())
    }
}

/// How many derivatives were made.
fn made(derivatives: &[Derivative]) -> usize {
    derivatives
        .iter()
        .filter(|derivative| matches!(derivative.outcome, DerivativeOutcome::Made { .. }))
        .count()
}

/// Whether verified bytes of the file stand at its key, or must.
pub(super) fn must_stand(file: &File) -> bool {
    file.has_sidecar()
        && !matches!(
            file.state,
            FileState::Purging | FileState::Reaping | FileState::Expired
        )
}
