//! The digest of bytes while they pass by.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use cloakroom_core::checksum::Sha256Digest;
use futures_util::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};

/// A SHA-256 in the making. Cloning shares it.
#[derive(Clone, Default)]
pub(crate) struct PassingDigest(Arc<Mutex<Sha256>>);

impl PassingDigest {
    /// The stream, each piece of which counts when it is taken.
    pub(crate) fn of<E, S: Stream<Item = Result<Bytes, E>>>(
        &self,
        stream: S,
    ) -> impl Stream<Item = Result<Bytes, E>> + use<E, S> {
        let digest = Arc::clone(&self.0);
        stream.inspect(move |piece| {
            if let Ok(piece) = piece {
                // A digest has no state that a panic could leave half made.
                digest
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .update(piece);
            }
        })
    }

    /// The digest of what has passed, from where it begins anew.
    pub(crate) fn take(&self) -> Sha256Digest {
        let digest = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Sha256Digest(digest.finalize().into())
    }
}
