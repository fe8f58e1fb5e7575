//! Credentials for a token of an identity provider (EKS service accounts, CI runners), from the Security Token Service
//! (STS API, "AssumeRoleWithWebIdentity"). The call is not signed: the token is the proof.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_signing::{Credentials, Secret, encode_component};
use http::Request;
use jiff::Timestamp;
use serde::Deserialize;

use super::CredentialsError;
use super::issued::{Issued, Issuer, ask, unusable};
use crate::web::WebClient;

const NAME: &str = "security token service";

/// Asks STS.
pub(super) struct WebIdentityIssuer {
    pub(super) address: String,
    /// Read anew each time: it is replaced while we run.
    pub(super) token_file: PathBuf,
    pub(super) role_arn: String,
    pub(super) session_name: String,
    pub(super) web: WebClient,
}

/// Reads a token from its file.
pub(super) async fn read_token(path: &Path) -> Result<Secret, CredentialsError> {
    let failed = |reason: String| CredentialsError::TokenFile {
        path: path.display().to_string(),
        reason,
    };
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| failed(error.to_string()))?;
    match text.trim() {
        "" => Err(failed("it is empty".to_owned())),
        token => Ok(Secret::new(token)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    assume_role_with_web_identity_result: Found,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    credentials: FoundCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FoundCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: Timestamp,
}

#[async_trait]
impl Issuer for WebIdentityIssuer {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn issue(&self) -> Result<Issued, CredentialsError> {
        let token = read_token(&self.token_file).await?;
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", &self.role_arn),
            ("RoleSessionName", &self.session_name),
            ("WebIdentityToken", token.expose()),
        ];
        // In the body and not in the URL, which proxies and servers write down.
        let form: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", encode_component(value)))
            .collect();
        let request = Request::post(&self.address)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(form.join("&")))
            .map_err(|_| unusable("the address of the security token service is not a URL"))?;
        let answer = ask(&self.web, NAME, request).await?;
        // The reader's message could quote the body.
        let found: Answer =
            quick_xml::de::from_str(&answer.text()).map_err(|_| CredentialsError::Unreadable {
                issuer: NAME,
                reason: "it is not the XML of credentials".to_owned(),
            })?;
        let found = found.assume_role_with_web_identity_result.credentials;
        Ok(Issued {
            credentials: Credentials::new(found.access_key_id, found.secret_access_key)
                .with_session_token(found.session_token),
            expires_at: Some(found.expiration),
        })
    }
}
