//! Multipart uploads: begun, filled part by part, completed or given up, and listed.

use cloakroom_core::ports::objects::{
    ChecksumAlgorithm, Checksums, CompletedPart, MultipartOptions, ObjectError,
};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::attributes;
use crate::body::checksums::{algorithm_named, checksum_header, element_name, header_name, is_well_formed};
use crate::body::{RequestBody, Upload, declared_length};
use crate::conditions::text;
use crate::error::S3Error;
use crate::gateway::Exchange;
use crate::operations::completion;
use crate::operations::list::{Encoding, page_items};
use crate::operations::put::{write_conditions, write_error};
use crate::response::{self, S3Response, xml_time};
use crate::xml::read::{Element, XML_BYTES_MAX};
use crate::xml::write::XmlWriter;

/// The highest part number, and so the most parts (S3 API, "Multipart upload limits").
const PARTS_MAX: u32 = 10_000;

/// Reads a part number.
pub(crate) fn part_number(text: &str) -> Result<u32, S3Error> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (1..=PARTS_MAX).contains(number))
        .ok_or_else(|| {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            S3Error::invalid_argument(message, "partNumber", text)
        })
}

/// The part number of a request that writes a part.
pub(crate) fn required_part_number(x: &Exchange<'_>) -> Result<u32, S3Error> {
    part_number(x.query.get("partNumber").unwrap_or_default())
}

/// The upload id; an empty one is none of ours.
pub(crate) fn upload_id<'x>(x: &'x Exchange<'_>) -> Result<&'x str, S3Error> {
    x.query
        .get("uploadId")
        .filter(|id| !id.is_empty())
        .ok_or_else(|| ObjectError::NoSuchUpload.into())
}

/// CreateMultipartUpload.
pub(crate) async fn create(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    attributes::refuse_unsupported(x.headers)?;
    let (checksum, full_object_checksum) = checksum_choice(x.headers)?;
    let options = MultipartOptions {
        attributes: attributes::from_headers(x.headers)?,
        checksum,
        full_object_checksum,
    };
    let path = x.path();
    let id = x.store().begin_multipart(&path, options).await?;
    x.gateway.put_begun(&path);
    let mut xml = XmlWriter::root("InitiateMultipartUploadResult");
    xml.leaf("Bucket", &path.bucket);
    xml.leaf("Key", &path.key);
    xml.leaf("UploadId", &id);
    xml.close("InitiateMultipartUploadResult");
    let mut response = response::xml(xml.finish());
    if let Some(algorithm) = checksum {
        let headers = response.headers_mut();
        response::set(
            headers,
            HeaderName::from_static("x-amz-checksum-algorithm"),
            algorithm.as_str(),
        );
        response::set(
            headers,
            HeaderName::from_static("x-amz-checksum-type"),
            kind_name(full_object_checksum),
        );
    }
    Ok(response)
}

/// Reads `x-amz-checksum-algorithm` and `x-amz-checksum-type`. Not every algorithm can do both kinds (S3 user guide,
/// "Using full object checksums"): a CRC-64 is not composed, and the SHAs cannot be joined.
fn checksum_choice(headers: &HeaderMap) -> Result<(Option<ChecksumAlgorithm>, bool), S3Error> {
    let algorithm = text(headers, "x-amz-checksum-algorithm")
        .map(algorithm_named)
        .transpose()?;
    let kind = text(headers, "x-amz-checksum-type");
    let Some(algorithm) = algorithm else {
        return match kind {
            None => Ok((None, false)),
            Some(_) => Err(S3Error::invalid_request(
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )),
        };
    };
    let full_object = match kind {
        None => algorithm == ChecksumAlgorithm::Crc64Nvme,
        Some("FULL_OBJECT") => true,
        Some("COMPOSITE") => false,
        Some(other) => {
            return Err(S3Error::invalid_argument(
                "Invalid checksum type.",
                "x-amz-checksum-type",
                other,
            ));
        }
    };
    let possible = match algorithm {
        ChecksumAlgorithm::Crc64Nvme => full_object,
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => !full_object,
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => true,
    };
    if !possible {
        return Err(S3Error::invalid_request(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            kind_name(full_object),
            algorithm.as_str().to_ascii_lowercase()
        )));
    }
    Ok((Some(algorithm), full_object))
}

pub(crate) fn kind_name(full_object: bool) -> &'static str {
    if full_object { "FULL_OBJECT" } else { "COMPOSITE" }
}

/// UploadPart.
pub(crate) async fn upload_part(x: Exchange<'_>, body: RequestBody) -> Result<S3Response, S3Error> {
    attributes::refuse_unsupported(x.headers)?;
    let number = required_part_number(&x)?;
    let id = upload_id(&x)?;
    let length = declared_length(x.headers, x.payload)?;
    let upload = Upload::new(x.headers, x.payload, x.chain.clone(), body)?;
    let part = x
        .store()
        .put_part(&x.path(), id, number, upload.into_put_body(Some(length)))
        .await?;
    let mut response = response::empty(StatusCode::OK);
    response::set_etag(response.headers_mut(), &part.etag);
    for (algorithm, value) in &part.checksums.0 {
        response::set(
            response.headers_mut(),
            HeaderName::from_static(header_name(*algorithm)),
            value,
        );
    }
    Ok(response)
}

/// CompleteMultipartUpload.
pub(crate) async fn complete(x: Exchange<'_>, body: RequestBody) -> Result<S3Response, S3Error> {
    let id = upload_id(&x)?;
    let path = x.path();
    // A checksum among these headers is of the object to be, not of the list of parts.
    let expected = checksum_header(x.headers)?;
    let mut of_body = x.headers.clone();
    for algorithm in ChecksumAlgorithm::ALL {
        of_body.remove(header_name(*algorithm));
    }
    of_body.remove("x-amz-sdk-checksum-algorithm");
    let document = Upload::new(&of_body, x.payload, x.chain.clone(), body)?
        .collect(XML_BYTES_MAX)
        .await?;
    let parts = completed_parts(&Element::parse(&document, "CompleteMultipartUpload")?)?;
    let object_bytes = text(x.headers, "x-amz-mp-object-size")
        .map(object_size)
        .transpose()?;
    if expected.is_some() || object_bytes.is_some() {
        // An upload that is gone may have been completed before; the store knows.
        match x.store().multipart(&path, id).await {
            Ok((_, uploaded)) => completion::check(&parts, &uploaded, expected.as_ref(), object_bytes)?,
            Err(ObjectError::NoSuchUpload) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let conditions = write_conditions(&x, &path).await?;
    let if_match = conditions.if_match.is_some();
    let completed = x.store().complete_multipart(&path, id, &parts, conditions).await;
    let info = completed.map_err(|error| write_error(if_match, error))?;
    x.gateway.put_done(&path, &info);
    let mut xml = XmlWriter::root("CompleteMultipartUploadResult");
    xml.leaf("Location", &x.location(&path));
    xml.leaf("Bucket", &path.bucket);
    xml.leaf("Key", &path.key);
    xml.etag(&info.etag);
    for (algorithm, value) in &info.checksums.0 {
        xml.leaf(element_name(*algorithm), value);
    }
    if let Some(kind) = attributes::checksum_type(&info) {
        xml.leaf("ChecksumType", kind);
    }
    xml.close("CompleteMultipartUploadResult");
    Ok(response::xml(xml.finish()))
}

fn object_size(text: &str) -> Result<u64, S3Error> {
    let number = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten();
    number.ok_or_else(|| {
        S3Error::invalid_argument("The size is not a number of bytes.", "x-amz-mp-object-size", text)
    })
}

fn completed_parts(document: &Element) -> Result<Vec<CompletedPart>, S3Error> {
    let mut parts = Vec::new();
    for part in document.all("Part") {
        let number = part
            .text_of("PartNumber")
            .ok_or_else(S3Error::malformed_xml)?
            .trim();
        if number.parse::<i64>().is_err() {
            return Err(S3Error::malformed_xml());
        }
        let mut checksums = Checksums::default();
        for algorithm in ChecksumAlgorithm::ALL.iter().copied() {
            let Some(value) = part.text_of(element_name(algorithm)) else {
                continue;
            };
            if !is_well_formed(algorithm, value.trim()) {
                return Err(S3Error::malformed_xml());
            }
            checksums.0.insert(algorithm, value.trim().to_owned());
        }
        let etag = part
            .text_of("ETag")
            .ok_or_else(S3Error::malformed_xml)?
            .trim()
            .to_owned();
        parts.push(CompletedPart {
            number: part_number(number)?,
            etag,
            checksums,
        });
        if parts.len() > PARTS_MAX as usize {
            return Err(S3Error::malformed_xml());
        }
    }
    if parts.is_empty() {
        Err(S3Error::malformed_xml())
    } else {
        Ok(parts)
    }
}

/// AbortMultipartUpload.
pub(crate) async fn abort(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().abort_multipart(&x.path(), upload_id(x)?).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// ListParts.
pub(crate) async fn list_parts(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    let path = x.path();
    let id = upload_id(x)?;
    let max_parts = page_items(x.query, "max-parts")?;
    let encoding = Encoding::of(x.query)?;
    let marker = match x
        .query
        .get("part-number-marker")
        .filter(|marker| !marker.is_empty())
    {
        Some(text) => text.parse::<u32>().map_err(|_| {
            S3Error::invalid_argument("Argument must be an integer", "part-number-marker", text)
        })?,
        None => 0,
    };
    let (upload, parts) = x.store().multipart(&path, id).await?;
    let mut rest = parts.iter().filter(|part| part.number > marker);
    let page: Vec<_> = rest.by_ref().take(max_parts as usize).collect();
    let truncated = !page.is_empty() && rest.next().is_some();

    let mut xml = XmlWriter::root("ListPartsResult");
    xml.leaf("Bucket", &path.bucket);
    encoding.leaf(&mut xml, "Key", &path.key);
    encoding.declare(&mut xml);
    xml.leaf("UploadId", id);
    xml.owner("Initiator");
    xml.owner("Owner");
    xml.raw("<StorageClass>STANDARD</StorageClass>");
    if let Some(algorithm) = upload.options.checksum {
        xml.leaf("ChecksumAlgorithm", algorithm.as_str());
        xml.leaf("ChecksumType", kind_name(upload.options.full_object_checksum));
    }
    xml.value("PartNumberMarker", marker);
    if let Some(last) = page.last() {
        xml.value("NextPartNumberMarker", last.number);
    }
    xml.value("MaxParts", max_parts);
    xml.value("IsTruncated", truncated);
    for part in page {
        xml.open("Part");
        xml.value("PartNumber", part.number);
        xml.leaf("LastModified", &xml_time(part.modified_at));
        xml.etag(&part.etag);
        xml.value("Size", part.size_bytes);
        for (algorithm, value) in &part.checksums.0 {
            xml.leaf(element_name(*algorithm), value);
        }
        xml.close("Part");
    }
    xml.close("ListPartsResult");
    Ok(response::xml(xml.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_parts_are_read_or_refused() {
        let parts = |xml: &str| {
            Element::parse(xml.as_bytes(), "C")
                .and_then(|document| completed_parts(&document))
                .map_err(|e| e.code)
        };
        let read = parts(
            "<C><Part><ETag>&quot;e&quot;</ETag><PartNumber> 1 </PartNumber><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32></Part></C>",
        )
        .expect("valid");
        assert_eq!((read[0].number, read[0].etag.as_str()), (1, "\"e\""));
        assert_eq!(read[0].checksums.0[&ChecksumAlgorithm::Crc32], "y/Q5Jg==");
        for (part, code) in [
            ("", "MalformedXML"),
            ("<Part><PartNumber>1</PartNumber></Part>", "MalformedXML"),
            ("<Part><ETag>e</ETag></Part>", "MalformedXML"),
            (
                "<Part><ETag>e</ETag><PartNumber>x</PartNumber></Part>",
                "MalformedXML",
            ),
            (
                "<Part><ETag>e</ETag><PartNumber>0</PartNumber></Part>",
                "InvalidArgument",
            ),
            (
                "<Part><ETag>e</ETag><PartNumber>10001</PartNumber></Part>",
                "InvalidArgument",
            ),
            (
                "<Part><ETag>e</ETag><PartNumber>1</PartNumber><ChecksumCRC32>x</ChecksumCRC32></Part>",
                "MalformedXML",
            ),
        ] {
            assert_eq!(parts(&format!("<C>{part}</C>")).map(|_| ()), Err(code), "{part}");
        }
    }

    #[test]
    fn kinds_of_checksums_go_with_their_algorithms() {
        let choice = |algorithm: &str, kind: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("x-amz-checksum-algorithm", algorithm),
                ("x-amz-checksum-type", kind),
            ] {
                if !value.is_empty() {
                    headers.insert(HeaderName::from_static(name), value.parse().expect("a value"));
                }
            }
            checksum_choice(&headers).map_err(|error| error.code)
        };
        assert_eq!(choice("", ""), Ok((None, false)));
        assert_eq!(choice("crc32", ""), Ok((Some(ChecksumAlgorithm::Crc32), false)));
        assert_eq!(
            choice("CRC32", "FULL_OBJECT"),
            Ok((Some(ChecksumAlgorithm::Crc32), true))
        );
        assert_eq!(
            choice("CRC64NVME", ""),
            Ok((Some(ChecksumAlgorithm::Crc64Nvme), true))
        );
        for (algorithm, kind) in [
            ("SHA256", "FULL_OBJECT"),
            ("CRC64NVME", "COMPOSITE"),
            ("", "COMPOSITE"),
            ("MD6", ""),
        ] {
            assert_eq!(
                choice(algorithm, kind),
                Err("InvalidRequest"),
                "{algorithm} {kind}"
            );
        }
        assert_eq!(choice("CRC32", "OTHER"), Err("InvalidArgument"));
    }
}
