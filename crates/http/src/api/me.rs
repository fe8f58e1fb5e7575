//! `/me`: the caller.

use axum::extract::State;
use cloakroom_core::access::{Credential, Principal};
use cloakroom_core::ports::metadata::FileQuery;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::files::list::{FileListBody, ListFilesParameters};
use crate::auth::Caller;
use crate::extract::Query;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Who the caller is.
#[derive(Serialize, ToSchema)]
#[schema(as = Caller)]
pub struct MeBody {
    /// Owns what the caller creates.
    subject: String,
    /// `user`, `operator` or `admin`.
    #[schema(pattern = "^(user|operator|admin)$")]
    role: &'static str,
    /// A short name.
    username: String,
    /// A name for people.
    full_name: Option<String>,
    /// `access_token` or `service_token`.
    #[schema(pattern = "^(access_token|service_token)$")]
    credential: &'static str,
    /// The collections that a service token is scoped to; `null` is all.
    collections: Option<Vec<String>>,
}

/// What the caller uses.
#[derive(Serialize, ToSchema)]
#[schema(as = Usage)]
pub struct UsageBody {
    /// Confirmed files, the trash included.
    files: u64,
    /// Their bytes.
    stored_bytes: u64,
    /// Bytes reserved for signed uploads.
    reserved_bytes: u64,
    /// What both may be in all; `null` is no limit.
    quota_bytes: Option<u64>,
}

/// See who you are.
#[utoipa::path(
    get,
    path = "/me",
    operation_id = "get_me",
    tag = "me",
    responses((status = OK, description = "The caller.", body = MeBody)),
)]
pub async fn get_me(caller: Caller) -> axum::Json<MeBody> {
    let principal = caller.principal().clone();
    let (credential, collections) = match principal.credential {
        Credential::AccessToken => ("access_token", None),
        Credential::ServiceToken { collections, .. } => ("service_token", collections),
    };
    axum::Json(MeBody {
        subject: principal.subject,
        role: principal.role.as_str(),
        username: principal.username,
        full_name: principal.full_name,
        credential,
        collections,
    })
}

/// List your own files.
#[utoipa::path(
    get,
    path = "/me/files",
    operation_id = "list_my_files",
    tag = "me",
    params(
        ListFilesParameters,
        ("x-cloakroom-owner" = Option<String>, Header, description = "Whose, for service tokens and administrators.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses((status = OK, description = "A page of files.", body = FileListBody), Refused::<403>),
)]
pub async fn list_my_files(
    State(state): State<HttpState>,
    caller: Caller,
    Query(mut query): Query<FileQuery>,
) -> Result<axum::Json<FileListBody>> {
    query.owner = Some(acting_for(&caller)?);
    let page = state.app.files(caller.principal(), query).await?;
    Ok(axum::Json(FileListBody::of(page, &state)))
}

/// See what you use.
#[utoipa::path(
    get,
    path = "/me/usage",
    operation_id = "get_my_usage",
    tag = "me",
    params(
        ("x-cloakroom-owner" = Option<String>, Header, description = "Whose, for service tokens and administrators.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses((status = OK, description = "Files and bytes.", body = UsageBody), Refused::<403>),
)]
pub async fn get_my_usage(State(state): State<HttpState>, caller: Caller) -> Result<axum::Json<UsageBody>> {
    let whose = Principal {
        subject: acting_for(&caller)?,
        ..caller.principal().clone()
    };
    let own = state.app.own_usage(&whose).await?;
    Ok(axum::Json(UsageBody {
        files: own.usage.files,
        stored_bytes: own.usage.stored_bytes,
        reserved_bytes: own.usage.reserved_bytes,
        quota_bytes: own.quota_bytes,
    }))
}

/// Whose things are asked for.
pub(crate) fn acting_for(caller: &Caller) -> Result<String> {
    Ok(caller
        .owner(None)?
        .unwrap_or_else(|| caller.principal().subject.clone()))
}
