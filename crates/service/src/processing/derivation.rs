//! Running the collection's processors over verified bytes, within their limits.

use std::time::Duration;

use async_trait::async_trait;
use cloakroom_core::JsonObject;
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::collection::Collection;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::file::{File, FileError, Verified};
use cloakroom_core::job::Stage;
use cloakroom_core::key::derivative_key;
use cloakroom_core::ports::objects::{
    ByteRange, ByteStream, GetOptions, ObjectAttributes, ObjectError, ObjectPath, ObjectStore, PutBody,
    PutOptions,
};
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorLimits, ProcessorOutput, Source,
};
use futures_util::future::{Either, select};
use sha2::{Digest as _, Sha256};

use super::{AttemptError, Progress};
use crate::app::{App, Pause};

/// A store that gives less than this, in bytes a second, is too slow for its files to be processed.
const READING_BYTES_PER_SECOND_MIN: u64 = 8 * 1024 * 1024;

impl App {
    /// Runs the collection's processors one after the other. The inner error fails the file.
    pub(crate) async fn run_processors(
        &self,
        file: &File,
        collection: &Collection,
        verified: &Verified,
        target: &ObjectPath,
        pause: &Pause,
        progress: &Progress,
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
            progress.enter(Stage::Processing(name.clone()), None);
            let required = collection.required_processors.contains(name);
            let source = StoredSource {
                objects: &*self.objects,
                path: target,
            };
            let input = ProcessorInput {
                file,
                collection,
                verified,
                source: &source,
            };
            match run_within_limits(&**processor, input, pause).await {
                Ok(output) => {
                    facts.extend(output.facts);
                    for made in output.derivatives {
                        derivatives.push(self.store_derivative(file, made).await?);
                    }
                    for unmade in output.unmade {
                        derivatives.push(self.unmade(file, unmade.name, unmade.error));
                    }
                }
                Err(ProcessorError::Retry(reason)) => {
                    return Err(AttemptError::Retry(format!("{name}: {reason}")));
                }
                Err(ProcessorError::Unavailable { reason, wait }) => {
                    return Err(AttemptError::away(format!("{name}: {reason}"), wait));
                }
                Err(ProcessorError::Rejected(error)) if required => return Ok(Err(error)),
                Err(ProcessorError::Rejected(error)) => {
                    derivatives.push(self.unmade(file, name.clone(), error.message));
                }
            }
        }
        let mismatches = mismatches(&file.metadata, &facts);
        if !mismatches.is_empty() {
            facts.insert("mismatches".to_owned(), mismatches.into());
        }
        Ok(Ok((facts, derivatives)))
    }

    /// A file waits, untouched, while a processor that it is going to need is known to be away.
    pub(super) fn processors_are_there(&self, file: &File) -> Result<(), AttemptError> {
        let Ok(collection) = self.collection(&file.collection) else {
            return Ok(());
        };
        for name in &collection.processors {
            let processor = self.processors.get(name.as_str());
            let needed = processor.filter(|processor| processor.accepts(&file.declared.content_type));
            match needed.map_or(Ok(()), |processor| processor.ready()) {
                Ok(()) => {}
                Err(ProcessorError::Unavailable { reason, wait }) => {
                    return Err(AttemptError::away(format!("{name}: {reason}"), wait));
                }
                Err(error) => return Err(AttemptError::Retry(format!("{name}: {error}"))),
            }
        }
        Ok(())
    }

    fn unmade(&self, file: &File, name: String, error: String) -> Derivative {
        Derivative {
            file_id: file.id,
            name,
            outcome: DerivativeOutcome::Failed { error },
            created_at: self.now(),
        }
    }

    async fn store_derivative(&self, file: &File, made: MadeDerivative) -> Result<Derivative, AttemptError> {
        // The epoch keeps workers apart, the digest keeps whoever caches by address from showing other bytes.
        let digest = Sha256Digest(Sha256::digest(&made.bytes).into()).to_string();
        let name = format!("{}-{}", made.name, digest.get(..16).unwrap_or(&digest));
        let key = derivative_key(&file.key, file.epoch, &name, &made.extension);
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
}

/// Where the client said one thing of a file and the processors found another: our value wins, theirs is flagged (S2: a
/// `row_count` that differs).
fn mismatches(declared: &JsonObject, found: &JsonObject) -> Vec<serde_json::Value> {
    let differs = |declared: &serde_json::Value, found: &serde_json::Value| {
        // Forms send numbers as text.
        let as_text = found.as_number().map(ToString::to_string);
        declared != found
            && !(declared.is_string() && declared.as_str() == as_text.as_deref())
            && declared
                .as_f64()
                .is_none_or(|value| Some(value) != found.as_f64())
    };
    declared
        .iter()
        .filter_map(|(field, declared)| Some((field, declared, found.get(field)?)))
        .filter(|(_, declared, found)| differs(declared, found))
        .map(|(field, declared, found)| {
            serde_json::json!({"field": field, "declared": declared, "found": found})
        })
        .collect()
}

/// The wall clock counts from the start of the run. What reads the whole file gets time for that as well.
fn time_for(limits: &ProcessorLimits, size_bytes: u64) -> Duration {
    limits
        .wall
        .saturating_add(Duration::from_secs(size_bytes / READING_BYTES_PER_SECOND_MIN))
}

async fn run_within_limits(
    processor: &dyn Processor,
    input: ProcessorInput<'_>,
    pause: &Pause,
) -> Result<ProcessorOutput, ProcessorError> {
    let limits = processor.limits();
    let size_bytes = input.verified.size_bytes;
    let rejected = |code: &str, message: String| {
        Err(ProcessorError::Rejected(FileError {
            code: code.to_owned(),
            message,
        }))
    };
    let over = pause(time_for(&limits, size_bytes));
    let output = match select(processor.process(input), over).await {
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

pub(crate) struct StoredSource<'a> {
    pub(crate) objects: &'a dyn ObjectStore,
    pub(crate) path: &'a ObjectPath,
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
