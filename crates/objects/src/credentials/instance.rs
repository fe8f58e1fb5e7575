//! Credentials of an EC2 instance's role, from its metadata service in version 2 (EC2 user guide, "Use IMDSv2"). Version 1
//! is not spoken: whoever makes us fetch a URL could read it.

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_signing::Secret;
use http::{Method, Request};

use super::CredentialsError;
use super::issued::{Issued, Issuer, ask, from_json, unusable};
use crate::web::WebClient;

const NAME: &str = "instance metadata service";
/// Where it listens.
pub(super) const ADDRESS: &str = "http://169.254.169.254";
/// A session is used for one fetch; this is its longest life.
const SESSION_SECONDS: &str = "60";

/// Asks the metadata service.
pub(super) struct InstanceIssuer {
    address: String,
    web: WebClient,
}

impl InstanceIssuer {
    pub(super) fn new(address: &str, web: WebClient) -> Self {
        Self {
            address: address.trim_end_matches('/').to_owned(),
            web,
        }
    }

    async fn say(
        &self,
        method: Method,
        path: &str,
        header: (&str, &str),
    ) -> Result<crate::web::WebAnswer, CredentialsError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}/latest/{path}", self.address))
            .header(header.0, header.1)
            .body(Bytes::new())
            .map_err(|_| unusable("the address of the instance metadata service is not a URL"))?;
        ask(&self.web, NAME, request).await
    }
}

#[async_trait]
impl Issuer for InstanceIssuer {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn issue(&self) -> Result<Issued, CredentialsError> {
        let session = ("x-aws-ec2-metadata-token-ttl-seconds", SESSION_SECONDS);
        let session = Secret::new(self.say(Method::PUT, "api/token", session).await?.text());
        let session = ("x-aws-ec2-metadata-token", session.expose());
        let roles = "meta-data/iam/security-credentials/";
        let found = self.say(Method::GET, roles, session).await?.text();
        let role = found.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err(CredentialsError::Refused {
                issuer: NAME,
                status: 404,
                code: String::new(),
                message: "this instance has no role".to_owned(),
            });
        }
        let answer = self.say(Method::GET, &format!("{roles}{role}"), session).await?;
        from_json(NAME, &answer)
    }
}
