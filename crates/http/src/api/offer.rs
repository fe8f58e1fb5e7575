//! `/me/offer`: terms that the caller accepts before they may upload, where the operator asks for that.

use axum::extract::State;
use cloakroom_service::offers::Offer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::extract::OptionalJson;
use crate::openapi::Refused;
use crate::problem::Result;
use crate::state::HttpState;

/// The offer as the caller has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Offer)]
pub struct OfferBody {
    /// The version in force; `null` when nothing has to be accepted.
    #[schema(example = "2026-11")]
    version: Option<String>,
    /// Whether the caller may upload as far as the offer is concerned.
    accepted: bool,
    /// When they accepted this version.
    accepted_at: Option<Timestamp>,
}

impl From<Offer> for OfferBody {
    fn from(offer: Offer) -> Self {
        Self {
            accepted: offer.version.is_none() || offer.accepted_at.is_some(),
            version: offer.version,
            accepted_at: offer.accepted_at,
        }
    }
}

/// An acceptance.
#[derive(Default, Deserialize, ToSchema)]
pub struct AcceptOfferRequest {
    /// The version that the user has read; refused when another one is in force.
    #[schema(value_type = Option<String>)]
    pub(crate) version: Option<String>,
}

/// See what is to be accepted.
#[utoipa::path(
    get,
    path = "/me/offer",
    operation_id = "get_my_offer",
    tag = "me",
    responses((status = OK, description = "The offer in force.", body = OfferBody)),
)]
pub async fn get_my_offer(State(state): State<HttpState>, caller: Caller) -> Result<axum::Json<OfferBody>> {
    Ok(axum::Json(state.app.offer(caller.principal()).await?.into()))
}

/// Accept the offer.
///
/// For the caller and for the version in force. Accepting twice is accepting once.
#[utoipa::path(
    post,
    path = "/me/offer",
    operation_id = "accept_my_offer",
    tag = "me",
    request_body = Option<AcceptOfferRequest>,
    responses((status = OK, description = "It is accepted.", body = OfferBody), Refused::<409>),
)]
pub async fn accept_my_offer(
    State(state): State<HttpState>,
    caller: Caller,
    OptionalJson(request): OptionalJson<AcceptOfferRequest>,
) -> Result<axum::Json<OfferBody>> {
    let version = request.version.as_deref();
    Ok(axum::Json(
        state.app.accept_offer(caller.principal(), version).await?.into(),
    ))
}
