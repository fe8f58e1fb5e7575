//! Reading an object: whole, in ranges, by part, under conditions; and what is known of it.

use std::ops::RangeInclusive;

use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectInfo, ObjectPath};
use http::header::{ACCEPT_RANGES, CONTENT_RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::attributes;
use crate::body::checksums::element_name;
use crate::conditions::{self, http_date};
use crate::error::S3Error;
use crate::gateway::Exchange;
use crate::response::{self, ResponseBody, S3Response};
use crate::xml::write::XmlWriter;

/// GetObject.
pub(crate) async fn get_object(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    let path = x.path();
    let mut options = read_options(x)?;
    let pinned = apply_if_range(x, &path, &mut options).await?;
    let read = match x.store().get(&path, &options).await {
        // The object was replaced since `If-Range` was held against it: the validator is of another one now.
        Err(ObjectError::PreconditionFailed(_) | ObjectError::NotFound) if pinned => {
            options.range = None;
            options.conditions.if_generation = None;
            x.store().get(&path, &options).await
        }
        result => result,
    }
    .map_err(|error| read_error(error, &options))?;
    let span = read.range.clone().or_else(|| whole_part(&options, &read.info));
    let mut response = response::empty(StatusCode::OK);
    write_head(x, &mut response, &read.info, &options, span.as_ref())?;
    *response.body_mut() = ResponseBody::stream(read.body, span_length(span.as_ref(), &read.info));
    Ok(response)
}

/// HeadObject.
pub(crate) async fn head_object(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    let path = x.path();
    let mut options = read_options(x)?;
    apply_if_range(x, &path, &mut options).await?;
    let (info, span) = if options.part_number.is_some() {
        // Only a read knows where a part lies; its body is not asked for.
        let read = x
            .store()
            .get(&path, &options)
            .await
            .map_err(|error| read_error(error, &options))?;
        let span = read.range.clone().or_else(|| whole_part(&options, &read.info));
        (read.info, span)
    } else {
        let range = options.range.take();
        let info = x.store().head(&path, &options).await?;
        let span = match range {
            Some(range) => {
                let outside = || ObjectError::InvalidRange {
                    size_bytes: info.size_bytes,
                };
                Some(range.resolve(info.size_bytes).ok_or_else(outside)?)
            }
            None => None,
        };
        (info, span)
    };
    let mut response = response::empty(StatusCode::OK);
    write_head(x, &mut response, &info, &options, span.as_ref())?;
    response::set_content_length(response.headers_mut(), span_length(span.as_ref(), &info));
    Ok(response)
}

fn read_options(x: &Exchange<'_>) -> Result<GetOptions, S3Error> {
    let range = conditions::range(x.headers);
    let part_number = x
        .query
        .get("partNumber")
        .map(super::multipart::part_number)
        .transpose()?;
    if part_number.is_some() && x.headers.contains_key("range") {
        return Err(S3Error::invalid_request(
            "Cannot specify both Range header and partNumber query parameter",
        ));
    }
    let conditions = conditions::read_conditions(x.headers, &conditions::OF_READ);
    Ok(GetOptions {
        range,
        part_number,
        conditions,
    })
}

/// Gives the range up unless the client's copy is of this very object (RFC 9110, section 13.1.5), and pins the object if so.
async fn apply_if_range(
    x: &Exchange<'_>,
    path: &ObjectPath,
    options: &mut GetOptions,
) -> Result<bool, S3Error> {
    let Some(validator) = conditions::text(x.headers, "if-range").filter(|_| options.range.is_some()) else {
        return Ok(false);
    };
    let info = x.store().head(path, &GetOptions::default()).await?;
    let validator = validator.trim();
    let same = match validator.strip_prefix('"') {
        Some(tag) => tag.strip_suffix('"') == Some(info.etag.as_str()),
        None => http_date(validator).is_some_and(|date| date.as_second() == info.modified_at.as_second()),
    };
    if same {
        options.conditions.if_generation = Some(info.generation);
    } else {
        options.range = None;
    }
    Ok(same)
}

/// The one part of an object that was not made of parts: all of it.
fn whole_part(options: &GetOptions, info: &ObjectInfo) -> Option<RangeInclusive<u64>> {
    options
        .part_number
        .and_then(|_| info.size_bytes.checked_sub(1))
        .map(|last| 0..=last)
}

fn span_length(span: Option<&RangeInclusive<u64>>, info: &ObjectInfo) -> u64 {
    span.map_or(info.size_bytes, |span| span.end() - span.start() + 1)
}

fn read_error(error: ObjectError, options: &GetOptions) -> S3Error {
    match error {
        // As Ceph's suite wants it; S3 itself says 416.
        ObjectError::InvalidRange { .. } if options.part_number.is_some() => {
            S3Error::new("InvalidPart", "The requested part number is not satisfiable")
        }
        other => other.into(),
    }
}

fn write_head(
    x: &Exchange<'_>,
    response: &mut S3Response,
    info: &ObjectInfo,
    options: &GetOptions,
    span: Option<&RangeInclusive<u64>>,
) -> Result<(), S3Error> {
    if span.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let headers = response.headers_mut();
    // A checksum is of the whole object: clients would hold a part of it against that.
    let checksums = span.is_none() && wants_checksums(x.headers);
    attributes::write_info(headers, info, checksums);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(span) = span {
        let range = format!("bytes {}-{}/{}", span.start(), span.end(), info.size_bytes);
        response::set(headers, CONTENT_RANGE, &range);
    }
    if let Some(parts) = info.parts.filter(|_| options.part_number.is_some()) {
        headers.insert("x-amz-mp-parts-count", HeaderValue::from(parts));
    }
    attributes::apply_overrides(headers, x.query)
}

fn wants_checksums(headers: &HeaderMap) -> bool {
    headers
        .get("x-amz-checksum-mode")
        .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"enabled"))
}

/// GetObjectAttributes.
pub(crate) async fn get_object_attributes(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    let wanted: Vec<&str> = x
        .headers
        .get_all("x-amz-object-attributes")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    let known = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"];
    if wanted.is_empty() || !wanted.iter().all(|name| known.contains(name)) {
        let given = wanted.join(",");
        return Err(S3Error::invalid_argument(
            "Invalid attribute name specified.",
            "x-amz-object-attributes",
            given,
        ));
    }
    let info = x.store().head(&x.path(), &GetOptions::default()).await?;
    let mut xml = XmlWriter::root("GetObjectAttributesResponse");
    if wanted.contains(&"ETag") {
        xml.leaf("ETag", &info.etag);
    }
    if wanted.contains(&"Checksum") && !info.checksums.0.is_empty() {
        xml.open("Checksum");
        for (algorithm, value) in &info.checksums.0 {
            xml.leaf(element_name(*algorithm), value);
        }
        if let Some(kind) = attributes::checksum_type(&info) {
            xml.leaf("ChecksumType", kind);
        }
        xml.close("Checksum");
    }
    if let Some(parts) = info.parts.filter(|_| wanted.contains(&"ObjectParts")) {
        xml.open("ObjectParts");
        xml.value("PartsCount", parts);
        xml.close("ObjectParts");
    }
    if wanted.contains(&"StorageClass") {
        xml.leaf("StorageClass", "STANDARD");
    }
    if wanted.contains(&"ObjectSize") {
        xml.value("ObjectSize", info.size_bytes);
    }
    xml.close("GetObjectAttributesResponse");
    let mut response = response::xml(xml.finish());
    response::set_last_modified(response.headers_mut(), info.modified_at);
    Ok(response)
}

/// GetObjectAcl: the owner may do everything and nobody else anything.
pub(crate) async fn get_object_acl(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().head(&x.path(), &GetOptions::default()).await?;
    Ok(owner_full_control())
}

/// GetObjectTagging: no object has tags. Clients ask before they copy an object in parts.
pub(crate) async fn get_object_tagging(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().head(&x.path(), &GetOptions::default()).await?;
    let mut xml = XmlWriter::root("Tagging");
    xml.raw("<TagSet></TagSet>");
    xml.close("Tagging");
    Ok(response::xml(xml.finish()))
}

/// The access control list of everything here.
pub(crate) fn owner_full_control() -> S3Response {
    let mut xml = XmlWriter::root("AccessControlPolicy");
    xml.owner("Owner");
    xml.raw("<AccessControlList><Grant>");
    xml.raw("<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">");
    xml.raw("<ID>cloakroom</ID><DisplayName>cloakroom</DisplayName></Grantee>");
    xml.raw("<Permission>FULL_CONTROL</Permission></Grant></AccessControlList>");
    xml.close("AccessControlPolicy");
    response::xml(xml.finish())
}
