//! S3's operations, one file for each family, over the object store port.

pub(crate) mod buckets;
pub(crate) mod completion;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod multipart;
pub(crate) mod post;
pub(crate) mod put;
pub(crate) mod uploads;

use crate::body::RequestBody;
use crate::error::S3Error;
use crate::gateway::Exchange;

use crate::response::S3Response;
use crate::routing::Operation;

/// Does what was asked for and answers.
pub(crate) async fn perform(
    operation: Operation,
    x: Exchange<'_>,
    body: RequestBody,
) -> Result<S3Response, S3Error> {
    match operation {
        Operation::GetObject => get::get_object(&x).await,
        Operation::HeadObject => get::head_object(&x).await,
        Operation::PutObject => put::put_object(x, body).await,
        // Boxed, so that the hot operations do not carry the state of all others around.
        _ => Box::pin(perform_other(operation, x, body)).await,
    }
}

async fn perform_other(
    operation: Operation,
    x: Exchange<'_>,
    body: RequestBody,
) -> Result<S3Response, S3Error> {
    match operation {
        Operation::CopyObject => copy::copy_object(&x).await,
        Operation::DeleteObject => delete::delete_object(&x).await,
        Operation::DeleteObjects => delete::delete_objects(x, body).await,
        Operation::GetObjectAttributes => get::get_object_attributes(&x).await,
        Operation::GetObjectAcl => get::get_object_acl(&x).await,
        Operation::GetObjectTagging => get::get_object_tagging(&x).await,
        Operation::CreateMultipartUpload => multipart::create(&x).await,
        Operation::UploadPart => multipart::upload_part(x, body).await,
        Operation::UploadPartCopy => copy::upload_part_copy(&x).await,
        Operation::CompleteMultipartUpload => multipart::complete(x, body).await,
        Operation::AbortMultipartUpload => multipart::abort(&x).await,
        Operation::ListParts => multipart::list_parts(&x).await,
        Operation::ListMultipartUploads => uploads::list_uploads(&x).await,
        Operation::ListObjects => list::list_objects(&x).await,
        Operation::ListObjectsV2 => list::list_objects_v2(&x).await,
        Operation::ListBuckets => buckets::list_buckets(&x).await,
        Operation::CreateBucket => buckets::create_bucket(x, body).await,
        Operation::HeadBucket => buckets::head_bucket(&x).await,
        Operation::DeleteBucket => buckets::delete_bucket(&x).await,
        Operation::GetBucketLocation => buckets::get_bucket_location(&x).await,
        Operation::GetBucketVersioning => buckets::get_bucket_versioning(&x).await,
        Operation::GetBucketAcl => buckets::get_bucket_acl(&x).await,
        Operation::GetBucketCors => buckets::get_bucket_cors(&x).await,
        // A form is authorised by its policy and by nothing else; the others are not done here.
        Operation::PostObject | Operation::GetObject | Operation::HeadObject | Operation::PutObject => Err(
            S3Error::invalid_argument("Only one auth mechanism allowed", "Authorization", "…"),
        ),
    }
}
