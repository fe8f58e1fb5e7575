//! `POST /uploads/batch`.

use axum::extract::State;
use cloakroom_core::error::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::sign::{SignUploadRequest, SignedUploadBody, signed_status};
use crate::auth::Caller;
use crate::client_address::ClientAddress;
use crate::extract::Json;
use crate::extract::json::objects;
use crate::openapi::Refused;
use crate::problem::{Problem, ProblemBody, Result};
use crate::rate_limits::Signing;
use crate::request_id::RequestId;
use crate::state::HttpState;

/// Most uploads in one request.
const BATCH_MAX: usize = 100;

/// Uploads to sign.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignBatchRequest {
    /// One to a hundred.
    #[serde(deserialize_with = "objects")]
    #[schema(min_items = 1, max_items = 100)]
    uploads: Vec<SignUploadRequest>,
    /// Whether one refusal refuses all.
    #[serde(default)]
    #[schema(default = false)]
    atomic: bool,
}

/// What became of each upload, in the order of the request.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedBatch)]
pub struct SignedBatchBody {
    /// One result per upload.
    results: Vec<BatchResult>,
}

/// What became of one upload: `upload` or `error`.
#[derive(Serialize, ToSchema)]
pub struct BatchResult {
    /// The HTTP status that the upload alone would have got.
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
    /// What to send where.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SignedUploadBody, required = false)]
    upload: Option<SignedUploadBody>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ProblemBody, required = false)]
    error: Option<ProblemBody>,
}

impl BatchResult {
    fn refused(problem: &Problem, request_id: &RequestId) -> Self {
        Self {
            status: problem.status().as_u16(),
            upload: None,
            error: Some(problem.body(request_id)),
        }
    }
}

/// Sign up to 100 uploads.
///
/// Each gets its own result, unless `atomic`: then nothing is signed if one is refused, and `details.index` of the
/// error says which.
#[utoipa::path(
    post,
    path = "/uploads/batch",
    operation_id = "sign_uploads",
    tag = "uploads",
    request_body = SignBatchRequest,
    params(
        ("x-cloakroom-owner" = Option<String>, Header, description = "For whom; service tokens and administrators only.", min_length = 1, max_length = 200, pattern = "^[!-~]+$"),
    ),
    responses(
        (status = OK, description = "What became of each.", body = SignedBatchBody),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<429>,
    ),
)]
pub async fn sign_uploads(
    State(state): State<HttpState>,
    caller: Caller,
    address: ClientAddress,
    request_id: RequestId,
    Json(request): Json<SignBatchRequest>,
) -> Result<axum::Json<SignedBatchBody>> {
    if !(1..=BATCH_MAX).contains(&request.uploads.len()) {
        return Err(Problem::new(
            ErrorCode::InvalidRequest,
            format!("A batch has 1 to {BATCH_MAX} uploads."),
        )
        .with("field", "uploads"));
    }
    // Checked to be few above.
    let cost = request.uploads.len() as u32;
    state
        .admit_signing(&caller, address, Signing::Uploads(cost))
        .await?;
    let mut read = Vec::with_capacity(request.uploads.len());
    for (index, item) in request.uploads.into_iter().enumerate() {
        match item.into_service(&caller, None) {
            Err(problem) if request.atomic => return Err(problem.with("index", index)),
            item => read.push(item),
        }
    }
    let wanted: Vec<_> = read
        .iter()
        .filter_map(|item| item.as_ref().ok().cloned())
        .collect();
    let signed = if wanted.is_empty() {
        Vec::new()
    } else {
        state
            .app
            .sign_batch(caller.principal(), wanted, request.atomic)
            .await?
    };
    let mut signed = signed.into_iter();
    let results = read.into_iter().map(|item| match item.map(|_| signed.next()) {
        Ok(Some(Ok(upload))) => BatchResult {
            status: signed_status(&upload).as_u16(),
            upload: Some(upload.into()),
            error: None,
        },
        Ok(Some(Err(error))) => BatchResult::refused(&error.into(), &request_id),
        Ok(None) => BatchResult::refused(
            &Problem::internal("a batch with fewer results than uploads"),
            &request_id,
        ),
        Err(problem) => BatchResult::refused(&problem, &request_id),
    });
    Ok(axum::Json(SignedBatchBody {
        results: results.collect(),
    }))
}
