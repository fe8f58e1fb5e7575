//! Claims an operation and runs it, until it is over or this process is to end.

use std::sync::Arc;
use std::time::Duration;

use cloakroom_core::JsonObject;
use cloakroom_core::id::OperationId;
use cloakroom_core::operation::{Operation, OperationKind};
use cloakroom_service::App;
use cloakroom_service::operations::Ended;
use cloakroom_worker::operations::{attend, stop_signal};
use cloakroom_worker::{WorkerOptions, runner};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::NOT_DONE;
use super::display::Display;
use crate::commands::Failure;
use crate::stop::{StopSignals, exit_at_next};

/// How often to look how far it is.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a store or a database may not answer before the command gives up.
const PATIENCE: Duration = Duration::from_mins(2);
/// Operations in a page of their list.
const PAGE_MAX: u32 = 100;

/// What is to be run, and how.
pub(super) struct Runner<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) kind: OperationKind,
    pub(super) options: JsonObject,
    pub(super) worker: WorkerOptions,
    pub(super) works: bool,
    pub(super) resume: bool,
    pub(super) restart: bool,
    pub(super) display: &'a Display,
}

impl Runner<'_> {
    /// Runs it; the operation as it is when it is done.
    pub(super) async fn run(&self, mut signals: StopSignals) -> Result<Operation, Failure> {
        let stop = CancellationToken::new();
        let mut operation = self.begin().await?;
        let id = operation.id;
        let watched = stop.clone();
        let signal = tokio::spawn(async move {
            let name = signals.next().await;
            watched.cancel();
            // The next one ends the process at once.
            tokio::spawn(exit_at_next(signals));
            name
        });
        loop {
            let ended = tokio::select! {
                ended = attend(self.app, operation, &self.worker, stop_signal(&stop)) => ended,
                never = self.watch(id) => match never {},
            };
            operation = match ended {
                Ended::Done => break,
                Ended::Failed(error) => {
                    return Err(Failure::with_code(NOT_DONE, format!("it failed: {error}")));
                }
                Ended::Cancelled => return Err(Failure::with_code(NOT_DONE, "it was cancelled")),
                Ended::Stopped => return Err(interrupted(signal.await.unwrap_or("SIGTERM"))),
                Ended::Held(reason) => {
                    self.display.note(&format!("{reason}; trying again"));
                    self.claim_again(id, &stop).await?
                }
                Ended::Lost => self.claim_again(id, &stop).await?,
            };
        }
        signal.abort();
        if self.works && matches!(self.kind, OperationKind::Purge | OperationKind::DeleteOwner) {
            // What it decided on is left to jobs.
            while runner::run_due(self.app, &self.worker).await > 0 {}
        }
        self.look(id).await
    }

    fn lease(&self) -> SignedDuration {
        SignedDuration::try_from(self.worker.lease).unwrap_or(SignedDuration::from_secs(15))
    }

    /// A new operation, or the one that was interrupted.
    async fn begin(&self) -> Result<Operation, Failure> {
        let Some(left) = self.unfinished().await? else {
            if self.resume {
                return Err(Failure::with_code(
                    NOT_DONE,
                    format!("no {} was interrupted", self.kind.as_str()),
                ));
            }
            return self.start().await;
        };
        if self.restart {
            let now = self.app.now();
            if left.lease_until.is_some_and(|until| until > now) {
                return Err(busy(&left));
            }
            let cancelled = self.app.administration.cancel_operation(left.id, now).await;
            cancelled.map_err(Failure::new)?;
            return self.start().await;
        }
        if !self.resume && left.options != self.options {
            let options = serde_json::Value::Object(left.options);
            return Err(Failure::usage(format!(
                "a {} with the options {options} is not over; --resume goes on with it, --restart gives it up",
                self.kind.as_str()
            )));
        }
        let claimed = self.claim(left.id).await?.ok_or_else(|| busy(&left))?;
        if claimed.place.is_some() {
            self.display.note(&format!(
                "going on with the {} of {}",
                self.kind.as_str(),
                claimed.created_at
            ));
        }
        Ok(claimed)
    }

    async fn start(&self) -> Result<Operation, Failure> {
        self.app
            .start_claimed_operation(self.kind, self.options.clone(), &self.worker.id, self.lease())
            .await
            .map_err(Failure::new)
    }

    /// The operation of this kind that is not over; there is one at most.
    async fn unfinished(&self) -> Result<Option<Operation>, Failure> {
        let mut before = None;
        loop {
            let page = self.app.administration.operations(before, PAGE_MAX).await;
            let page = page.map_err(Failure::new)?;
            before = page.items.last().map(|operation| operation.id);
            let found = page
                .items
                .into_iter()
                .find(|operation| operation.kind == self.kind && !operation.state.is_over());
            if found.is_some() || !page.more {
                return Ok(found);
            }
        }
    }

    async fn claim(&self, id: OperationId) -> Result<Option<Operation>, Failure> {
        let administration = &self.app.administration;
        administration
            .claim_operation_by_id(id, &self.worker.id, self.app.now(), self.lease())
            .await
            .map_err(Failure::new)
    }

    /// Claims it again as soon as that goes: the store did not answer, or the database.
    async fn claim_again(&self, id: OperationId, stop: &CancellationToken) -> Result<Operation, Failure> {
        let again = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                // A database that does not answer is waited for.
                if let Ok(Some(operation)) = self.claim(id).await {
                    return operation;
                }
            }
        };
        tokio::select! {
            operation = again => Ok(operation),
            () = stop.cancelled() => Err(interrupted("SIGINT")),
            () = tokio::time::sleep(PATIENCE) => Err(Failure::with_code(
                NOT_DONE,
                "it could not go on; the same command goes on where this one stopped",
            )),
        }
    }

    async fn look(&self, id: OperationId) -> Result<Operation, Failure> {
        let operation = self.app.administration.operation(id).await;
        let operation = operation.map_err(Failure::new)?;
        operation.ok_or_else(|| Failure::new("the operation was forgotten"))
    }

    /// Shows how far it is, for as long as it is polled.
    async fn watch(&self, id: OperationId) -> std::convert::Infallible {
        loop {
            if let Ok(operation) = self.look(id).await {
                self.display.show(&operation);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn interrupted(signal: &str) -> Failure {
    Failure::with_code(
        if signal == "SIGINT" { 130 } else { 143 },
        "interrupted; the same command goes on where this one stopped",
    )
}

fn busy(operation: &Operation) -> Failure {
    let holder = operation.lease_owner.as_ref();
    Failure::with_code(
        NOT_DONE,
        format!(
            "operation {} of this kind is being run{}; GET /api/v1/admin/operations/{0} says how far it is, DELETE cancels it",
            operation.id,
            holder
                .map(|worker| format!(" by {}", worker.0))
                .unwrap_or_default()
        ),
    )
}
