//! Browser uploads: a form whose policy is signed (S3 API, "Browser-Based Uploads Using POST").
//!
//! The fields before the file are read within limits; then the policy decides, and only then the file is read, straight
//! into the store. What the form says after the file is not looked at.

use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cloakroom_core::ports::objects::{BodyError, ObjectInfo, ObjectPath, PutOptions, WriteConditions};
use cloakroom_signing::{PayloadHash, encode_component};
use futures_core::Stream;
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use jiff::Timestamp;

use crate::attributes;
use crate::body::checksums::Verification;
use crate::body::form::{FormEvent, FormParser, malformed_form};
use crate::body::{RequestBody, Upload, incomplete};
use crate::error::{S3Error, body_error};
use crate::gateway::Inner;
use crate::request::{KEY_BYTES_MAX, Target, key_too_long};
use crate::response::{self, S3Response};
use crate::xml::write::XmlWriter;

/// The most bytes of fields in front of the file (S3 API, "POST Object", `MaxPostPreDataLengthExceeded`).
const FIELDS_BYTES_MAX: usize = 20 * 1024;
/// The most fields in front of the file.
const FIELDS_MAX: usize = 100;
/// The most bytes that are read behind the file before the connection is given up.
const EPILOGUE_BYTES_MAX: usize = 64 * 1024;
/// The largest file, in bytes: 5 GiB.
const FILE_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// Stands for the name of the client's file.
const FILENAME_VARIABLE: &str = "${filename}";

/// PostObject.
pub(crate) async fn post_object(
    gateway: &Inner,
    target: &Target,
    headers: &HeaderMap,
    body: RequestBody,
    now: Timestamp,
) -> Result<S3Response, S3Error> {
    let bucket = target.bucket.as_deref().unwrap_or_default();
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (mut fields, filename, file) = FormReader::new(content_type, body)?.read_fields().await?;
    if let Some((_, key)) = fields
        .iter_mut()
        .find(|(name, _)| name.eq_ignore_ascii_case("key"))
    {
        *key = key.replace(FILENAME_VARIABLE, base_name(&filename));
    }

    let credentials = &*gateway.options.credentials;
    let form = gateway
        .verifier
        .verify_form(&fields, &|id: &str| credentials(id))?;
    form.policy.check(&fields, bucket, now)?;

    let key = field(&fields, "key").ok_or_else(|| {
        let message = "Bucket POST must contain a field named 'key'. If it is specified, please check the order of the fields.";
        S3Error::invalid_argument(message, "key", "")
    })?;
    if key.is_empty() {
        return Err(S3Error::invalid_argument(
            "User key must have a length greater than 0.",
            "key",
            "",
        ));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(key_too_long(key.len()));
    }
    let path = ObjectPath::new(bucket, key);
    let as_headers = headers_of(&fields)?;
    attributes::refuse_unsupported(&as_headers)?;
    let options = PutOptions {
        attributes: attributes::from_headers(&as_headers)?,
        conditions: WriteConditions::default(),
    };
    let verification = Verification::new(&as_headers, PayloadHash::Unsigned)?;
    let file = LimitedFile {
        file,
        permitted: form.policy.content_length_range(),
        seen: 0,
    };

    gateway.put_begun(&path);
    let upload = Upload::over(file, None, verification);
    let info = gateway
        .store
        .put(&path, options, upload.into_put_body(None))
        .await?;
    gateway.put_done(&path, &info);
    Ok(success(&fields, &gateway.location(headers, &path), &path, &info))
}

/// The name of the file without the directories that some browsers send along.
fn base_name(filename: &str) -> &str {
    filename.rsplit(['/', '\\']).next().unwrap_or_default()
}

fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields
        .iter()
        .find(|(given, _)| given.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// The fields as if they were headers of a PUT. Those that cannot be headers mean nothing to the store.
fn headers_of(fields: &[(String, String)]) -> Result<HeaderMap, S3Error> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        let name = if name.eq_ignore_ascii_case("acl") {
            "x-amz-acl"
        } else {
            name
        };
        let stored = name.eq_ignore_ascii_case("tagging");
        if stored {
            return Err(S3Error::not_implemented("tagging"));
        }
        let Ok(header) = HeaderName::try_from(name.to_ascii_lowercase()) else {
            continue;
        };
        match HeaderValue::from_bytes(value.as_bytes()) {
            Ok(text) => headers.append(header, text),
            Err(_) => {
                return Err(S3Error::invalid_argument(
                    "The field cannot be stored.",
                    name,
                    value,
                ));
            }
        };
    }
    Ok(headers)
}

/// The answer that the form asks for.
fn success(fields: &[(String, String)], location: &str, path: &ObjectPath, info: &ObjectInfo) -> S3Response {
    let redirect = field(fields, "success_action_redirect").or_else(|| field(fields, "redirect"));
    let target = redirect.and_then(|url| redirect_target(url, path, info));
    let mut response = match (&target, field(fields, "success_action_status")) {
        (Some(_), _) => response::empty(StatusCode::SEE_OTHER),
        (None, Some("200")) => response::empty(StatusCode::OK),
        (None, Some("201")) => created(location, path, info),
        (None, _) => response::empty(StatusCode::NO_CONTENT),
    };
    let headers = response.headers_mut();
    response::set(headers, LOCATION, target.as_deref().unwrap_or(location));
    response::set_etag(headers, &info.etag);
    attributes::write_checksums(headers, info);
    response
}

/// The document that goes with status 201.
fn created(location: &str, path: &ObjectPath, info: &ObjectInfo) -> S3Response {
    let mut xml = XmlWriter::new();
    xml.open("PostResponse");
    xml.leaf("Location", location);
    xml.leaf("Bucket", &path.bucket);
    xml.leaf("Key", &path.key);
    xml.etag(&info.etag);
    xml.close("PostResponse");
    let mut response = response::xml(xml.finish());
    *response.status_mut() = StatusCode::CREATED;
    response
}

/// The URL to send the browser to, with what was written appended; `None` unless it is an absolute HTTP one.
fn redirect_target(url: &str, path: &ObjectPath, info: &ObjectInfo) -> Option<String> {
    let parsed: Uri = url.parse().ok()?;
    let legal = matches!(parsed.scheme_str(), Some("http" | "https")) && parsed.authority().is_some();
    // `Uri` drops a fragment; behind one, the parameters would be lost.
    if !legal || url.contains('#') {
        return None;
    }
    let separator = if parsed.query().is_some() { '&' } else { '?' };
    let etag = encode_component(&response::quoted(&info.etag));
    let (bucket, key) = (encode_component(&path.bucket), encode_component(&path.key));
    Some(format!("{url}{separator}bucket={bucket}&key={key}&etag={etag}"))
}

/// A form being read.
struct FormReader {
    parser: FormParser,
    body: RequestBody,
    input: Bytes,
}

impl FormReader {
    fn new(content_type: &str, body: RequestBody) -> Result<Self, S3Error> {
        Ok(Self {
            parser: FormParser::new(content_type)?,
            body,
            input: Bytes::new(),
        })
    }

    async fn next(&mut self) -> Result<FormEvent, S3Error> {
        loop {
            if let Some(event) = self.parser.next(&mut self.input)? {
                return Ok(event);
            }
            self.input = self.body.next().await.transpose()?.ok_or_else(malformed_form)?;
        }
    }

    /// Reads up to the file: the fields before it, its name, and what gives its content.
    async fn read_fields(mut self) -> Result<(Vec<(String, String)>, String, FormFile), S3Error> {
        let mut fields: Vec<(String, String)> = Vec::new();
        let mut total = 0;
        loop {
            let part = match self.next().await? {
                FormEvent::Part(part) => part,
                FormEvent::End => {
                    let message = "POST requires exactly one file upload per request.";
                    return Err(S3Error::invalid_argument(message, "file", "0"));
                }
                FormEvent::Data(_) | FormEvent::PartEnd => continue,
            };
            if part.name.eq_ignore_ascii_case("file") {
                let file = FormFile {
                    form: self,
                    ended: false,
                    epilogue_left: EPILOGUE_BYTES_MAX,
                };
                return Ok((fields, part.filename.unwrap_or_default(), file));
            }
            let mut value = Vec::new();
            total += part.name.len();
            while let FormEvent::Data(piece) = self.next().await? {
                total += piece.len();
                check_fields_size(total, fields.len())?;
                value.extend_from_slice(&piece);
            }
            check_fields_size(total, fields.len())?;
            fields.push((part.name, String::from_utf8(value).map_err(|_| malformed_form())?));
        }
    }
}

fn check_fields_size(bytes: usize, count: usize) -> Result<(), S3Error> {
    if bytes > FIELDS_BYTES_MAX || count >= FIELDS_MAX {
        return Err(S3Error::new(
            "MaxPostPreDataLengthExceeded",
            "Your POST request fields preceding the upload file were too large.",
        ));
    }
    Ok(())
}

/// The content of the file, which ends at the boundary behind it.
struct FormFile {
    form: FormReader,
    ended: bool,
    epilogue_left: usize,
}

impl Stream for FormFile {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            while !this.ended {
                match this.form.parser.next(&mut this.form.input) {
                    Ok(Some(FormEvent::Data(data))) => return Poll::Ready(Some(Ok(data))),
                    Ok(Some(FormEvent::PartEnd)) => this.ended = true,
                    Ok(Some(FormEvent::Part(_) | FormEvent::End)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        return Poll::Ready(Some(Err(BodyError {
                            code: error.code,
                            message: error.message.into_owned(),
                        })));
                    }
                }
            }
            // What follows is read so that the connection can be used again, but not for ever.
            let piece = match ready!(Pin::new(&mut this.form.body).poll_next(cx)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None if this.ended => return Poll::Ready(None),
                None => return Poll::Ready(Some(Err(incomplete()))),
            };
            if this.ended {
                let Some(left) = this.epilogue_left.checked_sub(piece.len()) else {
                    return Poll::Ready(None);
                };
                this.epilogue_left = left;
            } else {
                this.form.input = piece;
            }
        }
    }
}

/// The file, held to the sizes that the policy permits while it streams by.
struct LimitedFile {
    file: FormFile,
    permitted: Option<RangeInclusive<u64>>,
    seen: u64,
}

impl LimitedFile {
    fn check_at_most(&self) -> Result<(), BodyError> {
        let most = self
            .permitted
            .as_ref()
            .map_or(FILE_BYTES_MAX, |range| FILE_BYTES_MAX.min(*range.end()));
        if self.seen > most {
            Err(body_error(&cloakroom_signing::VerifyError::EntityTooLarge))
        } else {
            Ok(())
        }
    }

    fn check_at_least(&self) -> Result<(), BodyError> {
        match &self.permitted {
            Some(range) if self.seen < *range.start() => {
                Err(body_error(&cloakroom_signing::VerifyError::EntityTooSmall))
            }
            _ => Ok(()),
        }
    }
}

impl Stream for LimitedFile {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = ready!(Pin::new(&mut self.file).poll_next(cx));
        Poll::Ready(match piece {
            Some(Ok(piece)) => {
                self.seen += piece.len() as u64;
                Some(self.check_at_most().map(|()| piece))
            }
            Some(Err(error)) => Some(Err(error)),
            None => self.check_at_least().err().map(Err),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_lose_their_directories() {
        for (filename, expected) in [
            ("a.txt", "a.txt"),
            ("C:\\dir\\a.txt", "a.txt"),
            ("/tmp/../a.txt", "a.txt"),
            ("dir/", ""),
            ("", ""),
        ] {
            assert_eq!(base_name(filename), expected, "{filename}");
        }
    }

    #[test]
    fn browsers_are_sent_to_web_pages_only() {
        let info = ObjectInfo {
            size_bytes: 0,
            etag: "e-1".into(),
            generation: String::new(),
            modified_at: Timestamp::UNIX_EPOCH,
            attributes: cloakroom_core::ports::objects::ObjectAttributes::default(),
            checksums: cloakroom_core::ports::objects::Checksums::default(),
            parts: None,
        };
        let target = |url| redirect_target(url, &ObjectPath::new("b", "a/ü&"), &info);
        let suffix = "bucket=b&key=a%2F%C3%BC%26&etag=%22e-1%22";
        assert_eq!(
            target("https://app.example.com/done"),
            Some(format!("https://app.example.com/done?{suffix}"))
        );
        assert_eq!(
            target("http://localhost/?a=b"),
            Some(format!("http://localhost/?a=b&{suffix}"))
        );
        for url in [
            "javascript:alert(1)",
            "/done",
            "ftp://host/",
            "https://",
            "",
            "https://a/#b",
            "https://a/\r\nSet-Cookie: x",
        ] {
            assert_eq!(target(url), None, "{url:?}");
        }
    }
}
