//! S3: a storage element. Its `GET` and `DELETE /api/v1/files/{id}` and `/download` are the native ones; see `beside.rs`.

mod cache;
mod config;
mod search;
mod upload;

use cloakroom_core::JsonObject;
use cloakroom_core::file::File;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Dialect;
use crate::state::HttpState;

/// The collection of the document's files.
const COLLECTION: &str = Dialect::Element.collection();

/// Its routes, from the root.
pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(upload::element_upload))
        .routes(routes!(search::element_search))
        .routes(routes!(config::element_config))
        .routes(routes!(config::element_change_mode))
        .routes(routes!(cache::element_rebuild_cache))
        .routes(routes!(cache::element_verify_cache))
}

/// What it adds to the native answer about a file: the columns of the document's table (S3-063 to S3-077) that have another
/// name there.
pub(crate) fn beside(file: &File) -> JsonObject {
    let name = file.key.rsplit('/').next().unwrap_or_default();
    let checksum = file.verified.as_ref().map(|verified| verified.sha256.to_string());
    let fields: [(&str, Value); 9] = [
        ("original_filename", file.filename.as_str().into()),
        ("storage_filename", name.into()),
        ("file_size", file.size_bytes().into()),
        ("created_by_id", file.owner.as_str().into()),
        ("created_by_username", file.created_by_username.as_str().into()),
        ("created_by_fullname", file.created_by_full_name.as_deref().into()),
        ("storage_path", file.key.as_str().into()),
        ("checksum", checksum.into()),
        ("metadata_json", file.metadata.clone().into()),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
