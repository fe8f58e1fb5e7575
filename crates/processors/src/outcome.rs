//! What comes of a run, on both sides of the pipe.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Codes of failures, as they stand in the file's `error`.
pub mod code {
    /// It died, or said nonsense.
    pub const CRASHED: &str = "processing_crashed";
    /// It took too long, by the clock or by the processor.
    pub const TIMEOUT: &str = "processing_timeout";
    /// It needed more memory than it may have.
    pub const MEMORY: &str = "memory_limit";
    /// It made more than it may.
    pub const OUTPUT: &str = "output_too_large";
}

/// A file that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Its name within the file: `thumbnail-256`.
    pub name: String,
    /// Ending of its key: `jpg`.
    pub extension: String,
    /// Its type.
    pub content_type: String,
    /// Pixels, for images.
    pub width: Option<u32>,
    /// Pixels, for images.
    pub height: Option<u32>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A file that could not be made, while other things could.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmade {
    /// Its name within the file.
    pub name: String,
    /// Why, for people.
    pub error: String,
}

/// What was found and made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Facts.
    pub facts: Map<String, Value>,
    /// Files.
    pub made: Vec<Made>,
    /// Files that could not be made.
    pub unmade: Vec<Unmade>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The input is at fault: trying again gives the same.
    #[error("{message}")]
    Rejected {
        /// For machines: one of [`code`], or what the processor says.
        code: String,
        /// For people.
        message: String,
    },
    /// Something else is at fault: try again.
    #[error("{0}")]
    Unavailable(String),
}

impl Failure {
    /// The input is at fault.
    pub fn rejected(code: &str, message: impl Into<String>) -> Self {
        Self::Rejected {
            code: code.to_owned(),
            message: message.into(),
        }
    }
}

/// The first line of an answer; the bytes of what was made follow it, one after the other.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Head {
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub facts: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<MadeHead>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmade: Vec<Unmade>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Rejected>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rejected {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MadeHead {
    pub name: String,
    pub extension: String,
    pub content_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    pub size_bytes: usize,
}

impl Head {
    pub(crate) fn of(outcome: &Result<Answer, Failure>) -> Self {
        match outcome {
            Ok(answer) => Self {
                facts: answer.facts.clone(),
                made: answer.made.iter().map(MadeHead::of).collect(),
                unmade: answer.unmade.clone(),
                rejected: None,
            },
            Err(failure) => {
                let code = match failure {
                    Failure::Rejected { code, .. } => code.clone(),
                    Failure::Unavailable(_) => code::CRASHED.to_owned(),
                };
                Self {
                    rejected: Some(Rejected {
                        code,
                        message: failure.to_string(),
                    }),
                    ..Self::default()
                }
            }
        }
    }
}

impl MadeHead {
    fn of(made: &Made) -> Self {
        Self {
            name: made.name.clone(),
            extension: made.extension.clone(),
            content_type: made.content_type.clone(),
            width: made.width,
            height: made.height,
            size_bytes: made.bytes.len(),
        }
    }
}

/// Reads an answer; `None` where it is nonsense: a child that was taken over may say anything.
pub(crate) fn parse(said: Bytes) -> Option<Result<Answer, Failure>> {
    let end = said.iter().position(|byte| *byte == b'\n')?;
    let head: Head = serde_json::from_slice(&said[..end]).ok()?;
    let mut rest = said.slice(end + 1..);
    if let Some(Rejected { code, message }) = head.rejected {
        return rest
            .is_empty()
            .then_some(Err(Failure::Rejected { code, message }));
    }
    let mut made = Vec::with_capacity(head.made.len());
    for head in head.made {
        if head.size_bytes > rest.len() {
            return None;
        }
        made.push(Made {
            name: head.name,
            extension: head.extension,
            content_type: head.content_type,
            width: head.width,
            height: head.height,
            bytes: rest.split_to(head.size_bytes),
        });
    }
    let answer = Answer {
        facts: head.facts,
        made,
        unmade: head.unmade,
    };
    rest.is_empty().then_some(Ok(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let answer = Answer {
            facts: Map::from_iter([("width".to_owned(), 3.into())]),
            made: vec![
                Made {
                    name: "thumbnail-256".to_owned(),
                    extension: "jpg".to_owned(),
                    content_type: "image/jpeg".to_owned(),
                    width: Some(256),
                    height: Some(1),
                    bytes: Bytes::from_static(b"a\nb"),
                },
                Made {
                    name: "empty".to_owned(),
                    ..Made::default()
                },
            ],
            unmade: vec![Unmade {
                name: "preview".to_owned(),
                error: "The first page is too large.".to_owned(),
            }],
        };
        let rejected = Failure::rejected("malformed_file", "Line 3: a quote is not closed.");
        for outcome in [Ok(answer), Err(rejected)] {
            let mut said = serde_json::to_vec(&Head::of(&outcome)).expect("JSON");
            said.push(b'\n');
            for made in outcome.iter().flat_map(|answer| &answer.made) {
                said.extend_from_slice(&made.bytes);
            }
            assert_eq!(parse(said.into()), Some(outcome));
        }
    }

    #[test]
    fn nonsense_is_nonsense() {
        let made = |size: &str| {
            format!(
                "{{\"made\":[{{\"name\":\"a\",\"extension\":\"b\",\"content_type\":\"c\",\"size_bytes\":{size}}}]}}\n123"
            )
        };
        for said in [
            "",
            "{}",
            "\n",
            "x\n",
            "{}\nx",
            "{\"rejected\":{\"code\":\"a\",\"message\":\"b\"}}\nx",
            &made("2"),
            &made("4"),
            &made("18446744073709551615"),
            &made("-1"),
        ] {
            assert_eq!(parse(Bytes::copy_from_slice(said.as_bytes())), None, "{said}");
        }
        assert!(parse(made("3").into()).is_some());
    }
}
