//! Verification: one streaming pass over the bytes, and the verdict.

use bytes::Bytes;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::file::{File, FileError, Verified, checksum_mismatch};
use cloakroom_core::job::Stage;
use cloakroom_core::media::{self, MediaType, SNIFF_BYTES};
use cloakroom_core::ports::objects::{GetOptions, ObjectError, ObjectPath, ObjectRead, ReadConditions};
use cloakroom_core::ports::scanner::{Holdup, ScanError, Scanner, Verdict};
use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::future::{poll_fn, try_join};
use sha2::{Digest, Sha256};

use super::{AttemptError, Progress};
use crate::app::App;

/// What one pass over the bytes found.
pub(crate) struct Measured {
    sha256: Sha256Digest,
    size_bytes: u64,
    head: Vec<u8>,
    verdict: Option<Verdict>,
}

/// Pieces that wait for the scanner at most: it holds the reading up, not the memory.
const PIECES_MAX: usize = 1;

impl Measured {
    /// Why the scanner holds the file back.
    pub(crate) const fn held(&self) -> Option<&Holdup> {
        match &self.verdict {
            Some(Verdict::Held(held)) => Some(held),
            Some(Verdict::Clean) | None => None,
        }
    }

    /// The digest of what was read.
    pub(crate) const fn sha256(&self) -> Sha256Digest {
        self.sha256
    }
}

/// Why a pass over the bytes did not come to its end.
pub(crate) enum Unmeasured {
    /// The store or the database is at fault.
    Attempt(AttemptError),
    /// The scanner is.
    Scanner(ScanError),
}

impl From<AttemptError> for Unmeasured {
    fn from(error: AttemptError) -> Self {
        Self::Attempt(error)
    }
}

impl From<Unmeasured> for AttemptError {
    fn from(unmeasured: Unmeasured) -> Self {
        match unmeasured {
            Unmeasured::Attempt(error) => error,
            Unmeasured::Scanner(error @ ScanError::Unavailable(_)) => Self::Unavailable(error.to_string()),
            Unmeasured::Scanner(error @ ScanError::NoVerdict(_)) => Self::Retry(error.to_string()),
        }
    }
}

impl App {
    /// The one streaming pass: SHA-256, size, and the leading bytes.
    pub(crate) async fn measure(
        &self,
        path: &ObjectPath,
        generation: Option<String>,
        progress: &Progress,
    ) -> Result<Measured, AttemptError> {
        let read = self.read_whole(path, generation).await?;
        progress.enter(Stage::Verifying, Some(read.info.size_bytes));
        pass(read, None, progress).await
    }

    /// The same, with the scanner looking at the very bytes that are measured.
    pub(crate) async fn measure_with(
        &self,
        path: &ObjectPath,
        generation: Option<String>,
        scanner: &dyn Scanner,
        progress: &Progress,
    ) -> Result<Measured, Unmeasured> {
        let read = self.read_whole(path, generation).await?;
        let size_bytes = read.info.size_bytes;
        progress.enter(Stage::Scanning, Some(size_bytes));
        let (sender, pieces) = mpsc::channel(PIECES_MAX);
        let passing = async {
            let measured = pass(read, Some(sender), progress).await;
            measured.map_err(Unmeasured::Attempt)
        };
        let scanning = self.verdict(scanner, Box::pin(pieces), size_bytes);
        // Whichever fails first ends the other: what was cut off never counts as a whole file.
        let (mut measured, verdict) = try_join(passing, scanning).await?;
        measured.verdict = Some(verdict);
        Ok(measured)
    }

    async fn read_whole(
        &self,
        path: &ObjectPath,
        generation: Option<String>,
    ) -> Result<ObjectRead, AttemptError> {
        let conditions = ReadConditions {
            if_generation: generation,
            ..ReadConditions::default()
        };
        let options = GetOptions {
            conditions,
            ..GetOptions::default()
        };
        self.objects
            .get(path, &options)
            .await
            .map_err(|error| match error {
                // It stood there a moment ago. A worker that lost its claim may still promote it; which bytes stand where is
                // asked again, and the attempt is not held against the file.
                ObjectError::NotFound | ObjectError::PreconditionFailed(_) => {
                    AttemptError::Unavailable("the bytes were moved while they were looked for".to_owned())
                }
                other => other.into(),
            })
    }
}

async fn pass(
    mut read: ObjectRead,
    mut scanner: Option<mpsc::Sender<Bytes>>,
    progress: &Progress,
) -> Result<Measured, AttemptError> {
    let mut hash = Sha256::new();
    let mut head = Vec::with_capacity(SNIFF_BYTES);
    let mut size_bytes = 0;
    while let Some(piece) = read.body.next().await {
        let piece = piece.map_err(|error| AttemptError::Retry(error.to_string()))?;
        let wanted = (SNIFF_BYTES - head.len()).min(piece.len());
        head.extend_from_slice(&piece[..wanted]);
        hash.update(&piece);
        size_bytes += piece.len() as u64;
        progress.advance(piece.len() as u64);
        if let Some(sender) = &mut scanner {
            // A scanner that takes nothing more has its verdict, or its error ends this pass.
            let _ = poll_fn(|context| sender.poll_ready(context)).await;
            let _ = sender.start_send(piece);
        }
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
        verdict: None,
    })
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
