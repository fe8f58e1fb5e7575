//! `/collections`: what the policies ask of clients.

use axum::extract::State;
use cloakroom_core::collection::Collection;
use cloakroom_core::image::Thumbnail;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::extract::Path;
use crate::extract::path::Name;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// A policy, as far as clients need it.
#[derive(Serialize, ToSchema)]
#[schema(as = Collection)]
pub struct CollectionBody {
    /// Its name in requests.
    name: String,
    /// What it is for.
    description: String,
    /// Types taken, as `type/subtype` or `type/*`; empty takes every type.
    content_types: Vec<String>,
    /// Extensions taken, without the dot; empty takes every name.
    extensions: Vec<String>,
    /// Smallest file in bytes.
    size_bytes_min: u64,
    /// Largest file in bytes.
    size_bytes_max: u64,
    /// Upload methods that are offered; `stream` is `POST /files`.
    methods: Vec<&'static str>,
    /// The method when a request names none.
    default_method: &'static str,
    /// How long a signed upload may be used.
    upload_expires_seconds: u32,
    /// How long a signed download may be used.
    download_expires_seconds: u32,
    /// How long a deleted file can be restored.
    trash_seconds: u64,
    /// Whether uploads are confirmed as soon as they are complete.
    auto_confirm: bool,
    /// `private` or `public-read`.
    visibility: &'static str,
    /// What is made of every image, if its processors make any.
    thumbnails: Vec<ThumbnailBody>,
    /// Whether other pictures of an image can be had: `POST /files/{file_id}/variants`.
    variants: bool,
}

/// A picture that is made of every image.
#[derive(Serialize, ToSchema)]
#[schema(as = Thumbnail)]
pub struct ThumbnailBody {
    /// The name of the derivative.
    #[schema(example = "thumbnail-256")]
    name: String,
    /// Width of the box, in pixels.
    width: u32,
    /// Height of the box, in pixels.
    height: u32,
    /// How it gets into the box: `contain`, `cover`, `fill`.
    fit: &'static str,
}

impl From<&Thumbnail> for ThumbnailBody {
    fn from(thumbnail: &Thumbnail) -> Self {
        Self {
            name: thumbnail.name.clone(),
            width: thumbnail.width,
            height: thumbnail.height,
            fit: thumbnail.fit.as_str(),
        }
    }
}

/// Every policy.
#[derive(Serialize, ToSchema)]
#[schema(as = CollectionList)]
pub struct CollectionListBody {
    /// By name.
    collections: Vec<CollectionBody>,
}

fn body(state: &HttpState, collection: &Collection) -> CollectionBody {
    CollectionBody {
        name: collection.name.clone(),
        description: collection.description.clone(),
        content_types: collection.content_types.clone(),
        extensions: collection.extensions.clone(),
        size_bytes_min: collection.size_bytes_min,
        size_bytes_max: collection.size_bytes_max,
        methods: state
            .app
            .policy
            .methods
            .iter()
            .map(|method| method.as_str())
            .collect(),
        default_method: collection.default_method.as_str(),
        upload_expires_seconds: collection.upload_expires_seconds,
        download_expires_seconds: collection.download_expires_seconds,
        trash_seconds: collection.trash_seconds,
        auto_confirm: collection.auto_confirm,
        visibility: collection.visibility.as_str(),
        thumbnails: collection
            .images
            .thumbnails
            .iter()
            .map(ThumbnailBody::from)
            .collect(),
        variants: collection.images.variants,
    }
}

/// List the collections.
#[utoipa::path(
    get,
    path = "/collections",
    operation_id = "list_collections",
    tag = "collections",
    responses((status = OK, description = "Those that the caller may use.", body = CollectionListBody)),
)]
pub async fn list_collections(
    State(state): State<HttpState>,
    caller: Caller,
) -> axum::Json<CollectionListBody> {
    let usable = state
        .app
        .collections
        .values()
        .filter(|one| caller.principal().may_use_collection(&one.name));
    axum::Json(CollectionListBody {
        collections: usable.map(|one| body(&state, one)).collect(),
    })
}

/// Get a collection.
#[utoipa::path(
    get,
    path = "/collections/{name}",
    operation_id = "get_collection",
    tag = "collections",
    params(("name" = String, Path, description = "Its name.", min_length = 1, max_length = 100)),
    responses((status = OK, description = "The policy.", body = CollectionBody), Refused::<404>),
)]
pub async fn get_collection(
    State(state): State<HttpState>,
    _caller: Caller,
    Path(Name(name)): Path<Name>,
) -> Result<axum::Json<CollectionBody>> {
    let collection = state.app.collection(&name)?;
    Ok(axum::Json(body(&state, collection)))
}
