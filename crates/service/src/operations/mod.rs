//! Operations: long work that administrators ask for, claimed and run by any worker, or by the command that asked.
//!
//! Each kind is a use case `run_<kind>` that takes a [`Run`]. It is idempotent from its place on, so a worker may die at
//! any point and another one goes on.

pub mod csv;
mod options;
mod run;
mod running;

use cloakroom_core::JsonObject;
use cloakroom_core::access::Principal;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::id::{AuditId, OperationId, WorkerId};
use cloakroom_core::intent::Intent;
use cloakroom_core::operation::{Finding, Operation, OperationKind, OperationState};
use cloakroom_core::ports::administration::{IntentQuery, Totals};
use cloakroom_core::ports::metadata::Page;
use jiff::SignedDuration;

pub use self::run::Run;
pub use self::running::{Ended, Hold};
use crate::app::App;
use crate::error::Result;
use crate::tokens::require_admin;

/// Longest page of a list.
const LIST_ITEMS_MAX: u32 = 1_000;
/// How long operations that are over are kept with their reports.
const RETENTION: SignedDuration = SignedDuration::from_hours(24 * 90);

impl App {
    /// Asks for an operation. A worker begins it within a second or so.
    ///
    /// # Errors
    /// `operation_running` when one of its kind waits or runs, `invalid_request` for options that the kind does not have.
    pub async fn start_operation(
        &self,
        principal: &Principal,
        kind: OperationKind,
        options: JsonObject,
    ) -> Result<Operation> {
        require_admin(principal)?;
        options::check(kind, &options)?;
        let operation = self.new_operation(kind, options, &principal.subject);
        self.keep_operation(&operation).await?;
        Ok(operation)
    }

    /// Begins an operation that the calling process runs itself: it is claimed from the beginning.
    ///
    /// # Errors
    /// As for [`Self::start_operation`].
    pub async fn start_claimed_operation(
        &self,
        kind: OperationKind,
        options: JsonObject,
        worker: &WorkerId,
        lease: SignedDuration,
    ) -> Result<Operation> {
        options::check(kind, &options)?;
        let mut operation = self.new_operation(kind, options, COMMAND);
        operation.state = OperationState::Running;
        operation.lease_epoch = 1;
        operation.lease_owner = Some(worker.clone());
        operation.lease_until = operation.created_at.checked_add(lease).ok();
        self.keep_operation(&operation).await?;
        Ok(operation)
    }

    fn new_operation(&self, kind: OperationKind, options: JsonObject, actor: &str) -> Operation {
        let now = self.now();
        Operation {
            id: OperationId(self.random.uuid_v7(now)),
            kind,
            state: OperationState::Waiting,
            options,
            done: 0,
            total: None,
            place: None,
            counts: JsonObject::new(),
            error: None,
            actor: actor.to_owned(),
            created_at: now,
            updated_at: now,
            finished_at: None,
            lease_epoch: 0,
            lease_owner: None,
            lease_until: None,
        }
    }

    async fn keep_operation(&self, operation: &Operation) -> Result<()> {
        if !self.administration.put_operation(operation).await? {
            return Err(Refusal::new(
                ErrorCode::OperationRunning,
                format!(
                    "An operation of the kind {} waits or runs already; there is one at a time.",
                    operation.kind.as_str()
                ),
            )
            .with("kind", operation.kind.as_str())
            .into());
        }
        self.audit_operation(operation, &operation.actor, "operation.started")
            .await
    }

    async fn audit_operation(&self, operation: &Operation, actor: &str, action: &str) -> Result<()> {
        let mut data = JsonObject::new();
        data.insert("kind".to_owned(), operation.kind.as_str().into());
        data.insert("options".to_owned(), operation.options.clone().into());
        let now = self.now();
        let entry = AuditEntry {
            id: AuditId(self.random.uuid_v7(now)),
            at: now,
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: operation.id.to_string(),
            data,
        };
        Ok(self.administration.put_audit(&entry).await?)
    }

    /// One operation.
    pub async fn operation(&self, principal: &Principal, id: OperationId) -> Result<Operation> {
        require_admin(principal)?;
        self.administration
            .operation(id)
            .await?
            .ok_or_else(|| no_such_operation(id).into())
    }

    /// Operations, newest first, before an id.
    pub async fn operations(
        &self,
        principal: &Principal,
        before: Option<OperationId>,
        limit: u32,
    ) -> Result<Page<Operation>> {
        require_admin(principal)?;
        let limit = limit.clamp(1, LIST_ITEMS_MAX);
        Ok(self.administration.operations(before, limit).await?)
    }

    /// Ends an operation that is not over. What it did so far stays done.
    pub async fn cancel_operation(&self, principal: &Principal, id: OperationId) -> Result<Operation> {
        let operation = self.operation(principal, id).await?;
        if self.administration.cancel_operation(id, self.now()).await? {
            self.audit_operation(&operation, &principal.subject, "operation.cancelled")
                .await?;
        }
        self.operation(principal, id).await
    }

    /// Lines of an operation's report in order, after so many.
    pub async fn findings(
        &self,
        principal: &Principal,
        id: OperationId,
        skip: u64,
        limit: u32,
    ) -> Result<Page<Finding>> {
        self.operation(principal, id).await?;
        let limit = limit.clamp(1, LIST_ITEMS_MAX);
        Ok(self.administration.findings(id, skip, limit).await?)
    }

    /// The audit log, newest first, before an id.
    pub async fn audit(
        &self,
        principal: &Principal,
        before: Option<AuditId>,
        limit: u32,
    ) -> Result<Page<AuditEntry>> {
        require_admin(principal)?;
        let limit = limit.clamp(1, LIST_ITEMS_MAX);
        Ok(self.administration.audit(before, limit).await?)
    }

    /// The write-ahead log, newest first.
    pub async fn intents(&self, principal: &Principal, query: IntentQuery) -> Result<Page<Intent>> {
        require_admin(principal)?;
        let limit = query.limit.clamp(1, LIST_ITEMS_MAX);
        Ok(self
            .administration
            .intents(&IntentQuery { limit, ..query })
            .await?)
    }

    /// The operation of a kind that was done last, as far back as operations are kept.
    pub async fn last_done_operation(
        &self,
        principal: &Principal,
        kind: OperationKind,
    ) -> Result<Option<Operation>> {
        require_admin(principal)?;
        Ok(self.administration.last_done_operation(kind).await?)
    }

    /// Totals of the instance.
    pub async fn totals(&self, principal: &Principal) -> Result<Totals> {
        require_admin(principal)?;
        Ok(self.administration.totals().await?)
    }

    /// Forgets operations that were over long ago, with their reports.
    pub async fn trim_operations(&self) -> Result<u64> {
        let before = self.now().checked_sub(RETENTION).unwrap_or(self.now());
        Ok(self.administration.trim_operations(before, 100).await?)
    }
}

/// The actor of what a command of the command line does.
pub const COMMAND: &str = "command";

fn no_such_operation(id: OperationId) -> Refusal {
    Refusal::new(ErrorCode::NotFound, "There is no such operation.").with("operation_id", id.to_string())
}
