//! `/admin/stores`: which stores there are, and how far each is open (design §4).

use axum::extract::State;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::storage::{StorageMode, StoreState};
use cloakroom_service::stores::{Leader, StoreView};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::auth::Administrator;
use crate::extract::path::Name;
use crate::extract::{Json, Path};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Every store, and who decides on their modes.
#[derive(Serialize, ToSchema)]
#[schema(as = StoreList)]
pub struct StoreListBody {
    /// The stores, by name.
    stores: Vec<StoreBody>,
    /// Who decides on modes.
    leader: LeaderBody,
}

/// The process that ends what closes.
#[derive(Serialize, ToSchema)]
#[schema(as = StoresLeader)]
pub struct LeaderBody {
    /// The process that was elected last.
    name: Option<String>,
    /// When it was.
    elected_at: Option<Timestamp>,
    /// Whether that is the process that answers.
    is_leader: bool,
}

impl From<Leader> for LeaderBody {
    fn from(leader: Leader) -> Self {
        Self {
            name: leader.name,
            elected_at: leader.elected_at,
            is_leader: leader.is_leader,
        }
    }
}

/// A store and its mode.
#[derive(Serialize, ToSchema)]
#[schema(as = Store)]
pub struct StoreBody {
    /// Its name in configuration.
    #[schema(example = "main")]
    name: String,
    /// What it is made of: `local` or `s3`.
    #[schema(example = "s3")]
    kind: &'static str,
    /// Where clients reach it.
    address: Option<String>,
    /// Its buckets.
    buckets: Vec<String>,
    /// How far it is open.
    #[schema(schema_with = mode_schema)]
    mode: &'static str,
    /// Grows with each change of the mode.
    epoch: u64,
    /// While it closes: until when uploads that were signed before are still taken in.
    draining_until: Option<Timestamp>,
    /// When the mode was last changed.
    changed_at: Timestamp,
    /// By whom.
    changed_by: String,
    /// The mode that configuration says; `null`: whatever the database says.
    #[schema(value_type = Option<String>, example = "rw")]
    configured_mode: Option<&'static str>,
    /// The modes that it can be changed to now.
    #[schema(value_type = Vec<String>)]
    next_modes: Vec<&'static str>,
    /// How many bytes it is meant to hold.
    capacity_bytes: Option<u64>,
}

impl From<StoreView> for StoreBody {
    fn from(view: StoreView) -> Self {
        let next_modes = view.next_modes().into_iter().map(StorageMode::as_str).collect();
        let StoreView { definition, state } = view;
        let StoreState {
            mode,
            epoch,
            draining_until,
            changed_at,
            changed_by,
            ..
        } = state;
        Self {
            name: definition.name,
            kind: definition.kind.as_str(),
            address: definition.address,
            buckets: definition.buckets.into_iter().collect(),
            mode: mode.as_str(),
            epoch,
            draining_until,
            changed_at,
            changed_by,
            configured_mode: definition.mode.map(StorageMode::as_str),
            next_modes,
            capacity_bytes: definition.capacity_bytes,
        }
    }
}

fn mode_schema() -> Object {
    let modes = StorageMode::ALL.iter().map(|mode| mode.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("How far the store is open."))
        .enum_values(Some(modes))
        .build()
}

/// A mode to change to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeModeRequest {
    /// The mode: `rw` becomes `ro`, `ro` becomes `ar` or, confirmed, `rw` again. Nothing else.
    #[schema(schema_with = mode_schema)]
    mode: String,
    /// That it is meant that a closed store is written to again.
    #[serde(default)]
    #[schema(required = false, default = false)]
    confirm: bool,
}

/// List the stores and their modes.
#[utoipa::path(
    get,
    path = "/admin/stores",
    operation_id = "list_stores",
    tag = "admin",
    responses((status = OK, description = "Every store.", body = StoreListBody), Refused::<403>),
)]
pub async fn list_stores(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
) -> Result<axum::Json<StoreListBody>> {
    let views = state.app.store_views(&principal).await?;
    Ok(axum::Json(StoreListBody {
        stores: views.into_iter().map(StoreBody::from).collect(),
        leader: state.app.stores_leader().await?.into(),
    }))
}

/// Get one store and its mode.
#[utoipa::path(
    get,
    path = "/admin/stores/{name}",
    operation_id = "get_store",
    tag = "admin",
    params(("name" = String, Path, description = "The store.", example = "main")),
    responses((status = OK, description = "The store.", body = StoreBody), Refused::<403>, Refused::<404>),
)]
pub async fn get_store(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(Name(name)): Path<Name>,
) -> Result<axum::Json<StoreBody>> {
    let view = state.app.store_view(&principal, &name).await?;
    Ok(axum::Json(view.into()))
}

/// Change the mode of a store.
///
/// `rw` to `ro` begins at once and ends by itself: nothing more is signed or changed, uploads that were signed before are
/// taken in until the last of them ends (`draining_until`), and then the store is `ro`. Until then it can be called back with
/// `rw` and `confirm`.
#[utoipa::path(
    put,
    path = "/admin/stores/{name}/mode",
    operation_id = "change_store_mode",
    tag = "admin",
    params(("name" = String, Path, description = "The store.", example = "main")),
    request_body = ChangeModeRequest,
    responses(
        (status = OK, description = "Changed, or closing.", body = StoreBody),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn change_store_mode(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Path(Name(name)): Path<Name>,
    Json(request): Json<ChangeModeRequest>,
) -> Result<axum::Json<StoreBody>> {
    let mode = StorageMode::parse(&request.mode).ok_or_else(|| {
        Problem::new(ErrorCode::InvalidRequest, "mode is edit, rw, ro or ar.").with("field", "mode")
    })?;
    let changed = state
        .app
        .change_mode(&principal, &name, mode, request.confirm)
        .await?;
    Ok(axum::Json(changed.into()))
}
