//! Files as their owners see them: read, list, change, delete, restore.

use cloakroom_core::access::{Action, Credential, Principal, Role};
use cloakroom_core::derivative::Derivative;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::event::Event;
use cloakroom_core::file::{File, FilePatch, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::{FileQuery, MetadataError, Page, Usage};
use cloakroom_core::storage::StorageAction;
use cloakroom_core::transition::Transition;
use jiff::SignedDuration;

use crate::app::App;
use crate::error::Result;
use crate::measuring::{Measured, Seen};
use crate::uploads::{RACES_MAX, admit_metadata, validate_description, validate_filename};

/// Longest page of a list.
const LIST_ITEMS_MAX: u32 = 1_000;

/// States that a list shows unless it is asked for others.
const LISTED_STATES: &[FileState] = &[
    FileState::Pending,
    FileState::Uploading,
    FileState::Uploaded,
    FileState::Confirmed,
    FileState::Processing,
    FileState::Ready,
    FileState::Failed,
    FileState::Quarantined,
    FileState::Archived,
];

/// An owner's usage and limit.
#[derive(Clone, Copy, Debug)]
pub struct OwnUsage {
    /// What is used.
    pub usage: Usage,
    /// What may be used; `None` is no limit.
    pub quota_bytes: Option<u64>,
}

impl App {
    /// The file, if this principal may do that with it; else a refusal that does not tell a foreign file from a
    /// missing one (I8).
    pub(crate) async fn file_for(&self, principal: &Principal, action: Action, id: FileId) -> Result<File> {
        match self.metadata.file(id).await? {
            Some(file) if principal.may(action, &file) => Ok(file),
            _ => Err(Refusal::file_not_found(&id).into()),
        }
    }

    /// One file.
    pub async fn file(&self, principal: &Principal, id: FileId) -> Result<File> {
        self.file_for(principal, Action::Read, id).await
    }

    /// One file with its derivatives.
    pub async fn file_with_derivatives(
        &self,
        principal: &Principal,
        id: FileId,
    ) -> Result<(File, Vec<Derivative>)> {
        let file = self.file_for(principal, Action::Read, id).await?;
        let derivatives = self.derivatives_of(&file).await?;
        Ok((file, derivatives))
    }

    /// Files that the caller was given, each with its derivatives.
    pub async fn with_derivatives(&self, files: Vec<File>) -> Result<Vec<(File, Vec<Derivative>)>> {
        let mut whole = Vec::with_capacity(files.len());
        for file in files {
            let derivatives = self.derivatives_of(&file).await?;
            whole.push((file, derivatives));
        }
        Ok(whole)
    }

    /// A file's derivatives, without those that stayed behind when it moved.
    pub(crate) async fn derivatives_of(
        &self,
        file: &File,
    ) -> std::result::Result<Vec<Derivative>, MetadataError> {
        let mut derivatives = self.metadata.derivatives(file.id).await?;
        derivatives.retain(|one| one.is_current(&file.key));
        Ok(derivatives)
    }

    /// A page of the files that the principal may see, newest first.
    pub async fn files(&self, principal: &Principal, mut query: FileQuery) -> Result<Page<File>> {
        if !(1..=LIST_ITEMS_MAX).contains(&query.limit) {
            return Err(Refusal::new(
                ErrorCode::InvalidParameter,
                format!("limit is 1 to {LIST_ITEMS_MAX}."),
            )
            .with("field", "limit")
            .into());
        }
        if query.states.is_empty() {
            query.states = LISTED_STATES.to_vec();
        }
        match &principal.credential {
            Credential::ServiceToken {
                collections: Some(scope),
                ..
            } => {
                let asked = query.collections.take();
                query.collections = Some(match asked {
                    Some(names) => names.into_iter().filter(|name| scope.contains(name)).collect(),
                    None => scope.clone(),
                });
            }
            Credential::ServiceToken {
                collections: None, ..
            } => {}
            Credential::AccessToken if principal.role >= Role::Operator => {}
            Credential::AccessToken => match &query.owner {
                Some(owner) if *owner != principal.subject => {
                    return Err(Refusal::new(
                        ErrorCode::InsufficientPermissions,
                        "Only operators and administrators list other owners' files.",
                    )
                    .into());
                }
                _ => query.owner = Some(principal.subject.clone()),
            },
        }
        if query.collections.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Page {
                items: Vec::new(),
                more: false,
            });
        }
        Ok(self.metadata.files(&query).await?)
    }

    /// A file's events, oldest first.
    pub async fn timeline(
        &self,
        principal: &Principal,
        id: FileId,
        after_version: Option<u64>,
        limit: u32,
    ) -> Result<Page<Event>> {
        self.file_for(principal, Action::Read, id).await?;
        Ok(self
            .metadata
            .timeline(id, after_version, limit.clamp(1, LIST_ITEMS_MAX))
            .await?)
    }

    /// Changes name, description, metadata or record. `if_version` guards against overwriting a change not seen.
    pub async fn update_file(
        &self,
        principal: &Principal,
        id: FileId,
        patch: FilePatch,
        if_version: Option<u64>,
    ) -> Result<File> {
        if let Some(filename) = &patch.filename {
            validate_filename(filename)?;
        }
        if let Some(Some(description)) = &patch.description {
            validate_description(description)?;
        }
        for _ in 0..RACES_MAX {
            let file = self.file_for(principal, Action::Write, id).await?;
            if let Some(version) = if_version
                && version != file.version
            {
                return Err(Refusal::new(
                    ErrorCode::PreconditionFailed,
                    "The file has changed since that version.",
                )
                .with("version", file.version)
                .into());
            }
            if patch.is_empty() {
                return Ok(file);
            }
            self.admit(StorageAction::Update, &file.bucket)?;
            let link = match &patch.record {
                Some(Some(key)) => self.record_to_link(principal, &file.owner, Some(key)).await?,
                _ => None,
            };
            let mut transition = file.update(patch.clone(), &self.occasion(&principal.subject))?;
            admit_metadata(&transition.file)?;
            transition.record = link;
            match self.commit_update(&file, transition).await {
                Err(crate::error::ServiceError::Refused(refusal)) if refusal.code == ErrorCode::Conflict => {}
                other => return other,
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// Deletes: an open upload is given up, anything else goes to the trash. Deleting twice is deleting once.
    pub async fn delete_file(&self, principal: &Principal, id: FileId) -> Result<()> {
        let work = Box::pin(self.delete_or_abort(principal, id));
        let whose = (principal.subject.as_str(), Some(id));
        self.measured(Measured::Delete, whose, work, |deleted| Seen {
            file: Some(&deleted.file),
            repeated: deleted.repeated,
        })
        .await
        .map(drop)
    }

    async fn delete_or_abort(&self, principal: &Principal, id: FileId) -> Result<Deleted> {
        for _ in 0..RACES_MAX {
            let file = self.file_for(principal, Action::Write, id).await?;
            if file.state.is_open() {
                self.abort_upload(principal, id).await?;
                return Ok(Deleted {
                    file,
                    repeated: false,
                });
            }
            if matches!(
                file.state,
                FileState::Reaping | FileState::Expired | FileState::Trashed | FileState::Purging
            ) {
                return Ok(Deleted { file, repeated: true });
            }
            self.admit(StorageAction::Delete, &file.bucket)?;
            match self.trash(&file, &principal.subject).await {
                Err(error) if error.code() == ErrorCode::Conflict => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    return Ok(Deleted {
                        file,
                        repeated: false,
                    });
                }
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// Moves one file to the trash for as long as its collection says; from a trash that keeps nothing it goes on at once.
    pub(crate) async fn trash(&self, file: &File, actor: &str) -> Result<()> {
        // A collection that is no longer configured still lets its files go, with the default deadline.
        let seconds = self
            .collections
            .get(&file.collection)
            .map_or(7 * 24 * 60 * 60, |c| c.trash_seconds);
        let trash_for = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        let transition = file.trash(trash_for, &self.occasion(actor))?;
        let trashed = self.commit_update(file, transition).await?;
        if trash_for.is_zero() {
            match self.metadata.apply(trashed.purge(&self.occasion(actor))?).await {
                // Somebody else was faster, or the sweeper will be: it is over its deadline.
                Ok(()) | Err(MetadataError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes a file back out of the trash.
    pub async fn restore_file(&self, principal: &Principal, id: FileId) -> Result<File> {
        for _ in 0..RACES_MAX {
            let file = self.file_for(principal, Action::Write, id).await?;
            // Other than its deletion, this takes nothing away.
            self.admit(StorageAction::Update, &file.bucket)?;
            let mut transition = file.restore(&self.occasion(&principal.subject))?;
            self.relink(&file, &mut transition).await?;
            match self.commit_update(&file, transition).await {
                // Changed meanwhile, or somebody else has made a record of that name.
                Err(error) if matches!(error.code(), ErrorCode::Conflict | ErrorCode::RecordNotFound) => {}
                other => return other,
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// While a file was in the trash its record may have gone, and somebody else's may have its name by now. The file
    /// hangs on a record of its owner again, or on none: whoever deletes his own record deletes nobody else's file.
    async fn relink(&self, file: &File, transition: &mut Transition) -> Result<()> {
        let (Some(key), Some(trash)) = (&file.record, file.trash) else {
            return Ok(());
        };
        match self.metadata.record(key).await? {
            Some(record) if record.owner == file.owner || record.created_at <= trash.at => {}
            Some(_) => {
                transition.file.record = None;
                let changed = vec!["record"];
                transition.event.data.insert("changed".to_owned(), changed.into());
            }
            None => transition.record = Some(self.linked_record(key, &file.owner)),
        }
        Ok(())
    }

    /// What the principal uses.
    pub async fn own_usage(&self, principal: &Principal) -> Result<OwnUsage> {
        let usage = self.metadata.usage(&principal.subject).await?;
        Ok(OwnUsage {
            usage,
            quota_bytes: self.policy.quota_bytes,
        })
    }
}

/// What a deletion did.
struct Deleted {
    /// The file as it was.
    file: File,
    /// It was deleted before.
    repeated: bool,
}
