//! S1, attachments of chat messages: a form for the browser, confirm, and what became of it.

mod attachment;
mod confirm;
mod content;
mod health;
mod presigned;
mod wire;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::HttpState;

/// Its routes, from the root.
pub(crate) fn routes() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(presigned::presign))
        .routes(routes!(confirm::confirm))
        .routes(routes!(attachment::get_attachment))
        .routes(routes!(content::get_content))
        .routes(routes!(health::get_health))
}
