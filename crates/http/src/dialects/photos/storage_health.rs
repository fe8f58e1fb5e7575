//! `GET /api/v1/admin/storage-health`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_service::health::storage::{BucketHealth, StorageFault, StorageHealth, StorageOperation};
use cloakroom_service::stores::StoreKind;
use http::{StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Administrator;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Whether our credentials may do what is needed, and the stores do it.
#[derive(Serialize, ToSchema)]
#[schema(as = PhotosStorageHealth)]
pub(super) struct StorageHealthBody {
    /// `healthy`; `degraded` when a store answers slowly, or is only let try again; `unhealthy`.
    #[schema(example = "healthy")]
    status: &'static str,
    /// When it was tried, at most some seconds ago.
    checked_at: Timestamp,
    /// Milliseconds that the slowest bucket took.
    response_time_ms: i64,
    /// Every bucket.
    buckets: Vec<BucketBody>,
    /// What our credentials lack, as permissions of IAM and the resources that they are needed for.
    #[schema(example = json!(["s3:PutObject on arn:aws:s3:::complaint-photos/*"]))]
    denied: Vec<String>,
    /// What is wrong, as `<bucket>: <operation>: <fault>`.
    errors: Vec<String>,
}

/// A bucket.
#[derive(Serialize, ToSchema)]
#[schema(as = PhotosBucketHealth)]
struct BucketBody {
    /// Its name.
    bucket: String,
    /// The store that it is in.
    store: String,
    /// `s3` or `local`.
    storage_provider: &'static str,
    /// Whether all of the following was done.
    healthy: bool,
    /// What was tried.
    operations: Vec<OperationBody>,
}

/// Something that was tried.
#[derive(Serialize, ToSchema)]
#[schema(as = PhotosStorageOperation)]
struct OperationBody {
    /// `put`, `head`, `get`, `list`, `delete`.
    operation: &'static str,
    /// The permission of IAM that it needs.
    #[schema(example = "s3:PutObject")]
    permission: &'static str,
    /// Whether it was done.
    ok: bool,
    /// Why not: `access_denied`, `no_such_bucket`, `unavailable`, `timeout`, `no_space`, `wrong_bytes`, `error`.
    error: Option<&'static str>,
}

/// What allows an operation (S3 user guide, "Policy actions for Amazon S3").
fn permission(operation: StorageOperation) -> &'static str {
    match operation {
        StorageOperation::Put => "s3:PutObject",
        StorageOperation::Head | StorageOperation::Get => "s3:GetObject",
        StorageOperation::List => "s3:ListBucket",
        StorageOperation::Delete => "s3:DeleteObject",
    }
}

/// What an operation works on, as policies name it.
fn resource(bucket: &str, operation: StorageOperation) -> String {
    let objects = if operation == StorageOperation::List {
        ""
    } else {
        "/*"
    };
    format!("arn:aws:s3:::{bucket}{objects}")
}

fn denied(bucket: &BucketHealth) -> impl Iterator<Item = String> {
    let denied = |fault| fault == Some(StorageFault::AccessDenied);
    let answers = bucket.answers.iter().filter(move |answer| denied(answer.fault));
    answers.map(|answer| {
        let resource = resource(&bucket.name, answer.operation);
        format!("{} on {resource}", permission(answer.operation))
    })
}

impl StorageHealthBody {
    fn of(health: &StorageHealth, state: &HttpState) -> Self {
        let mut missing: Vec<String> = health
            .buckets()
            .filter(|(store, _)| store.kind == StoreKind::S3)
            .flat_map(|(_, bucket)| denied(bucket))
            .collect();
        // Looking and reading need the same one.
        missing.dedup();
        let buckets = health.buckets().map(|(store, bucket)| BucketBody {
            bucket: bucket.name.clone(),
            store: store.name.clone(),
            storage_provider: store.kind.as_str(),
            healthy: bucket.is_healthy(),
            operations: bucket
                .answers
                .iter()
                .map(|answer| OperationBody {
                    operation: answer.operation.as_str(),
                    permission: permission(answer.operation),
                    ok: answer.fault.is_none(),
                    error: answer.fault.map(StorageFault::as_str),
                })
                .collect(),
        });
        Self {
            status: state.storage_status(health),
            checked_at: health.checked_at,
            response_time_ms: i64::try_from(health.response_time.as_millis()).unwrap_or(i64::MAX),
            buckets: buckets.collect(),
            denied: missing,
            errors: health.errors(),
        }
    }
}

/// Try the storage.
///
/// Writes, sees, reads, lists and removes a small object in every bucket, and names the permission of each that is denied.
/// Tried at most every some seconds, however often this is called.
#[utoipa::path(
    get,
    path = "/api/v1/admin/storage-health",
    operation_id = "photos_storage_health",
    tag = "dialect: photos",
    responses(
        (status = OK, description = "It works, if slowly.", body = StorageHealthBody),
        (status = SERVICE_UNAVAILABLE, description = "It does not.", body = StorageHealthBody),
        Refused::<403>,
    ),
)]
pub(super) async fn get_storage_health(
    State(state): State<HttpState>,
    Administrator(_principal): Administrator,
) -> Result<Response> {
    let health = state.storage_health().await;
    let body = StorageHealthBody::of(&health, &state);
    let status = if body.status == "unhealthy" {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    Ok((status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response())
}
