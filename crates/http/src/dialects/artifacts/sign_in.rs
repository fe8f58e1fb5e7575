//! `POST /auth/otp/request` and `/verify`: signing in by a code that is in the answer. In development alone.

use axum::extract::State;
use cloakroom_core::JsonObject;
use cloakroom_core::error::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::auth::mock_sign_in::{CODE_LIFE_SECONDS, MockSignIn};
use crate::extract::Json;
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Longest phone number (E.164) and e-mail address (RFC 5321) in bytes.
const PHONE_BYTES_MAX: usize = 16;
const EMAIL_BYTES_MAX: usize = 200;

/// Who wants to sign in: one of both.
#[derive(Deserialize, ToSchema)]
pub struct OtpRequest {
    /// A phone number, `+` and digits.
    #[schema(value_type = Option<String>, max_length = 16, pattern = "^\\+?[0-9]{5,15}$", example = "+79990001122")]
    phone: Option<String>,
    /// An e-mail address.
    #[schema(value_type = Option<String>, max_length = 200, pattern = "^[!-?A-~]+@[!-?A-~]+$")]
    email: Option<String>,
}

/// A code is on its way: here.
#[derive(Serialize, ToSchema)]
#[schema(as = Otp)]
pub struct OtpBody {
    /// `true`.
    ok: bool,
    /// Says that no message was sent.
    mock: bool,
    /// The code.
    #[schema(pattern = "^[0-9]{6}$")]
    code: String,
    /// How long it is good, in seconds.
    expires_in: u64,
}

/// Who has a code.
#[derive(Deserialize, ToSchema)]
pub struct OtpVerifyRequest {
    /// As it was requested.
    #[serde(flatten)]
    who: OtpRequest,
    /// What came.
    code: String,
}

/// Signed in.
#[derive(Serialize, ToSchema)]
#[schema(as = SignedIn)]
pub struct SignedInBody {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// `bearer`.
    token_type: &'static str,
    /// How long it is good, in seconds.
    expires_in: u64,
    /// Who one is now.
    user_id: String,
    /// A session to hang artifacts on: the record `session/{session_id}`.
    session_id: String,
}

/// Ask for a code.
#[utoipa::path(
    post,
    path = "/auth/otp/request",
    operation_id = "artifacts_request_otp",
    tag = "dialect: artifacts",
    security(()),
    request_body = OtpRequest,
    responses((status = OK, description = "The code.", body = OtpBody), Refused::<404>),
)]
pub async fn request(
    State(state): State<HttpState>,
    Json(request): Json<OtpRequest>,
) -> Result<axum::Json<OtpBody>> {
    let login = login(request)?;
    let code = mock(&state)?.begin(&state.app, &login);
    tracing::info!(event = "otp_requested", user_id = login, "a mock code was made");
    Ok(axum::Json(OtpBody {
        ok: true,
        mock: true,
        code,
        expires_in: CODE_LIFE_SECONDS,
    }))
}

/// Sign in with a code.
#[utoipa::path(
    post,
    path = "/auth/otp/verify",
    operation_id = "artifacts_verify_otp",
    tag = "dialect: artifacts",
    security(()),
    request_body = OtpVerifyRequest,
    responses((status = OK, description = "Signed in.", body = SignedInBody), Refused::<401>, Refused::<404>),
)]
pub async fn verify(
    State(state): State<HttpState>,
    Json(request): Json<OtpVerifyRequest>,
) -> Result<axum::Json<SignedInBody>> {
    let login = login(request.who)?;
    let signed_in = mock(&state)?.finish(&login, &request.code)?;
    let meta = JsonObject::from_iter([("source".to_owned(), "otp".into())]);
    let session = state.app.open_session(&signed_in.principal, None, meta).await?;
    Ok(axum::Json(SignedInBody {
        access_token: signed_in.token,
        token_type: "bearer",
        expires_in: signed_in.life_seconds,
        user_id: login,
        session_id: session.key.id().to_owned(),
    }))
}

/// Without a key to sign tokens with there is no such thing.
fn mock(state: &HttpState) -> Result<&MockSignIn> {
    state.settings.mock_sign_in.as_ref().ok_or_else(|| {
        Problem::new(
            ErrorCode::RouteNotFound,
            "There is no mock sign-in here; it takes --dev.",
        )
    })
}

/// The one that was given, as the token will name it. Neither can be the name of a user of another kind.
fn login(request: OtpRequest) -> Result<String> {
    let refused = |message: &str| Problem::new(ErrorCode::InvalidRequest, message);
    match (request.phone, request.email) {
        (Some(phone), None) => {
            let digits = phone.strip_prefix('+').unwrap_or(&phone);
            let fits = (5..PHONE_BYTES_MAX).contains(&digits.len());
            if fits && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                Ok(format!("+{digits}"))
            } else {
                Err(refused("A phone number is written as + and 5 to 15 digits.").with("field", "phone"))
            }
        }
        (None, Some(email)) => {
            let parts = email.split_once('@');
            let fits = email.len() <= EMAIL_BYTES_MAX && email.bytes().all(|byte| byte.is_ascii_graphic());
            if fits
                && parts
                    .is_some_and(|(name, host)| !name.is_empty() && !host.is_empty() && !host.contains('@'))
            {
                Ok(email.to_ascii_lowercase())
            } else {
                Err(refused("An e-mail address is written as name@host.").with("field", "email"))
            }
        }
        _ => Err(refused("Give a `phone` or an `email`, and not both.").with("field", "phone")),
    }
}
