//! `GET /health/storage`: a small object is really written, read and removed in every bucket.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_service::health::storage::StorageHealth;
use cloakroom_service::stores::StoreKind;
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::HttpState;

/// Whether the storage works.
#[derive(Serialize, ToSchema)]
#[schema(as = ReconciliationStorageHealth)]
pub(super) struct StorageHealthBody {
    /// `healthy`; `degraded` when it answers slowly, or is only let try again; `unhealthy`.
    #[schema(example = "healthy")]
    status: &'static str,
    /// `local` or `s3`.
    #[schema(example = "s3")]
    storage_backend: &'static str,
    /// Host and port that clients reach it at.
    #[schema(example = "minio:9000")]
    endpoint: Option<String>,
    /// Buckets in which everything that was tried was done.
    buckets_accessible: Vec<String>,
    /// Milliseconds that the slowest bucket took for a write, a look, a read, a list and a delete.
    response_time_ms: u64,
    /// Milliseconds from which on it counts as slow.
    threshold_ms: u64,
    /// Whether calls are let through: `closed` is yes, `open` no, `half_open` some.
    #[schema(example = "closed")]
    circuit: &'static str,
    /// What is wrong, as `<bucket>: <operation>: <fault>`.
    errors: Vec<String>,
}

impl StorageHealthBody {
    fn of(health: &StorageHealth, state: &HttpState) -> Self {
        // The store of the document's own files, which is the main one unless somebody says otherwise.
        let bucket = state
            .app
            .collections
            .get(super::COLLECTION)
            .map(|one| &one.bucket);
        let stores = &health.stores;
        let own = stores
            .iter()
            .find(|store| store.buckets.iter().any(|one| Some(&one.name) == bucket));
        let store = own.or(stores.first());
        Self {
            status: state.storage_status(health),
            storage_backend: store.map_or(StoreKind::Local, |store| store.kind).as_str(),
            endpoint: store.and_then(|store| Some(authority(store.address.as_deref()?).to_owned())),
            buckets_accessible: health
                .buckets()
                .filter(|(_, bucket)| bucket.is_healthy())
                .map(|(_, bucket)| bucket.name.clone())
                .collect(),
            response_time_ms: u64::try_from(health.response_time.as_millis()).unwrap_or_default(),
            threshold_ms: u64::try_from(state.settings.storage_slow_after.as_millis()).unwrap_or_default(),
            circuit: health.circuit.as_str(),
            errors: health.errors(),
        }
    }
}

/// `minio:9000` of `http://minio:9000/`.
fn authority(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

/// Try the storage.
///
/// Writes, reads, lists and removes a small object in every bucket. Tried at most every ten seconds, however often this is
/// called.
#[utoipa::path(
    get,
    path = "/health/storage",
    operation_id = "reconciliation_storage_health",
    tag = "dialect: reconciliation",
    security(()),
    responses(
        (status = OK, description = "It works, if slowly.", body = StorageHealthBody),
        (status = SERVICE_UNAVAILABLE, description = "It does not.", body = StorageHealthBody),
    ),
)]
pub(super) async fn get_storage_health(State(state): State<HttpState>) -> Response {
    let health = state.storage_health().await;
    let body = StorageHealthBody::of(&health, &state);
    let status = if body.status == "unhealthy" {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn only_host_and_port_are_told() {
        for (address, told) in [
            ("http://minio:9000", "minio:9000"),
            ("https://s3.example.org/base?x=1", "s3.example.org"),
            ("minio:9000", "minio:9000"),
        ] {
            assert_eq!(authority(address), told);
        }
    }
}
