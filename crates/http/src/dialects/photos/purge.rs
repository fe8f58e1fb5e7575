//! `POST /api/v1/admin/purge`.

use std::time::Duration;

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

/// How long the answer waits for the end of a purge.
const WAIT: Duration = Duration::from_secs(10);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How to purge.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = PhotosPurgeRequest)]
pub(super) struct PurgeRequest {
    /// Only count what would go.
    #[serde(default)]
    #[schema(required = false)]
    dry_run: bool,
}

/// Purge what is stale.
///
/// Removes what is in the trash and over its deadline, and garbage over its own; nothing before that, and nothing on legal
/// hold. Retention moves files to the trash by itself. A worker does it: the answer waits for it up to ten seconds, and is 202
/// when it takes longer; then ask `/api/v1/admin/operations/{id}`.
#[utoipa::path(
    post,
    path = "/api/v1/admin/purge",
    operation_id = "photos_purge",
    tag = "dialect: photos",
    request_body = Option<PurgeRequest>,
    responses(
        (status = OK, description = "It is over; `counts` says what went.", body = OperationBody),
        (status = ACCEPTED, description = "It goes on.", body = OperationBody),
        Refused::<403>, Refused::<409>,
    ),
)]
pub(super) async fn purge(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    OptionalJson(request): OptionalJson<PurgeRequest>,
) -> Result<Response> {
    let options = JsonObject::from_iter([("dry_run".to_owned(), request.dry_run.into())]);
    let begun = state
        .app
        .start_operation(&principal, OperationKind::Purge, options)
        .await?;
    let over = async {
        loop {
            let now = state.app.operation(&principal, begun.id).await;
            if now
                .as_ref()
                .map_or(true, |operation| operation.finished_at.is_some())
            {
                return now;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    match tokio::time::timeout(WAIT, over).await {
        Ok(operation) => Ok((StatusCode::OK, axum::Json(OperationBody::from(operation?))).into_response()),
        Err(_) => Ok((StatusCode::ACCEPTED, axum::Json(OperationBody::from(begun))).into_response()),
    }
}
