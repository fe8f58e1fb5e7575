//! Committing what verification found: the file is ready, or held back.

use cloakroom_core::JsonObject;
use cloakroom_core::derivative::Derivative;
use cloakroom_core::error::Refusal;
use cloakroom_core::file::{File, FileState, Verified};
use cloakroom_core::id::IntentId;
use cloakroom_core::job::Job;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::scanner::Holdup;
use cloakroom_core::transition::{Fence, Occasion, Transition};

use super::{AttemptError, WORKER};
use crate::app::App;
use crate::uploads::RACES_MAX;

/// What verification and the processors made, ready to be committed.
pub(super) struct Made {
    pub(super) verified: Verified,
    pub(super) outcome: Outcome,
    pub(super) intent: IntentId,
}

/// What becomes of a verified file.
pub(super) enum Outcome {
    Ready {
        facts: JsonObject,
        derivatives: Vec<Derivative>,
    },
    Held(Holdup),
}

impl Made {
    fn transition(&self, file: &File, occasion: &Occasion<'_>) -> Result<Transition, Refusal> {
        let verified = self.verified.clone();
        match &self.outcome {
            Outcome::Ready { facts, derivatives } => {
                file.ready(verified, facts.clone(), derivatives.clone(), occasion)
            }
            Outcome::Held(held) => file.quarantine(verified, held, occasion),
        }
    }
}

impl App {
    /// Sidecar, then row, event, job and intent in one commit. A patch that came in between wins its place in the
    /// row and in the sidecar; the bytes need no second look for it.
    pub(super) async fn commit_verified(
        &self,
        file: &File,
        job: &Job,
        made: Made,
    ) -> Result<(), AttemptError> {
        let mut current = file.clone();
        let mut own = None;
        for _ in 0..RACES_MAX {
            let mut transition = made
                .transition(&current, &self.occasion(WORKER))
                .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
            own = Some(self.put_revision(&transition, own).await?);
            transition.intent = Some(made.intent);
            transition.fence = Some(Fence::Complete(job.lease()));
            let verified = transition.file.clone();
            match self.metadata.apply(transition).await {
                Ok(()) => {
                    self.log_verified(&verified);
                    self.drop_sidecars_before(&verified).await;
                    return Ok(());
                }
                Err(MetadataError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            match self.metadata.file(file.id).await? {
                Some(now) if now.state == FileState::Processing && now.epoch == file.epoch => current = now,
                _ => return Err(AttemptError::Overtaken),
            }
        }
        Err(AttemptError::Overtaken)
    }

    /// For whoever looks after the instance.
    pub(crate) fn tell_quarantined(&self, file: &File) {
        let error = file.error.as_ref();
        tracing::warn!(
            event = "file_quarantined",
            operation = "verify",
            file_id = %file.id,
            user_id = %file.owner,
            bucket = %file.bucket,
            error_code = error.map_or("", |error| error.code.as_str()),
            status = "quarantined",
            "File quarantined: {}",
            error.map_or("", |error| error.message.as_str())
        );
        self.alert_quarantined(file);
    }

    fn log_verified(&self, file: &File) {
        if file.state == FileState::Quarantined {
            return self.tell_quarantined(file);
        }
        let started_at = file.confirmed_at.unwrap_or(file.created_at);
        let duration_ms = self.now().duration_since(started_at).as_millis() as i64;
        tracing::info!(
            event = "file_ready",
            operation = "verify",
            file_id = %file.id,
            user_id = %file.owner,
            file_size = file.size_bytes(),
            bucket = %file.bucket,
            duration_ms,
            status = "success",
            "Storage operation completed"
        );
        metrics::histogram!("cloakroom_confirm_to_ready_seconds").record(duration_ms as f64 / 1000.0);
    }
}
