//! `/admin/service-tokens`: secrets of applications and bots.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::access::Role;
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::ServiceTokenId;
use cloakroom_core::ports::metadata::ServiceToken;
use cloakroom_service::tokens::{NewServiceToken, SERVICE_TOKEN_PREFIX};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::Caller;
use crate::extract::{Json, Path};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// The role of a service token.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Its own files and those of owners it names.
    #[default]
    User,
    /// Reads everything.
    Operator,
    /// Everything.
    Admin,
}

/// A new service token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateServiceTokenRequest {
    /// The application's name; it owns what the application creates for itself.
    #[schema(min_length = 1, max_length = 100, pattern = "^[ -~]+$", example = "billing")]
    name: String,
    /// What it may do.
    #[serde(default)]
    #[schema(default = "user")]
    role: RoleName,
    /// The collections that it is scoped to; `null` is all.
    #[schema(max_items = 100)]
    collections: Option<Vec<String>>,
    /// When it ends by itself.
    expires_at: Option<Timestamp>,
}

/// A service token, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceToken)]
pub struct ServiceTokenBody {
    /// Its id, which is not the secret.
    id: Uuid,
    /// The application's name.
    name: String,
    /// What it may do.
    #[schema(pattern = "^(user|operator|admin)$")]
    role: &'static str,
    /// The collections that it is scoped to; `null` is all.
    collections: Option<Vec<String>>,
    /// When it was made.
    created_at: Timestamp,
    /// When it ends by itself.
    expires_at: Option<Timestamp>,
    /// When it was revoked.
    revoked_at: Option<Timestamp>,
    /// The secret; only in the answer that makes the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, pattern = "^clk_[A-Za-z0-9_-]{43}$")]
    secret: Option<String>,
}

/// Every service token.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceTokenList)]
pub struct ServiceTokenListBody {
    /// Newest first.
    service_tokens: Vec<ServiceTokenBody>,
}

impl From<ServiceToken> for ServiceTokenBody {
    fn from(token: ServiceToken) -> Self {
        Self {
            id: token.id.0,
            name: token.name,
            role: token.role.as_str(),
            collections: token.collections,
            created_at: token.created_at,
            expires_at: token.expires_at,
            revoked_at: token.revoked_at,
            secret: None,
        }
    }
}

/// Make a service token.
///
/// The answer shows the secret, once.
#[utoipa::path(
    post,
    path = "/admin/service-tokens",
    operation_id = "create_service_token",
    tag = "admin",
    request_body = CreateServiceTokenRequest,
    responses(
        (status = CREATED, description = "The token and its secret.", body = ServiceTokenBody),
        Refused::<403>, Refused::<404>,
    ),
)]
pub async fn create_service_token(
    State(state): State<HttpState>,
    caller: Caller,
    Json(request): Json<CreateServiceTokenRequest>,
) -> Result<Response> {
    caller.require(Role::Admin)?;
    if !request.name.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err(Problem::new(
            ErrorCode::InvalidRequest,
            "A service token's name is printable ASCII.",
        )
        .with("field", "name"));
    }
    if request
        .collections
        .as_ref()
        .is_some_and(|names| names.len() > 100)
    {
        return Err(Problem::new(
            ErrorCode::InvalidRequest,
            "A service token has at most 100 collections.",
        )
        .with("field", "collections"));
    }
    let secret = format!(
        "{SERVICE_TOKEN_PREFIX}{}",
        URL_SAFE_NO_PAD.encode(rand::random::<[u8; SECRET_BYTES]>())
    );
    let new = NewServiceToken {
        name: request.name,
        role: match request.role {
            RoleName::User => Role::User,
            RoleName::Operator => Role::Operator,
            RoleName::Admin => Role::Admin,
        },
        collections: request.collections,
        expires_at: request.expires_at,
    };
    let token = state
        .app
        .create_service_token(caller.principal(), new, &secret)
        .await?;
    let body = ServiceTokenBody {
        secret: Some(secret),
        ..token.into()
    };
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

/// List the service tokens.
#[utoipa::path(
    get,
    path = "/admin/service-tokens",
    operation_id = "list_service_tokens",
    tag = "admin",
    responses((status = OK, description = "Every token.", body = ServiceTokenListBody), Refused::<403>),
)]
pub async fn list_service_tokens(
    State(state): State<HttpState>,
    caller: Caller,
) -> Result<axum::Json<ServiceTokenListBody>> {
    let tokens = state.app.service_tokens(caller.principal()).await?;
    Ok(axum::Json(ServiceTokenListBody {
        service_tokens: tokens.into_iter().map(ServiceTokenBody::from).collect(),
    }))
}

/// Revoke a service token.
///
/// It is refused everywhere within five seconds.
#[utoipa::path(
    delete,
    path = "/admin/service-tokens/{token_id}",
    operation_id = "revoke_service_token",
    tag = "admin",
    params(("token_id" = Uuid, Path, description = "The token, by its id.")),
    responses((status = NO_CONTENT, description = "Revoked."), Refused::<403>, Refused::<404>),
)]
pub async fn revoke_service_token(
    State(state): State<HttpState>,
    caller: Caller,
    Path(id): Path<ServiceTokenId>,
) -> Result<StatusCode> {
    state.app.revoke_service_token(caller.principal(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}
