//! Copies within the store, and promotion as one.

use std::time::Duration;

use cloakroom_core::ports::objects::{
    CompletedPart, CopyOptions, ObjectAttributes, ObjectError, ObjectInfo, ObjectPath, PutOptions,
    ReadConditions, Result, WriteConditions,
};
use cloakroom_signing::encode_path;
use http::Method;
use serde::Deserialize;

use super::client::Request;
use super::multipart::OpenUpload;
use super::{S3Store, headers, part_bytes};
use crate::conditions::{check_read, strip_quotes};

/// A slower service is given up.
const COPY_BYTES_PER_SECOND_MIN: u64 = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Copied {
    #[serde(rename = "ETag")]
    etag: String,
}

impl S3Store {
    pub(super) async fn copy_object(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> Result<ObjectInfo> {
        self.check_path(from)?;
        self.check_path(to)?;
        if options.conditions != WriteConditions::default()
            && !self.shared.capabilities.conditional_copy_target
        {
            return Err(ObjectError::Unsupported("a condition on the target of a copy"));
        }
        let source = self.look(from).await?;
        check_read(&options.source_conditions, &source)?;
        self.copy_exactly(from, &source, to, options.attributes, &options.conditions)
            .await
    }

    pub(super) async fn promote_object(
        &self,
        from: &ObjectPath,
        generation: &str,
        to: &ObjectPath,
        attributes: ObjectAttributes,
    ) -> Result<ObjectInfo> {
        self.check_path(from)?;
        self.check_path(to)?;
        let source = match self.look(from).await {
            Ok(source) => source,
            // Promoted before, and cleaned up.
            Err(ObjectError::NotFound) => return self.look(to).await,
            Err(error) => return Err(error),
        };
        let pinned = ReadConditions {
            if_generation: Some(generation.to_owned()),
            ..ReadConditions::default()
        };
        check_read(&pinned, &source)?;
        self.copy_exactly(from, &source, to, Some(attributes), &WriteConditions::default())
            .await
    }

    /// Copies the object that was looked at, and no other.
    async fn copy_exactly(
        &self,
        from: &ObjectPath,
        source: &ObjectInfo,
        to: &ObjectPath,
        attributes: Option<ObjectAttributes>,
        conditions: &WriteConditions,
    ) -> Result<ObjectInfo> {
        if source.size_bytes > self.shared.copy_bytes_max {
            let attributes = attributes.unwrap_or_else(|| source.attributes.clone());
            return self.copy_in_parts(from, source, to, attributes, conditions).await;
        }
        if !self.shared.capabilities.conditional_copy
            && let Ok(there) = self.look(to).await
            && there.etag == source.etag
            && attributes
                .as_ref()
                .is_some_and(|attributes| *attributes == there.attributes)
        {
            // Done before. Doing it again could only spoil it.
            return Ok(there);
        }
        let copied = match self
            .copy_at_once(from, source, to, attributes.as_ref(), conditions)
            .await
        {
            // Ceph copies nothing that it has encrypted, except in parts.
            Err(ObjectError::Unsupported(_)) if source.size_bytes > 0 => {
                let attributes = attributes.unwrap_or_else(|| source.attributes.clone());
                return self.copy_in_parts(from, source, to, attributes, conditions).await;
            }
            copied => copied?,
        };
        if !self.shared.capabilities.conditional_copy && self.is_exchanged(from, source).await? {
            self.remove(to).await?;
            return Err(ObjectError::PreconditionFailed("the source of the copy"));
        }
        Ok(copied)
    }

    /// Whether something else stands there now than what was looked at. Without a condition that holds, only a look
    /// afterwards tells what was copied.
    async fn is_exchanged(&self, path: &ObjectPath, before: &ObjectInfo) -> Result<bool> {
        match self.look(path).await {
            Ok(now) => Ok(now.etag != before.etag),
            Err(ObjectError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn copy_at_once(
        &self,
        from: &ObjectPath,
        source: &ObjectInfo,
        to: &ObjectPath,
        attributes: Option<&ObjectAttributes>,
        conditions: &WriteConditions,
    ) -> Result<ObjectInfo> {
        let mut request = Request::new("CopyObject", Method::PUT, &to.bucket, &to.key)
            .header("x-amz-copy-source", source_of(from))
            .headers(pinned_to(source))
            .patience(self.patience_for_copy(source.size_bytes))
            .headers(self.storage_headers())
            .headers(headers::of_conditions(conditions));
        if let Some(attributes) = attributes {
            request = request
                .header("x-amz-metadata-directive", "REPLACE")
                .headers(headers::of_attributes(attributes)?);
        }
        request.repeatable = *conditions == WriteConditions::default();
        let copied: Copied = match self.call_for_xml(request).await {
            Ok(copied) => copied,
            Err(ObjectError::NoSuchBucket(_)) => return Err(self.missing_bucket(from, to).await),
            Err(error) => return Err(error),
        };
        let etag = strip_quotes(&copied.etag);
        let attributes = attributes.unwrap_or(&source.attributes);
        Ok(self.written(to, attributes, etag, source.size_bytes, None).await)
    }

    /// Some services move every byte before they answer.
    fn patience_for_copy(&self, size_bytes: u64) -> Duration {
        self.client().attempt_timeout() + Duration::from_secs(size_bytes / COPY_BYTES_PER_SECOND_MIN)
    }

    /// Copies of more than 5 GiB (S3 API, "UploadPartCopy").
    async fn copy_in_parts(
        &self,
        from: &ObjectPath,
        source: &ObjectInfo,
        to: &ObjectPath,
        attributes: ObjectAttributes,
        conditions: &WriteConditions,
    ) -> Result<ObjectInfo> {
        let options = PutOptions {
            attributes,
            conditions: conditions.clone(),
        };
        let upload = OpenUpload::begin_for(self, to, &options).await?;
        let part_bytes = part_bytes(self.shared.copy_part_bytes, source.size_bytes);
        let mut parts = Vec::new();
        let mut first = 0;
        while first < source.size_bytes {
            let last = (first + part_bytes).min(source.size_bytes) - 1;
            let number = parts.len() as u32 + 1;
            let request = Request::new("UploadPartCopy", Method::PUT, &to.bucket, &to.key)
                .query("partNumber", number.to_string())
                .query("uploadId", upload.id())
                .header("x-amz-copy-source", source_of(from))
                .header("x-amz-copy-source-range", format!("bytes={first}-{last}"))
                .headers(pinned_to(source))
                .patience(self.patience_for_copy(part_bytes));
            let copied: Copied = self.call_for_xml(request).await?;
            parts.push(CompletedPart {
                number,
                etag: strip_quotes(&copied.etag).to_owned(),
                ..CompletedPart::default()
            });
            first = last + 1;
        }
        // Ceph looks at no condition here, even where it does for whole copies.
        if self.is_exchanged(from, source).await? {
            return Err(ObjectError::PreconditionFailed("the source of the copy"));
        }
        upload
            .complete(&parts, options.conditions, source.size_bytes)
            .await
    }

    async fn missing_bucket(&self, from: &ObjectPath, to: &ObjectPath) -> ObjectError {
        for path in [to, from] {
            if self.bucket_is_missing(&path.bucket).await {
                return ObjectError::NoSuchBucket(path.bucket.clone());
            }
        }
        ObjectError::NotFound
    }
}

/// The condition that the source is still this object. Ceph reads it under a name of its own and ignores S3's; the others
/// ignore Ceph's.
fn pinned_to(source: &ObjectInfo) -> [(String, String); 2] {
    ["x-amz-copy-source-if-match", "x-amz-copy-if-match"]
        .map(|name| (name.to_owned(), headers::entity_tag(&source.etag)))
}

fn source_of(path: &ObjectPath) -> String {
    format!("/{}/{}", path.bucket, encode_path(&path.key))
}
