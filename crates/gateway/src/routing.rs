//! What is asked for: the method, the path and the query decide which of S3's operations that is.

use http::{HeaderMap, Method};

use crate::error::S3Error;
use crate::request::{Query, Target, is_hoisted_header, is_signature_parameter};

/// Parameters that name a part of S3's API other than the plain object or bucket. On a read they must not be answered
/// as if they were not there; on a write they must not destroy what they are about.
const SUBRESOURCES: [&str; 40] = [
    "accelerate",
    "acl",
    "analytics",
    "annotation",
    "append",
    "attributes",
    "cors",
    "delete",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "location",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "partNumber",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versioning",
    "versions",
    "website",
    "abac",
];

/// An operation, by the name that S3 gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    GetBucketAcl,
    GetBucketCors,
    ListObjects,
    ListObjectsV2,
    ListMultipartUploads,
    DeleteObjects,
    PostObject,
    GetObject,
    HeadObject,
    PutObject,
    CopyObject,
    DeleteObject,
    GetObjectAcl,
    GetObjectTagging,
    GetObjectAttributes,
    CreateMultipartUpload,
    UploadPart,
    UploadPartCopy,
    ListParts,
    CompleteMultipartUpload,
    AbortMultipartUpload,
}

impl Operation {
    /// The name in logs and metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ListBuckets => "ListBuckets",
            Self::CreateBucket => "CreateBucket",
            Self::HeadBucket => "HeadBucket",
            Self::DeleteBucket => "DeleteBucket",
            Self::GetBucketLocation => "GetBucketLocation",
            Self::GetBucketVersioning => "GetBucketVersioning",
            Self::GetBucketAcl => "GetBucketAcl",
            Self::GetBucketCors => "GetBucketCors",
            Self::ListObjects => "ListObjects",
            Self::ListObjectsV2 => "ListObjectsV2",
            Self::ListMultipartUploads => "ListMultipartUploads",
            Self::DeleteObjects => "DeleteObjects",
            Self::PostObject => "PostObject",
            Self::GetObject => "GetObject",
            Self::HeadObject => "HeadObject",
            Self::PutObject => "PutObject",
            Self::CopyObject => "CopyObject",
            Self::DeleteObject => "DeleteObject",
            Self::GetObjectAcl => "GetObjectAcl",
            Self::GetObjectTagging => "GetObjectTagging",
            Self::GetObjectAttributes => "GetObjectAttributes",
            Self::CreateMultipartUpload => "CreateMultipartUpload",
            Self::UploadPart => "UploadPart",
            Self::UploadPartCopy => "UploadPartCopy",
            Self::ListParts => "ListParts",
            Self::CompleteMultipartUpload => "CompleteMultipartUpload",
            Self::AbortMultipartUpload => "AbortMultipartUpload",
        }
    }

    /// The parameters that a writing operation may come with; `None` for those that only read.
    const fn parameters(self) -> Option<&'static [&'static str]> {
        Some(match self {
            Self::CreateBucket
            | Self::DeleteBucket
            | Self::PostObject
            | Self::PutObject
            | Self::CopyObject => &[],
            Self::DeleteObject => &["versionId"],
            Self::DeleteObjects => &["delete"],
            Self::CreateMultipartUpload => &["uploads"],
            Self::UploadPart | Self::UploadPartCopy => &["partNumber", "uploadId"],
            Self::CompleteMultipartUpload | Self::AbortMultipartUpload => &["uploadId"],
            _ => return None,
        })
    }
}

/// Decides what is asked for. Whatever is not known to be harmless is refused.
pub(crate) fn route(
    method: &Method,
    target: &Target,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Operation, S3Error> {
    let operation = match (&target.bucket, &target.key) {
        (None, _) if method == Method::GET => Operation::ListBuckets,
        (None, _) => return Err(S3Error::method_not_allowed()),
        (Some(_), None) => route_bucket(method, query, headers)?,
        (Some(_), Some(_)) => route_object(method, query, headers)?,
    };
    check_parameters(operation, query)?;
    Ok(operation)
}

fn route_bucket(method: &Method, query: &Query<'_>, headers: &HeaderMap) -> Result<Operation, S3Error> {
    Ok(match *method {
        Method::GET => match subresource(query) {
            None => match query.get("list-type") {
                None | Some("1") => Operation::ListObjects,
                Some("2") => Operation::ListObjectsV2,
                Some(other) => {
                    return Err(S3Error::invalid_argument("Invalid List Type", "list-type", other));
                }
            },
            Some("location") => Operation::GetBucketLocation,
            Some("versioning") => Operation::GetBucketVersioning,
            Some("acl") => Operation::GetBucketAcl,
            Some("cors") => Operation::GetBucketCors,
            Some("uploads") => Operation::ListMultipartUploads,
            Some(other) => return Err(S3Error::not_implemented(other)),
        },
        Method::HEAD => Operation::HeadBucket,
        Method::PUT => Operation::CreateBucket,
        Method::DELETE => Operation::DeleteBucket,
        Method::POST if query.has("delete") => Operation::DeleteObjects,
        Method::POST if is_form(headers) => Operation::PostObject,
        _ => return Err(S3Error::method_not_allowed()),
    })
}

fn route_object(method: &Method, query: &Query<'_>, headers: &HeaderMap) -> Result<Operation, S3Error> {
    let copies = || headers.contains_key("x-amz-copy-source") || query.has("x-amz-copy-source");
    Ok(match *method {
        Method::GET => match subresource(query) {
            None | Some("partNumber") => Operation::GetObject,
            Some("acl") => Operation::GetObjectAcl,
            Some("tagging") => Operation::GetObjectTagging,
            Some("attributes") => Operation::GetObjectAttributes,
            Some("uploadId") => Operation::ListParts,
            Some(other) => return Err(S3Error::not_implemented(other)),
        },
        Method::HEAD => Operation::HeadObject,
        Method::PUT => match (query.has("partNumber") || query.has("uploadId"), copies()) {
            (true, true) => Operation::UploadPartCopy,
            (true, false) => Operation::UploadPart,
            (false, true) => Operation::CopyObject,
            (false, false) => Operation::PutObject,
        },
        Method::POST if query.has("uploads") => Operation::CreateMultipartUpload,
        Method::POST if query.has("uploadId") => Operation::CompleteMultipartUpload,
        Method::POST => match subresource(query) {
            Some(other) => return Err(S3Error::not_implemented(other)),
            None => return Err(S3Error::method_not_allowed()),
        },
        Method::DELETE if query.has("uploadId") => Operation::AbortMultipartUpload,
        Method::DELETE => Operation::DeleteObject,
        _ => return Err(S3Error::method_not_allowed()),
    })
}

/// The first parameter that names a subresource. `partNumber` also selects within a plain read, so others go first.
fn subresource<'q>(query: &'q Query<'_>) -> Option<&'q str> {
    let found = |name: &str| SUBRESOURCES.contains(&name);
    query
        .iter()
        .map(|(name, _)| name)
        .filter(|name| found(name))
        .min_by_key(|name| *name == "partNumber")
}

/// Refuses parameters that a writing operation does not know, and versions everywhere: there are none.
fn check_parameters(operation: Operation, query: &Query<'_>) -> Result<(), S3Error> {
    if let Some(version) = query.get("versionId").filter(|version| *version != "null") {
        return Err(
            S3Error::new("NoSuchVersion", "The specified version does not exist.").with("VersionId", version),
        );
    }
    if matches!(operation, Operation::HeadBucket | Operation::HeadObject) {
        return match subresource(query).filter(|name| *name != "partNumber") {
            Some(other) => Err(S3Error::not_implemented(other)),
            None => Ok(()),
        };
    }
    let Some(known) = operation.parameters() else {
        return Ok(());
    };
    for (name, value) in query.iter() {
        if known.contains(&name) || name == "x-id" || is_signature_parameter(name) || is_hoisted_header(name)
        {
            continue;
        }
        return Err(if SUBRESOURCES.contains(&name) {
            S3Error::not_implemented(name)
        } else {
            S3Error::invalid_argument("This operation does not take the query parameter.", name, value)
        });
    }
    Ok(())
}

/// Whether the body is a browser's form.
fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..19))
        .is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/form-data"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn operation(line: &str) -> Result<Operation, &'static str> {
        let (method, rest) = line.split_once(' ').expect("method");
        let (path, raw_query) = rest
            .split_once('?')
            .map_or((rest, None), |(path, query)| (path, Some(query)));
        let target = Target::parse(path, None, None).map_err(|error| error.code)?;
        let query = Query::parse(raw_query).map_err(|error| error.code)?;
        let method = method.parse().expect("method");
        route(&method, &target, &query, &HeaderMap::new()).map_err(|error| error.code)
    }

    #[test]
    fn requests_are_what_s3_says() {
        use Operation as O;
        for (line, expected) in [
            ("GET /", O::ListBuckets),
            ("GET /?x-id=ListBuckets", O::ListBuckets),
            ("PUT /b", O::CreateBucket),
            ("HEAD /b", O::HeadBucket),
            ("DELETE /b", O::DeleteBucket),
            ("GET /b?location", O::GetBucketLocation),
            ("GET /b?versioning=", O::GetBucketVersioning),
            ("GET /b?acl", O::GetBucketAcl),
            ("GET /b?cors", O::GetBucketCors),
            ("GET /b", O::ListObjects),
            ("GET /b?prefix=acl&unknown=1", O::ListObjects),
            ("GET /b?list-type=2&prefix=x", O::ListObjectsV2),
            ("GET /b?uploads&prefix=x", O::ListMultipartUploads),
            ("POST /b?delete", O::DeleteObjects),
            ("GET /b/k", O::GetObject),
            ("GET /b/k?partNumber=1&versionId=null", O::GetObject),
            ("GET /b/k?response-content-type=x", O::GetObject),
            ("GET /b/k?acl", O::GetObjectAcl),
            ("GET /b/k?tagging", O::GetObjectTagging),
            ("GET /b/k?attributes", O::GetObjectAttributes),
            ("GET /b/k?uploadId=1", O::ListParts),
            ("HEAD /b/k?partNumber=1", O::HeadObject),
            ("PUT /b/k", O::PutObject),
            (
                "PUT /b/k?x-id=PutObject&X-Amz-Signature=1&x-amz-meta-a=b",
                O::PutObject,
            ),
            ("PUT /b/k?x-amz-copy-source=x", O::CopyObject),
            ("PUT /b/k?partNumber=1&uploadId=2", O::UploadPart),
            ("PUT /b/k?uploadId=2", O::UploadPart),
            (
                "PUT /b/k?partNumber=1&uploadId=2&x-amz-copy-source=x",
                O::UploadPartCopy,
            ),
            ("POST /b/k?uploads", O::CreateMultipartUpload),
            ("POST /b/k?uploadId=1", O::CompleteMultipartUpload),
            ("DELETE /b/k?uploadId=1", O::AbortMultipartUpload),
            ("DELETE /b/k", O::DeleteObject),
        ] {
            assert_eq!(operation(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn a_subresource_is_never_taken_for_the_object() {
        for name in SUBRESOURCES {
            for line in [
                format!("PUT /b/k?{name}"),
                format!("PUT /b?{name}="),
                format!("DELETE /b?{name}=1"),
            ] {
                let harmless = line.starts_with("PUT /b/k") && ["partNumber", "uploadId"].contains(&name);
                assert!(
                    harmless || operation(&line) == Err("NotImplemented"),
                    "{line}: {:?}",
                    operation(&line)
                );
            }
            let line = format!("DELETE /b/k?{name}");
            assert!(
                name == "uploadId" || operation(&line) == Err("NotImplemented"),
                "{line}"
            );
            let read = operation(&format!("GET /b/k?{name}"));
            assert!(read != Ok(Operation::GetObject) || name == "partNumber", "{name}");
            let list = operation(&format!("GET /b?{name}&list-type=2"));
            assert!(list != Ok(Operation::ListObjectsV2), "{name}");
        }
        for (line, code) in [
            ("PUT /b/k?anything", "InvalidArgument"),
            ("PUT /b/k?partNumber=1&uploadId=2&acl", "NotImplemented"),
            ("POST /b/k?uploadId=1&uploads", "NotImplemented"),
            ("POST /b/k?select&select-type=2", "NotImplemented"),
            ("POST /b/k?restore", "NotImplemented"),
            ("DELETE /b/k?force=1", "InvalidArgument"),
            ("GET /b/k?versionId=3", "NoSuchVersion"),
            ("DELETE /b/k?versionId=3", "NoSuchVersion"),
            ("HEAD /b/k?acl", "NotImplemented"),
            ("GET /b?list-type=3", "InvalidArgument"),
            ("POST /b/k", "MethodNotAllowed"),
            ("POST /b", "MethodNotAllowed"),
            ("PUT /", "MethodNotAllowed"),
            ("PATCH /b/k", "MethodNotAllowed"),
            ("TRACE /b", "MethodNotAllowed"),
        ] {
            assert_eq!(operation(line), Err(code), "{line}");
        }
    }

    proptest! {
        #[test]
        fn routing_never_panics(path in any::<String>(), query in any::<String>(), bucket in any::<String>()) {
            if let Ok(query) = Query::parse(Some(&query)) {
                let target = Target { bucket: Some(bucket), key: Some(path) };
                for method in [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD] {
                    let _ = route(&method, &target, &query, &HeaderMap::new());
                }
            }
        }
    }
}
