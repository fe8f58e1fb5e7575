//! `GET /api/v1/complaints/{id}/photos`, `GET` and `DELETE /api/v1/complaints/{id}/photos/{photo_id}`.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::access::Role;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::ports::metadata::{Cursor, FileQuery};
use cloakroom_service::ServiceError;
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::COLLECTION;
use super::complaint::{Complaint, ComplaintParameters, PhotoPath};
use super::wire::PhotoBody;
use crate::api::cursor;
use crate::auth::Caller;
use crate::extract::query::{FromQuery, Parameters};
use crate::extract::{Path, Query};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Which page.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ListPhotosParameters {
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[A-Za-z0-9_-]{32}$")]
    cursor: Option<Cursor>,
    /// How many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: u32,
}

impl FromQuery for ListPhotosParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        Ok(Self {
            cursor: cursor::take(query)?,
            limit: query.limit()?,
        })
    }
}

/// A page of the photos of a complaint, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = PhotoList)]
pub(super) struct PhotoListBody {
    /// The complaint.
    complaint_id: String,
    /// The photos.
    photos: Vec<PhotoBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

/// List the photos of a complaint.
///
/// With URLs of those that are verified. A complaint that nothing was ever linked to has none.
#[utoipa::path(
    get,
    path = "/api/v1/complaints/{id}/photos",
    operation_id = "photos_list",
    tag = "dialect: photos",
    params(ComplaintParameters, ListPhotosParameters),
    responses((status = OK, description = "A page of photos.", body = PhotoListBody), Refused::<404>),
)]
pub(super) async fn list_photos(
    State(state): State<HttpState>,
    caller: Caller,
    Path(complaint): Path<Complaint>,
    Query(asked): Query<ListPhotosParameters>,
) -> Result<Response> {
    let principal = caller.principal();
    let query = FileQuery {
        collections: Some(vec![COLLECTION.to_owned()]),
        after: asked.cursor,
        limit: asked.limit,
        ..FileQuery::default()
    };
    let mut body = PhotoListBody {
        complaint_id: complaint.id().to_owned(),
        photos: Vec::new(),
        next_cursor: None,
    };
    match state.app.files_of_record(principal, &complaint.0, query).await {
        Ok(page) => {
            let last = page.items.last().filter(|_| page.more);
            body.next_cursor = last.map(|file| {
                cursor::encode(&Cursor {
                    created_at: file.created_at,
                    id: file.id,
                })
            });
            for (file, derivatives) in state.app.with_derivatives(page.items).await? {
                body.photos
                    .push(PhotoBody::of(file, derivatives, principal, &state)?);
            }
        }
        // The application's complaints are not all known here. Who may see every record learns nothing from an empty list;
        // to others an unknown complaint and a foreign one are the same.
        Err(ServiceError::Refused(refusal))
            if refusal.code == ErrorCode::RecordNotFound
                && (principal.serves(COLLECTION) || principal.role >= Role::Operator) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(([(header::CACHE_CONTROL, "private, no-cache")], axum::Json(body)).into_response())
}

/// Get a photo.
///
/// Once it is verified with short-lived URLs of the original and the thumbnails.
#[utoipa::path(
    get,
    path = "/api/v1/complaints/{id}/photos/{photo_id}",
    operation_id = "photos_get",
    tag = "dialect: photos",
    params(ComplaintParameters, ("photo_id" = Uuid, Path, description = "The photo.")),
    responses((status = OK, description = "The photo.", body = PhotoBody), Refused::<404>),
)]
pub(super) async fn get_photo(
    State(state): State<HttpState>,
    caller: Caller,
    Path(PhotoPath { complaint, photo_id }): Path<PhotoPath>,
) -> Result<Response> {
    let principal = caller.principal();
    let (file, derivatives) = state.app.file_with_derivatives(principal, photo_id).await?;
    complaint.admit(&file)?;
    let body = PhotoBody::of(file, derivatives, principal, &state)?;
    Ok(([(header::CACHE_CONTROL, "private, no-cache")], axum::Json(body)).into_response())
}

/// Delete a photo.
///
/// The original, its thumbnails and the row, for good where the collection keeps nothing in the trash (`trash_for`, as its
/// preset says), else when its time there is over.
#[utoipa::path(
    delete,
    path = "/api/v1/complaints/{id}/photos/{photo_id}",
    operation_id = "photos_delete",
    tag = "dialect: photos",
    params(ComplaintParameters, ("photo_id" = Uuid, Path, description = "The photo.")),
    responses((status = NO_CONTENT, description = "Deleted."), Refused::<404>, Refused::<409>),
)]
pub(super) async fn delete_photo(
    State(state): State<HttpState>,
    caller: Caller,
    Path(PhotoPath { complaint, photo_id }): Path<PhotoPath>,
) -> Result<StatusCode> {
    complaint.admit(&state.app.file(caller.principal(), photo_id).await?)?;
    state.app.delete_file(caller.principal(), photo_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
