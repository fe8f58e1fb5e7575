//! `POST /api/v1/admin/cache/rebuild` and `/verify`: the rows are the document's cache, the attribute files its truth.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::JsonObject;
use cloakroom_core::operation::OperationKind;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::admin::operations::OperationBody;
use crate::auth::Administrator;
use crate::extract::OptionalJson;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Write the rows anew from the attribute files.
///
/// A worker begins within a second or so and works through the whole store; `GET /api/v1/admin/operations/{id}` tells how far
/// it is.
#[utoipa::path(
    post,
    path = "/api/v1/admin/cache/rebuild",
    operation_id = "element_rebuild_cache",
    tag = "dialect: element",
    responses(
        (status = ACCEPTED, description = "It waits for a worker.", body = OperationBody),
        Refused::<403>, Refused::<409>,
    ),
)]
pub async fn element_rebuild_cache(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
) -> Result<Response> {
    let operation = state
        .app
        .start_operation(&principal, OperationKind::Rebuild, JsonObject::new())
        .await?;
    Ok((StatusCode::ACCEPTED, axum::Json(OperationBody::from(operation))).into_response())
}

/// How to verify.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub struct ElementVerifyRequest {
    /// Read every byte and compare the checksums.
    #[schema(required = false, default = false)]
    deep: bool,
    /// Repair what can be repaired.
    #[schema(required = false, default = false)]
    fix: bool,
}

/// Compare rows, attribute files and objects.
///
/// What differs stands in the report, `GET /api/v1/admin/operations/{id}/findings`; counters are compared with what they
/// count.
#[utoipa::path(
    post,
    path = "/api/v1/admin/cache/verify",
    operation_id = "element_verify_cache",
    tag = "dialect: element",
    request_body = Option<ElementVerifyRequest>,
    responses(
        (status = ACCEPTED, description = "It waits for a worker.", body = OperationBody),
        Refused::<403>, Refused::<409>,
    ),
)]
pub async fn element_verify_cache(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    OptionalJson(request): OptionalJson<ElementVerifyRequest>,
) -> Result<Response> {
    let chosen = [("deep", request.deep), ("fix", request.fix)];
    let options = chosen
        .into_iter()
        .filter(|(_, chosen)| *chosen)
        .map(|(name, chosen)| (name.to_owned(), chosen.into()))
        .collect();
    let operation = state
        .app
        .start_operation(&principal, OperationKind::Verify, options)
        .await?;
    Ok((StatusCode::ACCEPTED, axum::Json(OperationBody::from(operation))).into_response())
}
