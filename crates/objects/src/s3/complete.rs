//! Completing multipart uploads (S3 API, "CompleteMultipartUpload"), also when the answer was lost.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, CompletedPart, ObjectError, ObjectInfo, ObjectPath, Result, WriteConditions,
};
use http::Method;
use md5::{Digest as _, Md5};
use serde::Deserialize;

use super::client::Request;
use super::multipart::check_upload_id;
use super::{S3Store, headers};
use crate::conditions::strip_quotes;

/// What services take to look at the parts before they answer, with much to spare.
const COMPLETION_TIME_PER_PART: Duration = Duration::from_millis(50);
/// The smallest part but for the last (S3 user guide, "Amazon S3 multipart upload limits").
const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;

#[derive(Deserialize)]
struct Completed {
    #[serde(rename = "ETag", default)]
    etag: String,
}

impl S3Store {
    pub(super) async fn complete_upload(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: WriteConditions,
    ) -> Result<ObjectInfo> {
        self.check_path(path)?;
        check_upload_id(upload_id)?;
        if parts.is_empty() {
            return Err(ObjectError::InvalidArgument(
                "an object has at least one part".to_owned(),
            ));
        }
        if !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(ObjectError::InvalidPartOrder);
        }
        self.check_completion(&conditions)?;
        match self.finish_upload(path, upload_id, parts, &conditions).await {
            Ok(etag) => match self.look(path).await {
                Ok(info) if etag.is_empty() || etag == info.etag => Ok(info),
                // The key was written again: of this upload nothing is left.
                Ok(_) | Err(ObjectError::NotFound) => Err(ObjectError::NoSuchUpload),
                Err(error) => Err(error),
            },
            Err(error @ ObjectError::PartTooSmall { .. }) => {
                Err(self.too_small(path, upload_id, parts, error).await)
            }
            Err(error) => self.completed_before(path, parts, error).await,
        }
    }

    /// A condition that the service would not look at is refused before anything is sent.
    pub(super) fn check_completion(&self, conditions: &WriteConditions) -> Result<()> {
        if *conditions == WriteConditions::default() || self.shared.capabilities.conditional_completion {
            return Ok(());
        }
        Err(ObjectError::Unsupported(
            "a condition on the completion of an upload",
        ))
    }

    /// Completed before, and the answer was lost: what stands at the key shows it.
    pub(super) async fn completed_before(
        &self,
        path: &ObjectPath,
        parts: &[CompletedPart],
        error: ObjectError,
    ) -> Result<ObjectInfo> {
        if !matches!(error, ObjectError::NoSuchUpload) {
            return Err(error);
        }
        match (combined_etag(parts), self.look(path).await) {
            (Some(etag), Ok(info)) if etag == info.etag => Ok(info),
            _ => Err(error),
        }
    }

    pub(super) async fn finish_upload(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        conditions: &WriteConditions,
    ) -> Result<String> {
        let mut list = String::from("<CompleteMultipartUpload>");
        for part in parts {
            let etag = strip_quotes(&part.etag);
            if !etag
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            {
                return Err(ObjectError::InvalidPart(format!(
                    "part {} has no such ETag",
                    part.number
                )));
            }
            // Writing to a String cannot fail.
            let _ = write!(
                list,
                "<Part><PartNumber>{}</PartNumber><ETag>\"{etag}\"</ETag>",
                part.number
            );
            for (algorithm, checksum) in &part.checksums.0 {
                // A digest of another length cannot be the part's, and would not be understood.
                let length = BASE64.decode(checksum).map_or(0, |digest| digest.len());
                if length != digest_bytes(*algorithm) {
                    let message = format!("part {} has no such checksum", part.number);
                    return Err(ObjectError::InvalidPart(message));
                }
                let name = algorithm.as_str();
                let _ = write!(list, "<Checksum{name}>{checksum}</Checksum{name}>");
            }
            list.push_str("</Part>");
        }
        list.push_str("</CompleteMultipartUpload>");
        let mut attempt = 1;
        let completed = loop {
            let error = match self
                .ask_to_complete(path, upload_id, parts.len(), &list, conditions)
                .await
            {
                Ok(completed) => break completed,
                Err(error @ (ObjectError::Unavailable(_) | ObjectError::Denied(_))) => error,
                Err(error) => return Err(self.refused_write(error, path, conditions).await),
            };
            // Ceph has only a 500 for an upload that is no more.
            match self.page_of_parts(path, upload_id, None).await {
                Err(ObjectError::NoSuchUpload) => return Err(ObjectError::NoSuchUpload),
                Ok(_) if *conditions == WriteConditions::default() => {}
                _ => return Err(error),
            }
            let Some(delay) = self.client().retry_delay(attempt) else {
                return Err(error);
            };
            tokio::time::sleep(delay).await;
            attempt += 1;
        };
        // Ceph leaves it empty.
        let told = strip_quotes(&completed.etag);
        let etag = if told.is_empty() {
            combined_etag(parts).unwrap_or_default()
        } else {
            told.to_owned()
        };
        Ok(etag)
    }

    async fn ask_to_complete(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        count: usize,
        list: &str,
        conditions: &WriteConditions,
    ) -> Result<Completed> {
        let patience = self.client().attempt_timeout() + COMPLETION_TIME_PER_PART * count as u32;
        let (method, operation) = (Method::POST, "CompleteMultipartUpload");
        let mut request = Request::new(operation, method, &path.bucket, &path.key)
            .query("uploadId", upload_id)
            .header("content-type", "application/xml")
            .headers(headers::of_conditions(conditions))
            .body(list.to_owned())
            .patience(patience);
        request.repeatable = false;
        request.blames_nobody = true;
        self.call_for_xml(request).await
    }

    /// Names the part, which the service does not.
    async fn too_small(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        parts: &[CompletedPart],
        error: ObjectError,
    ) -> ObjectError {
        let Ok((_, there)) = self.describe_upload(path, upload_id).await else {
            return error;
        };
        let listed = &parts[..parts.len().saturating_sub(1)];
        let small = there.iter().find(|part| {
            part.size_bytes < PART_BYTES_MIN && listed.iter().any(|one| one.number == part.number)
        });
        small.map_or(error, |part| ObjectError::PartTooSmall {
            number: part.number,
            size_bytes: part.size_bytes,
        })
    }
}

fn digest_bytes(algorithm: ChecksumAlgorithm) -> usize {
    match algorithm {
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => 4,
        ChecksumAlgorithm::Crc64Nvme => 8,
        ChecksumAlgorithm::Sha1 => 20,
        ChecksumAlgorithm::Sha256 => 32,
    }
}

/// The `ETag` that these parts make together, where parts are known by their MD5.
fn combined_etag(parts: &[CompletedPart]) -> Option<String> {
    let mut md5 = Md5::new();
    for part in parts {
        let hex = strip_quotes(&part.etag);
        if hex.len() != 32 {
            return None;
        }
        for index in (0..32).step_by(2) {
            md5.update([u8::from_str_radix(hex.get(index..index + 2)?, 16).ok()?]);
        }
    }
    let mut text = String::new();
    for byte in md5.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Some(format!("{text}-{}", parts.len()))
}
