//! Multipart uploads.

use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, Checksums, CompletedPart, MultipartOptions, MultipartUpload, ObjectAttributes,
    ObjectError, ObjectInfo, ObjectPath, Part, PutBody, PutOptions, Result, WriteConditions,
};
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;

use super::client::{Body, Request, header};
use super::list::decode_key;
use super::upload::{Beginning, SharedStream, begin, checked};
use super::{S3Store, headers};
use crate::conditions::strip_quotes;

/// Parts up to this size are sent from memory, so they can be sent again.
const WHOLE_PART_BYTES_MAX: u64 = 8 * 1024 * 1024;
const PART_NUMBER_MAX: u32 = 10_000;
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Initiated {
    upload_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PartList {
    #[serde(default)]
    part: Vec<ListedPart>,
    #[serde(default)]
    is_truncated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedPart {
    part_number: u32,
    #[serde(rename = "ETag")]
    etag: String,
    size: u64,
    last_modified: String,
    #[serde(rename = "ChecksumCRC32")]
    crc32: Option<String>,
    #[serde(rename = "ChecksumCRC32C")]
    crc32c: Option<String>,
    #[serde(rename = "ChecksumCRC64NVME")]
    crc64nvme: Option<String>,
    #[serde(rename = "ChecksumSHA1")]
    sha1: Option<String>,
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
}

impl ListedPart {
    fn checksums(&self) -> Checksums {
        let all = [
            (ChecksumAlgorithm::Crc32, &self.crc32),
            (ChecksumAlgorithm::Crc32c, &self.crc32c),
            (ChecksumAlgorithm::Crc64Nvme, &self.crc64nvme),
            (ChecksumAlgorithm::Sha1, &self.sha1),
            (ChecksumAlgorithm::Sha256, &self.sha256),
        ];
        let known = all
            .into_iter()
            .filter_map(|(algorithm, value)| Some((algorithm, value.clone()?)));
        Checksums(known.collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UploadList {
    #[serde(default)]
    upload: Vec<ListedUpload>,
    #[serde(default)]
    is_truncated: bool,
    encoding_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedUpload {
    key: String,
    upload_id: String,
    initiated: String,
}

/// An upload that is given up unless it is completed: also when whoever wanted it went away.
pub(super) struct OpenUpload<'a> {
    store: &'a S3Store,
    path: ObjectPath,
    id: String,
    attributes: ObjectAttributes,
    completed: bool,
}

impl<'a> OpenUpload<'a> {
    /// An upload for a write that could not be done at once.
    pub(super) async fn begin_for(
        store: &'a S3Store,
        path: &ObjectPath,
        options: &PutOptions,
    ) -> Result<Self> {
        store.check_completion(&options.conditions)?;
        let options = MultipartOptions {
            attributes: options.attributes.clone(),
            ..MultipartOptions::default()
        };
        Ok(Self {
            id: store.begin_upload(path, &options).await?,
            store,
            path: path.clone(),
            attributes: options.attributes,
            completed: false,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) async fn put(&self, number: u32, body: PutBody) -> Result<Part> {
        self.store.write_part(&self.path, &self.id, number, body).await
    }

    pub(super) async fn complete(
        mut self,
        parts: &[CompletedPart],
        conditions: WriteConditions,
        size_bytes: u64,
    ) -> Result<ObjectInfo> {
        let finished = self
            .store
            .finish_upload(&self.path, &self.id, parts, &conditions)
            .await;
        let etag = match finished {
            Ok(etag) => etag,
            Err(error) => {
                // The answer may have been lost.
                let info = self.store.completed_before(&self.path, parts, error).await?;
                self.completed = true;
                return Ok(info);
            }
        };
        self.completed = true;
        Ok(self
            .store
            .written(&self.path, &self.attributes, &etag, size_bytes, None)
            .await)
    }
}

impl Drop for OpenUpload<'_> {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        let (store, path, id) = (
            self.store.clone(),
            self.path.clone(),
            std::mem::take(&mut self.id),
        );
        // What this misses, the bucket's lifecycle removes.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = store.give_up(&path, &id).await {
                    tracing::warn!(%error, "parts of an upload that broke off stay behind");
                }
            });
        }
    }
}

impl S3Store {
    pub(super) async fn begin_upload(&self, path: &ObjectPath, options: &MultipartOptions) -> Result<String> {
        self.check_path(path)?;
        if options.checksum.is_some() && !self.shared.capabilities.checksums {
            return Err(ObjectError::Unsupported("checksums"));
        }
        let mut request = Request::new("CreateMultipartUpload", Method::POST, &path.bucket, &path.key)
            .query("uploads", "")
            .headers(headers::of_attributes(&options.attributes)?)
            .headers(self.storage_headers());
        if let Some(algorithm) = options.checksum {
            let kind = if options.full_object_checksum {
                "FULL_OBJECT"
            } else {
                "COMPOSITE"
            };
            request = request
                .header("x-amz-checksum-algorithm", algorithm.as_str())
                .header("x-amz-checksum-type", kind);
        }
        // A lost answer leaves an upload behind that nobody knows; the lifecycle removes it.
        let begun: Initiated = self.call_for_xml(request).await?;
        Ok(begun.upload_id)
    }

    pub(super) async fn write_part(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        number: u32,
        body: PutBody,
    ) -> Result<Part> {
        self.check_path(path)?;
        check_upload_id(upload_id)?;
        if !(1..=PART_NUMBER_MAX).contains(&number) {
            return Err(ObjectError::InvalidArgument(format!(
                "part numbers go from 1 to {PART_NUMBER_MAX}, not {number}"
            )));
        }
        let mut request = Request::new("UploadPart", Method::PUT, &path.bucket, &path.key)
            .query("partNumber", number.to_string())
            .query("uploadId", upload_id);
        let size_bytes;
        match body.size_bytes {
            Some(announced) if announced > WHOLE_PART_BYTES_MAX => {
                size_bytes = announced;
                let stream = SharedStream::new(checked(body, announced));
                request.body = Body::Stream { stream, size_bytes };
            }
            _ => {
                let Beginning::Whole(bytes, checksums) =
                    begin(body, WHOLE_PART_BYTES_MAX as usize + 1).await?
                else {
                    return Err(ObjectError::InvalidArgument(
                        "a part of more than 8 MiB must be announced with its length".to_owned(),
                    ));
                };
                size_bytes = bytes.len() as u64;
                request = request.headers(self.checksum_header(&checksums)).body(bytes);
            }
        }
        let answer = self.call(request).await?;
        let etag = strip_quotes(header(answer.headers(), "etag").unwrap_or_default()).to_owned();
        Ok(Part {
            number,
            size_bytes,
            etag,
            checksums: self.only_true(headers::checksums(answer.headers())),
            modified_at: answer.date().unwrap_or_else(|| self.shared.clock.now()),
        })
    }

    pub(super) async fn describe_upload(
        &self,
        path: &ObjectPath,
        upload_id: &str,
    ) -> Result<(MultipartUpload, Vec<Part>)> {
        self.check_path(path)?;
        check_upload_id(upload_id)?;
        let (mut parts, mut marker) = (Vec::new(), None);
        loop {
            let page = self.page_of_parts(path, upload_id, marker).await?;
            let last = page.part.last().map(|part| part.part_number);
            for part in page.part {
                parts.push(Part {
                    number: part.part_number,
                    size_bytes: part.size,
                    etag: strip_quotes(&part.etag).to_owned(),
                    checksums: self.only_true(part.checksums()),
                    modified_at: time(&part.last_modified)?,
                });
            }
            // Where the next page begins is not left to the service: it must go on, and end.
            if !page.is_truncated || last <= marker {
                break;
            }
            marker = last;
        }
        let begun = self.uploads_of(&path.bucket, &path.key).await?;
        let initiated_at = begun
            .into_iter()
            .find(|upload| upload.id == upload_id)
            .map_or_else(|| self.shared.clock.now(), |upload| upload.initiated_at);
        let upload = MultipartUpload {
            key: path.key.clone(),
            id: upload_id.to_owned(),
            initiated_at,
            options: MultipartOptions::default(),
        };
        Ok((upload, parts))
    }

    /// Parts with numbers above `after`.
    pub(super) async fn page_of_parts(
        &self,
        path: &ObjectPath,
        upload_id: &str,
        after: Option<u32>,
    ) -> Result<PartList> {
        let mut request = Request::new("ListParts", Method::GET, &path.bucket, &path.key)
            .query("max-parts", "1000")
            .query("uploadId", upload_id);
        if let Some(after) = after {
            request = request.query("part-number-marker", after.to_string());
        }
        // Ceph says of the upload what others say of a key.
        self.call_for_xml(request).await.map_err(|error| match error {
            ObjectError::NotFound => ObjectError::NoSuchUpload,
            error => error,
        })
    }

    pub(super) async fn uploads_of(&self, bucket: &str, prefix: &str) -> Result<Vec<MultipartUpload>> {
        super::check_bucket(bucket)?;
        let mut uploads = Vec::new();
        let mut marker: Option<(String, String)> = None;
        loop {
            let mut request = Request::new("ListMultipartUploads", Method::GET, bucket, "")
                .query("encoding-type", "url")
                .query("max-uploads", "1000")
                .query("prefix", prefix)
                .query("uploads", "");
            if let Some((key, id)) = &marker {
                request = request
                    .query("key-marker", key.clone())
                    .query("upload-id-marker", id.clone());
            }
            let page: UploadList = self.call_for_xml(request).await?;
            for upload in page.upload {
                uploads.push(MultipartUpload {
                    key: decode_key(upload.key, page.encoding_type.as_deref())?,
                    id: upload.upload_id,
                    initiated_at: time(&upload.initiated)?,
                    options: MultipartOptions::default(),
                });
            }
            // Ceph does not encode the marker that it gives, so the last upload is it.
            let last = uploads.last().map(|last| (last.key.clone(), last.id.clone()));
            if !page.is_truncated || last.is_none() || last == marker {
                break;
            }
            marker = last;
        }
        uploads.retain(|upload| upload.key.starts_with(prefix));
        uploads.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        Ok(uploads)
    }

    pub(super) async fn give_up(&self, path: &ObjectPath, upload_id: &str) -> Result<()> {
        self.check_path(path)?;
        check_upload_id(upload_id)?;
        let request = Request::new("AbortMultipartUpload", Method::DELETE, &path.bucket, &path.key)
            .query("uploadId", upload_id);
        // Swift says of a completed upload what others say of a key.
        match self.call(request).await {
            Ok(_) => Ok(()),
            Err(ObjectError::NotFound) => Err(ObjectError::NoSuchUpload),
            Err(error) => Err(error),
        }
    }
}

/// An id that no service gives out; some take an empty one for none at all.
pub(super) fn check_upload_id(id: &str) -> Result<()> {
    if id.is_empty() {
        Err(ObjectError::NoSuchUpload)
    } else {
        Ok(())
    }
}

/// A time of the XML answers, in whole seconds as headers have it.
pub(super) fn time(text: &str) -> Result<Timestamp> {
    text.parse::<Timestamp>()
        .and_then(|time| Timestamp::from_second(time.as_second()))
        .map_err(|_| {
            ObjectError::Internal("the object store's answer has a time that cannot be read".to_owned())
        })
}
