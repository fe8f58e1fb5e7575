//! Operations and their reports, as the API shows them.

use cloakroom_core::JsonObject;
use cloakroom_core::id::OperationId;
use cloakroom_core::operation::{Finding, Operation, OperationKind, OperationState};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

/// An operation, as the API shows it.
#[derive(Debug, Deserialize)]
pub struct OperationAnswer {
    id: Uuid,
    kind: String,
    state: String,
    options: JsonObject,
    done: u64,
    total: Option<u64>,
    counts: JsonObject,
    error: Option<String>,
    actor: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    finished_at: Option<Timestamp>,
}

/// A page of operations.
#[derive(Debug, Deserialize)]
pub struct OperationsPage {
    /// Newest first.
    pub operations: Vec<OperationAnswer>,
}

/// A page of findings.
#[derive(Debug, Deserialize)]
pub struct FindingsPage {
    /// In the order in which they were found.
    pub findings: Vec<FindingAnswer>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// A finding, as the API shows it.
#[derive(Debug, Deserialize)]
pub struct FindingAnswer {
    kind: String,
    action: String,
    bucket: Option<String>,
    key: Option<String>,
    file_id: Option<String>,
    detail: String,
}

impl OperationAnswer {
    /// As the core knows it; `None` for one that this version does not know.
    pub fn operation(self) -> Option<Operation> {
        Some(Operation {
            id: OperationId(self.id),
            kind: OperationKind::parse(&self.kind)?,
            state: OperationState::parse(&self.state)?,
            options: self.options,
            done: self.done,
            total: self.total,
            place: None,
            counts: self.counts,
            error: self.error,
            actor: self.actor,
            created_at: self.created_at,
            updated_at: self.updated_at,
            finished_at: self.finished_at,
            lease_epoch: 0,
            lease_owner: None,
            lease_until: None,
        })
    }
}

impl From<FindingAnswer> for Finding {
    fn from(answer: FindingAnswer) -> Self {
        Self {
            kind: answer.kind,
            bucket: answer.bucket,
            key: answer.key,
            file_id: answer.file_id.and_then(|id| id.parse().ok()),
            detail: answer.detail,
            action: answer.action,
        }
    }
}
