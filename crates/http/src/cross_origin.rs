//! Requests of scripts from other origins (Fetch Standard, "CORS protocol").
//!
//! A request without `Origin` is none of these, so nothing is worked out for it; its answer only says that another
//! one may be different, so that no cache gives it to a script.

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use http::header::{self, HeaderValue};
use tower::{Layer, ServiceExt};
use tower_http::cors::CorsLayer;

/// What the answer depends on, in the words of the layer.
const VARY: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");

/// What scripts of other origins may do. Cloning it is cheap.
#[derive(Clone)]
pub struct CrossOrigin(Arc<CorsLayer>);

impl CrossOrigin {
    /// By these rules.
    pub fn by(rules: CorsLayer) -> Self {
        Self(Arc::new(rules))
    }

    /// Answers a request.
    pub async fn run(self, request: Request, next: Next) -> Response {
        if request.headers().contains_key(header::ORIGIN) || request.method() == Method::OPTIONS {
            return match self.0.layer(next).oneshot(request).await {
                Ok(response) => response,
                Err(impossible) => match impossible {},
            };
        }
        let mut response = next.run(request).await;
        response.headers_mut().append(header::VARY, VARY);
        response
    }
}
