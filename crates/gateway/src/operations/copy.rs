//! Copying, whole or into a part of a multipart upload. Both sides are named by the signed request.

use cloakroom_core::ports::objects::{ByteRange, CopyOptions, GetOptions, ObjectError, ObjectPath, PutBody};
use cloakroom_signing::percent_decode_str;

use crate::attributes;
use crate::body::checksums::element_name;
use crate::conditions::{self, OF_COPY_SOURCE, read_conditions, text};
use crate::error::S3Error;
use crate::gateway::Exchange;
use crate::operations::multipart::{self, upload_id};
use crate::operations::put::write_conditions;
use crate::request::{KEY_BYTES_MAX, key_too_long};
use crate::response::{self, S3Response, xml_time};
use crate::xml::write::XmlWriter;

/// CopyObject.
pub(crate) async fn copy_object(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    attributes::refuse_unsupported(x.headers)?;
    let (from, to) = (copy_source(x)?, x.path());
    let attributes = match text(x.headers, "x-amz-metadata-directive") {
        None | Some("COPY") => None,
        Some("REPLACE") => Some(attributes::from_headers(x.headers)?),
        Some(other) => {
            return Err(S3Error::invalid_argument(
                "Unknown metadata directive.",
                "x-amz-metadata-directive",
                other,
            ));
        }
    };
    if from == to && attributes.is_none() {
        return Err(S3Error::invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    let options = CopyOptions {
        attributes,
        source_conditions: read_conditions(x.headers, &OF_COPY_SOURCE),
        conditions: write_conditions(x, &to).await?,
    };
    x.gateway.put_begun(&to);
    let info = match x.store().copy(&from, &to, options).await {
        Err(ObjectError::NotModified { .. }) => return Err(source_unchanged()),
        result => result?,
    };
    x.gateway.put_done(&to, &info);
    let mut xml = XmlWriter::root("CopyObjectResult");
    xml.leaf("LastModified", &xml_time(info.modified_at));
    xml.etag(&info.etag);
    for (algorithm, value) in &info.checksums.0 {
        xml.leaf(element_name(*algorithm), value);
    }
    if let Some(kind) = attributes::checksum_type(&info) {
        xml.leaf("ChecksumType", kind);
    }
    xml.close("CopyObjectResult");
    Ok(response::xml(xml.finish()))
}

/// UploadPartCopy.
pub(crate) async fn upload_part_copy(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    attributes::refuse_unsupported(x.headers)?;
    let (from, to) = (copy_source(x)?, x.path());
    let number = multipart::required_part_number(x)?;
    let upload_id = upload_id(x)?;
    let range = text(x.headers, "x-amz-copy-source-range")
        .map(copy_range)
        .transpose()?;
    let options = GetOptions {
        range,
        part_number: None,
        conditions: read_conditions(x.headers, &OF_COPY_SOURCE),
    };
    let read = match x.store().get(&from, &options).await {
        Err(ObjectError::NotModified { .. }) => return Err(source_unchanged()),
        result => result?,
    };
    // Unlike a read, a copy of what is not all there is refused.
    let complete = match (range, &read.range) {
        (Some(ByteRange::FromTo(_, last)), Some(found)) => *found.end() == last,
        (Some(ByteRange::FromTo(_, last)), None) => last < read.info.size_bytes,
        _ => true,
    };
    if !complete {
        return Err(ObjectError::InvalidRange {
            size_bytes: read.info.size_bytes,
        }
        .into());
    }
    let length = read
        .range
        .map_or(read.info.size_bytes, |range| range.end() - range.start() + 1);
    let body = PutBody::from_stream(read.body, Some(length));
    let part = x.store().put_part(&to, upload_id, number, body).await?;
    let mut xml = XmlWriter::root("CopyPartResult");
    xml.leaf("LastModified", &xml_time(part.modified_at));
    xml.etag(&part.etag);
    for (algorithm, value) in &part.checksums.0 {
        xml.leaf(element_name(*algorithm), value);
    }
    xml.close("CopyPartResult");
    Ok(response::xml(xml.finish()))
}

/// Reads `x-amz-copy-source`: `[/]bucket/key[?versionId=…]`, percent-encoded.
fn copy_source(x: &Exchange<'_>) -> Result<ObjectPath, S3Error> {
    let raw = text(x.headers, "x-amz-copy-source").unwrap_or_default();
    parse_copy_source(raw)
}

fn parse_copy_source(raw: &str) -> Result<ObjectPath, S3Error> {
    let invalid = || S3Error::invalid_argument("Invalid copy source object key", "x-amz-copy-source", raw);
    let (encoded, version) = raw.split_once("?versionId=").unwrap_or((raw, "null"));
    if version != "null" {
        return Err(
            S3Error::new("NoSuchVersion", "The specified version does not exist.").with("VersionId", version),
        );
    }
    let decoded = percent_decode_str(encoded).map_err(|_| invalid())?;
    let (bucket, key) = decoded
        .strip_prefix('/')
        .unwrap_or(&decoded)
        .split_once('/')
        .ok_or_else(invalid)?;
    if bucket.is_empty() || key.is_empty() {
        return Err(invalid());
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(key_too_long(key.len()));
    }
    Ok(ObjectPath::new(bucket, key))
}

/// Reads `x-amz-copy-source-range`: both ends are needed.
fn copy_range(text: &str) -> Result<ByteRange, S3Error> {
    match conditions::parse_range(text) {
        Some(range @ ByteRange::FromTo(..)) => Ok(range),
        _ => Err(S3Error::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
            "x-amz-copy-source-range",
            text,
        )),
    }
}

fn source_unchanged() -> S3Error {
    S3Error::precondition_failed("x-amz-copy-source-If-None-Match")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_come_in_several_spellings() {
        for raw in [
            "/b/a%20b",
            "b/a%20b",
            "%2Fb%2Fa%20b",
            "/b/a b",
            "b/a b?versionId=null",
        ] {
            assert_eq!(
                parse_copy_source(raw).map_err(|error| error.code),
                Ok(ObjectPath::new("b", "a b")),
                "{raw}"
            );
        }
        assert_eq!(
            parse_copy_source("b/%3FversionId=x+y").ok(),
            Some(ObjectPath::new("b", "?versionId=x+y"))
        );
        for (raw, code) in [
            ("", "InvalidArgument"),
            ("/", "InvalidArgument"),
            ("b", "InvalidArgument"),
            ("/b/", "InvalidArgument"),
            ("//k", "InvalidArgument"),
            ("b/%zz", "InvalidArgument"),
            ("%ff%fe/x", "InvalidArgument"),
            ("b/k?versionId=3", "NoSuchVersion"),
            (&format!("b/{}", "k".repeat(1025)), "KeyTooLongError"),
        ] {
            assert_eq!(
                parse_copy_source(raw).map_err(|error| error.code),
                Err(code),
                "{raw}"
            );
        }
    }

    #[test]
    fn ranges_to_copy_need_both_ends() {
        assert_eq!(copy_range("bytes=0-4").ok(), Some(ByteRange::FromTo(0, 4)));
        for text in [
            "0-2",
            "bytes=0",
            "bytes=hello-world",
            "bytes=0-bar",
            "bytes=0-2,3-5",
            "bytes=2-1",
            "bytes=5-",
            "bytes=-5",
        ] {
            assert_eq!(
                copy_range(text).map_err(|error| error.code),
                Err("InvalidArgument"),
                "{text}"
            );
        }
    }
}
