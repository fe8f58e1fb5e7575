//! Reading objects. Conditions are decided here, on the head of the very answer that brings the bytes, because services
//! differ in which of them they know (Ceph takes `*`, lists and weak tags for tags of their own).

use std::ops::RangeInclusive;

use cloakroom_core::ports::objects::{
    ByteRange, ByteStream, Checksums, GetOptions, ObjectError, ObjectInfo, ObjectPath, ObjectRead, Result,
};
use futures_util::{StreamExt as _, stream};
use http::{Method, StatusCode};

use super::answer::Answer;
use super::client::Request;
use super::headers::{content_range, entity_tag, info};
use super::{PARTS_MAX, S3Store};
use crate::conditions::{check_read, strip_quotes};

impl S3Store {
    /// What is known of an object.
    pub(super) async fn look(&self, path: &ObjectPath) -> Result<ObjectInfo> {
        self.check_path(path)?;
        let request = self.checksummed(Request::new("HeadObject", Method::HEAD, &path.bucket, &path.key));
        match self.call(request).await {
            Ok(answer) => {
                let mut info = info(answer.headers())?;
                info.checksums = self.only_true(info.checksums);
                Ok(info)
            }
            Err(error) => Err(self.not_found(error, path).await),
        }
    }

    pub(super) async fn look_with(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectInfo> {
        check_options(options)?;
        if options.part_number.is_some() && !self.shared.capabilities.part_reads {
            return Err(ObjectError::Unsupported(
                "reading a part of an object by its number",
            ));
        }
        let info = self.look(path).await?;
        check_read(&options.conditions, &info)?;
        if let Some(range) = options.range
            && range.resolve(info.size_bytes).is_none()
        {
            return Err(ObjectError::InvalidRange {
                size_bytes: info.size_bytes,
            });
        }
        Ok(info)
    }

    pub(super) async fn read(&self, path: &ObjectPath, options: &GetOptions) -> Result<ObjectRead> {
        self.check_path(path)?;
        check_options(options)?;
        let conditions = &options.conditions;
        let mut request = self.checksummed(Request::new("GetObject", Method::GET, &path.bucket, &path.key));
        if let Some(number) = options.part_number {
            if !self.shared.capabilities.part_reads {
                return Err(ObjectError::Unsupported(
                    "reading a part of an object by its number",
                ));
            }
            if !(1..=PARTS_MAX).contains(&number.into()) {
                let size_bytes = self.look(path).await?.size_bytes;
                return Err(ObjectError::InvalidRange { size_bytes });
            }
            request = request.query("partNumber", number.to_string());
        }
        // Tags that every service reads alike spare the bytes; what else there is, is decided on the answer.
        if let Some(tag) = [&conditions.if_match, &conditions.if_generation]
            .into_iter()
            .find_map(|tag| single_tag(tag.as_deref()))
        {
            request = request.header("if-match", entity_tag(tag));
        } else if let Some(tag) = single_tag(conditions.if_none_match.as_deref()) {
            request = request.header("if-none-match", entity_tag(tag));
        }
        if let Some(range) = options.range {
            let Some(text) = range_header(range) else {
                let size_bytes = self.look(path).await?.size_bytes;
                return Err(ObjectError::InvalidRange { size_bytes });
            };
            request = request.header("range", text);
        }
        let answer = match self.call(request).await {
            Ok(answer) if answer.status() == StatusCode::NOT_MODIFIED => {
                let info = Box::new(self.look(path).await?);
                return Err(ObjectError::NotModified { info });
            }
            Ok(answer) => answer,
            Err(ObjectError::PreconditionFailed(_)) => {
                return Err(ObjectError::PreconditionFailed("If-Match"));
            }
            // Of a part that is not there, some say that it is no part.
            Err(ObjectError::InvalidRange { .. } | ObjectError::InvalidPart(_)) => {
                let size_bytes = self.look(path).await?.size_bytes;
                return Err(ObjectError::InvalidRange { size_bytes });
            }
            Err(error) => return Err(self.not_found(error, path).await),
        };
        let mut info = info(answer.headers())?;
        info.checksums = self.only_true(info.checksums);
        check_read(&options.conditions, &info)?;
        let range = range_of(&answer, options, &info)?;
        let rest = Rest {
            store: self.clone(),
            path: path.clone(),
            etag: info.etag.clone(),
            left: range
                .clone()
                .or_else(|| info.size_bytes.checked_sub(1).map(|last| 0..=last)),
            attempt: 1,
        };
        Ok(ObjectRead {
            info,
            range,
            body: rest.stream(answer),
        })
    }

    fn checksummed<'a>(&self, request: Request<'a>) -> Request<'a> {
        if self.shared.capabilities.checksums {
            request.header("x-amz-checksum-mode", "ENABLED")
        } else {
            request
        }
    }

    /// A service that does not check checksums may repeat what it was told.
    pub(super) fn only_true(&self, checksums: Checksums) -> Checksums {
        if self.shared.capabilities.checksums {
            checksums
        } else {
            Checksums::default()
        }
    }

    /// `HEAD` has no body, so a missing key and a missing bucket look alike.
    async fn not_found(&self, error: ObjectError, path: &ObjectPath) -> ObjectError {
        match error {
            ObjectError::NotFound if self.bucket_is_missing(&path.bucket).await => {
                ObjectError::NoSuchBucket(path.bucket.clone())
            }
            error => error,
        }
    }
}

/// The offsets that an answer brings. They must be those that were asked for.
fn range_of(answer: &Answer, options: &GetOptions, info: &ObjectInfo) -> Result<Option<RangeInclusive<u64>>> {
    let told = content_range(answer.headers()).map(|(first, last, _)| first..=last);
    let is_partial = answer.status() == StatusCode::PARTIAL_CONTENT;
    let wanted = match options.range {
        Some(range) => range.resolve(info.size_bytes),
        // How long a part is, only the store knows.
        None if options.part_number.is_some() => told.clone(),
        None => None,
    };
    if (is_partial && told.is_some() && told == wanted) || (!is_partial && options.range.is_none()) {
        return Ok(told.filter(|_| is_partial));
    }
    if options.range.is_some() && wanted.is_none() {
        // Swift answers where others say that there is nothing in such a range.
        return Err(ObjectError::InvalidRange {
            size_bytes: info.size_bytes,
        });
    }
    Err(ObjectError::Internal(
        "the object store sent another range than the one that it was asked for".to_owned(),
    ))
}

/// What of an object is still to come. When its answer breaks off, the rest is asked for, if the object is still the same.
struct Rest {
    store: S3Store,
    path: ObjectPath,
    etag: String,
    left: Option<RangeInclusive<u64>>,
    /// Attempts since the last piece came.
    attempt: u32,
}

impl Rest {
    fn stream(self, answer: Answer) -> ByteStream {
        let state = (self, answer.into_stream());
        Box::pin(stream::unfold(Some(state), |state| async {
            let (mut rest, mut pieces) = state?;
            loop {
                match pieces.next().await {
                    None => return None,
                    Some(Ok(piece)) => {
                        rest.took(piece.len() as u64);
                        return Some((Ok(piece), Some((rest, pieces))));
                    }
                    Some(Err(error)) => match rest.resume().await {
                        Some(again) => pieces = again,
                        None => return Some((Err(error), None)),
                    },
                }
            }
        }))
    }

    fn took(&mut self, bytes: u64) {
        self.attempt = 1;
        self.left = self
            .left
            .take()
            .map(|left| *left.start() + bytes..=*left.end())
            .filter(|left| !left.is_empty());
    }

    async fn resume(&mut self) -> Option<ByteStream> {
        let left = self.left.clone()?;
        let delay = self.store.client().retry_delay(self.attempt)?;
        self.attempt += 1;
        tokio::time::sleep(delay).await;
        let request = Request::new("GetObject", Method::GET, &self.path.bucket, &self.path.key)
            .header("if-match", entity_tag(&self.etag))
            .header("range", format!("bytes={}-{}", left.start(), left.end()));
        let answer = self.store.call(request).await.ok()?;
        let same = info(answer.headers()).is_ok_and(|info| info.etag == self.etag);
        let range = content_range(answer.headers()).map(|(first, last, _)| first..=last);
        (same && range == Some(left)).then(|| answer.into_stream())
    }
}

/// One entity tag that is neither weak nor `*`, and not a list.
fn single_tag(tags: Option<&str>) -> Option<&str> {
    let tag = strip_quotes(tags?);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (!tag.is_empty() && tag.bytes().all(is_plain)).then_some(tag)
}

fn check_options(options: &GetOptions) -> Result<()> {
    if options.range.is_some() && options.part_number.is_some() {
        return Err(ObjectError::InvalidArgument(
            "a range and a part number exclude each other".to_owned(),
        ));
    }
    Ok(())
}

/// The header for a range; `None` for one that holds no byte of any object.
fn range_header(range: ByteRange) -> Option<String> {
    match range {
        ByteRange::FromTo(first, last) if first > last => None,
        // What lies beyond any object is left out: not every service reads a number as large.
        ByteRange::FromTo(first, last) if last >= i64::MAX as u64 => Some(format!("bytes={first}-")),
        ByteRange::FromTo(first, last) => Some(format!("bytes={first}-{last}")),
        ByteRange::From(first) => Some(format!("bytes={first}-")),
        ByteRange::Last(0) => None,
        ByteRange::Last(count) => Some(format!("bytes=-{count}")),
    }
}
