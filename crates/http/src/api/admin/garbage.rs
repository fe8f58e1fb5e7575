//! `/admin/garbage`: objects that nothing refers to, what becomes of them and when.

use axum::extract::State;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::garbage::{Garbage, GarbageReason, GarbageState};
use cloakroom_core::ports::objects::ObjectPath;
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::cursor::{self, GarbagePlace};
use crate::auth::Administrator;
use crate::extract::query::{FromQuery, Parameters, invalid};
use crate::extract::{Json, Query};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// An object that nothing refers to.
#[derive(Serialize, ToSchema)]
#[schema(as = Garbage)]
pub struct GarbageBody {
    /// Its bucket.
    bucket: String,
    /// Its key.
    key: String,
    /// The multipart upload, if it is one that was never completed.
    upload_id: Option<String>,
    /// Why it is garbage.
    #[schema(schema_with = reason_schema)]
    reason: &'static str,
    /// What becomes of it: `trashed` goes at its deadline, `kept` stays.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// Its size in bytes.
    size_bytes: u64,
    /// The file that its key names.
    file_id: Option<Uuid>,
    /// When it was found.
    found_at: Timestamp,
    /// When it is removed.
    purge_at: Timestamp,
}

impl From<Garbage> for GarbageBody {
    fn from(garbage: Garbage) -> Self {
        Self {
            bucket: garbage.path.bucket,
            key: garbage.path.key,
            upload_id: Some(garbage.upload_id).filter(|id| !id.is_empty()),
            reason: garbage.reason.as_str(),
            state: garbage.state.as_str(),
            size_bytes: garbage.size_bytes,
            file_id: garbage.file_id.map(|id| id.0),
            found_at: garbage.found_at,
            purge_at: garbage.purge_at,
        }
    }
}

/// A page of garbage, by bucket and key.
#[derive(Serialize, ToSchema)]
#[schema(as = GarbageList)]
pub struct GarbageListBody {
    /// The garbage.
    garbage: Vec<GarbageBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

/// Names a piece of garbage.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GarbageRequest {
    /// Its bucket.
    #[schema(min_length = 1, max_length = 255)]
    bucket: String,
    /// Its key.
    #[schema(min_length = 1, max_length = 1024)]
    key: String,
    /// The multipart upload, if it is one.
    upload_id: Option<String>,
}

impl GarbageRequest {
    fn place(self) -> Result<GarbagePlace> {
        let upload_id = self.upload_id.unwrap_or_default();
        if [&self.bucket, &self.key, &upload_id]
            .iter()
            .any(|text| text.contains('\0'))
        {
            return Err(Problem::new(
                ErrorCode::InvalidRequest,
                "There is no NUL character in a bucket, a key or an upload id.",
            ));
        }
        Ok(GarbagePlace {
            path: ObjectPath::new(self.bucket, self.key),
            upload_id,
        })
    }
}

fn reason_schema() -> Object {
    let reasons = GarbageReason::ALL.iter().map(|reason| reason.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Why it is garbage."))
        .enum_values(Some(reasons))
        .build()
}

fn state_schema() -> Object {
    let states = GarbageState::ALL.iter().map(|state| state.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("What becomes of it."))
        .enum_values(Some(states))
        .build()
}

/// Which garbage.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListGarbageParameters {
    /// In this state.
    #[param(schema_with = state_schema)]
    state: Option<GarbageState>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<GarbagePlace>,
    /// How many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl FromQuery for ListGarbageParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        let state = query.text("state").map(|name| {
            GarbageState::parse(&name).ok_or_else(|| invalid("state", "names a state that there is not"))
        });
        Ok(Self {
            state: state.transpose()?,
            cursor: cursor::take(query)?,
            limit: query.limit()?,
        })
    }
}

/// List the garbage.
///
/// What a scan (`orphans` with `trash`) has marked.
#[utoipa::path(
    get,
    path = "/admin/garbage",
    operation_id = "list_garbage",
    tag = "admin",
    params(ListGarbageParameters),
    responses((status = OK, description = "A page of garbage.", body = GarbageListBody), Refused::<403>),
)]
pub async fn list_garbage(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Query(which): Query<ListGarbageParameters>,
) -> Result<axum::Json<GarbageListBody>> {
    let after = which
        .cursor
        .as_ref()
        .map(|place| (&place.path, place.upload_id.as_str()));
    let page = state
        .app
        .garbage(&principal, which.state, after, which.limit)
        .await?;
    let next_cursor = page.items.last().filter(|_| page.more).map(|garbage| {
        cursor::encode(&GarbagePlace {
            path: garbage.path.clone(),
            upload_id: garbage.upload_id.clone(),
        })
    });
    Ok(axum::Json(GarbageListBody {
        garbage: page.items.into_iter().map(GarbageBody::from).collect(),
        next_cursor,
    }))
}

/// Keep a piece of garbage.
///
/// Neither its deadline nor a purge removes it, and scans pass it over.
#[utoipa::path(
    post,
    path = "/admin/garbage/keep",
    operation_id = "keep_garbage",
    tag = "admin",
    request_body = GarbageRequest,
    responses((status = NO_CONTENT, description = "Kept."), Refused::<403>, Refused::<404>),
)]
pub async fn keep_garbage(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Json(request): Json<GarbageRequest>,
) -> Result<StatusCode> {
    let GarbagePlace { path, upload_id } = request.place()?;
    state.app.keep_garbage(&principal, &path, &upload_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a piece of garbage that was kept go after all.
///
/// It gets a new deadline.
#[utoipa::path(
    post,
    path = "/admin/garbage/trash",
    operation_id = "trash_garbage",
    tag = "admin",
    request_body = GarbageRequest,
    responses((status = NO_CONTENT, description = "It goes at its deadline."), Refused::<403>, Refused::<404>),
)]
pub async fn trash_garbage(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Json(request): Json<GarbageRequest>,
) -> Result<StatusCode> {
    let GarbagePlace { path, upload_id } = request.place()?;
    state.app.trash_garbage(&principal, &path, &upload_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
