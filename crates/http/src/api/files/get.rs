//! `GET /files/{id}`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::id::FileId;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use crate::api::wire::FileBody;
use crate::auth::Caller;
use crate::extract::Path;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// The `ETag` of a file's description.
pub fn etag(version: u64) -> HeaderValue {
    // Digits in quotes are always a header value.
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// Get a file.
///
/// Its description, not its bytes. `If-None-Match` saves the answer when nothing changed.
#[utoipa::path(
    get,
    path = "/files/{file_id}",
    operation_id = "get_file",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file.")),
    responses(
        (status = OK, description = "The file.", body = FileBody, headers(("ETag" = String, description = "The version, in quotes."))),
        (status = NOT_MODIFIED, description = "The version is the one of `If-None-Match`."),
        Refused::<404>,
    ),
)]
pub async fn get_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    headers: HeaderMap,
) -> Result<Response> {
    let (file, derivatives) = state.app.file_with_derivatives(caller.principal(), id).await?;
    let etag = etag(file.version);
    if is_current(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let cache = HeaderValue::from_static("private, no-cache");
    let body = FileBody::seen_by(caller.principal(), file, &state).with_derivatives(derivatives, &state);
    Ok((
        [(header::ETAG, etag), (header::CACHE_CONTROL, cache)],
        axum::Json(body),
    )
        .into_response())
}

/// Whether `If-None-Match` names this version (weak comparison, RFC 9110 §13.1.2).
fn is_current(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let Some(known) = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    known
        .split(',')
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        let current = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(text))]);
            is_current(&headers, &etag(3))
        };
        assert!(current("\"3\"") && current("W/\"3\"") && current("\"1\", \"3\"") && current("*"));
        assert!(!current("\"33\"") && !current("3") && !current(""));
    }
}
