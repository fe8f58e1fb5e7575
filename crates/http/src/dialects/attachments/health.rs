//! `GET /health`.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::dialects::Dialect;
use crate::health::probes;
use crate::state::HttpState;

/// Longer than this is no answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Whether the service works, in the document's words.
#[derive(Serialize, ToSchema)]
#[schema(as = AttachmentsHealth)]
pub(super) struct Health {
    /// `ok` or `error`.
    #[schema(example = "ok")]
    status: &'static str,
    /// The object store, whichever it is: `connected` or `unreachable`.
    #[schema(example = "connected")]
    minio: &'static str,
    /// The database, where that is what fails: `unreachable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'static str>,
}

/// Whether the object store answers. Asked at most every two seconds, however often this is called.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "attachments_get_health",
    tag = "dialect: attachments",
    security(()),
    responses(
        (status = OK, description = "It does.", body = Health),
        (status = SERVICE_UNAVAILABLE, description = "It does not.", body = Health),
    ),
)]
pub(super) async fn get_health(State(state): State<HttpState>) -> Response {
    let probes = probes(&state).await;
    let fails = |name: &str| {
        probes
            .iter()
            .any(|probe| probe.name == name && probe.error.is_some())
    };
    // What exactly is wrong stands in the log: it may name hosts and paths.
    let (store, database) = (fails("store"), fails("database"));
    let store = store || !has_bucket(&state).await;
    let body = Health {
        status: if store || database { "error" } else { "ok" },
        minio: if store { "unreachable" } else { "connected" },
        database: database.then_some("unreachable"),
    };
    let status = if store || database {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, axum::Json(body)).into_response()
}

/// Whether the bucket of attachments is there. Asked as often as the dependencies.
async fn has_bucket(state: &HttpState) -> bool {
    let ask = async || {
        let collection = state.app.collection(Dialect::Attachments.collection());
        let bucket = collection.map_err(|refusal| refusal.message)?.bucket.clone();
        let asked = tokio::time::timeout(ANSWER_WITHIN, state.app.objects.bucket(&bucket)).await;
        match asked.map_err(|_| "no answer in time".to_owned())? {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    };
    let found = state.attachments_bucket.get(state.app.now(), ask).await;
    if let Err(error) = &found {
        tracing::warn!(
            event = "dependency_unhealthy",
            dependency = "bucket",
            error,
            "the bucket of attachments is not there"
        );
    }
    found.is_ok()
}
