//! `token`: access tokens for development, and service tokens.

use std::time::Duration;

use clap::Subcommand;
use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_service::ServiceError;
use cloakroom_service::tokens::{NewServiceToken, SERVICE_TOKEN_PREFIX};
use cloakroom_signing::Credentials;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Failure, print};
use crate::cli::ConfigArgs;
use crate::config::Config;
use crate::config::values::{Period, Raw, Value as _};
use crate::data_dir::{DataDir, DataDirError, keys_of, occupant};
use crate::dev::{DevKeys, TokenRequest};
use crate::runtime::{secret_text, wall_time};
use crate::wire::{self, EmbeddedEndpoint, Preparation};

/// How long to wait for the running server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    mint: MintArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a service token for an application or a bot, and print it: it is shown only now
    CreateService(CreateServiceArgs),
}

/// An access token signed with the development key.
#[derive(Debug, clap::Args)]
struct MintArgs {
    /// Who the token is for
    #[arg(long, value_name = "NAME", default_value = "user", value_parser = parse_user)]
    user: String,
    /// What they may do: user, operator or admin
    #[arg(long, default_value = "user", value_parser = parse_role)]
    role: Role,
    /// How long the token is good
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_life)]
    ttl: Period,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, clap::Args)]
struct CreateServiceArgs {
    /// Name of the application
    #[arg(long)]
    name: String,
    /// What it may do: user, operator or admin
    #[arg(long, default_value = "user", value_parser = parse_role)]
    role: Role,
    /// Collections that it may use, separated by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    collections: Option<Vec<String>>,
    /// How long the token is good [default: until it is revoked]
    #[arg(long, value_name = "DURATION", value_parser = parse_life)]
    ttl: Option<Period>,
    #[command(flatten)]
    config: ConfigArgs,
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| "must be user, operator or admin".to_owned())
}

fn parse_user(text: &str) -> Result<String, String> {
    let legal = (1..=200).contains(&text.len()) && !text.chars().any(char::is_control);
    if legal {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 200 bytes without control characters".to_owned())
    }
}

fn parse_life(text: &str) -> Result<Period, String> {
    let period = Period::read(&Raw::Text(text.to_owned()))?;
    if period.seconds() == 0 {
        Err("must be at least 1s".to_owned())
    } else {
        Ok(period)
    }
}

/// Does it.
pub async fn run(args: Args) -> Result<(), Failure> {
    match args.action {
        None => mint(args.mint),
        Some(Action::CreateService(args)) => create_service(args).await,
    }
}

fn mint(args: MintArgs) -> Result<(), Failure> {
    let config = args.config.load(true)?;
    let keys = DevKeys::new(keys_of(&config.settings.data_dir), &config.settings);
    let request = TokenRequest {
        user: args.user,
        role: args.role,
        life: args.ttl.0,
    };
    let token = keys.mint(&request).map_err(Failure::new)?;
    print(&format!("{}\n", token.expose()))
}

async fn create_service(args: CreateServiceArgs) -> Result<(), Failure> {
    let config = args.config.load(true)?;
    if !config.needs_data_dir(false) {
        let secret = create_here(&config, None, args).await?;
        return print(&format!("{secret}\n"));
    }
    let secret = match DataDir::open(&config.settings.data_dir) {
        Ok(data_dir) => create_here(&config, Some(&data_dir), args).await?,
        // A server has the database; it is asked to do it.
        Err(DataDirError::InUse { .. }) => create_through_server(&config, args).await?,
        Err(error) => return Err(Failure::new(error)),
    };
    print(&format!("{secret}\n"))
}

fn expiry(now: Timestamp, ttl: Option<Period>) -> Result<Option<Timestamp>, Failure> {
    let after = |life: SignedDuration| {
        now.checked_add(life)
            .map_err(|_| Failure::usage("--ttl is too long"))
    };
    ttl.map(|period| after(period.0)).transpose()
}

async fn create_here(
    config: &Config,
    data_dir: Option<&DataDir>,
    args: CreateServiceArgs,
) -> Result<String, Failure> {
    // Nothing is signed here, so credentials that nobody knows will do.
    let nobody = EmbeddedEndpoint {
        url: "http://localhost".to_owned(),
        credentials: Credentials::new("none", secret_text::<32>()),
    };
    let instance = wire::open_app(config, data_dir, Some(nobody), Preparation::None).await?;
    let operator = Principal {
        subject: "command-line".to_owned(),
        role: Role::Admin,
        credential: Credential::AccessToken,
        username: "command-line".to_owned(),
        full_name: None,
    };
    let expires_at = expiry(instance.app.now(), args.ttl)?;
    let new = NewServiceToken {
        name: args.name,
        role: args.role,
        collections: args.collections,
        expires_at,
    };
    let secret = format!("{SERVICE_TOKEN_PREFIX}{}", secret_text::<32>());
    instance
        .app
        .create_service_token(&operator, new, &secret)
        .await
        .map_err(|error| match error {
            // A name or a collection that cannot be.
            ServiceError::Refused(refusal) => Failure::usage(refusal.message),
            error => Failure::new(error),
        })?;
    instance.close().await?;
    Ok(secret)
}

async fn create_through_server(config: &Config, args: CreateServiceArgs) -> Result<String, Failure> {
    let data_dir = &config.settings.data_dir;
    let keys = DevKeys::new(keys_of(data_dir), &config.settings);
    let explained = "a server is running in this data directory; create the token with POST /api/v1/admin/service-tokens and an administrator's token";
    let admin = keys
        .mint(&TokenRequest::lasting(Role::Admin))
        .map_err(|_| Failure::new(explained))?;
    let api_url = occupant(data_dir)
        .api_url
        .ok_or_else(|| Failure::new(explained))?;
    let client = reqwest::Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .no_proxy()
        .build()
        .map_err(Failure::new)?;
    let mut body = json!({"name": args.name, "role": args.role.as_str()});
    if let Some(collections) = args.collections {
        body["collections"] = json!(collections);
    }
    if let Some(expires_at) = expiry(wall_time(), args.ttl)? {
        body["expires_at"] = json!(expires_at.to_string());
    }
    let answer = client
        .post(format!("{api_url}/api/v1/admin/service-tokens"))
        .bearer_auth(admin.expose())
        .json(&body)
        .send()
        .await
        .map_err(|error| {
            Failure::new(format!(
                "the running server does not answer: {}",
                error.without_url()
            ))
        })?;
    let status = answer.status();
    let answer: serde_json::Value = answer.json().await.unwrap_or_default();
    match (
        status.is_success(),
        answer["secret"].as_str(),
        answer["message"].as_str(),
    ) {
        (true, Some(secret), _) => Ok(secret.to_owned()),
        (_, _, Some(message)) if matches!(status.as_u16(), 400 | 404 | 422) => Err(Failure::usage(message)),
        (_, _, Some(message)) => Err(Failure::new(message)),
        _ => Err(Failure::new("the running server gave no usable answer")),
    }
}
