//! `POST /files/{id}/variants` and `GET /variants/{id}`: pictures of an image, as one asks for them.

use std::str::FromStr;

use axum::extract::State;
use axum::response::Response;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::FileId;
use cloakroom_core::image::{Fit, ImageFormat, Rendition};
use cloakroom_service::variants::{SignedVariant, VariantRequest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::files::download::redirect;
use crate::auth::Caller;
use crate::extract::json::Whole;
use crate::extract::query::{FromQuery, Parameters};
use crate::extract::{Json, Path, Query};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// How a picture gets into its box; see CSS `object-fit`.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = Fit)]
pub enum FitName {
    /// As large as fits, never larger than it is.
    Contain,
    /// Covers the box, what stands over is cut off; never larger than it is. Needs both sides.
    Cover,
    /// Exactly the box, stretched. Needs both sides.
    Fill,
}

/// What a picture is written as.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ImageFormat)]
pub enum FormatName {
    /// JPEG, or where there is alpha a format that keeps it.
    Auto,
    /// `image/jpeg`.
    Jpeg,
    /// `image/webp`.
    Webp,
    /// `image/png`.
    Png,
}

/// A picture to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignVariantRequest {
    /// Width of the box, in pixels. One of `w` and `h` may be left out with `fit=contain`.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 4096)]
    w: Option<Whole>,
    /// Height of the box, in pixels.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 4096)]
    h: Option<Whole>,
    /// By default `contain`.
    #[schema(inline)]
    fit: Option<FitName>,
    /// By default that of the collection.
    #[schema(inline)]
    format: Option<FormatName>,
    /// 1 to 100; by default that of the collection. PNG knows no quality.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100)]
    quality: Option<Whole>,
    /// How long the URL is good for, at most and by default as long as a download of the collection.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 604_800)]
    expires_in_seconds: Option<Whole>,
}

impl From<SignVariantRequest> for VariantRequest {
    fn from(request: SignVariantRequest) -> Self {
        Self {
            width: request.w.map(Whole::to_u32),
            height: request.h.map(Whole::to_u32),
            fit: request.fit.map(|fit| match fit {
                FitName::Contain => Fit::Contain,
                FitName::Cover => Fit::Cover,
                FitName::Fill => Fit::Fill,
            }),
            format: request.format.map(|format| match format {
                FormatName::Auto => ImageFormat::Auto,
                FormatName::Jpeg => ImageFormat::Jpeg,
                FormatName::Webp => ImageFormat::Webp,
                FormatName::Png => ImageFormat::Png,
            }),
            // Beyond a byte is beyond the limit as well.
            quality: request
                .quality
                .map(|Whole(quality)| u8::try_from(quality).unwrap_or(u8::MAX)),
            expires_in_seconds: request.expires_in_seconds.map(Whole::to_u32),
        }
    }
}

/// Where a variant is.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedVariant)]
pub struct SignedVariantBody {
    /// Whoever has it may fetch the picture. It is made when it is first fetched.
    #[schema(format = "uri")]
    url: String,
    /// Until when.
    expires_at: Timestamp,
    /// The name that it will have among the file's `derivatives`.
    #[schema(example = "variant-52a1c9c16e3f0d1b")]
    name: String,
}

/// Sign a variant.
///
/// A URL for a picture of an image, which needs no token: for an `img` element, for example. It is good for exactly
/// this picture. For ready images of collections with `variants`.
#[utoipa::path(
    post,
    path = "/files/{file_id}/variants",
    operation_id = "sign_variant",
    tag = "files",
    params(("file_id" = Uuid, Path, description = "The file.")),
    request_body = SignVariantRequest,
    responses(
        (status = OK, description = "Where the picture is.", body = SignedVariantBody),
        Refused::<404>, Refused::<409>,
    ),
)]
pub async fn sign_variant(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    Json(request): Json<SignVariantRequest>,
) -> Result<axum::Json<SignedVariantBody>> {
    let signed = state
        .app
        .sign_variant(caller.principal(), id, request.into())
        .await?;
    Ok(axum::Json(SignedVariantBody {
        url: state.url_of(&format!(
            "/api/v1/variants/{id}?{}&expires={}&signature={}",
            signed.rendition.query(),
            signed.expires_at.as_second(),
            signed.signature
        )),
        expires_at: signed.expires_at,
        name: signed.name(),
    }))
}

/// What was signed; nothing of it can be changed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct VariantParameters {
    /// Width of the box.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 4096)]
    w: Option<u32>,
    /// Height of the box.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 4096)]
    h: Option<u32>,
    /// How the picture gets into the box.
    #[param(value_type = FitName, inline)]
    fit: Fit,
    /// What it is written as.
    #[param(value_type = FormatName, inline)]
    format: ImageFormat,
    /// How good it is.
    #[param(value_type = u32, minimum = 1, maximum = 100)]
    quality: u8,
    /// Until when, in seconds since 1970.
    #[param(value_type = i64)]
    expires: Timestamp,
    /// What makes it one of ours.
    #[param(value_type = String, min_length = 64, max_length = 64, pattern = "^[0-9a-f]{64}$")]
    signature: String,
}

impl FromQuery for VariantParameters {
    /// Whatever is not spelled as we spell it was not signed by us.
    fn from_query(query: &mut Parameters) -> Result<Self> {
        let second: i64 = number(query, "expires")?.ok_or_else(|| not_signed("expires"))?;
        Ok(Self {
            w: number(query, "w")?,
            h: number(query, "h")?,
            fit: named(query, "fit", Fit::parse)?,
            format: named(query, "format", ImageFormat::parse)?,
            quality: number(query, "quality")?.ok_or_else(|| not_signed("quality"))?,
            expires: Timestamp::from_second(second).map_err(|_| not_signed("expires"))?,
            signature: query.text("signature").ok_or_else(|| not_signed("signature"))?,
        })
    }
}

fn number<T: FromStr + ToString>(query: &mut Parameters, name: &str) -> Result<Option<T>> {
    let read = |text: String| {
        let number = text.parse().ok().filter(|number: &T| number.to_string() == text);
        number.ok_or_else(|| not_signed(name))
    };
    query.text(name).map(read).transpose()
}

fn named<T>(query: &mut Parameters, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T> {
    let text = query.text(name);
    text.as_deref().and_then(parse).ok_or_else(|| not_signed(name))
}

fn not_signed(name: &str) -> Problem {
    Problem::new(
        ErrorCode::InvalidSignature,
        "The URL is not one that was signed here; use it exactly as it was given.",
    )
    .with("parameter", name)
}

/// Get a variant.
///
/// The address comes from signing a variant and needs no token. The picture is made when it is first asked for, and
/// kept. Answers with a redirect to its bytes.
#[utoipa::path(
    get,
    path = "/variants/{file_id}",
    operation_id = "get_variant",
    tag = "files",
    security(()),
    params(("file_id" = Uuid, Path, description = "The file."), VariantParameters),
    responses(
        (status = FOUND, description = "To the picture.", headers(("Location" = String, description = "Where the bytes are."))),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>, Refused::<422>, Refused::<429>, Refused::<503>,
    ),
)]
pub async fn get_variant(
    State(state): State<HttpState>,
    Path(file_id): Path<FileId>,
    Query(asked): Query<VariantParameters>,
) -> Result<Response> {
    let asked = SignedVariant {
        file_id,
        rendition: Rendition {
            width: asked.w,
            height: asked.h,
            fit: asked.fit,
            format: asked.format,
            quality: asked.quality,
        },
        expires_at: asked.expires,
        signature: asked.signature,
    };
    let signed = state.app.variant(&asked).await?;
    redirect(signed, state.app.now())
}
