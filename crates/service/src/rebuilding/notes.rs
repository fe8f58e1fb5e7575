//! Rows of files that were confirmed and are not verified yet, out of their confirm notes.

use cloakroom_core::error::ErrorCode;
use cloakroom_core::event::EventKind;
use cloakroom_core::file::{File, FileState, Trash};
use cloakroom_core::format::confirm_note_v1::{CONFIRM_NOTE_BYTES_MAX, ConfirmNoteV1};
use cloakroom_core::id::FileId;
use cloakroom_core::job::JobKind;
use cloakroom_core::key::{STAGING_PREFIX, confirm_note_file_id, confirm_note_key};
use cloakroom_core::ports::administration::Adoption;
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath};
use cloakroom_core::storage::StorageAction;
use futures_util::FutureExt;
use std::collections::HashMap;

use super::outcome::Outcome;
use super::place::{Phase, Place};
use super::{REBUILD, side_by_side};
use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

/// How far a row that comes from a note begins beyond it: further than claims and changes can have gone since.
const EPOCH_GAP: u32 = 1_000;

impl App {
    pub(super) async fn rebuild_notes(
        &self,
        run: &mut Run<'_>,
        bucket: &str,
        mut after: Option<String>,
    ) -> Result<()> {
        loop {
            let Some(page) = self.rebuild_page(bucket, STAGING_PREFIX, after).await? else {
                return Ok(());
            };
            let notes: Vec<(FileId, String)> = page
                .objects
                .iter()
                .filter_map(|object| Some((confirm_note_file_id(&object.key)?, object.key.clone())))
                .collect();
            if !notes.is_empty() {
                let mut ids: Vec<FileId> = notes.iter().map(|(id, _)| *id).collect();
                ids.sort_unstable();
                ids.dedup();
                let rows = self.administration.files_by_id(&ids).await?;
                let rows: HashMap<FileId, File> = rows.into_iter().map(|row| (row.id, row)).collect();
                let purged = self.administration.purged_files(&ids).await?;
                let work = notes
                    .into_iter()
                    .filter(|(id, _)| !purged.contains(id))
                    .filter(|(id, _)| rows.get(id).is_none_or(may_be_behind))
                    .map(|(id, key)| self.restore_confirmed(ObjectPath::new(bucket, key), id).boxed());
                side_by_side(work.collect(), run).await?;
            }
            let place = Place {
                phase: Phase::Notes,
                bucket: bucket.to_owned(),
                key: page.objects.last().map(|object| object.key.clone()),
            };
            run.advance(run.done() + page.objects.len() as u64, place.to_string())
                .await?;
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn restore_confirmed(&self, path: ObjectPath, id: FileId) -> Result<Outcome> {
        let invalid = |reason: String| Ok(Outcome::found("invalid_attribute_file", &path, Some(id), reason));
        let Some(bytes) = self.read_document(&path, CONFIRM_NOTE_BYTES_MAX).await? else {
            return Ok(Outcome::counted("changed_meanwhile"));
        };
        let note = match ConfirmNoteV1::decode(&bytes) {
            Ok(note) => note,
            Err(refusal) => return invalid(refusal.message),
        };
        if FileId(note.file_id) != id {
            return invalid("it is of another file than its key".to_owned());
        }
        let row = self.metadata.file(id).await?;
        match &row {
            Some(row) if !may_be_behind(row) => return Ok(Outcome::counted("unchanged")),
            Some(row) if row.has_sidecar() => return self.restore_change(row, &note).await,
            // The note of a confirm that is under way, or that died: an open upload is confirmed by its client.
            Some(row) if row.version >= note.version => return Ok(Outcome::counted("unchanged")),
            _ => {}
        }
        let target = ObjectPath::new(&path.bucket, &note.key);
        let staging = ObjectPath::new(&path.bucket, &note.staging_key);
        if !self.is_there(&staging).await? && !self.is_there(&target).await? {
            let detail = "An upload was confirmed and its bytes are gone.".to_owned();
            return Ok(Outcome::found("object_missing", &path, Some(id), detail));
        }
        let mut file = note.file(&path.bucket)?;
        if row.is_none() {
            // Whoever worked on it before the database was lost may still do so. Nothing it writes may count.
            file.epoch = file.epoch.saturating_add(EPOCH_GAP);
            file.version = file.version.saturating_add(u64::from(EPOCH_GAP));
        }
        file.version = self.free_version(&file, row.as_ref()).await?;
        let mut record = match note.linked_record()? {
            Some(record) => self.record_to_adopt(&file, record).await?,
            None => None,
        };
        if let Some(wanted) = &record
            && let Some(standing) = self.metadata.record(&wanted.key).await?
            && standing.owner != wanted.owner
        {
            // Whoever confirmed wanted to make the record, and another was first.
            file.record = None;
            record = None;
        }
        let jobs = (file.state == FileState::Confirmed).then(|| self.new_job(JobKind::ProcessFile, id));
        let adoption = Adoption {
            upload: Some(note.upload()?),
            derivatives: Vec::new(),
            record,
            event: self.adoption_event(&file),
            jobs: jobs.into_iter().collect(),
            replaces: row.as_ref().map(|row| row.version),
            file,
        };
        Ok(if self.administration.adopt(&adoption).await? {
            Outcome::counted(if row.is_some() { "updated" } else { "adopted" })
        } else {
            Outcome::counted("changed_meanwhile")
        })
    }

    /// A file with a sidecar that has its note still: it was processed just before the database was lost. It may have been
    /// changed meanwhile, and then the note, if it is as new, knows what the sidecar does not; and the workers of before
    /// may still write sidecars of later epochs, with what they knew. So the row takes an epoch beyond all of theirs. Only a
    /// row that comes from the sidecar needs this; any other knows better.
    async fn restore_change(&self, row: &File, note: &ConfirmNoteV1) -> Result<Outcome> {
        let events = self
            .metadata
            .timeline(row.id, row.version.checked_sub(1), 1)
            .await?
            .items;
        if events.last().is_none_or(|event| event.kind != EventKind::Adopted) {
            return Ok(Outcome::counted("unchanged"));
        }
        if let Err(refusal) = self.admit(StorageAction::Update, &row.bucket) {
            let path = ObjectPath::new(&row.bucket, confirm_note_key(&note.staging_key));
            let detail = format!("A change that its sidecar does not know of: {}", refusal.message);
            return Ok(Outcome::found("change_not_restored", &path, Some(row.id), detail));
        }
        let noted = note.file(&row.bucket)?;
        let counts = note.version >= row.version && row.trash.is_none();
        let occasion = self.occasion(REBUILD);
        let mut transition = match noted.trash {
            Some(trash) if counts => {
                let mut transition = row.trash(trash.purge_at.duration_since(trash.at), &occasion)?;
                transition.file.trash = Some(Trash {
                    from: row.state,
                    ..trash
                });
                transition
            }
            _ => row.supersede(row.epoch, &occasion)?,
        };
        let file = &mut transition.file;
        file.epoch = row.epoch.max(note.epoch).saturating_add(EPOCH_GAP);
        if counts {
            file.filename = noted.filename;
            file.description = noted.description;
            file.metadata = noted.metadata;
            file.record = noted.record;
            file.hold = noted.hold;
            transition.record = note.linked_record()?;
        }
        match self.commit_update(row, transition).await {
            Ok(_) => Ok(Outcome::counted("updated")),
            Err(error) if error.code() == ErrorCode::Conflict => Ok(Outcome::counted("changed_meanwhile")),
            Err(error) => Err(error),
        }
    }

    async fn is_there(&self, path: &ObjectPath) -> Result<bool> {
        match self.objects.head(path, &GetOptions::default()).await {
            Ok(_) => Ok(true),
            Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a note may know more than this row.
fn may_be_behind(row: &File) -> bool {
    row.state.is_open() || row.has_sidecar() && row.state != FileState::Purging
}
