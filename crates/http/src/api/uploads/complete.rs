//! `POST /uploads/{id}/complete`.

use axum::extract::State;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::objects::CompletedPart;
use cloakroom_core::upload::PARTS_MAX;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::wire::FileBody;
use crate::auth::Caller;
use crate::extract::json::{Whole, objects};
use crate::extract::{OptionalJson, Path};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// The parts of the file.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteUploadRequest {
    /// In ascending order; empty takes what has arrived.
    #[serde(default, deserialize_with = "objects")]
    #[schema(max_items = 10_000)]
    parts: Vec<PartRef>,
}

/// Names an uploaded part.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartRef {
    /// 1 to 10,000.
    #[schema(value_type = u32, minimum = 1, maximum = 10_000)]
    part_number: Whole,
    /// The `ETag` that the store answered with, quotes allowed.
    #[schema(min_length = 1, max_length = 200)]
    etag: String,
}

/// Finish a multipart upload.
///
/// Puts the parts together and confirms the file.
#[utoipa::path(
    post,
    path = "/uploads/{file_id}/complete",
    operation_id = "complete_upload",
    tag = "uploads",
    params(("file_id" = Uuid, Path, description = "The file.")),
    request_body = Option<CompleteUploadRequest>,
    responses(
        (status = OK, description = "The confirmed file.", body = FileBody),
        Refused::<404>, Refused::<409>, Refused::<410>,
    ),
)]
pub async fn complete_upload(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<FileId>,
    OptionalJson(request): OptionalJson<CompleteUploadRequest>,
) -> Result<axum::Json<FileBody>> {
    if request.parts.len() > PARTS_MAX as usize {
        return Err(Problem::new(
            ErrorCode::InvalidRequest,
            format!("A file has at most {PARTS_MAX} parts."),
        )
        .with("field", "parts"));
    }
    let refused = |index: usize, field: &str, message: String| {
        Err(Problem::new(ErrorCode::InvalidRequest, message).with("field", format!("parts[{index}].{field}")))
    };
    let mut parts = Vec::with_capacity(request.parts.len());
    for (index, part) in request.parts.into_iter().enumerate() {
        let number = part.part_number.to_u32();
        if !(1..=PARTS_MAX).contains(&number) {
            return refused(
                index,
                "part_number",
                format!("A part number is 1 to {PARTS_MAX}."),
            );
        }
        if !(1..=200).contains(&part.etag.chars().count()) {
            return refused(index, "etag", "An ETag has 1 to 200 characters.".to_owned());
        }
        parts.push(CompletedPart {
            number,
            etag: part.etag,
            ..CompletedPart::default()
        });
    }
    let confirmed = state.app.complete_upload(caller.principal(), id, parts).await?;
    Ok(axum::Json(confirmed.file.into()))
}
