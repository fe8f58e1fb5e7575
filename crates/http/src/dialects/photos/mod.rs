//! S4: photos of complaints. A bot signs an upload with a service token, sends the photo to the store, confirms, and asks
//! until there is a thumbnail.
//!
//! A complaint is the record `complaint/<id>`; its photos are the files of the collection `photos` that hang on it.

mod complaint;
mod confirm;
mod presign;
mod purge;
mod read;
mod storage_health;
mod wire;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::dialects::Dialect;
use crate::state::HttpState;

/// The collection of photos.
const COLLECTION: &str = Dialect::Photos.collection();

/// Its routes, from the root.
pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(presign::presign_photo))
        .routes(routes!(confirm::confirm_photo))
        .routes(routes!(read::list_photos))
        .routes(routes!(read::get_photo, read::delete_photo))
        .routes(routes!(storage_health::get_storage_health))
        .routes(routes!(purge::purge))
}
