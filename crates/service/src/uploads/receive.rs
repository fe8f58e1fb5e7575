//! Uploads through the service itself, for clients that cannot reach the store: streamed, never held (I10).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cloakroom_core::access::Principal;
use cloakroom_core::ports::objects::{
    BodyError, ByteStream, ObjectAttributes, ObjectPath, PutBody, PutOptions, WriteConditions,
};
use cloakroom_core::upload::UploadMethod;
use futures_core::Stream;

use super::confirm::{ConfirmUpload, Confirmed};
use super::sign::SignUpload;
use crate::app::App;
use crate::error::Result;

impl App {
    /// Signs, stores and confirms in one go. A body beyond the collection's limit is cut off as it comes.
    pub async fn receive_upload(
        &self,
        principal: &Principal,
        mut request: SignUpload,
        body: ByteStream,
    ) -> Result<Confirmed> {
        request.method = Some(UploadMethod::Stream);
        let signed = self.sign_upload(principal, request).await?;
        if signed.repeated && !signed.file.state.is_open() {
            return self
                .confirm_upload(principal, signed.file.id, ConfirmUpload::default())
                .await;
        }
        let file = &signed.file;
        let collection = self.collection(&file.collection)?;
        let path = ObjectPath::new(&file.bucket, &signed.upload.staging_key);
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some(file.declared.content_type.to_string()),
                ..ObjectAttributes::default()
            },
            conditions: WriteConditions::default(),
        };
        let limit = file.declared.size_bytes.unwrap_or(collection.size_bytes_max);
        let limited = Limited {
            inner: body,
            left: limit,
            limit,
        };
        tracing::info!(
            event = "s3_upload_start",
            file_id = %file.id,
            user_id = %principal.subject,
            bucket = %file.bucket,
            file_size = file.declared.size_bytes,
            "Upload started: {}", file.id
        );
        let started_at = self.now();
        match self
            .objects
            .put(&path, options, PutBody::from_stream(Box::pin(limited), None))
            .await
        {
            Ok(info) => {
                let duration_ms = self.now().duration_since(started_at).as_millis() as i64;
                tracing::info!(
                    event = "s3_upload_ok",
                    operation = "upload",
                    file_id = %file.id,
                    user_id = %principal.subject,
                    bucket = %file.bucket,
                    file_size = info.size_bytes,
                    duration_ms,
                    status = "success",
                    "Storage operation completed"
                );
            }
            Err(error) => {
                tracing::error!(
                    event = "s3_upload_error",
                    file_id = %file.id,
                    user_id = %principal.subject,
                    bucket = %file.bucket,
                    %error,
                    status = "error",
                    "Upload failed: {error}"
                );
                self.alert_upload_error(file, &error);
                // The space comes free at once; a failure here is left to the sweeper.
                if let Err(error) = self.abort_upload(principal, file.id).await {
                    tracing::warn!(file_id = %file.id, %error, "a failed upload waits for the sweeper");
                }
                return Err(error.into());
            }
        }
        match self
            .confirm_upload(principal, file.id, ConfirmUpload::default())
            .await
        {
            Ok(confirmed) => Ok(confirmed),
            Err(error) => {
                // Nobody can mend what came through us: the client has no URL to send it again.
                if let Err(error) = self.abort_upload(principal, file.id).await {
                    tracing::warn!(file_id = %file.id, %error, "a refused upload waits for the sweeper");
                }
                Err(error)
            }
        }
    }
}

/// A body that may not be longer than announced or allowed.
struct Limited {
    inner: ByteStream,
    left: u64,
    limit: u64,
}

impl Stream for Limited {
    type Item = std::result::Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = match ready!(self.inner.as_mut().poll_next(context)) {
            Some(Ok(piece)) => piece,
            other => return Poll::Ready(other),
        };
        match self.left.checked_sub(piece.len() as u64) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Some(Ok(piece)))
            }
            None => Poll::Ready(Some(Err(BodyError {
                code: "EntityTooLarge",
                message: format!(
                    "The file has more than the {} bytes that are allowed or were declared.",
                    self.limit
                ),
            }))),
        }
    }
}
