//! Whether everything that a deletion takes along may be deleted: asked before anything of it changes.

use cloakroom_core::file::FileState;
use cloakroom_core::ports::metadata::{Cursor, FileQuery};
use cloakroom_core::record::RecordKey;
use cloakroom_core::storage::StorageAction;

use crate::app::App;
use crate::error::Result;

/// States of files that a deletion moves to the trash. Open uploads are given up instead, which is no deletion, and what is in
/// the trash stays there.
const DELETED_STATES: &[FileState] = &[
    FileState::Confirmed,
    FileState::Processing,
    FileState::Ready,
    FileState::Failed,
    FileState::Quarantined,
    FileState::Archived,
];
/// Files looked at in one step.
const ROUND_MAX: u32 = 1_000;

impl App {
    /// Whether these records may be deleted with every file that hangs on them.
    ///
    /// # Errors
    /// `invalid_storage_mode`, naming the record and the file that must stay.
    pub(crate) async fn admit_cascade(&self, records: &[RecordKey]) -> Result<()> {
        self.admit_records(StorageAction::Delete)?;
        for key in records {
            let query = FileQuery {
                record: Some(key.clone()),
                ..FileQuery::default()
            };
            self.admit_deletion_of(query, &key.to_string()).await?;
        }
        Ok(())
    }

    /// Whether every file that this query finds may be deleted. `whose` names what they hang on, for the refusal.
    pub(crate) async fn admit_deletion_of(&self, mut query: FileQuery, whose: &str) -> Result<()> {
        query.states = DELETED_STATES.to_vec();
        query.limit = ROUND_MAX;
        loop {
            let page = self.metadata.files(&query).await?;
            for file in &page.items {
                self.admit(StorageAction::Delete, &file.bucket)
                    .map_err(|refusal| {
                        refusal
                            .with("file_id", file.id.to_string())
                            .with("belongs_to", whose)
                    })?;
            }
            match page.items.last() {
                Some(last) if page.more => {
                    query.after = Some(Cursor {
                        created_at: last.created_at,
                        id: last.id,
                    });
                }
                _ => return Ok(()),
            }
        }
    }
}
