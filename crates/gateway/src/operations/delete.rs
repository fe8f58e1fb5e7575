//! Removing objects, one or up to a thousand.

use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath, ReadConditions};
use futures_util::{StreamExt, stream};
use http::StatusCode;

use crate::body::{RequestBody, Upload};
use crate::conditions::text;
use crate::error::S3Error;
use crate::gateway::Exchange;
use crate::request::{KEY_BYTES_MAX, key_too_long};
use crate::response::{self, S3Response};
use crate::xml::read::{Element, XML_BYTES_MAX};
use crate::xml::write::XmlWriter;

/// The most keys in one request (S3 API, "DeleteObjects").
const KEYS_MAX: usize = 1000;
/// How many of them are removed at once: enough for the store to group its disk writes.
const KEYS_AT_ONCE: usize = 32;

/// DeleteObject.
pub(crate) async fn delete_object(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    delete(x, &x.path(), text(x.headers, "if-match")).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// Removes an object, if it is there and the condition holds.
async fn delete(x: &Exchange<'_>, path: &ObjectPath, if_match: Option<&str>) -> Result<(), S3Error> {
    if let Some(tags) = if_match {
        let conditions = ReadConditions {
            if_match: Some(tags.to_owned()),
            ..ReadConditions::default()
        };
        let options = GetOptions {
            conditions,
            ..GetOptions::default()
        };
        match x.store().head(path, &options).await {
            Err(ObjectError::NotFound) => return Err(S3Error::precondition_failed("If-Match")),
            result => result?,
        };
    }
    Ok(x.store().delete(path).await?)
}

/// DeleteObjects.
pub(crate) async fn delete_objects(x: Exchange<'_>, body: RequestBody) -> Result<S3Response, S3Error> {
    let document = Upload::new(x.headers, x.payload, x.chain.clone(), body)?
        .collect(XML_BYTES_MAX)
        .await?;
    let request = Element::parse(&document, "Delete")?;
    let quiet = request
        .text_of("Quiet")
        .is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
    let objects: Vec<&Element> = request.all("Object").collect();
    if objects.is_empty() || objects.len() > KEYS_MAX {
        return Err(S3Error::malformed_xml());
    }
    let mut keys = Vec::with_capacity(objects.len());
    for object in objects {
        let key = object
            .text_of("Key")
            .filter(|key| !key.is_empty())
            .ok_or_else(S3Error::malformed_xml)?;
        let condition = Condition {
            etag: object.text_of("ETag").map(str::to_owned),
            version: object.text_of("VersionId").map(str::to_owned),
        };
        keys.push((key.to_owned(), condition));
    }
    x.store().bucket(x.bucket()).await?;

    let x = &x;
    let mut results = stream::iter(keys)
        .map(|(key, condition)| async move {
            let result = delete_listed(x, &key, &condition).await;
            (key, result)
        })
        .buffered(KEYS_AT_ONCE);
    let mut xml = XmlWriter::root("DeleteResult");
    while let Some((key, result)) = results.next().await {
        match result {
            Ok(()) if quiet => {}
            Ok(()) => {
                xml.open("Deleted");
                xml.leaf("Key", &key);
                xml.close("Deleted");
            }
            Err(error) => {
                xml.open("Error");
                xml.leaf("Key", &key);
                xml.leaf("Code", error.code);
                xml.leaf("Message", &error.message);
                xml.close("Error");
            }
        }
    }
    xml.close("DeleteResult");
    Ok(response::xml(xml.finish()))
}

/// What must be so for a listed key to be removed.
struct Condition {
    etag: Option<String>,
    version: Option<String>,
}

async fn delete_listed(x: &Exchange<'_>, key: &str, condition: &Condition) -> Result<(), S3Error> {
    if key.len() > KEY_BYTES_MAX {
        return Err(key_too_long(key.len()));
    }
    if condition
        .version
        .as_deref()
        .is_some_and(|version| version != "null")
    {
        return Err(S3Error::new(
            "NoSuchVersion",
            "The specified version does not exist.",
        ));
    }
    delete(x, &ObjectPath::new(x.bucket(), key), condition.etag.as_deref()).await
}
