//! Running an operation: holds the claim, and says how it ended.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use cloakroom_core::operation::{Operation, OperationKind, OperationState};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Shared, select};
use jiff::SignedDuration;

use super::run::{Claim, Run};
use crate::app::{App, Pause};
use crate::error::{Result, ServiceError};

/// Wait before an operation that an unreachable store held up goes on.
const UNAVAILABLE_WAIT: SignedDuration = SignedDuration::from_secs(5);

/// How a claim on an operation is held.
pub struct Hold<'a> {
    /// How long it lasts without being extended.
    pub lease: Duration,
    /// How long a run may take, after it was told to stop, to reach a place where it can.
    pub grace: Duration,
    /// Waits.
    pub pause: &'a Pause,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The operation is done.
    Done,
    /// The operation failed, with this error.
    Failed(String),
    /// An administrator cancelled it.
    Cancelled,
    /// It was told to stop; anybody may go on at once.
    Stopped,
    /// The database or the store does not answer; anybody may go on in a few seconds.
    Held(String),
    /// The claim went to somebody else, or the database cannot be asked: it goes on when the claim ends.
    Lost,
}

/// Why the work was left.
enum Left {
    Over(Result<()>),
    Lost,
    Late,
}

impl App {
    /// Runs a claimed operation, from its place to its end. It holds on to the claim; when `stop` comes it saves its
    /// place and gives the claim back. A panic of the work is a failed operation.
    pub async fn run_operation(
        &self,
        operation: Operation,
        hold: &Hold<'_>,
        stop: Shared<BoxFuture<'static, ()>>,
    ) -> Ended {
        let (id, kind) = (operation.id, operation.kind);
        let lease = SignedDuration::try_from(hold.lease).unwrap_or(SignedDuration::from_secs(15));
        let claim = Claim::new(&*self.administration, &*self.clock, operation.clone(), lease);
        let mut run = Run::new(&claim, operation);
        let left = {
            let work = AssertUnwindSafe(self.perform(&mut run)).catch_unwind();
            let work = work.map(|result| {
                result.unwrap_or_else(|_| Err(ServiceError::Internal("the operation panicked".to_owned())))
            });
            Box::pin(attend(work, &claim, hold, stop)).await
        };
        let ended = match self.conclude(&claim, &mut run, left).await {
            Ok(ended) => ended,
            Err(error) => {
                tracing::warn!(operation_id = %id, %error, "what became of an operation could not be written");
                Ended::Lost
            }
        };
        // Fenced, because it was cancelled or because somebody else has it.
        let ended = match ended {
            Ended::Lost => match self.administration.operation(id).await {
                Ok(Some(now)) if now.state == OperationState::Cancelled => Ended::Cancelled,
                Ok(None) => Ended::Cancelled,
                _ => Ended::Lost,
            },
            other => other,
        };
        log(kind, id, &ended);
        ended
    }

    async fn perform(&self, run: &mut Run<'_>) -> Result<()> {
        match run.operation().kind {
            OperationKind::Verify => self.run_verify(run).await,
            OperationKind::Orphans => self.run_orphans(run).await,
            OperationKind::Purge => self.run_purge(run).await,
            OperationKind::DeleteOwner => self.run_delete_owner(run).await,
            OperationKind::Rebuild => self.run_rebuild(run).await,
            OperationKind::Rescan => self.run_rescan(run).await,
        }
    }

    async fn conclude(&self, claim: &Claim<'_>, run: &mut Run<'_>, left: Left) -> Result<Ended> {
        match left {
            Left::Lost => Ok(Ended::Lost),
            Left::Over(_) if claim.is_lost() => Ok(Ended::Lost),
            Left::Over(Ok(())) => {
                claim.end(run, OperationState::Done, None).await?;
                Ok(Ended::Done)
            }
            Left::Late => {
                claim.give_back().await?;
                Ok(Ended::Stopped)
            }
            Left::Over(Err(ServiceError::Unavailable(_))) if claim.is_stopping() => {
                claim.give_back().await?;
                Ok(Ended::Stopped)
            }
            Left::Over(Err(ServiceError::Unavailable(reason))) => {
                claim.put_off(UNAVAILABLE_WAIT, reason.clone()).await?;
                Ok(Ended::Held(reason))
            }
            Left::Over(Err(error)) => {
                let reason = error.to_string();
                claim
                    .end(run, OperationState::Failed, Some(reason.clone()))
                    .await?;
                Ok(Ended::Failed(reason))
            }
        }
    }
}

/// Polls the work and extends the claim beside it, until the work ends, the claim is lost, or it is too late to stop well.
///
/// A save that is under way is never left: it might come true after a later one.
async fn attend(
    work: impl Future<Output = Result<()>>,
    claim: &Claim<'_>,
    hold: &Hold<'_>,
    stop: Shared<BoxFuture<'static, ()>>,
) -> Left {
    let mut work = pin!(work);
    let mut late = pin!(async {
        stop.await;
        claim.stop();
        (hold.pause)(hold.grace).await;
    });
    loop {
        let tick = select((hold.pause)(hold.lease / 3), late.as_mut());
        match select(work.as_mut(), tick).await {
            Either::Left((result, _)) => return Left::Over(result),
            Either::Right((Either::Right(_), _)) => return Left::Late,
            Either::Right((Either::Left(_), _)) => {}
        }
        let beat = pin!(claim.beat());
        if let Either::Left((result, beat)) = select(work.as_mut(), beat).await {
            beat.await;
            return Left::Over(result);
        }
        if claim.is_lost() {
            return Left::Lost;
        }
    }
}

fn log(kind: OperationKind, id: cloakroom_core::id::OperationId, ended: &Ended) {
    let name = match ended {
        Ended::Done => "done",
        Ended::Failed(_) => "failed",
        Ended::Cancelled => "cancelled",
        Ended::Stopped => "stopped",
        Ended::Held(_) => "held",
        Ended::Lost => "lost",
    };
    metrics::counter!("cloakroom_operations_total", "kind" => kind.as_str(), "outcome" => name).increment(1);
    match ended {
        Ended::Failed(error) | Ended::Held(error) => {
            tracing::warn!(event = "operation_ended", operation_id = %id, operation = kind.as_str(), status = name, %error, "An operation did not get to its end");
        }
        _ => {
            tracing::info!(event = "operation_ended", operation_id = %id, operation = kind.as_str(), status = name, "An operation ended its run");
        }
    }
}
