//! S2, tables to reconcile: sign, confirm and watch, at the root, under `/api` and under `/api/v1`; and whether the storage
//! works. `GET /api/v1/files/{id}/status` is the native one; see `beside.rs`.

mod confirm;
mod sign;
mod status;
mod storage;
mod wire;

use utoipa::openapi::path::Operation;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::wire::status_beside;

use super::Dialect;
use crate::state::HttpState;

/// The collection of the document's files.
const COLLECTION: &str = Dialect::Reconciliation.collection();
/// The type of the record that files hang on.
const RECONCILIATION: &str = "reconciliation";

/// Its routes, from the root.
pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .merge(uploads())
        .merge(statuses())
        .nest("/api", named("_under_api", uploads().merge(statuses())))
        .nest("/api/v1", named("_under_api_v1", uploads()))
        .routes(routes!(storage::get_storage_health))
}

fn uploads() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(sign::sign_upload))
        .routes(routes!(confirm::confirm_upload))
}

fn statuses() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new().routes(routes!(status::get_status))
}

/// The same operations once more: an OpenAPI document has every `operationId` once.
fn named(ending: &str, mut router: OpenApiRouter<HttpState>) -> OpenApiRouter<HttpState> {
    let rename = |operation: &mut Operation| {
        if let Some(id) = &mut operation.operation_id {
            id.push_str(ending);
        }
    };
    for item in router.get_openapi_mut().paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            rename(operation);
        }
    }
    router
}
