//! Uploads through the service itself, for clients that cannot reach the store: streamed, never held (I10).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cloakroom_core::access::Principal;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::ports::objects::{
    BodyError, ByteStream, ObjectAttributes, ObjectError, ObjectPath, PutBody, PutOptions, WriteConditions,
};
use cloakroom_core::upload::UploadMethod;
use futures_core::Stream;
use futures_util::StreamExt as _;

use super::confirm::{ConfirmUpload, Confirmed};
use super::sign::{SignUpload, SignedUpload};
use crate::app::App;
use crate::digesting::PassingDigest;
use crate::error::{Result, ServiceError};

impl App {
    /// Signs, stores and confirms in one go. A body beyond the collection's limit is cut off as it comes.
    ///
    /// With an idempotency key the bytes are part of the request: they are held to the digest that they had when they came,
    /// and other bytes under the same key are refused.
    pub async fn receive_upload(
        &self,
        principal: &Principal,
        mut request: SignUpload,
        body: ByteStream,
    ) -> Result<Confirmed> {
        request.method = Some(UploadMethod::Stream);
        let digest = request.idempotency_key.as_ref().map(|_| PassingDigest::default());
        let signed = self.sign_upload(principal, request).await?;
        let file = &signed.file;
        let collection = self.collection(&file.collection)?;
        let limit = file.declared.size_bytes.unwrap_or(collection.size_bytes_max);
        let limited = Limited {
            inner: body,
            left: limit,
            limit,
        };
        let body: ByteStream = match &digest {
            Some(digest) => Box::pin(digest.of(limited)),
            None => Box::pin(limited),
        };
        if signed.repeated && !file.state.is_open() {
            read_through(body).await?;
            let claims = ConfirmUpload {
                checksum_sha256: digest.map(|digest| digest.take()),
                ..ConfirmUpload::default()
            };
            let repeated = self.confirm_upload(principal, file.id, claims).await;
            return repeated.map_err(other_bytes);
        }
        if let Err(error) = self.store_received(principal, &signed, body).await {
            // The space comes free at once; a failure here is left to the sweeper.
            if let Err(error) = self.abort_upload(principal, file.id).await {
                tracing::warn!(file_id = %file.id, %error, "a failed upload waits for the sweeper");
            }
            return Err(error.into());
        }
        // What was declared is looked at by who reads the bytes back.
        let digest = digest.filter(|_| file.declared.sha256.is_none());
        let held = digest.is_some();
        let claims = ConfirmUpload {
            checksum_sha256: digest.map(|digest| digest.take()),
            ..ConfirmUpload::default()
        };
        match self.confirm_upload(principal, file.id, claims).await {
            Ok(confirmed) => Ok(confirmed),
            // Two came at the same time with one key, and the other one was first.
            Err(error) if held && error.code() == ErrorCode::ChecksumMismatch => Err(other_bytes(error)),
            Err(error) => {
                // Nobody can mend what came through us: the client has no URL to send it again.
                if let Err(error) = self.abort_upload(principal, file.id).await {
                    tracing::warn!(file_id = %file.id, %error, "a refused upload waits for the sweeper");
                }
                Err(error)
            }
        }
    }

    /// Puts a body where the upload waits for its verification.
    async fn store_received(
        &self,
        principal: &Principal,
        signed: &SignedUpload,
        body: ByteStream,
    ) -> std::result::Result<(), ObjectError> {
        let file = &signed.file;
        let path = ObjectPath::new(&file.bucket, &signed.upload.staging_key);
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some(file.declared.content_type.to_string()),
                ..ObjectAttributes::default()
            },
            conditions: WriteConditions::default(),
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
        let body = PutBody::from_stream(body, None);
        match self.objects.put(&path, options, body).await {
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
                Ok(())
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
                Err(error)
            }
        }
    }
}

/// Takes a body to its end, for its digest alone.
async fn read_through(mut body: ByteStream) -> Result<()> {
    while let Some(piece) = body.next().await {
        piece.map_err(ObjectError::Body)?;
    }
    Ok(())
}

/// The answer where an idempotency key came with other bytes before.
fn other_bytes(error: ServiceError) -> ServiceError {
    match error.code() {
        ErrorCode::ChecksumMismatch => Refusal::new(
            ErrorCode::IdempotencyKeyReused,
            "This Idempotency-Key came with other bytes before; use a new key for a new upload.",
        )
        .into(),
        _ => error,
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
