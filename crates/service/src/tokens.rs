//! Service tokens: opaque secrets of applications and bots, kept only as SHA-256 (design §6).

use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::id::ServiceTokenId;
use cloakroom_core::ports::metadata::ServiceToken;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::error::Result;

/// How every service token begins, so that leaked ones are found by secret scanners.
pub const SERVICE_TOKEN_PREFIX: &str = "clk_";
/// Longest name of a service token, in bytes.
const NAME_BYTES_MAX: usize = 100;

/// What a new service token may do.
#[derive(Clone, Debug)]
pub struct NewServiceToken {
    /// The application's name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The collections it is scoped to; `None` is all.
    pub collections: Option<Vec<String>>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// The SHA-256 under which a secret is kept.
pub fn secret_digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

impl App {
    /// Keeps a token whose secret the caller drew; the secret itself is not kept.
    pub async fn create_service_token(
        &self,
        principal: &Principal,
        new: NewServiceToken,
        secret: &str,
    ) -> Result<ServiceToken> {
        require_admin(principal)?;
        if new.name.is_empty() || new.name.len() > NAME_BYTES_MAX || new.name.chars().any(char::is_control) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("A service token's name is 1 to {NAME_BYTES_MAX} bytes without control characters."),
            )
            .with("field", "name")
            .into());
        }
        for name in new.collections.iter().flatten() {
            self.collection(name)?;
        }
        let now = self.now();
        let token = ServiceToken {
            id: ServiceTokenId(self.random.uuid_v7(now)),
            name: new.name,
            role: new.role,
            collections: new.collections,
            secret_sha256: secret_digest(secret),
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        self.metadata.put_service_token(&token).await?;
        Ok(token)
    }

    /// Every service token, newest first.
    pub async fn service_tokens(&self, principal: &Principal) -> Result<Vec<ServiceToken>> {
        require_admin(principal)?;
        Ok(self.metadata.service_tokens().await?)
    }

    /// Revokes a service token.
    pub async fn revoke_service_token(&self, principal: &Principal, id: ServiceTokenId) -> Result<()> {
        require_admin(principal)?;
        if self.metadata.revoke_service_token(id, self.now()).await? {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::NotFound,
            "There is no such service token, or it was revoked before.",
        )
        .into())
    }

    /// Who a secret belongs to. The lookup is by digest, so its time tells nothing about the secret.
    pub async fn authenticate_service_token(&self, secret: &str) -> Result<Principal> {
        let refused = || Refusal::new(ErrorCode::InvalidToken, "This service token is not known here.");
        let Some(token) = self.metadata.service_token(&secret_digest(secret)).await? else {
            return Err(refused().into());
        };
        if token.revoked_at.is_some() {
            return Err(refused().into());
        }
        if token.expires_at.is_some_and(|at| at <= self.now()) {
            return Err(Refusal::new(ErrorCode::TokenExpired, "This service token has expired.").into());
        }
        Ok(Principal {
            subject: token.name.clone(),
            role: token.role,
            credential: Credential::ServiceToken {
                id: token.id,
                collections: token.collections,
            },
            username: token.name,
            full_name: None,
        })
    }
}

/// The refusal of whoever is not an administrator.
pub fn require_admin(principal: &Principal) -> Result<()> {
    if principal.role >= Role::Admin {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::InsufficientPermissions, "This needs the role admin.").into())
}
