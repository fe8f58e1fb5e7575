//! `_cloakroom/mode.json` in each bucket of a store: written after the database, read when the database may have been lost.

use bytes::Bytes;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::format::mode_v1::{MODE_BYTES_MAX, MODE_KEY, ModeV1};
use cloakroom_core::ports::objects::{
    GetOptions, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions,
};
use cloakroom_core::storage::StoreState;
use futures_util::StreamExt as _;

use super::StoreDefinition;
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::uploads::RACES_MAX;

impl App {
    /// What stands beside the data of a bucket; `None` where nothing does, or there is no such bucket.
    ///
    /// # Errors
    /// `invalid_attribute_file` for a document that cannot be read.
    pub(super) async fn read_mode_file(&self, bucket: &str) -> Result<Option<StoreState>> {
        let path = ObjectPath::new(bucket, MODE_KEY);
        let mut read = match self.objects.get(&path, &GetOptions::default()).await {
            Ok(read) => read,
            Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = read.body.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| ServiceError::Unavailable(error.to_string()))?);
            if bytes.len() > MODE_BYTES_MAX {
                break;
            }
        }
        ModeV1::decode(&bytes).map(Some).map_err(|reason| {
            Refusal::new(
                ErrorCode::InvalidAttributeFile,
                format!(
                    "{MODE_KEY} in the bucket {bucket} cannot be read: {reason}; put it right, or remove it to have it written anew."
                ),
            )
            .with("bucket", bucket)
            .with("key", MODE_KEY)
            .into()
        })
    }

    /// Brings the documents in all buckets of a store to what the database says, and looks again: of two that write at the
    /// same time, the one that is late leaves what is newer.
    pub(super) async fn write_mode_files(&self, definition: &StoreDefinition) -> Result<()> {
        let mut written = None;
        for _ in 0..RACES_MAX {
            let states = self.administration.stores().await?;
            let Some(state) = states.into_iter().find(|state| state.name == definition.name) else {
                return Ok(());
            };
            if written == Some(state.epoch) {
                return Ok(());
            }
            written = Some(state.epoch);
            for bucket in &definition.buckets {
                // An unreadable document is ours to replace: the database knows better.
                let standing = self.read_mode_file(bucket).await;
                if let Err(error @ (ServiceError::Unavailable(_) | ServiceError::Internal(_))) = standing {
                    return Err(error);
                }
                if standing.is_ok_and(|found| found.as_ref() == Some(&state)) {
                    continue;
                }
                self.write_mode_file(bucket, &state).await?;
            }
        }
        Err(ServiceError::Unavailable(format!(
            "the mode of the store {} changes again and again",
            definition.name
        )))
    }

    async fn write_mode_file(&self, bucket: &str, state: &StoreState) -> Result<()> {
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/json".to_owned()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        let body = PutBody::from_bytes(Bytes::from(ModeV1::of(state).encode()));
        match self
            .objects
            .put(&ObjectPath::new(bucket, MODE_KEY), options, body)
            .await
        {
            // A bucket that is gone holds no file that a mode could be lost for.
            Ok(_) | Err(ObjectError::NoSuchBucket(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
