//! Every route, on one page. Paths and methods stand at the handlers, with their documentation; the OpenAPI document
//! and the router are made from the same list, so neither can know a route that the other does not.

use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cloakroom_core::error::ErrorCode;
use http::Method;
use http::header::{self, HeaderName, HeaderValue};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{admin, bucket_events, collections, content, files, me, offer, records, uploads, variants};
use crate::cross_origin::CrossOrigin;
use crate::observe::{observe, observe_and_admit_scripts};
use crate::problem::Problem;
use crate::state::{HttpSettings, HttpState};
use crate::{dialects, docs_page, health, metrics, openapi};

/// How long a browser may remember a preflight answer.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(1);

/// The native API, below `/api/v1`.
fn api() -> OpenApiRouter<HttpState> {
    OpenApiRouter::new()
        .routes(routes!(uploads::sign::sign_upload))
        .routes(routes!(uploads::batch::sign_uploads))
        .routes(routes!(uploads::abort::abort_upload))
        .routes(routes!(
            uploads::parts::get_upload_parts,
            uploads::parts::sign_upload_parts
        ))
        .routes(routes!(uploads::complete::complete_upload))
        .routes(routes!(uploads::confirm::confirm_upload))
        .routes(routes!(files::list::list_files, files::receive::receive_file))
        .routes(routes!(
            files::get::get_file,
            files::change::update_file,
            files::change::delete_file
        ))
        .routes(routes!(files::change::restore_file))
        .routes(routes!(files::hold::hold_file, files::hold::release_file))
        .routes(routes!(files::archive::archive_file))
        .routes(routes!(files::archive::unarchive_file))
        .routes(routes!(files::status::get_file_status))
        .routes(routes!(files::download::download_file))
        .routes(routes!(files::download::download_derivative))
        .routes(routes!(variants::sign_variant))
        .routes(routes!(variants::get_variant))
        .routes(routes!(content::get_content))
        .routes(routes!(files::timeline::get_file_timeline))
        .routes(routes!(
            records::put_record,
            records::get_record,
            records::delete_record
        ))
        .routes(routes!(records::list_record_files))
        .routes(routes!(me::get_me))
        .routes(routes!(me::list_my_files))
        .routes(routes!(me::get_my_usage))
        .routes(routes!(offer::get_my_offer, offer::accept_my_offer))
        .routes(routes!(bucket_events::receive_bucket_events))
        .routes(routes!(collections::list_collections))
        .routes(routes!(collections::get_collection))
        .routes(routes!(admin::jobs::list_jobs))
        .routes(routes!(admin::jobs::retry_job))
        .routes(routes!(admin::jobs::discard_job))
        .routes(routes!(admin::jobs::retry_jobs))
        .routes(routes!(admin::jobs::discard_jobs))
        .routes(routes!(
            admin::service_tokens::create_service_token,
            admin::service_tokens::list_service_tokens
        ))
        .routes(routes!(admin::service_tokens::revoke_service_token))
        .routes(routes!(admin::stores::list_stores))
        .routes(routes!(admin::stores::get_store))
        .routes(routes!(admin::stores::change_store_mode))
        .routes(routes!(
            admin::operations::start_operation,
            admin::operations::list_operations
        ))
        .routes(routes!(
            admin::operations::get_operation,
            admin::operations::cancel_operation
        ))
        .routes(routes!(admin::operations::list_findings))
        .routes(routes!(admin::owners::delete_owner))
        .routes(routes!(admin::quarantine::delete_quarantined_file))
        .routes(routes!(admin::quarantine::release_quarantined_file))
        .routes(routes!(admin::quarantine::rescan_file))
        .routes(routes!(admin::garbage::list_garbage))
        .routes(routes!(admin::garbage::keep_garbage))
        .routes(routes!(admin::garbage::trash_garbage))
        .routes(routes!(admin::audit::list_audit_entries))
        .routes(routes!(admin::audit::get_totals))
        .routes(routes!(admin::wal::list_wal))
}

/// For whoever runs it; nobody has to sign in.
fn operations(docs: bool) -> OpenApiRouter<HttpState> {
    let router = OpenApiRouter::new()
        .routes(routes!(health::get_info))
        .routes(routes!(health::get_liveness))
        .routes(routes!(health::get_readiness))
        .routes(routes!(metrics::get_metrics))
        .routes(routes!(get_openapi));
    if docs {
        router.routes(routes!(docs_page::get_docs))
    } else {
        router
    }
}

/// The whole HTTP front.
pub fn router(state: HttpState) -> Router {
    let (router, document) = parts(&state.settings);
    // Serialising what was built from string literals cannot fail.
    let document = Document(Bytes::from(document.to_json().unwrap_or_default()));
    let cross_origin = CrossOrigin::by(cors(&state.settings));
    router
        .layer(axum::Extension(document))
        .fallback(no_such_route)
        .layer(from_fn_with_state(
            (state.clone(), cross_origin),
            observe_and_admit_scripts,
        ))
        .with_state(state)
}

/// Health and metrics alone, for processes without an API.
pub fn health_router(state: HttpState) -> Router {
    let (router, _) = OpenApiRouter::new()
        .routes(routes!(health::get_liveness))
        .routes(routes!(health::get_readiness))
        .routes(routes!(metrics::get_metrics))
        .split_for_parts();
    router
        .fallback(no_api)
        .layer(from_fn_with_state(state.clone(), observe))
        .with_state(state)
}

async fn no_api() -> Problem {
    Problem::new(
        ErrorCode::RouteNotFound,
        "This process has no API; it answers /health/live, /health/ready and /metrics.",
    )
}

/// The OpenAPI document.
pub fn document(settings: &HttpSettings) -> OpenApi {
    parts(settings).1
}

fn parts(settings: &HttpSettings) -> (Router<HttpState>, OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::base(settings))
        .merge(operations(settings.docs))
        .nest("/api/v1", api())
        .merge(dialects::routes(&settings.dialects, settings.debug))
        .split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

async fn no_such_route() -> Problem {
    Problem::new(
        ErrorCode::RouteNotFound,
        "There is nothing at this path; /openapi.json lists what there is.",
    )
}

/// The document, rendered.
#[derive(Clone)]
struct Document(Bytes);

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_openapi",
    tag = "operations",
    security(()),
    responses((status = OK, description = "An OpenAPI document.", body = Object, content_type = "application/json")),
)]
async fn get_openapi(axum::Extension(Document(document)): axum::Extension<Document>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, document).into_response()
}

fn cors(settings: &HttpSettings) -> CorsLayer {
    let origins = if settings.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(
            settings
                .cors_origins
                .iter()
                .filter_map(|origin| HeaderValue::try_from(origin).ok()),
        )
    };
    // Credentials travel in a header, never in cookies, so none are allowed.
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("traceparent"),
            HeaderName::from_static("x-cloakroom-owner"),
            HeaderName::from_static("x-request-id"),
        ])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            HeaderName::from_static("x-request-id"),
        ])
        .max_age(PREFLIGHT_MAX_AGE)
}
