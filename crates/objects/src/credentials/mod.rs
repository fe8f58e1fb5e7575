//! Where the credentials for a foreign S3 come from: fixed ones, or temporary ones that are fetched anew before they end.
//!
//! | file | what |
//! |---|---|
//! | `chain` | which source the environment names, in the order of the AWS SDKs |
//! | `renewal` | temporary credentials: kept, and fetched anew before they end |
//! | `container`, `instance`, `web_identity` | the services that give them out |

mod chain;
mod container;
mod instance;
mod issued;
mod renewal;
mod web_identity;

use async_trait::async_trait;
use cloakroom_signing::Credentials;

pub use self::chain::{ChainOptions, CredentialsChain, Source};

/// Why there are no credentials. No variant holds a token or a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing says where they could come from.
    #[error(
        "no credentials for the object store: set s3.access_key and s3.secret_key, or run where AWS gives them out (web identity, container or instance role)"
    )]
    NoSource,
    /// What says where they come from contradicts itself.
    #[error("no credentials for the object store: {0}")]
    Misconfigured(String),
    /// The file with the token cannot be read.
    #[error("no credentials for the object store: cannot read {path}: {reason}")]
    TokenFile {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// Whoever gives them out does not answer.
    #[error("no credentials for the object store: the {issuer} does not answer: {reason}")]
    Unreachable {
        /// Who.
        issuer: &'static str,
        /// Why.
        reason: String,
    },
    /// Whoever gives them out refuses to.
    #[error("no credentials for the object store: the {issuer} answered {status} {code}: {message}")]
    Refused {
        /// Who.
        issuer: &'static str,
        /// The HTTP status.
        status: u16,
        /// The code of the error, such as `InvalidIdentityToken`; empty where there is none.
        code: String,
        /// What it says.
        message: String,
    },
    /// What was given out cannot be read.
    #[error("no credentials for the object store: the answer of the {issuer} cannot be read: {reason}")]
    Unreadable {
        /// Who.
        issuer: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl CredentialsError {
    /// Whether trying again may help without anybody changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}

/// Gives the credentials that count now.
#[async_trait]
pub trait CredentialsSource: Send + Sync {
    /// Valid credentials, fetched if the last ones are about to end.
    async fn credentials(&self) -> Result<Credentials, CredentialsError>;

    /// The last ones that were fetched, for signing URLs, which waits for nothing.
    fn latest(&self) -> Credentials;
}

/// Credentials that do not change.
#[derive(Clone, Debug)]
pub struct StaticCredentials(pub Credentials);

#[async_trait]
impl CredentialsSource for StaticCredentials {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        Ok(self.0.clone())
    }

    fn latest(&self) -> Credentials {
        self.0.clone()
    }
}
