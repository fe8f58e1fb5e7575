//! Many uploads in one request.

use cloakroom_core::access::Principal;
use cloakroom_core::error::{ErrorCode, Refusal};
use futures_util::future::join_all;

use super::sign::{SignUpload, SignedUpload};
use crate::app::App;
use crate::error::{Result, ServiceError};

/// Most uploads in one request (design §5).
const BATCH_MAX: usize = 100;

/// What became of one upload of a batch.
pub type BatchOutcome = Result<SignedUpload>;

impl App {
    /// Signs up to 100 uploads. Each stands for itself, unless `atomic`: then one refusal refuses all, and names
    /// the `index` of the one that was refused.
    pub async fn sign_batch(
        &self,
        principal: &Principal,
        requests: Vec<SignUpload>,
        atomic: bool,
    ) -> Result<Vec<BatchOutcome>> {
        if requests.is_empty() || requests.len() > BATCH_MAX {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("A batch has 1 to {BATCH_MAX} uploads."),
            )
            .with("field", "uploads")
            .into());
        }
        if !atomic {
            // Concurrently: the metadata store commits them as one group.
            return Ok(join_all(
                requests
                    .into_iter()
                    .map(|request| self.sign_upload(principal, request)),
            )
            .await);
        }
        let mut prepared = Vec::with_capacity(requests.len());
        for (index, request) in requests.into_iter().enumerate() {
            prepared.push(
                self.prepare_upload(principal, request)
                    .await
                    .map_err(|error| at_index(error, index))?,
            );
        }
        let outcomes = join_all(prepared.into_iter().map(|one| self.issue(principal, one))).await;
        let Some(index) = outcomes.iter().position(Result::is_err) else {
            return Ok(outcomes);
        };
        // Only the quota, a reused idempotency key or a record taken in between get here: take the others back.
        let mut refusal = None;
        for (position, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(signed) if !signed.repeated => self.abort_upload(principal, signed.file.id).await?,
                Err(error) if position == index => refusal = Some(at_index(error, index)),
                _ => {}
            }
        }
        Err(refusal.unwrap_or_else(|| ServiceError::Internal("a failed batch without a failure".to_owned())))
    }
}

fn at_index(error: ServiceError, index: usize) -> ServiceError {
    match error {
        ServiceError::Refused(refusal) => refusal.with("index", index).into(),
        other => other,
    }
}
