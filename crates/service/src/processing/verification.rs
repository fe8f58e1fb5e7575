//! Verification: one streaming pass over the bytes, and the verdict.

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::file::{File, FileError, Verified, checksum_mismatch};
use cloakroom_core::media::{self, MediaType, SNIFF_BYTES};
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath, ReadConditions};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::AttemptError;
use crate::app::App;

/// What one pass over the bytes found.
pub(super) struct Measured {
    sha256: Sha256Digest,
    size_bytes: u64,
    head: Vec<u8>,
}

impl Measured {
    /// The digest of what was read.
    pub(super) const fn sha256(&self) -> Sha256Digest {
        self.sha256
    }
}

impl App {
    /// The one streaming pass: SHA-256, size, and the leading bytes.
    pub(super) async fn measure(
        &self,
        path: &ObjectPath,
        generation: Option<String>,
    ) -> Result<Measured, AttemptError> {
        let conditions = ReadConditions {
            if_generation: generation,
            ..ReadConditions::default()
        };
        let mut read = self
            .objects
            .get(
                path,
                &GetOptions {
                    conditions,
                    ..GetOptions::default()
                },
            )
            .await
            .map_err(|error| match error {
                // It stood there a moment ago. A worker that lost its claim may still promote it; which bytes stand where is
                // asked again, and the attempt is not held against the file.
                ObjectError::NotFound | ObjectError::PreconditionFailed(_) => {
                    AttemptError::Unavailable("the bytes were moved while they were looked for".to_owned())
                }
                other => other.into(),
            })?;
        let mut hash = Sha256::new();
        let mut head = Vec::with_capacity(SNIFF_BYTES);
        let mut size_bytes = 0;
        while let Some(piece) = read.body.next().await {
            let piece = piece.map_err(|error| AttemptError::Retry(error.to_string()))?;
            let wanted = (SNIFF_BYTES - head.len()).min(piece.len());
            head.extend_from_slice(&piece[..wanted]);
            hash.update(&piece);
            size_bytes += piece.len() as u64;
        }
        if size_bytes != read.info.size_bytes {
            return Err(AttemptError::Retry(
                "the store sent fewer bytes than the object has".to_owned(),
            ));
        }
        Ok(Measured {
            sha256: Sha256Digest(hash.finalize().into()),
            size_bytes,
            head,
        })
    }
}

/// Every rule that needs the bytes.
pub(super) fn judge(
    file: &File,
    collection: &Collection,
    measured: &Measured,
) -> Result<Verified, FileError> {
    let failed = |code: &str, message: String| FileError {
        code: code.to_owned(),
        message,
    };
    let refused = |refusal: cloakroom_core::error::Refusal| failed(refusal.code.as_str(), refusal.message);
    if let Some(declared) = file.declared.sha256
        && declared != measured.sha256
    {
        return Err(refused(checksum_mismatch(declared, measured.sha256)));
    }
    if let Some(declared) = file.declared.size_bytes
        && declared != measured.size_bytes
    {
        return Err(failed(
            "size_mismatch",
            format!(
                "{declared} bytes were declared and {} arrived.",
                measured.size_bytes
            ),
        ));
    }
    collection.admit_size(measured.size_bytes).map_err(refused)?;
    let found = media::sniff(&measured.head);
    if collection.verify_content_type && !media::agrees(&file.declared.content_type, &measured.head) {
        let shown = found.as_ref().map_or("something else", MediaType::as_str);
        return Err(failed(
            "content_type_mismatch",
            format!(
                "The content type is declared as {} and the bytes are {shown}.",
                file.declared.content_type
            ),
        ));
    }
    let content_type = match found {
        // Nothing was declared: what the bytes show counts, if the collection takes it.
        Some(found) if file.declared.content_type == MediaType::octet_stream() => {
            if collection.admit_type(&found).is_ok() {
                found
            } else {
                file.declared.content_type.clone()
            }
        }
        _ => file.declared.content_type.clone(),
    };
    Ok(Verified {
        sha256: measured.sha256,
        size_bytes: measured.size_bytes,
        content_type,
    })
}
