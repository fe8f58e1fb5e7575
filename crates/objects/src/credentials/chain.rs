//! Which source of credentials the environment names.
//!
//! The order is that of the AWS SDKs: keys, web identity, container, instance. What is named but does not work is an error
//! and not a reason to go on: files would be written in somebody else's name.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_core::ports::clock::Clock;
use cloakroom_signing::{Credentials, Region, Secret};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::container::{Authorization, ContainerIssuer};
use super::instance::{self, InstanceIssuer};
use super::issued::Issuer;
use super::renewal::Renewed;
use super::web_identity::WebIdentityIssuer;
use super::{CredentialsError, CredentialsSource, StaticCredentials};
use crate::web::WebClient;

/// Issuers are near: on this machine, or in this region.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether credentials need to be renewed, for whoever only signs URLs.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// The session's name in CloudTrail.
const SESSION_NAME: &str = "cloakroom";

/// Where credentials come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Keys that were given.
    Fixed(Credentials),
    /// A token of an identity provider, exchanged for the credentials of a role.
    WebIdentity {
        /// The file with the token.
        token_file: PathBuf,
        /// The role.
        role_arn: String,
        /// How it is called in logs of AWS.
        session_name: String,
        /// The address of STS.
        sts: String,
    },
    /// The agent beside a container.
    Container {
        /// Its address, or a path at ECS's agent.
        url: String,
        /// A token for it.
        token: Option<Secret>,
        /// A file with the token for it; counts before `token`.
        token_file: Option<PathBuf>,
    },
    /// The role of the EC2 instance.
    Instance {
        /// The address of the metadata service.
        address: String,
    },
}

impl Source {
    /// What it is called in reports.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Fixed(_) => "keys",
            Self::WebIdentity { .. } => "web identity",
            Self::Container { .. } => "container",
            Self::Instance { .. } => "instance role",
        }
    }
}

/// Where credentials come from, and how they are kept.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// Where from.
    pub source: Source,
    /// How often it is looked whether they need to be renewed.
    pub look_every: Duration,
}

impl ChainOptions {
    /// Reads the variables of the AWS SDKs; `variable` gives the value of one, and `region` is where STS is.
    ///
    /// # Errors
    /// [`CredentialsError::Misconfigured`] for half of a pair; [`CredentialsError::NoSource`] where nothing is named and the
    /// instance must not be asked.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        region: &Region,
    ) -> Result<Self, CredentialsError> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let pair = |one: &str, other: &str| match (variable(one), variable(other)) {
            (Some(one), Some(other)) => Ok(Some((one, other))),
            (None, None) => Ok(None),
            (found, _) => {
                let (there, missing) = if found.is_some() {
                    (one, other)
                } else {
                    (other, one)
                };
                Err(CredentialsError::Misconfigured(format!(
                    "{there} is set and {missing} is not"
                )))
            }
        };
        let source = if let Some((access, secret)) = pair("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")? {
            let credentials = Credentials::new(access, secret);
            Source::Fixed(match variable("AWS_SESSION_TOKEN") {
                Some(token) => credentials.with_session_token(token),
                None => credentials,
            })
        } else if let Some((token_file, role_arn)) = pair("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN")? {
            Source::WebIdentity {
                token_file: token_file.into(),
                role_arn,
                session_name: variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION_NAME.to_owned()),
                sts: variable("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| sts_address(region)),
            }
        } else if let Some(url) = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
            .or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
        {
            Source::Container {
                url,
                token: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new),
                token_file: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
            }
        } else if variable("AWS_EC2_METADATA_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
        {
            return Err(CredentialsError::NoSource);
        } else {
            Source::Instance {
                address: variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")
                    .unwrap_or_else(|| instance::ADDRESS.to_owned()),
            }
        };
        Ok(Self {
            source,
            look_every: LOOK_EVERY,
        })
    }
}

/// STS of a region; those of China have a domain of their own.
fn sts_address(region: &Region) -> String {
    let region = region.as_str();
    let domain = if region.starts_with("cn-") {
        "amazonaws.com.cn"
    } else {
        "amazonaws.com"
    };
    format!("https://sts.{region}.{domain}")
}

/// Credentials from wherever the environment says.
pub struct CredentialsChain {
    kind: Kind,
    /// Renews in time for whoever only signs; ends with the chain.
    _renewing: JoinSet<()>,
}

enum Kind {
    Fixed(StaticCredentials),
    Renewed(Arc<Renewed>),
}

impl std::fmt::Debug for CredentialsChain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialsChain").finish_non_exhaustive()
    }
}

impl CredentialsChain {
    /// Fetches the first credentials, and keeps them fresh from then on.
    ///
    /// # Errors
    /// There are none.
    pub async fn connect(options: ChainOptions, clock: Arc<dyn Clock>) -> Result<Self, CredentialsError> {
        let web = WebClient::new(CONNECT_TIMEOUT, TIMEOUT)
            .map_err(|error| CredentialsError::Misconfigured(error.to_string()))?;
        let issuer: Box<dyn Issuer> = match options.source {
            Source::Fixed(credentials) => {
                return Ok(Self {
                    kind: Kind::Fixed(StaticCredentials(credentials)),
                    _renewing: JoinSet::new(),
                });
            }
            Source::WebIdentity {
                token_file,
                role_arn,
                session_name,
                sts,
            } => Box::new(WebIdentityIssuer {
                address: sts,
                token_file,
                role_arn,
                session_name,
                web,
            }),
            Source::Container {
                url,
                token,
                token_file,
            } => {
                let authorization = match (token_file, token) {
                    (Some(path), _) => Authorization::File(path),
                    (None, Some(token)) => Authorization::Token(token),
                    (None, None) => Authorization::Nothing,
                };
                Box::new(ContainerIssuer::new(&url, authorization, web)?)
            }
            Source::Instance { address } => Box::new(InstanceIssuer::new(&address, web)),
        };
        let renewed = Arc::new(Renewed::new(issuer, clock).await?);
        let mut renewing = JoinSet::new();
        let kept = Arc::clone(&renewed);
        renewing.spawn(async move {
            let mut ticks = tokio::time::interval(options.look_every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                // What went wrong has been logged, and the next one who needs credentials is told.
                let _ = kept.credentials().await;
            }
        });
        Ok(Self {
            kind: Kind::Renewed(renewed),
            _renewing: renewing,
        })
    }
}

#[async_trait]
impl CredentialsSource for CredentialsChain {
    async fn credentials(&self) -> Result<Credentials, CredentialsError> {
        match &self.kind {
            Kind::Fixed(fixed) => fixed.credentials().await,
            Kind::Renewed(renewed) => renewed.credentials().await,
        }
    }

    fn latest(&self) -> Credentials {
        match &self.kind {
            Kind::Fixed(fixed) => fixed.latest(),
            Kind::Renewed(renewed) => renewed.latest(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(variables: &[(&str, &str)]) -> Result<Source, CredentialsError> {
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        ChainOptions::from_variables(find, &Region::default()).map(|options| options.source)
    }

    #[test]
    fn the_order_is_that_of_the_sdks() {
        let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "hush")];
        let token = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn:x")];
        let container = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost/x")];
        let all = [&keys[..], &token[..], &container[..]];
        for (skipped, expected) in [
            (0, "keys"),
            (1, "web identity"),
            (2, "container"),
            (3, "instance role"),
        ] {
            let variables = all[skipped..].concat();
            assert_eq!(source(&variables).map(|source| source.as_str()), Ok(expected));
        }
        let temporary = source(&[&keys[..], &[("AWS_SESSION_TOKEN", "hush2")]].concat());
        assert!(matches!(temporary, Ok(Source::Fixed(found)) if found.session_token.is_some()));
        assert_eq!(
            source(&[("AWS_EC2_METADATA_DISABLED", "TRUE")]).err(),
            Some(CredentialsError::NoSource)
        );
    }

    #[test]
    fn half_of_a_pair_is_refused() {
        for half in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ROLE_ARN"] {
            let error = source(&[(half, "hush")]).expect_err(half);
            assert!(error.to_string().contains(half), "{error}");
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        assert!(matches!(
            source(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")]),
            Ok(Source::Instance { .. })
        ));
    }

    #[test]
    fn sts_is_asked_in_the_region() {
        let at = |region: &str| sts_address(&Region::new(region).expect("a region"));
        assert_eq!(at("eu-west-3"), "https://sts.eu-west-3.amazonaws.com");
        assert_eq!(at("cn-north-1"), "https://sts.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn nothing_secret_is_shown() {
        let fixed = source(&[("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "hush")]);
        let container = source(&[
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hush"),
        ]);
        assert!(!format!("{fixed:?} {container:?}").contains("hush"));
    }
}
