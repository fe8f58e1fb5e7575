//! Buckets.

use std::net::Ipv4Addr;

use cloakroom_core::ports::objects::ObjectError;
use http::header::LOCATION;
use http::{HeaderName, StatusCode};

use crate::attributes;
use crate::body::{RequestBody, Upload};
use crate::error::S3Error;
use crate::gateway::Exchange;
use crate::operations::get::owner_full_control;
use crate::request::invalid_bucket_name;
use crate::response::{self, S3Response, xml_time};
use crate::xml::read::{Element, XML_BYTES_MAX};
use crate::xml::write::XmlWriter;

/// The region that has no name in `LocationConstraint`, and where creating a bucket again succeeds.
const FIRST_REGION: &str = "us-east-1";

/// ListBuckets.
pub(crate) async fn list_buckets(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    let buckets = x.store().buckets().await?;
    let mut xml = XmlWriter::root("ListAllMyBucketsResult");
    xml.owner("Owner");
    xml.open("Buckets");
    let prefix = x.query.get("prefix").unwrap_or_default();
    for bucket in buckets.iter().filter(|bucket| bucket.name.starts_with(prefix)) {
        xml.open("Bucket");
        xml.leaf("Name", &bucket.name);
        xml.leaf("CreationDate", &xml_time(bucket.created_at));
        xml.close("Bucket");
    }
    xml.close("Buckets");
    xml.close("ListAllMyBucketsResult");
    Ok(response::xml(xml.finish()))
}

/// CreateBucket.
pub(crate) async fn create_bucket(x: Exchange<'_>, body: RequestBody) -> Result<S3Response, S3Error> {
    attributes::refuse_unsupported(x.headers)?;
    let name = x.bucket();
    if !is_bucket_name(name) {
        return Err(invalid_bucket_name(name));
    }
    let document = Upload::new(x.headers, x.payload, x.chain.clone(), body)?
        .collect(XML_BYTES_MAX)
        .await?;
    let region = x.gateway.options.region.as_str();
    if !document.is_empty() {
        let configuration = Element::parse(&document, "CreateBucketConfiguration")?;
        let constraint = configuration
            .text_of("LocationConstraint")
            .map(str::trim)
            .unwrap_or_default();
        if !constraint.is_empty() && constraint != region {
            return Err(S3Error::new(
                "InvalidLocationConstraint",
                "The specified location-constraint is not valid",
            )
            .with("LocationConstraint", constraint));
        }
    }
    match x.store().create_bucket(name).await {
        // S3's oldest region takes a second creation for a success; elsewhere it is a conflict.
        Err(ObjectError::BucketExists) if region == FIRST_REGION => {}
        result => result?,
    }
    let mut response = response::empty(StatusCode::OK);
    response::set(response.headers_mut(), LOCATION, &format!("/{name}"));
    Ok(response)
}

/// Whether S3 allows the name (S3 user guide, "General purpose bucket naming rules").
fn is_bucket_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    (3..=63).contains(&name.len()) && name.split('.').all(is_label) && name.parse::<Ipv4Addr>().is_err()
}

/// HeadBucket.
pub(crate) async fn head_bucket(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().bucket(x.bucket()).await?;
    let mut response = response::empty(StatusCode::OK);
    let region = x.gateway.options.region.as_str();
    response::set(
        response.headers_mut(),
        HeaderName::from_static("x-amz-bucket-region"),
        region,
    );
    Ok(response)
}

/// DeleteBucket.
pub(crate) async fn delete_bucket(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().delete_bucket(x.bucket()).await?;
    Ok(response::empty(StatusCode::NO_CONTENT))
}

/// GetBucketLocation.
pub(crate) async fn get_bucket_location(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().bucket(x.bucket()).await?;
    let region = x.gateway.options.region.as_str();
    let mut xml = XmlWriter::root("LocationConstraint");
    if region != FIRST_REGION {
        xml.raw(region);
    }
    xml.close("LocationConstraint");
    Ok(response::xml(xml.finish()))
}

/// GetBucketVersioning: there is none.
pub(crate) async fn get_bucket_versioning(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().bucket(x.bucket()).await?;
    let mut xml = XmlWriter::root("VersioningConfiguration");
    xml.close("VersioningConfiguration");
    Ok(response::xml(xml.finish()))
}

/// GetBucketAcl.
pub(crate) async fn get_bucket_acl(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().bucket(x.bucket()).await?;
    Ok(owner_full_control())
}

/// GetBucketCors: one rule for every bucket.
pub(crate) async fn get_bucket_cors(x: &Exchange<'_>) -> Result<S3Response, S3Error> {
    x.store().bucket(x.bucket()).await?;
    x.gateway.options.cors.configuration()
}

#[cfg(test)]
mod tests {
    use super::is_bucket_name;

    #[test]
    fn names_follow_the_rules() {
        for name in ["abc", "a.b-c", "0123456789", &"a".repeat(63)] {
            assert!(is_bucket_name(name), "{name}");
        }
        for name in [
            "",
            "a",
            "aa",
            "foo_bar",
            "_foo",
            "foo-",
            "-foo",
            "foo..bar",
            "foo.-bar",
            "foo-.bar",
            "Foo",
            ".foo",
            "foo.",
            "192.168.5.123",
            "fo/o",
            "fü!",
            &"a".repeat(64),
        ] {
            assert!(!is_bucket_name(name), "{name}");
        }
    }
}
