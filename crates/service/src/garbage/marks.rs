//! Marks of garbage: those whose object is gone are forgotten.

use cloakroom_core::garbage::{Garbage, GarbageReason};
use cloakroom_core::ports::objects::{MultipartUpload, ObjectError, ObjectPath};

use crate::app::App;
use crate::error::Result;
use crate::operations::Run;

impl App {
    /// Forgets marks whose object is not there any more, kept ones too.
    pub(super) async fn forget_vanished(&self, run: &mut Run<'_>) -> Result<()> {
        let mut after: Option<(ObjectPath, String)> = None;
        loop {
            let from = after.as_ref().map(|(path, upload)| (path, upload.as_str()));
            let page = self.administration.garbage(None, from, 500).await?;
            for garbage in page.items {
                if !self.garbage_stands(&garbage).await? {
                    self.administration
                        .forget_garbage(&garbage.path, &garbage.upload_id)
                        .await?;
                    run.count("vanished", 1);
                }
                after = Some((garbage.path, garbage.upload_id));
            }
            if !page.more {
                return Ok(());
            }
        }
    }

    async fn garbage_stands(&self, garbage: &Garbage) -> Result<bool> {
        if garbage.reason == GarbageReason::Multipart {
            return Ok(self.standing_multipart(garbage).await?.is_some());
        }
        self.stands(&garbage.path).await
    }

    /// The multipart upload that a mark is about.
    pub(super) async fn standing_multipart(&self, garbage: &Garbage) -> Result<Option<MultipartUpload>> {
        match self.objects.multipart(&garbage.path, &garbage.upload_id).await {
            Ok((upload, _)) => Ok(Some(upload)),
            Err(ObjectError::NoSuchUpload | ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
