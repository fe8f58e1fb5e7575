//! From a processor's words to the sandbox's, and back.

use std::io;
use std::time::Duration;

use cloakroom_core::file::FileError;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::objects::ObjectError;
use cloakroom_core::ports::processor::{
    MadeDerivative, ProcessorError, ProcessorLimits, ProcessorOutput, Source, UnmadeDerivative,
};
use cloakroom_processors::{Answer, Failure, Input, InputStream, Limits, Sandbox, Task, code};
use futures_util::TryStreamExt as _;

/// A store that gives less than this, in bytes a second, is too slow.
const READING_BYTES_PER_SECOND_MIN: u64 = 8 * 1024 * 1024;

/// How the child is to see the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Whole: it goes back and forth.
    Whole,
    /// Once, from front to back, as it comes out of the store.
    Once,
}

/// The bytes of a file, on their way to a child.
pub(super) async fn stream(source: &dyn Source) -> Result<InputStream<'static>, ProcessorError> {
    let body = source.read(None).await.map_err(unread)?;
    Ok(Box::pin(body.map_err(io::Error::other)))
}

/// The store does not give the file. One that is away is no failure of the job.
pub(super) fn unread(error: ObjectError) -> ProcessorError {
    let reason = format!("the file cannot be read: {error}");
    match error {
        ObjectError::Unavailable(_) | ObjectError::Denied(_) => {
            ProcessorError::Unavailable { reason, wait: None }
        }
        _ => ProcessorError::Retry(reason),
    }
}

/// Does a task over a file.
pub(super) async fn run(
    sandbox: &Sandbox,
    task: &Task,
    (source, size_bytes): (&dyn Source, u64),
    reading: Reading,
    limits: &ProcessorLimits,
) -> Result<ProcessorOutput, ProcessorError> {
    let stream = stream(source).await?;
    let input = match reading {
        Reading::Whole => Input::Whole { stream, size_bytes },
        Reading::Once => Input::Streamed { stream, size_bytes },
    };
    let mut limits = limits_of(limits);
    if reading == Reading::Once {
        // It waits for the store as well.
        let reading = Duration::from_secs(size_bytes / READING_BYTES_PER_SECOND_MIN);
        limits.wall = limits.wall.saturating_add(reading);
    }
    let answer = sandbox.run(task, input, &limits).await;
    output(answer.map_err(error)?)
}

pub(super) const fn limits_of(limits: &ProcessorLimits) -> Limits {
    Limits {
        wall: limits.wall,
        cpu: limits.cpu,
        memory_bytes: limits.memory_bytes,
        output_bytes_max: limits.output_bytes_max,
    }
}

pub(super) fn error(failure: Failure) -> ProcessorError {
    match failure {
        Failure::Rejected { code, message } => rejected(&code, message),
        Failure::Unavailable(reason) => ProcessorError::Retry(reason),
    }
}

pub(super) fn rejected(code: &str, message: impl Into<String>) -> ProcessorError {
    ProcessorError::Rejected(FileError {
        code: code.to_owned(),
        message: message.into(),
    })
}

/// What a child says is not believed to be well-formed: it may have been taken over.
pub(super) fn output(answer: Answer) -> Result<ProcessorOutput, ProcessorError> {
    let mut derivatives = Vec::with_capacity(answer.made.len());
    for made in answer.made {
        let content_type = MediaType::parse(&made.content_type).ok();
        let (Some(content_type), true, true) =
            (content_type, is_name(&made.name), is_extension(&made.extension))
        else {
            return Err(rejected(
                code::CRASHED,
                "The processor made a file without a proper name or type.",
            ));
        };
        derivatives.push(MadeDerivative {
            name: made.name,
            extension: made.extension,
            content_type,
            bytes: made.bytes,
            width: made.width,
            height: made.height,
        });
    }
    let unmade = answer.unmade.into_iter().map(|unmade| UnmadeDerivative {
        name: unmade.name,
        error: unmade.error,
    });
    Ok(ProcessorOutput {
        facts: answer.facts,
        derivatives,
        unmade: unmade.collect(),
    })
}

/// Whether a derivative may have this name: it stands in addresses and keys.
pub(super) fn is_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(legal)
}

/// Whether a derivative's key may end so.
pub(super) fn is_extension(extension: &str) -> bool {
    (1..=16).contains(&extension.len())
        && extension
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use cloakroom_processors::Made;

    use super::*;

    #[test]
    fn a_store_that_is_away_is_no_failure() {
        let away = unread(ObjectError::Unavailable("no answer".to_owned()));
        assert!(matches!(away, ProcessorError::Unavailable { .. }), "{away:?}");
        assert!(matches!(unread(ObjectError::NotFound), ProcessorError::Retry(_)));
    }

    #[test]
    fn what_is_made_has_a_proper_name_and_type() {
        let made = |name: &str, extension: &str, content_type: &str| {
            output(Answer {
                made: vec![Made {
                    name: name.to_owned(),
                    extension: extension.to_owned(),
                    content_type: content_type.to_owned(),
                    ..Made::default()
                }],
                ..Answer::default()
            })
        };
        assert!(made("thumbnail-256", "jpg", "image/jpeg").is_ok());
        for (name, extension, content_type) in [
            ("", "jpg", "image/jpeg"),
            ("../x", "jpg", "image/jpeg"),
            ("A", "jpg", "image/jpeg"),
            ("a", "", "image/jpeg"),
            ("a", "j/g", "image/jpeg"),
            ("a", "jpg", "image"),
            (&"a".repeat(65), "jpg", "image/jpeg"),
        ] {
            let refused = made(name, extension, content_type).expect_err(name);
            assert!(matches!(refused, ProcessorError::Rejected(error) if error.code == code::CRASHED));
        }
    }
}
