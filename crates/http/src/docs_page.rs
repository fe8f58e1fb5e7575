//! `/docs`: the reference, rendered in the browser from `/openapi.json`. Self-contained, nothing is fetched from
//! elsewhere.

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderValue};
use sha2::{Digest, Sha256};

const PAGE: &str = include_str!("docs_page/page.html");
const STYLE: &str = include_str!("docs_page/style.css");
const SCRIPT: &str = include_str!("docs_page/script.js");

/// The API reference for people.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "get_docs",
    tag = "operations",
    security(()),
    responses((status = OK, description = "An HTML page.", body = String, content_type = "text/html")),
)]
pub async fn get_docs() -> Response {
    let page = PAGE.replace("/*style*/", STYLE).replace("/*script*/", SCRIPT);
    // Only this very script and style run, whatever a description may contain.
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest(SCRIPT),
        digest(STYLE),
    );
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, page).into_response()
}

fn digest(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}
