//! The same commands against a server: it runs the operation, this process watches and tells.

use std::time::Duration;

use cloakroom_core::JsonObject;
use cloakroom_core::id::OperationId;
use cloakroom_core::operation::{Finding, Operation, OperationKind, OperationState};
use cloakroom_core::ports::metadata::Page;

use super::NOT_DONE;
use super::display::Display;
use crate::client::api::Api;
use crate::client::connection::{Connection, ConnectionArgs};
use crate::client::development::DevIdentity;
use crate::client::error::ClientError;
use crate::client::operations::OperationAnswer;
use crate::commands::Failure;
use crate::stop::StopSignals;

/// How often to ask how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A server that runs operations.
pub(super) struct Remote {
    api: Api,
}

impl Remote {
    pub(super) fn open(connection: &ConnectionArgs) -> Result<Self, Failure> {
        let opened = Connection::open(connection, DevIdentity::Administrator).and_then(Api::new);
        Ok(Self {
            api: opened.map_err(|error| failed(&error))?,
        })
    }

    /// Has it run, or watches the one that runs already.
    pub(super) async fn run(
        &self,
        kind: OperationKind,
        options: &JsonObject,
        resume: bool,
        display: &Display,
        mut signals: StopSignals,
    ) -> Result<Operation, Failure> {
        let watched = async {
            let mut operation = if resume {
                self.running(kind).await?
            } else {
                let started = self.api.start_operation(kind.as_str(), options).await;
                known(started.map_err(|error| failed(&error))?)?
            };
            while !operation.state.is_over() {
                display.show(&operation);
                tokio::time::sleep(ASK_EVERY).await;
                let now = self.api.operation(&operation.id.to_string()).await;
                operation = known(now.map_err(|error| failed(&error))?)?;
            }
            Ok(operation)
        };
        let operation = tokio::select! {
            over = watched => over?,
            _ = signals.next() => {
                return Err(Failure::with_code(130, "interrupted; the server goes on with it, --resume watches it again"));
            }
        };
        match operation.state {
            OperationState::Done => Ok(operation),
            OperationState::Cancelled => Err(Failure::with_code(NOT_DONE, "it was cancelled")),
            _ => Err(Failure::with_code(
                NOT_DONE,
                format!("it failed: {}", operation.error.unwrap_or_default()),
            )),
        }
    }

    async fn running(&self, kind: OperationKind) -> Result<Operation, Failure> {
        let page = self.api.operations().await.map_err(|error| failed(&error))?;
        page.operations
            .into_iter()
            .filter_map(OperationAnswer::operation)
            .find(|operation| operation.kind == kind && !operation.state.is_over())
            .ok_or_else(|| Failure::with_code(NOT_DONE, format!("no {} waits or runs there", kind.as_str())))
    }

    /// A page of findings, and the cursor of the next one.
    pub(super) async fn findings(
        &self,
        id: OperationId,
        cursor: Option<&str>,
    ) -> Result<(Page<Finding>, Option<String>), Failure> {
        let page = self.api.findings(&id.to_string(), cursor).await;
        let page = page.map_err(|error| failed(&error))?;
        let items = page.findings.into_iter().map(Finding::from).collect();
        let more = page.next_cursor.is_some();
        Ok((Page { items, more }, page.next_cursor))
    }
}

fn known(answer: OperationAnswer) -> Result<Operation, Failure> {
    answer.operation().ok_or_else(|| {
        Failure::with_code(
            NOT_DONE,
            "the server speaks of an operation that is not known here",
        )
    })
}

/// A usage error stays one; what else a server or the way there refuses could not be done.
fn failed(error: &ClientError) -> Failure {
    match error {
        ClientError::Usage(_) => Failure::usage(error),
        other => Failure::with_code(NOT_DONE, other),
    }
}
