//! `POST /offer/accept`: as the native `POST /me/offer`.

use axum::extract::State;

use crate::api::offer::{AcceptOfferRequest, OfferBody};
use crate::auth::Caller;
use crate::extract::OptionalJson;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// Accept the offer.
#[utoipa::path(
    post,
    path = "/offer/accept",
    operation_id = "artifacts_accept_offer",
    tag = "dialect: artifacts",
    request_body = Option<AcceptOfferRequest>,
    responses((status = OK, description = "It is accepted.", body = OfferBody), Refused::<409>),
)]
pub async fn accept(
    State(state): State<HttpState>,
    caller: Caller,
    OptionalJson(request): OptionalJson<AcceptOfferRequest>,
) -> Result<axum::Json<OfferBody>> {
    let version = request.version.as_deref();
    Ok(axum::Json(
        state.app.accept_offer(caller.principal(), version).await?.into(),
    ))
}
