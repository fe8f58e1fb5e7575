//! What the services that give out credentials answer.

use std::fmt;

use async_trait::async_trait;
use cloakroom_signing::{Credentials, Secret};
use jiff::Timestamp;
use serde::Deserialize;

use super::CredentialsError;
use crate::web::{WebAnswer, WebClient, WebError};

/// So much of an error's text is repeated.
const MESSAGE_CHARS_MAX: usize = 300;

/// Credentials and their end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) credentials: Credentials,
    /// `None` for those that do not end.
    pub(super) expires_at: Option<Timestamp>,
}

/// Gives out temporary credentials.
#[async_trait]
pub(super) trait Issuer: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> &'static str;

    /// Fresh credentials.
    async fn issue(&self) -> Result<Issued, CredentialsError>;
}

/// Sends a request to an issuer; what is not a success is its refusal.
pub(super) async fn ask(
    web: &WebClient,
    issuer: &'static str,
    request: http::Request<bytes::Bytes>,
) -> Result<WebAnswer, CredentialsError> {
    let answer = web.send(request).await.map_err(|error| match error {
        WebError::Connect(_) | WebError::Broken(_) | WebError::TimedOut(_) => CredentialsError::Unreachable {
            issuer,
            reason: error.to_string(),
        },
    })?;
    if answer.status.is_success() {
        return Ok(answer);
    }
    let told = Told::read(&answer.text());
    Err(CredentialsError::Refused {
        issuer,
        status: answer.status.as_u16(),
        code: told.code,
        message: told.message,
    })
}

/// A request that cannot be made: an address that is none.
pub(super) fn unusable(error: impl fmt::Display) -> CredentialsError {
    CredentialsError::Misconfigured(error.to_string())
}

/// An error as JSON (container agents) or XML (STS) tells it.
#[derive(Default)]
struct Told {
    code: String,
    message: String,
}

#[derive(Deserialize)]
struct JsonError {
    #[serde(alias = "Code", default)]
    code: String,
    #[serde(alias = "Message", default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct XmlErrors {
    error: XmlError,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct XmlError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Told {
    fn read(text: &str) -> Self {
        let (code, message) = if let Ok(error) = serde_json::from_str::<JsonError>(text) {
            (error.code, error.message)
        } else if let Ok(errors) = quick_xml::de::from_str::<XmlErrors>(text) {
            (errors.error.code, errors.error.message)
        } else {
            return Self::default();
        };
        let cut = |text: String| text.chars().take(MESSAGE_CHARS_MAX).collect();
        Self {
            code: cut(code),
            message: cut(message),
        }
    }
}

/// Credentials as JSON, in the spelling of the instance metadata service and of container agents.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct JsonCredentials {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    token: Option<String>,
    expiration: Option<Timestamp>,
}

/// Reads JSON credentials. An error names what is missing, never a value.
pub(super) fn from_json(issuer: &'static str, answer: &WebAnswer) -> Result<Issued, CredentialsError> {
    let unreadable = |reason: &str| CredentialsError::Unreadable {
        issuer,
        reason: reason.to_owned(),
    };
    // serde's message could quote the body.
    let found: JsonCredentials =
        serde_json::from_slice(&answer.body).map_err(|_| unreadable("it is not the JSON of credentials"))?;
    if let Some(code) = found.code.filter(|code| code != "Success") {
        return Err(CredentialsError::Refused {
            issuer,
            status: answer.status.as_u16(),
            code,
            message: found.message.unwrap_or_default(),
        });
    }
    let (Some(access_key), Some(secret)) = (found.access_key_id, found.secret_access_key) else {
        return Err(unreadable("AccessKeyId or SecretAccessKey is missing"));
    };
    Ok(Issued {
        credentials: Credentials {
            access_key_id: access_key,
            secret_access_key: Secret::new(secret),
            session_token: found.token.map(Secret::new),
        },
        expires_at: found.expiration,
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(body: &str) -> WebAnswer {
        WebAnswer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn credentials_are_read_with_and_without_an_end() {
        let issued = from_json(
            "agent",
            &answer(
                r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"hush","Token":"hush2","Expiration":"2026-11-21T05:54:23Z"}"#,
            ),
        )
        .expect("credentials");
        assert_eq!(
            issued.expires_at.map(|end| end.to_string()).as_deref(),
            Some("2026-11-21T05:54:23Z")
        );
        assert_eq!(
            issued.credentials,
            Credentials::new("A", "hush").with_session_token("hush2")
        );
        let endless = from_json("agent", &answer(r#"{"AccessKeyId":"A","SecretAccessKey":"B"}"#));
        assert_eq!(endless.expect("credentials").expires_at, None);
    }

    #[test]
    fn what_cannot_be_read_is_not_repeated() {
        for body in [
            "hush",
            r#"{"AccessKeyId":"hush"}"#,
            r#"{"SecretAccessKey":["hush"]}"#,
        ] {
            let error = from_json("agent", &answer(body)).expect_err(body);
            assert!(matches!(error, CredentialsError::Unreadable { .. }), "{error}");
            assert!(!format!("{error:?} {error}").contains("hush"), "{error:?}");
        }
        let refused = from_json(
            "agent",
            &answer(r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no trust"}"#),
        );
        assert!(
            matches!(refused, Err(CredentialsError::Refused { code, .. }) if code == "AssumeRoleUnauthorizedAccess")
        );
    }

    #[test]
    fn errors_are_read_in_both_spellings() {
        let json = Told::read(r#"{"code":"AccessDenied","message":"no"}"#);
        assert_eq!(
            (json.code.as_str(), json.message.as_str()),
            ("AccessDenied", "no")
        );
        let xml = Told::read(
            "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>bad</Message></Error></ErrorResponse>",
        );
        assert_eq!(
            (xml.code.as_str(), xml.message.as_str()),
            ("InvalidIdentityToken", "bad")
        );
        assert_eq!(Told::read("<html>").code, "");
    }
}
