//! `/records/{type}/{id}`: the application's things that files hang on.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::JsonObject;
use cloakroom_core::ports::metadata::FileQuery;
use cloakroom_core::record::RecordKey;
use cloakroom_service::cascading::Deletion;
use cloakroom_service::records::PutRecord;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::admin::owners::DeletionParameters;
use crate::api::files::list::{FileListBody, ListFilesParameters};
use crate::api::wire::{RecordBody, RecordRef};
use crate::auth::Caller;
use crate::extract::json::nullable_object;
use crate::extract::{OptionalJson, Path, Query};
use crate::openapi::{RecordParameters, Refused};
use crate::problem::Result;
use crate::state::HttpState;

/// A record as it is to be; what is absent stays.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent and `null` mean different things")]
pub struct PutRecordRequest {
    /// The record that it belongs to; `null` removes it.
    #[serde(default, deserialize_with = "nullable_object")]
    #[schema(value_type = Option<RecordRef>)]
    parent: Option<Option<RecordRef>>,
    /// The application's own content, whole.
    #[schema(value_type = Option<Object>, additional_properties = true)]
    payload: Option<JsonObject>,
    /// The application's notes about it, whole.
    #[schema(value_type = Option<Object>, additional_properties = true)]
    meta: Option<JsonObject>,
    /// Whose it is, when it is new; service tokens and administrators only.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    )]
    owner: Option<String>,
}

/// Create or change a record.
#[utoipa::path(
    put,
    path = "/records/{type}/{id}",
    operation_id = "put_record",
    tag = "records",
    params(
        RecordParameters,
        ("x-cloakroom-owner" = Option<String>, Header, description = "As `owner`.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    request_body = Option<PutRecordRequest>,
    responses(
        (status = OK, description = "Changed.", body = RecordBody),
        (status = CREATED, description = "Created.", body = RecordBody),
        Refused::<403>, Refused::<404>, Refused::<409>,
    ),
)]
pub async fn put_record(
    State(state): State<HttpState>,
    caller: Caller,
    Path(key): Path<RecordKey>,
    OptionalJson(request): OptionalJson<PutRecordRequest>,
) -> Result<Response> {
    let put = PutRecord {
        parent: request
            .parent
            .map(|parent| parent.map(TryInto::try_into).transpose())
            .transpose()?,
        payload: request.payload,
        meta: request.meta,
        owner: caller.owner(request.owner)?,
    };
    let (record, created) = state.app.put_record(caller.principal(), &key, put).await?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, axum::Json(RecordBody::from(record))).into_response())
}

/// Get a record.
#[utoipa::path(
    get,
    path = "/records/{type}/{id}",
    operation_id = "get_record",
    tag = "records",
    params(RecordParameters),
    responses((status = OK, description = "The record.", body = RecordBody), Refused::<404>),
)]
pub async fn get_record(
    State(state): State<HttpState>,
    caller: Caller,
    Path(key): Path<RecordKey>,
) -> Result<axum::Json<RecordBody>> {
    let record = state.app.record(caller.principal(), &key).await?;
    Ok(axum::Json(record.into()))
}

/// Delete a record.
///
/// Its files go to the trash, or for good with `purge_now`, and the records below it go the same way. When one of the files
/// is on legal hold nothing is deleted, and the answer names it.
#[utoipa::path(
    delete,
    path = "/records/{type}/{id}",
    operation_id = "delete_record",
    tag = "records",
    params(RecordParameters, DeletionParameters),
    responses((status = NO_CONTENT, description = "Deleted."), Refused::<403>, Refused::<404>, Refused::<409>),
)]
pub async fn delete_record(
    State(state): State<HttpState>,
    caller: Caller,
    Path(key): Path<RecordKey>,
    Query(how): Query<DeletionParameters>,
) -> Result<StatusCode> {
    let deletion = Deletion {
        purge_now: how.purge_now,
    };
    state
        .app
        .delete_record(caller.principal(), &key, deletion)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the files of a record.
#[utoipa::path(
    get,
    path = "/records/{type}/{id}/files",
    operation_id = "list_record_files",
    tag = "records",
    params(RecordParameters, ListFilesParameters),
    responses((status = OK, description = "A page of files.", body = FileListBody), Refused::<403>, Refused::<404>),
)]
pub async fn list_record_files(
    State(state): State<HttpState>,
    caller: Caller,
    Path(key): Path<RecordKey>,
    Query(query): Query<FileQuery>,
) -> Result<axum::Json<FileListBody>> {
    let page = state.app.files_of_record(caller.principal(), &key, query).await?;
    Ok(axum::Json(FileListBody::of(page, &state)))
}
