//! Copying a file to another place, byte by byte through this process: the stores may be two, and what is written is
//! checked while it passes.

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::file::File;
use cloakroom_core::key::{derivative_base, derivative_suffix};
use cloakroom_core::ports::objects::{
    BodyError, Checksums, GetOptions, ObjectError, ObjectPath, ObjectRead, PutBody, PutOptions,
};

use crate::app::App;
use crate::digesting::PassingDigest;
use crate::processing::AttemptError;

impl App {
    /// Copies the object of a verified file and its derivatives; returns the derivatives as they stand at the new place.
    pub(super) async fn copy_file(
        &self,
        file: &File,
        place: &ObjectPath,
    ) -> Result<Vec<Derivative>, AttemptError> {
        let Some(verified) = &file.verified else {
            return Err(AttemptError::Retry("an unverified file does not move".to_owned()));
        };
        let from = ObjectPath::new(&file.bucket, &file.key);
        self.copy_checked(&from, place, verified.size_bytes, Some(verified.sha256))
            .await?;
        let mut moved = Vec::new();
        let derivatives = self.metadata.derivatives(file.id).await?;
        // Variants stay behind, and go with the place.
        for mut derivative in derivatives.into_iter().filter(|one| !one.is_variant()) {
            if let DerivativeOutcome::Made { key, size_bytes, .. } = &mut derivative.outcome
                && let Some(suffix) = derivative_suffix(&file.key, key)
            {
                let from = ObjectPath::new(&file.bucket, key.as_str());
                let to = ObjectPath::new(&place.bucket, format!("{}{suffix}", derivative_base(&place.key)));
                match self.copy_checked(&from, &to, *size_bytes, None).await {
                    Ok(()) => *key = to.key,
                    // It can be made again; the file must not wait for it.
                    Err(AttemptError::Retry(reason)) => {
                        tracing::warn!(file_id = %file.id, name = derivative.name, reason, "a derivative does not move along");
                        derivative.outcome = DerivativeOutcome::Failed {
                            error: "It was lost before the file moved.".to_owned(),
                        };
                    }
                    Err(error) => return Err(error),
                }
            }
            moved.push(derivative);
        }
        Ok(moved)
    }

    /// Nothing stands at `to` unless every byte of it is the one that was meant.
    async fn copy_checked(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        size_bytes: u64,
        sha256: Option<Sha256Digest>,
    ) -> Result<(), AttemptError> {
        let read = match self.objects.get(from, &GetOptions::default()).await {
            Ok(read) => read,
            Err(ObjectError::NotFound) => return Err(AttemptError::Retry("the object is gone".to_owned())),
            Err(error) => return Err(error.into()),
        };
        let options = PutOptions {
            attributes: read.info.attributes.clone(),
            ..PutOptions::default()
        };
        let info = self
            .objects
            .put(to, options, checked_body(read, size_bytes, sha256))
            .await?;
        if info.size_bytes != size_bytes {
            return Err(AttemptError::Retry(format!(
                "{} bytes were written and {size_bytes} were meant",
                info.size_bytes
            )));
        }
        Ok(())
    }
}

/// The bytes of an object, refused at their end if they are not those that were verified.
fn checked_body(read: ObjectRead, size_bytes: u64, sha256: Option<Sha256Digest>) -> PutBody {
    let digest = PassingDigest::default();
    let stream = digest.of(read.body);
    let mut body = PutBody::from_stream(Box::pin(stream), Some(size_bytes));
    body.finish = Box::new(move || {
        let found = digest.take();
        match sha256 {
            Some(meant) if meant != found => Err(BodyError {
                code: "BadDigest",
                message: "the object is not what was verified any more".to_owned(),
            }),
            _ => Ok(Checksums::default()),
        }
    });
    body
}
