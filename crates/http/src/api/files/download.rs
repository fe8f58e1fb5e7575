//! `GET /files/{id}/download` and `GET /files/{id}/derivatives/{name}`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::signer::SignedRequest;
use http::StatusCode;
use http::header::{self, HeaderValue};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::content::{CONTENT_PATH, content_url};
use crate::auth::Caller;
use crate::extract::path::NamedPart;
use crate::extract::query::{FromQuery, Parameters};
use crate::extract::{Path, Query};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Where the bytes are.
#[derive(Serialize, ToSchema)]
#[schema(as = Download)]
pub struct DownloadBody {
    /// Whoever has it may fetch the bytes.
    #[schema(format = "uri")]
    download_url: String,
    /// Until when.
    expires_at: Timestamp,
}

/// A switch in a query.
#[derive(ToSchema)]
pub enum Switch {
    /// Off.
    #[schema(rename = "0")]
    Off,
    /// On.
    #[schema(rename = "1")]
    On,
    /// Off.
    #[schema(rename = "false")]
    False,
    /// On.
    #[schema(rename = "true")]
    True,
}

/// How to answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DownloadParameters {
    /// Let a browser show the file, if its type is safe to show.
    #[param(value_type = Option<Switch>, inline)]
    pub(crate) inline: bool,
    /// Answer with a redirect to the bytes.
    #[param(value_type = Option<Switch>, inline)]
    pub(crate) redirect: bool,
}

impl FromQuery for DownloadParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        Ok(Self {
            inline: query.flag("inline")?,
            redirect: query.flag("redirect")?,
        })
    }
}

/// How to answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DerivativeParameters {
    /// Answer with a redirect to the bytes.
    #[param(value_type = Option<Switch>, inline)]
    redirect: bool,
}

impl FromQuery for DerivativeParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        Ok(Self {
            redirect: query.flag("redirect")?,
        })
    }
}

/// Where the bytes are, or a redirect to them.
pub(crate) fn answer(signed: SignedRequest, redirect: bool, now: Timestamp) -> Result<Response> {
    if !redirect {
        let body = DownloadBody {
            download_url: signed.url,
            expires_at: signed.expires_at,
        };
        return Ok(axum::Json(body).into_response());
    }
    self::redirect(signed, now)
}

/// To where the bytes are.
pub(crate) fn redirect(signed: SignedRequest, now: Timestamp) -> Result<Response> {
    // The URL itself is a secret (I7): a failure must not quote it.
    let location = HeaderValue::try_from(signed.url)
        .map_err(|_| Problem::internal("a signed URL is no header value"))?;
    // Half of what is left, so that a redirect from a cache still leads to something.
    let seconds = (signed.expires_at.duration_since(now).as_secs() / 2).max(0);
    let cache = HeaderValue::try_from(format!("private, max-age={seconds}"))
        .unwrap_or(HeaderValue::from_static("no-store"));
    Ok((
        StatusCode::FOUND,
        [(header::LOCATION, location), (header::CACHE_CONTROL, cache)],
    )
        .into_response())
}

/// Download a file.
///
/// A signed URL for its bytes, which carry the original name. Only a `ready` file has one.
#[utoipa::path(
    get,
    path = "/files/{file_id}/download",
    operation_id = "download_file",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file."), DownloadParameters),
    responses(
        (status = OK, description = "Where the bytes are.", body = DownloadBody),
        (status = FOUND, description = "With `redirect=1`.", headers(("Location" = String, description = "Where the bytes are."))),
        Refused::<404>, Refused::<409>,
    ),
)]
pub async fn download_file(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    Query(how): Query<DownloadParameters>,
) -> Result<Response> {
    if state.settings.cdn_url.is_some()
        && let Some((url, expires_at)) = content_url(&state, &caller, id, CONTENT_PATH, how.inline).await?
    {
        let signed = SignedRequest {
            url,
            headers: Vec::new(),
            expires_at,
        };
        return answer(signed, how.redirect, state.app.now());
    }
    let signed = state.app.download(caller.principal(), id, how.inline).await?;
    answer(signed, how.redirect, state.app.now())
}

/// Download a derivative.
///
/// A thumbnail, preview or poster by its name.
#[utoipa::path(
    get,
    path = "/files/{file_id}/derivatives/{name}",
    operation_id = "download_derivative",
    tag = "files",
    params(
        ("file_id" = Uuid, Path, description = "The file."),
        ("name" = String, Path, description = "The derivative's name.", min_length = 1, max_length = 200),
        DerivativeParameters,
    ),
    responses(
        (status = OK, description = "Where the bytes are.", body = DownloadBody),
        (status = FOUND, description = "With `redirect=1`.", headers(("Location" = String, description = "Where the bytes are."))),
        Refused::<404>, Refused::<409>,
    ),
)]
pub async fn download_derivative(
    State(state): State<HttpState>,
    caller: Caller,
    Path(part): Path<NamedPart>,
    Query(how): Query<DerivativeParameters>,
) -> Result<Response> {
    let signed = state
        .app
        .download_derivative(caller.principal(), part.file_id, &part.name)
        .await?;
    answer(signed, how.redirect, state.app.now())
}
