//! `POST /debug/s3/put-test-pdf`: the whole way of an artifact in one request. In development alone.

use axum::extract::State;
use cloakroom_service::artifacts::TestPdf;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::dialects::Dialect;
use crate::dialects::settling::settled;
use crate::extract::OptionalJson;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::rate_limits::Signing;
use crate::state::HttpState;

/// What may be said about it; all of it, and the body itself, may be left out.
#[derive(Default, Deserialize, ToSchema)]
pub struct PutTestPdfRequest {
    /// A session of the caller; a new one without it.
    #[schema(
        value_type = Option<String>,
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f/]+$"
    )]
    session_id: Option<String>,
    /// Goes into the artifact's meta.
    #[schema(value_type = Option<String>, pattern = "^[^\\u0000]*$")]
    doc_id: Option<String>,
}

/// What was made.
#[derive(Serialize, ToSchema)]
#[schema(as = TestPdf)]
pub struct TestPdfBody {
    /// The file.
    file_id: Uuid,
    /// The artifact that it hangs on: the record `artifact/{artifact_id}`.
    artifact_id: String,
    /// The session of the artifact: the record `session/{session_id}`.
    session_id: Option<String>,
    /// Where the bytes are.
    bucket: String,
    /// Where the bytes are in it.
    object_key: String,
    /// `application/pdf`.
    content_type: String,
    /// How many bytes it has.
    size_bytes: Option<u64>,
    /// Whoever has it may fetch the bytes.
    #[schema(format = "uri")]
    download_url: String,
    /// Until when.
    expires_at: Timestamp,
}

/// Make a PDF and keep it as an artifact's file.
///
/// Answers when the file is verified.
#[utoipa::path(
    post,
    path = "/debug/s3/put-test-pdf",
    operation_id = "artifacts_put_test_pdf",
    tag = "dialect: artifacts",
    request_body = Option<PutTestPdfRequest>,
    params(("x-cloakroom-owner" = Option<String>, Header, description = "For whom; service tokens and administrators only.", min_length = 1, max_length = 200, pattern = "^[!-~]+$")),
    responses(
        (status = CREATED, description = "What was made.", body = TestPdfBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<429>, Refused::<507>,
    ),
)]
pub async fn put_test_pdf(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    headers: HeaderMap,
    OptionalJson(request): OptionalJson<PutTestPdfRequest>,
) -> Result<(StatusCode, axum::Json<TestPdfBody>)> {
    state.admit_signing(&caller, address, Signing::Uploads(1)).await?;
    let (app, principal) = (&state.app, caller.principal());
    let request = TestPdf {
        collection: Dialect::Artifacts.collection().to_owned(),
        session_id: request.session_id,
        doc_id: request.doc_id,
        owner: caller.owner(None)?,
    };
    let stored = Box::pin(app.put_test_pdf(principal, request)).await?;
    let id = stored.file.id;
    let file = settled(&state, &caller, stored.file, &headers).await?;
    // Refused by the same rules as any download, when it did not become ready.
    let signed = app.download(principal, id, false).await?;
    let session = stored.artifact.parent.as_ref();
    let body = TestPdfBody {
        file_id: id.0,
        artifact_id: stored.artifact.key.id().to_owned(),
        session_id: session.map(|session| session.id().to_owned()),
        content_type: file.content_type().to_string(),
        size_bytes: file.size_bytes(),
        bucket: file.bucket,
        object_key: file.key,
        download_url: signed.url,
        expires_at: signed.expires_at,
    };
    Ok((StatusCode::CREATED, axum::Json(body)))
}
