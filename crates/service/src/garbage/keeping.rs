//! What administrators decide about marked garbage: kept, or trashed again.

use cloakroom_core::JsonObject;
use cloakroom_core::access::Principal;
use cloakroom_core::audit::AuditEntry;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::garbage::{Garbage, GarbageState};
use cloakroom_core::id::AuditId;
use cloakroom_core::ports::metadata::Page;
use cloakroom_core::ports::objects::ObjectPath;
use jiff::Timestamp;

use crate::app::App;
use crate::error::Result;
use crate::tokens::require_admin;

impl App {
    /// Marked garbage by path, after one (its path and upload id); of one state, or of any.
    pub async fn garbage(
        &self,
        principal: &Principal,
        state: Option<GarbageState>,
        after: Option<(&ObjectPath, &str)>,
        limit: u32,
    ) -> Result<Page<Garbage>> {
        require_admin(principal)?;
        Ok(self
            .administration
            .garbage(state, after, limit.clamp(1, 1_000))
            .await?)
    }

    /// Has marked garbage kept: neither the sweep nor a purge removes it, and scans pass it over.
    ///
    /// # Errors
    /// `not_found` for what is not marked.
    pub async fn keep_garbage(
        &self,
        principal: &Principal,
        path: &ObjectPath,
        upload_id: &str,
    ) -> Result<()> {
        self.decide_garbage(principal, path, upload_id, GarbageState::Kept)
            .await
    }

    /// Has marked garbage go after all, with a new deadline.
    ///
    /// # Errors
    /// `not_found` for what is not marked.
    pub async fn trash_garbage(
        &self,
        principal: &Principal,
        path: &ObjectPath,
        upload_id: &str,
    ) -> Result<()> {
        self.decide_garbage(principal, path, upload_id, GarbageState::Trashed)
            .await
    }

    async fn decide_garbage(
        &self,
        principal: &Principal,
        path: &ObjectPath,
        upload_id: &str,
        state: GarbageState,
    ) -> Result<()> {
        require_admin(principal)?;
        let now = self.now();
        let purge_at = now
            .checked_add(self.policy.garbage_keep_for)
            .unwrap_or(Timestamp::MAX);
        if !self
            .administration
            .mark_garbage(path, upload_id, state, purge_at)
            .await?
        {
            return Err(
                Refusal::new(ErrorCode::NotFound, "There is no such object among the garbage.")
                    .with("bucket", path.bucket.clone())
                    .with("key", path.key.clone())
                    .into(),
            );
        }
        let mut data = JsonObject::new();
        data.insert("bucket".to_owned(), path.bucket.clone().into());
        data.insert("key".to_owned(), path.key.clone().into());
        let action = match state {
            GarbageState::Kept => "garbage.kept",
            GarbageState::Trashed => "garbage.trashed",
        };
        self.audit_entry(&principal.subject, action, &path.key, data)
            .await
    }

    /// Adds to the audit log.
    pub(crate) async fn audit_entry(
        &self,
        actor: &str,
        action: &str,
        subject: &str,
        data: JsonObject,
    ) -> Result<()> {
        let at = self.now();
        let entry = AuditEntry {
            id: AuditId(self.random.uuid_v7(at)),
            at,
            actor: actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            data,
        };
        Ok(self.administration.put_audit(&entry).await?)
    }
}
