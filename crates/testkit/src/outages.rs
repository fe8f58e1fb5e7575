//! Outages on purpose: a store that does not answer while the test says so, and then does again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use cloakroom_core::ports::objects::{
    Bucket, Capabilities, Circuit, CompletedPart, CopyOptions, GetOptions, ListOptions, MultipartOptions,
    MultipartUpload, ObjectAttributes, ObjectError, ObjectInfo, ObjectList, ObjectPath, ObjectRead,
    ObjectStore, Part, PutBody, PutOptions, Result, WriteConditions,
};

/// An object store with outages.
pub struct OutageObjects {
    inner: Arc<dyn ObjectStore>,
    away: AtomicBool,
    refused: AtomicUsize,
}

impl OutageObjects {
    /// Answers, over the real one.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            away: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
        })
    }

    /// From now on every call is [`ObjectError::Unavailable`], or none.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Calls that met an outage so far.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    fn answering(&self) -> Result<&dyn ObjectStore> {
        if self.away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(ObjectError::Unavailable("an outage on purpose".to_owned()));
        }
        Ok(&*self.inner)
    }
}

#[async_trait]
impl ObjectStore for OutageObjects {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn circuit(&self) -> Circuit {
        self.inner.circuit()
    }

    async fn buckets(&self) -> Result<Vec<Bucket>> {
        self.answering()?.buckets().await
    }

    async fn bucket(&self, name: &str) -> Result<Bucket> {
        self.answering()?.bucket(name).await
    }

    async fn create_bucket(&self, name: &str) -> Result<()> {
        self.answering()?.create_bucket(name).await
    }

    async fn delete_bucket(&self, name: &str) -> Result<()> {
        self.answering()?.delete_bucket(name).await
    }

    async fn head(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectInfo> {
        self.answering()?.head(path, options).await
    }

    async fn get(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead> {
        self.answering()?.get(path, options).await
    }

    async fn put(&self, path: &ObjectPath, options: PutOptions, body: PutBody) -> Result<ObjectInfo> {
        self.answering()?.put(path, options, body).await
    }

    async fn copy(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<ObjectInfo> {
        self.answering()?.copy(from, to, options).await
    }

    async fn promote(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Result<ObjectInfo> {
        self.answering()?.promote(from, generation, to, attributes).await
    }

    async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.answering()?.delete(path).await
    }

    async fn list(&self, bucket: &str, options: &ListOptions) -> Result<ObjectList> {
        self.answering()?.list(bucket, options).await
    }

    async fn begin_multipart(&self, path: &ObjectPath, options: MultipartOptions) -> Result<String> {
        self.answering()?.begin_multipart(path, options).await
    }

    async fn put_part(&self, path: &ObjectPath, upload_id: &str, number: u32, body: PutBody) -> Result<Part> {
        self.answering()?.put_part(path, upload_id, number, body).await
    }

    async fn multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<(MultipartUpload, Vec<Part>)> {
        self.answering()?.multipart(path, upload_id).await
    }

    async fn multiparts(&self, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>> {
        self.answering()?.multiparts(bucket, prefix).await
    }

    async fn complete_multipart(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Result<ObjectInfo> {
        self.answering()?
            .complete_multipart(path, upload_id, parts, conditions)
            .await
    }

    async fn abort_multipart(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        self.answering()?.abort_multipart(path, upload_id).await
    }

    async fn ping(&self) -> Result<()> {
        self.answering()?.ping().await
    }
}
