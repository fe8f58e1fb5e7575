//! `PUT` and `DELETE /files/{id}/hold`: legal hold.

use axum::extract::State;
use cloakroom_core::id::FileId;
use cloakroom_service::holding::REASON_CHARS_MAX;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::wire::FileBody;
use crate::auth::Caller;
use crate::extract::query::{FromQuery, Parameters, invalid};
use crate::extract::{Json, Path, Query};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Why a file is to be kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldFileRequest {
    /// A sentence for people.
    #[schema(
        min_length = 1,
        max_length = 300,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$",
        example = "Case 2026/118."
    )]
    reason: String,
}

/// Put a file on legal hold.
///
/// Until it is released nobody deletes it, and neither retention nor a purge removes it. For operators and administrators.
/// Done again with the same reason it changes nothing.
#[utoipa::path(
    put,
    path = "/files/{file_id}/hold",
    operation_id = "hold_file",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file.")),
    request_body = HoldFileRequest,
    responses(
        (status = OK, description = "The file.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn hold_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    Json(request): Json<HoldFileRequest>,
) -> Result<axum::Json<FileBody>> {
    let principal = caller.principal();
    let file = state.app.hold_file(principal, id, &request.reason).await?;
    Ok(axum::Json(FileBody::seen_by(principal, file, &state)))
}

/// Why a hold ends.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReleaseFileParameters {
    /// A sentence for the timeline and the audit log.
    #[param(value_type = Option<String>, max_length = 300, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    reason: String,
}

impl FromQuery for ReleaseFileParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        let reason = query.text("reason").unwrap_or_default();
        if reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control) {
            return Err(invalid(
                "reason",
                "is longer than 300 characters, or has control characters",
            ));
        }
        Ok(Self { reason })
    }
}

/// Release a file from legal hold.
///
/// It goes on as its collection says; what is overdue goes with the next sweep. For operators and administrators.
#[utoipa::path(
    delete,
    path = "/files/{file_id}/hold",
    operation_id = "release_file",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file."), ReleaseFileParameters),
    responses(
        (status = OK, description = "The file.", body = FileBody),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn release_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    Query(why): Query<ReleaseFileParameters>,
) -> Result<axum::Json<FileBody>> {
    let principal = caller.principal();
    let file = state.app.release_file(principal, id, &why.reason).await?;
    Ok(axum::Json(FileBody::seen_by(principal, file, &state)))
}
