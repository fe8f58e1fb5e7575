//! Credentials from the agent beside a container: ECS task roles, EKS pod identity (AWS SDKs and Tools Reference Guide,
//! "Container credential provider").

use std::net::IpAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_signing::Secret;
use http::{Request, Uri};

use super::CredentialsError;
use super::issued::{Issued, Issuer, ask, from_json, unusable};
use super::web_identity::read_token;
use crate::web::WebClient;

const NAME: &str = "container credentials agent";
/// Where ECS's agent listens.
const ECS_AGENT: &str = "http://169.254.170.2";
/// Besides loopback: ECS, and EKS in IPv4 and IPv6. To any other address the token goes over TLS only.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// What is said to the agent.
#[derive(Clone, Debug)]
pub(super) enum Authorization {
    Nothing,
    Token(Secret),
    /// Read anew each time: it is replaced while we run.
    File(PathBuf),
}

/// Asks the agent.
pub(super) struct ContainerIssuer {
    uri: Uri,
    authorization: Authorization,
    web: WebClient,
}

impl ContainerIssuer {
    /// Refuses addresses to which the token must not go.
    pub(super) fn new(
        url: &str,
        authorization: Authorization,
        web: WebClient,
    ) -> Result<Self, CredentialsError> {
        let url = if url.starts_with('/') {
            format!("{ECS_AGENT}{url}")
        } else {
            url.to_owned()
        };
        let uri: Uri = url
            .parse()
            .map_err(|_| unusable("the address of the container credentials agent is not a URL"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_agent = host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback() || AGENTS.contains(&address.to_string().as_str()));
        if !(uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && is_agent) {
            return Err(unusable(format!(
                "{host} is no container credentials agent: only HTTPS, loopback and {} are",
                AGENTS.join(", ")
            )));
        }
        Ok(Self {
            uri,
            authorization,
            web,
        })
    }
}

#[async_trait]
impl Issuer for ContainerIssuer {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn issue(&self) -> Result<Issued, CredentialsError> {
        let mut request = Request::get(self.uri.clone()).header("accept", "application/json");
        let token = match &self.authorization {
            Authorization::Nothing => None,
            Authorization::Token(token) => Some(token.clone()),
            Authorization::File(path) => Some(read_token(path).await?),
        };
        if let Some(token) = token {
            request = request.header("authorization", token.expose());
        }
        let request = request
            .body(Bytes::new())
            .map_err(|_| unusable("the authorization token of the container is not a header"))?;
        from_json(NAME, &ask(&self.web, NAME, request).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_token_goes_to_agents_only() {
        let web = WebClient::new(Duration::from_secs(1), Duration::from_secs(1)).expect("a client");
        let issuer = |url| ContainerIssuer::new(url, Authorization::Nothing, web.clone());
        for good in [
            "/v2/credentials/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
            "http://127.0.0.1:1234/x",
            "http://localhost/x",
            "https://agent.example/x",
        ] {
            assert!(issuer(good).is_ok(), "{good}");
        }
        for bad in [
            "http://agent.example/x",
            "http://169.254.169.254/x",
            "http://localhost.evil.example/x",
            "ftp://127.0.0.1/x",
            "x",
            "",
        ] {
            assert!(
                matches!(issuer(bad), Err(CredentialsError::Misconfigured(_))),
                "{bad}"
            );
        }
        let ecs = issuer("/v2/credentials/x").expect("good");
        assert_eq!(ecs.uri, "http://169.254.170.2/v2/credentials/x");
    }
}
