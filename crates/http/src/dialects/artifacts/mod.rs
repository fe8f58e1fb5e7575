//! S0: artifacts of sessions, PDF first.
//!
//! Sessions and artifacts are records; what hangs on an artifact is a file of the collection `artifacts`.
//!
//! | path | where |
//! |---|---|
//! | `GET /health/s3` | `health` |
//! | `GET /files/{file_id}/download`, `GET /me/files` | `files` |
//! | `POST /offer/accept` | `offer` |
//! | `POST /debug/s3/put-test-pdf`, with `debug` | `debug` |
//! | `POST /auth/otp/request`, `POST /auth/otp/verify`, with `debug` and keys of our own | `sign_in` |

pub mod debug;
pub mod files;
pub mod health;
pub mod offer;
pub mod sign_in;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::state::HttpState;

/// Its routes, from the root.
pub(crate) fn routes(debug: bool) -> OpenApiRouter<HttpState> {
    let router = OpenApiRouter::new()
        .routes(routes!(health::get_health))
        .routes(routes!(files::download))
        .routes(routes!(files::list))
        .routes(routes!(offer::accept));
    if !debug {
        return router;
    }
    router
        .routes(routes!(debug::put_test_pdf))
        .routes(routes!(sign_in::request))
        .routes(routes!(sign_in::verify))
}
