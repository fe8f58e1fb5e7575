//! Running the collection's processors over verified bytes, within their limits.

use async_trait::async_trait;
use cloakroom_core::JsonObject;
use cloakroom_core::collection::Collection;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::file::{File, FileError, Verified};
use cloakroom_core::key::derivative_key;
use cloakroom_core::ports::objects::{
    ByteRange, ByteStream, GetOptions, ObjectAttributes, ObjectError, ObjectPath, ObjectStore, PutBody,
    PutOptions,
};
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorOutput, Source,
};
use futures_util::future::{Either, select};

use super::AttemptError;
use crate::app::{App, Pause};

impl App {
    /// Runs the collection's processors one after the other. The inner error fails the file.
    pub(super) async fn run_processors(
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
}

async fn run_within_limits(
    processor: &dyn Processor,
    input: ProcessorInput<'_>,
    pause: &Pause,
) -> Result<ProcessorOutput, ProcessorError> {
    let limits = processor.limits();
    let rejected = |code: &str, message: String| {
        Err(ProcessorError::Rejected(FileError {
            code: code.to_owned(),
            message,
        }))
    };
    let over = pause(limits.wall);
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
