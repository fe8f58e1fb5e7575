//! What stands between the S3 endpoint and the store: a signed upload may write to its staging key until its file is
//! confirmed, and never again (I2). A URL that is used once more is refused before its bytes are read. And what the mode of a
//! store forbids is forbidden to whoever has the keys of the endpoint, too.

use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::key::STAGING_PREFIX;
use cloakroom_core::ports::objects::{
    BodyError, Bucket, Capabilities, Circuit, CompletedPart, CopyOptions, GetOptions, ListOptions,
    MultipartOptions, MultipartUpload, ObjectAttributes, ObjectError, ObjectInfo, ObjectList, ObjectPath,
    ObjectRead, ObjectStore, Part, PutBody, PutOptions, Result, WriteConditions,
};
use cloakroom_core::storage::StorageAction;
use cloakroom_service::App;

/// The application's store as the endpoint may use it.
pub struct AdmittingStore {
    app: Arc<App>,
    objects: Arc<dyn ObjectStore>,
}

impl AdmittingStore {
    /// Over the local ones among the stores of these use cases.
    pub fn new(app: Arc<App>, objects: Arc<dyn ObjectStore>) -> Self {
        Self { app, objects }
    }

    fn store(&self) -> &dyn ObjectStore {
        &*self.objects
    }

    /// Whether the mode of the store allows that: the endpoint is no way around it.
    fn allow(&self, action: StorageAction, bucket: &str) -> Result<()> {
        let refused = |refusal: Refusal| match refusal.code {
            ErrorCode::Unavailable => ObjectError::Unavailable(refusal.message),
            ErrorCode::ArchivedFile => ObjectError::Body(BodyError {
                code: "InvalidObjectState",
                message: "The object is in an archive; it can be read after it was restored.".to_owned(),
            }),
            _ => ObjectError::Body(BodyError {
                code: "AccessDenied",
                message: refusal.message,
            }),
        };
        self.app.admit(action, bucket).map_err(refused)
    }

    async fn admit(&self, path: &ObjectPath) -> Result<()> {
        if !path.key.starts_with(STAGING_PREFIX) {
            return self.allow(StorageAction::Create, &path.bucket);
        }
        match self.app.admits_upload(&path.key).await {
            Ok(true) => Ok(()),
            // The code that S3 gives for what a policy forbids; bodies are the one error with a code of their own.
            Ok(false) => Err(ObjectError::Body(BodyError {
                code: "AccessDenied",
                message: "This upload is confirmed or over; sign a new one.".to_owned(),
            })),
            Err(error) => Err(ObjectError::Unavailable(error.to_string())),
        }
    }
}

#[async_trait]
impl ObjectStore for AdmittingStore {
    fn capabilities(&self) -> Capabilities {
        self.store().capabilities()
    }

    fn circuit(&self) -> Circuit {
        self.store().circuit()
    }

    async fn buckets(&self) -> Result<Vec<Bucket>> {
        self.store().buckets().await
    }

    async fn bucket(&self, name: &str) -> Result<Bucket> {
        self.store().bucket(name).await
    }

    async fn create_bucket(&self, name: &str) -> Result<()> {
        self.allow(StorageAction::Create, name)?;
        self.store().create_bucket(name).await
    }

    async fn delete_bucket(&self, name: &str) -> Result<()> {
        self.allow(StorageAction::Delete, name)?;
        self.store().delete_bucket(name).await
    }

    async fn head(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectInfo> {
        self.store().head(path, options).await
    }

    async fn get(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead> {
        self.allow(StorageAction::ReadBytes, &path.bucket)?;
        self.store().get(path, options).await
    }

    async fn put(&self, path: &ObjectPath, options: PutOptions, body: PutBody) -> Result<ObjectInfo> {
        self.admit(path).await?;
        self.store().put(path, options, body).await
    }

    async fn copy(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<ObjectInfo> {
        self.allow(StorageAction::ReadBytes, &from.bucket)?;
        self.admit(to).await?;
        self.store().copy(from, to, options).await
    }

    async fn promote(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Result<ObjectInfo> {
        self.admit(to).await?;
        self.store().promote(from, generation, to, attributes).await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        // What was not taken in yet is no file.
        if !path.key.starts_with(STAGING_PREFIX) {
            self.allow(StorageAction::Delete, &path.bucket)?;
        }
        self.store().delete(path).await
    }

    async fn list(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList> {
        self.store().list(bucket, options).await
    }

    async fn begin_multipart(&self, path: &ObjectPath, options: MultipartOptions) -> Result<String> {
        self.admit(path).await?;
        self.store().begin_multipart(path, options).await
    }

    async fn put_part(&self, path: &ObjectPath, upload_id: &str, number: u32, body: PutBody) -> Result<Part> {
        self.admit(path).await?;
        self.store().put_part(path, upload_id, number, body).await
    }

    async fn multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<(MultipartUpload, Vec<Part>)> {
        self.store().multipart(path, upload_id).await
    }

    async fn multiparts(&self, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>> {
        self.store().multiparts(bucket, prefix).await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Result<ObjectInfo> {
        self.admit(path).await?;
        self.store()
            .complete_multipart(path, upload_id, parts, conditions)
            .await
    }

    async fn abort_multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        self.store().abort_multipart(path, upload_id).await
    }

    async fn ping(&self) -> Result<()> {
        self.store().ping().await
    }
}
