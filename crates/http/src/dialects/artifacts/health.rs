//! `GET /health/s3`: whether storage is configured. Nothing is asked over the network, but for one light question in
//! development; `GET /health/storage` is the deep check.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::dialects::Dialect;
use crate::state::HttpState;

/// What is configured.
#[derive(Serialize, ToSchema)]
#[schema(as = ArtifactsHealth)]
pub struct HealthBody {
    /// Whether everything is there.
    ok: bool,
    /// The bucket of artifacts.
    #[schema(example = "artifacts")]
    bucket: Option<String>,
    /// Where we reach the store.
    #[schema(example = "http://minio:9000")]
    endpoint: Option<String>,
    /// What URLs are signed for.
    #[schema(example = "http://localhost:9000")]
    presign_endpoint: Option<String>,
    /// Region of signatures.
    #[schema(example = "us-east-1")]
    region: String,
    /// Whether there are credentials; never which.
    credentials: bool,
    /// Whether the bucket was there, asked in development alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    bucket_exists: Option<bool>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    error: Option<String>,
}

/// Storage is configured.
#[utoipa::path(
    get,
    path = "/health/s3",
    operation_id = "artifacts_health",
    tag = "dialect: artifacts",
    security(()),
    responses(
        (status = OK, description = "It is.", body = HealthBody),
        (status = SERVICE_UNAVAILABLE, description = "Something is missing.", body = HealthBody),
    ),
)]
pub async fn get_health(State(state): State<HttpState>) -> Response {
    let facts = &state.settings.storage;
    let collection = state.app.collection(Dialect::Artifacts.collection()).ok();
    let bucket = collection.map(|collection| collection.bucket.clone());
    let configured = bucket.is_some() && facts.endpoint.is_some() && facts.credentials;
    let look = match &bucket {
        Some(bucket) if state.settings.debug => Some(look(&state, bucket).await),
        _ => None,
    };
    let body = HealthBody {
        ok: configured && look.as_ref().is_none_or(Result::is_ok),
        bucket,
        endpoint: facts.endpoint.clone(),
        presign_endpoint: facts.presign_endpoint.clone(),
        region: facts.region.clone(),
        credentials: facts.credentials,
        bucket_exists: look.as_ref().map(Result::is_ok),
        error: look.and_then(Result::err),
    };
    let status = if body.ok {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, axum::Json(body)).into_response()
}

/// Asked at most every two seconds, however often this is called.
async fn look(state: &HttpState, bucket: &str) -> Result<(), String> {
    let ask = async || {
        let pause = |limit| Box::pin(tokio::time::sleep(limit)) as _;
        Ok::<_, Infallible>(Arc::new(state.app.probe_bucket(bucket, &pause).await))
    };
    let Ok(probe) = state.bucket_looks.get(state.app.now(), ask).await;
    probe.error.clone().map_or(Ok(()), Err)
}
