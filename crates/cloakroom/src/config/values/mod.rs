//! Types of settings: how each is written, read and shown. A value comes as text (environment, flags) or as what
//! TOML or YAML made of it; both are read by the same code, so that a setting means the same wherever it stands.

mod choices;
mod limits;
mod names;
mod quantities;
mod servers;
mod stores;

use std::cmp::Ordering;
use std::path::PathBuf;

use cloakroom_signing::Secret;

pub use choices::{
    CloudFrontPolicyChoice, Dialects, DocsPolicy, LogFilter, LogFormat, SandboxPolicy, TokenAlgorithms,
};
pub use limits::{Networks, RateLimit};
pub use names::{BaseUrl, BucketName, ListenAddress, WorkerListen};
pub use quantities::{Period, Size};
pub use servers::{DatabaseUrl, NatsUrl, PostgresUrl, RedisUrl, ScannerAddress};
pub use stores::{BucketAddressing, CapabilityOverrides, ServerSideEncryption, StoreKind};

/// A value as written, before anybody knows what it should be.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// Text; the only kind that the environment and flags have.
    Text(String),
    /// A whole number of a file.
    Integer(i64),
    /// A decimal number of a file.
    Float(f64),
    /// A boolean of a file.
    Boolean(bool),
    /// A list of texts of a file.
    List(Vec<String>),
    /// What no setting is: a date, a table, an array of other things. Named for the message.
    Other(&'static str),
}

impl Raw {
    /// What it is, for "must be .., not ..".
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a decimal number",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

/// A type of setting.
pub trait Value: Sized {
    /// What to write, for documents and messages: "a duration such as 15m".
    const KIND: &'static str;
    /// Whether the value must never be shown.
    const SECRET: bool = false;

    /// Reads a value; the error says what was expected and never repeats a secret.
    fn read(raw: &Raw) -> Result<Self, String>;

    /// The value as one would write it; a secret gives only whether it is there.
    fn show(&self) -> String;

    /// Order, for types that can have a range.
    fn compare(&self, _other: &Self) -> Option<Ordering> {
        None
    }
}

fn expected<T: Value>(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) if !T::SECRET && text.len() <= 60 => format!("must be {}, not {text:?}", T::KIND),
        Raw::Text(_) => format!("must be {}", T::KIND),
        other => format!("must be {}, not {}", T::KIND, other.kind()),
    }
}

fn text_of<T: Value>(raw: &Raw) -> Result<&str, String> {
    match raw {
        Raw::Text(text) => Ok(text.trim()),
        other => Err(expected::<T>(other)),
    }
}

impl Value for String {
    const KIND: &'static str = "text";

    fn read(raw: &Raw) -> Result<Self, String> {
        Ok(text_of::<Self>(raw)?.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "a path";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)? {
            "" => Err(expected::<Self>(raw)),
            path => Ok(Self::from(path)),
        }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Boolean(value) => Ok(*value),
            // What the founding documents write in the environment: `DEBUG=1`, `MINIO_SECURE=False`.
            Raw::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(expected::<Self>(raw)),
            },
            other => Err(expected::<Self>(other)),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    const KIND: &'static str = "a whole number";

    fn read(raw: &Raw) -> Result<Self, String> {
        let value = match raw {
            Raw::Integer(value) => Self::try_from(*value).ok(),
            Raw::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        value.ok_or_else(|| match raw {
            Raw::Integer(value) => format!("must be {} from 0 to {}, not {value}", Self::KIND, Self::MAX),
            other => expected::<Self>(other),
        })
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl Value for f64 {
    const KIND: &'static str = "a number";

    fn read(raw: &Raw) -> Result<Self, String> {
        let value = match raw {
            Raw::Float(value) => Some(*value),
            Raw::Integer(value) => Some(*value as Self),
            Raw::Text(text) => text.trim().parse::<Self>().ok(),
            _ => None,
        };
        value
            .filter(|value| value.is_finite())
            .ok_or_else(|| expected::<Self>(raw))
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.partial_cmp(other)
    }
}

impl Value for Vec<String> {
    const KIND: &'static str = "a list (TOML array, or text separated by commas)";

    fn read(raw: &Raw) -> Result<Self, String> {
        let items: Self = match raw {
            Raw::List(items) => items.iter().map(|item| item.trim().to_owned()).collect(),
            Raw::Text(text) => text
                .split(',')
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
            other => return Err(expected::<Self>(other)),
        };
        if items.iter().any(String::is_empty) {
            return Err("must not hold empty texts".to_owned());
        }
        Ok(items)
    }

    fn show(&self) -> String {
        self.join(",")
    }
}

/// A text that is never shown.
impl Value for Secret {
    const KIND: &'static str = "text";
    const SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)? {
            "" => Err("must not be empty".to_owned()),
            text => Ok(Self::new(text)),
        }
    }

    fn show(&self) -> String {
        "********".to_owned()
    }
}

/// A setting that may be absent: the empty text means so.
impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;
    const SECRET: bool = T::SECRET;

    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text.trim().is_empty() => Ok(None),
            raw => T::read(raw).map(Some),
        }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        self.as_ref()?.compare(other.as_ref()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn lists_and_switches() {
        assert_eq!(text::<Vec<String>>(" a, b,,").map(|l| l.show()), Ok("a,b".into()));
        assert!(Vec::<String>::read(&Raw::List(vec![String::new()])).is_err());
        assert_eq!(text::<bool>("False"), Ok(false));
        assert!(text::<bool>("maybe").is_err() && bool::read(&Raw::Integer(1)).is_err());
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        let error = Option::<Secret>::read(&Raw::Integer(12_345_678)).expect_err("not text");
        assert!(!error.contains("12345678"), "{error}");
        assert_eq!(
            text::<Option<Secret>>("hush").map(|s| s.show()),
            Ok("********".into())
        );
    }
}
