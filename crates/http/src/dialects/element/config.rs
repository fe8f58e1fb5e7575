//! `GET /api/v1/admin/config` and `PUT /api/v1/admin/mode`: the document's singleton row (S3-082 to S3-087), put together from
//! where its parts are kept.

use axum::extract::State;
use cloakroom_core::access::Principal;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::operation::OperationKind;
use cloakroom_core::storage::{MAIN_STORE, StorageMode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::COLLECTION;
use crate::auth::Administrator;
use crate::extract::Json;
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// The storage element: its mode, its master, its totals.
#[derive(Serialize, ToSchema)]
#[schema(as = ElementConfig)]
pub struct ElementConfigBody {
    /// Always 1: there is one.
    id: u8,
    /// How far the store of the documents is open: `edit`, `rw`, `ro`, `ar`.
    #[schema(example = "edit")]
    current_mode: &'static str,
    /// When that was last changed.
    mode_changed_at: Timestamp,
    /// By whom; `configuration` for the first one.
    mode_changed_by: String,
    /// While `rw` closes: until when uploads that were signed before are still taken in.
    draining_until: Option<Timestamp>,
    /// The modes that it can be changed to now.
    #[schema(value_type = Vec<String>)]
    next_modes: Vec<&'static str>,
    /// Whether the process that answers is the master.
    is_master: bool,
    /// The process that was elected last.
    master: Option<String>,
    /// When it was.
    master_elected_at: Option<Timestamp>,
    /// Confirmed files of the instance, the trash included.
    total_files: u64,
    /// Their bytes.
    total_size_bytes: u64,
    /// When rows were last written anew from the store.
    last_cache_rebuild: Option<Timestamp>,
    /// What the store is made of: `local` or `s3`.
    #[schema(example = "local")]
    storage_type: &'static str,
    /// The name of the store.
    #[schema(example = "main")]
    store: String,
    /// How many bytes it is meant to hold.
    capacity_bytes: Option<u64>,
}

/// The store that the documents are in.
fn store_of_documents(state: &HttpState) -> String {
    let collection = state.app.collections.get(COLLECTION);
    let store = collection.map_or(MAIN_STORE, |collection| {
        state.app.stores.store_of(&collection.bucket)
    });
    store.to_owned()
}

async fn body(state: &HttpState, principal: &Principal) -> Result<ElementConfigBody> {
    let name = store_of_documents(state);
    let view = state.app.store_view(principal, &name).await?;
    let leader = state.app.stores_leader().await?;
    let totals = state.app.totals(principal).await?;
    let rebuilt = state
        .app
        .last_done_operation(principal, OperationKind::Rebuild)
        .await?;
    Ok(ElementConfigBody {
        id: 1,
        current_mode: view.state.mode.as_str(),
        next_modes: view.next_modes().into_iter().map(StorageMode::as_str).collect(),
        mode_changed_at: view.state.changed_at,
        mode_changed_by: view.state.changed_by,
        draining_until: view.state.draining_until,
        is_master: leader.is_leader,
        master: leader.name,
        master_elected_at: leader.elected_at,
        total_files: totals.files,
        total_size_bytes: totals.stored_bytes,
        last_cache_rebuild: rebuilt.and_then(|operation| operation.finished_at),
        storage_type: view.definition.kind.as_str(),
        store: view.definition.name,
        capacity_bytes: view.definition.capacity_bytes,
    })
}

/// Get the configuration of the storage element.
///
/// No secret is in it.
#[utoipa::path(
    get,
    path = "/api/v1/admin/config",
    operation_id = "element_config",
    tag = "dialect: element",
    responses((status = OK, description = "As it is now.", body = ElementConfigBody), Refused::<403>),
)]
pub async fn element_config(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
) -> Result<axum::Json<ElementConfigBody>> {
    Ok(axum::Json(body(&state, &principal).await?))
}

/// A mode to change to.
#[derive(Deserialize, ToSchema)]
pub struct ElementModeRequest {
    /// `rw` becomes `ro`, `ro` becomes `ar` or, confirmed, `rw` again. Nothing else. `new_mode` and `target_mode` are the
    /// same.
    #[serde(alias = "new_mode", alias = "target_mode")]
    #[schema(example = "ro")]
    mode: String,
    /// That it is meant that a closed store is written to again.
    #[serde(default)]
    #[schema(required = false, default = false)]
    confirm: bool,
}

/// Change the mode of the storage element.
///
/// As `PUT /api/v1/admin/stores/{name}/mode` does, for the store of the documents. It is written down who did it, and when.
#[utoipa::path(
    put,
    path = "/api/v1/admin/mode",
    operation_id = "element_change_mode",
    tag = "dialect: element",
    request_body = ElementModeRequest,
    responses(
        (status = OK, description = "Changed, or closing.", body = ElementConfigBody),
        Refused::<403>, Refused::<409>,
    ),
)]
pub async fn element_change_mode(
    State(state): State<HttpState>,
    Administrator(principal): Administrator,
    Json(request): Json<ElementModeRequest>,
) -> Result<axum::Json<ElementConfigBody>> {
    let mode = StorageMode::parse(&request.mode.to_ascii_lowercase()).ok_or_else(|| {
        Problem::new(ErrorCode::InvalidRequest, "mode is edit, rw, ro or ar.").with("field", "mode")
    })?;
    let name = store_of_documents(&state);
    state
        .app
        .change_mode(&principal, &name, mode, request.confirm)
        .await?;
    Ok(axum::Json(body(&state, &principal).await?))
}
