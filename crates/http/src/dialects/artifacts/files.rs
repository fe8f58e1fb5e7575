//! `GET /files/{file_id}/download` and `GET /me/files`.

use axum::extract::State;
use axum::response::Response;
use cloakroom_core::file::{File, FileState};
use cloakroom_core::id::FileId;
use cloakroom_core::ports::metadata::{Cursor, FileQuery};
use cloakroom_core::record::Record;
use cloakroom_service::artifacts::{ARTIFACT, SESSION};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::cursor;
use crate::api::files::download::{DownloadBody, DownloadParameters, answer};
use crate::api::files::list::ListFilesParameters;
use crate::api::me::acting_for;
use crate::api::wire::state_schema;
use crate::auth::Caller;
use crate::dialects::Dialect;
use crate::extract::{Path, Query};
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// What a user's files are without being asked for by state: those that came in and may be had.
const STATES: [FileState; 4] = [
    FileState::Confirmed,
    FileState::Processing,
    FileState::Ready,
    FileState::Archived,
];

/// A file of an artifact.
#[derive(Serialize, ToSchema)]
#[schema(as = ArtifactFile)]
pub struct ArtifactFileBody {
    /// Its id.
    file_id: Uuid,
    /// The artifact that it is of.
    artifact_id: Option<String>,
    /// The session that the artifact is of.
    session_id: Option<String>,
    /// The `doc_id` of the artifact's meta, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    doc_id: Option<Value>,
    /// The artifact's type, where its meta says one.
    #[serde(rename = "type")]
    #[schema(value_type = Option<Value>)]
    kind: Option<Value>,
    /// The artifact's format, where its meta says one.
    #[schema(value_type = Option<Value>)]
    format: Option<Value>,
    /// Where it stands; `ready` files can be downloaded.
    #[schema(schema_with = state_schema)]
    state: &'static str,
    /// The name that a download carries.
    filename: String,
    /// Where the bytes are.
    bucket: String,
    /// Where the bytes are in it.
    object_key: String,
    /// The type of the bytes.
    content_type: String,
    /// Their number.
    size_bytes: Option<u64>,
    /// When the file came in.
    created_at: Timestamp,
    /// When anything last changed.
    updated_at: Timestamp,
}

/// A page of them, newest first.
#[derive(Serialize, ToSchema)]
#[schema(as = ArtifactFileList)]
pub struct ArtifactFileListBody {
    /// The files.
    files: Vec<ArtifactFileBody>,
    /// Where the next page begins; `null` at the end.
    next_cursor: Option<String>,
}

impl From<(File, Option<Record>)> for ArtifactFileBody {
    fn from((file, record): (File, Option<Record>)) -> Self {
        let artifact = record.filter(|record| record.key.kind() == ARTIFACT);
        let meta = |name: &str| {
            artifact
                .as_ref()
                .and_then(|record| record.meta.get(name).cloned())
        };
        let session = artifact.as_ref().and_then(|record| record.parent.as_ref());
        let key = file.record.as_ref().filter(|key| key.kind() == ARTIFACT);
        Self {
            file_id: file.id.0,
            artifact_id: key.map(|key| key.id().to_owned()),
            session_id: session
                .filter(|parent| parent.kind() == SESSION)
                .map(|parent| parent.id().to_owned()),
            doc_id: meta("doc_id"),
            kind: meta("type"),
            format: meta("format"),
            state: file.state.as_str(),
            content_type: file.content_type().to_string(),
            size_bytes: file.size_bytes(),
            filename: file.filename,
            bucket: file.bucket,
            object_key: file.key,
            created_at: file.created_at,
            updated_at: file.updated_at,
        }
    }
}

/// Download a file.
///
/// A signed URL for its bytes; only the owner of its session gets one.
#[utoipa::path(
    get,
    path = "/files/{file_id}/download",
    operation_id = "artifacts_download",
    tag = "dialect: artifacts",
    params(("file_id" = Uuid, Path, description = "The file."), DownloadParameters),
    responses(
        (status = OK, description = "Where the bytes are.", body = DownloadBody),
        (status = FOUND, description = "With `redirect=1`.", headers(("Location" = String, description = "Where the bytes are."))),
        Refused::<404>, Refused::<409>,
    ),
)]
pub async fn download(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    Query(how): Query<DownloadParameters>,
) -> Result<Response> {
    let signed = state.app.download(caller.principal(), id, how.inline).await?;
    answer(signed, how.redirect, state.app.now())
}

/// List your own files.
///
/// Those of artifacts, with what the artifact says of them; another `collection` where the query names one.
#[utoipa::path(
    get,
    path = "/me/files",
    operation_id = "artifacts_list",
    tag = "dialect: artifacts",
    params(
        ListFilesParameters,
        ("x-cloakroom-owner" = Option<String>, Header, description = "Whose, for service tokens and administrators.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses((status = OK, description = "A page of files.", body = ArtifactFileListBody), Refused::<403>),
)]
pub async fn list(
    State(state): State<HttpState>,
    caller: Caller,
    Query(mut query): Query<FileQuery>,
) -> Result<axum::Json<ArtifactFileListBody>> {
    query.owner = Some(acting_for(&caller)?);
    query
        .collections
        .get_or_insert_with(|| vec![Dialect::Artifacts.collection().to_owned()]);
    if query.states.is_empty() {
        query.states = STATES.to_vec();
    }
    let page = state.app.files_with_records(caller.principal(), query).await?;
    let last = page.items.last().filter(|_| page.more);
    let next_cursor = last.map(|(file, _)| {
        cursor::encode(&Cursor {
            created_at: file.created_at,
            id: file.id,
        })
    });
    Ok(axum::Json(ArtifactFileListBody {
        files: page.items.into_iter().map(ArtifactFileBody::from).collect(),
        next_cursor,
    }))
}
