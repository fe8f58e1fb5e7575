//! Choices among a few names.

use cloakroom_http::Dialect;
use cloakroom_objects::cloudfront::CloudFrontPolicyKind;

use super::{Raw, Value, expected, text_of};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text when standard error is a terminal, else JSON.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Value for LogFormat {
    const KIND: &'static str = "auto, json or text";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)?.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(expected::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::Text => "text",
        }
        .to_owned()
    }
}

/// When the API reference is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocsPolicy {
    /// Always: it says what everybody can read in the project.
    Always,
    /// In debug mode alone.
    Debug,
    /// Not at all.
    Never,
}

impl Value for DocsPolicy {
    const KIND: &'static str = "always, debug or never";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)?.to_ascii_lowercase().as_str() {
            "always" => Ok(Self::Always),
            "debug" => Ok(Self::Debug),
            "never" => Ok(Self::Never),
            _ => Err(expected::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Always => "always",
            Self::Debug => "debug",
            Self::Never => "never",
        }
        .to_owned()
    }
}

/// Which log lines are written: a level, or directives such as `info,cloakroom_worker=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(pub String);

impl Value for LogFilter {
    const KIND: &'static str =
        "error, warn, info, debug, trace, or directives such as info,cloakroom_worker=debug";

    fn read(raw: &Raw) -> Result<Self, String> {
        // `INFO` is what the founding documents write; targets are lower-case anyway.
        let text = text_of::<Self>(raw)?.to_ascii_lowercase();
        let text = if text == "warning" {
            "warn".to_owned()
        } else {
            text
        };
        let known_level =
            |level: &str| matches!(level, "off" | "error" | "warn" | "info" | "debug" | "trace");
        // A misspelt level alone would be taken for the name of a module, and nothing would be logged.
        let misspelt = text
            .split(',')
            .any(|part| !part.contains(['=', ':', '_', '[']) && !known_level(part.trim()));
        if misspelt || tracing_subscriber::EnvFilter::try_new(&text).is_err() {
            return Err(expected::<Self>(raw));
        }
        Ok(Self(text))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Algorithms that access tokens may be signed with (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenAlgorithms(pub Vec<jsonwebtoken::Algorithm>);

impl Value for TokenAlgorithms {
    const KIND: &'static str = "a list of RS256, ES256 and EdDSA";

    fn read(raw: &Raw) -> Result<Self, String> {
        let names = Vec::<String>::read(raw)?;
        let read = |name: &String| match name.as_str() {
            "RS256" => Ok(jsonwebtoken::Algorithm::RS256),
            "ES256" => Ok(jsonwebtoken::Algorithm::ES256),
            "EdDSA" => Ok(jsonwebtoken::Algorithm::EdDSA),
            other => Err(format!("must be {}, not {other:?}", Self::KIND)),
        };
        let algorithms = names.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        if algorithms.is_empty() {
            return Err(format!("must be {}, not empty", Self::KIND));
        }
        Ok(Self(algorithms))
    }

    fn show(&self) -> String {
        self.0
            .iter()
            .map(|algorithm| format!("{algorithm:?}"))
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// The dialects that are spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialects(pub Vec<Dialect>);

impl Value for Dialects {
    const KIND: &'static str = "a list of artifacts, attachments, reconciliation, element and photos";

    fn read(raw: &Raw) -> Result<Self, String> {
        let names = Vec::<String>::read(raw)?;
        let read = |name: &String| {
            Dialect::parse(name).ok_or_else(|| format!("must be {}, not {name:?}", Self::KIND))
        };
        let mut dialects = names.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        dialects.sort_unstable();
        dialects.dedup();
        Ok(Self(dialects))
    }

    fn show(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|dialect| dialect.as_str()).collect();
        names.join(",")
    }
}

/// What stands in a URL of CloudFront.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloudFrontPolicyChoice(pub CloudFrontPolicyKind);

impl Value for CloudFrontPolicyChoice {
    const KIND: &'static str = "canned or custom";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)?.to_ascii_lowercase().as_str() {
            "canned" => Ok(Self(CloudFrontPolicyKind::Canned)),
            "custom" => Ok(Self(CloudFrontPolicyKind::Custom)),
            _ => Err(expected::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        match self.0 {
            CloudFrontPolicyKind::Canned => "canned",
            CloudFrontPolicyKind::Custom => "custom",
        }
        .to_owned()
    }
}

/// What is done where the kernel cannot confine processors in every way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxPolicy {
    /// They run all the same.
    Auto,
    /// They do not run.
    Required,
}

impl Value for SandboxPolicy {
    const KIND: &'static str = "auto or required";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)?.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "required" => Ok(Self::Required),
            _ => Err(expected::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Required => "required",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn choices() {
        assert_eq!(text::<LogFormat>("JSON"), Ok(LogFormat::Json));
        assert!(text::<LogFormat>("xml").is_err());
        assert_eq!(text::<LogFilter>("INFO"), Ok(LogFilter("info".into())));
        assert_eq!(text::<LogFilter>("WARNING"), Ok(LogFilter("warn".into())));
        assert!(text::<LogFilter>("info,cloakroom_worker=debug").is_ok());
        assert!(text::<LogFilter>("inof").is_err());
        assert_eq!(
            text::<TokenAlgorithms>("RS256,EdDSA").map(|a| a.show()),
            Ok("RS256,EdDSA".into())
        );
        for bad in ["", "HS256", "none", "rs256"] {
            assert!(text::<TokenAlgorithms>(bad).is_err(), "{bad}");
        }
    }
}
