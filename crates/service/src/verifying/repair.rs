//! What a verification repairs: sidecars from rows, rows from sidecars. Nothing is ever deleted.

use cloakroom_core::file::File;
use cloakroom_core::key::sidecar_key;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::storage::StorageAction;

use super::drift::Drift;
use super::{ADOPTED, REPAIRED, VERIFY};
use crate::app::App;
use crate::error::{Result, ServiceError};

/// What was done, or why nothing could be done about it.
pub(super) type Repair = std::result::Result<&'static str, String>;

impl App {
    /// Repairs what can be; `None` when nothing of it can.
    pub(super) async fn repair(&self, file: &File, drifts: &[Drift]) -> Result<Option<Repair>> {
        let Some(drift) = drifts.iter().find(|drift| drift.is_of_sidecar()) else {
            return Ok(None);
        };
        if let Err(refusal) = self.admit(StorageAction::Update, &file.bucket) {
            return Ok(Some(Err(refusal.message)));
        }
        let epoch = match drift {
            // The sidecar is the truth (I6): a database out of a backup is behind it.
            Drift::RowBehind { epoch } => {
                let path = ObjectPath::new(&file.bucket, sidecar_key(&file.key, *epoch));
                return Ok(Some(self.adopt_lost_row(&path).await?.map(|()| ADOPTED)));
            }
            Drift::SidecarInvalid { epoch, .. } => *epoch,
            _ => file.epoch,
        };
        let transition = match file.supersede(epoch, &self.occasion(VERIFY)) {
            Ok(transition) => transition,
            Err(refusal) => return Ok(Some(Err(refusal.message))),
        };
        match self.commit_update(file, transition).await {
            Ok(_) => Ok(Some(Ok(REPAIRED))),
            Err(ServiceError::Refused(refusal)) => Ok(Some(Err(refusal.message))),
            Err(error) => Err(error),
        }
    }

    /// Takes a file back whose row is missing, or behind its sidecar.
    pub(super) async fn adopt_lost_row(
        &self,
        sidecar: &ObjectPath,
    ) -> Result<std::result::Result<(), String>> {
        if let Err(refusal) = self.admit(StorageAction::Update, &sidecar.bucket) {
            return Ok(Err(refusal.message));
        }
        match self.adopt_file(sidecar).await {
            Ok(true) => Ok(Ok(())),
            Ok(false) => Ok(Err("It changed meanwhile.".to_owned())),
            Err(ServiceError::Refused(refusal)) => Ok(Err(refusal.message)),
            Err(error) => Err(error),
        }
    }
}
