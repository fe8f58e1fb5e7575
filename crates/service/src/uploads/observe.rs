//! What the embedded S3 endpoint sees: first bytes and complete staging objects. Advisory: an observation that is
//! lost costs nothing but a state that is shown later.

use cloakroom_core::file::FileState;
use cloakroom_core::key::staging_file_id;
use cloakroom_core::ports::metadata::MetadataError;

use super::RACES_MAX;
use crate::app::App;
use crate::error::Result;

/// The actor of what the endpoint saw.
const ACTOR: &str = "endpoint";

impl App {
    /// First bytes of an object are coming in.
    pub async fn observe_upload_begun(&self, key: &str) -> Result<()> {
        let Some(id) = staging_file_id(key) else {
            return Ok(());
        };
        let Some(file) = self.metadata.file(id).await? else {
            return Ok(());
        };
        let Some(transition) = file.uploading(&self.occasion(ACTOR)) else {
            return Ok(());
        };
        match self.metadata.apply(transition).await {
            Ok(()) | Err(MetadataError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// An object is complete. Collections with `auto_confirm` need no word from the client.
    pub async fn observe_upload_done(&self, key: &str) -> Result<()> {
        let Some(id) = staging_file_id(key) else {
            return Ok(());
        };
        for _ in 0..RACES_MAX {
            let Some(file) = self.metadata.file(id).await? else {
                return Ok(());
            };
            if !file.state.is_open() {
                return Ok(());
            }
            let auto_confirm = self
                .collection(&file.collection)
                .is_ok_and(|collection| collection.auto_confirm);
            if auto_confirm && self.confirm_unattended(&file, ACTOR).await? {
                return Ok(());
            }
            if file.state == FileState::Uploaded {
                return Ok(());
            }
            let Some(transition) = file.uploaded(&self.occasion(ACTOR)) else {
                return Ok(());
            };
            match self.metadata.apply(transition).await {
                Ok(()) => return Ok(()),
                Err(MetadataError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether a signed upload may still write to its staging key: once its file is confirmed, a URL that is used
    /// again changes nothing (I2), and once its store is closed nothing comes in any more.
    pub async fn admits_upload(&self, key: &str) -> Result<bool> {
        let Some(id) = staging_file_id(key) else {
            return Ok(true);
        };
        Ok(self
            .metadata
            .file(id)
            .await?
            .is_some_and(|file| file.state.is_open() && self.admit_ticket(&file.bucket).is_ok()))
    }
}
