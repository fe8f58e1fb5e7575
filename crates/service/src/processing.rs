//! From `confirmed` to `ready`: one streaming pass over the staged bytes, promotion, processors, sidecar, commit.
//!
//! Every step is idempotent and named by the file and the epoch of the claim, so a worker may die after any of
//! them and the next one goes on from what stands.

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_core::JsonObject;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::file::{File, FileError, FileState, Verified, checksum_mismatch};
use cloakroom_core::format::sidecar_v1::SidecarV1;
use cloakroom_core::id::IntentId;
use cloakroom_core::intent::{Intent, IntentKind, IntentStatus};
use cloakroom_core::job::Job;
use cloakroom_core::key::{derivative_key, sidecar_key};
use cloakroom_core::media::{self, MediaType, SNIFF_BYTES};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::{
    ByteRange, ByteStream, GetOptions, ObjectAttributes, ObjectError, ObjectPath, ObjectStore, PutBody,
    PutOptions, ReadConditions,
};
use cloakroom_core::ports::processor::{MadeDerivative, Processor, ProcessorError, ProcessorInput, Source};
use cloakroom_core::transition::{Fence, Transition};
use futures_util::{StreamExt, future::Either};
use sha2::{Digest, Sha256};

use crate::app::{App, Pause};
use crate::error::ServiceError;

/// The actor of what workers do.
pub const WORKER: &str = "worker";

/// The error code of a file whose processing failed through no fault of its own that we know of.
pub const PROCESSING_FAILED: &str = "processing_failed";

/// Why an attempt ended without a verdict about the file.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The claim went to somebody else, who is at it now.
    #[error("the claim was lost")]
    Lost,
    /// The row was changed by somebody else (a patch, a delete): begin again from what it is now.
    #[error("the file was changed at the same time")]
    Overtaken,
    /// Try again later.
    #[error("{0}")]
    Retry(String),
    /// Try again later; the store or the database is at fault, so the attempt does not count.
    #[error("{0}")]
    Unavailable(String),
}

impl From<MetadataError> for AttemptError {
    fn from(error: MetadataError) -> Self {
        match error {
            MetadataError::Fenced => Self::Lost,
            MetadataError::Conflict => Self::Overtaken,
            MetadataError::Unavailable(reason) => Self::Unavailable(reason),
            other => Self::Retry(other.to_string()),
        }
    }
}

impl From<ObjectError> for AttemptError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::Unavailable(reason) => Self::Unavailable(reason),
            other => Self::Retry(other.to_string()),
        }
    }
}

impl From<ServiceError> for AttemptError {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Unavailable(reason) => Self::Unavailable(reason),
            other => Self::Retry(other.to_string()),
        }
    }
}

/// Whether the job was completed by the commit itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The commit that made the change also completed the job.
    Completed,
    /// There was nothing (more) to do; the job must still be finished.
    NothingToDo,
}

/// What one pass over the bytes found.
struct Measured {
    sha256: Sha256Digest,
    size_bytes: u64,
    head: Vec<u8>,
}

/// Where the confirmed bytes stand.
enum Standing {
    /// In staging, as confirmed.
    Staged { generation: String },
    /// At the final key already: an earlier attempt died after promotion.
    Promoted,
    /// Nowhere, or other bytes than those that were confirmed.
    Gone(&'static str),
}

impl App {
    /// Verifies and promotes one confirmed file, under the claim of `job`.
    pub async fn process_file(&self, job: &Job, pause: &Pause) -> Result<Attempt, AttemptError> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(Attempt::NothingToDo);
        };
        if !matches!(file.state, FileState::Confirmed | FileState::Processing) {
            return Ok(Attempt::NothingToDo);
        }
        let file = self.take_up(&file, job).await?;
        let Ok(collection) = self.collection(&file.collection) else {
            return Err(AttemptError::Retry(format!(
                "collection {} is not configured",
                file.collection
            )));
        };
        let upload = self.metadata.upload(file.id).await?;
        let staging = upload.map(|upload| ObjectPath::new(&file.bucket, upload.staging_key));
        let target = ObjectPath::new(&file.bucket, &file.key);

        let standing = self.standing(&file, staging.as_ref(), &target).await?;
        let (source, generation) = match (&standing, &staging) {
            (Standing::Staged { generation }, Some(staging)) => (staging, Some(generation.clone())),
            (Standing::Gone(reason), _) => {
                return self
                    .refuse(
                        &file,
                        job,
                        FileError {
                            code: "upload_replaced".to_owned(),
                            message: (*reason).to_owned(),
                        },
                    )
                    .await;
            }
            _ => (&target, None),
        };
        let measured = self.measure(source, generation).await?;
        let verified = match judge(&file, collection, &measured) {
            Ok(verified) => verified,
            Err(error) => return self.refuse(&file, job, error).await,
        };
        let intent = self.intend(&file, staging.as_ref()).await?;
        if let (Standing::Staged { generation }, Some(staging)) = (&standing, &staging) {
            let attributes = ObjectAttributes {
                content_type: Some(verified.content_type.to_string()),
                ..ObjectAttributes::default()
            };
            match self
                .objects
                .promote(staging, generation, &target, attributes)
                .await
            {
                Ok(_) => {}
                Err(ObjectError::PreconditionFailed(_) | ObjectError::NotFound) => {
                    // Exchanged after it was verified; the next attempt sees what stands then.
                    return Err(AttemptError::Retry(
                        "the staging object changed while it was verified".to_owned(),
                    ));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let (facts, derivatives) = match self
            .run_processors(&file, collection, &verified, &target, pause)
            .await?
        {
            Ok(made) => made,
            Err(error) => {
                self.objects.delete(&target).await?;
                return self.refuse(&file, job, error).await;
            }
        };
        self.make_ready(&file, job, verified, facts, derivatives, intent)
            .await?;
        if let Some(staging) = &staging {
            // A copying store leaves it behind. Failing here costs nothing: the sweeper removes it.
            if let Err(error) = self.objects.delete(staging).await {
                tracing::warn!(file_id = %file.id, %error, "a staging object waits for the sweeper");
            }
        }
        Ok(Attempt::Completed)
    }

    /// `confirmed` → `processing`, under a new epoch.
    async fn take_up(&self, file: &File, job: &Job) -> Result<File, AttemptError> {
        let mut transition = file
            .process(&self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        transition.fence = Some(Fence::Hold(job.lease()));
        let taken = transition.file.clone();
        self.metadata.apply(transition).await?;
        Ok(taken)
    }

    async fn standing(
        &self,
        file: &File,
        staging: Option<&ObjectPath>,
        target: &ObjectPath,
    ) -> Result<Standing, AttemptError> {
        let staged = match staging {
            Some(path) => match self.objects.head(path, &GetOptions::default()).await {
                Ok(info) => Some(info),
                Err(ObjectError::NotFound) => None,
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        let confirmed = file.staged.as_ref().map(|staged| staged.generation.as_str());
        match staged {
            Some(info) if confirmed == Some(info.generation.as_str()) => {
                return Ok(Standing::Staged {
                    generation: info.generation,
                });
            }
            // Written again after confirm. If we know which bytes were meant, measuring tells whether these are they.
            Some(info) if file.declared.sha256.is_some() => {
                return Ok(Standing::Staged {
                    generation: info.generation,
                });
            }
            _ => {}
        }
        match self.objects.head(target, &GetOptions::default()).await {
            Ok(_) => Ok(Standing::Promoted),
            Err(ObjectError::NotFound) if staged.is_some() => Ok(Standing::Gone(
                "The upload was written again after it was confirmed.",
            )),
            Err(ObjectError::NotFound) => Ok(Standing::Gone("The uploaded object is gone from the store.")),
            Err(error) => Err(error.into()),
        }
    }

    /// The one streaming pass: SHA-256, size, and the leading bytes.
    async fn measure(&self, path: &ObjectPath, generation: Option<String>) -> Result<Measured, AttemptError> {
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
            .await?;
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

    async fn intend(&self, file: &File, staging: Option<&ObjectPath>) -> Result<IntentId, AttemptError> {
        let now = self.now();
        let id = IntentId(self.random.uuid_v7(now));
        let mut data = JsonObject::new();
        data.insert("key".to_owned(), file.key.clone().into());
        data.insert(
            "staging_key".to_owned(),
            staging.map(|path| path.key.clone()).into(),
        );
        let intent = Intent {
            id,
            kind: IntentKind::FileCreate,
            status: IntentStatus::Pending,
            file_id: file.id,
            epoch: file.epoch,
            data,
            actor: WORKER.to_owned(),
            started_at: now,
            lease_until: now.checked_add(self.policy.intent_lease).unwrap_or(now),
            completed_at: None,
            error: None,
        };
        self.metadata.begin_intent(&intent).await?;
        Ok(id)
    }

    /// Runs the collection's processors one after the other. The inner error fails the file.
    async fn run_processors(
        &self,
        file: &File,
        collection: &Collection,
        verified: &Verified,
        target: &ObjectPath,
        pause: &Pause,
    ) -> Result<Result<(JsonObject, Vec<Derivative>), FileError>, AttemptError> {
        let mut facts = JsonObject::new();
        let mut derivatives = Vec::new();
        for name in &collection.processors {
            let Some(processor) = self.processors.get(name.as_str()) else {
                return Err(AttemptError::Retry(format!(
                    "processor {name} is not part of this program"
                )));
            };
            if !processor.accepts(&verified.content_type) {
                continue;
            }
            let required = collection.required_processors.contains(name);
            let source = StoredSource {
                objects: &*self.objects,
                path: target,
            };
            let input = ProcessorInput {
                file,
                verified,
                source: &source,
            };
            match run_within_limits(&**processor, input, pause).await {
                Ok(output) => {
                    facts.extend(output.facts);
                    for made in output.derivatives {
                        derivatives.push(self.store_derivative(file, made).await?);
                    }
                }
                Err(ProcessorError::Retry(reason)) => {
                    return Err(AttemptError::Retry(format!("{name}: {reason}")));
                }
                Err(ProcessorError::Rejected(error)) if required => return Ok(Err(error)),
                Err(ProcessorError::Rejected(error)) => derivatives.push(Derivative {
                    file_id: file.id,
                    name: name.clone(),
                    outcome: DerivativeOutcome::Failed { error: error.message },
                    created_at: self.now(),
                }),
            }
        }
        Ok(Ok((facts, derivatives)))
    }

    async fn store_derivative(&self, file: &File, made: MadeDerivative) -> Result<Derivative, AttemptError> {
        let key = derivative_key(&file.key, file.epoch, &made.name, &made.extension);
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some(made.content_type.to_string()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        let size_bytes = made.bytes.len() as u64;
        let path = ObjectPath::new(&file.bucket, &key);
        self.objects
            .put(&path, options, PutBody::from_bytes(made.bytes))
            .await?;
        Ok(Derivative {
            file_id: file.id,
            name: made.name,
            outcome: DerivativeOutcome::Made {
                key,
                content_type: made.content_type,
                size_bytes,
                width: made.width,
                height: made.height,
            },
            created_at: self.now(),
        })
    }

    /// Sidecar, then row, event, job and intent in one commit.
    async fn make_ready(
        &self,
        file: &File,
        job: &Job,
        verified: Verified,
        facts: JsonObject,
        derivatives: Vec<Derivative>,
        intent: IntentId,
    ) -> Result<(), AttemptError> {
        let mut transition = file
            .ready(verified, facts, derivatives, &self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        self.put_sidecar(&transition).await?;
        transition.intent = Some(intent);
        transition.fence = Some(Fence::Complete(job.lease()));
        let (size, started_at) = (
            transition.file.size_bytes(),
            file.confirmed_at.unwrap_or(file.updated_at),
        );
        self.metadata.apply(transition).await?;
        let duration_ms = self.now().duration_since(started_at).as_millis() as i64;
        tracing::info!(
            event = "file_ready",
            operation = "verify",
            file_id = %file.id,
            user_id = %file.owner,
            file_size = size,
            bucket = %file.bucket,
            duration_ms,
            status = "success",
            "Storage operation completed"
        );
        Ok(())
    }

    /// Writes the revision of the sidecar that this transition makes true. Facts that do not fit stay in the row
    /// alone: they can be found again.
    pub(crate) async fn put_sidecar(&self, transition: &Transition) -> Result<(), AttemptError> {
        let file = &transition.file;
        let Some(mut sidecar) = SidecarV1::of(file, &transition.derivatives) else {
            return Err(AttemptError::Retry(
                "an unverified file has no sidecar".to_owned(),
            ));
        };
        let bytes = if let Ok(bytes) = sidecar.encode() {
            bytes
        } else {
            sidecar.facts.clear();
            sidecar
                .encode()
                .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?
        };
        let path = ObjectPath::new(&file.bucket, sidecar_key(&file.key, file.epoch));
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some("application/json".to_owned()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        self.objects
            .put(&path, options, PutBody::from_bytes(Bytes::from(bytes)))
            .await?;
        Ok(())
    }

    /// The verdict against the file.
    async fn refuse(&self, file: &File, job: &Job, error: FileError) -> Result<Attempt, AttemptError> {
        tracing::warn!(
            event = "file_failed",
            operation = "verify",
            file_id = %file.id,
            user_id = %file.owner,
            bucket = %file.bucket,
            error_code = %error.code,
            status = "failed",
            "Upload failed: {}", error.message
        );
        let mut transition = file
            .fail(error, &self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        transition.fence = Some(Fence::Complete(job.lease()));
        self.metadata.apply(transition).await?;
        Ok(Attempt::Completed)
    }

    /// After the last attempt: the file must still reach an end (I3).
    pub async fn give_up_processing(&self, job: &Job, reason: &str) -> Result<(), AttemptError> {
        let Some(file) = self.metadata.file(job.file_id).await? else {
            return Ok(());
        };
        if !matches!(file.state, FileState::Confirmed | FileState::Processing) {
            return Ok(());
        }
        let error = FileError {
            code: PROCESSING_FAILED.to_owned(),
            message:
                "The file could not be processed; the operator finds the reason in the dead-letter list."
                    .to_owned(),
        };
        tracing::error!(event = "file_processing_gave_up", file_id = %file.id, reason, "processing gave up");
        let mut transition = file
            .fail(error, &self.occasion(WORKER))
            .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
        // The bytes stay: an operator may find that we were at fault, and have the job tried again.
        transition.jobs.clear();
        transition.fence = Some(Fence::Hold(job.lease()));
        Ok(self.metadata.apply(transition).await?)
    }
}

/// Every rule that needs the bytes.
fn judge(file: &File, collection: &Collection, measured: &Measured) -> Result<Verified, FileError> {
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

async fn run_within_limits(
    processor: &dyn Processor,
    input: ProcessorInput<'_>,
    pause: &Pause,
) -> Result<cloakroom_core::ports::processor::ProcessorOutput, ProcessorError> {
    let limits = processor.limits();
    let rejected = |code: &str, message: String| {
        Err(ProcessorError::Rejected(FileError {
            code: code.to_owned(),
            message,
        }))
    };
    let over = pause(limits.wall);
    let output = match futures_util::future::select(processor.process(input), over).await {
        Either::Left((output, _)) => output?,
        Either::Right(_) => {
            return rejected(
                "processing_timeout",
                format!(
                    "{} took longer than {} s.",
                    processor.name(),
                    limits.wall.as_secs()
                ),
            );
        }
    };
    let made: u64 = output
        .derivatives
        .iter()
        .map(|derivative| derivative.bytes.len() as u64)
        .sum();
    if made > limits.output_bytes_max {
        return rejected(
            "output_too_large",
            format!(
                "{} made more than {} bytes.",
                processor.name(),
                limits.output_bytes_max
            ),
        );
    }
    Ok(output)
}

struct StoredSource<'a> {
    objects: &'a dyn ObjectStore,
    path: &'a ObjectPath,
}

#[async_trait]
impl Source for StoredSource<'_> {
    async fn read(&self, range: Option<ByteRange>) -> Result<ByteStream, ObjectError> {
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        Ok(self.objects.get(self.path, &options).await?.body)
    }
}
