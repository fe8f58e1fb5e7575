//! Service tokens that configuration gives: of a backend or a bot whose secret comes out of its environment or a secret
//! store, not out of our database.

use std::fmt;
use std::sync::Arc;

use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::id::ServiceTokenId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// One such token, kept as its SHA-256.
#[derive(Clone)]
pub struct ConfiguredToken {
    digest: [u8; 32],
    principal: Arc<Principal>,
}

impl ConfiguredToken {
    /// The token with this text, of an application of this name, good for these collections. It acts as a user: what only
    /// operators and administrators may do it may not.
    pub fn new(text: &str, name: &str, collections: Vec<String>) -> Self {
        let principal = Principal {
            subject: name.to_owned(),
            role: Role::User,
            credential: Credential::ServiceToken {
                // No row has this id.
                id: ServiceTokenId(Uuid::nil()),
                collections: Some(collections),
            },
            username: name.to_owned(),
            full_name: None,
        };
        Self {
            digest: Sha256::digest(text).into(),
            principal: Arc::new(principal),
        }
    }
}

impl fmt::Debug for ConfiguredToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredToken")
            .field("name", &self.principal.subject)
            .finish_non_exhaustive()
    }
}

/// Whose token has this digest. All are compared, each in the same time whatever was presented.
pub(super) fn find(tokens: &[ConfiguredToken], digest: &[u8; 32]) -> Option<Arc<Principal>> {
    tokens.iter().fold(None, |found, token| {
        let same: bool = token.digest.ct_eq(digest).into();
        if same {
            Some(Arc::clone(&token.principal))
        } else {
            found
        }
    })
}
