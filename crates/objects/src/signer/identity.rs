//! Who signs: a key that never changes, or whatever credentials a source gave last.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use cloakroom_signing::{Credentials, Region, Signer};

use crate::credentials::CredentialsSource;

/// Signs in somebody's name.
pub(super) enum Identity {
    Fixed(Arc<Signer>),
    Changing {
        source: Arc<dyn CredentialsSource>,
        /// Kept while the credentials stay the same, because it keeps the day's key.
        last: ArcSwapOption<Known>,
    },
}

pub(super) struct Known {
    credentials: Credentials,
    signer: Arc<Signer>,
}

impl Identity {
    pub(super) fn fixed(signer: Signer) -> Self {
        Self::Fixed(Arc::new(signer))
    }

    pub(super) fn of(source: Arc<dyn CredentialsSource>) -> Self {
        Self::Changing {
            source,
            last: ArcSwapOption::empty(),
        }
    }

    pub(super) fn signer(&self, region: &Region) -> Arc<Signer> {
        let (source, last) = match self {
            Self::Fixed(signer) => return Arc::clone(signer),
            Self::Changing { source, last } => (source, last),
        };
        let credentials = source.latest();
        if let Some(known) = &*last.load()
            && known.credentials == credentials
        {
            return Arc::clone(&known.signer);
        }
        let signer = Arc::new(Signer::new(credentials.clone(), region.clone()));
        last.store(Some(Arc::new(Known {
            credentials,
            signer: Arc::clone(&signer),
        })));
        signer
    }
}
