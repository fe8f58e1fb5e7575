//! Writing objects: small ones whole, large ones as a stream, those of unknown length in parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use cloakroom_core::ports::objects::{
    BodyError, Checksums, CompletedPart, ObjectAttributes, ObjectError, ObjectInfo, ObjectPath, Part,
    PutBody, PutOptions, Result, WriteConditions,
};
use http::Method;
use jiff::Timestamp;
use md5::{Digest as _, Md5};

use super::client::{Body, Request, header};
use super::headers;
use super::multipart::OpenUpload;
use super::upload::{Beginning, Segments, SharedStream, begin, checked, fill};
use super::{PARTS_MAX, S3Store, part_bytes};
use crate::conditions::strip_quotes;

/// Bodies up to this size are sent from memory, so they can be sent again.
const WHOLE_BYTES_MAX: u64 = 1024 * 1024;
/// A part of a body whose length is not known, and what such a body takes of memory. Ten thousand of them are 78 GiB.
const PART_BYTES: usize = 8 * 1024 * 1024;

impl S3Store {
    pub(super) async fn write(
        &self,
        path: &ObjectPath,
        options: PutOptions,
        body: PutBody,
    ) -> Result<ObjectInfo> {
        self.check_path(path)?;
        let mut attributes = headers::of_attributes(&options.attributes)?;
        match body.size_bytes {
            Some(size_bytes) if size_bytes > self.shared.put_bytes_max => {
                self.write_announced_parts(path, options, body, size_bytes).await
            }
            Some(size_bytes) if size_bytes > WHOLE_BYTES_MAX => {
                self.check_bucket_before_body(path).await?;
                let stream = SharedStream::new(checked(body, size_bytes));
                let body = Body::Stream { stream, size_bytes };
                self.write_whole(path, &options, attributes, body, size_bytes)
                    .await
            }
            announced => {
                self.check_bucket_before_body(path).await?;
                let wants_md5 = body.md5_etag;
                let limit = if announced.is_some() {
                    WHOLE_BYTES_MAX as usize + 1
                } else {
                    PART_BYTES
                };
                match begin(body, limit).await? {
                    Beginning::Whole(bytes, checksums) => {
                        let size_bytes = bytes.len() as u64;
                        attributes.extend(self.checksum_header(&checksums));
                        if wants_md5 {
                            attributes.push(("content-md5".to_owned(), BASE64.encode(Md5::digest(&bytes))));
                        }
                        self.write_whole(path, &options, attributes, Body::Bytes(bytes), size_bytes)
                            .await
                    }
                    Beginning::More(begun, body) => self.write_parts(path, options, begun, body).await,
                }
            }
        }
    }

    /// What a store that checks it is told.
    pub(super) fn checksum_header(&self, checksums: &Checksums) -> Option<(String, String)> {
        headers::of_checksums(checksums).filter(|_| self.shared.capabilities.checksums)
    }

    /// Nobody should send all of a large body to learn that there is no bucket for it.
    async fn check_bucket_before_body(&self, path: &ObjectPath) -> Result<()> {
        if self.bucket_is_missing(&path.bucket).await {
            return Err(ObjectError::NoSuchBucket(path.bucket.clone()));
        }
        Ok(())
    }

    async fn write_whole(
        &self,
        path: &ObjectPath,
        options: &PutOptions,
        attributes: Vec<(String, String)>,
        body: Body,
        size_bytes: u64,
    ) -> Result<ObjectInfo> {
        let conditions = headers::of_conditions(&options.conditions);
        let mut request = Request::new("PutObject", Method::PUT, &path.bucket, &path.key)
            .headers(attributes)
            .headers(self.storage_headers());
        // Done again after a lost answer, a conditional write would find its own first try.
        request.repeatable = conditions.is_empty();
        request.headers.extend(conditions);
        request.body = body;
        let answer = self.call(request).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.refused_write(error, path, &options.conditions).await),
        };
        let etag = strip_quotes(header(answer.headers(), "etag").unwrap_or_default()).to_owned();
        let date = answer.date();
        drop(answer);
        Ok(self
            .written(path, &options.attributes, &etag, size_bytes, date)
            .await)
    }

    /// What is known of an object that was just written.
    pub(super) async fn written(
        &self,
        path: &ObjectPath,
        attributes: &ObjectAttributes,
        etag: &str,
        size_bytes: u64,
        date: Option<Timestamp>,
    ) -> ObjectInfo {
        match self.look(path).await {
            Ok(info) if info.etag == etag => info,
            // Replaced or removed already, or out of reach now: the write was acknowledged all the same.
            _ => {
                let at = date.unwrap_or_else(|| self.shared.clock.now());
                headers::presumed(attributes, etag, size_bytes, at)
            }
        }
    }

    /// A body too large for one request. Its parts are sent as they come.
    async fn write_announced_parts(
        &self,
        path: &ObjectPath,
        options: PutOptions,
        body: PutBody,
        size_bytes: u64,
    ) -> Result<ObjectInfo> {
        let upload = OpenUpload::begin_for(self, path, &options).await?;
        let (segments, finish) = (Segments::new(body.stream), body.finish);
        let part_bytes = part_bytes(self.shared.put_part_bytes, size_bytes);
        let (mut parts, mut left) = (Vec::new(), size_bytes);
        while left > 0 {
            let bytes = part_bytes.min(left);
            let number = parts.len() as u32 + 1;
            let part = upload
                .put(number, PutBody::from_stream(segments.next(bytes), Some(bytes)))
                .await?;
            parts.push(listed(part));
            left -= bytes;
        }
        segments.end().await?;
        finish()?;
        upload.complete(&parts, options.conditions, size_bytes).await
    }

    /// A body of unknown length that is too long for one request from memory.
    async fn write_parts(
        &self,
        path: &ObjectPath,
        options: PutOptions,
        begun: Bytes,
        body: PutBody,
    ) -> Result<ObjectInfo> {
        let PutBody {
            mut stream, finish, ..
        } = body;
        let upload = OpenUpload::begin_for(self, path, &options).await?;
        let (mut parts, mut sent, mut begun) = (Vec::new(), 0, BytesMut::from(begun));
        loop {
            let (mut bytes, ended) = fill(&mut stream, begun, PART_BYTES).await?;
            let part = bytes.split_to(PART_BYTES.min(bytes.len()));
            sent += part.len() as u64;
            if parts.len() as u64 == PARTS_MAX {
                return Err(ObjectError::Body(BodyError {
                    code: "EntityTooLarge",
                    message: format!(
                        "a body of unknown length may have {PARTS_MAX} times {PART_BYTES} bytes"
                    ),
                }));
            }
            let part = upload
                .put(parts.len() as u32 + 1, PutBody::from_bytes(part))
                .await?;
            parts.push(listed(part));
            if ended && bytes.is_empty() {
                break;
            }
            begun = BytesMut::from(bytes);
        }
        finish()?;
        upload.complete(&parts, options.conditions, sent).await
    }

    /// Why a write was refused. Services differ in what they say of `If-Match` on a key without an object.
    pub(super) async fn refused_write(
        &self,
        error: ObjectError,
        path: &ObjectPath,
        conditions: &WriteConditions,
    ) -> ObjectError {
        match error {
            ObjectError::PreconditionFailed(_) if conditions.if_match.is_some() => {
                if matches!(self.look(path).await, Err(ObjectError::NotFound)) {
                    return ObjectError::NotFound;
                }
                ObjectError::PreconditionFailed("If-Match")
            }
            ObjectError::NotFound if conditions.if_generation.is_some() => {
                ObjectError::PreconditionFailed("generation")
            }
            ObjectError::PreconditionFailed(_) if conditions.if_absent => {
                ObjectError::PreconditionFailed("If-None-Match")
            }
            other => other,
        }
    }
}

fn listed(part: Part) -> CompletedPart {
    CompletedPart {
        number: part.number,
        etag: part.etag,
        checksums: part.checksums,
    }
}
