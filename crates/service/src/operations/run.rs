//! One run of an operation: what its kind is told, and how it says how far it is.
//!
//! Progress, place and findings are saved together, so whoever takes over after a crash goes on where the report ends:
//! nothing is reported twice and nothing is left out.

use std::sync::atomic::{AtomicBool, Ordering};

use cloakroom_core::JsonObject;
use cloakroom_core::operation::{Finding, Operation, OperationState};
use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::metadata::MetadataError;
use futures_util::lock::Mutex;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Result, ServiceError};

/// Findings that wait at most before they are saved.
const FINDINGS_WAIT_MAX: usize = 500;
/// How long progress waits at most before it is saved.
const SAVE_EVERY: SignedDuration = SignedDuration::from_secs(1);

/// The claim under which an operation is run. All writes to its row go through here, one after the other.
pub(super) struct Claim<'a> {
    administration: &'a dyn AdministrationStore,
    clock: &'a dyn Clock,
    lease: SignedDuration,
    /// The row as it was last saved.
    saved: Mutex<Operation>,
    /// Nobody may save any more: the claim went to somebody else, or nobody knows what the last save has written.
    lost: AtomicBool,
    /// The process is to end.
    stopping: AtomicBool,
}

impl<'a> Claim<'a> {
    pub(super) fn new(
        administration: &'a dyn AdministrationStore,
        clock: &'a dyn Clock,
        operation: Operation,
        lease: SignedDuration,
    ) -> Self {
        Self {
            administration,
            clock,
            lease,
            saved: Mutex::new(operation),
            lost: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Holds on to the claim, with the progress that was last saved.
    pub(super) async fn beat(&self) {
        let mut saved = self.saved.lock().await;
        if self.is_lost() {
            return;
        }
        let mut next = saved.clone();
        next.lease_until = Some(self.until());
        match self.administration.save_operation(&next, &[]).await {
            Ok(()) => *saved = next,
            Err(MetadataError::Fenced) => self.lost.store(true, Ordering::Relaxed),
            // The next beat comes before the claim ends.
            Err(error) => {
                tracing::warn!(operation_id = %next.id, %error, "the claim on an operation could not be extended for now");
            }
        }
    }

    /// Saves progress with the findings that belong to it.
    async fn save(&self, progress: &Progress, findings: &[Finding]) -> Result<()> {
        self.write(findings, |next| {
            progress.write(next);
            next.error = None;
            next.lease_until = Some(self.until());
        })
        .await
    }

    /// Saves the end of the operation, and what was found last.
    pub(super) async fn end(
        &self,
        run: &mut Run<'_>,
        state: OperationState,
        error: Option<String>,
    ) -> Result<()> {
        let findings = std::mem::take(&mut run.findings);
        self.write(&findings, |next| {
            run.progress.write(next);
            next.state = state;
            next.error = error;
            next.finished_at = Some(self.clock.now());
            next.lease_owner = None;
            next.lease_until = None;
        })
        .await
    }

    /// Lets anybody go on at once, from the place that was saved last.
    pub(super) async fn give_back(&self) -> Result<()> {
        self.write(&[], |next| {
            next.lease_owner = None;
            next.lease_until = None;
        })
        .await
    }

    /// Lets anybody go on after so long, from the place that was saved last.
    pub(super) async fn put_off(&self, wait: SignedDuration, reason: String) -> Result<()> {
        let now = self.clock.now();
        self.write(&[], |next| {
            next.error = Some(reason);
            next.lease_owner = None;
            next.lease_until = Some(now.checked_add(wait).unwrap_or(now));
        })
        .await
    }

    fn until(&self) -> Timestamp {
        let now = self.clock.now();
        now.checked_add(self.lease).unwrap_or(now)
    }

    async fn write(&self, findings: &[Finding], change: impl FnOnce(&mut Operation)) -> Result<()> {
        let mut saved = self.saved.lock().await;
        // Set until the answer is there: whoever gives this up half way cannot know what was written, and a second
        // write could add the same findings again. Then only the end of the claim helps.
        if self.lost.swap(true, Ordering::Relaxed) {
            return Err(ServiceError::Unavailable(
                "the claim on the operation was lost".to_owned(),
            ));
        }
        let mut next = saved.clone();
        next.updated_at = self.clock.now();
        change(&mut next);
        self.administration.save_operation(&next, findings).await?;
        *saved = next;
        self.lost.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// How far a run is, in memory.
struct Progress {
    done: u64,
    total: Option<u64>,
    place: Option<String>,
    counts: JsonObject,
}

impl Progress {
    fn write(&self, operation: &mut Operation) {
        operation.done = self.done;
        operation.total = self.total;
        operation.place.clone_from(&self.place);
        operation.counts.clone_from(&self.counts);
    }
}

/// One run of an operation, from its place to its end or to the next crash.
pub struct Run<'a> {
    claim: &'a Claim<'a>,
    operation: Operation,
    progress: Progress,
    findings: Vec<Finding>,
    saved_at: Timestamp,
}

impl<'a> Run<'a> {
    pub(super) fn new(claim: &'a Claim<'a>, operation: Operation) -> Self {
        Self {
            progress: Progress {
                done: operation.done,
                total: operation.total,
                place: operation.place.clone(),
                counts: operation.counts.clone(),
            },
            saved_at: claim.clock.now(),
            findings: Vec::new(),
            claim,
            operation,
        }
    }

    /// The operation as it was claimed: its id, its kind, who asked for it.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Whether an option is set: `{"fix": true}`.
    pub fn flag(&self, name: &str) -> bool {
        self.operation.options.get(name) == Some(&serde_json::Value::Bool(true))
    }

    /// The text of an option, if it is set.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.operation.options.get(name)?.as_str()
    }

    /// Where to go on; `None` at the beginning.
    pub fn place(&self) -> Option<&str> {
        self.progress.place.as_deref()
    }

    /// Things looked at so far, those of earlier runs included.
    pub fn done(&self) -> u64 {
        self.progress.done
    }

    /// Says how many things there are to look at.
    pub fn set_total(&mut self, total: u64) {
        self.progress.total = Some(total);
    }

    /// Adds to a count of the report.
    pub fn count(&mut self, name: &str, more: u64) {
        let before = self.counted(name);
        self.progress
            .counts
            .insert(name.to_owned(), before.saturating_add(more).into());
    }

    /// What was counted under this name so far, by earlier runs too.
    pub fn counted(&self, name: &str) -> u64 {
        self.progress
            .counts
            .get(name)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or_default()
    }

    /// Adds a line to the report, and counts its kind.
    pub fn find(&mut self, finding: Finding) {
        self.count(&finding.kind, 1);
        self.findings.push(finding);
    }

    /// Everything before `place` is done, `done` things in all. Saves it when a second has passed or 500 findings wait.
    ///
    /// # Errors
    /// When the operation was cancelled, went to somebody else, or is to stop: the run ends then, with this error. What
    /// it did since `place` is done again by the next one.
    pub async fn advance(&mut self, done: u64, place: String) -> Result<()> {
        self.progress.done = done;
        self.progress.place = Some(place);
        let due = self.claim.clock.now().duration_since(self.saved_at) >= SAVE_EVERY;
        let stopping = self.claim.is_stopping();
        if due || stopping || self.findings.len() >= FINDINGS_WAIT_MAX {
            self.claim.save(&self.progress, &self.findings).await?;
            self.findings.clear();
            self.saved_at = self.claim.clock.now();
        }
        if stopping {
            return Err(ServiceError::Unavailable("the process is to end".to_owned()));
        }
        Ok(())
    }
}
