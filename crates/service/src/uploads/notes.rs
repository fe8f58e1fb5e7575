//! Confirm notes: what stands beside a staging object from just before its confirm is committed until it is processed, so
//! that a rebuild without a database still knows what was acknowledged (I3, I6).
//!
//! A note is written before the row, so one can stand whose confirm was never acknowledged: its author died in between. It
//! then says what is true all the same: the bytes had arrived, every check had passed, and somebody had asked. A rebuild
//! may confirm it. An upload that was given up or swept must not come back, so whoever removes a staging object removes
//! its note after it, and a note without bytes is worth nothing.

use bytes::Bytes;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::format::confirm_note_v1::ConfirmNoteV1;
use cloakroom_core::id::FileId;
use cloakroom_core::key::confirm_note_key;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{
    GetOptions, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions, WriteConditions,
};
use cloakroom_core::record::Record;
use cloakroom_core::transition::Transition;
use cloakroom_core::upload::Upload;

use super::RACES_MAX;
use crate::app::App;
use crate::error::{Result, ServiceError};

impl App {
    /// Commits a change of a file that is confirmed and not verified, or of one that has no note: note, then row.
    pub(crate) async fn commit_noted(&self, transition: Transition) -> Result<()> {
        let upload = if is_noted(&transition.file) {
            self.metadata.upload(transition.file.id).await?
        } else {
            None
        };
        self.commit_confirm(transition, upload.as_ref()).await
    }

    /// Commits a confirm: note, then row.
    pub(super) async fn commit_confirm(&self, transition: Transition, upload: Option<&Upload>) -> Result<()> {
        let file = &transition.file;
        let (id, bucket) = (file.id, file.bucket.clone());
        let noted = match upload {
            Some(upload) => self
                .put_confirm_note(file, upload, transition.record.as_ref(), transition.from_version)
                .await?
                .map(|generation| (upload, generation)),
            None => None,
        };
        let outcome = self.metadata.apply(transition).await.map_err(ServiceError::from);
        if let (Some((upload, own)), Err(error)) = (noted, &outcome)
            && error.code() == ErrorCode::Conflict
            && let Err(error) = self.settle_confirm_note(id, &bucket, upload, own).await
        {
            tracing::warn!(file_id = %id, %error, "a confirm note waits for the next change");
        }
        outcome
    }

    /// Writes the note of a change that begins with this version of the row; its generation, if there was one to write.
    ///
    /// Where a note stands already it is replaced only while the row still is as it was read: what was committed since
    /// stays noted.
    async fn put_confirm_note(
        &self,
        file: &File,
        upload: &Upload,
        new_record: Option<&Record>,
        from_version: u64,
    ) -> Result<Option<String>> {
        let Some(mut note) = ConfirmNoteV1::of(file, upload) else {
            return Ok(None);
        };
        if let Some(record) = self.record_of(file, new_record).await? {
            note = note.with_record(&record);
        }
        let bytes = Bytes::from(note.encode());
        let path = ObjectPath::new(&file.bucket, confirm_note_key(&upload.staging_key));
        let mut standing = None;
        for _ in 0..RACES_MAX {
            if let Some(generation) = self.write_note(&path, bytes.clone(), standing.take()).await? {
                return Ok(Some(generation));
            }
            standing = match self.objects.head(&path, &GetOptions::default()).await {
                Ok(info) => Some(info.generation),
                Err(ObjectError::NotFound) => None,
                Err(error) => return Err(error.into()),
            };
            // Asked after the note: whoever wrote it may have committed by now.
            let row = self.metadata.file(file.id).await?;
            if row.is_none_or(|row| row.version != from_version) {
                break;
            }
        }
        Err(MetadataError::Conflict.into())
    }

    /// Writes a note over the one of this generation, or where there is none; `None` when another one stands.
    async fn write_note(
        &self,
        path: &ObjectPath,
        bytes: Bytes,
        over: Option<String>,
    ) -> Result<Option<String>> {
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/json".to_owned()),
                ..ObjectAttributes::default()
            },
            conditions: WriteConditions {
                if_absent: over.is_none(),
                if_generation: over,
                ..WriteConditions::default()
            },
        };
        match self.objects.put(path, options, PutBody::from_bytes(bytes)).await {
            Ok(info) => Ok(Some(info.generation)),
            Err(ObjectError::PreconditionFailed(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whoever lost a race has written a note that is not true: if it still stands it is made to say what the row says.
    /// While the upload is open nothing is to be said: whoever tries again writes it anew.
    async fn settle_confirm_note(&self, id: FileId, bucket: &str, noted: &Upload, own: String) -> Result<()> {
        let (Some(file), Some(upload)) = (self.metadata.file(id).await?, self.metadata.upload(id).await?)
        else {
            // Purged meanwhile, and nobody looks here again. Where there are bytes whoever removes them removes the note.
            let staged = ObjectPath::new(bucket, &noted.staging_key);
            return match self.objects.head(&staged, &GetOptions::default()).await {
                Err(ObjectError::NotFound) => {
                    Ok(self.remove_confirm_note(bucket, &noted.staging_key).await?)
                }
                Err(error) => Err(error.into()),
                Ok(_) => Ok(()),
            };
        };
        if file.state.is_open() {
            return Ok(());
        }
        let Some(mut note) = ConfirmNoteV1::of(&file, &upload) else {
            return Ok(self
                .remove_confirm_note(&file.bucket, &upload.staging_key)
                .await?);
        };
        if let Some(record) = self.record_of(&file, None).await? {
            note = note.with_record(&record);
        }
        let path = ObjectPath::new(&file.bucket, confirm_note_key(&upload.staging_key));
        // Another one has replaced it since: it is theirs to be true.
        self.write_note(&path, Bytes::from(note.encode()), Some(own))
            .await?;
        Ok(())
    }

    /// Removes the note beside a staging object that is gone, or that nobody may confirm any more.
    pub(crate) async fn remove_confirm_note(
        &self,
        bucket: &str,
        staging_key: &str,
    ) -> std::result::Result<(), ObjectError> {
        let path = ObjectPath::new(bucket, confirm_note_key(staging_key));
        match self.objects.delete(&path).await {
            Ok(()) | Err(ObjectError::NoSuchBucket(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a file in this state has a note.
fn is_noted(file: &File) -> bool {
    matches!(
        file.trash.map_or(file.state, |trash| trash.from),
        FileState::Confirmed | FileState::Processing
    )
}
