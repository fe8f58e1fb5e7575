//! `/admin/owners`: everything of one owner at once.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::operation::OperationKind;
use http::StatusCode;
use utoipa::IntoParams;

use crate::api::admin::operations::OperationBody;
use crate::auth::Administrator;
use crate::extract::path::Owner;
use crate::extract::query::{FromQuery, Parameters};
use crate::extract::{Path, Query};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// How a deletion lets files go.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeletionParameters {
    /// Files are removed for good at once, those in the trash too. For administrators.
    #[param(value_type = Option<bool>)]
    pub(crate) purge_now: bool,
}

impl FromQuery for DeletionParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        Ok(Self {
            purge_now: query.flag("purge_now")?,
        })
    }
}

/// Delete everything of an owner.
///
/// Starts an operation: every file and record of the owner goes. What is on legal hold, or in a store that is closed, stays
/// and is named in the report.
#[utoipa::path(
    delete,
    path = "/admin/owners/{owner}",
    operation_id = "delete_owner",
    tag = "admin",
    params(
        ("owner" = String, Path, description = "`sub` of the owner.", min_length = 1, max_length = 200, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"),
        DeletionParameters,
    ),
    responses(
        (status = ACCEPTED, description = "The operation.", body = OperationBody),
        Refused::<403>, Refused::<409>,
    ),
)]
pub async fn delete_owner(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(Owner(owner)): Path<Owner>,
    Query(how): Query<DeletionParameters>,
) -> Result<(StatusCode, axum::Json<OperationBody>)> {
    let options = JsonObject::from_iter([
        ("owner".to_owned(), owner.into()),
        ("purge_now".to_owned(), how.purge_now.into()),
    ]);
    let operation = state
        .app
        .start_operation(&principal, OperationKind::DeleteOwner, options)
        .await?;
    Ok((StatusCode::ACCEPTED, axum::Json(operation.into())))
}
