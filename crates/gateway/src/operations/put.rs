//! Writing an object in one request.

use cloakroom_core::ports::objects::{
    GetOptions, ObjectError, ObjectInfo, ObjectPath, PutOptions, WriteConditions,
};
use http::StatusCode;

use crate::attributes;
use crate::body::{RequestBody, Upload, declared_length};
use crate::conditions::{matches_etag, text};
use crate::error::S3Error;
use crate::gateway::Exchange;
use crate::response::{self, S3Response};

/// PutObject.
pub(crate) async fn put_object(x: Exchange<'_>, body: RequestBody) -> Result<S3Response, S3Error> {
    attributes::refuse_unsupported(x.headers)?;
    let path = x.path();
    let length = declared_length(x.headers, x.payload)?;
    let upload = Upload::new(x.headers, x.payload, x.chain.clone(), body)?;
    let options = PutOptions {
        attributes: attributes::from_headers(x.headers)?,
        conditions: write_conditions(&x, &path).await?,
    };
    let if_match = options.conditions.if_match.is_some();
    x.gateway.put_begun(&path);
    let body = upload.into_put_body(Some(length));
    let info = x
        .store()
        .put(&path, options, body)
        .await
        .map_err(|error| write_error(if_match, error))?;
    x.gateway.put_done(&path, &info);
    Ok(written(&info))
}

/// The answer to a write: what became visible.
pub(crate) fn written(info: &ObjectInfo) -> S3Response {
    let mut response = response::empty(StatusCode::OK);
    response::set_etag(response.headers_mut(), &info.etag);
    attributes::write_checksums(response.headers_mut(), info);
    response
}

/// Reads `If-Match` and `If-None-Match`. The store knows `If-None-Match: *` only; a list of tags is held against the object
/// that is there now, and the write is then conditional on that very object, so that a race cannot slip past the condition.
pub(crate) async fn write_conditions(
    x: &Exchange<'_>,
    path: &ObjectPath,
) -> Result<WriteConditions, S3Error> {
    let mut conditions = WriteConditions {
        if_match: text(x.headers, "if-match").map(str::to_owned),
        ..WriteConditions::default()
    };
    match text(x.headers, "if-none-match").map(str::trim) {
        None => {}
        Some("*") => conditions.if_absent = true,
        Some(tags) => match x.store().head(path, &GetOptions::default()).await {
            Ok(info) if matches_etag(tags, &info.etag) => {
                return Err(S3Error::precondition_failed("If-None-Match"));
            }
            Ok(info) => conditions.if_generation = Some(info.generation),
            Err(ObjectError::NotFound) => conditions.if_absent = true,
            Err(error) => return Err(error.into()),
        },
    }
    Ok(conditions)
}

/// A failed write. `If-Match` on a key that is not there does not hold, as Ceph's suite wants it; S3 itself says 404.
pub(crate) fn write_error(if_match: bool, error: ObjectError) -> S3Error {
    match error {
        ObjectError::NotFound if if_match => S3Error::precondition_failed("If-Match"),
        other => other.into(),
    }
}
