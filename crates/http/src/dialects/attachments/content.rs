//! `GET /attachments/{id}/{filename}`: what the document's CDN fetches.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use crate::api::content::{ContentParameters, serve};
use crate::extract::path::NamedFile;
use crate::extract::{Path, Query};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Get an attachment's content.
///
/// As `/api/v1/content`, at the path that the document gives the CDN.
#[utoipa::path(
    get,
    path = "/attachments/{file_id}/{filename}",
    operation_id = "attachments_get_content",
    tag = "dialect: attachments",
    security(()),
    params(
        ("file_id" = Uuid, Path, description = "The attachment."),
        ("filename" = String, Path, description = "Its name.", min_length = 1, max_length = 255),
        ContentParameters,
        ("Range" = Option<String>, Header, description = "One range of bytes."),
    ),
    responses(
        (status = OK, description = "The bytes.", body = Vec<u8>, content_type = "*/*", headers(("ETag" = String, description = "Of the bytes."))),
        (status = PARTIAL_CONTENT, description = "Some of the bytes.", body = Vec<u8>, content_type = "*/*"),
        (status = NOT_MODIFIED, description = "The bytes are those of `If-None-Match`."),
        (status = FOUND, description = "To the bytes.", headers(("Location" = String, description = "Where the bytes are."))),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>, Refused::<416>, Refused::<503>,
    ),
)]
pub(super) async fn get_content(
    State(state): State<HttpState>,
    Path(named): Path<NamedFile>,
    Query(asked): Query<ContentParameters>,
    headers: HeaderMap,
) -> Result<Response> {
    serve(&state, named, asked, &headers).await
}
