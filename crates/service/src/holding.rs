//! Legal hold: operators and administrators order that a file is kept, whatever its owner or its collection's retention
//! say, until somebody ends it.

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Action, Principal, Role};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::File;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::storage::StorageAction;
use cloakroom_core::transition::Transition;

use crate::app::App;
use crate::error::Result;
use crate::uploads::RACES_MAX;

/// Longest reason of a hold or a release, in characters.
pub const REASON_CHARS_MAX: usize = 300;

impl App {
    /// Puts a file on legal hold. Done again with the same reason it changes nothing; with another one, that counts.
    ///
    /// # Errors
    /// `insufficient_permissions` for others than operators and administrators, `invalid_state` for what was never
    /// confirmed or is over.
    pub async fn hold_file(&self, principal: &Principal, id: FileId, reason: &str) -> Result<File> {
        check_reason(reason)?;
        let held = |file: &File| file.hold.as_ref().is_some_and(|hold| hold.reason == reason);
        let hold = |file: &File| file.hold_for(reason, &self.occasion(&principal.subject));
        self.change_hold(principal, id, "file.held", reason, held, hold)
            .await
    }

    /// Ends a legal hold. The file goes on as its collection says.
    ///
    /// # Errors
    /// As [`Self::hold_file`]; `invalid_state` for a file that is on none.
    pub async fn release_file(&self, principal: &Principal, id: FileId, reason: &str) -> Result<File> {
        if !reason.is_empty() {
            check_reason(reason)?;
        }
        let release = |file: &File| file.release(&self.occasion(&principal.subject));
        self.change_hold(principal, id, "file.released", reason, |_| false, release)
            .await
    }

    async fn change_hold(
        &self,
        principal: &Principal,
        id: FileId,
        action: &str,
        reason: &str,
        is_done: impl Fn(&File) -> bool,
        change: impl Fn(&File) -> std::result::Result<Transition, Refusal>,
    ) -> Result<File> {
        for _ in 0..RACES_MAX {
            let file = self.file_for(principal, Action::Read, id).await?;
            require_operator(principal)?;
            if is_done(&file) {
                return Ok(file);
            }
            self.admit(StorageAction::Update, &file.bucket)?;
            match Box::pin(self.commit_update(&file, change(&file)?)).await {
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => return Err(error),
                Ok(changed) => {
                    let data = JsonObject::from_iter([("reason".to_owned(), reason.into())]);
                    self.audit_entry(&principal.subject, action, &id.to_string(), data)
                        .await?;
                    return Ok(changed);
                }
            }
        }
        Err(MetadataError::Conflict.into())
    }
}

/// The refusal of whoever is neither operator nor administrator.
pub fn require_operator(principal: &Principal) -> Result<()> {
    if principal.role >= Role::Operator {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InsufficientPermissions,
        "This needs the role operator or admin.",
    )
    .into())
}

pub(crate) fn check_reason(reason: &str) -> Result<()> {
    let fine = !reason.trim().is_empty()
        && reason.chars().count() <= REASON_CHARS_MAX
        && !reason.chars().any(char::is_control);
    if fine {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InvalidRequest,
        format!("A reason is 1 to {REASON_CHARS_MAX} characters without control characters."),
    )
    .with("field", "reason")
    .into())
}
