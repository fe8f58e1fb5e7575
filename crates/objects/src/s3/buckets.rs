//! Buckets.

use cloakroom_core::ports::objects::{Bucket, ObjectError, Result};
use http::Method;
use serde::Deserialize;

use super::client::Request;
use super::multipart::time;
use super::{S3Store, check_bucket};
use crate::bucket_name::is_legal_name;

/// The region whose name is not written when a bucket is made (S3 API, "CreateBucket").
const CLASSIC_REGION: &str = "us-east-1";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BucketList {
    buckets: Buckets,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Buckets {
    #[serde(default)]
    bucket: Vec<ListedBucket>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedBucket {
    name: String,
    creation_date: String,
}

impl S3Store {
    pub(super) async fn all_buckets(&self) -> Result<Vec<Bucket>> {
        let list: BucketList = self
            .call_for_xml(Request::new("ListBuckets", Method::GET, "", ""))
            .await?;
        let mut buckets = Vec::new();
        for found in list.buckets.bucket {
            buckets.push(Bucket {
                created_at: time(&found.creation_date)?,
                name: found.name,
            });
        }
        buckets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(buckets)
    }

    pub(super) async fn one_bucket(&self, name: &str) -> Result<Bucket> {
        check_bucket(name)?;
        let missing = || ObjectError::NoSuchBucket(name.to_owned());
        let found = self
            .all_buckets()
            .await?
            .into_iter()
            .find(|bucket| bucket.name == name);
        found.ok_or_else(missing)
    }

    pub(super) async fn make_bucket(&self, name: &str) -> Result<()> {
        if !is_legal_name(name) {
            return Err(ObjectError::InvalidArgument(format!(
                "{name:?} is not a legal bucket name"
            )));
        }
        // Some services answer a second time as they did the first.
        if !self.bucket_is_missing(name).await {
            return Err(ObjectError::BucketExists);
        }
        let region = self.client().region();
        let mut request = Request::new("CreateBucket", Method::PUT, name, "");
        if region != CLASSIC_REGION {
            request = request.body(format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                 <LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            ));
        }
        self.call(request).await?;
        self.known_buckets().insert(name.to_owned());
        Ok(())
    }

    pub(super) async fn remove_bucket(&self, name: &str) -> Result<()> {
        check_bucket(name)?;
        self.call(Request::new("DeleteBucket", Method::DELETE, name, ""))
            .await?;
        self.known_buckets().remove(name);
        Ok(())
    }
}
