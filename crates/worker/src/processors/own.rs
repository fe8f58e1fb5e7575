//! Processors of the operator's own: a program of this machine, or an endpoint somewhere. The contract is
//! `docs/guides/own-processors.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cloakroom_core::JsonObject;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::clock::Clock;
use cloakroom_core::ports::processor::{
    MadeDerivative, Processor, ProcessorError, ProcessorInput, ProcessorLimits, ProcessorOutput,
};
use cloakroom_processors::{Sandbox, code};
use serde::Deserialize;
use serde_json::json;

use super::endpoint::Endpoint;
use super::sandboxed::{is_extension, is_name, limits_of, rejected};
use super::workplace::{OUTPUT, Program, Workplace};
use crate::deliveries::{SigningKeys, Target};

/// The version of the contract that descriptions name.
const CONTRACT: u32 = 1;
/// A program that ends with this code asks to be run again later (`EX_TEMPFAIL` of `sysexits.h`).
const EXIT_TRY_AGAIN: i32 = 75;
/// Longest description of facts, in bytes.
const FACTS_BYTES_MAX: usize = 16 * 1024;
/// Longest message of a rejection, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// A processor of the operator's own.
#[derive(Clone, Debug)]
pub struct OwnProcessor {
    /// Its name.
    pub name: String,
    /// Media types that it takes, as `type/subtype` or `type/*`; empty takes every type.
    pub content_types: Vec<String>,
    /// What one run may use.
    pub limits: ProcessorLimits,
    /// What is run.
    pub call: Call,
}

/// What an own processor is.
#[derive(Clone, Debug)]
pub enum Call {
    /// A program of this machine.
    Command(Command),
    /// Something that is asked over HTTP.
    Endpoint {
        /// Where.
        target: Target,
        /// What requests are signed with.
        keys: SigningKeys,
    },
}

/// A program of this machine.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program by its absolute path, and its arguments with their placeholders.
    pub argv: Vec<String>,
    /// What it may read beside its directory and the system's programs and libraries.
    pub reads: Vec<PathBuf>,
    /// Whether it may open connections.
    pub network: bool,
}

impl OwnProcessor {
    /// The processor itself.
    pub(super) fn processor(&self, sandbox: &Arc<Sandbox>, clock: &Arc<dyn Clock>) -> Arc<dyn Processor> {
        let runner = match &self.call {
            Call::Command(command) => Runner::Command(command.clone()),
            Call::Endpoint { target, keys } => Runner::Endpoint(Box::new(Endpoint::new(
                target.clone(),
                keys.clone(),
                Arc::clone(clock),
            ))),
        };
        Arc::new(Own {
            name: self.name.clone(),
            content_types: self.content_types.clone(),
            limits: self.limits,
            sandbox: Arc::clone(sandbox),
            runner,
        })
    }
}

enum Runner {
    Command(Command),
    Endpoint(Box<Endpoint>),
}

struct Own {
    name: String,
    content_types: Vec<String>,
    limits: ProcessorLimits,
    sandbox: Arc<Sandbox>,
    runner: Runner,
}

#[async_trait]
impl Processor for Own {
    fn name(&self) -> &str {
        &self.name
    }

    fn accepts(&self, content_type: &MediaType) -> bool {
        self.content_types.is_empty()
            || self
                .content_types
                .iter()
                .any(|pattern| content_type.matches(pattern))
    }

    fn ready(&self) -> Result<(), ProcessorError> {
        match &self.runner {
            Runner::Command(_) => Ok(()),
            Runner::Endpoint(endpoint) => endpoint.ready(),
        }
    }

    fn limits(&self) -> ProcessorLimits {
        self.limits
    }

    async fn process(&self, input: ProcessorInput<'_>) -> Result<ProcessorOutput, ProcessorError> {
        let description = describe(&self.name, &input);
        match &self.runner {
            Runner::Command(command) => self.run(command, &description, &input).await,
            Runner::Endpoint(endpoint) => endpoint.ask(&self.name, &description, &input, &self.limits).await,
        }
    }
}

impl Own {
    async fn run(
        &self,
        command: &Command,
        description: &str,
        input: &ProcessorInput<'_>,
    ) -> Result<ProcessorOutput, ProcessorError> {
        let place = Workplace::new(&self.sandbox)?;
        let file = input_name(&input.file.filename);
        place
            .fetch(&file, input.source, input.verified.size_bytes)
            .await?;
        place.write("request.json", description.as_bytes())?;
        place.make_directory(OUTPUT)?;
        let shown = |name: &str| place.path(name).display().to_string();
        let paths = [
            ("CLOAKROOM_INPUT", "{input}", shown(&file)),
            ("CLOAKROOM_OUTPUT", "{output}", shown(OUTPUT)),
            ("CLOAKROOM_REQUEST", "{request}", shown("request.json")),
        ];
        let fill = |argument: &String| {
            let filled = paths.iter();
            filled.fold(argument.clone(), |text, (_, placeholder, path)| {
                text.replace(placeholder, path)
            })
        };
        let environment = paths
            .each_ref()
            .map(|(variable, _, path)| (*variable, path.as_str()));
        // What `command` names by its path is its own.
        let named = command
            .argv
            .iter()
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let reads: Vec<PathBuf> = command.reads.iter().cloned().chain(named).collect();
        let program = Program {
            argv: command.argv.iter().map(fill).collect(),
            environment: &environment,
            stdin: Some(&file),
            reads: &reads,
            network: command.network,
        };
        let finished = place
            .run(&self.sandbox, program, &limits_of(&self.limits))
            .await?;
        let notes = finished.notes.as_str();
        match finished.status.code() {
            Some(0) => {}
            Some(EXIT_TRY_AGAIN) => {
                return Err(ProcessorError::Retry(format!(
                    "it asks to be run again later: {notes}"
                )));
            }
            code => {
                tracing::warn!(event = "own_processor_failed", processor = self.name, file_id = %input.file.id, code, notes, "a processor of the operator's own gave a file up");
                let code = code.unwrap_or_default();
                return Err(rejected(
                    "processor_failed",
                    format!("The processor {} ended with code {code}.", self.name),
                ));
            }
        }
        let said = Said::parse(&finished.said).map_err(|reason| nonsense(&self.name, &reason))?;
        let most = self.limits.output_bytes_max;
        said.into_output(&self.name, most, |derivative| {
            let file = derivative.file.as_deref().unwrap_or(&derivative.name);
            place.take(&format!("{OUTPUT}/{file}"), most).ok_or_else(|| {
                rejected(
                    code::OUTPUT,
                    format!(
                        "The processor {} did not make {file}, or made it too large.",
                        self.name
                    ),
                )
            })
        })
    }
}

/// The name that the input has for a program: many look at the ending.
fn input_name(filename: &str) -> String {
    let ending = filename
        .rsplit_once('.')
        .map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.filter(|ending| is_extension(ending)) {
        Some(ending) => format!("input.{ending}"),
        None => "input".to_owned(),
    }
}

/// What a processor is told of the file, as JSON.
fn describe(processor: &str, input: &ProcessorInput<'_>) -> String {
    let (file, verified) = (input.file, input.verified);
    let record = file.record.as_ref();
    json!({
        "version": CONTRACT,
        "processor": processor,
        "file_id": file.id.to_string(),
        "collection": file.collection,
        "owner": file.owner,
        "filename": file.filename,
        "content_type": verified.content_type.as_str(),
        "size_bytes": verified.size_bytes,
        "sha256": verified.sha256.to_string(),
        "record": record.map(|record| json!({"type": record.kind(), "id": record.id()})),
        "metadata": file.metadata,
    })
    .to_string()
}

pub(super) fn nonsense(processor: &str, reason: &str) -> ProcessorError {
    rejected(
        code::CRASHED,
        format!("The processor {processor} gave no answer that makes sense: {reason}."),
    )
}

/// What an own processor answers.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Said {
    facts: JsonObject,
    derivatives: Vec<SaidDerivative>,
    rejected: Option<SaidRejected>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SaidRejected {
    code: String,
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SaidDerivative {
    pub(super) name: String,
    content_type: String,
    #[serde(default)]
    width: Option<u32>,
    #[serde(default)]
    height: Option<u32>,
    /// Of a program: the file in its output directory.
    #[serde(default)]
    pub(super) file: Option<String>,
    /// Of an endpoint: the bytes in Base64.
    #[serde(default)]
    pub(super) data: Option<String>,
}

impl Said {
    /// Reads an answer. None at all is one without facts.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        // A list would do for a structure as well.
        if !text.trim_ascii().starts_with(b"{") {
            return Err("it is no JSON object".to_owned());
        }
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    /// Whether it refuses the file.
    pub(super) const fn is_rejection(&self) -> bool {
        self.rejected.is_some()
    }

    /// The output, with the bytes that `take` finds for each derivative, at most so many in all.
    pub(super) fn into_output(
        self,
        processor: &str,
        bytes_max: u64,
        take: impl Fn(&SaidDerivative) -> Result<bytes::Bytes, ProcessorError>,
    ) -> Result<ProcessorOutput, ProcessorError> {
        if let Some(SaidRejected { code, message }) = self.rejected {
            let code = if is_name(&code) {
                code
            } else {
                "processor_failed".to_owned()
            };
            let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
            return Err(rejected(&code, message));
        }
        let facts_bytes = serde_json::to_vec(&self.facts).map_or(0, |facts| facts.len());
        if facts_bytes > FACTS_BYTES_MAX {
            return Err(rejected(
                code::OUTPUT,
                format!("The processor {processor} found more facts than can be kept."),
            ));
        }
        let mut derivatives: BTreeMap<String, MadeDerivative> = BTreeMap::new();
        let mut made_bytes = 0;
        for said in self.derivatives {
            let content_type = MediaType::parse(&said.content_type);
            let content_type =
                content_type.map_err(|_| nonsense(processor, "a derivative has no media type"))?;
            if !is_name(&said.name) {
                return Err(nonsense(
                    processor,
                    "a derivative's name is of lower-case letters, digits and hyphens",
                ));
            }
            let bytes = take(&said)?;
            made_bytes += bytes.len() as u64;
            if made_bytes > bytes_max {
                return Err(rejected(
                    code::OUTPUT,
                    format!("The processor {processor} made more than {bytes_max} bytes."),
                ));
            }
            let made = MadeDerivative {
                extension: extension_of(&content_type).to_owned(),
                name: said.name.clone(),
                content_type,
                bytes,
                width: said.width,
                height: said.height,
            };
            if derivatives.insert(said.name, made).is_some() {
                return Err(nonsense(processor, "two derivatives have one name"));
            }
        }
        Ok(ProcessorOutput {
            facts: self.facts,
            derivatives: derivatives.into_values().collect(),
            ..ProcessorOutput::default()
        })
    }
}

/// How the key of a derivative of this type ends.
fn extension_of(content_type: &MediaType) -> &'static str {
    match content_type.as_str() {
        "application/json" => "json",
        "application/pdf" => "pdf",
        "audio/mpeg" => "mp3",
        "image/gif" => "gif",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/svg+xml" => "svg",
        "image/webp" => "webp",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/plain" => "txt",
        "text/vtt" => "vtt",
        "video/mp4" => "mp4",
        "video/webm" => "webm",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn output(text: &str) -> Result<ProcessorOutput, ProcessorError> {
        let said = Said::parse(text.as_bytes()).map_err(|reason| nonsense("ocr", &reason))?;
        said.into_output("ocr", 10, |_| Ok(Bytes::from_static(b"123456")))
    }

    fn refused(text: &str) -> (String, String) {
        match output(text) {
            Err(ProcessorError::Rejected(error)) => (error.code, error.message),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_is_said_is_understood() {
        assert_eq!(output(" \n"), Ok(ProcessorOutput::default()));
        let said = "{\"facts\": {\"words\": 7}, \"derivatives\": [{\"name\": \"text\", \"content_type\": \"text/plain\"}]}";
        let made = output(said).expect("an output");
        assert_eq!(made.facts["words"], 7);
        assert_eq!(
            (
                made.derivatives[0].name.as_str(),
                made.derivatives[0].extension.as_str()
            ),
            ("text", "txt")
        );
        assert_eq!(
            refused("{\"rejected\": {\"code\": \"blurred\", \"message\": \"Nothing can be read.\"}}"),
            ("blurred".to_owned(), "Nothing can be read.".to_owned())
        );
        assert_eq!(
            refused("{\"rejected\": {\"code\": \"A b\", \"message\": \"x\"}}").0,
            "processor_failed"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for said in [
            "x",
            "[]",
            "{\"fact\": {}}",
            "{\"derivatives\": [{\"name\": \"a/b\", \"content_type\": \"text/plain\"}]}",
            "{\"derivatives\": [{\"name\": \"a\", \"content_type\": \"text\"}]}",
            "{\"derivatives\": [{\"name\": \"a\"}]}",
        ] {
            assert_eq!(refused(said).0, "processing_crashed", "{said}");
        }
        let one = "{\"name\": \"a\", \"content_type\": \"text/plain\"}";
        let other = "{\"name\": \"b\", \"content_type\": \"text/plain\"}";
        assert_eq!(
            refused(&format!("{{\"derivatives\": [{one}, {other}]}}")).0,
            "output_too_large"
        );
        let many = format!("{{\"facts\": {{\"a\": \"{}\"}}}}", "x".repeat(FACTS_BYTES_MAX));
        assert_eq!(refused(&many).0, "output_too_large");
    }

    #[test]
    fn inputs_keep_their_ending() {
        for (filename, expected) in [
            ("a.PDF", "input.pdf"),
            ("a.tar.gz", "input.gz"),
            ("a", "input"),
            ("a.", "input"),
            ("a.p/f", "input"),
            ("a.\u{e4}", "input"),
        ] {
            assert_eq!(input_name(filename), expected);
        }
    }
}
