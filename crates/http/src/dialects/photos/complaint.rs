//! The paths: a complaint, and a photo of one.

use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::record::RecordKey;
use utoipa::IntoParams;

use super::COLLECTION;
use crate::extract::path::{FromPath, Parameters};
use crate::problem::Problem;

/// The type of the records that complaints are.
const RECORD_TYPE: &str = "complaint";

/// `{id}`: a complaint, whether it is known here or not.
pub(super) struct Complaint(pub(super) RecordKey);

impl FromPath for Complaint {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        RecordKey::new(RECORD_TYPE, parameters.get("id")?)
            .map(Self)
            .map_err(|refusal| {
                Problem::from(refusal).recoded(ErrorCode::InvalidRequest, ErrorCode::InvalidParameter)
            })
    }
}

impl Complaint {
    /// Its id, as in paths.
    pub(super) fn id(&self) -> &str {
        self.0.id()
    }

    /// Whether this is a photo of it that there still is; anything else is answered as if there was no such photo.
    pub(super) fn admit(&self, file: &File) -> Result<(), Refusal> {
        let gone = matches!(
            file.state,
            FileState::Trashed | FileState::Purging | FileState::Reaping | FileState::Expired
        );
        if file.record.as_ref() == Some(&self.0) && file.collection == COLLECTION && !gone {
            return Ok(());
        }
        Err(Refusal::file_not_found(&file.id))
    }
}

/// `{id}` and `{photo_id}`.
pub(super) struct PhotoPath {
    pub(super) complaint: Complaint,
    pub(super) photo_id: FileId,
}

impl FromPath for PhotoPath {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        Ok(Self {
            complaint: Complaint::from_path(parameters)?,
            photo_id: FileId(parameters.uuid("photo_id")?),
        })
    }
}

/// A complaint's place in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes a path that is read as a record key")]
pub(super) struct ComplaintParameters {
    /// The complaint.
    #[param(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f/]+$"
    )]
    id: String,
}
